//! Statements and their signatures, against `ssh-keygen -Y` and against forgeries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod keygen;

use std::path::Path;

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::policy::Presence;
use fireaxe_protocol::statement::{
    Claimed, Close, Declare, EnrolledKey, Envelope, Header, Kind, Login, Nonce, Params, SignatureError,
    Signed, Statement, sign_ed25519,
};
use keygen::Keygen;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use ssh_key::private::EcdsaPrivateKey;
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature, SshSig};

const ORIGIN: &str = "ca.example/0123456789abcdef";
const START: &str = "{\"v\":1,\"kind\":\"";

fn header(kind: Kind) -> Header {
    Header { kind, to: ORIGIN.parse().unwrap(), nonce: Nonce([7; 16]), at: 1_800_000_000 }
}

fn fresh() -> Ed25519Key {
    Ed25519Key::from(&SigningKey::from_bytes(&[9; 32]))
}

fn declare() -> Statement {
    Statement::Declare(Declare {
        header: header(Kind::Declare),
        target: "payments-db".parse().unwrap(),
        severity: Some(2.try_into().unwrap()),
        incident: Some("pd:PGR0VU2".parse().unwrap()),
        reason: "primary \"refuses\" writes — Störung".parse().unwrap(),
        want: None,
        action: None,
        params: Params::default(),
        for_s: Some(1800),
        drill: false,
        public_key: fresh(),
    })
}

fn login() -> Statement {
    Statement::Login(Login { header: header(Kind::Login), session_key: fresh(), for_s: 3600 })
}

fn enrolled(key: &SigningKey) -> EnrolledKey {
    EnrolledKey::read(&format!("{} ana-spare", Ed25519Key::from(key))).unwrap()
}

fn check(envelope: &Envelope, key: &EnrolledKey) -> Result<Signed, SignatureError> {
    Claimed::read(envelope.clone())?.verify(key)
}

// --- plain keys -----------------------------------------------------------------------------------------

#[test]
fn a_software_key_proves_who_and_no_presence() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let envelope = sign_ed25519(&key, Kind::Declare, &declare().write());
    let claimed = Claimed::read(envelope.clone()).unwrap();
    assert_eq!(claimed.fingerprint(), &enrolled(&key).fingerprint);
    let signed = claimed.verify(&enrolled(&key)).unwrap();
    assert_eq!((signed.presence, signed.counter), (Presence::None, None));
    assert_eq!(signed.statement, declare());
    assert_eq!(signed.envelope, envelope);
}

#[test]
fn ssh_keygen_verifies_our_signatures() {
    let tool = Keygen::new();
    let key = SigningKey::from_bytes(&[1; 32]);
    let text = declare().write();
    let envelope = sign_ed25519(&key, Kind::Declare, &text);
    tool.put("allowed", format!("ana {}\n", Ed25519Key::from(&key)));
    tool.put("sig", &envelope.signature);
    let message = tool.put("statement", &text);
    let verify = |namespace: &str, message: &Path| {
        let args = ["-Y", "verify", "-f", "allowed", "-I", "ana", "-n", namespace, "-s", "sig"];
        tool.run(&args, message).status.success()
    };
    assert!(verify("declare.v1@fireaxe", &message));
    assert!(!verify("close.v1@fireaxe", &message));
    assert!(!verify("declare.v1@fireaxe", &tool.put("altered", text.replace("1800", "1801"))));
}

#[test]
fn signatures_by_ssh_keygen_are_verified_here() {
    let tool = Keygen::new();
    let key = EnrolledKey::read(&tool.make("ed25519", "ana")).unwrap();
    let text = login().write();
    for hash in ["sha512", "sha256"] {
        let message = tool.put("statement", &text);
        let namespace = Kind::Login.namespace();
        let option = format!("hashalg={hash}");
        let out = tool.run(&["-Y", "sign", "-f", "ana", "-n", namespace, "-O", &option], &message);
        let envelope =
            Envelope { statement: text.clone(), signature: String::from_utf8(out.stdout).unwrap() };
        assert_eq!(check(&envelope, &key).unwrap().presence, Presence::None, "{hash}");
    }
}

#[test]
fn our_armor_is_what_ssh_keygen_writes() {
    let tool = Keygen::new();
    tool.make("ed25519", "ana");
    let text = login().write();
    let message = tool.put("statement", &text);
    let theirs = tool.run(&["-Y", "sign", "-f", "ana", "-n", Kind::Login.namespace()], &message).stdout;
    let ours = sign_ed25519(&tool.signing_key("ana"), Kind::Login, &text).signature;
    assert_eq!(ours.as_bytes(), theirs);
}

