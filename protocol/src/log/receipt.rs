//! Receipts (C2SP tlog-proof): the proof, inside a certificate, that its entry is in the log.
//!
//! A host has the certificate and two public facts, the log's name and key. From the certificate it cuts
//! the body itself; the receipt brings line 1 of the entry, the Merkle path and a signed head. Nothing in
//! a receipt is believed before [`check`] has tied it to that head. Whether the certificate is good in
//! all other respects is left to sshd and to the certificate room.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::limits;
use crate::log::checkpoint::{Checkpoint, CheckpointError, hash_of_base64};
use crate::log::note::NoteKey;
use crate::log::{Entry, EntryError, Event, Hash, WitnessPolicy, cosignature, entry, tree};
use crate::names::Origin;

/// A proof that entry `index` is in the log, as it stands in `receipt@fireaxe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Line 1 of a `certificate.issued` entry. Empty for other kinds, whose proof travels beside the
    /// whole entry.
    pub line1: Vec<u8>,
    /// The entry's index: the certificate's serial.
    pub index: u64,
    /// The inclusion proof, the leaf's sibling first.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint the proof ends in, verbatim.
    pub checkpoint: String,
}

/// What a checked receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The head that covers the entry, signed by the log.
    pub checkpoint: Checkpoint,
    /// When the entry was appended, unix seconds.
    pub at: u64,
    /// The leaf hash of the entry.
    pub leaf: Hash,
    /// The leaf of the declaration it comes from.
    pub of: Hash,
    /// The hash of the terms it embodies.
    pub terms: Hash,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// Longer than [`limits::RECEIPT`].
    #[error("the receipt is {0} bytes long, {limit} are allowed", limit = limits::RECEIPT)]
    TooLong(usize),
    /// Not a tlog-proof in its one spelling.
    #[error("the receipt is not a tlog-proof")]
    Malformed,
    /// Its line 1 and the certificate's body make no entry.
    #[error("the receipt's line and the certificate's body make no entry: {0}")]
    Entry(EntryError),
    /// Its line 1 is not of a `certificate.issued`.
    #[error("the receipt is not of an issued certificate")]
    Kind,
    /// Serial, entry and proof do not name one index.
    #[error("certificate, entry and proof disagree about the serial")]
    Serial,
    /// The checkpoint is not this log's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not under the checkpoint's head.
    #[error("the entry is not proved to be in the log")]
    NotIncluded,
    /// Too few of the witnesses that are asked for have cosigned the checkpoint.
    #[error("its checkpoint is cosigned by {found} of the witnesses that are required, which is not enough")]
    Witnesses {
        /// How many of the policy's witnesses did.
        found: usize,
    },
}

impl Receipt {
    /// The receipt's text.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = String::with_capacity(64 + 4 * self.line1.len() / 3 + 45 * self.hashes.len() + 512);
        out.push_str(FIRST);
        if !self.line1.is_empty() {
            out.push_str("extra ");
            STANDARD.encode_string(&self.line1, &mut out);
            out.push('\n');
        }
        out.push_str("index ");
        out.push_str(&self.index.to_string());
        out.push('\n');
        for hash in &self.hashes {
            STANDARD.encode_string(hash.0, &mut out);
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.checkpoint);
        out.into_bytes()
    }

    /// Reads a receipt. Proves nothing yet.
    pub fn decode(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
        if bytes.len() > limits::RECEIPT {
            return Err(ReceiptError::TooLong(bytes.len()));
        }
        let receipt = std::str::from_utf8(bytes).ok().and_then(parse).ok_or(ReceiptError::Malformed)?;
        // Also refuses an empty `extra`, signs and leading zeroes.
        if receipt.encode() == bytes { Ok(receipt) } else { Err(ReceiptError::Malformed) }
    }
}

fn parse(text: &str) -> Option<Receipt> {
    // The proof's own lines hold no empty line; the checkpoint does.
    let (head, checkpoint) = text.strip_prefix(FIRST)?.split_once("\n\n")?;
    let mut lines = head.split('\n').peekable();
    let line1 = match lines.peek()?.strip_prefix("extra ") {
        Some(base64) => {
            lines.next();
            STANDARD.decode(base64).ok()?
        }
        None => Vec::new(),
    };
    let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let hashes: Vec<Hash> = lines.by_ref().take(limits::PROOF).map(hash_of_base64).collect::<Option<_>>()?;
    lines.next().is_none().then(|| Receipt { line1, index, hashes, checkpoint: checkpoint.into() })
}

