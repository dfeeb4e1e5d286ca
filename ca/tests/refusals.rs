//! What bad input gets at the door: a stable code, all reasons, and nothing half-written.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use fireaxe_protocol::api::Opened;
use fireaxe_protocol::log::Event;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::{Envelope, Kind, Statement, sign_ed25519};
use installed::{ANA, BEN, CLEO, Installed, STRANGER, key, signed};

const DB: &str = "db-3.payments.prod";

fn tampered(statement: &str, from: &str, to: &str) -> String {
    assert!(statement.contains(from), "{statement}");
    statement.replacen(from, to, 1)
}

#[tokio::test]
async fn a_stranger_is_refused_and_leaves_no_entry() {
    let ca = Installed::new();
    let before = ca.size();
    let told = ca.send(&signed(STRANGER, &Statement::Declare(ca.declare(DB)))).await;
    let problem = told.problem(401, "key.unknown");
    assert!(problem.next.is_some_and(|next| next.contains("enrol")));
    assert_eq!(ca.size(), before);
}

#[tokio::test]
async fn bodies_that_are_no_envelopes_are_refused() {
    let ca = Installed::new();
    let before = ca.size();
    for body in
        ["", "{", "[]", "null", r#"{"statement":"x"}"#, r#"{"statement":"x","signature":"y","more":1}"#]
    {
        ca.post_bytes("/v1/emergencies", body.into()).await.problem(400, "body.unreadable");
    }
    let huge = vec![b' '; fireaxe_protocol::limits::BODY + 1];
    ca.post_bytes("/v1/emergencies", huge).await.problem(413, "body.too_large");
    assert_eq!(ca.size(), before);
}

#[tokio::test]
async fn a_signature_for_another_kind_does_not_count() {
    let ca = Installed::new();
    let words = Statement::Declare(ca.declare(DB)).write();
    let envelope = sign_ed25519(&key(ANA), Kind::Close, &words);
    ca.send(&envelope).await.problem(400, "signature.namespace");
}

#[tokio::test]
async fn altered_bytes_do_not_count() {
    let ca = Installed::new();
    let good = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let statement = tampered(&good.statement, "\"severity\":2", "\"severity\":1");
    let told = ca.send(&Envelope { statement, signature: good.signature }).await;
    told.problem(400, "signature.mismatch");
}

#[tokio::test]
async fn another_persons_signature_does_not_count() {
    let ca = Installed::new();
    let words = ca.declare(DB);
    let mine = signed(ANA, &Statement::Declare(words.clone()));
    let mut theirs = signed(BEN, &Statement::Declare(words));
    // Ben's statement with the armor of ana's signature over other words.
    theirs.statement = tampered(&theirs.statement, "refuses writes", "refuses  writes");
    theirs.signature = mine.signature;
    ca.send(&theirs).await.problem(400, "signature.mismatch");
}

#[tokio::test]
async fn the_same_statement_gets_the_same_answer_and_the_same_bytes() {
    let ca = Installed::new();
    let envelope = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let first: Opened = ca.send(&envelope).await.json();
    let size = ca.size();
    let told = ca.send(&envelope).await;
    assert_eq!(told.status, 200);
    assert_eq!(told.json::<Opened>(), first);
    assert_eq!(ca.size(), size, "a retry appends nothing");
    let ca = ca.restart();
    let told = ca.send(&envelope).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.json::<Opened>(), first, "also after a restart");
}

#[tokio::test]
async fn many_copies_at_once_make_one_emergency() {
    let ca = Installed::new();
    let envelope = signed(ANA, &Statement::Declare(ca.declare(DB)));
    let before = ca.size();
    let (a, b, c) = tokio::join!(ca.send(&envelope), ca.send(&envelope), ca.send(&envelope));
    let all: Vec<Opened> = [a, b, c].iter().map(installed::Told::json).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(ca.size(), before + 2, "one declaration, one certificate");
}

