//! What the witnesses have said of which head, whom nobody waits for, and whether the log is behind: pure, time is
//! an argument.
//!
//! All witnesses are asked about one head at a time. Were each asked about the newest one whenever it is free, those
//! that are slow and those that are fast would hardly ever have cosigned the same.

use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Cosigned, WitnessKey, WitnessPolicy};

use crate::road::Ahead;

/// A head to be cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) size: u64,
    pub(super) note: String,
}

/// What one witness has said of the head that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// Nothing yet.
    Pending,
    /// Yes.
    Cosigned(Box<Cosigned>),
    /// It was only to say whether it has it, and has less. It is asked again about the next.
    HasLess,
    /// Nothing that counts; it is asked again from this moment on, milliseconds.
    Failed { again_ms: u64 },
}

#[derive(Debug)]
struct Place {
    word: Word,
    /// It failed or was slow: nobody waits for it until then, milliseconds.
    aside_until_ms: u64,
    /// How often it failed since it last answered.
    failures: u32,
    /// How many entries it is believed to have cosigned.
    has: u64,
}

/// See the file's top.
#[derive(Debug)]
pub(super) struct Board {
    policy: WitnessPolicy,
    places: Vec<Place>,
    asked: Option<Head>,
    next: Option<Head>,
    /// A note that meets the quorum and was not taken yet.
    met: Option<Head>,
    ahead: Option<Ahead>,
    /// The log is in doubt: witnesses are asked whether they have the head, and not to take it.
    in_doubt: bool,
    stopped: bool,
}

/// How long nobody waits for a witness that failed or was slow.
pub(super) const ASIDE_MS: u64 = 30_000;
/// How soon one that failed is asked again at first, and at last.
const AGAIN_MS: (u64, u64) = (1_000, 30_000);

impl Board {
    pub(super) fn new(policy: WitnessPolicy, in_doubt: bool) -> Board {
        let place = || Place { word: Word::Pending, aside_until_ms: 0, failures: 0, has: 0 };
        let places = policy.witnesses().iter().map(|_| place()).collect();
        Board { policy, places, asked: None, next: None, met: None, ahead: None, in_doubt, stopped: false }
    }

    /// A head was committed. If somebody waits for it, it is asked about at once, else when the one before is
    /// done with.
    pub(super) fn committed(&mut self, head: Head, awaited: bool) {
        // Nothing is committed in doubt: the first head is the one that was there.
        self.in_doubt &= self.asked.is_none();
        if awaited || self.is_done() {
            self.ask(head);
        } else {
            self.next = Some(head);
        }
    }

    fn ask(&mut self, head: Head) {
        self.places.iter_mut().for_each(|place| place.word = Word::Pending);
        self.next = None;
        self.asked = Some(head);
    }

    /// Whether nothing more is to be had of the head that is asked about, for now.
    fn is_done(&self) -> bool {
        self.asked.is_none() || self.is_met() || self.places.iter().all(|place| place.word != Word::Pending)
    }

    fn is_met(&self) -> bool {
        self.policy.is_met_by(&self.cosigned())
    }

    fn cosigned(&self) -> Vec<&WitnessKey> {
        let with = self.places.iter().zip(self.policy.keys());
        with.filter(|(place, _)| matches!(place.word, Word::Cosigned(_))).map(|(_, key)| key).collect()
    }

    /// What to ask this witness now, and how much it is believed to have cosigned; nothing: it is only asked whether
    /// it has that head.
    pub(super) fn to_ask(&self, witness: usize, now_ms: u64) -> Option<(Head, Option<u64>)> {
        let place = self.places.get(witness)?;
        let due = match place.word {
            Word::Pending => true,
            Word::Cosigned(_) | Word::HasLess => false,
            Word::Failed { again_ms } => now_ms >= again_ms,
        };
        let head = self.asked.clone().filter(|_| due && self.ahead.is_none())?;
        Some((head, (!self.in_doubt).then_some(place.has)))
    }

