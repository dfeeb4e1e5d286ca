//! Another bundle: signed by the quorum that the one before names, once, and what it does to what is open.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use fireaxe_ca::door::ActivatedAnswer;
use fireaxe_protocol::api::{PolicySurface, Settled};
use fireaxe_protocol::log::{Entry, Event, Hash};
use fireaxe_protocol::policy::Bundle;
use fireaxe_protocol::statement::{BundleChange, Envelope, Kind, Statement};
use installed::people::{ANA_ADMIN, ANA_SPARE, DAN, EVE, POLICY, roster, roster_of};
use installed::{ANA, BEN, CLEO, Installed, Told, signed};

fn begin() -> Installed {
    Installed::with(POLICY, &roster())
}

/// The same people without one of them.
fn without(gone: &str) -> String {
    let mut people: Vec<(&str, &[&str], &[u8], &str)> = vec![
        ("ana", &["payments", "payments-oncall", "sre"], &[ANA, ANA_SPARE], ""),
        ("eve", &["payments-oncall", "sre"], &[EVE], ""),
        ("ben", &["sre", "sre-leads"], &[BEN], ""),
        ("cleo", &["security"], &[CLEO], ""),
        ("dan", &["sre-leads", "security"], &[DAN], ""),
        ("ana-admin", &["sre-leads"], &[ANA_ADMIN], "same_as = \"ana\"\n"),
        ("fay", &["payments-oncall", "payments", "sre", "sre-leads", "security"], &[42], ""),
    ];
    people.retain(|(name, ..)| *name != gone && !(gone == "ana" && *name == "ana-admin"));
    roster_of(&people)
}

/// Leaf of the newest activation.
fn activation(ca: &Installed) -> Hash {
    let entries = (0..ca.size()).map(|i| ca.reader().entry_bytes(i).unwrap());
    let newest =
        entries.filter(|bytes| matches!(Entry::decode(bytes).unwrap().event, Event::BundleActivated { .. }));
    fireaxe_protocol::log::tree::leaf_hash(&newest.last().unwrap())
}

fn change(ca: &Installed, by: u8, bundle: Hash) -> Envelope {
    let header = ca.header(Kind::Bundle);
    signed(by, &Statement::Bundle(BundleChange { header, of: activation(ca), bundle }))
}

async fn send(ca: &Installed, policy: &str, roster: &str, signed: Vec<Envelope>) -> Told {
    let body = serde_json::json!({ "policy": policy, "roster": roster, "signed": signed });
    ca.operator("POST", "/operator/bundle", body).await
}

async fn activate(ca: &Installed, by: &[u8], policy: &str, roster: &str) -> Told {
    let hash = Bundle::parse(policy, roster).unwrap().hash;
    let signed = by.iter().map(|by| change(ca, *by, hash)).collect();
    send(ca, policy, roster, signed).await
}

fn longer() -> String {
    POLICY.replace("ttl = \"45m\"", "ttl = \"40m\"")
}

#[tokio::test]
async fn a_quorum_of_the_bundle_in_force_puts_another_in_force_at_once() {
    let ca = begin();
    let done: ActivatedAnswer = activate(&ca, &[CLEO, DAN], &longer(), &roster()).await.json();
    let mut words = ca.declare("db-3.payments.prod");
    ca.incident("pd:A", 1, "open", "payments-db").await;
    words.severity = None;
    words.incident = Some("pd:A".parse().unwrap());
    let opened = ca.open_emergency(ANA, &words).await;
    assert_eq!(opened.terms.unwrap().lifetime_s, 2400);
    assert_eq!(ca.road.published().gate().bundle.hash, done.bundle);
    let ca = ca.restart();
    assert_eq!(ca.road.published().gate().bundle.hash, done.bundle, "and after a restart");
    ca.verifies();
}

