//! Approvals: who may say yes to what, and what comes of it. Each refusal is one that somebody will try.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use fireaxe_protocol::api::{Approved, Grant, Settled};
use fireaxe_protocol::log::{Entry, Event};
use fireaxe_protocol::policy::Outcome;
use fireaxe_protocol::statement::Statement;
use installed::people::{ANA_ADMIN, ANA_SPARE, DAN, EVE, POLICY, roster};
use installed::{ANA, BEN, CLEO, Installed, signed};

fn begin() -> Installed {
    Installed::with(POLICY, &roster())
}

/// The events of the log from `from` on.
fn events(ca: &Installed, from: u64) -> Vec<Event> {
    (from..ca.size()).map(|i| Entry::decode(&ca.reader().entry_bytes(i).unwrap()).unwrap().event).collect()
}

fn calls(ca: &Installed) -> Vec<(u8, Vec<String>)> {
    let called = events(ca, 0).into_iter().filter_map(|event| match event {
        Event::RungCalled { rung, people, .. } => {
            Some((rung, people.iter().map(ToString::to_string).collect()))
        }
        _ => None,
    });
    called.collect()
}

#[tokio::test]
async fn the_meanwhile_is_given_at_once_and_the_full_tier_when_somebody_approves() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    assert_eq!(opened.terms.as_ref().unwrap().tier.as_str(), "fix");
    let before = ca.grant(&fresh, opened.emergency).await;
    assert_eq!(before.certificate, opened.certificate, "the same bytes again");
    assert_eq!(before.waiting, opened.waiting, "the answer says who was asked");
    let waiting = before.waiting.unwrap();
    assert_eq!(waiting.tier.as_str(), "guarded");
    assert_eq!(waiting.called[0].people.len(), 1, "eve is on call beside ana, who asks: {waiting:?}");

    let Approved { missing, .. } = ca.approved(EVE, opened.emergency).await;
    assert_eq!(missing, []);
    let after: Grant = ca.grant(&fresh, opened.emergency).await;
    let terms = after.terms.unwrap();
    assert_eq!((terms.tier.as_str(), terms.account.as_str()), ("guarded", "root"));
    assert_eq!(after.settled, Some(Settled::Given));
    assert_eq!(after.valid_before, Some(ca.clock.wall() + 1200), "its time begins with the approval");
    let certificate = ssh_key::Certificate::from_openssh(&after.certificate.unwrap()).unwrap();
    assert_eq!(certificate.valid_principals(), &["root:payments-db".to_owned()]);
    assert_eq!(
        certificate.public_key(),
        &ssh_key::public::KeyData::from(ssh_key::public::Ed25519PublicKey(fresh.verifying_key().to_bytes()))
    );
    let listed = ca.state_of(opened.emergency).await;
    assert_eq!((listed.tier.unwrap().as_str(), listed.waiting), ("guarded", None));
    assert_eq!(listed.approved_by[0].as_str(), "eve");
    assert_eq!(listed.serials.len(), 2);
    ca.verifies();
}

#[tokio::test]
async fn nobody_approves_their_own_request_by_a_second_key_or_by_another_name() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    for own in [ANA, ANA_SPARE, ANA_ADMIN] {
        ca.approve(own, opened.emergency).await.problem(403, "approval.own");
        ca.refuse(own, opened.emergency).await.problem(403, "approval.own");
    }
    let grant = ca.grant(&fresh, opened.emergency).await;
    assert_eq!(grant.terms.unwrap().tier.as_str(), "fix");
    assert!(grant.waiting.is_some());
    ca.verifies();
}