#[tokio::test]
async fn a_nonce_with_other_bytes_is_an_error() {
    let ca = Installed::new();
    let words = ca.declare(DB);
    ca.open_emergency(ANA, &words).await;
    let mut other = words;
    other.reason = "something else".parse().unwrap();
    ca.send(&signed(ANA, &Statement::Declare(other))).await.problem(409, "statement.nonce_reused");
}

#[tokio::test]
async fn a_statement_counts_within_five_minutes_and_not_a_second_longer() {
    let ca = Installed::new();
    for (offset, code) in
        [(-301i64, Some("statement.stale")), (-300, None), (300, None), (301, Some("statement.future"))]
    {
        let mut words = ca.declare(DB);
        words.header.at = ca.clock.wall().saturating_add_signed(offset);
        let told = ca.send(&signed(ANA, &Statement::Declare(words))).await;
        match code {
            Some(code) => drop(told.problem(400, code)),
            None => assert_eq!(told.status, 201, "{offset}: {}", told.text()),
        }
    }
}

#[tokio::test]
async fn a_statement_for_another_log_is_refused() {
    let ca = Installed::new();
    let mut words = ca.declare(DB);
    words.header.to = "test/0000000000000000".parse().unwrap();
    ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(400, "statement.other_log");
}

#[tokio::test]
async fn a_statement_of_another_kind_is_refused() {
    let ca = Installed::new();
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    ca.send(&ca.closing(ANA, &opened)).await.problem(400, "statement.kind");
}

#[tokio::test]
async fn an_unknown_host_gets_the_names_near_it() {
    let ca = Installed::new();
    let told = ca.send(&signed(ANA, &Statement::Declare(ca.declare("db-3.payment.prod")))).await;
    let problem = told.problem(404, "target.unknown");
    assert!(problem.title.contains("payments"), "{problem:?}");
    let told = ca.send(&signed(ANA, &Statement::Declare(ca.declare("payment-db")))).await;
    let problem = told.problem(404, "target.unknown");
    assert!(problem.title.contains("payments-db"), "{problem:?}");
}

#[tokio::test]
async fn hostile_values_are_refused_before_anything_is_made_of_them() {
    let ca = Installed::new();
    let before = ca.size();
    let good = Statement::Declare(ca.declare(DB)).write();
    let escaped = |text: &str| serde_json::to_string(text).unwrap();
    let mut bad: Vec<String> = [
        "a,b",
        "a\nb",
        "a\0b",
        "a\u{1b}[2J",
        "db-*.payments.prod",
        "d?",
        "!db",
        "dä",
        "",
        " ",
        "DB",
        "~",
        "../x",
        "$(id)",
    ]
    .iter()
    .map(|name| tampered(&good, &escaped(DB), &escaped(name)))
    .collect();
    for reason in ["", "   ", "a\nb", "\u{1b}]52;c;x\u{7}", "\u{202e}gnp", &"x".repeat(501)] {
        bad.push(tampered(&good, "\"primary refuses writes\"", &escaped(reason)));
    }
    bad.push(tampered(&good, "\"severity\":2", "\"severity\":0"));
    bad.push(tampered(&good, "\"severity\":2", "\"severity\":5"));
    bad.push(tampered(&good, "\"severity\":2", "\"severity\":\"2\""));
    bad.push(tampered(&good, "\"v\":1", "\"v\":2"));
    bad.push(tampered(&good, "\"v\":1", "\"v\":1,\"v\":1"));
    bad.push(tampered(&good, "\"v\":1", "\"v\":1,\"admin\":true"));
    for key in [
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7",
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA==",
        "ssh-ed25519 AAAA",
        "",
    ] {
        let start = good.find("ssh-ed25519 ").unwrap();
        let end = start + good[start..].find('"').unwrap();
        bad.push(format!("{}{key}{}", &good[..start], &good[end..]));
    }
    for statement in bad {
        let told = ca.send(&sign_ed25519(&key(ANA), Kind::Declare, &statement)).await;
        let problem = told.problem(400, "statement.unreadable");
        let text = told.text();
        assert!(!text.contains('\u{1b}') && !text.contains("\\u001b"), "never echoed raw: {text}");
        assert!(problem.title.len() < 600, "{}", problem.title);
    }
    assert_eq!(ca.size(), before);
}

