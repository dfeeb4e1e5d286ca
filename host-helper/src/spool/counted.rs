//! What is only counted: connections beyond their holder's share. Their recordings go to the CA all the same,
//! and each has its lines in the journal; what the log gets is this, in one alarm. Pure.

use fireaxe_protocol::host::Report;
use fireaxe_protocol::reason::Reason;
use serde::{Deserialize, Serialize};

use super::shares::Holder;

/// How long counting goes on before it is told: one holder is six alarms an hour. Seconds.
const TOLD_AFTER_S: u64 = 600;

/// What one holder's reports would have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counted {
    /// Beginnings.
    pub(super) opened: u64,
    /// Ends.
    pub(super) closed: u64,
    /// Logins that were refused, since the CA must be told of them and could not be.
    pub(super) refused: u64,
    /// Recordings that those ends name.
    recordings: u64,
    /// What was planted by those ends.
    planted: u64,
    /// Processes that they had to end.
    swept: u64,
    /// Unix seconds of the first and the last.
    first: u64,
    last: u64,
    /// The lowest and the highest serial.
    low: u64,
    high: u64,
}

impl Counted {
    /// Counts one that came at `at`, unix seconds; `refused`: a beginning that was not let in.
    pub(super) fn count(&mut self, report: &Report, refused: bool, at: u64) {
        let serial = match report {
            Report::SessionOpened(opened) => {
                *(if refused { &mut self.refused } else { &mut self.opened }) += 1;
                opened.serial
            }
            Report::SessionClosed(closed) => {
                self.closed += 1;
                self.recordings += closed.recordings.len() as u64;
                self.planted += closed.planted.len() as u64 + u64::from(closed.more);
                let swept = [closed.swept.terminated, closed.swept.killed, closed.swept.left];
                self.swept += swept.into_iter().map(u64::from).sum::<u64>();
                closed.serial
            }
            _ => return,
        };
        if self.reports() == 1 {
            (self.first, self.low, self.high) = (at, serial, serial);
        }
        self.last = at;
        (self.low, self.high) = (self.low.min(serial), self.high.max(serial));
    }

    /// How many reports that is.
    pub(super) fn reports(&self) -> u64 {
        self.opened + self.closed + self.refused
    }

    /// Whether it is to be told at `now`, unix seconds. A clock that was set back tells at once.
    pub(super) fn is_due(&self, now: u64) -> bool {
        now < self.first || now >= self.first.saturating_add(TOLD_AFTER_S)
    }

    /// What is left of it once `told` is told.
    pub(super) fn without(self, told: &Counted) -> Counted {
        Counted {
            opened: self.opened.saturating_sub(told.opened),
            closed: self.closed.saturating_sub(told.closed),
            refused: self.refused.saturating_sub(told.refused),
            recordings: self.recordings.saturating_sub(told.recordings),
            planted: self.planted.saturating_sub(told.planted),
            swept: self.swept.saturating_sub(told.swept),
            first: told.last,
            ..self
        }
    }

    /// The alarm that tells it.
    pub(super) fn alarm(&self, holder: &Holder) -> Reason {
        let Counted { opened, closed, refused, recordings, planted, swept, first, last, low, high } = self;
        let sentence = format!(
            "{holder} logged in more often, with serials {low} to {high} from {first} to {last}, than the spool keeps \
             of one: {opened} beginnings and {closed} ends ({recordings} recordings, {planted} planted, {swept} \
             processes ended) are counted only, {refused} logins were refused; the host's journal has each"
        );
        Reason::new("spool.counted", sentence)
    }
}