#[tokio::test]
async fn nothing_less_than_the_quorum_counts_and_every_reason_is_told() {
    let ca = begin();
    let (policy, roster) = (longer(), roster());
    activate(&ca, &[CLEO], &policy, &roster).await.problem(409, "bundle.quorum");
    activate(&ca, &[CLEO, CLEO], &policy, &roster).await.problem(409, "bundle.quorum");
    activate(&ca, &[CLEO, BEN], &policy, &roster).await.problem(409, "bundle.not_admin");
    let told = activate(&ca, &[ANA, BEN], &policy, &roster).await.problem(409, "bundle.not_admin");
    assert_eq!(told.reasons.len(), 3, "{told:?}");
    activate(&ca, &[installed::STRANGER, CLEO], &policy, &roster).await.problem(401, "key.unknown");
    activate(&ca, &[CLEO, DAN], POLICY, &roster).await.problem(409, "bundle.same");
    // Signed for other bytes than those sent.
    let other = Bundle::parse(&policy, &without("eve")).unwrap().hash;
    let signed = vec![change(&ca, CLEO, other), change(&ca, DAN, other)];
    send(&ca, &policy, &roster, signed).await.problem(409, "bundle.other_hash");
    let broken = policy
        .replace("\"deny\", \"look\", \"fix\", \"guarded\"", "\"deny\", \"fix\", \"look\", \"guarded\"");
    let told = activate(&ca, &[CLEO, DAN], &broken, &roster).await.problem(409, "bundle.unsound");
    assert!(told.reasons[0].sentence.contains("policy.toml:"), "says which line: {told:?}");
    ca.verifies();
}

#[tokio::test]
async fn a_signed_change_counts_once_and_for_the_activation_it_names() {
    let ca = begin();
    let hash = Bundle::parse(&longer(), &roster()).unwrap().hash;
    let old = vec![change(&ca, CLEO, hash), change(&ca, DAN, hash)];
    assert_eq!(send(&ca, &longer(), &roster(), old.clone()).await.status, 200);
    assert_eq!(activate(&ca, &[CLEO, DAN], POLICY, &roster()).await.status, 200, "back again, anew");
    send(&ca, &longer(), &roster(), old).await.problem(409, "bundle.other_activation");
    let ca = begin();
    let late = vec![change(&ca, CLEO, hash), change(&ca, DAN, hash)];
    ca.clock.pass(7 * 86_400 + 1);
    send(&ca, &longer(), &roster(), late).await.problem(409, "statement.stale");
}

#[tokio::test]
async fn nobody_changes_the_policy_to_their_own_gain_alone() {
    let ca = begin();
    // Cleo and dan give security the on-call group of the payments database.
    let theirs = roster().replace("groups = [\"security\"]", "groups = [\"security\", \"payments-oncall\"]");
    let theirs =
        theirs.replace("[\"sre-leads\", \"security\"]", "[\"sre-leads\", \"security\", \"payments-oncall\"]");
    let told = activate(&ca, &[CLEO, DAN], POLICY, &theirs).await.problem(409, "bundle.beneficiaries_alone");
    assert!(told.reasons[0].sentence.contains("cleo:"), "{told:?}");
    // One of them gaining is seen by the other.
    let hers = roster().replace("groups = [\"security\"]", "groups = [\"security\", \"payments-oncall\"]");
    assert_eq!(activate(&ca, &[CLEO, DAN], POLICY, &hers).await.status, 200);
    ca.verifies();
}

#[tokio::test]
async fn who_is_removed_loses_what_they_hold_and_what_they_approved() {
    let ca = begin();
    // Ben approves one half of what waits; then he is gone, and the other half alone is not enough.
    let (opened, fresh) = ca.waits("vault").await;
    let id = opened.emergency;
    let (_, before) = ca.card(BEN, id).await;
    ca.approved(BEN, id).await;
    let done: ActivatedAnswer = activate(&ca, &[CLEO, DAN], POLICY, &without("ben")).await.json();
    assert_eq!((done.closed.as_slice(), done.decided_again.as_slice()), (&[][..], &[id][..]));
    let late = ca.approval(before, id);
    let told = ca.say(CLEO, id, Statement::Approve(late)).await.problem(409, "request.changed");
    assert!(told.changed[0].contains("the policy"), "{told:?}");
    let (_, now) = ca.card(CLEO, id).await;
    let words = Statement::Approve(ca.approval(now, id));
    assert_eq!(ca.say(CLEO, id, words).await.json::<fireaxe_protocol::api::Approved>().missing.len(), 1);
    assert!(ca.grant(&fresh, id).await.waiting.is_some());
    let words = Statement::Approve(ca.approval(now, id));
    assert_eq!(ca.say(DAN, id, words).await.status, 200);
    assert_eq!(ca.grant(&fresh, id).await.settled, Some(Settled::Given));

    // Ana is gone: hers is closed and revoked in the same commit.
    let done: ActivatedAnswer = activate(&ca, &[CLEO, DAN], POLICY, &without("ana")).await.json();
    assert_eq!(done.closed, [id]);
    let list = fireaxe_protocol::krl::RevocationList::read(&ca.get("/v1/krl", None).await.bytes).unwrap();
    let user_ca = ca.road.published().keys().user_ca;
    let revoked = (0..ca.size()).filter(|serial| *serial > 0 && list.is_revoked(&user_ca, *serial)).count();
    assert_eq!(revoked, 2, "the meanwhile and the full tier");
    ca.send(&signed(ANA, &Statement::Declare(ca.declare("payments-db")))).await.problem(401, "key.unknown");
    ca.verifies();
}

