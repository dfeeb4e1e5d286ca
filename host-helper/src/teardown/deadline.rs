//! When a connection ends, and why. Pure: what is known of it in, the earliest end out.

use std::time::Duration;

use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::host::EndReason;
use fireaxe_protocol::names::EmergencyId;
use serde::{Deserialize, Serialize};

use crate::clock;

/// A moment on both clocks of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Unix seconds: what certificates are written in; root and the network may set it.
    pub wall_s: u64,
    /// Milliseconds since boot, sleep included: nobody sets it.
    pub boot_ms: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Moment {
        Moment { wall_s: clock::now(), boot_ms: clock::since_boot_ms() }
    }

    /// So long before it, in whole seconds.
    pub fn before(self, time: Duration) -> Moment {
        let Moment { wall_s, boot_ms } = self;
        let s = time.as_secs();
        Moment { wall_s: wall_s.saturating_sub(s), boot_ms: boot_ms.saturating_sub(s.saturating_mul(1000)) }
    }
}

/// What decides about a connection's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Life {
    /// When it came in.
    pub opened: Moment,
    /// Until when certificates let it go on, unix seconds.
    pub until: u64,
    /// Serials whose revocation ends it.
    pub serials: Vec<u64>,
    /// Its emergency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub emergency: Option<EmergencyId>,
    /// How long it may go on once that is closing, seconds.
    pub grace_s: u32,
    /// The countdown of its emergency, while it runs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closing: Option<Countdown>,
    /// It must be recorded and is not any more: since then.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unrecorded: Option<Moment>,
    /// It may not be, and was let in before anybody could say so: it ends at once.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub refused: bool,
}

/// A countdown of an emergency that is closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Countdown {
    /// When this host was told first.
    pub since: Moment,
    /// When it ends by the CA, unix seconds.
    pub until: u64,
}

/// An end to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Unix seconds, for people.
    pub at: u64,
    /// How long from now, milliseconds; 0: it is due.
    pub in_ms: u64,
    /// Why.
    pub why: EndReason,
}

impl Life {
    /// The earliest end. Each counts by the clock that comes first: a clock that is set back lengthens
    /// nothing, one that is set right is believed.
    pub fn end(&self, now: Moment) -> End {
        let mut end = self.until(self.opened, self.until, now, EndReason::Expired);
        if let Some(Countdown { since, until }) = self.closing {
            let until = until.min(since.wall_s.saturating_add(u64::from(self.grace_s)));
            end = end.earlier(self.until(since, until, now, EndReason::Closing));
        }
        if let Some(since) = self.unrecorded {
            let until = since.wall_s.saturating_add(UNRECORDED_S);
            end = end.earlier(self.until(since, until, now, EndReason::Unrecorded));
        }
        if self.refused {
            end = end.earlier(End { at: now.wall_s, in_ms: 0, why: EndReason::Refused });
        }
        end
    }

    /// Takes in the countdowns that run; gives whether its own began, changed or was held.
    pub fn closing(&mut self, countdowns: &[FeedClosing], now: Moment) -> bool {
        let mine = countdowns.iter().find(|c| {
            self.emergency == Some(c.emergency) || c.serials.iter().any(|s| self.serials.contains(s))
        });
        let since = self.closing.map_or(now, |closing| closing.since);
        let closing = mine.map(|c| Countdown { since, until: c.until });
        std::mem::replace(&mut self.closing, closing) != closing
    }

    fn until(&self, since: Moment, until: u64, now: Moment, why: EndReason) -> End {
        let by_wall = until.saturating_sub(now.wall_s).saturating_mul(1000);
        let length = until.saturating_sub(since.wall_s).saturating_mul(1000);
        let by_boot = since.boot_ms.saturating_add(length).saturating_sub(now.boot_ms);
        let in_ms = by_wall.min(by_boot);
        End { at: now.wall_s.saturating_add(in_ms.div_ceil(1000)), in_ms, why }
    }
}

impl End {
    fn earlier(self, other: End) -> End {
        if other.in_ms < self.in_ms { other } else { self }
    }
}

/// How long a session that must be recorded and cannot be any more goes on, seconds: to finish a command.
pub const UNRECORDED_S: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: Moment = Moment { wall_s: 1_800_000_000, boot_ms: 50_000 };

    fn life() -> Life {
        Life {
            opened: OPENED,
            until: OPENED.wall_s + 600,
            serials: vec![41],
            emergency: Some(EmergencyId(3)),
            grace_s: 120,
            closing: None,
            unrecorded: None,
            refused: false,
        }
    }

    fn later(s: u64) -> Moment {
        Moment { wall_s: OPENED.wall_s + s, boot_ms: OPENED.boot_ms + s * 1000 }
    }

    fn countdown(emergency: u64, serials: &[u64], until: u64) -> FeedClosing {
        FeedClosing { emergency: EmergencyId(emergency), serials: serials.into(), until }
    }

    #[test]
    fn it_ends_with_its_certificate_to_the_second() {
        assert_eq!(life().end(later(0)), End { at: life().until, in_ms: 600_000, why: EndReason::Expired });
        assert_eq!(life().end(later(599)).in_ms, 1000);
        assert_eq!(life().end(later(600)).in_ms, 0);
        assert_eq!(life().end(later(601)).in_ms, 0);
    }

    #[test]
    fn a_clock_set_back_lengthens_nothing_and_one_set_forward_is_believed() {
        let back = Moment { wall_s: OPENED.wall_s - 3600, ..later(600) };
        assert_eq!(life().end(back).in_ms, 0);
        let forward = Moment { wall_s: OPENED.wall_s + 600, ..later(10) };
        assert_eq!(life().end(forward).in_ms, 0);
    }

    #[test]
    fn closing_gives_the_grace_of_the_terms_from_its_begin_and_no_more_than_the_ca() {
        let mut life = life();
        let at = |life: &Life, now: u64| (life.end(later(now)).at - OPENED.wall_s, life.end(later(now)).why);
        assert!(life.closing(&[countdown(3, &[], OPENED.wall_s + 300)], later(100)));
        assert_eq!(at(&life, 100), (220, EndReason::Closing));
        // Said again: the same countdown, from the same begin.
        assert!(!life.closing(&[countdown(3, &[], OPENED.wall_s + 300)], later(150)));
        assert_eq!(at(&life, 150), (220, EndReason::Closing));
        // The CA's end is earlier; found by serial, too.
        assert!(life.closing(&[countdown(9, &[41], OPENED.wall_s + 160)], later(150)));
        assert_eq!(at(&life, 150), (160, EndReason::Closing));
        // Held: it goes on as before.
        assert!(life.closing(&[countdown(9, &[40], 0)], later(155)));
        assert_eq!(at(&life, 155), (600, EndReason::Expired));
        // The certificate's end comes first.
        life.closing(&[countdown(3, &[], OPENED.wall_s + 9000)], later(590));
        assert_eq!(at(&life, 590), (600, EndReason::Expired));
    }

    #[test]
    fn what_must_be_recorded_and_is_not_has_a_minute() {
        let life = Life { unrecorded: Some(later(10)), ..life() };
        let end = life.end(later(10));
        assert_eq!((end.in_ms, end.why), (60_000, EndReason::Unrecorded));
    }

    #[test]
    fn what_may_not_be_ends_at_once_and_what_is_over_by_its_own_end() {
        let life = Life { refused: true, ..life() };
        assert_eq!(life.end(later(10)), End { at: OPENED.wall_s + 10, in_ms: 0, why: EndReason::Refused });
        assert_eq!(life.end(later(600)).why, EndReason::Expired);
    }
}
