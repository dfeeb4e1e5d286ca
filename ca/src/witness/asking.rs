//! The CA's end: a thread for each witness, which asks it about the head that the board shows, over one connection;
//! and what the road waits for.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fireaxe_protocol::limits;
use fireaxe_protocol::log::cosignature::cosigned_by_lines;
use fireaxe_protocol::log::{Cosigned, WitnessKey, WitnessPolicy};
use fireaxe_protocol::names::shown;
use thiserror::Error;

use super::board::{Board, Head};
use super::exchange::{AddCheckpoint, Answered, answered};
use super::http::{Roots, Wire};
use crate::clock::Clock;
use crate::log::{LogError, Reader};
use crate::road::{Ahead, Cosigners};

/// The longest that certificates wait for witnesses: what a person at a terminal takes for a pause.
const WAIT: Duration = Duration::from_secs(2);
/// The longest that a start waits for them to say what they know.
const LOOK: Duration = Duration::from_secs(6);
/// How often a witness may correct what it has, in one round.
const TRIES: usize = 3;

/// Why witnesses cannot be asked.
#[derive(Debug, Error)]
pub enum WitnessError {
    /// The policy does not say where it is.
    #[error("the witness {0} has no address: its line in the policy must end in one")]
    NoAddress(String),
    /// The quorum does not fit into a receipt.
    #[error("{0} cosignatures of the longest names do not fit into a receipt: {1} bytes, {most} are allowed", most = limits::COSIGNED_NOTE)]
    TooLong(usize, usize),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A thread.
    #[error("a thread cannot start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Who is asked, and how.
pub struct Settings {
    /// Who, and how many are enough.
    pub policy: WitnessPolicy,
    /// Whom their TLS certificates must lead to.
    pub roots: Roots,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether the log is in doubt: until its next head they are asked only whether they have the one it has, and
    /// given nothing that they lack. What they learnt from it would confirm it at the next start.
    pub in_doubt: bool,
}

/// All witnesses. Their threads end soon after this is dropped, without being waited for.
pub struct Witnesses {
    shared: Arc<Shared>,
}

struct Shared {
    board: Mutex<Board>,
    changed: Condvar,
    clock: Arc<dyn Clock>,
}

impl Witnesses {
    /// Starts a thread for each witness of the policy. `log` is the log's file; its newest head is asked about at
    /// once.
    pub fn start(settings: Settings, log: &Path) -> Result<Witnesses, WitnessError> {
        let Settings { policy, roots, clock, in_doubt } = settings;
        let reader = Reader::open(log)?;
        let head = Head { size: reader.size()?, note: reader.checkpoint_covering(reader.size()? - 1)?.1 };
        fits(&policy, &head.note)?;
        let mut asked = Vec::new();
        for witness in policy.witnesses() {
            let url = witness.url.as_deref();
            let url = url.ok_or_else(|| WitnessError::NoAddress(witness.key.name().to_owned()))?;
            asked.push((witness.key.clone(), Wire::new(url, &roots), Reader::open(log)?));
        }
        let mut board = Board::new(policy, in_doubt);
        board.committed(head, true);
        let shared = Arc::new(Shared { board: Mutex::new(board), changed: Condvar::new(), clock });
        // Dropped on an error below: the threads that were started end.
        let witnesses = Witnesses { shared };
        for (place, (key, wire, reader)) in asked.into_iter().enumerate() {
            let shared = Arc::clone(&witnesses.shared);
            let thread = std::thread::Builder::new().name(format!("witness-{place}"));
            thread.spawn(move || Asker { shared, place, key, wire, reader, failing: false }.run())?;
        }
        Ok(witnesses)
    }

