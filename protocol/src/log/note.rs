//! Signed notes (C2SP signed-note): a text, an empty line, and signature lines, each by a named key.
//!
//! Here are the grammar of a note, its lines and its keys' names, which all signatures share, and the plain
//! Ed25519 signature (type 0x01). Reading is strict and bounded; what a text means is left to the checkpoint and
//! to the revocation list's note, what a cosignature is to `cosignature`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::keys::Ed25519Key;
use crate::limits;

/// Why a note, or a key for notes, is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Not `<name>+<8 hex digits>+<base64>` in its one spelling, or not of type Ed25519.
    #[error("not an Ed25519 note key: <name>+<8 hex digits>+<base64>")]
    Key,
    /// The name is empty, longer than 512 bytes, or holds a blank, a control character or '+'.
    #[error("not a name for a note's key")]
    Name,
    /// Longer than [`limits::NOTE`].
    #[error("the note is {0} bytes long, {limit} are allowed", limit = limits::NOTE)]
    TooLong(usize),
    /// More signatures than [`limits::NOTE_SIGNATURES`].
    #[error("the note has more than {limit} signatures", limit = limits::NOTE_SIGNATURES)]
    TooManySignatures,
    /// Not text, an empty line, and signature lines.
    #[error("not a signed note")]
    Malformed,
    /// Two signatures that say they are by the same key.
    #[error("the note is signed twice by one key")]
    Duplicate,
    /// A signature by a known key does not hold.
    #[error("a signature of the note does not hold")]
    BadSignature,
    /// No known key signed.
    #[error("no known key signed the note")]
    Unsigned,
}

/// A public key for notes, under its name. Text: `<name>+<key id>+<base64>`, the C2SP verifier key.
#[derive(Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl NoteKey {
    /// The key under `name`. Refuses a name that notes cannot carry, bytes that are no curve point, and
    /// keys of small order, under which one signature fits every text.
    pub fn new(name: &str, key: &Ed25519Key) -> Result<NoteKey, NoteError> {
        let key = VerifyingKey::from_bytes(&key.0).map_err(|_| NoteError::Key)?;
        if key.is_weak() {
            return Err(NoteError::Key);
        }
        Ok(NoteKey { id: key_id(name, ED25519, key.as_bytes())?, name: name.into(), key })
    }

    /// The name signatures of this key carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn key(&self) -> Ed25519Key {
        Ed25519Key(self.key.to_bytes())
    }

    fn verify(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        let signature = Signature::from_slice(signature).map_err(|_| NoteError::BadSignature)?;
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::BadSignature)
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&key_text(&self.name, self.id, ED25519, self.key.as_bytes()))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<NoteKey, NoteError> {
        let (name, key) = key_of_text(text, ED25519)?;
        let key = NoteKey::new(name, &key)?;
        // Also checks the id, and that nothing has a second spelling.
        if key.to_string() == text { Ok(key) } else { Err(NoteError::Key) }
    }
}

/// Signs notes under one name. Holds the private key with its public half ready (deriving it afresh
/// doubles the cost of a signature); the private half is wiped when dropped. Never cloned, never shown.
pub struct NoteSigner {
    key: NoteKey,
    secret: SigningKey,
}

impl NoteSigner {
    /// A signer for `name`.
    pub fn new(name: &str, secret: SigningKey) -> Result<NoteSigner, NoteError> {
        let key = NoteKey::new(name, &Ed25519Key(secret.verifying_key().to_bytes()))?;
        Ok(NoteSigner { key, secret })
    }

    /// The public half.
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// The note of `text`, which must end in a newline and hold no other control character.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        if !text.ends_with('\n') || has_control(text) {
            return Err(NoteError::Malformed);
        }
        let signature = self.secret.sign(text.as_bytes()).to_bytes();
        let note = format!("{text}\n{}", signature_line(&self.key.name, self.key.id, &signature));
        if note.len() > limits::NOTE { Err(NoteError::TooLong(note.len())) } else { Ok(note) }
    }
}

/// The note with no other signature than that of `key`: short, whoever else signed. Nothing if it does not open
/// with `key`.
pub fn alone(note: &str, key: &NoteKey) -> Option<String> {
    let text = open(note, &[key]).ok()?.text;
    let is_keys = |line: &&str| {
        let parts = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' '));
        parts.is_some_and(|(name, base64)| {
            name == key.name && STANDARD.decode(base64).is_ok_and(|bytes| bytes.starts_with(&key.id))
        })
    };
    let line = note.get(text.len() + 1..)?.lines().find(is_keys)?;
    Some(format!("{text}\n{line}\n"))
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.key)
    }
}