#[tokio::test]
async fn a_second_host_under_another_name_counts_as_the_whole_system_too() {
    let ca = begin();
    let band = |opened: fireaxe_protocol::api::Opened| (opened.decision.blast, opened.decision.band);
    let first = ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    assert_eq!(band(first), (2, "medium".into()), "one host alone");
    let second = ca.open_emergency(ANA_ADMIN, &ca.declare("db-4.payments.prod")).await;
    assert_eq!(band(second.clone()), (3, "high".into()), "ana has another open");
    let others = ca.open_emergency(BEN, &ca.declare("db-5.payments.prod")).await;
    assert_eq!(band(others), (2, "medium".into()), "ben has not");
    assert_eq!(ca.close_emergency(ANA_ADMIN, &second).await.status, 200);
    ca.verifies();
}

#[tokio::test]
async fn two_quorums_take_two_people_even_if_one_is_in_both() {
    let ca = begin();
    let (opened, fresh) = ca.waits("vault").await;
    let first = ca.approved(DAN, opened.emergency).await;
    assert_eq!(first.missing.len(), 1, "dan is a lead and of security, and one person");
    ca.approve(DAN, opened.emergency).await.problem(403, "approval.twice");
    ca.approve(EVE, opened.emergency).await.problem(403, "approval.not_asked");
    // Ben is a lead: then dan counts for security.
    assert_eq!(ca.approved(BEN, opened.emergency).await.missing, []);
    assert_eq!(ca.grant(&fresh, opened.emergency).await.terms.unwrap().tier.as_str(), "sealed");
    ca.verifies();
}

#[tokio::test]
async fn a_refusal_ends_the_waiting_and_leaves_the_meanwhile() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    assert_eq!(ca.refuse(CLEO, opened.emergency).await.status, 200);
    ca.approve(EVE, opened.emergency).await.problem(409, "request.settled");
    ca.refuse(BEN, opened.emergency).await.problem(409, "request.settled");
    let grant = ca.grant(&fresh, opened.emergency).await;
    let settled = Settled::Refused { by: "cleo".parse().unwrap(), reason: "not tonight".parse().unwrap() };
    assert_eq!((grant.terms.unwrap().tier.as_str(), grant.settled), ("fix", Some(settled)));
    ca.clock.pass(600);
    ca.tick().await;
    assert_eq!(calls(&ca).len(), 1, "nobody else is woken for it");
    ca.verifies();
}

#[tokio::test]
async fn an_approval_is_bound_to_its_terms_and_to_its_emergency() {
    let ca = begin();
    let (first, fresh) = ca.waits("payments-db").await;
    let (_, of) = ca.card(EVE, first.emergency).await;
    let approval = ca.approval(of, first.emergency);
    // Ana asks for more time: decided anew, so what eve has read is not what waits.
    assert_eq!(ca.extend(ANA, first.declaration, first.emergency).await.status, 200);
    let told = ca.say(EVE, first.emergency, Statement::Approve(approval.clone())).await;
    let problem = told.problem(409, "request.changed");
    assert!(!problem.changed.is_empty(), "{problem:?}");
    assert!(problem.next.unwrap().contains("fireaxe approve EM-1"));

    // The same signed words, sent for another emergency; and words that name another's number.
    let (second, _) = ca.waits("vault").await;
    let envelope = signed(DAN, &Statement::Approve(ca.approval(of, first.emergency)));
    let path = format!("/v1/emergencies/{}/approvals", second.emergency);
    ca.post(&path, &envelope).await.problem(409, "emergency.other_declaration");
    let mixed = ca.approval(of, second.emergency);
    ca.say(DAN, second.emergency, Statement::Approve(mixed))
        .await
        .problem(409, "emergency.other_declaration");
    // Bound to one kind as well: a refusal's signature is no approval's.
    let (_, now) = ca.card(EVE, first.emergency).await;
    let mut forged = signed(EVE, &Statement::Approve(ca.approval(now, first.emergency)));
    forged.statement = forged.statement.replace("approve", "refuse");
    let told = ca.post(&format!("/v1/emergencies/{}/approvals", first.emergency), &forged).await;
    assert_eq!(told.status, 400, "{}", told.text());
    assert!(ca.grant(&fresh, first.emergency).await.waiting.is_some(), "nothing of that counted");
    ca.verifies();
}

