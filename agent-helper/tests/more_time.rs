//! More time, and the end: `extend` and `close`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::fs::File;

use fireaxe_protocol::api::{Grant, Settled};
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::policy::{Outcome, Smaller};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Statement;
use serde_json::{Value, json};
use world::ca::{
    Answer, DECLARATION, FakeCa, Makes, Request, certificate, decision, declared, opened, stream, terms,
};
use world::people::said;
use world::waiting::{DECLARE, EVENTS, GRANT, emergency, home, look, waiting};
use world::{Home, err, out, wait_until};

const EXTEND: &str = "POST /v1/emergencies/EM-42/extensions";
const CLOSE: &str = "POST /v1/emergencies/EM-42/closure";
/// The entry of the extension.
const LATER: Hash = Hash([9; 32]);

fn listed(home: &Home) -> String {
    out(&home.openssh("ssh-add", &["-l"]))
}

/// A CA that has given `root` and answers an extension with what `extend` makes of a grant that gives it again.
fn ca(state: &'static str, extend: impl Fn(Grant, usize) -> Answer + Send + Sync + 'static) -> FakeCa {
    let key = std::sync::Mutex::new(None);
    FakeCa::start(move |request: &Request, before| match request.line.as_str() {
        DECLARE => {
            *key.lock().unwrap() = Some(declared(request).public_key);
            Some((201, opened(request, &Makes::default())))
        }
        "GET /v1/emergencies/EM-42" => Some((200, emergency(state))),
        EVENTS => stream(),
        EXTEND | GRANT => {
            let makes = Makes { of: LATER, serial: 5, ..Makes::default() };
            let grant = Grant {
                schema: "fireaxe.grant/v1".into(),
                emergency: "EM-42".parse().unwrap(),
                state: "open".into(),
                declaration: DECLARATION,
                request: LATER,
                decision: decision(Outcome::Permit(terms())),
                system: "payments-db".parse().unwrap(),
                host: Some("db-3.payments.prod".parse().unwrap()),
                hosts: vec!["db-3.payments.prod".into()],
                owner: None,
                waiting: None,
                settled: None,
                of: Some(LATER),
                terms: Some(terms()),
                certificate: Some(certificate(key.lock().unwrap().unwrap(), &makes)),
                valid_before: None,
                until: world::now() + 7200,
                extensions_left: 2,
            };
            extend(grant, before)
        }
        CLOSE => Some((
            200,
            json!({"schema": "fireaxe.closed/v1", "emergency": "EM-42", "revoked": [5], "entry": 9}),
        )),
        _ => None,
    })
}

fn open(home: &Home) {
    let done = home.run(&["open", "db-3.payments.prod", "-r", "primary refuses writes"]);
    assert!(done.status.success(), "{}", err(&done));
}

fn answer(grant: &Grant) -> Answer {
    Some((200, serde_json::to_value(grant).unwrap()))
}

#[test]
fn an_extension_takes_the_place_of_what_was_held_and_says_how_many_are_left() {
    let ca = ca("closing", |grant, _| answer(&grant));
    let home = home(&ca);
    open(&home);
    let words = ["extend", "--for", "45m", "-s", "2", "--incident", "pd:X", "-r", "restore at 60%"];
    let done = home.run(&words);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(err(&done).contains("EM-42  extended: tier root until "), "{}", err(&done));
    assert!(err(&done).contains("; 2 further extensions"), "{}", err(&done));
    assert!(err(&done).contains("it was closing: the countdown is held"), "{}", err(&done));
    assert!(listed(&home).contains("(serial 5)") && listed(&home).lines().count() == 1, "{}", listed(&home));
    match said(&ca.requests(EXTEND)[0]) {
        Statement::Extend(extend) => {
            assert_eq!((extend.of, extend.for_s), (DECLARATION, Some(2700)));
            assert_eq!(extend.incident.unwrap().as_str(), "pd:X");
            assert_eq!(
                (extend.severity.unwrap().number(), extend.reason.unwrap().as_str()),
                (2, "restore at 60%")
            );
        }
        other => panic!("{other:?}"),
    }
    let json: Value = serde_json::from_slice(&home.run(&["--json", "extend", "EM-42"]).stdout).unwrap();
    let found = (&json["schema"], &json["extensions_left"], &json["held_countdown"]);
    assert_eq!(found, (&"fireaxe.extend/v1".into(), &2.into(), &true.into()), "{json}");
}

