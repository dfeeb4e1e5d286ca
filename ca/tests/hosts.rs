//! Hosts join with a token and their own key, renew their certificate, test a login, and are retired.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use std::sync::Arc;

use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::road::{HostRefusal, Refusal};
use fireaxe_ca::verify::verify;
use fireaxe_protocol::api::Joined;
use fireaxe_protocol::certificate::{Expected, Subject, compare};
use fireaxe_protocol::host::Report;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Event, receipt};
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{HostReport, Kind, Statement, sign_ed25519};
use installed::hosts::{DB1, DB2, host_key, public};
use installed::people::{DAN, POLICY, roster};
use installed::{ANA, CLEO, Installed, key, signed};

#[track_caller]
fn verified(ca: &Installed) {
    let (tally, found) = verify(&ca.reader(), &mut |_| {}).unwrap();
    assert_eq!(found, []);
    assert_eq!(tally.entries, ca.size());
}

fn kinds(ca: &Installed) -> Vec<String> {
    let kind = |index| {
        let entry = ca.reader().entry(index).unwrap();
        serde_json::to_value(&entry.event).unwrap()["kind"].as_str().unwrap().to_owned()
    };
    (0..ca.size())
        .map(kind)
        .filter(|kind| kind.starts_with("host.") || kind.starts_with("self-test."))
        .collect()
}

#[tokio::test]
async fn a_host_joins_with_its_token_and_gets_a_certificate_of_its_name() {
    let ca = Installed::new();
    let joined = ca.enrol_host(DB1, &host_key(1)).await;
    assert_eq!((joined.host.as_str(), joined.system.as_str()), (DB1, "payments-db"));
    let accepted = ca.accepts(&joined.certificate, DB1, &host_key(1));
    assert_eq!(accepted.valid_before, joined.valid_before);
    assert_eq!(accepted.valid_before, ca.clock.wall() + limits::HOST_CERTIFICATE_S);
    assert_eq!(kinds(&ca), ["host.invited", "host.enrolled", "host.certified"]);
    assert_eq!(accepted.serial, ca.size() - 1);
    let found = ca.road.published().speakers().get(&joined.host).unwrap();
    assert_eq!((found.public_key, found.enrolment), (public(&host_key(1)), joined.enrolment));
    verified(&ca);
}

#[tokio::test]
async fn the_same_words_again_get_the_same_bytes_after_a_restart_too() {
    let ca = Installed::new();
    let token = ca.invite(DB1).await;
    let join = ca.joining(DB1, &token, &host_key(1));
    let (first, again) = tokio::join!(ca.join(&join), ca.join(&join));
    assert_eq!((first.status, again.status), (200, 200), "{} {}", first.text(), again.text());
    assert_eq!(first.bytes, again.bytes);
    let size = ca.size();
    let ca = ca.restart();
    assert_eq!(ca.join(&join).await.bytes, first.bytes);
    // The answer was lost for longer than a statement lives: the same token and key still get it.
    ca.clock.pass(2 * limits::STATEMENT_WINDOW_S);
    assert_eq!(ca.join(&join).await.bytes, first.bytes);
    assert_eq!(ca.join(&ca.joining(DB1, &token, &host_key(1))).await.bytes, first.bytes);
    assert_eq!(ca.size(), size, "nothing was logged twice");
    verified(&ca);
}

#[tokio::test]
async fn a_token_is_good_for_one_host_key_once() {
    let ca = Installed::new();
    let token = ca.invite(DB1).await;
    let (one, other) = (ca.joining(DB1, &token, &host_key(1)), ca.joining(DB1, &token, &host_key(2)));
    let (one, other) = tokio::join!(ca.join(&one), ca.join(&other));
    let mut both = [one.status, other.status];
    both.sort_unstable();
    assert_eq!(both, [200, 403], "{} {}", one.text(), other.text());
    let refused = if one.status == 200 { &other } else { &one };
    refused.problem(403, "host.not_invited");
    // For another name it never was good.
    let token = ca.invite(DB1).await;
    ca.join(&ca.joining(DB2, &token, &host_key(2))).await.problem(403, "host.not_invited");
    // A newer one takes its place.
    let newer = ca.invite(DB1).await;
    ca.join(&ca.joining(DB1, &token, &host_key(3))).await.problem(403, "host.not_invited");
    assert_eq!(ca.join(&ca.joining(DB1, &newer, &host_key(3))).await.status, 200);
    verified(&ca);
}

