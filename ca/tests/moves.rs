//! The other statements: a second signature, more time, a review, another bundle; each with what it must
//! refuse.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use fireaxe_protocol::api::{Grant, Requests, Settled};
use fireaxe_protocol::statement::Statement;
use installed::people::{ANA_ADMIN, ANA_SPARE, DAN, EVE, POLICY, opened, roster};
use installed::{ANA, BEN, CLEO, Installed};

fn begin() -> Installed {
    Installed::with(POLICY, &roster())
}

#[tokio::test]
async fn a_second_person_on_call_lifts_the_cap_and_neither_approves_nor_reviews() {
    let ca = begin();
    let mut words = ca.declare("payments-db");
    words.severity = Some(1.try_into().unwrap());
    let fresh = ed25519_dalek::SigningKey::from_bytes(&[77; 32]);
    words.public_key = fireaxe_protocol::keys::Ed25519Key(fresh.verifying_key().to_bytes());
    let claim = opened(&ca, ANA, &words).await;
    assert_eq!(claim.terms.as_ref().unwrap().tier.as_str(), "fix", "at the cap, at once");
    let awaits = claim.decision.awaits.clone().unwrap();
    assert_eq!((awaits.severity.number(), awaits.more), (1, 1));
    let id = claim.emergency;

    for own in [ANA, ANA_SPARE] {
        ca.second(own, id).await.problem(403, "second.own");
    }
    ca.second(ANA_ADMIN, id).await.problem(403, "second.own");
    ca.second(BEN, id).await.problem(403, "second.off_call");
    ca.approve(BEN, id).await.problem(409, "request.none");
    assert_eq!(ca.second(EVE, id).await.status, 200);
    ca.second(EVE, id).await.problem(409, "second.not_awaited");

    let grant = ca.grant(&fresh, id).await;
    assert_eq!(grant.waiting.as_ref().unwrap().tier.as_str(), "guarded");
    assert_eq!(grant.terms.unwrap().tier.as_str(), "fix", "what was held goes on");
    ca.approve(EVE, id).await.problem(403, "approval.own");
    ca.approved(BEN, id).await;
    assert_eq!(ca.grant(&fresh, id).await.terms.unwrap().tier.as_str(), "guarded");
    assert_eq!(ca.close_emergency(ANA, &claim).await.status, 200);
    for took_part in [ANA, EVE] {
        let told = ca.review(took_part, claim.declaration, id).await;
        assert!(told.problem(403, "review.took_part").reasons.iter().any(|r| r.code == "review.not_asked"));
    }
    ca.review(BEN, claim.declaration, id).await.problem(403, "review.took_part");
    assert_eq!(ca.review(CLEO, claim.declaration, id).await.status, 200);
    ca.verifies();
}

#[tokio::test]
async fn an_extension_is_decided_anew_bounded_and_cuts_nothing() {
    let ca = begin();
    ca.incident("pd:A", 1, "open", "payments-db").await;
    let mut words = ca.declare("db-3.payments.prod");
    words.severity = None;
    words.incident = Some("pd:A".parse().unwrap());
    let fresh = ed25519_dalek::SigningKey::from_bytes(&[78; 32]);
    words.public_key = fireaxe_protocol::keys::Ed25519Key(fresh.verifying_key().to_bytes());
    let first = opened(&ca, ANA, &words).await;
    assert_eq!(first.terms.as_ref().unwrap().tier.as_str(), "root");
    let (id, of) = (first.emergency, first.declaration);
    ca.extend(BEN, of, id).await.problem(403, "emergency.not_yours");
    ca.clock.pass(2000);
    let grant: Grant = ca.extend(ANA_SPARE, of, id).await.json();
    assert_eq!(grant.valid_before, Some(ca.clock.wall() + 2700));
    assert_eq!(grant.extensions_left, 1);
    assert_ne!(grant.certificate, first.certificate);
    let list = fireaxe_protocol::krl::RevocationList::read(&ca.get("/v1/krl", None).await.bytes).unwrap();
    let user_ca = ca.road.published().keys().user_ca;
    for serial in ca.state_of(id).await.serials {
        assert!(!list.is_revoked(&user_ca, serial), "the open session is not cut");
    }
    ca.clock.pass(100);
    assert_eq!(ca.extend(ANA, of, id).await.json::<Grant>().extensions_left, 0);
    let problem = ca.extend(ANA, of, id).await.problem(403, "policy.denied");
    assert_eq!(problem.reasons[0].code, "extension.bound");
    // Today's facts: the incident is over, so there is no severity any more.
    let (other, _) = ca.waits("payments-db").await;
    ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
    let problem = ca.extend(ANA, other.declaration, other.emergency).await.problem(403, "policy.denied");
    assert!(problem.reasons.iter().any(|r| r.code == "incident.resolved"), "{problem:?}");
    ca.verifies();
}

