//! A certificate for one host, on demand: what it is, who gets it, for which hosts, how many, and that it ends
//! with what it was made of.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{Certificates, Closed, Keys, Narrowed, Opened};
use fireaxe_protocol::certificate::{Accepted, Expected, Fields, Subject, Within, compare, from_openssh};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::RevocationList;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Event, receipt};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Bundle, Terms};
use fireaxe_protocol::statement::{BundleChange, Kind, Statement};
use installed::people::{DAN, EVE, POLICY, opened, roster, roster_of};
use installed::{ANA, BEN, CLEO, Installed, Told, signed};

const DB3: &str = "db-3.payments.prod";
const DB4: &str = "db-4.payments.prod";

fn path(id: EmergencyId, host: &str) -> String {
    format!("/v1/emergencies/{id}/certificates/{host}")
}

async fn asked(ca: &Installed, key: &SigningKey, id: EmergencyId, host: &str) -> Told {
    let path = path(id, host);
    let proof = ca.proof(key, "POST", &path);
    ca.post_proved(&path, &proof).await
}

async fn narrowed(ca: &Installed, key: &SigningKey, id: EmergencyId, host: &str) -> Narrowed {
    let told = asked(ca, key, id, host).await;
    assert_eq!(told.status, 200, "{}", told.text());
    told.json()
}

/// What a certificate says of the one with these bytes that it was made of.
fn within(wide: &Option<String>) -> Within {
    let bytes = from_openssh(wide.as_ref().unwrap()).unwrap();
    let (fields, _) = Fields::of_signed(&bytes).unwrap();
    Within { serial: fields.serial, until: fields.valid_before }
}

/// What the client makes of it: exactly the terms, of what it holds, and in the log.
async fn accepted(
    ca: &Installed,
    fresh: &SigningKey,
    wide: &Option<String>,
    narrowed: &Narrowed,
) -> Accepted {
    let keys: Keys = ca.get("/v1/keys", None).await.json();
    let expected = Expected {
        public_key: Ed25519Key(fresh.verifying_key().to_bytes()),
        terms: &narrowed.terms,
        ca_key: keys.user_ca,
        subject: Subject::Person(narrowed.emergency, &"ana".parse().unwrap()),
        within: Some(within(wide)),
        now: ca.clock.wall(),
    };
    let accepted = compare(&narrowed.certificate, &expected).unwrap();
    let (body, proof) = (accepted.body.as_bytes(), accepted.receipt.as_bytes());
    let proved =
        receipt::check(body, accepted.serial, proof, &keys.log.parse().unwrap(), &keys.origin).unwrap();
    assert_eq!((proved.of, proved.terms), (narrowed.of, narrowed.terms.hash()));
    accepted
}

/// How many certificates the log holds.
fn certificates(ca: &Installed) -> usize {
    let entries = (0..ca.size()).map(|index| ca.reader().entry(index).unwrap());
    entries.filter(|entry| matches!(entry.event, Event::CertificateIssued { .. })).count()
}

/// Ana's emergency for one host, with its key.
async fn one_host(ca: &Installed) -> (Opened, SigningKey) {
    ca.incident("pd:A", 1, "open", "payments-db").await;
    let mut words = ca.declare(DB3);
    (words.severity, words.incident) = (None, Some("pd:A".parse().unwrap()));
    let fresh = SigningKey::from_bytes(&[77; 32]);
    words.public_key = Ed25519Key(fresh.verifying_key().to_bytes());
    (opened(ca, ANA, &words).await, fresh)
}

#[tokio::test]
async fn what_is_held_of_a_system_is_narrowed_to_one_host_and_to_minutes() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let id = wide.emergency;
    let given = wide.terms.clone().unwrap();
    let narrow = narrowed(&ca, &fresh, id, DB3).await;
    let expected = Terms {
        principals: vec![format!("ops:{DB3}").parse().unwrap()],
        lifetime_s: limits::NARROWED_S,
        ..given
    };
    assert_eq!((&narrow.terms, narrow.of), (&expected, wide.declaration));
    assert_eq!(narrow.valid_before, ca.clock.wall() + u64::from(limits::NARROWED_S));
    let is = accepted(&ca, &fresh, &wide.certificate, &narrow).await;
    assert_eq!((is.principals, is.valid_before), (vec![format!("ops:{DB3}")], narrow.valid_before));
    let made = certificates(&ca);
    assert_eq!(narrowed(&ca, &fresh, id, DB3).await, narrow, "the same, with the same bytes");
    ca.clock.pass(u64::from(limits::NARROWED_S) - limits::NARROWED_FRESH_S);
    assert_eq!(narrowed(&ca, &fresh, id, DB3).await, narrow, "as long as it is fresh");
    assert_eq!(certificates(&ca), made, "an entry for a login that needed none");
    let ca = ca.restart();
    assert_eq!(narrowed(&ca, &fresh, id, DB3).await, narrow, "after a restart");
    ca.clock.pass(1);
    let next = narrowed(&ca, &fresh, id, DB3).await;
    assert!(next.valid_before > narrow.valid_before && next.certificate != narrow.certificate);
    let other = narrowed(&ca, &fresh, id, DB4).await;
    assert_eq!(other.terms.principals, [format!("ops:{DB4}").parse().unwrap()]);
    ca.verifies();
}