#[tokio::test]
async fn the_same_approval_again_gets_the_same_answer_and_counts_once() {
    let ca = begin();
    let (opened, _) = ca.waits("vault").await;
    let (_, of) = ca.card(BEN, opened.emergency).await;
    let words = Statement::Approve(ca.approval(of, opened.emergency));
    let first: Approved = ca.say(BEN, opened.emergency, words.clone()).await.json();
    let size = ca.size();
    let again: Approved = ca.say(BEN, opened.emergency, words).await.json();
    assert_eq!((again, ca.size()), (first, size));
    ca.verifies();
}

#[tokio::test]
async fn two_approvals_racing_give_one_certificate() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    let id = opened.emergency;
    let (_, of) = ca.card(BEN, id).await;
    let words = [EVE, BEN, CLEO, DAN].map(|by| (by, Statement::Approve(ca.approval(of, id))));
    let [a, b, c, d] = words;
    let (a, b, c, d) =
        tokio::join!(ca.say(a.0, id, a.1), ca.say(b.0, id, b.1), ca.say(c.0, id, c.1), ca.say(d.0, id, d.1));
    let statuses: Vec<u16> = [&a, &b, &c, &d].iter().map(|told| told.status).collect();
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|s| **s == 409).count(), 3, "{statuses:?}");
    let issued = events(&ca, 0).into_iter().filter(|e| matches!(e, Event::CertificateIssued { .. })).count();
    assert_eq!(issued, 2, "the meanwhile and the full tier");
    assert_eq!(ca.grant(&fresh, id).await.terms.unwrap().tier.as_str(), "guarded");
    ca.verifies();
}

#[tokio::test]
async fn the_ladder_is_called_by_the_cas_own_clock_and_survives_restarts() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    assert_eq!(calls(&ca), [(0, vec!["eve".into()])]);
    ca.clock.pass(89);
    ca.tick().await;
    assert_eq!(calls(&ca).len(), 1);
    let ca = ca.restart();
    ca.clock.pass(1);
    ca.tick().await;
    // Ana under her other name is a lead, and asks.
    assert_eq!(calls(&ca)[1..], [(1, vec!["ben".into(), "dan".into()])]);
    // Away for both: what is due is called when it is back, in order and once.
    let ca = ca.restart();
    ca.clock.pass(150);
    ca.tick().await;
    ca.tick().await;
    assert_eq!(calls(&ca)[2..], [(2, vec!["cleo".into(), "dan".into()])]);
    let waiting = ca.grant(&fresh, opened.emergency).await.waiting.unwrap();
    assert_eq!((waiting.called.len(), waiting.next), (3, None));
    // And lapses when nobody came.
    ca.clock.pass(360);
    ca.tick().await;
    let grant = ca.grant(&fresh, opened.emergency).await;
    assert_eq!((grant.settled, grant.waiting), (Some(Settled::Lapsed), None));
    ca.approve(EVE, opened.emergency).await.problem(409, "request.settled");
    ca.verifies();
}

#[tokio::test]
async fn rungs_missed_while_the_ca_was_down_are_called_once_each() {
    let ca = begin();
    ca.waits("payments-db").await;
    ca.clock.pass(300);
    let ca = ca.restart();
    ca.tick().await;
    assert_eq!(calls(&ca).iter().map(|(rung, _)| *rung).collect::<Vec<_>>(), [0, 1, 2]);
    ca.verifies();
}

#[tokio::test]
async fn a_clock_that_jumps_calls_no_rung_and_lapses_nothing_until_it_is_confirmed() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    ca.clock.jump(3600);
    ca.incident("pd:TICK", 4, "open", "nowhere").await.problem(503, "clock.stopped");
    assert_eq!(calls(&ca).len(), 1);
    ca.clock.jump(-3600);
    let told = ca.operator("POST", "/operator/clock", serde_json::json!({"reason": "ntp was wrong"})).await;
    assert_eq!(told.status, 200, "{}", told.text());
    ca.clock.pass(90);
    ca.tick().await;
    assert_eq!(calls(&ca).len(), 2);
    assert!(ca.grant(&fresh, opened.emergency).await.waiting.is_some());
    ca.verifies();
}