/// A note of which at least one known key's signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened<'n, 'k> {
    /// The signed text, its last newline included.
    pub text: &'n str,
    /// Which of the known keys signed, in the note's order. Never empty.
    pub signed_by: Vec<&'k NoteKey>,
}

/// Opens a note. Signatures by unknown keys are skipped, but must be well-formed; one by a known key that
/// does not hold refuses the whole note, as do two under one name and id.
pub fn open<'n, 'k>(note: &'n str, keys: &[&'k NoteKey]) -> Result<Opened<'n, 'k>, NoteError> {
    let read = read(note)?;
    let mut signed_by = Vec::new();
    for line in &read.lines {
        if let Some(key) = keys.iter().find(|key| line.is_by(&key.name, key.id)) {
            key.verify(read.text, &line.signature)?;
            signed_by.push(*key);
        }
    }
    if signed_by.is_empty() { Err(NoteError::Unsigned) } else { Ok(Opened { text: read.text, signed_by }) }
}

/// A note's parts. No signature was looked at.
#[derive(Debug)]
pub(super) struct Read<'n> {
    /// What is signed, its last newline included.
    pub(super) text: &'n str,
    /// Who says to have signed; no two under one name and id.
    pub(super) lines: Vec<SignatureLine<'n>>,
}

/// A signature line: whose it says to be, and bytes that mean what the key's type makes of them.
#[derive(Debug)]
pub(super) struct SignatureLine<'n> {
    name: &'n str,
    id: [u8; 4],
    pub(super) signature: Vec<u8>,
}

impl SignatureLine<'_> {
    /// Whether it says to be by the key of this name and id.
    pub(super) fn is_by(&self, name: &str, id: [u8; 4]) -> bool {
        self.name == name && self.id == id
    }
}

/// Takes a note apart, strictly.
pub(super) fn read(note: &str) -> Result<Read<'_>, NoteError> {
    if note.len() > limits::NOTE {
        return Err(NoteError::TooLong(note.len()));
    }
    if has_control(note) {
        return Err(NoteError::Malformed);
    }
    // The *last* empty line: the text may hold empty lines, signatures cannot.
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, rest) = note.split_at_checked(end + 1).ok_or(NoteError::Malformed)?;
    let rest = rest.strip_prefix('\n').ok_or(NoteError::Malformed)?;
    Ok(Read { text, lines: signature_lines(rest)? })
}

/// One signature line after the other, each ended by a newline; at least one.
pub(super) fn signature_lines(text: &str) -> Result<Vec<SignatureLine<'_>>, NoteError> {
    let mut found: Vec<SignatureLine<'_>> = Vec::new();
    for line in text.strip_suffix('\n').ok_or(NoteError::Malformed)?.split('\n') {
        if found.len() == limits::NOTE_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let (name, base64) =
            line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Malformed)?;
        let bytes = STANDARD.decode(base64).map_err(|_| NoteError::Malformed)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
        if !is_key_name(name) || signature.is_empty() {
            return Err(NoteError::Malformed);
        }
        if found.iter().any(|other| other.is_by(name, *id)) {
            return Err(NoteError::Duplicate);
        }
        found.push(SignatureLine { name, id: *id, signature: signature.to_vec() });
    }
    Ok(found)
}

/// The line of a signature, its newline included.
pub(super) fn signature_line(name: &str, id: [u8; 4], signature: &[u8]) -> String {
    format!("{DASH}{name} {}\n", STANDARD.encode([id.as_slice(), signature].concat()))
}

/// A key as text: `<name>+<key id>+<base64 of type and key>`.
pub(super) fn key_text(name: &str, id: [u8; 4], kind: u8, key: &[u8; 32]) -> String {
    let typed = [&[kind], key.as_slice()].concat();
    format!("{name}+{:08x}+{}", u32::from_be_bytes(id), STANDARD.encode(typed))
}

/// Name and key of such a text. That its id is right and its spelling the one there is, whoever calls this
/// checks by writing the key again.
pub(super) fn key_of_text(text: &str, kind: u8) -> Result<(&str, Ed25519Key), NoteError> {
    let (name, rest) = text.split_once('+').ok_or(NoteError::Key)?;
    let (_, base64) = rest.split_once('+').ok_or(NoteError::Key)?;
    let typed = STANDARD.decode(base64).map_err(|_| NoteError::Key)?;
    match typed.split_first() {
        Some((found, key)) if *found == kind => {
            Ok((name, Ed25519Key(key.try_into().map_err(|_| NoteError::Key)?)))
        }
        _ => Err(NoteError::Key),
    }
}

