//! Revocation lists, against `ssh-keygen -Q` and `-k` with their exact exit codes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod keygen;

use fireaxe_protocol::certificate::{Fields, from_openssh};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::{Krl, KrlError, RevocationList, canary_ca, canary_certificate};
use fireaxe_protocol::limits;
use fireaxe_protocol::wire::{put_string, put_u32, put_u64};
use keygen::Keygen;
use proptest::prelude::*;

const REVOKED: i32 = 1;
const FREE: i32 = 0;
const UNREADABLE: i32 = 255;

/// Certificates `c<serial>-cert.pub` of the CA `name`, which is made here.
fn certificates(tool: &Keygen, name: &str, serials: &[u64]) -> Ed25519Key {
    let authority = tool.make("ed25519", name);
    for serial in serials {
        let file = format!("{name}{serial}");
        tool.make("ed25519", &file);
        let id = format!("id-{serial}");
        let public = format!("{file}.pub");
        tool.ok(&["-q", "-s", name, "-I", &id, "-n", "root:web", "-z", &serial.to_string(), &public]);
    }
    authority.parse().unwrap()
}

#[test]
fn ssh_keygen_agrees_with_our_lists_serial_by_serial() {
    let tool = Keygen::new();
    let serials = [1, 2, 3, 4, 5, 6, 7, 50, 1 << 40, limits::CANARY_SERIAL - 1, limits::CANARY_SERIAL];
    let a = certificates(&tool, "a", &serials);
    let b = certificates(&tool, "b", &[2, 7]);
    let mut krl = Krl::new(41, 1_800_000_000, a);
    for serial in [2, 4, 5, 6, 1 << 40] {
        krl.revoke(a, serial).unwrap();
    }
    krl.revoke(b, 7).unwrap();
    let bytes = krl.write();
    tool.put("krl", &bytes);
    let read = RevocationList::read(&bytes).unwrap();
    assert_eq!((read.version, read.generated_at), (41, 1_800_000_000));
    for (name, authority, serials) in [("a", a, &serials[..]), ("b", b, &[2, 7])] {
        for serial in serials {
            let expected = match (name, serial) {
                ("a", 2 | 4 | 5 | 6) | ("b", 7) => REVOKED,
                (_, s) if *s == 1 << 40 || *s == limits::CANARY_SERIAL => REVOKED,
                _ => FREE,
            };
            assert_eq!(tool.query("krl", &format!("{name}{serial}-cert.pub")), expected, "{name} {serial}");
            assert_eq!(read.is_revoked(&authority, *serial), expected == REVOKED, "{name} {serial}");
        }
    }
    // The keys themselves are free: it revokes no more than it should.
    assert_eq!((tool.query("krl", "a.pub"), tool.query("krl", "a2.pub")), (FREE, FREE));
}

#[test]
fn the_canary_proves_that_a_list_is_in_force() {
    let tool = Keygen::new();
    let authority = certificates(&tool, "a", &[1]);
    tool.put("canary-cert.pub", canary_certificate());
    tool.put("canary-ca.pub", canary_ca().to_string());
    let bytes = Krl::new(1, 2, authority).write();
    tool.put("krl", &bytes);
    assert_eq!(tool.query("krl", "canary-cert.pub"), REVOKED);
    assert_eq!(tool.query("krl", "a.pub"), FREE);
    assert_eq!(tool.query("krl", "a1-cert.pub"), FREE);
    assert_eq!(tool.query("krl", "canary-ca.pub"), FREE);

    // Both fail open on sshd; the canary tells, because only exactly 1 is good.
    tool.put("empty", b"");
    tool.put("header", &bytes[..44]);
    assert_eq!(tool.query("empty", "canary-cert.pub"), UNREADABLE);
    assert_eq!(tool.query("header", "canary-cert.pub"), FREE);
    assert_eq!(RevocationList::read(b""), Err(KrlError::Magic));
    assert_eq!(RevocationList::read(&bytes[..44]), Err(KrlError::HeaderOnly));
}