    /// Waits until every witness has said what it knows of this log, or six seconds; those that were silent are
    /// not waited for. Says whether all have answered, and enough of them have cosigned the newest head there was at
    /// the start: of a log in doubt, had cosigned it before. Call it before anything is signed.
    pub fn look(&self) -> Result<bool, Ahead> {
        let board = self.shared.lock();
        let waiting = |board: &mut Board| !board.all_answered() && board.ahead().is_none();
        let waited = self.shared.changed.wait_timeout_while(board, LOOK, waiting);
        let (mut board, _) = waited.unwrap_or_else(PoisonError::into_inner);
        board.were_slow(self.shared.now_ms());
        board.ahead().cloned().map_or(Ok(board.is_confirmed()), Err)
    }
}

impl Cosigners for Witnesses {
    fn committed(&self, size: u64, note: &str) {
        self.shared.lock().committed(Head { size, note: note.to_owned() }, false);
        self.shared.changed.notify_all();
    }

    fn cosign(&self, size: u64, note: &str) -> Option<String> {
        let mut board = self.shared.lock();
        board.committed(Head { size, note: note.to_owned() }, true);
        self.shared.changed.notify_all();
        let mut met = None;
        let waited = self.shared.changed.wait_timeout_while(board, WAIT, |board| {
            met = board.take(size);
            met.is_none() && board.is_worth_waiting(self.shared.now_ms())
        });
        let (mut board, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if met.is_none() && timeout.timed_out() {
            board.were_slow(self.shared.now_ms());
            tracing::warn!(event = "witness.slow", size);
        }
        met
    }

    fn arrived(&self) -> Option<String> {
        self.shared.lock().take_any()
    }

    fn ahead(&self) -> Option<Ahead> {
        self.shared.lock().ahead().cloned()
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.shared.lock().stop();
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().tick_ms
    }
}

/// A quorum of the longest names must fit into a receipt beside the head.
fn fits(policy: &WitnessPolicy, note: &str) -> Result<(), WitnessError> {
    let mut lines: Vec<usize> = policy.keys().map(|key| key.name().len() + LINE).collect();
    lines.sort_unstable_by(|a, b| b.cmp(a));
    let least = policy.least();
    // The head's size grows to 20 digits.
    let long = note.len() + DIGITS + lines.iter().take(least).sum::<usize>();
    if long > limits::COSIGNED_NOTE { Err(WitnessError::TooLong(least, long)) } else { Ok(()) }
}

/// A cosignature's line without its name: dash and blank 4, blank, base64 of 76 bytes, newline.
const LINE: usize = 4 + 1 + 104 + 1;
const DIGITS: usize = 20;

/// The thread of one witness.
struct Asker {
    shared: Arc<Shared>,
    place: usize,
    key: WitnessKey,
    wire: Wire,
    reader: Reader,
    /// Told once, not each time.
    failing: bool,
}

/// What came of asking.
enum Came {
    Cosigned(Box<Cosigned>),
    /// It has more than was asked about, not more than there is.
    HasMore(u64),
    Ahead(u64),
    /// It was asked whether it has the head, and has less.
    HasLess(u64),
    Failed(String),
}

impl Asker {
    fn run(mut self) {
        while let Some((head, has)) = self.next() {
            let began = self.shared.now_ms();
            let came = match has {
                Some(has) => self.ask(&head, has),
                None => self.look(&head),
            };
            let now = self.shared.now_ms();
            let mut board = self.shared.lock();
            match came {
                Came::Cosigned(cosigned) => {
                    let quickly = Duration::from_millis(now.saturating_sub(began)) <= WAIT;
                    board.says_yes(self.place, head.size, *cosigned, quickly);
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(event = "witness.back", witness = self.key.name());
                    }
                }
                Came::HasLess(size) => board.says_it_has_less(self.place, size),
                Came::HasMore(size) => board.says_it_has(self.place, size, now),
                Came::Ahead(size) => {
                    let witness = self.key.name().to_owned();
                    tracing::error!(event = "witness.ahead", witness, size, asked = head.size);
                    board.is_ahead(Ahead { witness, size });
                }
                Came::Failed(why) => {
                    board.fails(self.place, now);
                    if !std::mem::replace(&mut self.failing, true) {
                        let why = shown(&why);
                        tracing::warn!(event = "witness.failed", witness = self.key.name(), why);
                    }
                }
            }
            drop(board);
            self.shared.changed.notify_all();
        }
    }

