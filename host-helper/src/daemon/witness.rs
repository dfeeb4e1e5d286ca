//! The fleet witnesses the log: each host remembers the newest head that it saw, and takes another only with
//! the proof that it continues that one. A log that shows different hosts different pasts is found by the
//! first of them that sees both.
//!
//! What a host does when it finds a fork, and why it goes on letting people in, is
//! `docs/decisions/0020-a-host-that-sees-a-fork-goes-on.md`.

use std::fs;
use std::path::{Path, PathBuf};

use fireaxe_protocol::api::FeedHead;
use fireaxe_protocol::log::{Beside, Checkpoint, Hash, NoteKey, note};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::reason::Reason;
use fireaxe_transport::TransportError;

use crate::atomic;
use crate::error::HostError;

/// The newest head that was found consistent, and where it lies.
///
/// The file is the signed note itself: whoever changes it needs the log's key, whoever removes it makes this
/// host begin anew with what it is shown next.
#[derive(Debug)]
pub struct Witness {
    state: PathBuf,
    key: NoteKey,
    origin: Origin,
    seen: Option<Seen>,
    /// The head shown last was an older one than what was seen here, or contradicts it.
    contradicted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    head: Checkpoint,
    note: String,
}

/// What came of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnessed {
    /// It continues the last one, or is it.
    Consistent,
    /// It cannot be told now: the proof is not to be had. The last one stays.
    Unknown(String),
    /// It does not continue the last one, which stays. The alarm, unless these two were told before.
    Forked(Option<Reason>),
}

impl Witness {
    /// Reads what was seen before. Also an alarm, when that cannot be read: it is set aside, if it can be.
    pub fn open(state: &Path, key: NoteKey, origin: Origin) -> (Witness, Option<Reason>) {
        let path = state.join(FILE);
        let mut witness = Witness { state: state.into(), key, origin, seen: None, contradicted: false };
        let note = match fs::read_to_string(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (witness, None),
            Err(error) => return (witness, Some(set_aside(&path, &error.to_string()))),
        };
        match Checkpoint::open(&note, &witness.key, &witness.origin) {
            Ok(head) => {
                witness.seen = Some(Seen { head, note });
                (witness, None)
            }
            Err(error) => (witness, Some(set_aside(&path, &error.to_string()))),
        }
    }

    /// Size and root of the newest head.
    pub fn head(&self) -> Option<(u64, Hash)> {
        self.seen.as_ref().map(|seen| (seen.head.size, seen.head.root))
    }

    /// The newest head's note, with no other signature than the log's, while the CA shows an older head or one
    /// that does not fit it: its own word, by which a CA that was put back knows that it was.
    pub fn ahead(&self) -> Option<String> {
        let seen = self.seen.as_ref().filter(|_| self.contradicted)?;
        note::alone(&seen.note, &self.key)
    }