#[tokio::test]
async fn an_invitation_ends_and_only_what_the_policy_has_is_invited() {
    let ca = Installed::new();
    let token = ca.invite(DB1).await;
    ca.clock.pass(limits::INVITATION_S);
    let at_its_end = ca.joining(DB1, &token, &host_key(1));
    ca.clock.pass(1);
    ca.join(&at_its_end).await.problem(403, "host.invitation_over");
    let invite = |body: serde_json::Value| async { ca.operator("POST", "/operator/hosts", body).await };
    let nowhere = invite(serde_json::json!({ "host": "db-1.nowhere.prod" })).await;
    nowhere.problem(404, "host.not_in_policy");
    let other =
        invite(serde_json::json!({ "host": DB1, "system": "web" })).await.problem(409, "host.other_system");
    assert_eq!(other.next.as_deref(), Some("fireaxe-ca host invite db-1.payments.prod --system payments-db"));
    for (for_s, status) in
        [(59, 400), (60, 200), (limits::INVITATION_MAX_S, 200), (limits::INVITATION_MAX_S + 1, 400)]
    {
        let told = invite(serde_json::json!({ "host": DB1, "for_s": for_s })).await;
        assert_eq!(told.status, status, "{for_s}: {}", told.text());
    }
    // At the very end of its time it still is one.
    let token = ca.invite(DB1).await;
    ca.clock.pass(limits::INVITATION_S);
    assert_eq!(ca.join(&ca.joining(DB1, &token, &host_key(1))).await.status, 200);
    verified(&ca);
}

#[tokio::test]
async fn only_the_host_key_itself_joins_and_one_key_is_one_host() {
    let ca = Installed::new();
    ca.enrol_host(DB2, &host_key(2)).await;
    let token = ca.invite(DB1).await;
    // Signed by another key than it names.
    let mut join = ca.joining(DB1, &token, &host_key(1));
    let words = Statement::Enrol(ca.enrolling(DB1, &token, &host_key(1)));
    join.enrol = sign_ed25519(&host_key(3), Kind::Enrol, &words.write());
    ca.join(&join).await.problem(400, "host_key.other");
    // Names another token than it shows.
    let other = ca.invite(DB2).await;
    let mut join = ca.joining(DB1, &token, &host_key(1));
    join.token = other.reveal().to_owned();
    ca.join(&join).await.problem(403, "host.not_invited");
    join.token = format!("{}\n", token.reveal());
    ca.join(&join).await.problem(400, "token.unreadable");
    // A person's key, another host's.
    ca.join(&ca.joining(DB1, &token, &key(ANA))).await.problem(409, "host_key.in_use");
    let cloned = ca.join(&ca.joining(DB1, &token, &host_key(2))).await.problem(409, "host_key.in_use");
    assert!(cloned.title.contains(DB2), "{cloned:?}");
    // The CA's own, an emergency's.
    for purpose in [Purpose::UserCa, Purpose::HostCa, Purpose::Log, Purpose::Krl] {
        let own = keys::load(&ca.data().keys(), purpose).unwrap();
        ca.join(&ca.joining(DB1, &token, &own)).await.problem(409, "host_key.in_use");
    }
    let mut opening = ca.declare("payments-db");
    opening.public_key = public(&key(91));
    let opened = ca.open_emergency(ANA, &opening).await;
    ca.join(&ca.joining(DB1, &token, &key(91))).await.problem(409, "host_key.in_use");
    ca.close_emergency(ANA, &opened).await;
    // Of another kind, or an old one.
    let close = sign_ed25519(&host_key(1), Kind::Enrol, &words.write().replace("\"enrol\"", "\"close\""));
    join.token = token.reveal().to_owned();
    join.enrol = close;
    assert_eq!(ca.join(&join).await.status, 400);
    let old = ca.joining(DB1, &token, &host_key(1));
    ca.clock.pass(limits::STATEMENT_WINDOW_S + 1);
    ca.join(&old).await.problem(400, "statement.stale");
    // None of that used it up.
    assert_eq!(ca.join(&ca.joining(DB1, &token, &host_key(1))).await.status, 200);
    // And nobody opens an emergency with a host's key.
    let mut words = ca.declare("payments-db");
    words.public_key = public(&host_key(1));
    ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(400, "public_key.not_fresh");
    verified(&ca);
}

