//! Host certificates, against `ssh-keygen` and against forgeries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod keygen;

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::certificate::{
    AcceptedHost, CertificateError, Difference, ExpectedHost, HostBody, HostIssue, HostProfile, ProfileError,
    assemble, compare_host, host_certificate, lint_host, to_openssh,
};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::wire::{put_string, put_u32, put_u64};
use keygen::Keygen;

const NOW: u64 = 1_800_000_000;

fn ca() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn key() -> Ed25519Key {
    Ed25519Key::from(&SigningKey::from_bytes(&[2; 32]))
}

fn host() -> HostName {
    "db-3.payments.prod".parse().unwrap()
}

fn profile_with(change: impl FnOnce(&mut HostIssue<'_>)) -> Result<HostProfile, ProfileError> {
    let host = host();
    let mut issue = HostIssue {
        nonce: [3; 32],
        public_key: key(),
        serial: 1234,
        host: &host,
        at: NOW,
        ca_key: Ed25519Key::from(&ca()),
    };
    change(&mut issue);
    HostProfile::of(&issue)
}

fn issued() -> String {
    let body = HostBody::of(&profile_with(|_| ()).unwrap());
    to_openssh(&host_certificate(&body, &ca().sign(body.as_bytes()).to_bytes()))
}

fn check(certificate: &str) -> Result<AcceptedHost, Vec<Difference>> {
    check_at(certificate, NOW)
}

fn check_at(certificate: &str, now: u64) -> Result<AcceptedHost, Vec<Difference>> {
    let host = host();
    let ca_key = Ed25519Key::from(&ca());
    compare_host(certificate, &ExpectedHost { public_key: key(), ca_key, host: &host, now })
}

#[test]
fn what_is_issued_is_linted_accepted_and_read_back() {
    let profile = profile_with(|_| ()).unwrap();
    let body = HostBody::of(&profile);
    assert_eq!(lint_host(&body, &profile), Ok(()));
    assert_eq!(HostBody::read(body.as_bytes()), Ok(body));
    let accepted = check(&issued()).unwrap();
    let week = NOW + limits::HOST_CERTIFICATE_S;
    assert_eq!(accepted, AcceptedHost { serial: 1234, valid_after: NOW - 120, valid_before: week });
}

#[test]
fn ssh_keygen_reads_the_same_fields_and_no_others() {
    let tool = Keygen::new();
    tool.put("host-cert.pub", issued());
    let listing = tool.ok(&["-L", "-f", "host-cert.pub"]);
    let lines: Vec<&str> = listing.lines().map(str::trim).collect();
    let fingerprint = |key: Ed25519Key| key.fingerprint().to_string();
    let expected = [
        "Type: ssh-ed25519-cert-v01@openssh.com host certificate".to_owned(),
        format!("Public key: ED25519-CERT {}", fingerprint(key())),
        format!("Signing CA: ED25519 {} (using ssh-ed25519)", fingerprint(Ed25519Key::from(&ca()))),
        "Key ID: \"fireaxe/host/1234\"".to_owned(),
        "Serial: 1234".to_owned(),
        "Valid: from 2027-01-15T07:58:00 to 2027-01-22T08:00:00".to_owned(),
        "Principals:".to_owned(),
        "db-3.payments.prod".to_owned(),
        "Critical Options: (none)".to_owned(),
        "Extensions: (none)".to_owned(),
    ];
    assert_eq!(lines[1..], expected, "{listing}");
}

#[test]
fn what_cannot_be_certified_is_refused() {
    for serial in [0, limits::CANARY_SERIAL, u64::MAX] {
        assert_eq!(profile_with(|i| i.serial = serial), Err(ProfileError::Serial(serial)));
    }
    let mut identity = [0u8; 32];
    identity[0] = 1;
    assert_eq!(profile_with(|i| i.public_key = Ed25519Key(identity)), Err(ProfileError::PublicKey));
    assert_eq!(profile_with(|i| i.public_key = Ed25519Key::from(&ca())), Err(ProfileError::CaKey));
}

#[test]
fn the_longest_name_fits() {
    let long: HostName =
        format!("{}.{}.{}.{}", "a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(61))
            .parse()
            .unwrap();
    let profile = profile_with(|_| ()).map(drop).and(HostProfile::of(&HostIssue {
        nonce: [3; 32],
        public_key: key(),
        serial: limits::CANARY_SERIAL - 1,
        host: &long,
        at: NOW,
        ca_key: Ed25519Key::from(&ca()),
    }));
    let profile = profile.unwrap();
    assert_eq!(lint_host(&HostBody::of(&profile), &profile), Ok(()));
}

/// A host certificate written freely.
#[derive(Clone)]
struct Raw {
    kind: u32,
    serial: u64,
    key_id: Vec<u8>,
    principals: Vec<Vec<u8>>,
    times: (u64, u64),
    critical: Vec<(Vec<u8>, Vec<u8>)>,
    extensions: Vec<(Vec<u8>, Vec<u8>)>,
    public_key: [u8; 32],
    authority: Vec<u8>,
}

impl Raw {
    fn with(change: impl FnOnce(&mut Raw)) -> Raw {
        let mut raw = Raw {
            kind: 2,
            serial: 1234,
            key_id: b"fireaxe/host/1234".to_vec(),
            principals: vec![b"db-3.payments.prod".to_vec()],
            times: (NOW - 120, NOW + limits::HOST_CERTIFICATE_S),
            critical: Vec::new(),
            extensions: Vec::new(),
            public_key: key().0,
            authority: Ed25519Key::from(&ca()).to_blob(),
        };
        change(&mut raw);
        raw
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, b"ssh-ed25519-cert-v01@openssh.com");
        put_string(&mut out, &[3; 32]);
        put_string(&mut out, &self.public_key);
        put_u64(&mut out, self.serial);
        put_u32(&mut out, self.kind);
        put_string(&mut out, &self.key_id);
        let mut principals = Vec::new();
        self.principals.iter().for_each(|p| put_string(&mut principals, p));
        put_string(&mut out, &principals);
        put_u64(&mut out, self.times.0);
        put_u64(&mut out, self.times.1);
        for list in [&self.critical, &self.extensions] {
            let mut pairs = Vec::new();
            for (name, data) in list {
                put_string(&mut pairs, name);
                put_string(&mut pairs, data);
            }
            put_string(&mut out, &pairs);
        }
        put_string(&mut out, b"");
        put_string(&mut out, &self.authority);
        out
    }

    fn signed(&self) -> String {
        let signed = self.unsigned();
        let signature = ca().sign(&signed).to_bytes();
        to_openssh(&assemble(signed, &signature))
    }
}

type Change = fn(&mut Raw);

/// Signed by the host CA, and not what was agreed: the field in which it differs, and what the reader of
/// bodies or the linter calls it.
const SURPLUS: &[(&str, &str, Change)] = &[
    ("type", "type", |r| r.kind = 1),
    ("key id", "key_id", |r| r.key_id = b"fireaxe/EM-42/ana/1234".to_vec()),
    ("key id", "serial", |r| r.serial = 1235),
    ("principals", "principals", |r| r.principals.clear()),
    ("principals", "principals", |r| r.principals[0] = b"db-4.payments.prod".to_vec()),
    ("principals", "principals", |r| r.principals.push(b"db-4.payments.prod".to_vec())),
    ("principals", "principals", |r| r.principals[0] = b"*.payments.prod".to_vec()),
    ("public key", "public_key", |r| r.public_key = Ed25519Key::from(&SigningKey::from_bytes(&[7; 32])).0),
    ("valid after", "times", |r| r.times.0 = NOW + 301),
    ("valid before", "times", |r| r.times.1 = NOW - 301),
    ("valid before", "times.lifetime", |r| r.times.1 += 1),
    ("critical options", "critical options", |r| {
        let mut data = Vec::new();
        put_string(&mut data, b"/bin/sh");
        r.critical.push((b"force-command".to_vec(), data));
    }),
    ("extensions", "extensions", |r| r.extensions.push((b"permit-pty".to_vec(), Vec::new()))),
];

#[test]
fn any_surplus_or_lack_is_a_difference_though_the_host_ca_signed_it() {
    assert_eq!(Raw::with(|_| ()).signed(), issued(), "the free writer agrees with the profile");
    for (n, (field, _, change)) in SURPLUS.iter().enumerate() {
        let differences = check(&Raw::with(change).signed()).unwrap_err();
        let fields: Vec<&str> = differences.iter().map(|d| d.field).collect();
        assert!(fields.contains(field) && !fields.contains(&"signature"), "{n}: {field}: {differences:?}");
    }
}

#[test]
fn no_body_but_the_profiles_passes_reader_and_linter() {
    let profile = profile_with(|_| ()).unwrap();
    for (n, (_, rule, change)) in SURPLUS.iter().enumerate() {
        match HostBody::read(&Raw::with(change).unsigned()) {
            Err(CertificateError::Field(field)) => assert_eq!(field, *rule, "{n}"),
            Err(other) => panic!("{n}: {other:?}"),
            Ok(body) => {
                let findings = lint_host(&body, &profile).unwrap_err();
                assert!(findings.iter().any(|f| f.rule == *rule), "{n}: {rule} not in {findings:?}");
            }
        }
    }
}

#[test]
fn every_altered_byte_and_another_authority_is_refused() {
    let good = fireaxe_protocol::certificate::from_openssh(&issued()).unwrap();
    for n in 0..good.len() {
        let mut bad = good.clone();
        bad[n] ^= 1;
        assert!(check(&to_openssh(&bad)).is_err(), "byte {n}");
        assert!(check(&to_openssh(&good[..n])).is_err(), "cut at {n}");
    }
    let body = HostBody::of(&profile_with(|_| ()).unwrap());
    let other = SigningKey::from_bytes(&[9; 32]).sign(body.as_bytes()).to_bytes();
    let differences = check(&to_openssh(&host_certificate(&body, &other))).unwrap_err();
    assert_eq!(differences.iter().map(|d| d.field).collect::<Vec<_>>(), ["signature"]);
}

#[test]
fn clocks_may_differ_by_the_window_and_no_more() {
    let window = limits::STATEMENT_WINDOW_S;
    let end = NOW + limits::HOST_CERTIFICATE_S;
    for (now, good) in [
        (NOW - 120 - window, true),
        (NOW - 120 - window - 1, false),
        (end + window, true),
        (end + window + 1, false),
    ] {
        assert_eq!(check_at(&issued(), now).is_ok(), good, "{now}");
    }
}
