//! What this client remembers of the log: the newest head that it has seen, of each log, as the signed note; and the
//! evidence, once two heads contradict each other. A client is one more party to whom the CA cannot show another
//! past than to the rest.
//!
//! | place | trusted | what whoever can change it gains |
//! |---|---|---|
//! | `head-ID.note` | yes, and signed | this client begins anew with what it is shown next |
//! | `evidence/` | no: signed by the log | it is gone from here; others have theirs |

use std::fs;
use std::path::{Path, PathBuf};

use fireaxe_protocol::log::{Beside, Checkpoint, Hash, NoteKey};
use fireaxe_protocol::names::Origin;
use fireaxe_transport::TransportError;

use crate::places::{self, PlaceError, Places};

/// What came of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Looked {
    /// It continues the newest one seen here, is it, or is the first.
    Consistent,
    /// It cannot be told now. The newest one seen stays.
    Unknown,
    /// It does not continue the newest one, which stays: what to say.
    Forked(String),
}

/// The memory of one log.
#[derive(Debug)]
pub(crate) struct Heads {
    state: PathBuf,
    key: NoteKey,
    origin: Origin,
}

impl Heads {
    /// That of the log `origin` with this key.
    pub(crate) fn of(places: &Places, key: NoteKey, origin: Origin) -> Heads {
        Heads { state: places.state.clone(), key, origin }
    }

    /// Where the note lies.
    pub(crate) fn path(&self) -> PathBuf {
        let id = self.origin.as_str().rsplit('/').next().unwrap_or_default();
        self.state.join(format!("head-{id}.note"))
    }

    /// The newest head, with its note. One that cannot be read counts as none: the next takes its place.
    pub(crate) fn seen(&self) -> Option<(Checkpoint, String)> {
        let note = fs::read_to_string(self.path()).ok()?;
        let head = Checkpoint::open(&note, &self.key, &self.origin).ok()?;
        Some((head, note))
    }

    /// Holds a head that the CA showed, as its note, against the newest one. `ask` gets the proof from one size to
    /// another. Only the first look and an equal head need no network.
    pub(crate) fn look(
        &self,
        note: &str,
        ask: impl FnOnce(u64, u64) -> Result<Vec<Hash>, TransportError>,
    ) -> Result<Looked, PlaceError> {
        let Ok(shown) = Checkpoint::open(note, &self.key, &self.origin) else { return Ok(Looked::Unknown) };
        let Some((seen, seen_note)) = self.seen() else {
            places::replace(&self.path(), note)?;
            return Ok(Looked::Consistent);
        };
        let forked = |how| {
            let folder = evidence(&self.state);
            keep(&folder, (&seen, &seen_note), (&shown, note))?;
            Ok(Looked::Forked(sentence(&seen, &shown, how, &folder)))
        };
        let gap = match Beside::of(&seen, &shown) {
            Beside::Same => return Ok(Looked::Consistent),
            Beside::Forked => return forked("two roots of one size"),
            Beside::Apart(gap) => gap,
        };
        match ask(gap.from, gap.to) {
            Ok(proof) if gap.is_closed_by(&proof) => {}
            Ok(_) => return forked("no proof leads from one to the other"),
            Err(error) => match error.problem() {
                // The CA is there, and has nothing between the two.
                Some(problem) if matches!(problem.status, 400 | 404 | 422) => {
                    return forked("the CA has no proof from one to the other");
                }
                _ => return Ok(Looked::Unknown),
            },
        }
        // Another process may have seen a newer one meanwhile.
        if gap.is_news && self.seen().is_none_or(|(newest, _)| newest.size < shown.size) {
            places::replace(&self.path(), note)?;
        }
        Ok(Looked::Consistent)
    }

    /// Leaves a note to be looked at by whoever has time: the newest that was left.
    pub(crate) fn leave(&self, note: &str) {
        let size = |note: &str| Checkpoint::open(note, &self.key, &self.origin).map_or(0, |head| head.size);
        let path = self.path().with_extension("shown");
        if fs::read_to_string(&path).is_ok_and(|left| size(&left) >= size(note)) {
            return;
        }
        // Not flushed: an ssh waits, and what a crash takes away is shown again.
        let beside = self.path().with_extension("leaving");
        let _ = fs::write(&beside, note).and_then(|()| fs::rename(&beside, &path));
    }

    /// What was left, once.
    pub(crate) fn left(&self) -> Option<String> {
        let path = self.path().with_extension("shown");
        let note = fs::read_to_string(&path).ok()?;
        let _ = fs::remove_file(&path);
        Some(note)
    }

    /// Where evidence of a fork lies, if it does.
    pub(crate) fn evidence(&self) -> Option<PathBuf> {
        let folder = evidence(&self.state);
        fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()).then_some(folder)
    }
}