#[tokio::test]
async fn only_the_key_of_the_emergency_itself_asks_and_only_for_hosts_that_it_reaches() {
    let strict = POLICY
        .replace("\"deny\", \"deny\", \"look\", \"sealed\"", "\"deny\", \"deny\", \"deny\", \"sealed\"");
    let ca = Installed::with(&strict, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let (vault, other) = ca.waits("vault").await;
    let id = wide.emergency;
    let size = ca.size();
    asked(&ca, &other, id, DB3).await.problem(403, "reader.other_emergency");
    asked(&ca, &SigningKey::from_bytes(&[9; 32]), id, DB3).await.problem(401, "reader.unknown");
    let session = ca.login(ANA).await;
    asked(&ca, &session, id, DB3).await.problem(403, "reader.other_key");
    ca.post_proved(&path(id, DB3), "").await.problem(401, "reader.unreadable");
    let of_a_read = ca.proof(&fresh, "GET", &path(id, DB3));
    ca.post_proved(&path(id, DB3), &of_a_read).await.problem(401, "reader.unknown");
    let of_another_host = ca.proof(&fresh, "POST", &path(id, DB4));
    ca.post_proved(&path(id, DB3), &of_another_host).await.problem(401, "reader.unknown");

    for host in ["vault-1.prod", "db-3.payments.prod.evil.example", "nowhere.prod", "db-1.x.payments.prod"] {
        let told = asked(&ca, &fresh, id, host).await.problem(403, "host.out_of_reach");
        assert!(told.next.is_some());
    }
    for host in ["payments-db", "DB-3.payments.prod", "db-%2A.payments.prod", "db-3.payments.prod%2Croot"] {
        asked(&ca, &fresh, id, host).await.problem(400, "host.name");
    }
    asked(&ca, &other, vault.emergency, "vault-1.prod").await.problem(409, "narrowed.nothing_held");
    assert_eq!(ca.size(), size, "a refusal left an entry");

    let (one, key) = one_host(&ca).await;
    asked(&ca, &key, one.emergency, DB4).await.problem(403, "host.out_of_reach");
}

/// What each certificate of the log says that it was made of, by serial.
fn made_of(ca: &Installed) -> Vec<(u64, Option<Within>)> {
    let entries = (0..ca.size()).map(|index| ca.reader().entry(index).unwrap());
    let bodies = entries.filter_map(|entry| Some((entry.index, entry.body?)));
    bodies.map(|(serial, body)| (serial, Fields::of_unsigned(&body).unwrap().within())).collect()
}

#[tokio::test]
async fn sessions_go_on_to_the_end_of_what_it_was_made_of_and_no_other_certificate_says_so() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let id = wide.emergency;
    let of_wide = within(&wide.certificate);
    let first = narrowed(&ca, &fresh, id, DB3).await;
    assert_eq!(of_wide.until, wide.valid_before.unwrap());
    assert!(of_wide.until > first.valid_before, "a session would be cut after minutes");
    narrowed(&ca, &fresh, id, DB4).await;
    ca.approved(BEN, id).await;
    let of_full = within(&ca.grant(&fresh, id).await.certificate);
    narrowed(&ca, &fresh, id, DB3).await;
    ca.clock.pass(u64::from(limits::NARROWED_S));
    narrowed(&ca, &fresh, id, DB3).await;
    let made = made_of(&ca);
    let of: Vec<Option<Within>> = made.iter().map(|(_, within)| *within).collect();
    assert_eq!(of, [None, Some(of_wide), Some(of_wide), None, Some(of_full), Some(of_full)]);
    assert_eq!((made[0].0, made[3].0), (of_wide.serial, of_full.serial));
    ca.verifies();
}

