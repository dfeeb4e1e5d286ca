//! What one person may hold of what all who log in share: half of what the others leave. However many
//! certificates, connections or local programs somebody has, a second person still finds half of the host, and
//! a third a quarter: nobody is refused at night because of one other.
//!
//! A person is who the certificate's key id names; self-tests, which name nobody, are one together.
//!
//! | shared | of all | one alone | refused to one as | what helps |
//! |---|---|---|---|---|
//! | connections, [`CONNECTIONS`](crate::connections::CONNECTIONS) | 1,024 | 512 | `login.too_many_of_one` | ending some |
//! | sessions with a recorder, [`RECORDERS`](crate::connections::RECORDERS) | 1,024 | 512 | `session.too_many_of_one` | ending some |
//! | recordings at once, [`AT_ONCE`](crate::sink::AT_ONCE) | 256 | 128 | `recording.too_many` | ending some |
//! | recordings on the disk, [`KEPT`](crate::sink::KEPT), or fewer inodes | 65,536 | 32,768 | `recording.too_many_kept` | the CA taking them |
//! | bytes of recordings on the disk | what is free above the reserve | as many as stay free, and 64 MiB in any case | `recording.too_much` | the CA taking them |
//!
//! What is full for everybody has another code. The disk's shares are known since the daemon's start: what an
//! earlier daemon left is nobody's, and only makes what is free smaller.

/// How much one may hold when the others leave `left` of it: half, and the last one too.
pub(crate) fn of(left: u64) -> u64 {
    (left / 2).max(left.min(1))
}

/// Whether one who holds `mine` may take one more, of `all` of which others hold `others`.
pub(crate) fn has_one_more(all: usize, others: usize, mine: usize) -> bool {
    (mine as u64) < of(all.saturating_sub(others) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_all_they_may_leaves_half_of_it_and_only_many_leave_nothing() {
        let (all, mut others, mut people) = (256, 0, Vec::new());
        while others < all {
            let mut mine = 0;
            while has_one_more(all, others, mine) {
                mine += 1;
            }
            assert!(mine > 0 && others + mine <= all);
            others += mine;
            people.push(mine);
        }
        assert_eq!(people, [128, 64, 32, 16, 8, 4, 2, 1, 1]);
        assert!(!has_one_more(all, all, 0));
    }
}