#[test]
fn what_is_not_held_here_cannot_be_extended_here() {
    let ca = ca("open", |grant, _| answer(&grant));
    let home = home(&ca);
    assert!(err(&home.run(&["extend"])).contains("nothing is held"));
    let done = home.run(&["extend", "EM-42"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(err(&done).contains("EM-42 is not held here"), "{}", err(&done));
    assert!(ca.requests(EXTEND).is_empty());
}

#[test]
fn a_refused_extension_leaves_what_is_held_and_names_the_smaller_request() {
    let ca = ca("open", |_, _| {
        let smaller = Smaller { severity: None, want: Some("look".parse().unwrap()), terms: look() };
        let reasons = vec![Reason::new("extend.limit", "3 extensions are the most").at("policy.toml:9")];
        let refused = decision(Outcome::Refuse { reasons: reasons.clone(), smaller: Some(smaller) });
        Some((
            403,
            json!({"type": "x", "title": "no", "status": 403, "code": "policy.denied",
            "reasons": reasons, "decision": refused, "index": 8}),
        ))
    });
    let home = home(&ca);
    open(&home);
    let done = home.run(&["extend", "-r", "more"]);
    assert_eq!(done.status.code(), Some(77), "{}", err(&done));
    for part in [
        "3 extensions are the most  (policy.toml:9)  [extend.limit]",
        "next: fireaxe open db-3.payments.prod --want look -r more",
        "still held: tier root, ends ",
    ] {
        assert!(err(&done).contains(part), "{part}\nis missing from\n{}", err(&done));
    }
    assert!(listed(&home).contains("(serial 1)"));
    let done = home.run(&["--json", "extend", "-r", "more"]);
    let json: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(77));
    let found = (&json["schema"], &json["outcome"], &json["next"]);
    let next = "fireaxe open db-3.payments.prod --want look -r more";
    assert_eq!(found, (&"fireaxe.extend/v1".into(), &"refused".into(), &next.into()), "{json}");
}

#[test]
fn an_extension_that_waits_is_remembered_and_taken_up() {
    let ca = ca("open", |mut grant, before| {
        if grant.emergency.0 == 42 && before == 0 {
            grant.decision = decision(Outcome::NeedsApproval {
                full: terms(),
                meanwhile: None,
                smaller: None,
                ladder: vec![],
                wait_s: 600,
            });
            (grant.waiting, grant.of, grant.terms, grant.certificate) = (Some(waiting()), None, None, None);
        } else {
            grant.settled = Some(Settled::Given);
        }
        answer(&grant)
    });
    let home = home(&ca);
    let _lock = {
        let lock = File::create(home.socket("follow-EM-42.lock")).unwrap();
        lock.lock().unwrap();
        lock
    };
    open(&home);
    let done = home.run(&["extend"]);
    assert_eq!(done.status.code(), Some(75), "{}", err(&done));
    assert!(err(&done).contains("more time waits for approval; held until "), "{}", err(&done));
    assert!(err(&done).contains("asked: ben, cleo"), "{}", err(&done));
    assert!(listed(&home).contains("(serial 1)"));
    // The first question shows that it waits still, the second that it was given.
    assert!(out(&home.run(&["status"])).contains("tier root waits for 1 of payments-leads"));
    let status = home.run(&["status"]);
    assert!(err(&status).contains("EM-42  extended: tier root until "), "{}", err(&status));
    assert!(listed(&home).contains("(serial 5)"), "{}", listed(&home));
}

#[test]
fn a_certificate_that_is_not_the_extension_that_was_decided_is_thrown_away() {
    type Lie = fn(&mut Grant);
    let lies: [(&str, Lie); 3] = [
        ("longer than was asked for", |g| g.extensions_left = 1),
        ("of another entry", |g| g.of = Some(DECLARATION)),
        ("of other terms", |g| g.terms.as_mut().unwrap().lifetime_s = 600),
    ];
    for (what, lie) in lies {
        let ca = ca("open", move |mut grant, _| {
            lie(&mut grant);
            answer(&grant)
        });
        let home = home(&ca);
        open(&home);
        let done = home.run(&["extend", "--for", if what.starts_with("longer") { "10m" } else { "1h" }]);
        assert_eq!(done.status.code(), Some(1), "{what}: {}", err(&done));
        assert!(listed(&home).contains("(serial 1)"), "{what} was taken: {}", listed(&home));
    }
}

#[test]
fn close_says_how_often_the_agent_signed_a_login() {
    let ca = ca("open", |grant, _| answer(&grant));
    let home = home(&ca);
    open(&home);
    assert!(home.login("root") && !home.login("look") && home.login("root"));
    assert!(home.run(&["close"]).status.success());
    assert!(matches!(said(&ca.requests(CLOSE)[0]), Statement::Close(c) if c.uses == Some(2)));
    wait_until("it is gone", || listed(&home).contains("no identities"));
}