#[test]
fn a_signature_under_another_namespace_is_none() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let envelope = sign_ed25519(&key, Kind::Close, &declare().write());
    let error = Claimed::read(envelope).unwrap_err();
    let found = "\"close.v1@fireaxe\"".to_owned();
    assert_eq!(error, SignatureError::Namespace { found, expected: "declare.v1@fireaxe" });
}

#[test]
fn an_altered_statement_or_another_key_is_a_mismatch() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let mut envelope = sign_ed25519(&key, Kind::Declare, &declare().write());
    let other = enrolled(&SigningKey::from_bytes(&[2; 32]));
    assert_eq!(check(&envelope, &other).unwrap_err(), SignatureError::Mismatch);
    envelope.statement = envelope.statement.replace("payments-db", "payments-dc");
    assert_eq!(check(&envelope, &enrolled(&key)).unwrap_err(), SignatureError::Mismatch);
}

#[test]
fn every_altered_character_of_the_signature_is_refused() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let good = sign_ed25519(&key, Kind::Close, &close().write());
    let enrolled = enrolled(&key);
    for n in 0..good.signature.len() {
        let mut bytes = good.signature.clone().into_bytes();
        bytes[n] = if bytes[n] == b'A' { b'B' } else { b'A' };
        let bad = Envelope { signature: String::from_utf8(bytes).unwrap(), ..good.clone() };
        assert!(check(&bad, &enrolled).is_err(), "character {n}");
    }
}

fn close() -> Statement {
    Statement::Close(Close {
        header: header(Kind::Close),
        of: "a".repeat(64).parse().unwrap(),
        emergency: "EM-42".parse().unwrap(),
        uses: None,
    })
}

#[test]
fn text_around_the_armor_and_oversize_are_refused() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let good = sign_ed25519(&key, Kind::Close, &close().write());
    let with = |signature: String| Claimed::read(Envelope { signature, ..good.clone() }).err();
    assert_eq!(with(good.signature.clone()), None);
    assert_eq!(with(good.signature.trim_end().to_owned()), None);
    let unreadable = Some(SignatureError::Unreadable);
    for signature in [
        format!("hello\n{}", good.signature),
        format!("{}hello", good.signature),
        format!("{}\n", good.signature),
        format!("{0}{0}", good.signature),
        good.signature.replace("SSH SIGNATURE", "SSH CERTIFICATE"),
        String::new(),
    ] {
        assert_eq!(with(signature.clone()), unreadable, "{signature}");
    }
    let n = limits::SIGNATURE + 1;
    assert_eq!(with("A".repeat(n)), Some(SignatureError::TooLong(n)));
    assert_eq!(with("A".repeat(limits::SIGNATURE)), unreadable);
}

// --- other types ----------------------------------------------------------------------------------------

#[test]
fn rsa_and_plain_ecdsa_neither_enrol_nor_sign() {
    let tool = Keygen::new();
    for (kind, word) in [("rsa", "RSA"), ("ecdsa", "ECDSA")] {
        let line = tool.make(kind, kind);
        assert!(EnrolledKey::read(&line).unwrap_err().rule.contains(word));
        let message = tool.put("statement", close().write());
        let out = tool.run(&["-Y", "sign", "-f", kind, "-n", Kind::Close.namespace()], &message);
        let signature = String::from_utf8(out.stdout).unwrap();
        let error = Claimed::read(Envelope { statement: close().write(), signature }).unwrap_err();
        assert!(matches!(error, SignatureError::Algorithm(_)), "{kind}: {error:?}");
    }
}

#[test]
fn a_certificate_neither_enrols_nor_signs() {
    let tool = Keygen::new();
    tool.make("ed25519", "ca");
    tool.make("ed25519", "ana");
    tool.ok(&["-q", "-s", "ca", "-I", "id", "-n", "ana", "ana.pub"]);
    let line = tool.text("ana-cert.pub");
    assert!(EnrolledKey::read(line.trim_end()).unwrap_err().rule.contains("certificate"));
    let message = tool.put("statement", close().write());
    let out = tool.run(&["-Y", "sign", "-f", "ana-cert.pub", "-n", Kind::Close.namespace()], &message);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let signature = String::from_utf8(out.stdout).unwrap();
    let error = Claimed::read(Envelope { statement: close().write(), signature }).unwrap_err();
    assert_eq!(error, SignatureError::Algorithm("a certificate".to_owned()));
}

// --- FIDO keys, emulated --------------------------------------------------------------------------------