    /// How long until this witness may have to be asked, milliseconds, unless something else happens.
    pub(super) fn patience_ms(&self, witness: usize, now_ms: u64) -> u64 {
        match self.places.get(witness).map(|place| &place.word) {
            Some(Word::Failed { again_ms }) => again_ms.saturating_sub(now_ms).clamp(1, AGAIN_MS.1),
            _ => AGAIN_MS.1,
        }
    }

    /// A witness cosigned a head. `quickly`: as fast as is waited for. Lines for a head that is not asked about any
    /// more are dropped: only what it has is remembered.
    pub(super) fn says_yes(&mut self, witness: usize, size: u64, cosigned: Cosigned, quickly: bool) {
        let Some(place) = self.places.get_mut(witness) else { return };
        (place.has, place.failures) = (size, 0);
        if quickly {
            place.aside_until_ms = 0;
        }
        if self.asked.as_ref().is_some_and(|head| head.size == size) {
            place.word = Word::Cosigned(Box::new(cosigned));
        }
        self.settle();
    }

    /// It was asked whether it has the head, and has less of this log.
    pub(super) fn says_it_has_less(&mut self, witness: usize, size: u64) {
        if let Some(place) = self.places.get_mut(witness) {
            (place.has, place.failures) = (size, 0);
            // Later it is a word about a head that is not asked about any more.
            if self.in_doubt {
                place.word = Word::HasLess;
            }
        }
        self.settle();
    }

    /// It has more entries of this log than were asked about, though not more than there are: nothing to be had of
    /// it for this head.
    pub(super) fn says_it_has(&mut self, witness: usize, size: u64, now_ms: u64) {
        if let Some(place) = self.places.get_mut(witness) {
            place.has = size;
            place.word = Word::Failed { again_ms: now_ms + AGAIN_MS.0 };
        }
        self.settle();
    }

    /// It did not answer, or nothing that counts.
    pub(super) fn fails(&mut self, witness: usize, now_ms: u64) {
        if let Some(place) = self.places.get_mut(witness) {
            let wait = (AGAIN_MS.0 << place.failures.min(5)).min(AGAIN_MS.1);
            place.failures = place.failures.saturating_add(1);
            place.word = Word::Failed { again_ms: now_ms + wait };
            place.aside_until_ms = now_ms + ASIDE_MS;
        }
        self.settle();
    }

    /// It has cosigned what this log does not have. The first such word stays.
    pub(super) fn is_ahead(&mut self, ahead: Ahead) {
        self.ahead.get_or_insert(ahead);
    }

    pub(super) fn ahead(&self) -> Option<&Ahead> {
        self.ahead.as_ref()
    }

    /// Nobody waits any longer for who has not answered by now.
    pub(super) fn were_slow(&mut self, now_ms: u64) {
        for place in self.places.iter_mut().filter(|place| place.word == Word::Pending) {
            place.aside_until_ms = now_ms + ASIDE_MS;
        }
    }

    /// Whether it makes sense to wait for a quorum over the head that is asked about.
    pub(super) fn is_worth_waiting(&self, now_ms: u64) -> bool {
        let may = self.places.iter().zip(self.policy.keys()).filter(|(place, _)| match place.word {
            Word::Cosigned(_) => true,
            Word::Pending => place.aside_until_ms <= now_ms,
            Word::HasLess | Word::Failed { .. } => false,
        });
        let keys: Vec<&WitnessKey> = may.map(|(_, key)| key).collect();
        self.ahead.is_none() && self.policy.least() > 0 && self.policy.is_met_by(&keys)
    }

    /// Whether every witness has said something, or failed, of the head that is asked about.
    pub(super) fn all_answered(&self) -> bool {
        self.places.iter().all(|place| place.word != Word::Pending)
    }

    /// Whether enough witnesses have cosigned the head that is asked about.
    fn is_witnessed(&self) -> bool {
        self.is_met() && self.policy.least() > 0
    }

    /// Whether that is so and every one of them has answered: one that is away may know more of this log.
    pub(super) fn is_confirmed(&self) -> bool {
        let answered = |place: &Place| matches!(place.word, Word::Cosigned(_) | Word::HasLess);
        self.is_witnessed() && self.places.iter().all(answered)
    }

