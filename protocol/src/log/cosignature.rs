//! Cosignatures of witnesses (C2SP tlog-cosignature, Ed25519 `cosignature/v1`, type 0x04): a further signature
//! line on a checkpoint's note, with the time at which the witness saw that the log only grew.
//!
//! A cosignature says: of the log with this name, the largest head that I ever saw is this one, and it continues
//! every one that I saw before. It says nothing of what the entries are. Its time is the witness's own word; who
//! asks how much of it stands in `docs/PROTOCOL.formats.md`. Which witnesses are enough is
//! [`super::WitnessPolicy`].

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::keys::Ed25519Key;
use crate::log::note::{self, NoteError, SignatureLine};

/// A witness's public key, under its name. Text: `<name>+<key id>+<base64>`, the C2SP verifier key of type 0x04.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

/// A witness's word on a checkpoint, whose signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Who.
    pub by: WitnessKey,
    /// When, by the witness's clock, unix seconds. Signed by it, checked by nobody.
    pub at: u64,
    /// The line as it stands in a note, its newline included.
    pub line: String,
}

impl WitnessKey {
    /// The key under `name`. Refuses what [`super::NoteKey::new`] refuses.
    pub fn new(name: &str, key: &Ed25519Key) -> Result<WitnessKey, NoteError> {
        let key = VerifyingKey::from_bytes(&key.0).map_err(|_| NoteError::Key)?;
        if key.is_weak() {
            return Err(NoteError::Key);
        }
        let id = note::key_id(name, COSIGNATURE, key.as_bytes())?;
        Ok(WitnessKey { id, name: name.into(), key })
    }

    /// The name that its lines carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn key(&self) -> Ed25519Key {
        Ed25519Key(self.key.to_bytes())
    }

    /// The cosignature that a line claims to be, if it is this key's. One that is not well-formed, or does not
    /// hold over `text`, is an error.
    fn cosigned(&self, text: &str, line: &SignatureLine<'_>) -> Result<Option<Cosigned>, NoteError> {
        if !line.is_by(&self.name, self.id) {
            return Ok(None);
        }
        let (at, signature) = line.signature.split_first_chunk::<8>().ok_or(NoteError::BadSignature)?;
        let at = u64::from_be_bytes(*at);
        // The specification's own bound: a time that another implementation reads as negative is none.
        if at > i64::MAX as u64 {
            return Err(NoteError::BadSignature);
        }
        let signature = Signature::from_slice(signature).map_err(|_| NoteError::BadSignature)?;
        self.key
            .verify_strict(message(at, text).as_bytes(), &signature)
            .map_err(|_| NoteError::BadSignature)?;
        let line = note::signature_line(&self.name, self.id, &line.signature);
        Ok(Some(Cosigned { by: self.clone(), at, line }))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&note::key_text(&self.name, self.id, COSIGNATURE, self.key.as_bytes()))
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;
    fn from_str(text: &str) -> Result<WitnessKey, NoteError> {
        let (name, key) = note::key_of_text(text, COSIGNATURE)?;
        let key = WitnessKey::new(name, &key)?;
        // Also checks the id, and that nothing has a second spelling.
        if key.to_string() == text { Ok(key) } else { Err(NoteError::Key) }
    }
}

/// Cosigns under one name. The private half is wiped when dropped; never cloned, never shown.
pub struct Cosigner {
    key: WitnessKey,
    secret: SigningKey,
}

impl Cosigner {
    /// A cosigner called `name`.
    pub fn new(name: &str, secret: SigningKey) -> Result<Cosigner, NoteError> {
        let key = WitnessKey::new(name, &Ed25519Key(secret.verifying_key().to_bytes()))?;
        Ok(Cosigner { key, secret })
    }

