//! What people decide about others' requests: the card is read from the entries' own bytes, and what is signed
//! is what was shown.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::sync::{Arc, Mutex};

use fireaxe_protocol::api::RequestCard;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Awaits, Outcome};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{Statement, Verdict};
use serde_json::{Value, json};
use world::ca::{FakeCa, origin, terms};
use world::people::{Entries, card, card_of, facts, leaf, said};
use world::waiting::{ELSEWHERE, home};
use world::{err, on_a_terminal, out};

const REQUEST: &str = "GET /v1/emergencies/EM-42/request";
const APPROVALS: &str = "POST /v1/emergencies/EM-42/approvals";
const REFUSALS: &str = "POST /v1/emergencies/EM-42/refusals";
const SECONDS: &str = "POST /v1/emergencies/EM-42/seconds";
const REVIEW: &str = "POST /v1/emergencies/EM-42/review";

fn problem(status: u16, code: &str, changed: &[&str]) -> Value {
    json!({
        "type": "x", "title": "the request has changed", "status": status, "code": code,
        "reasons": [{"code": code, "sentence": "the request has changed"}], "changed": changed
    })
}

/// A CA that shows this card and takes what is signed about it.
fn ca(card: RequestCard) -> FakeCa {
    let card = Arc::new(Mutex::new(card));
    FakeCa::start(move |request, _| {
        let card = card.lock().unwrap();
        let of = leaf(&card.entry);
        let em = "EM-42";
        let answer = match request.line.as_str() {
            "POST /v1/sessions" => {
                json!({"schema": "fireaxe.session/v1", "person": "ana", "until": u64::MAX})
            }
            REQUEST => serde_json::to_value(&*card).unwrap(),
            APPROVALS => json!({"schema": "fireaxe.approved/v1", "emergency": em, "of": of, "entry": 9,
                "missing": [{"count": 1, "from": ["security"]}]}),
            REFUSALS => json!({"schema": "fireaxe.refused/v1", "emergency": em, "of": of, "entry": 9}),
            SECONDS => json!({"schema": "fireaxe.seconded/v1", "emergency": em, "entry": 9}),
            REVIEW => json!({"schema": "fireaxe.reviewed/v1", "emergency": em, "entry": 9}),
            "GET /v1/requests" => requests(1),
            "GET /v1/emergencies/EM-42" => world::waiting::emergency("closed"),
            _ => return Some((404, problem(404, "route.unknown", &[]))),
        };
        Some((200, answer))
    })
}

fn requests(yours: usize) -> Value {
    let one = |n: usize| {
        json!({"emergency": format!("EM-{}", 42 + n), "waits_for": "approval", "person": "ana",
            "system": "payments-db", "tier": "root", "at": 1, "until": 2, "yours": n < yours})
    };
    let review = |em: &str, overdue: bool, yours: bool| {
        json!({"emergency": em, "person": "cleo", "system": "web", "closed_at": 1, "due": 2,
            "overdue": overdue, "yours": yours})
    };
    json!({"schema": "fireaxe.requests/v1", "requests": [one(0), one(1)],
        "reviews": [review("EM-7", true, true), review("EM-8", false, false)]})
}

