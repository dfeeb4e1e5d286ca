//! Another bundle renames people, removes who signed, or no longer has what is asked for: what they took part
//! in goes on, and nobody comes back to it as somebody else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_ca::door::ActivatedAnswer;
use fireaxe_protocol::api::{Opened, Requests};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Entry, Event, Hash};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Bundle, Outcome};
use fireaxe_protocol::statement::{BundleChange, Declare, Envelope, Kind, Second, Statement};
use installed::people::{ANA_ADMIN, ANA_SPARE, DAN, EVE, POLICY, opened, roster, roster_of};
use installed::{ANA, BEN, CLEO, Installed, Told, key, signed};
use ssh_key::sha2::{Digest, Sha256, Sha512};

type Row = (&'static str, &'static [&'static str], &'static [u8], &'static str);

const EVERYBODY: [Row; 7] = [
    ("ana", &["payments", "payments-oncall", "sre"], &[ANA, ANA_SPARE], ""),
    ("eve", &["payments-oncall", "sre"], &[EVE], ""),
    ("ben", &["sre", "sre-leads"], &[BEN], ""),
    ("cleo", &["security"], &[CLEO], ""),
    ("dan", &["sre-leads", "security"], &[DAN], ""),
    ("ana-admin", &["sre-leads"], &[ANA_ADMIN], "same_as = \"ana\"\n"),
    ("fay", &["payments-oncall"], &[42], ""),
];

/// The same people, but for these; further ones at the end.
fn with(changed: &[Row]) -> String {
    let others = EVERYBODY.iter().filter(|(name, ..)| changed.iter().all(|(other, ..)| name != other));
    roster_of(&others.chain(changed).copied().collect::<Vec<_>>())
}

fn without(name: &str) -> String {
    roster_of(&EVERYBODY.into_iter().filter(|(other, ..)| *other != name).collect::<Vec<_>>())
}

/// Ana's own name becomes a lead's, of whom both her names are others from then on.
fn renamed() -> String {
    with(&[
        ("ana", &["payments", "payments-oncall", "sre"], &[ANA, ANA_SPARE], "same_as = \"ana-kim\"\n"),
        ("ana-admin", &["sre-leads"], &[ANA_ADMIN], "same_as = \"ana-kim\"\n"),
        ("ana-kim", &["sre-leads"], &[KIM], ""),
    ])
}

/// Nobody is anybody else any more.
fn parted() -> String {
    with(&[("ana-admin", &["sre-leads"], &[ANA_ADMIN], "")])
}

const KIM: u8 = 43;

fn begin() -> Installed {
    Installed::with(POLICY, &roster())
}

async fn activate(ca: &Installed, policy: &str, roster: &str) -> ActivatedAnswer {
    let bundle = Bundle::parse(policy, roster).unwrap().hash;
    let newest = (0..ca.size())
        .map(|i| ca.reader().entry_bytes(i).unwrap())
        .rfind(|bytes| matches!(Entry::decode(bytes).unwrap().event, Event::BundleActivated { .. }));
    let of = fireaxe_protocol::log::tree::leaf_hash(&newest.unwrap());
    let change = |by: u8| {
        let header = ca.header(Kind::Bundle);
        signed(by, &Statement::Bundle(BundleChange { header, of, bundle }))
    };
    let body =
        serde_json::json!({ "policy": policy, "roster": roster, "signed": [change(CLEO), change(DAN)] });
    let told = ca.operator("POST", "/operator/bundle", body).await;
    assert_eq!(told.status, 200, "{}", told.text());
    told.json()
}

/// Answers what waits as `by`, as BEN reads it.
async fn approve(ca: &Installed, by: u8, id: EmergencyId) -> Told {
    let (_, of) = ca.card(BEN, id).await;
    ca.say(by, id, Statement::Approve(ca.approval(of, id))).await
}

async fn is_theirs(ca: &Installed, by: u8, id: EmergencyId) -> bool {
    let session = ca.login(by).await;
    let path = "/v1/requests";
    let told: Requests = ca.get(path, Some(&ca.proof(&session, "GET", path))).await.json();
    told.requests.iter().any(|one| one.emergency == id && one.yours)
        || told.reviews.iter().any(|one| one.emergency == id && one.yours)
}

#[tokio::test]
async fn a_new_name_answers_and_reviews_nothing_that_its_bearer_asked_for() {
    let ca = begin();
    let (opened, _) = ca.waits("payments-db").await;
    let id = opened.emergency;
    let done = activate(&ca, POLICY, &renamed()).await;
    assert_eq!((done.closed.as_slice(), done.decided_again.as_slice()), (&[][..], &[id][..]));
    ca.clock.pass(90);
    ca.tick().await;
    for own in [ANA, ANA_SPARE, ANA_ADMIN, KIM] {
        approve(&ca, own, id).await.problem(403, "approval.own");
        ca.refuse(own, id).await.problem(403, "approval.own");
        assert!(!is_theirs(&ca, own, id).await);
    }
    let called = (0..ca.size()).filter_map(|i| match Entry::decode(&ca.reader().entry_bytes(i).unwrap()) {
        Ok(Entry { event: Event::RungCalled { people, .. }, .. }) => Some(people),
        _ => None,
    });
    let called: Vec<String> = called.flatten().map(|name| name.to_string()).collect();
    assert!(called.iter().all(|name| !name.starts_with("ana")), "{called:?}");
    assert!(called.contains(&"ben".to_owned()), "{called:?}");
    // It is hers under the new name: she asks for more time and closes it.
    assert_eq!(ca.extend(KIM, opened.declaration, id).await.status, 200);
    // The name is dropped again, and is still hers as far as this goes.
    activate(&ca, POLICY, &with(&[("ana-kim", &["sre-leads"], &[KIM], "")])).await;
    for own in [ANA, ANA_ADMIN, KIM] {
        approve(&ca, own, id).await.problem(403, "approval.own");
    }
    assert_eq!(approve(&ca, BEN, id).await.status, 200);
    ca.extend(KIM, opened.declaration, id).await.problem(403, "emergency.not_yours");
    assert_eq!(ca.close_emergency(ANA, &opened).await.status, 200);
    for own in [ANA_ADMIN, KIM, BEN] {
        ca.review(own, opened.declaration, id).await.problem(403, "review.took_part");
        assert!(!is_theirs(&ca, own, id).await);
    }
    let ca = ca.restart();
    // Once it is over another bundle changes nothing about that.
    activate(&ca, POLICY, &renamed()).await;
    ca.review(KIM, opened.declaration, id).await.problem(403, "review.took_part");
    assert_eq!(ca.review(CLEO, opened.declaration, id).await.status, 200);
    ca.verifies();
}

#[tokio::test]
async fn names_that_are_parted_stay_one_person_for_what_was_asked_before() {
    for (by, owner, other) in [(ANA_ADMIN, ANA_ADMIN, ANA), (ANA, ANA, ANA_ADMIN)] {
        let ca = begin();
        ca.incident("pd:payments-db", 1, "open", "payments-db").await;
        let mut words = ca.declare("payments-db");
        words.severity = None;
        words.incident = Some("pd:payments-db".parse().unwrap());
        let opened = opened(&ca, by, &words).await;
        let id = opened.emergency;
        activate(&ca, POLICY, &parted()).await;
        for own in [ANA, ANA_ADMIN] {
            approve(&ca, own, id).await.problem(403, "approval.own");
        }
        ca.extend(other, opened.declaration, id).await.problem(403, "emergency.not_yours");
        assert_eq!(ca.extend(owner, opened.declaration, id).await.status, 200);
        assert_eq!(approve(&ca, EVE, id).await.status, 200);
        assert_eq!(ca.close_emergency(owner, &opened).await.status, 200);
        ca.review(ANA_ADMIN, opened.declaration, id).await.problem(403, "review.took_part");
        ca.verifies();
    }
}

#[tokio::test]
async fn a_second_host_under_a_new_name_counts_as_the_whole_system_too() {
    let ca = begin();
    let first = ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    assert_eq!(first.decision.blast, 2, "one host alone");
    activate(&ca, POLICY, &renamed()).await;
    let second = ca.open_emergency(KIM, &ca.declare("db-4.payments.prod")).await;
    assert_eq!(second.decision.blast, 3, "ana has another open");
    assert_eq!(ca.close_emergency(KIM, &first).await.status, 200);
    let third = ca.open_emergency(ANA, &ca.declare("db-4.payments.prod")).await;
    assert_eq!(third.decision.blast, 2, "the first is over");
    ca.verifies();
}

#[tokio::test]
async fn what_a_bundle_no_longer_has_is_refused_to_who_waits_and_blocks_nothing() {
    for (target, gone) in [
        (
            "vault",
            POLICY
                .replace("[system.vault]", "[system.vaults]")
                .replace("owner = \"security\"", "owner = \"sre\""),
        ),
        ("vault-1.prod", POLICY.replace("vault-*.prod", "safe-*.prod")),
    ] {
        let ca = begin();
        ca.incident("pd:V", 1, "open", "vault").await;
        let mut words = ca.declare(target);
        words.severity = None;
        words.incident = Some("pd:V".parse().unwrap());
        let asked = opened(&ca, ANA, &words).await;
        assert!(asked.waiting.is_some());
        let id = asked.emergency;
        let done = activate(&ca, &gone, &roster()).await;
        assert_eq!(done.decided_again, [id]);
        let refused =
            (0..ca.size()).find_map(|i| match Entry::decode(&ca.reader().entry_bytes(i).unwrap()) {
                Ok(Entry { event: Event::EmergencyRedecided { decision, .. }, .. }) => Some(decision.outcome),
                _ => None,
            });
        let Some(Outcome::Refuse { reasons, .. }) = refused else { panic!("{refused:?}") };
        assert!(reasons.iter().any(|reason| reason.code == "target.unknown"), "{reasons:?}");
        approve(&ca, BEN, id).await.problem(409, "request.none");
        ca.extend(ANA, asked.declaration, id).await.problem(403, "policy.denied");
        ca.verifies();
        ca.restart().verifies();
    }
}

/// A claim of severity 1, which somebody else on call must sign.
async fn claimed(ca: &Installed, by: u8) -> (Opened, Declare) {
    let mut words = ca.declare("payments-db");
    words.severity = Some(1.try_into().unwrap());
    let opened = opened(ca, by, &words).await;
    assert_eq!(opened.decision.awaits.as_ref().map(|awaits| awaits.more), Some(1));
    (opened, words)
}

/// The severity that counts in the newest decision about it.
fn severity(ca: &Installed) -> u8 {
    let decided = (0..ca.size()).rev().find_map(|i| {
        let entry = Entry::decode(&ca.reader().entry_bytes(i).unwrap()).unwrap();
        entry.event.decided().map(|decided| decided.decision.severity.unwrap().number())
    });
    decided.unwrap()
}

#[tokio::test]
async fn who_signed_a_claim_and_is_gone_or_off_call_lifts_it_no_more() {
    let rosters = [
        (without("eve"), 2),
        (with(&[("eve", &["sre"], &[EVE], "")]), 2),
        // Another key is not the one that signed.
        (with(&[("eve", &["payments-oncall", "sre"], &[KIM], "")]), 2),
        // She turns out to be ana.
        (with(&[("eve", &["payments-oncall", "sre"], &[EVE], "same_as = \"ana\"\n")]), 2),
        (with(&[("cleo", &["security", "sre"], &[CLEO], "")]), 1),
    ];
    for (roster, counts) in rosters {
        let ca = begin();
        let (opened, _) = claimed(&ca, ANA).await;
        let id = opened.emergency;
        assert_eq!(ca.second(EVE, id).await.status, 200);
        assert_eq!(severity(&ca), 1);
        // It waits, so it is decided anew.
        assert_eq!(activate(&ca, POLICY, &roster).await.decided_again, [id]);
        assert_eq!(severity(&ca), counts, "{roster}");
        assert_eq!(ca.extend(ANA, opened.declaration, id).await.status, 200);
        assert_eq!(severity(&ca), counts, "{roster}");
        ca.verifies();
    }
}

/// The public key of a FIDO key that signs with `seed`, as a roster has it, and as SSH bytes.
fn hardware(seed: u8) -> (String, Vec<u8>) {
    let mut blob = Vec::new();
    put(&mut blob, b"sk-ssh-ed25519@openssh.com");
    put(&mut blob, key(seed).verifying_key().as_bytes());
    put(&mut blob, b"ssh:");
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD.encode(&blob);
    (format!("sk-ssh-ed25519@openssh.com {base64}"), blob)
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    to.extend(bytes);
}

/// Signs as a FIDO key that was touched, or not.
fn by_hardware(seed: u8, words: &Statement, touched: bool) -> Envelope {
    use base64::Engine;
    let (namespace, text) = (words.header().kind.namespace(), words.write());
    let mut message = b"SSHSIG".to_vec();
    for part in [namespace.as_bytes(), b"", b"sha512", &Sha512::digest(&text)] {
        put(&mut message, part);
    }
    let mut authenticator = vec![u8::from(touched)];
    authenticator.extend(7u32.to_be_bytes());
    let data = [&Sha256::digest(b"ssh:")[..], &authenticator, &Sha256::digest(&message)].concat();
    let key: SigningKey = key(seed);
    let mut signature = Vec::new();
    put(&mut signature, b"sk-ssh-ed25519@openssh.com");
    put(&mut signature, &key.sign(&data).to_bytes());
    signature.extend(authenticator);
    let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [&hardware(seed).1[..], namespace.as_bytes(), b"", b"sha512", &signature] {
        put(&mut blob, part);
    }
    let base64 = base64::engine::general_purpose::STANDARD.encode(&blob);
    let lines: Vec<&str> =
        base64.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let signature =
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
    Envelope { statement: text, signature }
}

#[tokio::test]
async fn a_further_signature_proves_as_much_as_the_tier_asks_of_who_declares() {
    let touched = |tier: &str| format!("[tier.{tier}]\npower = 3\npresence = \"touch\"\n");
    let policy = ["guarded", "sealed"].into_iter().fold(POLICY.to_owned(), |policy, tier| {
        policy.replace(&format!("[tier.{tier}]\npower = 3\n"), &touched(tier))
    });
    let software = |seed| Ed25519Key(key(seed).verifying_key().to_bytes()).to_string();
    // Ana and eve have a FIDO key beside the other one.
    let more = |roster: String, name: &str, own: u8, seed: u8| {
        let own = software(own);
        roster.replace(
            &format!("\"{own} {name}"),
            &format!("\"{} {name}-sk\", \"{own} {name}", hardware(seed).0),
        )
    };
    let roster = more(more(roster(), "ana", ANA, 61), "eve", EVE, 62);
    let ca = Installed::with(&policy, &roster);
    let mut words = ca.declare("payments-db");
    words.severity = Some(1.try_into().unwrap());
    let told = ca.send(&by_hardware(61, &Statement::Declare(words), true)).await;
    assert_eq!(told.status, 201, "{}", told.text());
    let opened: Opened = told.json();
    let id = opened.emergency;
    let second = |of: Hash| Statement::Second(Second { header: ca.header(Kind::Second), of, emergency: id });
    let path = format!("/v1/emergencies/{id}/seconds");
    let before = ca.size();
    let weak =
        [signed(EVE, &second(opened.declaration)), by_hardware(62, &second(opened.declaration), false)];
    for weak in weak {
        let problem = ca.post(&path, &weak).await.problem(403, "second.presence");
        assert!(problem.next.unwrap().contains("security key"));
    }
    // All that is wrong at once.
    let problem =
        ca.post(&path, &signed(BEN, &second(opened.declaration))).await.problem(403, "second.off_call");
    let codes: Vec<&str> = problem.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["second.off_call", "second.presence"]);
    assert_eq!(ca.size(), before);
    let told = ca.post(&path, &by_hardware(62, &second(opened.declaration), true)).await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(severity(&ca), 1);
    ca.verifies();
}