#[tokio::test]
async fn a_field_of_64_kib_is_refused() {
    let ca = Installed::new();
    let mut envelope = signed(ANA, &Statement::Declare(ca.declare(DB)));
    envelope.statement = tampered(&envelope.statement, "primary", &"p".repeat(40 * 1024));
    ca.send(&envelope).await.problem(400, "statement.unreadable");
    envelope.statement = "x".repeat(64 * 1024);
    ca.send(&envelope).await.problem(413, "body.too_large");
}

#[tokio::test]
async fn the_key_to_certify_must_be_fresh() {
    let ca = Installed::new();
    let mut words = ca.declare(DB);
    words.public_key = fireaxe_protocol::keys::Ed25519Key(key(BEN).verifying_key().to_bytes());
    ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(400, "public_key.not_fresh");
    let first = ca.declare(DB);
    ca.open_emergency(ANA, &first).await;
    let mut again = ca.declare(DB);
    again.public_key = first.public_key;
    ca.send(&signed(ANA, &Statement::Declare(again))).await.problem(400, "public_key.not_fresh");
}

#[tokio::test]
async fn a_severity_worse_than_the_incidents_is_refused_with_the_request_that_would_succeed() {
    let ca = Installed::new();
    ca.incident("pd:PGR0VU2", 2, "open", "payments-db").await;
    let mut words = ca.declare(DB);
    words.severity = Some(1.try_into().unwrap());
    words.incident = Some("pd:PGR0VU2".parse().unwrap());
    let before = ca.size();
    let envelope = signed(ANA, &Statement::Declare(words));
    let told = ca.send(&envelope).await;
    let problem = told.problem(403, "policy.denied");
    let above = |r: &fireaxe_protocol::reason::Reason| r.code == "severity.above_incident" && r.at.is_some();
    assert!(problem.reasons.iter().any(above), "{problem:?}");
    assert!(problem.next.as_ref().is_some_and(|next| next.contains("--severity 2")), "{problem:?}");
    assert_eq!(ca.size(), before + 1, "a known person's refusal is an entry");
    assert_eq!(problem.index, Some(before));
    let again = ca.send(&envelope).await.problem(403, "policy.denied");
    assert_eq!(again, problem, "the same statement gets the same refusal");
    assert_eq!(ca.size(), before + 1);
}

#[tokio::test]
async fn a_tier_that_wants_a_touch_is_refused_to_a_software_key_with_what_would_be_given() {
    let ca = Installed::new();
    ca.incident("pd:PGR0VU2", 1, "open", "payments-db").await;
    let mut words = ca.declare("payments-db");
    words.severity = None;
    words.incident = Some("pd:PGR0VU2".parse().unwrap());
    let problem = ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(403, "policy.denied");
    assert!(problem.reasons.iter().any(|r| r.code == "presence.insufficient"), "{problem:?}");
    assert!(problem.next.is_some_and(|next| next.contains("fix")));
}

#[tokio::test]
async fn only_the_owner_or_an_incident_commander_closes() {
    let ca = Installed::new();
    let opened = ca.open_emergency(ANA, &ca.declare(DB)).await;
    ca.close_emergency(CLEO, &opened).await.problem(403, "emergency.not_yours");
    let mut other = opened.clone();
    other.declaration = fireaxe_protocol::log::Hash([0; 32]);
    ca.close_emergency(ANA, &other).await.problem(409, "emergency.other_declaration");
    let mut unknown = opened.clone();
    unknown.emergency = EmergencyId(999);
    ca.close_emergency(ANA, &unknown).await.problem(404, "emergency.unknown");
    assert_eq!(ca.close_emergency(BEN, &opened).await.status, 200, "ben holds incident_commander");
    ca.close_emergency(ANA, &opened).await.problem(409, "emergency.closed");
}

