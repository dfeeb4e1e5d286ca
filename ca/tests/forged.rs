//! Logs that the road would not have written, signed with the CA's own keys: what was honest up to a point,
//! and then something left out or put in. `log verify` finds each, and nothing else in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use fireaxe_protocol::certificate::{Body, Fields, Issue, Profile, Subject, Within};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Event, Hash, IncidentUpdate};
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::policy::{Bundle, Extension, IncidentState, Terms};
use fireaxe_protocol::statement::{BundleChange, Kind, Statement};
use installed::forging::{entries, found, only, place};
use installed::people::{DAN, EVE, POLICY, opened, roster, roster_of};
use installed::{ANA, BEN, CLEO, Installed, signed};

fn told(at: u64, system: &str, state: IncidentState) -> Entry {
    let event = Event::IncidentUpdated(IncidentUpdate {
        incident: format!("pd:{system}").parse().unwrap(),
        state,
        severity: 1.try_into().unwrap(),
        systems: vec![system.parse().unwrap()],
        title: None,
        by: "operator uid 0".into(),
    });
    Entry { index: 0, at, event, body: None }
}

async fn activate(ca: &Installed, policy: &str, roster: &str) {
    let bundle = Bundle::parse(policy, roster).unwrap().hash;
    let newest = entries(ca).into_iter().rfind(|e| matches!(e.event, Event::BundleActivated { .. })).unwrap();
    let of: Hash = leaf_hash(&ca.reader().entry_bytes(newest.index).unwrap());
    let change = |by| {
        let header = ca.header(Kind::Bundle);
        signed(by, &Statement::Bundle(BundleChange { header, of, bundle }))
    };
    let body = serde_json::json!({
        "policy": policy, "roster": roster, "signed": [change(CLEO), change(DAN)]
    });
    let told = ca.operator("POST", "/operator/bundle", body).await;
    assert_eq!(told.status, 200, "{}", told.text());
}

fn is_redecided(event: &Event) -> bool {
    matches!(event, Event::EmergencyRedecided { .. })
}

#[tokio::test]
async fn a_decision_made_anew_without_a_change_of_the_bundle_is_found() {
    let ca = Installed::with(POLICY, &roster());
    ca.waits("payments-db").await;
    ca.clock.pass(30);
    activate(&ca, &POLICY.replace("ttl = \"45m\"", "ttl = \"40m\""), &roster()).await;
    let mut log = entries(&ca);
    assert_eq!(found(&ca, &log), [], "the same log under one head");
    // The very decision of the road, once more, with the same bundle, facts and time.
    let again = log.remove(place(&log, is_redecided));
    log.truncate(usize::try_from(again.index).unwrap());
    log.push(again.clone());
    let honest = found(&ca, &log);
    log.push(again);
    let forged: Vec<_> = found(&ca, &log).into_iter().filter(|one| !honest.contains(one)).collect();
    assert!(
        forged.iter().any(|(at, what)| *at == log.len() as u64 - 1 && what.contains("brings it about")),
        "{forged:?}"
    );
}

#[tokio::test]
async fn what_a_change_of_the_bundle_owes_is_missed() {
    let ca = Installed::with(POLICY, &roster());
    ca.waits("payments-db").await;
    ca.clock.pass(30);
    activate(&ca, &POLICY.replace("ttl = \"45m\"", "ttl = \"40m\""), &roster()).await;
    let log = entries(&ca);
    let cut = place(&log, is_redecided);
    only(&found(&ca, &log[..cut]), cut, "without the new decision about");
    let mut log = log[..cut].to_vec();
    log.push(told(log[cut - 1].at, "vault", IncidentState::Open));
    only(&found(&ca, &log), cut, "is missing the new decision about");

    // Who declared it is gone, and what it holds goes on.
    let theirs = roster_of(&[
        ("eve", &["payments-oncall", "sre"], &[EVE], ""),
        ("ben", &["sre", "sre-leads"], &[BEN], ""),
        ("cleo", &["security"], &[CLEO], ""),
        ("dan", &["sre-leads", "security"], &[DAN], ""),
        ("fay", &["payments-oncall", "payments", "sre", "sre-leads", "security"], &[42], ""),
    ]);
    activate(&ca, POLICY, &theirs).await;
    let log = entries(&ca);
    let cut = place(&log, |event| matches!(event, Event::EmergencyClosed { .. }));
    assert_eq!(found(&ca, &log), []);
    only(&found(&ca, &log[..cut]), cut, "who declared it was removed");
    let mut log = log[..cut].to_vec();
    log.push(told(log[cut - 1].at + 1, "vault", IncidentState::Open));
    only(&found(&ca, &log), cut, "who declared it was removed");
}

