//! Whether the people who approved are enough: several quorums, all to be met, and nobody counts for two.
//!
//! It is a matching of people to places. Both are few (at most [`crate::limits::QUORUMS`] quorums of 8), so
//! augmenting paths are plenty.

use super::Approvals;
use crate::names::GroupName;

/// Whether `people` (each with their groups; each a distinct person) meet every one of `quorums`.
pub fn is_met<G: AsRef<[GroupName]>>(quorums: &[Approvals], people: &[G]) -> bool {
    missing(quorums, people).is_empty()
}

/// What is still missing: the quorums with the number of further people that each needs, none that is met.
/// People are counted where they help most, so that the sum is as small as it can be.
pub fn missing<G: AsRef<[GroupName]>>(quorums: &[Approvals], people: &[G]) -> Vec<Approvals> {
    // One place for each person of each quorum; who sits where.
    let places: Vec<usize> =
        quorums.iter().enumerate().flat_map(|(q, quorum)| vec![q; usize::from(quorum.count)]).collect();
    let mut seated: Vec<Option<usize>> = vec![None; places.len()];
    for person in 0..people.len() {
        let mut tried = vec![false; places.len()];
        seat(person, quorums, people, &places, &mut seated, &mut tried);
    }
    let mut out = Vec::new();
    for (q, quorum) in quorums.iter().enumerate() {
        let empty = places.iter().zip(&seated).filter(|(place, who)| **place == q && who.is_none()).count();
        if let Some(count) = u8::try_from(empty).ok().filter(|n| *n > 0) {
            out.push(Approvals { count, from: quorum.from.clone() });
        }
    }
    out
}

/// Seats `person`, moving others if that makes room.
fn seat<G: AsRef<[GroupName]>>(
    person: usize,
    quorums: &[Approvals],
    people: &[G],
    places: &[usize],
    seated: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    let may = |q: usize| {
        let groups = people.get(person).map(AsRef::as_ref).unwrap_or_default();
        quorums.get(q).is_some_and(|quorum| quorum.from.iter().any(|group| groups.contains(group)))
    };
    for (n, q) in places.iter().enumerate() {
        if !may(*q) || tried.get(n).copied().unwrap_or(true) {
            continue;
        }
        if let Some(t) = tried.get_mut(n) {
            *t = true;
        }
        let sitting = seated.get(n).copied().flatten();
        if sitting.is_none_or(|other| seat(other, quorums, people, places, seated, tried)) {
            if let Some(place) = seated.get_mut(n) {
                *place = Some(person);
            }
            return true;
        }
    }
    false
}
