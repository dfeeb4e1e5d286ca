//! That each statement was signed by whom it says: a person by a key that the roster of its time gives them, a host
//! by the key with which it joined; for this log, in time. Rosters are in the log, so they are proved like all else.

use std::collections::{BTreeMap, HashMap};

use super::Told;
use crate::evidence::dossier::Dossier;
use crate::evidence::layout;
use crate::evidence::said::{Said, Who, said};
use crate::keys::Ed25519Key;
use crate::limits;
use crate::log::{Event, Hash};
use crate::names::HostName;
use crate::policy::Bundle;
use crate::statement::{Claimed, EnrolledKey, Kind, Signed, Statement};

/// Bundles by the index of the entry that put them in force.
pub(super) type Bundles = BTreeMap<u64, Bundle>;

/// The bundles that are here, whole and as their entries name them.
pub(super) fn bundles(dossier: &Dossier, told: &mut Told) -> Bundles {
    let mut out = Bundles::new();
    for kept in dossier.entries.values() {
        let Event::BundleActivated { bundle, policy, roster, .. } = &kept.entry.event else { continue };
        let index = kept.entry.index;
        let both = dossier.blobs(policy).zip(dossier.blobs(roster));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        match both.and_then(|(policy, roster)| text(policy).zip(text(roster))) {
            None => told.note(layout::entry(index), "the bytes of its policy or roster are not here"),
            Some((policy, roster)) => match Bundle::parse(&policy, &roster) {
                Ok(read) if read.hash == *bundle => drop(out.insert(index, read)),
                Ok(_) => told.note(layout::entry(index), "its policy and roster are not those that it names"),
                Err(_) => told.note(layout::entry(index), "its policy or roster cannot be read"),
            },
        }
    }
    out
}

/// The newest bundle in force before entry `index`.
pub(super) fn in_force(bundles: &Bundles, index: u64) -> Option<&Bundle> {
    bundles.range(..index).next_back().map(|(_, bundle)| bundle)
}

/// Every statement of every entry.
pub(super) fn statements(dossier: &Dossier, bundles: &Bundles, told: &mut Told) {
    let joined = dossier.entries.values().filter_map(|kept| match &kept.entry.event {
        Event::HostEnrolled { host, key, .. } => Some((kept.leaf, (host, key))),
        _ => None,
    });
    let joined: HashMap<Hash, (&HostName, &Ed25519Key)> = joined.collect();
    for kept in dossier.entries.values() {
        for (n, one) in said(&kept.entry.event).into_iter().enumerate() {
            let place = layout::statement(kept.entry.index, n).into_iter().next().unwrap_or_default();
            let own = match &kept.entry.event {
                Event::HostEnrolled { key, .. } => Some(key),
                _ => None,
            };
            let signed = match one.who {
                Who::Person { .. } => by_person(bundles, kept.entry.index, one),
                Who::Host { name, of } => {
                    let known = of
                        .and_then(|of| joined.get(&of))
                        .filter(|(host, _)| *host == name)
                        .map(|(_, key)| *key);
                    by_host(one, own.or(known))
                }
            };
            match signed.and_then(|signed| in_time(dossier, kept.entry.at, signed)) {
                Ok(signed) => {
                    told.statements += 1;
                    if let Some(what) = other_words(one, &signed.statement) {
                        told.note(&place, what);
                    }
                }
                Err(error) => told.note(&place, error),
            }
        }
    }
}

fn by_person(bundles: &Bundles, index: u64, one: Said<'_>) -> Result<Signed, String> {
    let Who::Person { name, key, counter, presence } = one.who else {
        return Err("it is no person's".into());
    };
    let claimed = Claimed::read(one.envelope.clone()).map_err(|error| error.to_string())?;
    let enrolled = match in_force(bundles, index) {
        Some(bundle) => {
            let found =
                bundle.roster.by_key(claimed.fingerprint()).filter(|(person, _)| person.name == *name);
            found.map(|(_, key)| key.clone())
        }
        // The bundle before the first one that is here: who put that in force is for `log verify`.
        None => claimed.key_line().and_then(|line| EnrolledKey::read(&line).ok()),
    };
    let enrolled =
        enrolled.ok_or_else(|| format!("the roster of its time does not give that key to {name}"))?;
    let signed = claimed.verify(&enrolled).map_err(|error| error.to_string())?;
    if signed.fingerprint != *key
        || signed.counter != counter
        || presence.is_some_and(|p| p != signed.presence)
    {
        return Err("its key, counter or presence is not what its entry says".into());
    }
    Ok(signed)
}

fn by_host(one: Said<'_>, key: Option<&Ed25519Key>) -> Result<Signed, String> {
    let key = key.and_then(EnrolledKey::of_host);
    let key = key.ok_or("the entry by which that host joined is not here")?;
    let claimed = Claimed::read(one.envelope.clone()).map_err(|error| error.to_string())?;
    claimed.verify(&key).map_err(|error| error.to_string())
}

/// For this log, and not too old or from the future. What hosts report may wait for days, and a change of the
/// bundle for its quorum.
fn in_time(dossier: &Dossier, at: u64, signed: Signed) -> Result<Signed, String> {
    let header = signed.statement.header();
    if header.to != dossier.head.origin {
        return Err("it is for another log".into());
    }
    let window = match header.kind {
        Kind::Report => None,
        Kind::Bundle => Some(limits::BUNDLE_WINDOW_S),
        _ => Some(limits::STATEMENT_WINDOW_S),
    };
    if window.is_some_and(|window| header.at.abs_diff(at) > window) {
        return Err("it was too old or from the future when the log took it".into());
    }
    Ok(signed)
}

/// What a host signed must be of itself.
fn other_words(one: Said<'_>, statement: &Statement) -> Option<&'static str> {
    let Who::Host { name, .. } = one.who else { return None };
    let host = match statement {
        Statement::Report(words) => &words.host,
        Statement::Enrol(words) => &words.host,
        _ => return Some("it is neither a report nor an enrolment"),
    };
    (host != name).then_some("it speaks of another host")
}