#[tokio::test]
async fn reads_need_a_proof_that_fits() {
    let ca = Installed::new();
    let first = ca.declare(DB);
    let opened = ca.open_emergency(ANA, &first).await;
    let other = ca.open_emergency(BEN, &ca.declare("web-1.shop.prod")).await;
    ca.get("/v1/emergencies", None).await.problem(401, "reader.missing");
    ca.get("/v1/emergencies", Some("Bearer x")).await.problem(401, "reader.unreadable");
    let session = ca.login(CLEO).await;
    let proof = ca.proof(&session, "GET", "/v1/certificates");
    ca.get("/v1/emergencies", Some(&proof)).await.problem(401, "reader.unknown");
    let proof = ca.proof(&key(STRANGER), "GET", "/v1/emergencies");
    ca.get("/v1/emergencies", Some(&proof)).await.problem(401, "reader.unknown");
    let proof = ca.proof(&session, "GET", "/v1/emergencies");
    ca.clock.pass(301);
    ca.get("/v1/emergencies", Some(&proof)).await.problem(401, "reader.stale");
    let proof = ca.proof(&session, "GET", "/v1/emergencies");
    let list: fireaxe_protocol::api::Emergencies = ca.get("/v1/emergencies", Some(&proof)).await.json();
    assert_eq!(list.emergencies.len(), 2);

    // The emergency's fresh key reads that emergency, and no other.
    let seed_of_first = {
        let mut seed = [7u8; 32];
        seed[..8].copy_from_slice(&1u64.to_be_bytes());
        ed25519_dalek::SigningKey::from_bytes(&seed)
    };
    assert_eq!(first.public_key.0, seed_of_first.verifying_key().to_bytes());
    let path = format!("/v1/emergencies/{}", opened.emergency);
    let told = ca.get(&path, Some(&ca.proof(&seed_of_first, "GET", &path))).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let path = format!("/v1/emergencies/{}", other.emergency);
    ca.get(&path, Some(&ca.proof(&seed_of_first, "GET", &path))).await.problem(403, "reader.other_emergency");
}