#[tokio::test]
async fn what_was_approved_for_a_short_time_ends_with_it_and_not_with_the_wait() {
    let ca = begin();
    ca.incident("pd:A", 1, "open", "payments-db").await;
    let mut words = ca.declare("payments-db");
    words.severity = None;
    words.incident = Some("pd:A".parse().unwrap());
    words.for_s = Some(120);
    let fresh = ed25519_dalek::SigningKey::from_bytes(&[79; 32]);
    words.public_key = fireaxe_protocol::keys::Ed25519Key(fresh.verifying_key().to_bytes());
    let id = ca.open_emergency(ANA, &words).await.emergency;
    let waits = ca.clock.wall() + 600;
    assert_eq!(ca.grant(&fresh, id).await.until, waits);
    ca.approved(EVE, id).await;
    assert_eq!(ca.grant(&fresh, id).await.until, ca.clock.wall() + 120);
    ca.clock.pass(120);
    ca.tick().await;
    assert_eq!(ca.state_of(id).await.state, "closed");
    ca.verifies();
}

#[tokio::test]
async fn an_approval_while_it_closes_does_nothing_and_says_so() {
    let ca = begin();
    let (opened, fresh) = ca.waits("payments-db").await;
    let (_, of) = ca.card(EVE, opened.emergency).await;
    ca.incident("pd:payments-db", 1, "resolved", "payments-db").await;
    let words = Statement::Approve(ca.approval(of, opened.emergency));
    ca.say(EVE, opened.emergency, words).await.problem(409, "emergency.closing");
    assert_eq!(ca.grant(&fresh, opened.emergency).await.certificate, None, "nothing is signed any more");
    let closed = ca.close_emergency(ANA, &opened).await;
    assert_eq!(closed.status, 200);
    let words = Statement::Approve(ca.approval(of, opened.emergency));
    ca.say(EVE, opened.emergency, words).await.problem(409, "emergency.closed");
    ca.verifies();
}

#[tokio::test]
async fn who_approves_many_within_the_hour_is_asked_to_let_another_read() {
    let ca = begin();
    // Severity 1 is never held up by it, so this is a severity that is not.
    let mut ids = Vec::new();
    for n in 0..5 {
        let (opened, _) = ca.waits(if n % 2 == 0 { "payments-db" } else { "vault" }).await;
        ids.push(opened.emergency);
    }
    for id in ids {
        assert_eq!(ca.approve(DAN, id).await.status, 200, "the worst waits for no limit");
    }
    ca.verifies();
}

#[tokio::test]
async fn the_card_shows_what_is_asked_and_its_leaf_is_the_entrys() {
    let ca = begin();
    let (opened, _) = ca.waits("payments-db").await;
    let (card, of) = ca.card(BEN, opened.emergency).await;
    assert_eq!(of, opened.declaration);
    assert_eq!((card.state.as_str(), card.declared.as_str()), ("waiting", card.entry.as_str()));
    assert_eq!(card.may_not, None);
    let entry = Entry::decode(card.entry.as_bytes()).unwrap();
    let Outcome::NeedsApproval { full, .. } = &entry.event.decided().unwrap().decision.outcome else {
        panic!("{entry:?}")
    };
    assert_eq!(full.tier.as_str(), "guarded");
    let (own, _) = ca.card(ANA, opened.emergency).await;
    assert_eq!(own.may_not.unwrap().code, "approval.own");
    assert_eq!(card.incident.unwrap().id.as_str(), "pd:payments-db");
    let (second, _) = ca.waits("payments-db").await;
    let (card, _) = ca.card(BEN, second.emergency).await;
    assert_eq!(card.recent[0].emergency, opened.emergency);
    assert_eq!(card.also_waiting, [opened.emergency]);
}