    /// Waits for something to ask; nothing: it is over.
    fn next(&self) -> Option<(Head, Option<u64>)> {
        let mut board = self.shared.lock();
        loop {
            if board.is_stopped() {
                return None;
            }
            let now = self.shared.now_ms();
            if let Some(found) = board.to_ask(self.place, now) {
                return Some(found);
            }
            let patience = Duration::from_millis(board.patience_ms(self.place, now));
            let waited = self.shared.changed.wait_timeout(board, patience);
            (board, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Asks whether the witness has this very head: as if from its size, so that one which has less says so and
    /// takes nothing, and one which has it cosigns it again. Asked twice, the answer is the same.
    fn look(&self, head: &Head) -> Came {
        let Some((text, _)) = head.note.split_once("\n\n") else {
            return Came::Failed("the head has no text".into());
        };
        match self.say(head, head.size) {
            Ok(Answered::Lines(lines)) => self.cosigned(&format!("{text}\n"), &lines),
            Ok(Answered::Has(size)) if size < head.size => Came::HasLess(size),
            Ok(Answered::Has(size)) if size > head.size => self.has_more(size),
            // It has another root of this size.
            Ok(Answered::Has(size)) => Came::Ahead(size),
            // From a size that is not its own word: this says nothing of its past.
            Ok(Answered::NoProof) => Came::Failed("it takes no head at all (422)".into()),
            Ok(Answered::Refused(status)) => Came::Failed(format!("it answered with status {status}")),
            Err(why) => Came::Failed(why),
        }
    }

    /// It has more than was asked about: also more than there is?
    fn has_more(&self, size: u64) -> Came {
        match self.reader.size() {
            Ok(newest) if size > newest => Came::Ahead(size),
            Ok(_) => Came::HasMore(size),
            Err(error) => Came::Failed(error.to_string()),
        }
    }

    /// Asks about one head, from what the witness is believed to have; it may correct that.
    fn ask(&self, head: &Head, has: u64) -> Came {
        if has > head.size {
            return Came::HasMore(has);
        }
        let Some((text, _)) = head.note.split_once("\n\n") else {
            return Came::Failed("the head has no text".into());
        };
        let text = format!("{text}\n");
        let mut old = has;
        for _ in 0..TRIES {
            let said = match self.say(head, old) {
                Ok(said) => said,
                Err(why) => return Came::Failed(why),
            };
            match said {
                Answered::Lines(lines) => return self.cosigned(&text, &lines),
                // From this very size it takes nothing: it has another root of it.
                Answered::Has(size) if size == old && size == head.size => return Came::Ahead(size),
                Answered::Refused(409) if old == head.size => return Came::Ahead(old),
                // The proof is right for this log: what it has of that size is another's past.
                Answered::NoProof if old > 0 => return Came::Ahead(old),
                Answered::Has(size) if size == old => return Came::Failed("it contradicts itself".into()),
                Answered::Has(size) if size > head.size => return self.has_more(size),
                Answered::Has(size) => old = size,
                Answered::NoProof => return Came::Failed("it takes no head at all (422)".into()),
                Answered::Refused(status) => {
                    return Came::Failed(format!("it answered with status {status}"));
                }
            }
        }
        Came::Failed("it says something else each time".into())
    }

    fn say(&self, head: &Head, old: u64) -> Result<Answered, String> {
        let proof = match old {
            0 => Vec::new(),
            _ => self.reader.consistency(old, head.size).map_err(|error| error.to_string())?,
        };
        let request = AddCheckpoint { old, proof, checkpoint: head.note.clone() };
        let (status, body) = self.wire.post(&request.encode())?;
        Ok(answered(status, &body))
    }

    /// Only a cosignature of its own key over this very head counts, whatever else it sends.
    fn cosigned(&self, text: &str, lines: &str) -> Came {
        match cosigned_by_lines(text, lines, [&self.key]) {
            Ok(found) => match found.into_iter().next() {
                Some(one) => Came::Cosigned(Box::new(one)),
                None => Came::Failed("its answer holds no cosignature of its key".into()),
            },
            Err(error) => Came::Failed(format!("its answer: {error}")),
        }
    }
}