    /// Whether evidence of a fork lies here.
    pub fn forked(state: &Path) -> bool {
        fs::read_dir(state.join(EVIDENCE)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Looks at a head from the feed. `ask` gets the proof from one size to another where the feed's does not
    /// begin at the last head seen.
    pub fn look(
        &mut self,
        shown: &FeedHead,
        ask: impl Fn(u64, u64) -> Result<Vec<Hash>, TransportError>,
    ) -> Result<Witnessed, HostError> {
        let head = match Checkpoint::open(&shown.checkpoint, &self.key, &self.origin) {
            Ok(head) => head,
            // Not the log's word: whoever answers on this connection says something else than it.
            Err(error) => return Ok(Witnessed::Unknown(format!("it is no head of this log: {error}"))),
        };
        let note = shown.checkpoint.clone();
        let before = self.seen.as_ref().map(|seen| (seen.head.size, seen.head.root));
        let looked = self.compared(shown, head.clone(), note, ask)?;
        self.contradicted = match &looked {
            Witnessed::Forked(_) => true,
            _ if before.is_some_and(|(size, _)| head.size < size) => true,
            Witnessed::Consistent => false,
            // Nothing is known of it: what was known before stands.
            Witnessed::Unknown(_) => self.contradicted,
        };
        Ok(looked)
    }

    fn compared(
        &mut self,
        shown: &FeedHead,
        head: Checkpoint,
        note: String,
        ask: impl Fn(u64, u64) -> Result<Vec<Hash>, TransportError>,
    ) -> Result<Witnessed, HostError> {
        let Some(seen) = self.seen.clone() else {
            self.remember(Seen { head, note })?;
            return Ok(Witnessed::Consistent);
        };
        let gap = match Beside::of(&seen.head, &head) {
            Beside::Same => return Ok(Witnessed::Consistent),
            Beside::Forked => return self.fork(&seen, &note, &head, "two roots of one size"),
            Beside::Apart(gap) => gap,
        };
        // The feed's own proof, if it begins where this host is; a wrong one is no evidence yet.
        let fits = (shown.from, gap.from) == (seen.head.size, seen.head.size);
        if !(fits && gap.is_closed_by(&shown.proof)) {
            match ask(gap.from, gap.to) {
                Ok(proof) if gap.is_closed_by(&proof) => {}
                Ok(_) => return self.fork(&seen, &note, &head, "no proof leads from one to the other"),
                Err(error) => match error.problem() {
                    // The CA is there, and has nothing between the two.
                    Some(problem) if matches!(problem.status, 400 | 404 | 422) => {
                        return self.fork(&seen, &note, &head, "the CA has no proof from one to the other");
                    }
                    _ => return Ok(Witnessed::Unknown(error.to_string())),
                },
            }
        }
        // An older head of the same log was shown again: no news, and no harm.
        if gap.is_news {
            self.remember(Seen { head, note })?;
        }
        Ok(Witnessed::Consistent)
    }

    /// A crash in here: the old head or the new one, whole.
    fn remember(&mut self, seen: Seen) -> Result<(), HostError> {
        atomic::folder(&self.state)?;
        atomic::write(&self.state.join(FILE), seen.note.as_bytes())?;
        self.seen = Some(seen);
        Ok(())
    }

    /// Both notes are kept before anybody is told: signed by the log, they prove the fork to everybody.
    fn fork(&self, seen: &Seen, note: &str, head: &Checkpoint, how: &str) -> Result<Witnessed, HostError> {
        let folder = self.state.join(EVIDENCE);
        atomic::folder(&folder)?;
        let name = format!("{}-{}-{}", seen.head.size, head.size, &head.root.to_string());
        let first = folder.join(format!("{name}.seen"));
        let kept = fs::read_dir(&folder).map_or(0, Iterator::count);
        if first.exists() || kept >= MOST {
            return Ok(Witnessed::Forked(None));
        }
        atomic::write(&folder.join(format!("{name}.shown")), note.as_bytes())?;
        atomic::write(&first, seen.note.as_bytes())?;
        let sentence = format!(
            "the log shows a head of {} entries that does not fit the one of {} entries seen here before: {how}; \
             both notes are in {}",
            head.size,
            seen.head.size,
            folder.display()
        );
        Ok(Witnessed::Forked(Some(Reason::new("log.forked", sentence))))
    }
}

fn set_aside(path: &Path, why: &str) -> Reason {
    let aside = path.with_extension("damaged");
    let done = match fs::rename(path, &aside) {
        Ok(()) => format!("is set aside ({})", aside.display()),
        // The next head that is seen takes its place.
        Err(error) => format!("is left there ({error})"),
    };
    Reason::new("log.head_damaged", format!("the log's head seen last could not be read and {done}: {why}"))
}

const FILE: &str = "head.note";
const EVIDENCE: &str = "evidence";
/// Files of evidence: 16 forks, two each. More of them prove nothing more.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ed25519_dalek::SigningKey;
    use fireaxe_protocol::log::{NoteSigner, tree};

    use super::*;

    struct Log {
        leaves: Vec<Hash>,
        signer: NoteSigner,
        origin: Origin,
    }

    impl tree::Nodes for Log {
        type Error = std::convert::Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
            let at = |n| usize::try_from(n).unwrap();
            if level == 0 {
                return Ok(self.leaves[at(index)]);
            }
            let left = self.node(level - 1, index * 2)?;
            let right = self.node(level - 1, index * 2 + 1)?;
            Ok(tree::node_hash(&left, &right))
        }
    }

    impl Log {
        fn new(entries: impl IntoIterator<Item = u64>) -> Log {
            let origin: Origin = "ca.example/0123456789abcdef".parse().unwrap();
            let signer = NoteSigner::new(origin.as_str(), SigningKey::from_bytes(&[8; 32])).unwrap();
            let leaves = entries.into_iter().map(|n| tree::leaf_hash(&n.to_be_bytes())).collect();
            Log { leaves, signer, origin }
        }

        fn head(&self, size: u64, from: u64) -> FeedHead {
            let root = tree::root(size, self).unwrap();
            let checkpoint =
                Checkpoint { origin: self.origin.clone(), size, root }.sign(&self.signer).unwrap();
            let proof = if from == 0 { Vec::new() } else { self.proof(from, size).unwrap() };
            FeedHead { checkpoint, from, proof }
        }

        fn proof(&self, from: u64, to: u64) -> Result<Vec<Hash>, TransportError> {
            Ok(tree::consistency_proof(from, to, self).unwrap())
        }

        fn witness(&self, dir: &Path) -> (Witness, Option<Reason>) {
            Witness::open(dir, self.signer.key().clone(), self.origin.clone())
        }
    }

    fn away(_: u64, _: u64) -> Result<Vec<Hash>, TransportError> {
        Err(TransportError::NotRunning { addr: "x".into() })
    }