    /// The public half.
    pub fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// The line that cosigns a checkpoint's `text` (all of the note before its empty line) at `at`, unix seconds.
    /// Whether the log only grew is for who calls this to know.
    pub fn cosign(&self, text: &str, at: u64) -> String {
        let signature = self.secret.sign(message(at, text).as_bytes()).to_bytes();
        let timestamped = [at.to_be_bytes().as_slice(), &signature].concat();
        note::signature_line(&self.key.name, self.key.id, &timestamped)
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cosigner({})", self.key)
    }
}

/// Which of the known witnesses cosigned a checkpoint's note. The log's own signature is left to
/// [`super::Checkpoint::open`]. Lines of unknown keys are skipped; one by a known key that does not hold refuses
/// the note, as in `note::open`.
pub fn cosigned<'k>(
    note: &str,
    known: impl IntoIterator<Item = &'k WitnessKey> + Clone,
) -> Result<Vec<Cosigned>, NoteError> {
    let read = note::read(note)?;
    cosignatures(read.text, &read.lines, known)
}

/// Which of the known witnesses cosigned `text` with these lines: what a witness answers.
pub fn cosigned_by_lines<'k>(
    text: &str,
    lines: &str,
    known: impl IntoIterator<Item = &'k WitnessKey> + Clone,
) -> Result<Vec<Cosigned>, NoteError> {
    cosignatures(text, &note::signature_lines(lines)?, known)
}

fn cosignatures<'k>(
    text: &str,
    lines: &[SignatureLine<'_>],
    known: impl IntoIterator<Item = &'k WitnessKey> + Clone,
) -> Result<Vec<Cosigned>, NoteError> {
    let mut found = Vec::new();
    for line in lines {
        for key in known.clone() {
            found.extend(key.cosigned(text, line)?);
        }
    }
    Ok(found)
}

/// What is signed: the header keeps it apart from every note, the time is inside.
fn message(at: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {at}\n{text}")
}