#[tokio::test]
async fn what_the_clock_owed_and_did_not_do_is_missed() {
    let ca = Installed::with(POLICY, &roster());
    ca.waits("payments-db").await;
    let log = entries(&ca);
    let rung = place(&log, |event| matches!(event, Event::RungCalled { .. }));
    only(&found(&ca, &log[..rung]), rung, "the next rung of");
    let mut without = log[..rung].to_vec();
    without.push(told(log[rung].at + 1, "vault", IncidentState::Open));
    only(&found(&ca, &without), rung, "the next rung of");

    // Time passes, and the CA acts as if it had not: to the end of the wait, and of all that is held.
    for (cut, end) in [("lapse", "the lapse of"), ("closed", "the end of")] {
        let mut log = entries(&ca);
        let at = loop {
            ca.clock.pass(60);
            ca.tick().await;
            let newer = entries(&ca);
            let is = |event: &Event| match cut {
                "lapse" => matches!(event, Event::RequestLapsed { .. }),
                _ => matches!(event, Event::EmergencyClosed { .. }),
            };
            if newer.iter().skip(log.len()).any(|entry| is(&entry.event)) {
                log = newer[..place(&newer, is)].to_vec();
                break ca.clock.wall();
            }
            log = newer;
        };
        assert_eq!(found(&ca, &log), [], "a log that ends before: what came due since is the next batch's");
        log.push(told(at, "vault", IncidentState::Open));
        only(&found(&ca, &log), log.len() - 1, end);
    }
    ca.verifies();
}

#[tokio::test]
async fn a_countdown_that_no_incident_began_or_that_is_missing_is_found() {
    let ca = Installed::with(POLICY, &roster());
    ca.waits("payments-db").await;
    let before = entries(&ca);
    ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
    let log = entries(&ca);
    let closing = place(&log, |event| matches!(event, Event::EmergencyClosing { .. }));
    assert_eq!(found(&ca, &log), []);

    let mut forged = before.clone();
    forged.push(log[closing].clone());
    only(&found(&ca, &forged), before.len(), "nothing directly before it brings it about");

    only(&found(&ca, &log[..closing]), closing, "without the countdown of");
    let mut forged = log[..closing].to_vec();
    forged.push(told(log[closing].at, "vault", IncidentState::Open));
    only(&found(&ca, &forged), closing, "is missing the countdown of");

    let mut forged = log.clone();
    let Event::EmergencyClosing { until, .. } = &mut forged[closing].event else { unreachable!() };
    *until += 60;
    let told = found(&ca, &forged);
    assert!(told.iter().any(|(at, what)| *at == closing as u64 && what.contains("missing the countdown")));
    assert!(told.iter().any(|(at, what)| *at == closing as u64 && what.contains("brings it about")));
}

/// A certificate of these terms for ana, at this place and time of the log.
fn certificate(
    log: &[Entry],
    of: Hash,
    (terms, within): (&Terms, Option<Within>),
    key: Ed25519Key,
    at: u64,
) -> Entry {
    certificate_of(log, (EmergencyId(1), of), (terms, within), key, at)
}