#[tokio::test]
async fn entries_are_for_auditors() {
    let ca = Installed::new();
    let path = "/log/tile/entries/000.p/4";
    ca.get(path, None).await.problem(401, "reader.missing");
    let ana = ca.login(ANA).await;
    ca.get(path, Some(&ca.proof(&ana, "GET", path))).await.problem(403, "role.auditor");
    let cleo = ca.login(CLEO).await;
    assert_eq!(ca.get(path, Some(&ca.proof(&cleo, "GET", path))).await.status, 200);
    assert_eq!(ca.get("/log/tile/0/000.p/4", None).await.status, 200, "hashes are for everyone");
    ca.get("/log/tile/0/000.p/200", None).await.problem(404, "tile.unknown");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_served_say_so() {
    let ca = Installed::new();
    ca.get("/v1/nothing", None).await.problem(404, "route.unknown");
    ca.get("/v1/sessions", None).await.problem(405, "method.unknown");
    ca.get("/v1/emergencies/EM-0", None).await.problem(400, "emergency.name");
}

#[tokio::test]
async fn an_incident_of_an_unknown_system_is_refused() {
    let ca = Installed::new();
    ca.incident("pd:X", 1, "open", "payments").await.problem(404, "system.unknown");
}

#[tokio::test]
async fn signatures_that_cannot_count_are_told_apart() {
    let ca = Installed::new();
    let before = ca.size();
    let mut envelope = signed(ANA, &Statement::Declare(ca.declare(DB)));
    for armor in
        ["", "x", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n", &"x".repeat(5000)]
    {
        envelope.signature = armor.to_owned();
        ca.send(&envelope).await.problem(400, "signature.unreadable");
    }
    // Key types that sign no statements, as ssh-keygen makes them.
    for (kind, bits) in [("ecdsa", "256"), ("rsa", "1024"), ("rsa", "3072")] {
        let place = tempfile::tempdir().unwrap();
        let (key, words) = (place.path().join("key"), place.path().join("words"));
        let run = |args: &[&str]| {
            let ran = std::process::Command::new("ssh-keygen").args(args).output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        };
        run(&["-q", "-t", kind, "-b", bits, "-N", "", "-f", key.to_str().unwrap()]);
        std::fs::write(&words, &envelope.statement).unwrap();
        let (key, words) = (key.to_str().unwrap(), words.to_str().unwrap());
        run(&["-q", "-Y", "sign", "-n", "declare.v1@fireaxe", "-f", key, words]);
        envelope.signature = std::fs::read_to_string(format!("{words}.sig")).unwrap();
        ca.send(&envelope).await.problem(400, "signature.algorithm");
    }
    assert_eq!(ca.size(), before);
}

#[tokio::test]
async fn a_key_to_certify_that_proves_nothing_or_is_the_cas_own_is_refused() {
    let ca = Installed::new();
    let before = ca.size();
    let mut identity = [0u8; 32];
    identity[0] = 1;
    let mut words = ca.declare(DB);
    words.public_key = fireaxe_protocol::keys::Ed25519Key(identity);
    ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(400, "statement.unreadable");
    let keys = ca.road.published().keys().clone();
    for own in [keys.user_ca, keys.log, keys.krl] {
        let mut words = ca.declare(DB);
        words.public_key = own;
        ca.send(&signed(ANA, &Statement::Declare(words))).await.problem(400, "public_key.not_fresh");
    }
    assert_eq!(ca.size(), before);
}

#[tokio::test]
async fn nobody_puts_another_persons_key_under_their_own_name() {
    let ca = Installed::new();
    let bens = ca.login(BEN).await;
    let login = |by: u8, session: &ed25519_dalek::SigningKey| {
        let words = fireaxe_protocol::statement::Login {
            header: ca.header(Kind::Login),
            session_key: fireaxe_protocol::keys::Ed25519Key(session.verifying_key().to_bytes()),
            for_s: 3600,
        };
        signed(by, &Statement::Login(words))
    };
    for session in [&bens, &key(BEN), &key(ANA)] {
        ca.post("/v1/sessions", &login(ANA, session)).await.problem(400, "session_key.not_fresh");
    }
    assert_eq!(ca.post("/v1/sessions", &login(BEN, &bens)).await.status, 200, "one's own again is fine");
}

#[tokio::test]
async fn an_incident_names_a_system_and_its_reporter_is_who_the_socket_says() {
    let ca = Installed::new();
    let before = ca.size();
    let path = "/operator/incidents";
    let report = |systems: &[&str]| serde_json::json!({"incident": "pd:X", "state": "open", "severity": 1, "systems": systems});
    ca.operator("POST", path, report(&[])).await.problem(400, "incident.no_system");
    let mut claimed = report(&["build"]);
    claimed["by"] = "somebody else".into();
    ca.operator("POST", path, claimed).await.problem(400, "body.unreadable");
    assert_eq!(ca.size(), before);
    assert_eq!(ca.operator("POST", path, report(&["build"])).await.status, 200);
    let Event::IncidentUpdated(update) = ca.reader().entry(before).unwrap().event else {
        panic!("not an incident")
    };
    assert_eq!(update.by, "operator uid 0");
}

#[tokio::test]
async fn what_a_body_says_is_never_echoed_raw() {
    let ca = Installed::new();
    let body = "{\"statement\":\"x\",\"signature\":\"y\",\"\\u001b]52;c;x\\u0007\":1}";
    let problem = ca.post_bytes("/v1/emergencies", body.into()).await.problem(400, "body.unreadable");
    assert!(!problem.title.contains('\u{1b}'), "{:?}", problem.title);
    let told = ca.post_bytes("/v1/emergencies/%ff/closure", b"{}".to_vec()).await;
    told.problem(400, "emergency.name");
    ca.get("/log/tile/%ff", None).await.problem(404, "tile.unknown");
}

#[tokio::test]
async fn a_system_opened_whole_counts_as_another_host() {
    let ca = Installed::new();
    ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let told = ca.open_emergency(ANA, &ca.declare(DB)).await;
    assert_eq!(told.decision.band, "high", "one host is not alone while its whole system is open");
    let told = ca.open_emergency(BEN, &ca.declare(DB)).await;
    assert_eq!(told.decision.band, "medium", "by somebody else, for nothing in common");
}