#[tokio::test]
async fn a_host_that_is_invited_again_may_come_with_another_key_and_the_one_before_is_out() {
    let ca = Installed::new();
    ca.enrol_host(DB1, &host_key(1)).await;
    let token = ca.invite(DB1).await;
    // Until it joins anew, it goes on.
    assert_eq!(ca.renew(DB1, &host_key(1)).await.status, 200);
    let joined: Joined = ca.join(&ca.joining(DB1, &token, &host_key(2))).await.json();
    ca.accepts(&joined.certificate, DB1, &host_key(2));
    ca.renew(DB1, &host_key(1)).await.problem(401, "host.not_enrolled");
    let test = ca.testing(DB1, "root", &key(90));
    ca.self_test(&test, &host_key(1)).await.problem(401, "host.not_enrolled");
    assert_eq!(ca.renew(DB1, &host_key(2)).await.status, 200);
    // The key before may be another host's now, and the same host may have it back.
    ca.enrol_host(DB2, &host_key(1)).await;
    let anew = ca.enrol_host(DB1, &host_key(2)).await;
    assert_ne!(anew.enrolment, joined.enrolment, "another token is another enrolment");
    verified(&ca);
    verified(&ca.restart());
}

#[tokio::test]
async fn a_certificate_is_renewed_from_half_of_its_time_on_and_by_its_key_only() {
    let ca = Installed::new();
    let joined = ca.enrol_host(DB1, &host_key(1)).await;
    assert_eq!(ca.renewed(DB1, &host_key(1)).await.certificate, joined.certificate);
    ca.clock.pass(limits::HOST_CERTIFICATE_S / 2 - 1);
    assert_eq!(ca.renewed(DB1, &host_key(1)).await.certificate, joined.certificate);
    ca.clock.pass(1);
    let db1 = host_key(1);
    let (one, other) = tokio::join!(ca.renewed(DB1, &db1), ca.renewed(DB1, &db1));
    assert_eq!(one, other, "asked twice at once, certified once");
    assert_ne!(one.certificate, joined.certificate);
    ca.accepts(&one.certificate, DB1, &host_key(1));
    assert_eq!(kinds(&ca).iter().filter(|kind| *kind == "host.certified").count(), 2);
    let ca = ca.restart();
    assert_eq!(ca.renewed(DB1, &host_key(1)).await, one);
    // Another's proof, an old one, none.
    ca.renew(DB1, &host_key(2)).await.problem(401, "host.not_enrolled");
    ca.renew(DB2, &host_key(1)).await.problem(401, "host.not_enrolled");
    // Of a host that is one of ours, too.
    ca.enrol_host(DB2, &host_key(2)).await;
    ca.renew(DB1, &host_key(2)).await.problem(401, "host.not_enrolled");
    ca.renew(DB2, &host_key(1)).await.problem(401, "host.not_enrolled");
    let path = format!("/v1/hosts/{DB1}/certificate");
    let elsewhere = ca.proof(&host_key(1), "POST", &format!("/v1/hosts/{DB2}/certificate"));
    ca.post_proved(&path, &elsewhere).await.problem(401, "host.not_enrolled");
    let old = ca.proof(&host_key(1), "POST", &path);
    ca.clock.pass(limits::STATEMENT_WINDOW_S + 1);
    ca.post_proved(&path, &old).await.problem(401, "reader.stale");
    ca.post_bytes(&path, Vec::new()).await.problem(401, "reader.missing");
    verified(&ca);
}

#[tokio::test]
async fn a_retired_host_is_out_at_once_and_its_open_invitation_with_it() {
    let ca = Installed::new();
    ca.enrol_host(DB1, &host_key(1)).await;
    let token = ca.invite(DB1).await;
    let path = format!("/operator/hosts/{DB1}/retirement");
    let told = ca.operator("POST", &path, serde_json::json!({})).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(ca.road.published().speakers().all().is_empty());
    ca.renew(DB1, &host_key(1)).await.problem(401, "host.not_enrolled");
    ca.join(&ca.joining(DB1, &token, &host_key(1))).await.problem(403, "host.not_invited");
    ca.operator("POST", &path, serde_json::json!({})).await.problem(401, "host.not_enrolled");
    let listed: serde_json::Value =
        ca.operator("GET", "/operator/hosts", serde_json::json!(null)).await.json();
    assert_eq!((&listed["enrolled"], &listed["invited"]), (&serde_json::json!([]), &serde_json::json!([])));
    ca.enrol_host(DB1, &host_key(1)).await;
    verified(&ca);
}