fn certificate_of(
    log: &[Entry],
    (id, of): (EmergencyId, Hash),
    (terms, within): (&Terms, Option<Within>),
    key: Ed25519Key,
    at: u64,
) -> Entry {
    let Event::LogCreated { keys, .. } = &log[0].event else { unreachable!() };
    let issue = Issue {
        nonce: [5; 32],
        public_key: key,
        serial: log.len() as u64,
        subject: Subject::Person(id, &"ana".parse().unwrap()),
        at,
        grant_end: at + u64::from(terms.lifetime_s),
        within,
        ca_key: keys.user_ca,
    };
    let body = Body::of(&Profile::from_terms(terms, &issue).unwrap());
    let event = Event::CertificateIssued { of, terms: terms.hash() };
    Entry { index: log.len() as u64, at, event, body: Some(body.as_bytes().to_vec()) }
}

/// The newest certificate of the log, as one that is made of it says it.
fn newest(log: &[Entry]) -> Within {
    let entry = log.iter().rfind(|entry| entry.body.is_some()).unwrap();
    let until = Fields::of_unsigned(entry.body.as_deref().unwrap()).unwrap().valid_before;
    Within { serial: entry.index, until }
}

#[tokio::test]
async fn a_certificate_for_one_host_that_gives_more_than_was_given_is_found() {
    let ca = Installed::with(POLICY, &roster());
    let (opened, fresh) = ca.waits("payments-db").await;
    let wide = opened.terms.clone().unwrap();
    let full = opened.decision.terms_waiting().unwrap().clone();
    let key = Ed25519Key(fresh.verifying_key().to_bytes());
    let (of, log) = (opened.declaration, entries(&ca));
    let at = log.last().unwrap().at;
    let base = Some(newest(&log));
    let host = |name: &str| -> HostName { name.parse().unwrap() };
    let with = |terms: &Terms, key| {
        let mut log = log.clone();
        // Of a system no certificate can be written that says what it was made of.
        let one_host = terms.principals.iter().all(|p| p.host().is_some()) && terms.principals.len() == 1;
        log.push(certificate(&log, of, (terms, base.filter(|_| one_host)), key, at));
        log
    };
    let narrow = wide.narrowed(&host("db-3.payments.prod"), 1800).unwrap();
    let honest = with(&narrow, key);
    assert_eq!(found(&ca, &honest), [], "what the road may make");

    let other = Ed25519Key::from(&ed25519_dalek::SigningKey::from_bytes(&[3; 32]));
    let also = Terms {
        principals: vec![narrow.principals[0].clone(), "ops:db-4.payments.prod".parse().unwrap()],
        ..narrow.clone()
    };
    let root = Terms {
        account: "root".parse().unwrap(),
        principals: vec!["root:db-3.payments.prod".parse().unwrap()],
        ..narrow.clone()
    };
    for (what, terms, key) in [
        ("what waits for approval", full.narrowed(&host("db-3.payments.prod"), 1200).unwrap(), key),
        ("longer", Terms { lifetime_s: 601, ..narrow.clone() }, key),
        ("as long as the grant", wide.on_host(&host("db-3.payments.prod"), wide.lifetime_s), key),
        ("shorter than it would be", Terms { lifetime_s: 599, ..narrow.clone() }, key),
        ("another system's host", wide.on_host(&host("vault-1.prod"), 600), key),
        ("two hosts", also, key),
        ("the whole system", Terms { lifetime_s: 600, ..wide.clone() }, key),
        ("the same once more", wide.clone(), key),
        ("another account", root, key),
        (
            "a port forward",
            Terms { extensions: vec![Extension::PortForwarding, Extension::Pty], ..narrow.clone() },
            key,
        ),
        ("somebody else's key", narrow.clone(), other),
    ] {
        let log = with(&terms, key);
        let found = found(&ca, &log);
        let here = log.len() as u64 - 1;
        assert!(!found.is_empty() && found.iter().all(|(at, _)| *at >= here), "{what}: {found:?}");
        assert!(found.iter().any(|(at, _)| *at == here), "{what}: {found:?}");
    }

    // The entry names the terms of one host, its body another.
    let mut log = with(&narrow, key);
    let other = certificate(
        &log[..log.len() - 1],
        of,
        (&wide.on_host(&host("db-4.payments.prod"), 600), base),
        key,
        at,
    );
    log.last_mut().unwrap().body = other.body;
    assert!(found(&ca, &log).iter().any(|(at, _)| *at == log.len() as u64 - 1));

    // A second one while the first is fresh.
    let mut log = honest.clone();
    log.push(certificate(&log, of, (&narrow, base), key, at));
    let found = found(&ca, &log);
    assert!(found.iter().any(|(_, what)| what.contains("brings it about")), "{found:?}");
}