#[tokio::test]
async fn a_candidate_decides_beside_and_gives_nothing() {
    let ca = begin();
    let candidate = POLICY.replace("fix\", \"guarded\"]", "fix\", \"fix\"]").replace(
        "top = [\"deny\", \"deny\", \"look\", \"sealed\"]",
        "top = [\"deny\", \"deny\", \"look\", \"guarded\"]",
    );
    let body = serde_json::json!({ "files": [candidate, roster()] });
    let told = ca.operator("POST", "/operator/shadow", body).await;
    // A tier that nothing reaches any more makes it unsound: told, not taken.
    assert_eq!(told.status, 409, "{}", told.text());
    // Still not shorter than sealed in the row where more is at stake.
    let shorter = POLICY.replace("ttl = \"20m\"", "ttl = \"16m\"");
    let body = serde_json::json!({ "files": [shorter, roster()] });
    let told = ca.operator("POST", "/operator/shadow", body).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let (opened, _) = ca.waits("payments-db").await;
    assert!(opened.decision.terms_waiting().unwrap().lifetime_s == 1200, "the one in force decides");
    let metrics = ca.operator("GET", "/metrics", serde_json::Value::Null).await.text();
    assert!(metrics.contains("fireaxe_shadow_decisions{outcome=\"tighter\"} 1"), "{metrics}");
    let off = ca.operator("POST", "/operator/shadow", serde_json::json!({ "files": null })).await;
    assert_eq!(off.status, 200);
    ca.waits("payments-db").await;
    let metrics = ca.operator("GET", "/metrics", serde_json::Value::Null).await.text();
    assert!(metrics.contains("fireaxe_shadow_decisions{outcome=\"tighter\"} 1"), "{metrics}");
}

#[tokio::test]
async fn who_may_read_is_told_the_actions_of_the_bundle_in_force() {
    let ca = begin();
    let session = ca.login(ANA).await;
    let surface = async || -> PolicySurface {
        ca.get("/v1/policy", Some(&ca.proof(&session, "GET", "/v1/policy"))).await.json()
    };
    assert_eq!(surface().await.actions, []);
    let action = "\n[action.restart]\nsystems = [\"payments-db\"]\naccount = \"ops\"\npower = 2\n\
                  force_command = [\"/bin/restart\", \"db@{shard}\"]\nparams = { shard = \"[0-9]{1,3}\" }\n";
    let policy = format!("{POLICY}{action}");
    assert_eq!(activate(&ca, &[CLEO, DAN], &policy, &roster()).await.status, 200);
    let actions = surface().await.actions;
    assert_eq!(actions.len(), 1);
    let told = &actions[0];
    assert_eq!(
        (told.action.as_str(), told.systems.as_slice()),
        ("restart", &["payments-db".parse().unwrap()][..])
    );
    assert_eq!(told.command, ["/bin/restart", "db@{shard}"]);
    assert_eq!(told.params.iter().collect::<Vec<_>>(), [(&"shard".to_owned(), &"[0-9]{1,3}".to_owned())]);
}

/// A security key of this seed: its line in a roster, and what it signs with this counter.
fn security_key(seed: u8) -> String {
    use base64::Engine;
    let line = base64::engine::general_purpose::STANDARD.encode(security_key_blob(seed));
    format!("sk-ssh-ed25519@openssh.com {line}")
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
    out.extend_from_slice(part);
}