/// What an authenticator signs: application hash, flags, counter, message hash (PROTOCOL.u2f).
fn authenticator_data(application: &str, flags: u8, counter: u32, message: &[u8]) -> Vec<u8> {
    let mut out = Sha256::digest(application).to_vec();
    out.push(flags);
    out.extend(counter.to_be_bytes());
    out.extend(Sha256::digest(message));
    out
}

/// The point of the scalar 0x0505...05, uncompressed.
const P256_POINT: &str = "0407810ea974cea5773e63b897f37e3be9a09e7a5fe9b971a44d1065ac2a3a9311637e47a4f99464a0fdce44a88ec7d703a9183c1d06552d9e2d6b76069481c577";

/// An authenticator in software: flags and counter as told, true or not.
enum Authenticator {
    Ed25519(Box<SigningKey>),
    P256(EcdsaPrivateKey<32>),
}

impl Authenticator {
    /// Fixed keys: `ssh-key` cannot read a P-256 private key whose scalar begins with a zero byte, and one
    /// in 256 that `ssh-keygen` makes does.
    fn both() -> [Authenticator; 2] {
        [
            Authenticator::Ed25519(Box::new(SigningKey::from_bytes(&[3; 32]))),
            Authenticator::P256(EcdsaPrivateKey::from([5; 32])),
        ]
    }

    fn public(&self, application: &str) -> KeyData {
        match self {
            Authenticator::Ed25519(key) => {
                let point = Ed25519PublicKey(key.verifying_key().to_bytes());
                KeyData::SkEd25519(SkEd25519::new(point, application))
            }
            Authenticator::P256(_) => {
                let hex = |n: usize| u8::from_str_radix(&P256_POINT[2 * n..2 * n + 2], 16).unwrap();
                let point: [u8; 65] = std::array::from_fn(hex);
                let EcdsaPublicKey::NistP256(point) = EcdsaPublicKey::from_sec1_bytes(&point).unwrap() else {
                    panic!("another curve")
                };
                KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(point, application))
            }
        }
    }

    fn enrolled(&self) -> EnrolledKey {
        EnrolledKey::read(&self.line("ssh:")).unwrap()
    }

    fn line(&self, application: &str) -> String {
        PublicKey::new(self.public(application), "ana-key-1").to_openssh().unwrap().trim_end().to_owned()
    }

    /// Signs what `signed` says while claiming what `flags` and `counter` say.
    fn sign(&self, application: &str, text: &str, flags: u8, counter: u32, signed: (u8, u32)) -> Envelope {
        let kind = Statement::read(text).unwrap().header().kind;
        let message = SshSig::signed_data(kind.namespace(), HashAlg::Sha512, text.as_bytes()).unwrap();
        let data = authenticator_data(application, signed.0, signed.1, &message);
        let (algorithm, mut raw) = match self {
            Authenticator::Ed25519(key) => (Algorithm::SkEd25519, key.sign(&data).to_bytes().to_vec()),
            Authenticator::P256(key) => {
                let signature: Signature = key.try_sign(&data).unwrap();
                (Algorithm::SkEcdsaSha2NistP256, signature.as_bytes().to_vec())
            }
        };
        raw.push(flags);
        raw.extend(counter.to_be_bytes());
        let signature = Signature::new(algorithm, raw).unwrap();
        let sshsig =
            SshSig::new(self.public(application), kind.namespace(), HashAlg::Sha512, signature).unwrap();
        Envelope { statement: text.to_owned(), signature: sshsig.to_pem(LineEnding::LF).unwrap() }
    }
}

#[test]
fn flags_of_a_fido_key_say_what_is_proved() {
    for authenticator in Authenticator::both() {
        let key = authenticator.enrolled();
        assert!(key.is_hardware());
        for (flags, presence) in [
            (0x00, Presence::None),
            (0x04, Presence::None), // verified but not present: no authenticator says so
            (0xfe, Presence::None),
            (0x01, Presence::Touch),
            (0x05, Presence::Verified),
            (0xff, Presence::Verified),
        ] {
            let envelope = authenticator.sign("ssh:", &declare().write(), flags, 77, (flags, 77));
            let signed = check(&envelope, &key).unwrap();
            assert_eq!((signed.presence, signed.counter), (presence, Some(77)), "flags {flags:#x}");
        }
    }
}

#[test]
fn signatures_whose_numbers_begin_with_zeros_are_read_too() {
    // One ECDSA signature in 128 has a number shorter than 32 bytes.
    let [_, p256] = Authenticator::both();
    let text = declare().write();
    for counter in 0..600 {
        let envelope = p256.sign("ssh:", &text, 1, counter, (1, counter));
        assert_eq!(check(&envelope, &p256.enrolled()).unwrap().counter, Some(counter));
    }
}

