//! The certificate profile, against `ssh-keygen` and against forgeries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod forged;
#[path = "../keygen/mod.rs"]
mod keygen;
mod properties;
mod raw;
mod refused;

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::certificate::{
    Accepted, Body, CertificateError, Difference, Expected, Fields, HostTerms, Issue, Profile, ProfileError,
    Subject, Within, assemble, compare, cut_receipt, from_openssh, key_id, lint, to_openssh,
};
use fireaxe_protocol::host::SessionCommand;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Extension, Presence, Record, Terms};
use fireaxe_protocol::wire::{put_string, put_u32, put_u64};
use keygen::Keygen;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
/// What the certificate of [`terms`] forces: the recorder, with their command spelled out.
const LOOK: &str = "/usr/libexec/fireaxe/session run '/usr/libexec/fireaxe/look --all'";
const RECEIPT: &str = "c2sp.org/tlog-proof@v1\nextra e30=\nindex 1234\n\n— log+key sig\n";

fn ca() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn fresh() -> Ed25519Key {
    Ed25519Key::from(&SigningKey::from_bytes(&[2; 32]))
}

fn ana() -> PersonName {
    "ana".parse().unwrap()
}

fn terms() -> Terms {
    Terms {
        tier: "guarded".parse().unwrap(),
        power: 3,
        account: "root".parse().unwrap(),
        principals: vec!["root:payments-db".parse().unwrap()],
        force_command: Some("/usr/libexec/fireaxe/look --all".to_owned()),
        extensions: vec![Extension::PortForwarding, Extension::Pty],
        source_address: vec!["10.2.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        lifetime_s: 1800,
        approvals: Vec::new(),
        presence: Presence::None,
        record: Record::BestEffort,
        krl_max_age_s: Some(600),
        grace_s: 120,
        action: None,
    }
}

fn bare() -> Terms {
    let none = Terms { force_command: None, extensions: Vec::new(), source_address: Vec::new(), ..terms() };
    Terms { krl_max_age_s: None, record: Record::None, ..none }
}

fn profile(terms: &Terms) -> Result<Profile, ProfileError> {
    profile_with(terms, |_| {})
}

fn profile_with(terms: &Terms, change: impl FnOnce(&mut Issue<'_>)) -> Result<Profile, ProfileError> {
    let person = ana();
    let mut issue = Issue {
        nonce: [3; 32],
        public_key: fresh(),
        serial: 1234,
        subject: Subject::Person(EmergencyId(42), &person),
        at: NOW,
        grant_end: u64::MAX,
        within: None,
        ca_key: Ed25519Key::from(&ca()),
    };
    change(&mut issue);
    Profile::from_terms(terms, &issue)
}

fn sign(signed: Vec<u8>) -> Vec<u8> {
    let signature = ca().sign(&signed).to_bytes();
    assemble(signed, &signature)
}

fn issue(terms: &Terms) -> Vec<u8> {
    sign(Body::of(&profile(terms).unwrap()).with_receipt(RECEIPT))
}

fn check(certificate: &[u8], terms: &Terms) -> Result<Accepted, Vec<Difference>> {
    check_at(certificate, terms, NOW)
}

fn check_at(certificate: &[u8], terms: &Terms, now: u64) -> Result<Accepted, Vec<Difference>> {
    let expected = Expected {
        public_key: fresh(),
        terms,
        ca_key: Ed25519Key::from(&ca()),
        subject: Subject::Person(EmergencyId(42), &ana()),
        within: None,
        now,
    };
    compare(&to_openssh(certificate), &expected)
}

fn differs(certificate: &[u8], terms: &Terms) -> Vec<&'static str> {
    check(certificate, terms).unwrap_err().into_iter().map(|difference| difference.field).collect()
}

#[test]
fn what_is_issued_is_linted_accepted_and_cut_to_the_same_body() {
    for terms in [terms(), bare()] {
        let profile = profile(&terms).unwrap();
        let body = Body::of(&profile);
        assert_eq!(lint(&body, &profile), Ok(()));
        let certificate = sign(body.with_receipt(RECEIPT));
        let accepted = check(&certificate, &terms).unwrap();
        assert_eq!(accepted.body, body);
        assert_eq!(accepted.receipt, RECEIPT);
        assert_eq!((accepted.serial, accepted.key_id.as_str()), (1234, "fireaxe/EM-42/ana/1234"));
        assert_eq!((accepted.valid_after, accepted.valid_before), (NOW - 120, NOW + 1800));
        let cut = cut_receipt(&certificate).unwrap();
        assert_eq!((cut.body, cut.receipt.as_str()), (body.clone(), RECEIPT));
        assert_eq!(Body::read(body.as_bytes()), Ok(body));
    }
}

#[test]
fn ssh_keygen_reads_the_same_fields() {
    let tool = Keygen::new();
    tool.put("full-cert.pub", to_openssh(&issue(&terms())));
    let listing = tool.ok(&["-L", "-f", "full-cert.pub"]);
    let lines: Vec<&str> = listing.lines().map(str::trim).collect();
    let fingerprint = |key: Ed25519Key| key.fingerprint().to_string();
    let expected = [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate".to_owned(),
        format!("Public key: ED25519-CERT {}", fingerprint(fresh())),
        format!("Signing CA: ED25519 {} (using ssh-ed25519)", fingerprint(Ed25519Key::from(&ca()))),
        "Key ID: \"fireaxe/EM-42/ana/1234\"".to_owned(),
        "Serial: 1234".to_owned(),
        "Valid: from 2027-01-15T07:58:00 to 2027-01-15T08:30:00".to_owned(),
        "Principals:".to_owned(),
        "root:payments-db".to_owned(),
        "Critical Options:".to_owned(),
        format!("force-command {LOOK}"),
        "source-address 10.2.0.0/16,2001:db8::/32".to_owned(),
        "Extensions:".to_owned(),
        "permit-port-forwarding".to_owned(),
        "permit-pty".to_owned(),
    ];
    assert_eq!(lines[1..=expected.len()], expected, "{listing}");
    let rest = lines[expected.len() + 1..].join("\n");
    assert!(
        rest.starts_with("receipt@fireaxe UNKNOWN OPTION") && rest.contains("terms@fireaxe UNKNOWN"),
        "{rest}"
    );

    tool.put("bare-cert.pub", to_openssh(&issue(&bare())));
    let listing = tool.ok(&["-L", "-f", "bare-cert.pub"]);
    assert!(listing.contains("Critical Options: (none)") && !listing.contains("permit-"), "{listing}");
}

#[test]
fn certificates_by_ssh_keygen_are_read_here() {
    let tool = Keygen::new();
    let authority: Ed25519Key = tool.make("ed25519", "ca").parse().unwrap();
    let subject: Ed25519Key = tool.make("ed25519", "ana").parse().unwrap();
    tool.ok(&[
        "-q",
        "-s",
        "ca",
        "-I",
        "some id",
        "-n",
        "deploy,root",
        "-z",
        "77",
        "-V",
        "20270101Z:20270102Z",
        "-O",
        "force-command=id",
        "-O",
        "source-address=10.0.0.0/8",
        "-O",
        "no-pty",
        "ana.pub",
    ]);
    let text = tool.text("ana-cert.pub");
    let line =
        text.trim_end().rsplit_once(' ').filter(|(l, _)| l.contains(' ')).map_or(text.trim_end(), |(l, _)| l);
    let bytes = from_openssh(line).unwrap();
    let (fields, _) = Fields::of_signed(&bytes).unwrap();
    assert_eq!((fields.serial, fields.kind, fields.key_id), (77, 1, "some id"));
    assert_eq!(fields.principals, ["deploy", "root"]);
    assert_eq!((fields.ca_key, fields.public_key), (authority, subject));
    assert_eq!(fields.valid_before - fields.valid_after, 86_400);
    let options: Vec<_> = fields.critical_options.iter().map(|pair| (pair.name, pair.value)).collect();
    assert_eq!(options, [("force-command", Some("id")), ("source-address", Some("10.0.0.0/8"))]);
    let extensions: Vec<_> = fields.extensions.iter().map(|pair| (pair.name, pair.value)).collect();
    assert_eq!(
        extensions,
        [
            ("permit-X11-forwarding", None),
            ("permit-agent-forwarding", None),
            ("permit-port-forwarding", None),
            ("permit-user-rc", None),
        ]
    );
    assert_eq!(cut_receipt(&bytes), Err(CertificateError::NoReceipt));
}
