//! Certificates that nobody should make, byte by byte.

use super::raw::{Raw, data, pair};
use super::*;

#[test]
fn the_free_writer_agrees_with_the_profile() {
    assert_eq!(Raw::good().signed(), issue(&terms()));
}

type Change = fn(&mut Raw);

/// Well formed, signed by the CA, and not what was agreed: the field in which it differs, and the lint rule.
const SURPLUS: &[(&str, &str, Change)] = &[
    ("type", "type.user", |r| r.kind = 2),
    ("serial", "serial.reserved", |r| r.serial = 0),
    ("key id", "serial", |r| r.serial = 1235),
    ("key id", "key_id.template", |r| r.key_id = b"".to_vec()),
    ("key id", "key_id.template", |r| r.key_id = b"fireaxe/EM-42/ana/1234/x".to_vec()),
    ("key id", "key_id.alphabet", |r| r.key_id = b"fireaxe/EM-42/ana/1234 (serial 7) CA".to_vec()),
    ("key id", "key_id", |r| r.key_id = b"fireaxe/EM-42/ben/1234".to_vec()),
    ("principals", "principals.empty", |r| r.principals.clear()),
    ("principals", "principals.grammar", |r| r.principals = vec![b"root".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"root:a,root".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"root:*".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"ROOT:payments-db".to_vec()]),
    ("principals", "principals", |r| r.principals.push(b"root:web".to_vec())),
    ("principals", "principals.order", |r| r.principals.push(b"root:payments-db".to_vec())),
    ("principals", "principals.many", |r| {
        r.principals = (0..17).map(|n| format!("root:s{n:02}").into()).collect();
    }),
    ("valid before", "times.order", |r| r.times.1 = r.times.0),
    ("valid before", "times", |r| r.times.1 = NOW - 400),
    ("valid before", "times", |r| r.times.1 += 1),
    ("valid before", "times.lifetime", |r| r.times.1 = u64::MAX),
    ("valid before", "times", |r| r.times.0 -= 1),
    ("valid after", "times", |r| r.times.0 = NOW + 301),
    ("critical options", "critical", |r| r.critical.clear()),
    ("critical options", "critical", |r| drop(r.critical.remove(0))),
    ("critical options", "critical", |r| r.critical[0] = pair("force-command", "/bin/sh")),
    ("critical options", "critical", |r| r.critical[0].1.clear()),
    ("critical options", "critical.force_command", |r| {
        r.critical[0] = pair("force-command", &"a".repeat(limits::FORCED + 1));
    }),
    ("critical options", "critical.force_command", |r| r.critical[0] = pair("force-command", " ")),
    ("critical options", "critical.unknown", |r| r.critical.push(pair("verify-required", ""))),
    ("critical options", "critical", |r| r.critical[1] = pair("source-address", "0.0.0.0/0")),
    ("extensions", "extensions", |r| drop(r.extensions.remove(0))),
    ("extensions", "extension.terms", |r| r.extensions[3] = pair("terms@fireaxe", "{}")),
    ("extensions", "extensions", |r| drop(r.extensions.pop())),
    // It is for a system, and would let sessions go on.
    ("extensions", "extension.within", |r| {
        let within = Some(Within { serial: 41, until: NOW + 1800 });
        r.extensions[3] = pair("terms@fireaxe", &HostTerms::of(&terms(), within).to_json());
    }),
    ("extensions", "extension.unknown", |r| r.extensions.push((b"zz@example.com".to_vec(), Vec::new()))),
    ("extensions", "extension.unknown", |r| {
        r.extensions.insert(0, (b"permit-agent-forwarding".to_vec(), Vec::new()));
    }),
    ("extensions", "extension.data", |r| r.extensions[1].1 = data("x")),
    ("extensions", "format.spelling", |r| r.extensions[1].1 = data("")),
];

#[test]
fn any_surplus_or_lack_is_a_difference_though_the_ca_signed_it() {
    for (n, (field, _, change)) in SURPLUS.iter().enumerate() {
        let found = differs(&Raw::with(change).signed(), &terms());
        assert!(found.contains(field), "{n}: expected {field}, found {found:?}");
        assert!(!found.contains(&"signature"), "{n}: {found:?}");
    }
}

#[test]
fn the_linter_finds_each_broken_rule() {
    let profile = profile(&terms()).unwrap();
    assert_eq!(lint(&Raw::good().body().unwrap(), &profile), Ok(()));
    for (n, (_, rule, change)) in SURPLUS.iter().enumerate() {
        let body = Raw::with(change).body().unwrap();
        let findings = lint(&body, &profile).unwrap_err();
        assert!(findings.iter().any(|finding| finding.rule == *rule), "{n}: {rule} not in {findings:?}");
    }
}

#[test]
fn the_linter_finds_what_differs_from_the_profile() {
    let body = Raw::good().body().unwrap();
    for (rule, other) in [
        ("nonce", profile_with(&terms(), |i| i.nonce = [4; 32])),
        (
            "public_key",
            profile_with(&terms(), |i| i.public_key = Ed25519Key::from(&SigningKey::from_bytes(&[8; 32]))),
        ),
        (
            "ca_key",
            profile_with(&terms(), |i| i.ca_key = Ed25519Key::from(&SigningKey::from_bytes(&[8; 32]))),
        ),
        ("serial", profile_with(&terms(), |i| i.serial = 1235)),
        ("times", profile_with(&terms(), |i| i.at += 1)),
        ("extensions", profile(&Terms { record: Record::None, ..terms() })),
    ] {
        let findings = lint(&body, &other.unwrap()).unwrap_err();
        assert!(findings.iter().any(|finding| finding.rule == rule), "{rule}: {findings:?}");
    }
}