fn evidence(state: &Path) -> PathBuf {
    state.join("evidence")
}

/// Keeps both notes: signed by the log, they prove the fork to everybody. Once for each pair, and not without end.
pub(crate) fn keep(
    folder: &Path,
    (seen, seen_note): (&Checkpoint, &str),
    (shown, shown_note): (&Checkpoint, &str),
) -> Result<(), PlaceError> {
    places::own_directory(folder)?;
    let name = format!("{}-{}-{}", seen.size, shown.size, shown.root);
    let first = folder.join(format!("{name}.seen"));
    let kept = fs::read_dir(folder).map_or(0, Iterator::count);
    if first.exists() || kept >= MOST {
        return Ok(());
    }
    places::replace(&folder.join(format!("{name}.shown")), shown_note)?;
    places::replace(&first, seen_note)
}

/// What is said of it.
pub(crate) fn sentence(seen: &Checkpoint, shown: &Checkpoint, how: &str, folder: &Path) -> String {
    format!(
        "the log shows a head of {} entries that does not fit the one of {} entries seen here before: {how}; both \
         notes are in {}",
        shown.size,
        seen.size,
        folder.display()
    )
}

/// Files of evidence: 16 forks, two each. More of them prove nothing more.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use fireaxe_protocol::log::{NoteSigner, tree};

    struct Log(Vec<Hash>);

    impl tree::Nodes for Log {
        type Error = std::convert::Infallible;
        fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
            if level == 0 {
                return Ok(self.0[usize::try_from(index).unwrap()]);
            }
            Ok(tree::node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
        }
    }

    fn origin() -> Origin {
        "ca.example/0123456789abcdef".parse().unwrap()
    }

    fn signer() -> NoteSigner {
        NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[8; 32])).unwrap()
    }

    impl Log {
        fn new(entries: impl IntoIterator<Item = u64>) -> Log {
            Log(entries.into_iter().map(|n| tree::leaf_hash(&n.to_be_bytes())).collect())
        }

        fn note(&self, size: u64) -> String {
            let root = tree::root(size, self).unwrap();
            Checkpoint { origin: origin(), size, root }.sign(&signer()).unwrap()
        }

        fn proof(&self, from: u64, to: u64) -> Result<Vec<Hash>, TransportError> {
            Ok(tree::consistency_proof(from, to, self).unwrap())
        }
    }

    fn heads(dir: &Path) -> Heads {
        Heads { state: dir.to_owned(), key: signer().key().clone(), origin: origin() }
    }

    fn away(_: u64, _: u64) -> Result<Vec<Hash>, TransportError> {
        Err(TransportError::NotRunning { addr: "x".into() })
    }

    #[test]
    fn the_newest_head_is_remembered_across_runs_and_an_older_one_never_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (heads, log) = (heads(dir.path()), Log::new(0..40));
        let ask = |from, to| log.proof(from, to);
        assert_eq!(heads.look(&log.note(10), away).unwrap(), Looked::Consistent);
        assert_eq!(heads.look(&log.note(20), away).unwrap(), Looked::Unknown);
        assert_eq!(heads.seen().unwrap().0.size, 10);
        assert_eq!(heads.look(&log.note(20), ask).unwrap(), Looked::Consistent);
        assert_eq!(heads.look(&log.note(5), ask).unwrap(), Looked::Consistent);
        assert_eq!(heads.look(&log.note(20), away).unwrap(), Looked::Consistent, "the same needs no proof");
        assert_eq!((heads.seen().unwrap().0.size, heads.evidence()), (20, None));
    }

    #[test]
    fn another_past_is_said_both_notes_are_kept_once_and_the_newest_head_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (heads, log) = (heads(dir.path()), Log::new(0..40));
        let fork = Log::new((0..9).chain(100..140));
        heads.look(&log.note(20), away).unwrap();
        for size in [20, 30, 30] {
            let looked = heads.look(&fork.note(size), |from, to| fork.proof(from, to)).unwrap();
            assert!(matches!(looked, Looked::Forked(said) if said.contains("evidence")), "{size}");
        }
        let folder = heads.evidence().unwrap();
        let mut kept: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        kept.sort();
        let mut expected = vec![log.note(20), log.note(20), fork.note(20), fork.note(30)];
        expected.sort();
        assert_eq!(kept, expected);
        assert_eq!(heads.seen().unwrap().0.size, 20);
        // Left by a process that had no time.
        heads.leave(&log.note(30));
        heads.leave(&log.note(25));
        assert_eq!((heads.left(), heads.left()), (Some(log.note(30)), None));
        // What the log did not sign is no evidence.
        let forged = log.note(30).replace("\n30\n", "\n31\n");
        assert_eq!(heads.look(&forged, away).unwrap(), Looked::Unknown);
    }
}
