//! Who is enough: `is_met` and `missing` against trying every way to seat people; the proof that a roster has
//! people enough against taking every requester out and trying again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::sync::OnceLock;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::GroupName;
use fireaxe_protocol::policy::{Approvals, Bundle, is_met, missing};
use proptest::prelude::*;

const GROUPS: [&str; 4] = ["red", "green", "blue", "white"];

fn group(n: usize) -> GroupName {
    GROUPS[n].parse().unwrap()
}

/// The groups whose bit is set, sorted.
fn groups(bits: u8) -> Vec<GroupName> {
    let mut list: Vec<GroupName> = (0..4).filter(|n| bits >> n & 1 == 1).map(group).collect();
    list.sort();
    list
}

/// Quorums as (count, bits of their groups).
fn approvals(quorums: &[(u8, u8)]) -> Vec<Approvals> {
    quorums.iter().map(|(count, bits)| Approvals { count: *count, from: groups(*bits) }).collect()
}

/// How many places at most can be filled, by trying everything: each person in turn takes no place or any free
/// one that is theirs.
fn most(quorums: &[(u8, u8)], people: &[u8]) -> u8 {
    let Some((person, rest)) = people.split_first() else { return 0 };
    let mut best = most(quorums, rest);
    for n in 0..quorums.len() {
        if quorums[n].0 > 0 && quorums[n].1 & person != 0 {
            let mut left = quorums.to_vec();
            left[n].0 -= 1;
            best = best.max(1 + most(&left, rest));
        }
    }
    best
}

fn wanted(quorums: &[(u8, u8)]) -> u8 {
    quorums.iter().map(|(count, _)| count).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_missing_is_as_little_as_any_seating_leaves(
        quorums in prop::collection::vec((1u8..4, 1u8..16), 0..4),
        people in prop::collection::vec(0u8..16, 0..7),
    ) {
        let whole = approvals(&quorums);
        let there: Vec<Vec<GroupName>> = people.iter().map(|bits| groups(*bits)).collect();
        let left = missing(&whole, &there);
        let sum: u8 = left.iter().map(|quorum| quorum.count).sum();
        prop_assert_eq!(sum, wanted(&quorums) - most(&quorums, &people));
        prop_assert_eq!(is_met(&whole, &there), sum == 0);
        // None that is met; each as it was asked, in order.
        prop_assert!(left.iter().all(|quorum| quorum.count > 0));
        let mut rest = whole.iter();
        for quorum in &left {
            prop_assert!(rest.any(|asked| asked.from == quorum.from && asked.count >= quorum.count));
        }
        // It is enough: people who fill what is missing, each in one of the groups asked for, meet the whole.
        let mut more = there.clone();
        for quorum in &left {
            more.extend((0..quorum.count).map(|_| vec![quorum.from[0].clone()]));
        }
        prop_assert!(is_met(&whole, &more));
    }

    #[test]
    fn who_came_first_does_not_matter_and_one_more_never_hurts(
        quorums in prop::collection::vec((1u8..4, 1u8..16), 1..4),
        people in prop::collection::vec(0u8..16, 1..7),
    ) {
        let whole = approvals(&quorums);
        let there: Vec<Vec<GroupName>> = people.iter().map(|bits| groups(*bits)).collect();
        let backwards: Vec<&Vec<GroupName>> = there.iter().rev().collect();
        let backwards: Vec<&[GroupName]> = backwards.into_iter().map(Vec::as_slice).collect();
        prop_assert_eq!(is_met(&whole, &there), is_met(&whole, &backwards));
        let sum = |left: Vec<Approvals>| left.iter().map(|quorum| u32::from(quorum.count)).sum::<u32>();
        let fewer = &there[1..];
        prop_assert!(sum(missing(&whole, &there)) <= sum(missing(&whole, fewer)));
        prop_assert!(sum(missing(&whole, fewer)) <= sum(missing(&whole, &there)) + 1);
    }
}

fn key(n: usize) -> &'static str {
    static KEYS: OnceLock<Vec<String>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let key = |n| Ed25519Key(SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes()).to_string();
        (1..=8).map(key).collect()
    });
    &keys[n]
}