#[test]
fn malformed_certificates_are_not_read_at_all() {
    let order = |what| CertificateError::Order(what);
    let field = |what| CertificateError::Field(what);
    let cases: Vec<(CertificateError, Change)> = vec![
        (order("critical options"), |r| r.critical.reverse()),
        (order("critical options"), |r| r.critical.push(pair("source-address", "10.0.0.0/8"))),
        (order("extensions"), |r| r.extensions.reverse()),
        (order("extensions"), |r| r.extensions.push(pair("receipt@fireaxe", RECEIPT))),
        (order("extensions"), |r| r.extensions.insert(3, pair("receipt@fireaxe", "another"))),
        (order("extensions"), |r| r.extensions.swap(2, 3)),
        (CertificateError::NoReceipt, |r| drop(r.extensions.remove(2))),
        (field("receipt@fireaxe"), |r| r.extensions[2].1.clear()),
        (field("receipt@fireaxe"), |r| r.extensions[2].1 = data("")),
        (field("receipt@fireaxe"), |r| r.extensions[2].1 = data(&"r".repeat(limits::RECEIPT + 1))),
        (field("extensions"), |r| r.extensions[2].1.push(0)),
        (field("extensions"), |r| r.extensions[2].1 = vec![0, 0, 0, 1, 0xff]),
        (field("extensions"), |r| r.extensions[1].0 = b"permit-pty\0".to_vec()),
        (field("reserved field"), |r| r.reserved = vec![0]),
        (field("key id"), |r| r.key_id = b"a\nAccepted publickey for root".to_vec()),
        (field("key id"), |r| r.key_id = b"a\x1b[2J".to_vec()),
        (field("key id"), |r| r.key_id = b"a\0".to_vec()),
        (field("key id"), |r| r.key_id = "ä".into()),
        (field("principals"), |r| r.principals.push(b"root\n".to_vec())),
        (field("principals"), |r| r.principals.push(b"root\0".to_vec())),
        (field("principals"), |r| r.principals = vec![b"a".to_vec(); 257]),
        (CertificateError::TooLong(0), |r| r.key_id = vec![b'a'; 64 * 1024]),
        // a nested certificate, an RSA-like blob, a key with bytes after it: no authority
        (CertificateError::CaKey, |r| r.authority = Raw::good().signed()),
        (CertificateError::CaKey, |r| r.authority = data("ssh-rsa")),
        (CertificateError::CaKey, |r| r.authority.push(0)),
        (CertificateError::CaKey, |r| r.authority.clear()),
    ];
    for (n, (error, change)) in cases.into_iter().enumerate() {
        let certificate = Raw::with(change).signed();
        let found = cut_receipt(&certificate).unwrap_err();
        let same = match found {
            CertificateError::TooLong(_) => error == CertificateError::TooLong(0),
            ref found => *found == error,
        };
        assert!(same, "{n}: {error:?}, found {found:?}");
        assert!(check(&certificate, &terms()).is_err(), "{n}");
    }
}

#[test]
fn a_body_holds_no_receipt_and_no_signature() {
    assert_eq!(Body::read(&Raw::good().unsigned()), Err(CertificateError::HasReceipt));
    assert_eq!(Body::read(&issue(&terms())), Err(CertificateError::Trailing));
}

#[test]
fn every_altered_byte_and_every_cut_is_refused() {
    let good = issue(&terms());
    assert!(check(&good, &terms()).is_ok());
    for n in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[n] ^= flip;
            assert!(check(&bad, &terms()).is_err(), "byte {n} ^ {flip:#x}");
        }
        assert!(check(&good[..n], &terms()).is_err(), "cut at {n}");
        assert!(cut_receipt(&good[..n]).is_err(), "cut at {n}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(cut_receipt(&longer), Err(CertificateError::Trailing));
}

#[test]
fn another_cas_signature_is_refused() {
    let signed = Raw::good().unsigned();
    let signature = SigningKey::from_bytes(&[9; 32]).sign(&signed).to_bytes();
    assert_eq!(differs(&assemble(signed, &signature), &terms()), ["signature"]);
}

#[test]
fn clocks_may_differ_by_the_window_and_no_more() {
    let good = issue(&terms());
    let window = limits::STATEMENT_WINDOW_S;
    for now in [NOW, NOW - window, NOW + window, NOW + 1800 + window] {
        assert!(check_at(&good, &terms(), now).is_ok(), "{now}");
    }
    assert!(check_at(&good, &terms(), NOW - window - 1).is_err());
    assert!(check_at(&good, &terms(), NOW + 1800 + window + 1).is_err());
}

#[test]
fn a_certificate_has_one_line_of_text() {
    let line = to_openssh(&issue(&bare()));
    assert!(from_openssh(&line).is_ok());
    for other in [
        format!("{line} comment"),
        format!("{line}\n"),
        format!(" {line}"),
        line.replace(' ', "  "),
        line.replace("ssh-ed25519-cert", "ssh-rsa-cert"),
        line.replace("openssh.com ", "openssh.com\t"),
        line.trim_end_matches('=').to_owned() + "\u{0}",
        String::new(),
    ] {
        assert_eq!(from_openssh(&other), Err(CertificateError::NotOpenSsh), "{other:?}");
    }
    let long = format!("ssh-ed25519-cert-v01@openssh.com {}", "A".repeat(64 * 1024));
    assert!(matches!(from_openssh(&long), Err(CertificateError::TooLong(_))));
}