/// The byte that says Ed25519 cosignature in a key and its id.
const COSIGNATURE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::NoteSigner;

    /// The example of C2SP tlog-cosignature: its key is not given, so the line is only taken apart.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn cosigner(name: &str, seed: u8) -> Cosigner {
        Cosigner::new(name, SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn log() -> NoteSigner {
        NoteSigner::new("ca.example/0123456789abcdef", SigningKey::from_bytes(&[9; 32])).unwrap()
    }

    const TEXT: &str = "ca.example/0123456789abcdef\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n";

    #[test]
    fn the_specifications_example_has_its_parts_where_ours_have_them() {
        let read = note::read(EXAMPLE).unwrap();
        let line = &read.lines[1];
        let (at, signature) = line.signature.split_first_chunk::<8>().unwrap();
        assert_eq!((u64::from_be_bytes(*at), signature.len()), (1_679_315_147, 64));
        assert_eq!(
            message(1_679_315_147, read.text),
            "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
             CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
        );
        let ours = cosigner("witness.example.com/w1", 1).cosign(read.text, 1_679_315_147);
        assert_eq!(ours.len(), EXAMPLE.lines().last().unwrap().len() + 1);
    }

    #[test]
    fn a_cosignature_is_known_again_with_its_time() {
        let (one, two) = (cosigner("witness.example/w1", 1), cosigner("witness.example/w2", 2));
        let note = log().sign(TEXT).unwrap() + &one.cosign(TEXT, 1000) + &two.cosign(TEXT, 1001);
        let found = cosigned(&note, [one.key(), two.key()]).unwrap();
        assert_eq!(
            found.iter().map(|c| (c.by.name(), c.at)).collect::<Vec<_>>(),
            [("witness.example/w1", 1000), ("witness.example/w2", 1001)]
        );
        assert!(note.ends_with(&(found[0].line.clone() + &found[1].line)));
        assert_eq!(cosigned(&note, [two.key()]).unwrap().len(), 1);
        assert_eq!(cosigned(&note, []).unwrap(), []);
        // The log's key still opens it, and finds nothing in the further lines.
        assert_eq!(note::open(&note, &[log().key()]).unwrap().signed_by.len(), 1);
    }

    #[test]
    fn another_implementation_knows_our_keys_and_lines() {
        use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
        let one = cosigner("witness.example/w1", 1);
        let note = log().sign(TEXT).unwrap() + &one.cosign(TEXT, 1000);
        let theirs = Note::from_bytes(note.as_bytes()).unwrap();
        let id = u32::from_be_bytes(one.key().id);
        let log_key = StandardVerifier::new(&log().key().to_string()).unwrap();
        assert_ne!(log_key.key_id(), id);
        let (good, unknown) = theirs.verify(&VerifierList::new(vec![Box::new(log_key)])).unwrap();
        assert_eq!((good.len(), unknown.len()), (1, 1));
        assert_eq!((unknown[0].name().to_string(), unknown[0].id()), ("witness.example/w1".to_owned(), id));
    }

    #[test]
    fn a_known_key_s_line_must_hold_over_this_very_text_and_time() {
        let one = cosigner("witness.example/w1", 1);
        let head = log().sign(TEXT).unwrap();
        let of = |line: String| cosigned(&(head.clone() + &line), [one.key()]);
        let good = one.cosign(TEXT, 1000);
        assert_eq!(of(good.clone()).unwrap().len(), 1);
        assert_eq!(of(one.cosign(&TEXT.replace("42", "43"), 1000)), Err(NoteError::BadSignature));
        // Of another key under that name: unknown, not bad. It counts for nobody.
        assert_eq!(of(cosigner("witness.example/w1", 2).cosign(TEXT, 1000)), Ok(Vec::new()));
        assert_eq!(of(good.clone() + &one.cosign(TEXT, 1001)), Err(NoteError::Duplicate));
        let parts = |at: u64, rest: &[u8]| {
            note::signature_line(
                one.key().name(),
                one.key().id,
                &[at.to_be_bytes().as_slice(), rest].concat(),
            )
        };
        let signed = |at: u64| one.secret.sign(message(at, TEXT).as_bytes()).to_bytes();
        assert_eq!(of(parts(1001, &signed(1000))), Err(NoteError::BadSignature));
        assert_eq!(of(parts(1000, &signed(1000)[..63])), Err(NoteError::BadSignature));
        assert_eq!(of(parts(1000, &[signed(1000).as_slice(), &[0]].concat())), Err(NoteError::BadSignature));
        assert_eq!(
            of(note::signature_line(one.key().name(), one.key().id, &[0; 7])),
            Err(NoteError::BadSignature)
        );
        let last = i64::MAX as u64;
        assert_eq!(of(parts(last, &signed(last))).unwrap()[0].at, last);
        assert_eq!(of(parts(last + 1, &signed(last + 1))), Err(NoteError::BadSignature));
        // A plain note of the same key over the same text is no cosignature.
        let plain = NoteSigner::new("witness.example/w1", SigningKey::from_bytes(&[1; 32])).unwrap();
        let line = plain.sign(TEXT).unwrap().strip_prefix(&format!("{TEXT}\n")).unwrap().to_owned();
        assert_eq!(of(line), Ok(Vec::new()));
    }

    #[test]
    fn a_key_has_one_spelling_and_is_no_key_for_notes() {
        let text = cosigner("witness.example/w1", 1).key().to_string();
        assert_eq!(text.parse::<WitnessKey>().unwrap().to_string(), text);
        assert!(text.parse::<crate::log::NoteKey>().is_err());
        assert!(log().key().to_string().parse::<WitnessKey>().is_err());
        for bad in [text.replace("w1", "w2"), format!("{text}="), format!("{text} "), String::new()] {
            assert!(bad.parse::<WitnessKey>().is_err(), "{bad}");
        }
        let mut small_order = [0u8; 32];
        small_order[0] = 1;
        assert_eq!(WitnessKey::new("w", &Ed25519Key(small_order)), Err(NoteError::Key));
    }
}
