//! What is asked of a witness and what it answers (C2SP tlog-witness `add-checkpoint`), as text. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;

/// `add-checkpoint`: a head, and the proof that it continues the one of `old` entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AddCheckpoint {
    /// The size that the witness is believed to have cosigned last; 0: none.
    pub(super) old: u64,
    /// RFC 6962 consistency proof.
    pub(super) proof: Vec<Hash>,
    /// The signed note.
    pub(super) checkpoint: String,
}

/// What a witness said, by its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// 200: signature lines, not looked at yet.
    Lines(String),
    /// 409: how many entries the head has that it cosigned last.
    Has(u64),
    /// 422: the proof does not lead there from the head that it has.
    NoProof,
    /// Anything else: what it said is not taken.
    Refused(u16),
}

impl AddCheckpoint {
    /// The request's body.
    pub(super) fn encode(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&STANDARD.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a body. `None`: it is none, or not in its one spelling.
    pub(super) fn decode(body: &[u8]) -> Option<AddCheckpoint> {
        let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= limits::ADD_CHECKPOINT)?;
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ")?.parse().ok()?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == limits::WITNESS_PROOF {
                return None;
            }
            let hash = STANDARD.decode(line).ok()?.try_into().ok()?;
            proof.push(Hash(hash));
        }
        let read = AddCheckpoint { old, proof, checkpoint: checkpoint.to_owned() };
        // Also refuses signs and leading zeroes.
        (read.encode() == text).then_some(read)
    }
}

/// What an answer of this status and body says. A 409 without a size is a refusal.
pub(super) fn answered(status: u16, body: &[u8]) -> Answered {
    let text = std::str::from_utf8(body).ok();
    match (status, text) {
        (200, Some(lines)) => Answered::Lines(lines.to_owned()),
        (409, Some(text)) => match size(text) {
            Some(size) => Answered::Has(size),
            None => Answered::Refused(409),
        },
        (422, _) => Answered::NoProof,
        (other, _) => Answered::Refused(other),
    }
}

/// A size as a witness says it: decimal, in its one spelling, and a newline.
fn size(text: &str) -> Option<u64> {
    let size: u64 = text.strip_suffix('\n')?.parse().ok()?;
    (format!("{size}\n") == text).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's example, its checkpoint cut.
    const EXAMPLE: &str = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n\
        example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/behind-the-sofa Az3grlgt\n";

    #[test]
    fn the_specifications_example_is_read_and_written_again() {
        let read = AddCheckpoint::decode(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((read.old, read.proof.len()), (20_852_014, 4));
        assert!(read.checkpoint.starts_with("example.com/behind-the-sofa\n20852163\n"));
        assert_eq!(read.encode(), EXAMPLE);
    }

    #[test]
    fn only_one_spelling_is_read_and_63_hashes_at_most() {
        for (from, to) in [
            ("old 2", "old 02"),
            ("old 2", "old +2"),
            ("old 2", "old -2"),
            ("old 2", "old  2"),
            ("old 2", "Old 2"),
            ("old 20852014\n", ""),
            ("old 20852014", "old 99999999999999999999"),
            ("3swk=\n", "3swk\n"),
            ("3swk=\n", "3swk=\r\n"),
            ("3swk=\n", "AAAA\n"),
            ("\n\n", "\n"),
        ] {
            assert!(EXAMPLE.contains(from));
            assert_eq!(AddCheckpoint::decode(EXAMPLE.replace(from, to).as_bytes()), None, "{to:?}");
        }
        assert_eq!(AddCheckpoint::decode(b""), None);
        assert_eq!(AddCheckpoint::decode(&[0xff; 100]), None);
        let many =
            |n: usize| AddCheckpoint { old: 1, proof: vec![Hash([1; 32]); n], checkpoint: "c\n".into() };
        assert_eq!(AddCheckpoint::decode(many(63).encode().as_bytes()), Some(many(63)));
        assert_eq!(AddCheckpoint::decode(many(64).encode().as_bytes()), None);
        let long = |n| AddCheckpoint { old: 1, proof: Vec::new(), checkpoint: "c".repeat(n) }.encode();
        let rest = long(0).len();
        assert!(AddCheckpoint::decode(long(limits::ADD_CHECKPOINT - rest).as_bytes()).is_some());
        assert!(AddCheckpoint::decode(long(limits::ADD_CHECKPOINT - rest + 1).as_bytes()).is_none());
    }

    #[test]
    fn an_answer_is_what_its_status_says() {
        assert_eq!(answered(200, b"lines\n"), Answered::Lines("lines\n".into()));
        assert_eq!(answered(200, &[0xff]), Answered::Refused(200));
        assert_eq!(answered(409, b"42\n"), Answered::Has(42));
        for wrong in [b"42".as_slice(), b"042\n", b"+42\n", b"x\n", b"\n", b"", b"99999999999999999999\n"] {
            assert_eq!(answered(409, wrong), Answered::Refused(409));
        }
        assert_eq!(answered(422, b"why not"), Answered::NoProof);
        assert_eq!(answered(503, b""), Answered::Refused(503));
    }
}