    #[test]
    fn heads_that_continue_are_taken_with_the_feeds_proof_or_one_asked_for_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(0..40);
        let (mut witness, _) = log.witness(dir.path());
        assert_eq!(witness.look(&log.head(3, 0), away).unwrap(), Witnessed::Consistent);
        assert_eq!(witness.look(&log.head(7, 3), away).unwrap(), Witnessed::Consistent);
        // Starts elsewhere: asked for.
        let asked = Cell::new(None);
        let ask = |from, to| {
            asked.set(Some((from, to)));
            log.proof(from, to)
        };
        assert_eq!(witness.look(&log.head(20, 9), ask).unwrap(), Witnessed::Consistent);
        assert_eq!(asked.get(), Some((7, 20)));
        let (mut witness, alarm) = log.witness(dir.path());
        assert_eq!((witness.head().unwrap().0, alarm), (20, None));
        // Not to be had: the last one stays, and the next is asked for from there.
        assert!(matches!(witness.look(&log.head(30, 0), away).unwrap(), Witnessed::Unknown(_)));
        assert_eq!(witness.head().unwrap().0, 20);
        assert_eq!(witness.look(&log.head(40, 30), ask).unwrap(), Witnessed::Consistent);
        assert_eq!(asked.get(), Some((20, 40)));
    }

    #[test]
    fn another_past_is_an_alarm_with_both_notes_once_and_the_last_head_stays() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(0..20);
        let fork = Log::new((0..9).chain(100..120));
        let (mut witness, _) = log.witness(dir.path());
        witness.look(&log.head(10, 0), away).unwrap();
        let seen = witness.head();
        let ask = |from, to| fork.proof(from, to);
        for (size, from) in [(10, 0), (15, 10), (15, 0)] {
            let found = witness.look(&fork.head(size, from), ask).unwrap();
            let first = from != 0 || size == 10;
            match found {
                Witnessed::Forked(alarm) => assert_eq!(alarm.is_some(), first, "{size} from {from}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(witness.head(), seen);
        }
        let evidence = fs::read_dir(dir.path().join("evidence")).unwrap().count();
        assert_eq!(evidence, 4);
        assert!(Witness::forked(dir.path()));
        // Its own word is ready to be said to the CA that shows another past, until that shows ours again.
        assert_eq!(witness.ahead(), Some(log.head(10, 0).checkpoint));
        // The real log goes on being followed.
        assert_eq!(witness.look(&log.head(20, 10), away).unwrap(), Witnessed::Consistent);
        assert_eq!(witness.ahead(), None);
    }

    #[test]
    fn a_log_that_was_put_back_is_told_the_head_that_it_lost() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(0..20);
        let (mut witness, _) = log.witness(dir.path());
        witness.look(&log.head(20, 0), away).unwrap();
        assert_eq!(witness.ahead(), None);
        // It answers nothing, and shows less: that is enough to say so.
        assert!(matches!(witness.look(&log.head(5, 0), away).unwrap(), Witnessed::Unknown(_)));
        assert_eq!(witness.ahead(), Some(log.head(20, 0).checkpoint));
        witness.look(&log.head(20, 0), away).unwrap();
        assert_eq!(witness.ahead(), None);
    }

    #[test]
    fn a_smaller_head_of_the_same_log_is_no_fork_and_never_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(0..20);
        let (mut witness, _) = log.witness(dir.path());
        witness.look(&log.head(20, 0), away).unwrap();
        let ask = |from, to| log.proof(from, to);
        assert_eq!(witness.look(&log.head(5, 0), ask).unwrap(), Witnessed::Consistent);
        assert_eq!(log.witness(dir.path()).0.head().unwrap().0, 20);
        // Of a log that was set back and went on otherwise, it is one.
        let fork = Log::new((0..4).chain(100..120));
        let found = witness.look(&fork.head(5, 0), |from, to| fork.proof(from, to)).unwrap();
        assert!(matches!(found, Witnessed::Forked(Some(_))));
    }

    #[test]
    fn what_the_log_did_not_sign_is_no_evidence_and_a_damaged_state_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::new(0..20);
        let (mut witness, _) = log.witness(dir.path());
        witness.look(&log.head(10, 0), away).unwrap();
        let mut head = log.head(12, 10);
        head.checkpoint = head.checkpoint.replace("\n12\n", "\n13\n");
        assert!(matches!(witness.look(&head, away).unwrap(), Witnessed::Unknown(_)));
        head.checkpoint = "garbage".into();
        assert!(matches!(witness.look(&head, away).unwrap(), Witnessed::Unknown(_)));
        assert!(!Witness::forked(dir.path()));
        // A wrong proof on the feed, a right one when asked: no fork.
        let mut head = log.head(12, 10);
        head.proof[0].0[0] ^= 1;
        assert_eq!(witness.look(&head, |from, to| log.proof(from, to)).unwrap(), Witnessed::Consistent);
        for garbage in [&b"\xff"[..], b"", b"ca.example"] {
            fs::write(dir.path().join(FILE), garbage).unwrap();
            let (witness, alarm) = log.witness(dir.path());
            assert_eq!((witness.head(), alarm.unwrap().code.as_str()), (None, "log.head_damaged"));
        }
    }
}