fn security_key_blob(seed: u8) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, b"sk-ssh-ed25519@openssh.com");
    put(&mut blob, &installed::key(seed).verifying_key().to_bytes());
    put(&mut blob, b"ssh:");
    blob
}

/// PROTOCOL.u2f and PROTOCOL.sshsig, by hand: a touched key with a counter.
fn touched(seed: u8, counter: u32, words: &Statement) -> Envelope {
    use base64::Engine;
    use ed25519_dalek::Signer;
    let (statement, namespace) = (words.write(), words.header().kind.namespace());
    let mut message = b"SSHSIG".to_vec();
    for part in [namespace.as_bytes(), b"", b"sha256", &Hash::of(statement.as_bytes()).0] {
        put(&mut message, part);
    }
    let mut signed = Hash::of(b"ssh:").0.to_vec();
    signed.push(1);
    signed.extend_from_slice(&counter.to_be_bytes());
    signed.extend_from_slice(&Hash::of(&message).0);
    let mut signature = Vec::new();
    put(&mut signature, b"sk-ssh-ed25519@openssh.com");
    put(&mut signature, &installed::key(seed).sign(&signed).to_bytes());
    signature.push(1);
    signature.extend_from_slice(&counter.to_be_bytes());
    let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [&security_key_blob(seed)[..], namespace.as_bytes(), b"", b"sha256", &signature] {
        put(&mut blob, part);
    }
    let text = base64::engine::general_purpose::STANDARD.encode(blob);
    let lines: Vec<&str> =
        text.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let signature =
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
    Envelope { statement, signature }
}

#[tokio::test]
async fn a_change_signed_before_other_things_were_counts_and_the_counter_does_not_go_back() {
    let plain = format!("{} cleo-{CLEO}", fireaxe_protocol::keys::Ed25519Key::from(&installed::key(CLEO)));
    let theirs = roster().replace(&plain, &security_key(CLEO));
    assert_ne!(theirs, roster());
    let ca = Installed::with(POLICY, &theirs);
    let bundle = Bundle::parse(&longer(), &theirs).unwrap().hash;
    let words = BundleChange { header: ca.header(Kind::Bundle), of: activation(&ca), bundle };
    let monday = touched(CLEO, 5, &Statement::Bundle(words));
    let says = async |counter| {
        let words = ca.declare("db-3.payments.prod");
        ca.send(&touched(CLEO, counter, &Statement::Declare(words))).await
    };
    assert!(says(9).await.status < 300);
    let dans = change(&ca, DAN, bundle);
    let told = send(&ca, &longer(), &theirs, vec![monday, dans]).await;
    assert_eq!(told.status, 200, "{}", told.text());
    says(7).await.problem(403, "key.counter_back");
    assert!(says(10).await.status < 300);
    ca.verifies();
}

#[tokio::test]
async fn what_was_asked_within_the_limits_is_not_refused_when_it_is_decided_anew() {
    let limits = |policy: &str| policy.replace("[limits]\n", "[limits]\ndeclarations = 1\nasks = 1\n");
    // What a bare claim opens at severity 2 waits, and is counted.
    let row = |row: &str| format!("high = [\"deny\", {row}]");
    let policy =
        POLICY.replace(&row("\"look\", \"fix\", \"guarded\""), &row("\"fix\", \"guarded\", \"guarded\""));
    let ca = Installed::with(&limits(&policy), &roster());
    let mut words = ca.declare("payments-db");
    words.severity = Some(2.try_into().unwrap());
    let opened = installed::people::opened(&ca, ANA, &words).await;
    assert!(opened.decision.terms_waiting().is_some(), "{:?}", opened.decision);
    let next = limits(&policy).replace("ttl = \"45m\"", "ttl = \"40m\"");
    let done: ActivatedAnswer = activate(&ca, &[CLEO, DAN], &next, &roster()).await.json();
    assert_eq!(done.decided_again, [opened.emergency]);
    let (card, _) = ca.card(BEN, opened.emergency).await;
    assert!(card.entry.contains("emergency.redecided"), "{}", card.entry);
    // The next one is over the limit.
    let told = ca.send(&signed(ANA, &Statement::Declare(ca.declare("payments-db")))).await;
    told.problem(403, "policy.denied");
    ca.verifies();
}