#[tokio::test]
async fn a_self_test_opens_one_account_of_one_host_from_itself_for_a_minute_and_runs_nothing() {
    let ca = Installed::new();
    ca.enrol_host(DB1, &host_key(1)).await;
    let fresh = key(90);
    let words = ca.testing(DB1, "root", &fresh);
    let given = ca.self_tested(&words, &host_key(1)).await;
    let terms = &given.terms;
    assert_eq!(
        terms.principals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["root:db-1.payments.prod"]
    );
    assert_eq!(terms.force_command.as_deref(), Some("/bin/true"));
    assert_eq!(
        terms.source_address.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1/32", "::1/128"]
    );
    assert_eq!((terms.lifetime_s, terms.extensions.len(), terms.tier.as_str()), (60, 0, "self-test"));
    let keys = ca.road.published().keys();
    let expected = Expected {
        public_key: public(&fresh),
        terms,
        ca_key: keys.user_ca,
        subject: Subject::SelfTest,
        within: None,
        now: ca.clock.wall(),
    };
    let accepted = compare(&given.certificate, &expected).unwrap();
    assert_eq!(accepted.key_id, format!("fireaxe/self-test/{}", accepted.serial));
    let log = fireaxe_protocol::log::NoteKey::new(ca.origin.as_str(), &keys.log).unwrap();
    let (body, proof) = (accepted.body.as_bytes(), accepted.receipt.as_bytes());
    let proved = receipt::check(body, accepted.serial, proof, &log, &ca.origin).unwrap();
    assert_eq!(proved.terms, terms.hash());
    // The same words again: the same bytes; the same nonce for others: an error.
    assert_eq!(ca.self_tested(&words, &host_key(1)).await, given);
    let mut other = words.clone();
    other.report = ca.testing(DB1, "look", &key(91)).report;
    ca.self_test(&other, &host_key(1)).await.problem(409, "statement.nonce_reused");
    verified(&ca);
    let ca = ca.restart();
    assert_eq!(ca.self_tested(&words, &host_key(1)).await, given);
    assert_eq!(kinds(&ca).iter().filter(|kind| *kind == "self-test.granted").count(), 1);
    // It belongs to no emergency, and no person reads with its key.
    assert_eq!(ca.road.published().health().open, 0);
    let path = "/v1/emergencies";
    assert_eq!(ca.get(path, Some(&ca.proof(&fresh, "GET", path))).await.status, 401);
}

#[tokio::test]
async fn a_self_test_is_for_the_hosts_own_key_and_an_account_of_the_policy_and_not_too_often() {
    let ca = Installed::new();
    ca.enrol_host(DB1, &host_key(1)).await;
    ca.enrol_host(DB2, &host_key(2)).await;
    let ask = |account: &'static str, fresh: u8| ca.testing(DB1, account, &key(fresh));
    ca.self_test(&ask("root", 90), &host_key(2)).await.problem(401, "host.not_enrolled");
    let account = ca.self_test(&ask("postgres", 90), &host_key(1)).await.problem(422, "self_test.account");
    assert!(account.title.contains("root") && account.title.contains("look"), "{account:?}");
    ca.self_test(&ask("root", ANA), &host_key(1)).await.problem(400, "public_key.not_fresh");
    let mut of_other = ask("root", 90);
    of_other.host = DB2.parse().unwrap();
    let path = format!("/v1/hosts/{DB1}/self-tests");
    let words = Statement::Report(Box::new(of_other)).write();
    ca.post(&path, &sign_ed25519(&host_key(1), Kind::Report, &words)).await.problem(400, "report.other");
    let mut numbered = ask("root", 90);
    numbered.seq = 1;
    ca.self_test(&numbered, &host_key(1)).await.problem(400, "report.other");
    let mut late = ask("root", 90);
    late.header.at -= limits::STATEMENT_WINDOW_S + 1;
    ca.self_test(&late, &host_key(1)).await.problem(400, "statement.stale");

    for _ in 0..limits::SELF_TESTS {
        ca.self_tested(&ask("root", 90), &host_key(1)).await;
    }
    ca.self_test(&ask("root", 90), &host_key(1)).await.problem(429, "self_test.too_many");
    // Another host is not held back by it, a restart does not forget it, an hour does.
    ca.self_tested(&ca.testing(DB2, "root", &key(91)), &host_key(2)).await;
    let ca = ca.restart();
    let again = |ca: &Installed| ca.testing(DB1, "root", &key(92));
    ca.self_test(&again(&ca), &host_key(1)).await.problem(429, "self_test.too_many");
    ca.clock.pass(limits::SELF_TESTS_WITHIN_S);
    ca.self_tested(&again(&ca), &host_key(1)).await;
    verified(&ca);
}

