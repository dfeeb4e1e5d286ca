//! Which login of sshd's log is which session that a host reported: same host, serial, account and address, and
//! about the same time by the same clock.

use std::collections::BTreeMap;

/// How far apart the two times of one login may lie, seconds: sshd says it, then PAM asks the daemon, which may have
/// been away until its next start; a minute is long for that, and two are not yet another login.
pub(super) const APART_S: u64 = 120;

/// What must be the same: host, serial, account, address.
pub(super) type Same = (String, u64, String, Option<std::net::IpAddr>);

/// One side of it: its place among its like, and its time, unix seconds, where it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct One {
    /// Its place.
    pub(super) place: usize,
    /// Its time.
    pub(super) at: Option<u64>,
}

/// Both sides by what must be the same.
#[derive(Debug, Default)]
pub(super) struct Sides(BTreeMap<Same, (Vec<One>, Vec<One>)>);

/// Places of those that have no counterpart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Alone {
    /// Logins.
    pub(super) logins: Vec<usize>,
    /// Sessions.
    pub(super) sessions: Vec<usize>,
    /// How many pairs there are.
    pub(super) pairs: u64,
}

impl Sides {
    pub(super) fn login(&mut self, same: Same, one: One) {
        self.0.entry(same).or_default().0.push(one);
    }

    pub(super) fn session(&mut self, same: Same, one: One) {
        self.0.entry(same).or_default().1.push(one);
    }

    /// Pairs them in the order of time: with the same tolerance for all, no other way makes more pairs.
    pub(super) fn alone(self) -> Alone {
        let mut alone = Alone::default();
        for (mut logins, mut sessions) in self.0.into_values() {
            // Without a time a login is whatever is left: it comes last.
            logins.sort_by_key(|one| one.at.unwrap_or(u64::MAX));
            sessions.sort_by_key(|one| one.at.unwrap_or(u64::MAX));
            let timeless = logins.iter().position(|one| one.at.is_none()).unwrap_or(logins.len());
            let (mut logins, mut sessions) = (logins.into_iter(), sessions.into_iter().peekable());
            let mut left = Vec::new();
            for login in logins.by_ref().take(timeless) {
                let at = login.at.unwrap_or(0);
                let is_before = |one: &One| one.at.is_some_and(|other| other.saturating_add(APART_S) < at);
                while let Some(early) = sessions.next_if(is_before) {
                    left.push(early.place);
                }
                let is_near = |one: &One| one.at.is_some_and(|other| other.abs_diff(at) <= APART_S);
                match sessions.next_if(is_near) {
                    Some(_) => alone.pairs += 1,
                    None => alone.logins.push(login.place),
                }
            }
            left.extend(sessions.map(|one| one.place));
            let mut left = left.into_iter();
            for login in logins {
                match left.next() {
                    Some(_) => alone.pairs += 1,
                    None => alone.logins.push(login.place),
                }
            }
            alone.sessions.extend(left);
        }
        alone.logins.sort_unstable();
        alone.sessions.sort_unstable();
        alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn paired(logins: &[Option<u64>], sessions: &[u64]) -> Alone {
        let same = || ("h".to_owned(), 1, "root".to_owned(), None);
        let mut sides = Sides::default();
        for (place, at) in logins.iter().enumerate() {
            sides.login(same(), One { place, at: *at });
        }
        for (place, at) in sessions.iter().enumerate() {
            sides.session(same(), One { place, at: Some(*at) });
        }
        sides.alone()
    }

    #[test]
    fn near_ones_pair_and_each_but_once() {
        let found = paired(&[Some(1000), Some(1010), Some(5000)], &[1001, 9000, 5000 + APART_S]);
        assert_eq!(found, Alone { logins: vec![1], sessions: vec![1], pairs: 2 });
        let found = paired(&[Some(5000)], &[5000 + APART_S + 1]);
        assert_eq!(found, Alone { logins: vec![0], sessions: vec![0], pairs: 0 });
        let found = paired(&[None, Some(100), None], &[100, 9000]);
        assert_eq!(found, Alone { logins: vec![2], sessions: vec![], pairs: 2 });
    }

    proptest! {
        /// Against a slow matching by augmenting paths, which finds the most pairs that there can be.
        #[test]
        fn no_other_way_makes_more_pairs(logins in proptest::collection::vec(0u64..900, 0..7),
                                         sessions in proptest::collection::vec(0u64..900, 0..7)) {
            fn augment(l: usize, logins: &[u64], sessions: &[u64], seen: &mut [bool], of: &mut [Option<usize>]) -> bool {
                for s in 0..sessions.len() {
                    if logins[l].abs_diff(sessions[s]) <= APART_S && !seen[s] {
                        seen[s] = true;
                        if of[s].is_none_or(|other| augment(other, logins, sessions, seen, of)) {
                            of[s] = Some(l);
                            return true;
                        }
                    }
                }
                false
            }
            let mut of = vec![None; sessions.len()];
            let most = (0..logins.len())
                .filter(|l| augment(*l, &logins, &sessions, &mut vec![false; sessions.len()], &mut of))
                .count();
            let timed: Vec<Option<u64>> = logins.iter().copied().map(Some).collect();
            let found = paired(&timed, &sessions);
            prop_assert_eq!(found.pairs, most as u64);
            prop_assert_eq!(found.logins.len() + most, logins.len());
            prop_assert_eq!(found.sessions.len() + most, sessions.len());
        }
    }
}