#[tokio::test]
async fn an_emergency_for_one_host_only_gets_shorter() {
    let ca = Installed::new();
    let (one, fresh) = one_host(&ca).await;
    let terms = one.terms.clone().unwrap();
    let end = one.valid_before.unwrap();
    let narrow = narrowed(&ca, &fresh, one.emergency, DB3).await;
    assert_eq!(narrow.terms, Terms { lifetime_s: limits::NARROWED_S, ..terms });
    accepted(&ca, &fresh, &one.certificate, &narrow).await;
    ca.clock.pass(end - ca.clock.wall() - u64::from(limits::NARROWED_S));
    asked(&ca, &fresh, one.emergency, DB3).await.problem(409, "narrowed.already");
    ca.verifies();
}

#[tokio::test]
async fn it_never_outlives_what_it_was_made_of() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let (id, end) = (wide.emergency, wide.valid_before.unwrap());
    ca.clock.pass(end - ca.clock.wall() - 90);
    let narrow = narrowed(&ca, &fresh, id, DB3).await;
    assert_eq!((narrow.terms.lifetime_s, narrow.valid_before), (90, end));
    ca.clock.pass(31);
    let made = certificates(&ca);
    assert_eq!(narrowed(&ca, &fresh, id, DB3).await, narrow, "no other could last longer");
    assert_eq!(certificates(&ca), made);
    let told = asked(&ca, &fresh, id, DB4).await.problem(409, "narrowed.too_late");
    assert_eq!(told.next.as_deref(), Some(&*format!("fireaxe extend {id}")));
    ca.verifies();
}

#[tokio::test]
async fn what_waits_is_never_narrowed_and_an_upgrade_is_at_once() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let id = wide.emergency;
    let before = narrowed(&ca, &fresh, id, DB3).await;
    assert_eq!(before.terms.tier.as_str(), "fix", "the full tier waits");
    ca.approved(BEN, id).await;
    let after = narrowed(&ca, &fresh, id, DB3).await;
    assert_eq!(after.terms.tier.as_str(), "guarded");
    assert_eq!(after.terms.principals, [format!("root:{DB3}").parse().unwrap()]);
    let grant = ca.grant(&fresh, id).await;
    assert!(within(&grant.certificate).serial > within(&wide.certificate).serial);
    accepted(&ca, &fresh, &grant.certificate, &after).await;
    // What was narrowed before the last approval is no grant of what waited.
    assert_eq!(grant.terms.unwrap().tier.as_str(), "guarded");
    ca.verifies();
}

#[tokio::test]
async fn closing_stops_it_and_an_end_revokes_it_like_any_other() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let id = wide.emergency;
    let narrow = accepted(&ca, &fresh, &wide.certificate, &narrowed(&ca, &fresh, id, DB3).await).await.serial;
    ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
    asked(&ca, &fresh, id, DB4).await.problem(409, "emergency.closing");
    asked(&ca, &fresh, id, DB3).await.problem(409, "emergency.closing");
    assert!(ca.state_of(id).await.state == "closing");
    let closed: Closed = ca.close_emergency(ANA, &wide).await.json();
    assert!(closed.revoked.contains(&narrow) && closed.revoked.len() == 2, "{closed:?}");
    let keys: Keys = ca.get("/v1/keys", None).await.json();
    let list = RevocationList::read(&ca.get("/v1/krl", None).await.bytes).unwrap();
    assert!(closed.revoked.iter().all(|serial| list.is_revoked(&keys.user_ca, *serial)));
    asked(&ca, &fresh, id, DB3).await.problem(401, "reader.unknown");
    ca.verifies();
    let ca = ca.restart();
    let list = RevocationList::read(&ca.get("/v1/krl", None).await.bytes).unwrap();
    assert!(closed.revoked.iter().all(|serial| list.is_revoked(&keys.user_ca, *serial)));
}