#[test]
fn the_canary_certificate_is_a_constant_that_everybody_reads() {
    let tool = Keygen::new();
    let text = canary_certificate();
    assert_eq!(text, canary_certificate());
    tool.put("canary-cert.pub", &text);
    let listing = tool.ok(&["-L", "-f", "canary-cert.pub"]);
    assert!(listing.contains(&format!("Serial: {}", limits::CANARY_SERIAL)), "{listing}");
    assert!(listing.contains(&canary_ca().fingerprint().to_string()), "{listing}");
    let bytes = from_openssh(&text).unwrap();
    let (fields, _) = Fields::of_signed(&bytes).unwrap();
    assert_eq!((fields.serial, fields.valid_before, fields.ca_key), (limits::CANARY_SERIAL, 1, canary_ca()));
    assert!(ssh_key::Certificate::from_bytes(&bytes).unwrap().verify_signature().is_ok());
}

#[test]
fn every_cut_is_refused_here_and_by_ssh_keygen() {
    let tool = Keygen::new();
    let authority = certificates(&tool, "a", &[1]);
    let mut krl = Krl::new(1, 2, authority);
    for serial in [9, 11, 12, 13, 14] {
        krl.revoke(authority, serial).unwrap();
    }
    let bytes = krl.write();
    let first_section_ends = 44 + 5 + u32::from_be_bytes(bytes[45..49].try_into().unwrap()) as usize;
    for n in 0..bytes.len() {
        // A list cut between two sections is whole to every reader; its signed note is what tells.
        assert_eq!(RevocationList::read(&bytes[..n]).is_ok(), n == first_section_ends, "cut at {n}");
    }
    for n in [45, 50, 100, bytes.len() - 1] {
        tool.put("cut", &bytes[..n]);
        assert_eq!(tool.query("cut", "a1-cert.pub"), UNREADABLE, "cut at {n}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(RevocationList::read(&longer).is_err());
}

// --- lists by ssh-keygen --------------------------------------------------------------------------------

/// Makes a list from `ssh-keygen -k` specification lines for the CA `a`.
fn theirs(tool: &Keygen, lines: &str) -> Vec<u8> {
    tool.put("spec", lines);
    tool.ok(&["-q", "-k", "-f", "theirs", "-s", "a.pub", "-z", "5", "spec"]);
    tool.get("theirs")
}

#[test]
fn lists_by_ssh_keygen_with_lists_ranges_and_bitmaps_are_read_here() {
    let tool = Keygen::new();
    let authority = certificates(&tool, "a", &[]);
    let other = Ed25519Key([7; 32]);
    for (lines, revoked) in [
        ("serial: 5\n", vec![5]),
        ("serial: 5\nserial: 9000000000\n", vec![5, 9_000_000_000]),
        ("serial: 100-9000\n", (100..=9000).collect()),
        (
            &(0..40).map(|n| format!("serial: {}\n", 1000 + n * 2)).collect::<String>(),
            (0..40).map(|n| 1000 + n * 2).collect(),
        ),
        (
            &(0..300).map(|n| format!("serial: {}\n", 7 + n * n)).collect::<String>(),
            (0..300).map(|n| 7 + n * n).collect(),
        ),
    ] {
        let read = RevocationList::read(&theirs(&tool, lines)).unwrap();
        assert_eq!(read.version, 5);
        let found: Vec<u64> =
            (0..100_000).chain([9_000_000_000]).filter(|s| read.is_revoked(&authority, *s)).collect();
        assert_eq!(found, revoked);
        assert!(!revoked.iter().any(|serial| read.is_revoked(&other, *serial)));
    }
}

#[test]
fn lists_by_ssh_keygen_with_keys_ids_and_fingerprints_are_read_here() {
    let tool = Keygen::new();
    let authority = certificates(&tool, "a", &[1]);
    let subject: Ed25519Key = tool.text("a1.pub").trim_end().parse().unwrap();

    let read = RevocationList::read(&theirs(&tool, "id: id-1\n")).unwrap();
    assert!(read.revokes_key_id(&authority, "id-1") && !read.revokes_key_id(&authority, "id-2"));
    assert!(!read.is_revoked(&authority, 1));

    for word in ["key", "sha256"] {
        let read = RevocationList::read(&theirs(&tool, &format!("{word}: {subject}\n"))).unwrap();
        assert!(read.revokes_key(&subject.to_blob()), "{word}");
        assert!(!read.revokes_key(&authority.to_blob()), "{word}");
    }
    let read = RevocationList::read(&theirs(&tool, &format!("sha1: {subject}\n"))).unwrap();
    assert!(read.has_sha1());

    let read = RevocationList::read(&theirs(&tool, &format!("key: {authority}\n"))).unwrap();
    assert!(read.is_revoked(&authority, 1), "a revoked CA key revokes all its certificates");

    tool.put("spec", "serial: 8\n");
    tool.ok(&["-q", "-k", "-f", "any", "-s", "none", "spec"]);
    let read = RevocationList::read(&tool.get("any")).unwrap();
    assert!(read.is_revoked(&authority, 8) && read.is_revoked(&canary_ca(), 8));
}

#[test]
fn a_bitmap_that_locks_everybody_out_is_refused() {
    let tool = Keygen::new();
    certificates(&tool, "a", &[1]);
    let alternating = |n: u64| (0..n).map(|i| format!("serial: {}\n", 1000 + 2 * i)).collect::<String>();
    assert!(RevocationList::read(&theirs(&tool, &alternating(8192))).is_ok());
    assert_eq!(tool.query("theirs", "a1-cert.pub"), FREE);
    let lock_out = theirs(&tool, &alternating(8193));
    assert_eq!(RevocationList::read(&lock_out), Err(KrlError::Value("bitmap")));
    assert_eq!(tool.query("theirs", "a1-cert.pub"), UNREADABLE);
}

// --- lists that nobody should make ----------------------------------------------------------------------

fn header() -> Vec<u8> {
    let mut out = b"SSHKRL\n\0".to_vec();
    put_u32(&mut out, 1);
    [7, 8, 0].iter().for_each(|n| put_u64(&mut out, *n));
    put_string(&mut out, b"");
    put_string(&mut out, b"a comment");
    out
}

fn with_section(kind: u8, data: &[u8]) -> Result<RevocationList, KrlError> {
    let mut out = header();
    out.push(kind);
    put_string(&mut out, data);
    RevocationList::read(&out)
}

fn with_certificates(kind: u8, data: &[u8]) -> Result<RevocationList, KrlError> {
    let mut section = Vec::new();
    put_string(&mut section, &canary_ca().to_blob());
    put_string(&mut section, b"");
    section.push(kind);
    put_string(&mut section, data);
    with_section(1, &section)
}

fn numbers(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn bitmap(offset: u64, bits: &[u8]) -> Vec<u8> {
    let mut out = numbers(&[offset]);
    put_string(&mut out, bits);
    out
}

fn extension(critical: u8) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, b"anew@example.com");
    out.push(critical);
    put_string(&mut out, b"contents");
    out
}

#[test]
fn malformed_lists_are_refused_by_name() {
    let value = |what| Err(KrlError::Value(what));
    assert_eq!(with_certificates(0x20, &numbers(&[0])), value("serial"));
    assert_eq!(with_certificates(0x21, &numbers(&[0, 9])), value("serial"));
    assert_eq!(with_certificates(0x21, &numbers(&[9, 8])), value("serial"));
    assert_eq!(with_certificates(0x21, &numbers(&[8, 9, 10])), value("range"));
    assert_eq!(with_certificates(0x20, &[0; 9]), Err(KrlError::Short));
    assert_eq!(with_certificates(0x22, &bitmap(0, &[1])), value("serial"));
    assert_eq!(with_certificates(0x22, &bitmap(u64::MAX, &[2])), value("bitmap"));
    assert_eq!(with_certificates(0x22, &bitmap(1, &[0x80])), value("bitmap"));
    assert_eq!(with_certificates(0x22, &bitmap(1, &[0x7f; 2049])), value("bitmap"));
    assert!(with_certificates(0x22, &bitmap(1, &[0x7f; 2048])).is_ok());
    assert_eq!(with_certificates(0x99, b""), Err(KrlError::Section(0x99)));
    assert_eq!(with_certificates(0x39, &extension(1)), Err(KrlError::Extension));
    assert!(with_certificates(0x39, &extension(0)).is_ok());
    assert_eq!(with_section(255, &extension(1)), Err(KrlError::Extension));
    assert!(with_section(255, &extension(0)).is_ok());
    assert_eq!(with_section(4, b""), Err(KrlError::Signature));
    assert_eq!(with_section(9, b""), Err(KrlError::Section(9)));
    let mut short_hash = Vec::new();
    put_string(&mut short_hash, &[1; 31]);
    assert_eq!(with_section(5, &short_hash), value("SHA-256 fingerprint"));
    assert_eq!(with_section(3, &short_hash), value("SHA-1 fingerprint"));
    let mut no_key = Vec::new();
    put_string(&mut no_key, b"no key");
    put_string(&mut no_key, b"");
    assert_eq!(with_section(1, &no_key), value("CA key"));
    let mut format = header();
    format[11] = 2;
    assert_eq!(RevocationList::read(&format), Err(KrlError::Format(2)));
    for other in ["<html>", "ssh-ed25519 AAAA", "SSHKRL\n\u{1}"] {
        assert_eq!(RevocationList::read(other.as_bytes()), Err(KrlError::Magic));
    }
}

#[test]
fn a_list_is_read_at_its_limits_and_not_one_past_them() {
    assert_eq!(RevocationList::read(&vec![0; limits::KRL + 1]), Err(KrlError::TooLong(limits::KRL + 1)));
    assert_eq!(RevocationList::read(&vec![0; limits::KRL]), Err(KrlError::Magic));
    // Bitmaps are spread out when read: a few megabytes of them would be gigabytes.
    let mut section = Vec::new();
    put_string(&mut section, b"");
    put_string(&mut section, b"");
    for n in 0..300u64 {
        section.push(0x22);
        put_string(&mut section, &bitmap(1 + n * 100_000, &[0x55; 2048]));
    }
    assert_eq!(with_section(1, &section), Err(KrlError::TooMany));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        serials in proptest::collection::btree_set(prop_oneof![1u64..200, any::<u64>().prop_map(|n| n.max(1))], 0..200),
        version in any::<u64>(),
    ) {
        let authority = Ed25519Key([7; 32]);
        let mut krl = Krl::new(version, 9, authority);
        for serial in &serials {
            krl.revoke(authority, *serial).unwrap();
        }
        let bytes = krl.write();
        prop_assert_eq!(&bytes, &krl.clone().write());
        let read = RevocationList::read(&bytes).unwrap();
        prop_assert_eq!(read.version, version);
        prop_assert!(serials.iter().all(|serial| read.is_revoked(&authority, *serial)));
        prop_assert!((0..300).all(|s| read.is_revoked(&authority, s) == serials.contains(&s)));
        prop_assert!(read.is_revoked(&authority, limits::CANARY_SERIAL));
        prop_assert!(read.is_revoked(&canary_ca(), limits::CANARY_SERIAL));
        prop_assert!(!read.is_revoked(&canary_ca(), 1));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in any::<u8>()) {
        let _ = RevocationList::read(&bytes);
        let _ = with_section(kind, &bytes);
        let _ = with_certificates(kind, &bytes);
    }
}