#[test]
fn what_is_approved_is_the_leaf_of_the_bytes_that_were_shown() {
    let shown = card();
    let of = leaf(&shown.entry);
    let ca = ca(shown);
    let home = home(&ca);
    let done = home.run(&["approve", "EM-42", "--yes", "-r", "seen the graphs"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    for part in [
        "EM-42  ana asks for tier root on db-3.payments.prod of payments-db",
        "reason: \"primary refuses writes\"",
        "gives: account root on db-3.payments.prod, any command, with a terminal, 45 min, not recorded; owner: team payments",
        "cannot: forward ports, forward an agent or X11, reach other hosts",
        "has meanwhile: account look on db-3.payments.prod",
        "severity 1 from pd:PGR0VU2 (2 min old)",
        "incident pd:PGR0VU2, \"writes fail\", open, severity 1, last word 3 min ago",
        "because: off call: one approval more  (policy.toml:41)",
        "because: 1 of payments-leads must approve  (policy.toml:55)",
        "unusual: it \\u{1b}[2J\\u{202e} is odd",
        "[signal.off-call]",
        "lately: EM-40 web (2 h ago, tier look)",
        "asked: ben, cleo",
        "also waits for you, each by itself: EM-43",
        "EM-42  approved (entry 9 of the log); still missing: 1 of security",
    ] {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    assert!(!err(&done).contains("because: row medium"), "more than why the policy asks: {}", err(&done));
    assert!(err(&done).lines().count() <= 24, "more than one screen:\n{}", err(&done));
    match said(&ca.requests(APPROVALS)[0]) {
        Statement::Approve(approve) => {
            assert_eq!((approve.of, approve.emergency), (of, EmergencyId(42)));
            assert_eq!(approve.reason.unwrap().as_str(), "seen the graphs");
        }
        other => panic!("{other:?}"),
    }
    let answer = home.run(&["--json", "approve", "EM-42", "--yes"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((&answer["schema"], &answer["entry"]), (&"fireaxe.approve/v1".into(), &9.into()));
    assert_eq!(answer["missing"][0]["from"][0], "security");
}

#[test]
fn more_time_is_approved_by_its_own_entry_and_shows_both_reasons() {
    let declared = Entries::default().declared();
    let later = Entries::default().extension(leaf(&declared));
    let of = leaf(&later);
    let ca = ca(card_of(declared, Some(later)));
    let home = home(&ca);
    let done = home.run(&["approve", "EM-42", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    for part in [
        "ana asks for more time (extension 1): tier root on db-3.payments.prod",
        "why longer: \"the restore is at 60%\"",
        "reason: \"primary refuses writes\"",
    ] {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    assert!(matches!(said(&ca.requests(APPROVALS)[0]), Statement::Approve(a) if a.of == of));
}

#[test]
fn a_card_that_does_not_hold_together_is_never_signed() {
    let fits = Entries::default().declared();
    let other = Entries { emergency: EmergencyId(43), ..Entries::default() };
    let changed = |change: fn(&mut RequestCard)| {
        let mut card = card();
        change(&mut card);
        card
    };
    let elsewhere = "fireaxe.test/fedcba9876543210".parse().unwrap();
    let mut other_person = facts();
    other_person.person = "mallory".parse().unwrap();
    let other_person = Entries { facts: other_person, ..Entries::default() };
    let cards = [
        ("an entry of another emergency", card_of(other.declared(), None)),
        ("a later entry of another emergency", card_of(fits.clone(), Some(other.extension(leaf(&fits))))),
        (
            "a later entry of another declaration",
            card_of(fits.clone(), Some(Entries::default().extension(ELSEWHERE))),
        ),
        (
            "a new decision about another declaration",
            card_of(fits.clone(), Some(Entries::default().redecided(ELSEWHERE))),
        ),
        ("another person's extension", card_of(fits.clone(), Some(other_person.extension(leaf(&fits))))),
        ("a declaration that is not the leaf it says", changed(|c| c.declaration = ELSEWHERE)),
        ("another entry that waits", changed(|c| c.waiting.as_mut().unwrap().of = ELSEWHERE)),
        ("another number", changed(|c| c.emergency = EmergencyId(43))),
        ("an entry that is none", changed(|c| c.entry.push(' '))),
        ("words for another log", card_of(Entries { to: elsewhere, ..Entries::default() }.declared(), None)),
        (
            "words for another host",
            card_of(Entries { target: "db-4.payments.prod", ..Entries::default() }.declared(), None),
        ),
    ];
    for (what, card) in cards {
        let ca = ca(card);
        let home = home(&ca);
        for words in [&["approve", "EM-42", "--yes"][..], &["refuse", "EM-42", "-r", "no"]] {
            let done = home.run(words);
            assert_eq!(done.status.code(), Some(1), "{what}: {}", err(&done));
            assert!(err(&done).contains("does not hold together"), "{what}: {}", err(&done));
            assert!(!err(&done).contains("asks for"), "{what} was shown: {}", err(&done));
        }
        assert!(ca.requests(APPROVALS).is_empty() && ca.requests(REFUSALS).is_empty(), "{what} was signed");
    }
    assert_eq!(origin().as_str(), "fireaxe.prod/0123456789abcdef");
}

#[test]
fn who_may_not_approve_is_told_why_and_signs_nothing() {
    let mut not = card();
    not.may_not = Some(Reason::new("approval.own", "you asked for it yourself \u{1b}[31m"));
    let ca = ca(not);
    let home = home(&ca);
    for words in [&["approve", "EM-42", "--yes"][..], &["refuse", "EM-42", "-r", "no"]] {
        let done = home.run(words);
        assert_eq!(done.status.code(), Some(77), "{}", err(&done));
        assert!(err(&done).contains("you asked for it yourself \\u{1b}[31m"), "{}", err(&done));
        assert!(err(&done).contains("[approval.own]") && !err(&done).contains('\u{1b}'), "{}", err(&done));
    }
    assert!(ca.requests(APPROVALS).is_empty() && ca.requests(REFUSALS).is_empty());
}

#[test]
fn without_a_terminal_nothing_is_approved_unasked() {
    let ca = ca(card());
    let home = home(&ca);
    for words in [&["approve", "EM-42"][..], &["--json", "approve", "EM-42"]] {
        let done = home.run(words);
        assert_eq!(done.status.code(), Some(2));
        assert!((out(&done) + &err(&done)).contains("fireaxe approve EM-42 --yes"), "{}", err(&done));
    }
    assert!(ca.seen.lock().unwrap().iter().all(|r| r.line == "GET /v1/keys"), "the CA was asked");
    // The list is no approval, and the only one is not approved by it.
    let done = home.run(&["approve"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(out(&done).lines().next().unwrap().ends_with("   fireaxe approve EM-42"), "{}", out(&done));
    assert!(ca.requests(APPROVALS).is_empty());
    let done = home.run(&["approve", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert_eq!(ca.requests(APPROVALS).len(), 1, "the only one is the one");
}

#[test]
fn on_a_terminal_it_asks_and_counts_how_long_the_card_was_there() {
    let ca = ca(card());
    let home = home(&ca);
    let asked = || !ca.requests(REQUEST).is_empty();
    let (code, said_no) = on_a_terminal(&home, &["approve", "EM-42"], asked, b"n\n");
    assert_eq!(code, Some(1), "{said_no}");
    assert!(said_no.contains("approve? [y/N]") && said_no.contains("nothing was signed"), "{said_no}");
    assert!(ca.requests(APPROVALS).is_empty());
    let again = || ca.requests(REQUEST).len() > 1;
    let (code, said_yes) = on_a_terminal(&home, &["approve", "EM-42"], again, b"y\n");
    assert_eq!(code, Some(0), "{said_yes}");
    assert!(matches!(said(&ca.requests(APPROVALS)[0]), Statement::Approve(a) if a.shown_s < 20));
}

#[test]
fn what_has_changed_is_shown_and_what_no_longer_waits_is_said() {
    let play = FakeCa::start(|request, _| match request.line.as_str() {
        "POST /v1/sessions" => {
            Some((200, json!({"schema": "fireaxe.session/v1", "person": "ana", "until": u64::MAX})))
        }
        REQUEST => Some((200, serde_json::to_value(card()).unwrap())),
        _ => Some((
            409,
            problem(409, "request.changed", &["severity 2 instead of 1", "tier fix instead of root"]),
        )),
    });
    let home_1 = home(&play);
    let done = home_1.run(&["approve", "EM-42", "--yes"]);
    assert_eq!(done.status.code(), Some(1), "{}", err(&done));
    for part in
        ["changed: severity 2 instead of 1", "changed: tier fix instead of root", "next: fireaxe approve"]
    {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    let answer: Value =
        serde_json::from_slice(&home_1.run(&["--json", "approve", "EM-42", "--yes"]).stdout).unwrap();
    assert_eq!(answer["changed"][1], "tier fix instead of root");

    let mut over = card();
    (over.state, over.waiting) = ("lapsed".into(), None);
    let ca = ca(over);
    let home = home(&ca);
    let done = home.run(&["approve", "EM-42", "--yes"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(err(&done).contains("lapsed"), "{}", err(&done));
    assert!(ca.requests(APPROVALS).is_empty());
}

#[test]
fn a_refusal_is_signed_with_its_reason() {
    let shown = card();
    let of = leaf(&shown.entry);
    let ca = ca(shown);
    let home = home(&ca);
    assert_eq!(home.run(&["refuse", "EM-42"]).status.code(), Some(2), "a refusal says why");
    let done = home.run(&["refuse", "EM-42", "-r", "use the replica"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(
        err(&done).contains("EM-42  refused (entry 9 of the log); ana keeps tier look"),
        "{}",
        err(&done)
    );
    match said(&ca.requests(REFUSALS)[0]) {
        Statement::Refuse(refuse) => {
            assert_eq!((refuse.of, refuse.reason.as_str()), (of, "use the replica"));
        }
        other => panic!("{other:?}"),
    }
    let answer: Value =
        serde_json::from_slice(&home.run(&["--json", "refuse", "EM-42", "-r", "no"]).stdout).unwrap();
    assert_eq!(answer["schema"], "fireaxe.refuse/v1");
}

#[test]
fn a_second_signature_says_what_it_costs() {
    let mut entries = Entries::default();
    entries.decision.outcome = Outcome::Permit(terms());
    entries.decision.awaits =
        Some(Awaits { severity: 1.try_into().unwrap(), more: 1, from: "payments-oncall".parse().unwrap() });
    let mut claim = card_of(entries.declared(), None);
    (claim.state, claim.waiting) = ("none".into(), None);
    let of = claim.declaration;
    let ca_1 = ca(claim);
    let home_1 = home(&ca_1);
    let done = home_1.run(&["second", "EM-42"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    for part in [
        "ana claims an emergency on db-3.payments.prod of payments-db",
        "reason: \"primary refuses writes\"",
        "severity 1 counts once another person of payments-oncall types   fireaxe second EM-42",
        "you can neither approve nor review it",
    ] {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    assert!(matches!(said(&ca_1.requests(SECONDS)[0]), Statement::Second(s) if s.of == of));
    let answer: Value = serde_json::from_slice(&home_1.run(&["--json", "second", "EM-42"]).stdout).unwrap();
    assert_eq!(answer["schema"], "fireaxe.second/v1");

    let ca_2 = ca(card());
    let home_2 = home(&ca_2);
    let done = home_2.run(&["second", "EM-42"]);
    assert_eq!(done.status.code(), Some(1), "{}", err(&done));
    assert!(ca_2.requests(SECONDS).is_empty(), "a claim that waits for nobody was signed");
}

#[test]
fn a_review_is_signed_and_what_is_owed_is_listed() {
    let ca = ca(card());
    let home = home(&ca);
    let list = home.run(&["review"]);
    assert_eq!(list.status.code(), Some(0), "{}", err(&list));
    let lines: Vec<String> = out(&list).lines().map(str::to_owned).collect();
    assert!(
        lines[0].starts_with("review of EM-7 is overdue since ") && lines[0].contains("--verdict"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("review of EM-8 is due by ") && !lines[1].contains("--verdict"),
        "{lines:?}"
    );
    let json: Value = serde_json::from_slice(&home.run(&["--json", "review"]).stdout).unwrap();
    assert_eq!(json["schema"], "fireaxe.requests/v1");
    let half = home.run(&["review", "EM-42", "--verdict", "justified"]);
    assert_eq!(half.status.code(), Some(2));
    assert!(err(&half).contains("next: fireaxe review EM-42 --verdict"), "{}", err(&half));
    let done = home.run(&["review", "EM-42", "--verdict", "follow-up", "-r", "mend the alert"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    match said(&ca.requests(REVIEW)[0]) {
        Statement::Review(review) => {
            assert_eq!((review.verdict, review.reason.as_str()), (Verdict::FollowUp, "mend the alert"));
            assert_eq!(review.of, world::ca::DECLARATION);
        }
        other => panic!("{other:?}"),
    }
    let words = ["--json", "review", "EM-42", "--verdict", "justified", "-r", "x"];
    let json: Value = serde_json::from_slice(&home.run(&words).stdout).unwrap();
    assert_eq!((&json["schema"], &json["verdict"]), (&"fireaxe.review/v1".into(), &"justified".into()));
    // Whoever is signed in sees it in `status`, too.
    let status = home.run(&["status"]);
    assert!(err(&status).contains("waits for you: EM-42  ana"), "{}", err(&status));
    assert!(err(&status).contains("review of EM-7 is overdue"), "{}", err(&status));
    assert!(!err(&status).contains("EM-8"), "another's review: {}", err(&status));
}