#[test]
fn flags_and_counter_are_signed_and_cannot_be_raised() {
    for authenticator in Authenticator::both() {
        let key = authenticator.enrolled();
        let text = declare().write();
        for signed in [(0x00, 77), (0x01, 76)] {
            let envelope = authenticator.sign("ssh:", &text, 0x01, 77, signed);
            assert_eq!(check(&envelope, &key).unwrap_err(), SignatureError::Mismatch);
        }
    }
}

#[test]
fn a_fido_key_counts_for_its_application_only() {
    for authenticator in Authenticator::both() {
        let envelope = authenticator.sign("ssh:other", &declare().write(), 1, 1, (1, 1));
        let claimed = Claimed::read(envelope).unwrap();
        assert_ne!(claimed.fingerprint(), &authenticator.enrolled().fingerprint);
        assert_eq!(claimed.verify(&authenticator.enrolled()).unwrap_err(), SignatureError::Mismatch);
        let web = EnrolledKey::read(&authenticator.line("web.example")).unwrap_err();
        assert!(web.rule.contains("ssh:"));
    }
}

#[test]
fn a_plain_signature_does_not_pass_for_a_fido_key() {
    // The same curve point, enrolled as hardware and signing as software.
    let key = SigningKey::from_bytes(&[3; 32]);
    let hardware = Authenticator::Ed25519(Box::new(key.clone())).enrolled();
    let envelope = sign_ed25519(&key, Kind::Declare, &declare().write());
    assert_eq!(check(&envelope, &hardware).unwrap_err(), SignatureError::Mismatch);
}

#[test]
fn ssh_keygen_verifies_the_emulated_fido_signatures_too() {
    let tool = Keygen::new();
    for authenticator in Authenticator::both() {
        let text = declare().write();
        let envelope = authenticator.sign("ssh:", &text, 1, 5, (1, 5));
        tool.put("allowed", format!("ana {}\n", authenticator.line("ssh:")));
        tool.put("sig", &envelope.signature);
        let message = tool.put("statement", &text);
        let args = ["-Y", "verify", "-f", "allowed", "-I", "ana", "-n", "declare.v1@fireaxe", "-s", "sig"];
        let out = tool.run(&args, &message);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

// --- properties -----------------------------------------------------------------------------------------

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        nonce in any::<[u8; 16]>(),
        at in any::<u64>(),
        target in "[a-z][a-z0-9._-]{0,31}",
        severity in proptest::option::of(1u8..=4),
        incident in proptest::option::of("[a-z]{1,16}:[A-Za-z0-9._-]{1,64}"),
        reason in "[ -~äöß—\"\\\\]{1,200}".prop_filter("blank", |r| !r.trim().is_empty()),
        want in proptest::option::of("[a-z][a-z0-9._-]{0,31}"),
        for_s in proptest::option::of(any::<u32>()),
        drill in any::<bool>(),
        of in any::<[u8; 32]>(),
        number in 1..=u64::MAX,
    ) {
        let header = |kind| Header { kind, to: ORIGIN.parse().unwrap(), nonce: Nonce(nonce), at };
        let declare = Statement::Declare(Declare {
            header: header(Kind::Declare),
            target: target.parse().unwrap(),
            severity: severity.map(|s| s.try_into().unwrap()),
            incident: incident.map(|i| i.parse().unwrap()),
            reason: reason.parse().unwrap(),
            want: want.map(|w| w.parse().unwrap()),
            action: None,
            params: Params::default(),
            for_s,
            drill,
            public_key: fresh(),
        });
        let close = Statement::Close(Close {
            header: header(Kind::Close),
            of: fireaxe_protocol::log::Hash(of),
            emergency: fireaxe_protocol::names::EmergencyId(number),
        uses: None,
        });
        let login = Statement::Login(Login {
            header: header(Kind::Login),
            session_key: fresh(),
            for_s: for_s.unwrap_or(1),
        });
        for statement in [declare, close, login] {
            let text = statement.write();
            prop_assert!(text.starts_with(START));
            prop_assert_eq!(Statement::read(&text), Ok(statement));
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(text in ".{0,300}", signature in "\\PC{0,300}") {
        let _ = Statement::read(&text);
        let _ = EnrolledKey::read(&text);
        let armored = format!("-----BEGIN SSH SIGNATURE-----\n{signature}\n-----END SSH SIGNATURE-----\n");
        let _ = Claimed::read(Envelope { statement: text, signature: armored });
    }
}