#[tokio::test]
async fn an_extension_holds_a_countdown_three_times_and_not_for_ever() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    let (id, of) = (opened.emergency, opened.declaration);
    for _ in 0..3 {
        ca.incident("pd:payments-db", 1, "open", "payments-db").await;
        ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
        assert_eq!(ca.state_of(id).await.state, "closing");
        ca.extend(ANA, of, id).await.problem(403, "policy.denied");
        assert_eq!(ca.state_of(id).await.state, "open", "the forged or early word is held");
        assert!(ca.grant(&fresh, id).await.certificate.is_some());
    }
    ca.incident("pd:payments-db", 1, "open", "payments-db").await;
    ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
    ca.extend(ANA, of, id).await.problem(403, "policy.denied");
    assert_eq!(ca.state_of(id).await.state, "closing", "not for ever");
    ca.clock.pass(600);
    ca.tick().await;
    assert_eq!(ca.state_of(id).await.state, "closed");
    ca.verifies();
}

#[tokio::test]
async fn a_closed_emergency_owes_a_review_by_somebody_who_took_no_part() {
    let ca = begin();
    let (opened, _) = ca.waits("payments-db").await;
    let (id, of) = (opened.emergency, opened.declaration);
    ca.review(CLEO, of, id).await.problem(409, "review.not_over");
    ca.refuse(DAN, id).await;
    assert_eq!(ca.close_emergency(BEN, &opened).await.status, 200);
    let owed = ca.state_of(id).await;
    assert_eq!((owed.state.as_str(), owed.review.as_ref().unwrap().overdue), ("closed", false));
    let session = ca.login(CLEO).await;
    let path = "/v1/requests";
    let list: Requests = ca.get(path, Some(&ca.proof(&session, "GET", path))).await.json();
    assert_eq!((list.reviews[0].emergency, list.reviews[0].yours), (id, true));
    ca.clock.pass(24 * 3600 + 1);
    ca.tick().await;
    assert!(ca.state_of(id).await.review.unwrap().overdue);
    ca.review(DAN, of, id).await.problem(403, "review.took_part");
    ca.review(BEN, of, id).await.problem(403, "review.took_part");
    ca.review(CLEO, fireaxe_protocol::log::Hash([7; 32]), id)
        .await
        .problem(409, "emergency.other_declaration");
    assert_eq!(ca.review(CLEO, of, id).await.status, 200);
    ca.review(CLEO, of, id).await.problem(409, "review.not_owed");
    let done = ca.state_of(id).await;
    assert_eq!(done.state, "reviewed");
    assert_eq!(done.review.unwrap().by.unwrap().as_str(), "cleo");
    ca.verifies();
}

#[tokio::test]
async fn what_is_refused_and_holds_nothing_ends_at_once() {
    let ca = begin();
    let (opened, _) = ca.waits("vault").await;
    assert_eq!(opened.terms.as_ref().map(|t| t.tier.to_string()), Some("look".into()));
    let (second, fresh) = ca.waits("vault").await;
    let words = ca.extension(second.declaration, second.emergency);
    assert_eq!(ca.say(ANA, second.emergency, Statement::Extend(words)).await.status, 200);
    assert_eq!(ca.refuse(DAN, second.emergency).await.status, 200);
    let grant = ca.grant(&fresh, second.emergency).await;
    assert!(matches!(grant.settled, Some(Settled::Refused { .. })));
    ca.verifies();
}