#[tokio::test]
async fn who_is_removed_is_out_and_a_host_that_left_the_system_too() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let id = wide.emergency;
    let narrow = accepted(&ca, &fresh, &wide.certificate, &narrowed(&ca, &fresh, id, DB3).await).await.serial;
    let fewer = POLICY.replace("db-*.payments.prod", "db-4*.payments.prod");
    activate(&ca, &fewer, &roster()).await;
    asked(&ca, &fresh, id, DB3).await.problem(403, "host.out_of_reach");
    narrowed(&ca, &fresh, id, DB4).await;
    let more = POLICY.replace("\"db-*.payments.prod\"", "\"db-*.payments.prod\", \"x-*.payments.prod\"");
    activate(&ca, &more, &roster()).await;
    asked(&ca, &fresh, id, "x-1.payments.prod").await.problem(403, "host.out_of_reach");

    let without = roster_of(&[
        ("eve", &["payments-oncall", "sre", "payments"], &[EVE], ""),
        ("fay", &["payments-oncall"], &[42], ""),
        ("ben", &["sre", "sre-leads"], &[BEN], ""),
        ("cleo", &["security"], &[CLEO], ""),
        ("dan", &["sre-leads", "security"], &[DAN], ""),
    ]);
    activate(&ca, &more, &without).await;
    asked(&ca, &fresh, id, DB3).await.problem(401, "reader.unknown");
    let keys: Keys = ca.get("/v1/keys", None).await.json();
    let list = RevocationList::read(&ca.get("/v1/krl", None).await.bytes).unwrap();
    assert!(list.is_revoked(&keys.user_ca, narrow));
    ca.verifies();
}

#[tokio::test]
async fn so_many_are_alive_at_once_and_the_refusal_says_what_to_do() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let id = wide.emergency;
    for n in 0..limits::NARROWED {
        narrowed(&ca, &fresh, id, &format!("db-{n}.payments.prod")).await;
    }
    let told = asked(&ca, &fresh, id, "db-x.payments.prod").await.problem(429, "narrowed.too_many");
    assert!(told.next.unwrap().contains("goes on working"));
    narrowed(&ca, &fresh, id, DB3).await;
    ca.clock.pass(limits::NARROWED_S.into());
    narrowed(&ca, &fresh, id, "db-x.payments.prod").await;

    // The list shows the newest for each host, and what the decision gave.
    narrowed(&ca, &fresh, id, DB3).await;
    let session = ca.login(BEN).await;
    let proof = ca.proof(&session, "GET", "/v1/certificates");
    let list: Certificates = ca.get("/v1/certificates", Some(&proof)).await.json();
    let of = |host: Option<&str>| {
        let same = list.certificates.iter().filter(|c| c.narrowed_to.as_ref().map(|h| h.as_str()) == host);
        same.count()
    };
    assert_eq!((of(Some(DB3)), of(Some("db-x.payments.prod")), of(None)), (1, 1, 1));
    let shown = ca.state_of(id).await;
    assert_eq!((shown.serials.len(), shown.narrowed), (1, 130));
    assert_eq!(shown.tier.unwrap().as_str(), "fix");
    ca.verifies();
}

#[tokio::test]
async fn two_logins_at_once_get_one_certificate() {
    let ca = Installed::with(POLICY, &roster());
    let (wide, fresh) = ca.waits("payments-db").await;
    let size = ca.size();
    let (a, b) =
        tokio::join!(narrowed(&ca, &fresh, wide.emergency, DB3), narrowed(&ca, &fresh, wide.emergency, DB3));
    assert_eq!(a, b);
    assert_eq!(ca.size(), size + 1);
}

async fn activate(ca: &Installed, policy: &str, roster: &str) {
    let bundle = Bundle::parse(policy, roster).unwrap().hash;
    let newest = (0..ca.size()).rfind(|index| {
        let entry = ca.reader().entry(*index).unwrap();
        matches!(entry.event, Event::BundleActivated { .. })
    });
    let bytes = ca.reader().entry_bytes(newest.unwrap()).unwrap();
    let of = leaf_hash(&bytes);
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

#[tokio::test]
async fn what_one_of_two_approved_does_not_count_as_granted_because_the_meanwhile_was_narrowed() {
    let ca = Installed::with(POLICY, &roster());
    for _ in 0..4 {
        let (wide, fresh) = ca.waits("vault").await;
        assert_eq!(ca.approved(BEN, wide.emergency).await.missing.len(), 1, "a second one is missing");
        narrowed(&ca, &fresh, wide.emergency, "vault-1.prod").await;
        assert_eq!(ca.close_emergency(ANA, &wide).await.status, 200);
    }
    let anomalies = (0..ca.size()).filter_map(|index| match ca.reader().entry(index).unwrap().event {
        Event::AnomalyRaised { signals, .. } => Some(signals),
        _ => None,
    });
    let codes: Vec<String> = anomalies.flatten().map(|signal| signal.code).collect();
    assert!(!codes.iter().any(|code| code == "signal.same-pair"), "{codes:?}");
    ca.verifies();
}