/// People with these groups, the first as the requester's other self now and then.
fn roster(people: &[u8], alias: Option<usize>) -> String {
    let mut out = String::new();
    for (n, bits) in people.iter().enumerate() {
        let list: Vec<String> = groups(*bits).iter().map(|group| format!("\"{group}\"")).collect();
        let _ = writeln!(out, "[person.p{n}]\ngroups = [{}]\nkeys = [\"{} p{n}\"]", list.join(", "), key(n));
        if alias == Some(n) {
            out += "same_as = \"p0\"\n";
        }
    }
    out
}

/// One system, one tier that waits for these quorums, and a claim that `signers` must sign.
fn policy(quorums: &[(u8, u8)], signers: Option<u8>) -> String {
    let mut out = String::from(
        "version = 1\n[system.s]\nhosts = [\"h.s.prod\"]\nsensitivity = 1\nblast = 1\nowner = \"red\"\n\
         on_call = \"red\"\n[risk]\nbands = { all = 16 }\nall = [\"deny\", \"deny\", \"deny\", \"t\"]\n\
         [tier.t]\npower = 1\naccount = \"a\"\nttl = \"5m\"\n",
    );
    let list: Vec<String> = quorums
        .iter()
        .map(|(count, bits)| {
            format!("{{ count = {count}, from = {:?} }}", groups(*bits)).replace("GroupName", "")
        })
        .collect();
    let _ = writeln!(out, "approvals = [{}]\n[trigger.manual]\nseverity_cap = 2", list.join(", "));
    if let Some(n) = signers {
        let _ = writeln!(out, "co_declare = {n}");
    }
    out
}

/// Whether the quorums can be met with these people out of it, by trying everything.
fn met_without(quorums: &[(u8, u8)], people: &[u8], out: &[usize]) -> bool {
    let rest: Vec<u8> = (0..people.len()).filter(|n| !out.contains(n)).map(|n| people[n]).collect();
    most(quorums, &rest) == wanted(quorums)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_bundle_is_taken_exactly_if_the_rest_can_always_approve(
        quorums in prop::collection::vec((1u8..3, 1u8..16), 1..4),
        mut people in prop::collection::vec(1u8..16, 3..8),
        signers in prop::option::of(2u8..4),
        alias in prop::option::of(1usize..7),
    ) {
        // Every group has somebody, and as many of red as must sign, or there are other findings.
        people[0] = 15;
        let alias = alias.filter(|n| *n < people.len());
        let text = roster(&people, alias);
        // The people there are: an alias' groups are the person's.
        let mut real = people.clone();
        if let Some(n) = alias {
            real[0] |= real.remove(n);
        }
        let red: Vec<usize> = (0..real.len()).filter(|n| real[*n] & 1 == 1).collect();
        let signers = signers.filter(|n| red.len() >= usize::from(*n));
        let mut fine = (0..real.len()).all(|n| met_without(&quorums, &real, &[n]));
        for a in &red {
            for b in &red {
                for c in &red {
                    let out = match signers {
                        Some(2) if a < b => vec![*a, *b],
                        Some(3) if a < b && b < c => vec![*a, *b, *c],
                        _ => continue,
                    };
                    fine &= met_without(&quorums, &real, &out);
                }
            }
        }
        let policy = policy(&quorums, signers);
        match Bundle::parse(&policy, &text) {
            Ok(_) => prop_assert!(fine, "taken: {policy}\n{text}"),
            Err(findings) => {
                let short = |code: &str| ["quorum.too_few", "quorum.too_large"].contains(&code);
                prop_assert!(findings.iter().all(|f| short(f.code)), "{findings:#?}");
                prop_assert!(!fine, "refused: {policy}\n{text}\n{findings:#?}");
            }
        }
    }
}

#[test]
fn nobody_counts_for_two_quorums() {
    let one = |n: usize| vec![group(n)];
    let both = approvals(&[(1, 0b01), (1, 0b10)]);
    let two_hats = vec![group(1), group(0)];
    assert!(!is_met(&both, std::slice::from_ref(&two_hats)));
    assert_eq!(missing(&both, std::slice::from_ref(&two_hats)).len(), 1);
    // Whoever has two hats makes room for who has one.
    assert!(is_met(&both, &[two_hats.clone(), one(0)]));
    assert!(is_met(&both, &[two_hats, one(1)]));
    assert!(!is_met(&both, &[one(0), one(0)]));
    assert!(is_met::<Vec<GroupName>>(&[], &[]));
    // A quorum that nobody can meet is never met.
    assert!(!is_met(&[Approvals { count: 1, from: vec![] }], &[one(0)]));
}