/// SHA-256(name || newline || type || public key), its first four bytes.
pub(super) fn key_id(name: &str, kind: u8, key: &[u8; 32]) -> Result<[u8; 4], NoteError> {
    if !is_key_name(name) {
        return Err(NoteError::Name);
    }
    let digest: [u8; 32] =
        Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(key).finalize().into();
    digest.first_chunk::<4>().copied().ok_or(NoteError::Key)
}

fn is_key_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// Whether a text holds a control character other than the newline.
fn has_control(text: &str) -> bool {
    text.bytes().any(|b| b < 0x20 && b != b'\n')
}

/// The byte that says Ed25519 in a key and its id.
const ED25519: u8 = 1;
/// What a signature line begins with: an em dash and a blank.
const DASH: &str = "\u{2014} ";
/// A key's name: an origin is 270 bytes, and what stands beside it adds a word.
const NAME: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(name: &str, seed: u8) -> NoteSigner {
        NoteSigner::new(name, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    /// The example of the signed-note specification's Go package.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_alone_bears_one_keys_signature_and_opens_with_it() {
        let (ca, other) = (signer("ca.example/log", 1), signer("w.example/1", 2));
        let note = ca.sign("text\n").unwrap();
        let cosigned = format!("{note}{}", other.sign("text\n").unwrap().split_once("\n\n").unwrap().1);
        assert_eq!(open(&cosigned, &[other.key()]).unwrap().signed_by, [other.key()]);
        assert_eq!(alone(&cosigned, ca.key()), Some(note.clone()));
        assert_eq!(alone(&note, other.key()), None);
        assert_eq!(alone(&note.replace("text", "other"), ca.key()), None);
    }

    #[test]
    fn the_known_note_of_another_implementation_opens() {
        let key: NoteKey = PETER.parse().unwrap();
        assert_eq!(key.to_string(), PETER);
        let opened = open(PETERS_NOTE, &[&key]).unwrap();
        assert!(opened.text.ends_with("your problem is.\n"));
        assert_eq!(opened.signed_by, [&key]);
    }

    #[test]
    fn another_implementation_reads_our_keys_and_notes() {
        use signed_note::{Note, StandardVerifier, VerifierList};
        let signer = signer("ca.example/0123456789abcdef", 1);
        let note = signer.sign("a text\n\nwith an empty line\n").unwrap();
        let theirs = StandardVerifier::new(&signer.key().to_string()).unwrap();
        let read = Note::from_bytes(note.as_bytes()).unwrap();
        let (good, unknown) = read.verify(&VerifierList::new(vec![Box::new(theirs)])).unwrap();
        assert_eq!((good.len(), unknown.len()), (1, 0));
        assert_eq!(read.text(), open(&note, &[signer.key()]).unwrap().text.as_bytes());
    }

    #[test]
    fn unknown_signers_are_skipped_and_known_ones_must_hold() {
        let (log, other) = (signer("log", 1), signer("witness", 2));
        let note = log.sign("text\n").unwrap();
        let cosigned = format!("{note}{}", other.sign("text\n").unwrap().strip_prefix("text\n\n").unwrap());
        assert_eq!(open(&cosigned, &[log.key()]).unwrap().signed_by, [log.key()]);
        assert_eq!(open(&cosigned, &[other.key(), log.key()]).unwrap().signed_by, [log.key(), other.key()]);
        assert_eq!(open(&note, &[other.key()]), Err(NoteError::Unsigned));
        assert_eq!(open(&note, &[]), Err(NoteError::Unsigned));
        // The same name under another key is another signer.
        let namesake = signer("log", 3);
        assert_eq!(open(&note, &[namesake.key()]), Err(NoteError::Unsigned));
        // A known key's bad signature is never outvoted.
        let forged = cosigned.replacen("text", "test", 1);
        assert_eq!(open(&forged, &[log.key(), other.key()]), Err(NoteError::BadSignature));
        let line = note.strip_prefix("text\n\n").unwrap();
        assert_eq!(open(&format!("{note}{line}"), &[log.key()]), Err(NoteError::Duplicate));
    }

    #[test]
    fn every_changed_byte_of_a_note_is_refused() {
        let signer = signer("log", 1);
        let note = signer.sign("text\n").unwrap().into_bytes();
        for place in 0..note.len() {
            for bit in 0..8 {
                let mut changed = note.clone();
                changed[place] ^= 1 << bit;
                if let Ok(text) = std::str::from_utf8(&changed) {
                    assert!(open(text, &[signer.key()]).is_err(), "byte {place} bit {bit}");
                }
            }
            let cut = std::str::from_utf8(&note[..place]).unwrap_or_default();
            assert!(open(cut, &[signer.key()]).is_err());
        }
    }

    #[test]
    fn malformed_notes_are_refused() {
        let signer = signer("log", 1);
        let good = signer.sign("text\n").unwrap();
        for bad in [
            "",
            "\n",
            "\n\n",
            "text\n\n",
            "text\n\n\n",
            "text\n\u{2014} log AAAAAAAA\n",
            "text\n\n\u{2014} log\n",
            "text\n\n\u{2014} log AAAA\n",
            "text\n\n\u{2014} log AAAAAA==\n",
            "text\n\n\u{2014}  AAAAAAAA\n",
            "text\n\n\u{2014} lo+g AAAAAAAA\n",
            "text\n\n\u{2014} lo\u{a0}g AAAAAAAA\n",
            "text\n\n- log AAAAAAAA\n",
            &good.replace("text", "te\tt"),
            &good.replace("text\n\n", "text\r\n\r\n"),
            &format!("{good}\n"),
            &format!("{good}x"),
            good.trim_end(),
        ] {
            assert!(open(bad, &[signer.key()]).is_err(), "{bad:?}");
        }
        assert_eq!(signer.sign("no newline"), Err(NoteError::Malformed));
        assert_eq!(signer.sign("a\tb\n"), Err(NoteError::Malformed));
    }

    #[test]
    fn a_note_has_at_most_16_signatures_and_8_kib() {
        let log = signer("log", 0);
        let mut note = log.sign("text\n").unwrap();
        for seed in 1..17 {
            let line = signer("w", seed).sign("text\n").unwrap();
            let fits = seed < 16;
            note.push_str(line.strip_prefix("text\n\n").unwrap());
            assert_eq!(open(&note, &[log.key()]).is_ok(), fits, "{seed}");
        }
        assert_eq!(open(&note, &[log.key()]), Err(NoteError::TooManySignatures));
        let rest = log.sign("\n").unwrap().len() - 1;
        let text = |n: usize| format!("{}\n", "a".repeat(n));
        let at_limit = log.sign(&text(limits::NOTE - rest - 1)).unwrap();
        assert_eq!(at_limit.len(), limits::NOTE);
        assert!(open(&at_limit, &[log.key()]).is_ok());
        assert_eq!(log.sign(&text(limits::NOTE - rest)), Err(NoteError::TooLong(limits::NOTE + 1)));
        assert!(open(&format!("a{at_limit}"), &[log.key()]).is_err());
        assert!(open(&"\n".repeat(10_000_000), &[log.key()]).is_err());
    }

    #[test]
    fn a_key_has_one_spelling_and_its_id_is_checked() {
        for bad in [
            "",
            "PeterNeumann",
            "PeterNeumann+c74f20a3",
            &PETER.replace("c74f20a3", "c74f20a4"),
            &PETER.replace("c74f20a3", "C74F20A3"),
            &PETER.replace("c74f20a3", "0c74f20a3"),
            &PETER.replace("Peter", "Pieter"),
            &PETER.replace("+ARpc", "+Arpc"),
            &format!("{PETER}="),
            &format!("{PETER} "),
            "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(bad.parse::<NoteKey>().is_err(), "{bad}");
        }
        let mut small_order = [0u8; 32];
        small_order[0] = 1;
        assert_eq!(NoteKey::new("log", &Ed25519Key(small_order)), Err(NoteError::Key));
        for name in ["", "a b", "a+b", "a\nb", &"n".repeat(513)] {
            assert_eq!(NoteKey::new(name, &signer("x", 1).key().key()), Err(NoteError::Name));
        }
    }

    #[test]
    fn a_signer_never_shows_its_private_half() {
        let shown = format!("{:?}", signer("log", 7));
        assert!(!shown.contains("7, 7") && !shown.contains("0707") && shown.contains("log+"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(text|\n|\u{2014} | |log|AAAAAAAA|=|.){0,40}") {
            let _ = open(&text, &[signer("log", 1).key()]);
            let _ = text.parse::<NoteKey>();
        }
    }
}
