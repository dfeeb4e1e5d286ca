//! Criterion benches of the road's single steps: decide, lint + sign, append, receipt check.

#![allow(missing_docs, clippy::unwrap_used, reason = "bench code")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ed25519_dalek::{Signer, SigningKey};
use fireaxe_ca::log::Log;
use fireaxe_protocol::certificate::{self, Body, Issue, Profile, Subject};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, Hash, IncidentUpdate, NoteSigner, PinnedKeys, receipt};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{
    Bundle, Facts, IncidentState, Outcome, Presence, Signals, Target, Terms, decide,
};

fn bundle() -> Bundle {
    let policy = include_str!("../../policies/default/policy.toml");
    let roster = include_str!("../../policies/default/roster.toml");
    Bundle::parse(policy, roster).unwrap()
}

fn facts() -> Facts {
    Facts {
        at: 1_800_000_000,
        person: "ana".parse().unwrap(),
        groups: vec!["payments-oncall".parse().unwrap()],
        presence: Presence::Touch,
        target: Target {
            system: "payments-db".parse().unwrap(),
            host: Some("db-3.payments.prod".parse().unwrap()),
        },
        severity: Some(2.try_into().unwrap()),
        incident: None,
        on_call: Some(true),
        other_host_open: false,
        open_incidents: Vec::new(),
        want: None,
        for_s: None,
        drill: false,
        seconds: vec![],
        extension: 0,
        network: None,
        reviews_overdue: 0,
        signals: Signals::default(),
    }
}

fn terms(bundle: &Bundle) -> Terms {
    match decide(&bundle.policy, &facts()).outcome {
        Outcome::Permit(terms) => terms,
        other => unreachable!("{other:?}"),
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> Ed25519Key {
    Ed25519Key::from(&key(seed))
}

fn profile(terms: &Terms, serial: u64) -> Profile {
    let person = "ana".parse().unwrap();
    let issue = Issue {
        nonce: [5; 32],
        public_key: public(2),
        serial,
        subject: Subject::Person(EmergencyId(42), &person),
        at: 1_800_000_000,
        grant_end: 1_800_000_000 + u64::from(terms.lifetime_s),
        within: None,
        ca_key: public(1),
    };
    Profile::from_terms(terms, &issue).unwrap()
}

fn steps(c: &mut Criterion) {
    let bundle = bundle();
    for (name, facts) in fireaxe_tests::bench::decide::mix(&bundle) {
        c.bench_function(&format!("decide: {name}"), |b| {
            b.iter(|| decide(&bundle.policy, std::hint::black_box(&facts)));
        });
    }

    let terms = terms(&bundle);
    let ca = key(1);
    c.bench_function("prepare, lint and sign", |b| {
        b.iter(|| {
            let profile = profile(&terms, 7);
            let body = Body::of(&profile);
            certificate::lint(&body, &profile).unwrap();
            let signed = body.with_receipt("receipt");
            let signature = ca.sign(&signed).to_bytes();
            certificate::to_openssh(&certificate::assemble(signed, &signature))
        });
    });

    let dir = tempfile::tempdir().unwrap();
    let origin: Origin = "bench/0123456789abcdef".parse().unwrap();
    let signer = NoteSigner::new(origin.as_str(), key(3)).unwrap();
    let pinned = PinnedKeys { user_ca: public(1), log: public(3), krl: public(4), host_ca: public(5) };
    let mut log = Log::create(&dir.path().join("log.sqlite"), origin.clone(), pinned, 1, &signer).unwrap();
    let event = Event::IncidentUpdated(IncidentUpdate {
        incident: "pd:PGR0VU2".parse().unwrap(),
        state: IncidentState::Open,
        severity: 1.try_into().unwrap(),
        systems: vec!["payments-db".parse().unwrap()],
        title: Some("x".repeat(400).parse().unwrap()),
        by: "operator uid 0".into(),
    });
    for entries in [1u32, 64] {
        c.bench_function(&format!("append and commit {entries}"), |b| {
            b.iter(|| {
                let mut batch = log.batch().unwrap();
                for _ in 0..entries {
                    let _ = batch.append(1, &event, None, ()).unwrap();
                }
                batch.commit(&signer).unwrap()
            });
        });
    }

    let profile = profile(&terms, log.size());
    let body = Body::of(&profile);
    let issued = Event::CertificateIssued { of: Hash([9; 32]), terms: terms.hash() };
    let mut batch = log.batch().unwrap();
    let pending = batch.append(1, &issued, Some(body.as_bytes()), ()).unwrap();
    let serial = pending.index();
    let committed = batch.commit(&signer).unwrap();
    let proof = committed.receipt(serial).unwrap().encode();
    let log_key = signer.key();
    c.bench_function("check a receipt", |b| {
        b.iter_batched(
            || body.as_bytes().to_vec(),
            |body| receipt::check(&body, serial, &proof, log_key, &origin).unwrap(),
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(40);
    targets = steps
}
criterion_main!(benches);