/// What a host checks (in this order; every step must hold): the receipt is a tlog-proof; its line 1 and
/// the certificate's own `body` make one `certificate.issued` entry in its one spelling; that entry's
/// index, the certificate's `serial` and the proof's index are one number; the checkpoint is signed by
/// the log's `key` under its name `origin`; and the entry's leaf is under the checkpoint's head.
///
/// `body` and `serial` must have been cut from the certificate by the caller, never from the receipt.
pub fn check(
    body: &[u8],
    serial: u64,
    receipt: &[u8],
    key: &NoteKey,
    origin: &Origin,
) -> Result<Proved, ReceiptError> {
    let receipt = Receipt::decode(receipt)?;
    let bytes = entry::with_body(&receipt.line1, body);
    let entry = Entry::decode(&bytes).map_err(ReceiptError::Entry)?;
    let Event::CertificateIssued { of, terms } = entry.event else {
        return Err(ReceiptError::Kind);
    };
    if entry.index != serial || receipt.index != serial {
        return Err(ReceiptError::Serial);
    }
    let checkpoint = Checkpoint::open(&receipt.checkpoint, key, origin)?;
    let leaf = tree::leaf_hash(&bytes);
    tree::verify_inclusion(&leaf, serial, checkpoint.size, &receipt.hashes, &checkpoint.root)
        .map_err(|_| ReceiptError::NotIncluded)?;
    Ok(Proved { checkpoint, at: entry.at, leaf, of, terms })
}

/// Asks of a receipt that [`check`] has proved whether enough witnesses cosigned its checkpoint. Gives how many of
/// the policy's did.
///
/// The times of cosignatures are not looked at: a certificate ends by itself in hours, and a witness that cosigned
/// this head at all has refused every other past of this log before and since.
pub fn check_witnesses(receipt: &[u8], policy: &WitnessPolicy) -> Result<usize, ReceiptError> {
    let receipt = Receipt::decode(receipt)?;
    let cosigned =
        cosignature::cosigned(&receipt.checkpoint, policy.keys()).map_err(CheckpointError::from)?;
    let by: Vec<_> = cosigned.iter().map(|one| &one.by).collect();
    match policy.is_met_by(&by) {
        true => Ok(by.len()),
        false => Err(ReceiptError::Witnesses { found: by.len() }),
    }
}