#[tokio::test]
async fn a_host_that_the_policy_gives_to_another_system_must_be_invited_anew() {
    let ca = Installed::with(POLICY, &roster());
    ca.enrol_host(DB1, &host_key(1)).await;
    let token = ca.invite(DB2).await;
    let policy = POLICY.replace("\"db-*.payments.prod\"", "\"pg-*.payments.prod\"");
    assert_ne!(policy, POLICY);
    activate(&ca, &policy, &roster()).await;
    // What it has goes on; nothing more is given.
    assert_eq!(ca.renew(DB1, &host_key(1)).await.status, 200);
    ca.clock.pass(limits::HOST_CERTIFICATE_S / 2);
    ca.renew(DB1, &host_key(1)).await.problem(404, "host.not_in_policy");
    let test = ca.testing(DB1, "root", &key(90));
    ca.self_test(&test, &host_key(1)).await.problem(404, "host.not_in_policy");
    ca.join(&ca.joining(DB2, &token, &host_key(2))).await.problem(403, "host.invitation_over");
    activate(&ca, POLICY, &roster()).await;
    assert_eq!(ca.renew(DB1, &host_key(1)).await.status, 200);
    let token = ca.invite(DB2).await;
    let policy = policy.replace("\"vault-*.prod\"", "\"vault-*.prod\", \"db-*.payments.prod\"");
    activate(&ca, &policy, &roster()).await;
    ca.join(&ca.joining(DB2, &token, &host_key(2))).await.problem(409, "host.moved");
    ca.clock.pass(limits::HOST_CERTIFICATE_S / 2);
    ca.renew(DB1, &host_key(1)).await.problem(409, "host.moved");
    let test = ca.testing(DB1, "root", &key(90));
    ca.self_test(&test, &host_key(1)).await.problem(409, "host.moved");
    assert_eq!(ca.enrol_host(DB1, &host_key(1)).await.system.as_str(), "vault");
    verified(&ca);
}

#[tokio::test]
async fn what_changed_after_the_door_looked_is_seen_by_the_writer() {
    let ca = Installed::new();
    ca.enrol_host(DB1, &host_key(1)).await;
    let (host, speakers) = (DB1.parse().unwrap(), ca.road.published().speakers());
    let says = |words: HostReport| {
        sign_ed25519(&host_key(1), Kind::Report, &Statement::Report(Box::new(words)).write())
    };
    let test = ca.testing(DB1, "root", &key(90));
    let alarm = HostReport { seq: 1, report: Report::Alarmed(Reason::new("x", "y")), ..test.clone() };
    let heard = Arc::new(speakers.hear(&ca.origin, &host, vec![says(alarm)]).unwrap());
    let speaking = speakers.speaks(&ca.origin, says(test), &host).unwrap();
    let token = ca.invite(DB1).await;
    let join = ca.joining(DB1, &token, &host_key(2));
    let joining = speakers.joins(&ca.origin, join.enrol, &token).unwrap();

    // A newer token, with which the same key joins anew.
    ca.enrol_host(DB1, &host_key(1)).await;
    let size = ca.size();
    let not_enrolled = Refusal::from(HostRefusal::NotEnrolled(host.clone()));
    assert_eq!(ca.road.report(heard).await.unwrap_err(), not_enrolled);
    assert_eq!(ca.road.self_test(speaking).await.unwrap_err(), not_enrolled);
    assert_eq!(ca.road.certify(host.clone(), public(&host_key(2))).await.unwrap_err(), not_enrolled);
    assert_eq!(ca.road.join(joining).await.unwrap_err(), HostRefusal::NotInvited(host).into());
    assert_eq!(ca.size(), size, "a refusal left an entry");
    verified(&ca);
}

async fn activate(ca: &Installed, policy: &str, roster: &str) {
    let bundle = Bundle::parse(policy, roster).unwrap().hash;
    let newest = (0..ca.size())
        .rev()
        .find(|n| matches!(ca.reader().entry(*n).unwrap().event, Event::BundleActivated { .. }));
    let of = fireaxe_protocol::log::tree::leaf_hash(&ca.reader().entry_bytes(newest.unwrap()).unwrap());
    let change = |by| {
        let header = ca.header(Kind::Bundle);
        signed(by, &Statement::Bundle(fireaxe_protocol::statement::BundleChange { header, of, bundle }))
    };
    let body = serde_json::json!({
        "policy": policy, "roster": roster, "signed": [change(CLEO), change(DAN)]
    });
    let told = ca.operator("POST", "/operator/bundle", body).await;
    assert_eq!(told.status, 200, "{}", told.text());
}
