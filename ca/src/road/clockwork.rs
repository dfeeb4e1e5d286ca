//! What the clock alone does: deadlines, countdowns, bare claims that were never tied to an incident, the
//! rungs of a ladder, requests that nobody answered. And what it must not do: jump.

use fireaxe_protocol::limits::{BACKDATE_S, CLOCK_JUMP_S};
use fireaxe_protocol::log::Closer;
use fireaxe_protocol::names::{EmergencyId, GroupName, PersonName};
use fireaxe_protocol::policy::Roster;

use crate::clock::Moment;
use crate::state::{Live, Phase, State};

/// What the clock does to an emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is over.
    Close(Closer),
    /// The next rung of its ladder is called.
    Rung,
    /// Nobody answered in time.
    Lapse,
}

/// The next emergency to which the clock does something at `now`, and what. A request that has lapsed
/// wakes nobody any more; one that is over at the same moment lapses first, so that the log says why.
pub(crate) fn due(state: &State, now: u64) -> Option<(EmergencyId, Due)> {
    let (at, id) = state.emergencies.next_due()?;
    if at > now {
        return None;
    }
    let live = state.emergencies.get(id)?;
    let what = match live.phase {
        _ if live.request.waiting.as_ref().is_some_and(|wait| wait.until <= now) => Due::Lapse,
        _ if live.until <= now => Due::Close(Closer::Deadline),
        Phase::Closing { until } if until <= now => Due::Close(Closer::Grace),
        _ if live.link_by.is_some_and(|link_by| !live.linked && link_by <= now) => {
            Due::Close(Closer::Unlinked)
        }
        _ => Due::Rung,
    };
    Some((id, what))
}

/// Who is asked when a rung's groups are called: whoever is in them, under the first of their names, but
/// nobody who asked for it.
pub(crate) fn called(roster: &Roster, groups: &[GroupName], live: &Live) -> Vec<PersonName> {
    let people = roster.distinct_members(groups).into_iter();
    people.filter(|person| !live.is_asked_by(roster, person)).cloned().collect()
}

/// Watches the wall against the tick and against the log.
#[derive(Debug)]
pub(super) struct JumpGuard {
    last: Moment,
    stopped: bool,
}

impl JumpGuard {
    /// `last_at`: the time of the newest entry. A wall far behind it is a jump across a restart. (Far
    /// ahead cannot be told from having been switched off.)
    pub(super) fn new(now: Moment, last_at: u64) -> JumpGuard {
        JumpGuard { last: now, stopped: now.wall_s.saturating_add(CLOCK_JUMP_S) < last_at }
    }

    /// The time to use for the next entries, never before `last_at`; `None` while stopped.
    pub(super) fn time(&mut self, now: Moment, last_at: u64) -> Option<u64> {
        let ticked_s = now.tick_ms.saturating_sub(self.last.tick_ms) / 1000;
        let expected = self.last.wall_s.saturating_add(ticked_s);
        if now.wall_s.abs_diff(expected) > CLOCK_JUMP_S {
            self.stopped = true;
        }
        self.last = now;
        // Entries never go back in time, so a wall behind the log is drawn up to it. Certificates begin
        // BACKDATE_S before: half of that is for hosts' clocks, the other half may be lent here. Further
        // behind, what is signed now would not be valid yet: wait, without an operator.
        let near = now.wall_s.saturating_add(BACKDATE_S / 2) >= last_at;
        (!self.stopped && near).then_some(now.wall_s.max(last_at))
    }

    /// An operator says that the wall is right.
    pub(super) fn corrected(&mut self, now: Moment) {
        self.last = now;
        self.stopped = false;
    }

    /// Whether signing is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_s: u64, tick_s: u64) -> Moment {
        Moment { wall_s, tick_ms: tick_s * 1000 }
    }

    #[test]
    fn a_wall_that_follows_the_tick_is_used_as_it_is() {
        let mut guard = JumpGuard::new(at(1_000_000, 0), 999_000);
        assert_eq!(guard.time(at(1_000_060, 60), 1_000_000), Some(1_000_060));
    }

    #[test]
    fn a_small_step_back_gives_the_last_entrys_time() {
        let mut guard = JumpGuard::new(at(1_000_000, 0), 1_000_000);
        assert_eq!(guard.time(at(999_990, 1), 1_000_000), Some(1_000_000));
    }

    #[test]
    fn a_wall_too_far_behind_the_log_waits_and_then_goes_on_by_itself() {
        let mut guard = JumpGuard::new(at(1_000_000, 0), 1_000_000);
        assert_eq!(guard.time(at(1_000_000 - 61, 0), 1_000_000), None);
        assert_eq!(guard.time(at(1_000_000 - 60, 1), 1_000_000), Some(1_000_000));
    }

    #[test]
    fn a_jump_either_way_stops_until_corrected() {
        for wall in [1_000_000 + CLOCK_JUMP_S + 2, 1_000_000 - CLOCK_JUMP_S - 2] {
            let mut guard = JumpGuard::new(at(1_000_000, 0), 0);
            assert_eq!(guard.time(at(wall, 0), 0), None);
            assert_eq!(guard.time(at(wall, 1), 0), None, "it stays stopped");
            guard.corrected(at(wall, 2));
            assert_eq!(guard.time(at(wall + 1, 3), 0), Some(wall + 1));
        }
    }

    #[test]
    fn a_jump_at_the_bound_is_taken() {
        let mut guard = JumpGuard::new(at(1_000_000, 0), 0);
        assert_eq!(guard.time(at(1_000_000 + CLOCK_JUMP_S, 0), 0), Some(1_000_000 + CLOCK_JUMP_S));
    }

    #[test]
    fn a_wall_behind_the_log_at_start_stops() {
        let mut guard = JumpGuard::new(at(1_000_000, 0), 1_000_000 + CLOCK_JUMP_S + 1);
        assert!(guard.is_stopped());
        assert_eq!(guard.time(at(1_000_001, 1), 1_000_000 + CLOCK_JUMP_S + 1), None);
    }
}