/// The first line of every tlog-proof.
const FIRST: &str = "c2sp.org/tlog-proof@v1\n";

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::log::note::{NoteError, NoteSigner};

    struct World {
        entries: Vec<Vec<u8>>,
        signer: NoteSigner,
        origin: Origin,
        note: String,
    }

    impl tree::Nodes for World {
        type Error = Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
            if level == 0 {
                return Ok(tree::leaf_hash(&self.entries[index as usize]));
            }
            let (l, r) = (self.node(level - 1, index * 2), self.node(level - 1, index * 2 + 1));
            Ok(tree::node_hash(&l?, &r?))
        }
    }

    const BODY: &[u8] = b"certificate body";

    fn world() -> World {
        let entries = (0..13u64)
            .map(|index| match index {
                4 => entry::encode_entry(
                    4,
                    9,
                    &Event::CertificateAbandoned { serial: 1, why: "x".into() },
                    None,
                ),
                _ => entry::encode_entry(
                    index,
                    9,
                    &Event::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) },
                    Some(BODY),
                ),
            })
            .collect::<Result<_, _>>()
            .unwrap();
        let origin: Origin = "ca.payments/0123456789abcdef".parse().unwrap();
        let signer = NoteSigner::new(origin.as_str(), SigningKey::from_bytes(&[3; 32])).unwrap();
        let mut world = World { entries, signer, origin: origin.clone(), note: String::new() };
        let Ok(root) = tree::root(13, &world);
        world.note = Checkpoint { origin, size: 13, root }.sign(&world.signer).unwrap();
        world
    }

    impl World {
        fn receipt(&self, index: u64) -> Receipt {
            Receipt {
                line1: entry::line1(&self.entries[index as usize]).to_vec(),
                index,
                hashes: tree::inclusion_proof(index, 13, self).unwrap(),
                checkpoint: self.note.clone(),
            }
        }

        fn check(&self, serial: u64, receipt: &[u8]) -> Result<Proved, ReceiptError> {
            check(BODY, serial, receipt, self.signer.key(), &self.origin)
        }
    }

    #[test]
    fn a_receipt_proves_its_certificate_and_no_other() {
        let world = world();
        let bytes = world.receipt(7).encode();
        assert!(bytes.starts_with(b"c2sp.org/tlog-proof@v1\nextra eyJ2IjoxLCJpbmRleCI6Ny"));
        assert_eq!(Receipt::decode(&bytes), Ok(world.receipt(7)));
        let proved = world.check(7, &bytes).unwrap();
        assert_eq!(proved.leaf, tree::leaf_hash(&world.entries[7]));
        assert_eq!((proved.at, proved.of, proved.terms), (9, Hash([1; 32]), Hash([2; 32])));
        assert_eq!(proved.checkpoint.size, 13);

        assert_eq!(world.check(8, &bytes), Err(ReceiptError::Serial));
        let key = world.signer.key();
        assert_eq!(check(b"another", 7, &bytes, key, &world.origin), Err(ReceiptError::NotIncluded));
        assert_eq!(check(b"", 7, &bytes, key, &world.origin), Err(ReceiptError::Entry(EntryError::Body)));
    }

    #[test]
    fn a_good_proof_of_another_entry_is_refused() {
        let world = world();
        let (seven, eight) = (world.receipt(7), world.receipt(8));
        // A true path and head, the wrong line; a true line, the wrong index; and both.
        let crossed = Receipt { line1: eight.line1.clone(), ..seven.clone() };
        assert_eq!(world.check(7, &crossed.encode()), Err(ReceiptError::Serial));
        assert_eq!(world.check(8, &crossed.encode()), Err(ReceiptError::Serial));
        let moved = Receipt { index: 8, ..seven.clone() };
        assert_eq!(world.check(8, &moved.encode()), Err(ReceiptError::Serial));
        let path = Receipt { hashes: seven.hashes.clone(), ..eight };
        assert_eq!(world.check(8, &path.encode()), Err(ReceiptError::NotIncluded));
        // An entry that is in the log but issues nothing.
        let other = world.receipt(4);
        assert_eq!(world.check(4, &other.encode()), Err(ReceiptError::Entry(EntryError::Body)));
        let none = Receipt { line1: Vec::new(), ..seven };
        assert_eq!(Receipt::decode(&none.encode()), Ok(none.clone()));
        assert_eq!(world.check(7, &none.encode()), Err(ReceiptError::Entry(EntryError::Header)));
    }

    #[test]
    fn a_line_that_smuggles_a_second_line_or_kind_is_refused() {
        let world = world();
        let good = world.receipt(7);
        for (from, to) in [
            ("certificate.issued", "certificate.abandoned"),
            ("\"v\":1", "\"v\":1,\"x\":1"),
            ("}", "}\nQUFB"),
            ("}", "}\n"),
            ("}", "} "),
        ] {
            let line = String::from_utf8(good.line1.clone()).unwrap();
            assert!(line.contains(from));
            let bad = Receipt { line1: line.replace(from, to).into_bytes(), ..good.clone() };
            assert!(world.check(7, &bad.encode()).is_err(), "{to:?}");
        }
    }

    #[test]
    fn another_logs_receipt_is_refused() {
        let world = world();
        let bytes = world.receipt(7).encode();
        let other: Origin = "ca.payments/0000000000000000".parse().unwrap();
        let key = NoteKey::new(other.as_str(), &world.signer.key().key()).unwrap();
        assert!(check(BODY, 7, &bytes, &key, &other).is_err());
        assert!(check(BODY, 7, &bytes, &key, &world.origin).is_err());
        let thief = NoteSigner::new(world.origin.as_str(), SigningKey::from_bytes(&[4; 32])).unwrap();
        assert!(check(BODY, 7, &bytes, thief.key(), &world.origin).is_err());
    }

    #[test]
    fn every_changed_bit_every_cut_and_every_addition_is_refused() {
        let world = world();
        let bytes = world.receipt(7).encode();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                assert!(world.check(7, &changed).is_err(), "byte {place} bit {bit}");
            }
            assert!(world.check(7, &bytes[..place]).is_err(), "cut at {place}");
            let (head, tail) = bytes.split_at(place);
            assert!(world.check(7, &[head, b"\n", tail].concat()).is_err(), "newline at {place}");
        }
        assert!(world.check(7, &[&bytes[..], b" "].concat()).is_err());
    }

    #[test]
    fn the_limits_hold_at_the_limit_and_one_past_it() {
        let hash = Hash([0; 32]);
        let long = |hashes: usize, checkpoint: usize| Receipt {
            line1: Vec::new(),
            index: 0,
            hashes: vec![hash; hashes],
            checkpoint: "c".repeat(checkpoint),
        };
        assert!(Receipt::decode(&long(limits::PROOF, 0).encode()).is_ok());
        assert_eq!(Receipt::decode(&long(limits::PROOF + 1, 0).encode()), Err(ReceiptError::Malformed));
        let rest = limits::RECEIPT - long(0, 0).encode().len();
        assert!(Receipt::decode(&long(0, rest).encode()).is_ok());
        let past = long(0, rest + 1).encode();
        assert_eq!(Receipt::decode(&past), Err(ReceiptError::TooLong(limits::RECEIPT + 1)));
        assert!(Receipt::decode(&vec![b'\n'; 50_000_000]).is_err());
    }

    #[test]
    fn at_ten_million_entries_a_receipt_stays_below_two_kib() {
        let world = world();
        let receipt = Receipt { index: 9_999_999, hashes: vec![Hash([9; 32]); 24], ..world.receipt(7) };
        assert!(receipt.encode().len() < 2048, "{}", receipt.encode().len());
    }

    #[test]
    fn witnesses_are_asked_for_beside_the_log_and_count_once() {
        use crate::log::Cosigner;
        let world = world();
        let witness = |n: u8| {
            Cosigner::new(&format!("witness.example/w{n}"), SigningKey::from_bytes(&[40 + n; 32])).unwrap()
        };
        let keys: String = (1..=3).map(|n| format!("witness w{n} {}\n", witness(n).key())).collect();
        let text = format!("{keys}group two 2 w1 w2 w3\nquorum two\n");
        let policy = WitnessPolicy::parse(text.as_bytes(), world.signer.key()).unwrap();
        let (head, _) = world.note.split_once("\n\n").unwrap();
        let with = |by: &[(u8, u64)]| {
            let lines: String =
                by.iter().map(|(n, at)| witness(*n).cosign(&format!("{head}\n"), *at)).collect();
            let receipt = Receipt { checkpoint: world.note.clone() + &lines, ..world.receipt(7) }.encode();
            world.check(7, &receipt).map(|_| check_witnesses(&receipt, &policy))
        };
        assert_eq!(with(&[(1, 5), (3, 6)]), Ok(Ok(2)));
        assert_eq!(with(&[(1, 5), (2, 0), (3, 6)]), Ok(Ok(3)));
        assert_eq!(with(&[(1, 5)]), Ok(Err(ReceiptError::Witnesses { found: 1 })));
        // A stranger's cosignature, and the same one twice, are no second.
        assert_eq!(with(&[(1, 5), (4, 5)]), Ok(Err(ReceiptError::Witnesses { found: 1 })));
        assert!(with(&[(1, 5), (1, 6)]).is_err());
        assert_eq!(with(&[]), Ok(Err(ReceiptError::Witnesses { found: 0 })));
        // Two good ones and a bad one of a known witness: refused, not outvoted.
        let other = witness(3).cosign("another text\n", 5);
        let bad = Receipt {
            checkpoint: world.note.clone()
                + &witness(1).cosign(&format!("{head}\n"), 5)
                + &witness(2).cosign(&format!("{head}\n"), 5)
                + &other,
            ..world.receipt(7)
        };
        assert_eq!(
            check_witnesses(&bad.encode(), &policy),
            Err(ReceiptError::Checkpoint(NoteError::BadSignature.into()))
        );
    }

    #[test]
    fn a_cosigned_note_at_its_limit_fits_beside_a_path_of_a_huge_tree() {
        let world = world();
        let rest =
            Receipt { index: u64::from(u32::MAX), hashes: vec![Hash([9; 32]); 32], ..world.receipt(7) };
        let receipt = Receipt { checkpoint: "c".repeat(limits::COSIGNED_NOTE), ..rest };
        assert!(receipt.encode().len() <= limits::RECEIPT, "{}", receipt.encode().len());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(c2sp.org/tlog-proof@v1\n|extra |index 7|AAAA|=|\n|.){0,30}") {
            let _ = Receipt::decode(text.as_bytes());
            let _ = world().check(7, [FIRST, &text].concat().as_bytes());
        }
    }
}