    /// The note of this size, if enough witnesses cosigned it; gives it once.
    pub(super) fn take(&mut self, size: u64) -> Option<String> {
        self.met.take_if(|met| met.size == size).map(|met| met.note)
    }

    /// The newest such note that nobody has taken.
    pub(super) fn take_any(&mut self) -> Option<String> {
        self.met.take().map(|met| met.note)
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// After a word: is the quorum met, and what comes next?
    fn settle(&mut self) {
        if let Some(head) = self.asked.clone()
            && self.is_witnessed()
            && self.met.as_ref().is_none_or(|met| met.size < head.size)
        {
            match self.note_of(&head) {
                Some(note) => self.met = Some(Head { size: head.size, note }),
                None => tracing::error!(event = "witness.note_too_long", size = head.size),
            }
        }
        if self.is_done()
            && let Some(next) = self.next.take()
        {
            self.ask(next);
        }
    }

    /// The head's note with as many cosignatures as it may carry, in the policy's order; nothing if those are not
    /// enough.
    fn note_of(&self, head: &Head) -> Option<String> {
        let (mut note, mut by) = (head.note.clone(), Vec::new());
        for place in &self.places {
            if let Word::Cosigned(cosigned) = &place.word
                && note.len() + cosigned.line.len() <= limits::COSIGNED_NOTE
                && by.len() + 1 < limits::NOTE_SIGNATURES
            {
                note.push_str(&cosigned.line);
                by.push(&cosigned.by);
            }
        }
        self.policy.is_met_by(&by).then_some(note)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use fireaxe_protocol::log::cosignature::cosigned;
    use fireaxe_protocol::log::{Cosigner, NoteSigner};

    use super::*;

    fn log() -> NoteSigner {
        NoteSigner::new("ca.payments/0123456789abcdef", SigningKey::from_bytes(&[5; 32])).unwrap()
    }

    fn witness(n: usize) -> Cosigner {
        Cosigner::new(&format!("witness.example/w{n}"), SigningKey::from_bytes(&[10 + n as u8; 32])).unwrap()
    }

    fn board(quorum: &str) -> Board {
        let keys: String = (0..3).map(|n| format!("witness w{n} {}\n", witness(n).key())).collect();
        let text = format!("{keys}group two 2 w0 w1 w2\nquorum {quorum}\n");
        Board::new(WitnessPolicy::parse(text.as_bytes(), log().key()).unwrap(), false)
    }

    fn head(size: u64) -> Head {
        Head { size, note: log().sign(&format!("head {size}\n")).unwrap() }
    }

    fn word(n: usize, size: u64) -> Cosigned {
        let note = head(size).note + &witness(n).cosign(&format!("head {size}\n"), 7);
        cosigned(&note, [witness(n).key()]).unwrap().remove(0)
    }

    fn yes(board: &mut Board, n: usize, size: u64) {
        board.says_yes(n, size, word(n, size), true);
    }

    #[test]
    fn everybody_is_asked_about_one_head_until_it_is_done_with() {
        let mut board = board("two");
        assert_eq!(board.to_ask(0, 0), None);
        board.committed(head(5), false);
        assert_eq!(board.to_ask(0, 0), Some((head(5), Some(0))));
        board.committed(head(6), false);
        board.committed(head(7), false);
        assert_eq!(board.to_ask(1, 0), Some((head(5), Some(0))), "not the newest");
        yes(&mut board, 0, 5);
        assert_eq!((board.to_ask(0, 0), board.take_any()), (None, None));
        yes(&mut board, 1, 5);
        // Enough: the note is there, and the newest is next, which each begins from what it has.
        let note = board.take(5).unwrap();
        assert_eq!(cosigned(&note, [witness(0).key(), witness(1).key(), witness(2).key()]).unwrap().len(), 2);
        assert_eq!(
            (board.to_ask(0, 0), board.to_ask(2, 0)),
            (Some((head(7), Some(5))), Some((head(7), Some(0))))
        );
        // A late word about the one before counts for nothing but what it has.
        yes(&mut board, 2, 5);
        yes(&mut board, 0, 7);
        assert_eq!((board.take_any(), board.to_ask(2, 0)), (None, Some((head(7), Some(5)))));
    }

    #[test]
    fn one_that_is_awaited_comes_first() {
        let mut board = board("two");
        board.committed(head(5), false);
        board.committed(head(6), true);
        assert_eq!(board.to_ask(0, 0), Some((head(6), Some(0))));
        assert!(board.is_worth_waiting(0));
        yes(&mut board, 0, 6);
        yes(&mut board, 2, 6);
        assert_eq!(board.take(5), None);
        assert!(board.take(6).is_some());
        assert_eq!(board.take(6), None, "once");
    }

    #[test]
    fn who_failed_or_was_slow_is_not_waited_for_but_asked_again() {
        let mut board = board("two");
        board.committed(head(5), true);
        board.fails(0, 1000);
        assert!(board.is_worth_waiting(1000), "two are left");
        assert_eq!(board.to_ask(0, 1999), None);
        assert_eq!(board.to_ask(0, 2000), Some((head(5), Some(0))), "beside the road");
        yes(&mut board, 1, 5);
        board.were_slow(3000);
        assert!(!board.is_worth_waiting(3000));
        board.committed(head(6), true);
        assert!(!board.is_worth_waiting(3000), "of three two are left out");
        assert!(!board.is_worth_waiting(30_999));
        assert!(board.is_worth_waiting(31_000), "after half a minute they are waited for again");
        // Whoever answers quickly is back at once.
        board.says_yes(0, 6, word(0, 6), true);
        board.committed(head(7), true);
        assert!(board.is_worth_waiting(3000));
        // Each failure is followed by a longer pause, up to a bound.
        for (failure, pause) in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].into_iter().enumerate() {
            let now = 100_000 * (failure as u64 + 1);
            board.fails(0, now);
            assert_eq!(board.to_ask(0, now + pause - 1), None, "{failure}");
            assert!(board.to_ask(0, now + pause).is_some(), "{failure}");
        }
    }

    #[test]
    fn nobody_is_waited_for_where_none_are_required_or_one_is_ahead() {
        let mut none = board("none");
        none.committed(head(5), true);
        assert!(!none.is_worth_waiting(0));
        assert!(none.to_ask(0, 0).is_some(), "asked all the same");
        let mut board = board("two");
        board.committed(head(5), true);
        board.is_ahead(Ahead { witness: "w".into(), size: 9 });
        board.is_ahead(Ahead { witness: "other".into(), size: 10 });
        assert_eq!(board.ahead().map(|ahead| ahead.size), Some(9), "the first word stays");
        assert!(!board.is_worth_waiting(0));
        assert_eq!(board.to_ask(0, 0), None);
    }

    #[test]
    fn a_log_in_doubt_is_confirmed_by_who_had_its_head_once_all_have_answered_and_shows_it_to_nobody() {
        let mut board = board("two");
        board.in_doubt = true;
        board.committed(head(5), true);
        assert_eq!(board.to_ask(0, 0), Some((head(5), None)));
        yes(&mut board, 0, 5);
        yes(&mut board, 1, 5);
        assert!(!board.is_confirmed(), "the third may know more");
        board.fails(2, 0);
        assert!(!board.is_confirmed() && board.all_answered(), "a failure is no answer");
        board.says_it_has_less(2, 3);
        assert!(board.is_confirmed());
        assert_eq!(board.to_ask(2, u64::MAX), None, "it is not given what it lacks");
        board.committed(head(6), false);
        assert_eq!(board.to_ask(2, 0), Some((head(6), Some(3))), "after the doubt it is");
        let mut less = self::board("two");
        less.in_doubt = true;
        less.committed(head(5), true);
        yes(&mut less, 0, 5);
        (1..3).for_each(|n| less.says_it_has_less(n, 0));
        assert!(!less.is_confirmed());
    }
}