#[tokio::test]
async fn sessions_that_would_go_on_for_longer_than_what_a_certificate_was_made_of_are_found() {
    let ca = Installed::with(POLICY, &roster());
    ca.waits("payments-db").await;
    let others = newest(&entries(&ca));
    ca.clock.pass(30);
    let (opened, fresh) = ca.waits("payments-db").await;
    let key = Ed25519Key(fresh.verifying_key().to_bytes());
    let (of, log) = (opened.declaration, entries(&ca));
    let (at, base) = (log.last().unwrap().at, newest(&log));
    let wide = opened.terms.unwrap();
    let narrow = |host: &str| wide.narrowed(&host.parse().unwrap(), 1800).unwrap();
    let with = |log: &[Entry], host, within| {
        let mut log = log.to_vec();
        log.push(certificate_of(&log, (opened.emergency, of), (&narrow(host), within), key, at));
        log
    };
    let honest = with(&log, "db-3.payments.prod", Some(base));
    assert_eq!(found(&ca, &honest), []);
    let narrowed = newest(&honest);
    for (what, log, within) in [
        ("later", &log, Some(Within { until: base.until + 1, ..base })),
        ("earlier", &log, Some(Within { until: base.until - 1, ..base })),
        ("another emergency's", &log, Some(Within { serial: others.serial, ..base })),
        ("another emergency's, and its end", &log, Some(others)),
        ("no certificate", &log, Some(Within { serial: base.serial - 1, ..base })),
        ("one that was narrowed itself", &honest, Some(narrowed)),
        ("that, for as long as the wide one", &honest, Some(Within { until: base.until, ..narrowed })),
        ("nothing", &log, None),
    ] {
        let log = with(log, "db-4.payments.prod", within);
        let here = log.len() as u64 - 1;
        let found = found(&ca, &log);
        let is_found = |words: &[&str]| {
            found.iter().any(|(at, what)| *at == here && words.iter().any(|one| what.contains(one)))
        };
        assert!(
            is_found(&["not what its terms say", "that gave nothing or is not there"]),
            "{what}: {found:?}"
        );
        assert!(is_found(&["brings it about"]), "{what}: {found:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_a_decision_gave_and_that_says_it_was_made_of_another_is_found() {
    let ca = Installed::new();
    ca.incident("pd:A", 1, "open", "payments-db").await;
    let mut words = ca.declare("db-3.payments.prod");
    (words.severity, words.incident) = (None, Some("pd:A".parse().unwrap()));
    let opened = opened(&ca, ANA, &words).await;
    let log = entries(&ca);
    let serial = usize::try_from(newest(&log).serial).unwrap();
    let again = |within| {
        let mut forged = log[..serial].to_vec();
        let given = (opened.terms.as_ref().unwrap(), within);
        forged.push(certificate(&forged, opened.declaration, given, words.public_key, log[serial].at));
        found(&ca, &forged)
    };
    assert_eq!(again(None), []);
    let other = Within { serial: 1, until: newest(&log).until + 60 };
    only(&again(Some(other)), serial, "not what its terms say");
}

#[tokio::test]
async fn a_certificate_for_one_host_while_it_closes_is_found() {
    let ca = Installed::with(POLICY, &roster());
    let (opened, fresh) = ca.waits("payments-db").await;
    let key = Ed25519Key(fresh.verifying_key().to_bytes());
    ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
    let mut log = entries(&ca);
    assert_eq!(found(&ca, &log), []);
    let narrow = opened.terms.unwrap().narrowed(&"db-3.payments.prod".parse().unwrap(), 1800).unwrap();
    let at = log.last().unwrap().at;
    let base = Some(newest(&log));
    log.push(certificate(&log, opened.declaration, (&narrow, base), key, at));
    assert!(found(&ca, &log).iter().any(|(at, _)| *at == log.len() as u64 - 1));
}
