//! `log replay`: of an honest log nothing comes out otherwise; of one whose decisions were changed by somebody
//! with the log's key, exactly what was changed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;
mod tampered;

use fireaxe_ca::log::{Log, Reader};
use fireaxe_ca::replay::{Replayed, replay};
use fireaxe_ca::verify::source::Database;
use fireaxe_protocol::log::{Entry, Event, NoteSigner};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Outcome;
use installed::Installed;
use installed::forging::{entries, place};
use tampered::everything;

/// What a replay says of these entries, under the CA's own log key.
fn replayed(ca: &Installed, entries: &[Entry], about: Option<EmergencyId>) -> Replayed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let secret = fireaxe_ca::keys::load(&ca.data().keys(), fireaxe_ca::keys::Purpose::Log).unwrap();
    let signer = NoteSigner::new(ca.origin.as_str(), secret).unwrap();
    let Event::LogCreated { origin, keys, .. } = entries[0].event.clone() else { panic!("no first entry") };
    let mut log = Log::create(&path, origin, keys, entries[0].at, &signer).unwrap();
    let mut batch = log.batch().unwrap();
    for entry in &entries[1..] {
        let _ = batch.append(entry.at, &entry.event, entry.body.as_deref(), ()).unwrap();
    }
    batch.commit(&signer).unwrap();
    drop(log);
    let mut source = Database::of(Reader::open(&path).unwrap()).unwrap();
    replay(&mut source, about, &mut |_| {})
}

#[tokio::test]
async fn an_honest_log_decides_the_same_again_and_an_emergency_is_explained() {
    let ca = everything().await;
    let log = entries(&ca);
    let out = replayed(&ca, &log, Some(EmergencyId(1)));
    assert!(out.is_same(), "{out:?}");
    let decides = |entry: &&Entry| {
        entry.event.decided().is_some()
            || matches!(entry.event, Event::DeclarationRefused { .. } | Event::ExtensionRefused { .. })
    };
    assert_eq!(out.decisions, log.iter().filter(decides).count() as u64);
    assert_eq!((out.entries, out.bundles), (log.len() as u64, 1));
    let occasions: Vec<_> = out.told.iter().map(|told| told.occasion).collect();
    assert_eq!(occasions, ["declared", "more time asked for"]);
    assert!(matches!(out.told[0].decision.outcome, Outcome::NeedsApproval { .. }));
}

#[tokio::test]
async fn each_field_of_a_decision_that_was_changed_is_named() {
    let ca = everything().await;
    let log = entries(&ca);
    let at = place(&log, |event| matches!(event, Event::EmergencyDeclared { .. }));
    let forged = |change: &dyn Fn(&mut Event)| {
        let mut log = log.clone();
        change(&mut log[at].event);
        let out = replayed(&ca, &log, None);
        assert_eq!(out.found, []);
        out.differences
    };
    let of = |found: Vec<fireaxe_ca::replay::Difference>| {
        assert!(found.iter().all(|one| one.entry == at as u64 && one.emergency == Some(EmergencyId(1))));
        found.into_iter().map(|one| (one.field, one.recorded, one.derived)).collect::<Vec<_>>()
    };
    let named = |field: &str, recorded: &str, derived: &str| (field.into(), recorded.into(), derived.into());
    let longer = forged(&|event| {
        let Event::EmergencyDeclared { decision, .. } = event else { panic!() };
        let Outcome::NeedsApproval { full, .. } = &mut decision.outcome else { panic!("{decision:?}") };
        full.lifetime_s = 7200;
        full.account = "other".parse().unwrap();
    });
    assert_eq!(
        of(longer),
        [
            named("outcome.needs-approval.full.account", "\"other\"", "\"root\""),
            named("outcome.needs-approval.full.lifetime_s", "7200", "1200"),
        ]
    );
    // Facts that the roster does not give, and what they would have come to.
    let lifted = of(forged(&|event| {
        let Event::EmergencyDeclared { facts, .. } = event else { panic!() };
        facts.groups.push("sre-leads".parse().unwrap());
    }));
    assert!(
        lifted.iter().any(|(field, recorded, _)| field == "facts.groups" && recorded.contains("sre-leads")),
        "{lifted:?}"
    );
    let bundle = of(forged(&|event| {
        let Event::EmergencyDeclared { bundle, .. } = event else { panic!() };
        bundle.0[0] ^= 1;
    }));
    assert_eq!(bundle.len(), 1);
    assert_eq!(bundle[0].0, "bundle");
}

#[tokio::test]
async fn a_bundle_that_is_not_there_or_is_another_is_found_at_its_entry() {
    let ca = everything().await;
    let log = entries(&ca);
    let at = place(&log, |event| matches!(event, Event::BundleActivated { .. }));
    let forged = |change: &dyn Fn(&mut Event)| {
        let mut log = log.clone();
        change(&mut log[at].event);
        replayed(&ca, &log, None).found.into_iter().map(|one| (one.entry, one.what)).collect::<Vec<_>>()
    };
    let lost = forged(&|event| {
        let Event::BundleActivated { policy, .. } = event else { panic!() };
        policy[0].0[0] ^= 1;
    });
    tampered::finds(&lost, at as u64, "is not in the entries that it names");
    let swapped = forged(&|event| {
        let Event::BundleActivated { policy, roster, .. } = event else { panic!() };
        std::mem::swap(policy, roster);
    });
    tampered::finds(&swapped, at as u64, "cannot be used");
    let other = forged(&|event| {
        let Event::BundleActivated { bundle, .. } = event else { panic!() };
        bundle.0[0] ^= 1;
    });
    tampered::finds(&other, at as u64, "another hash");
}
