//! What every event has, and what some say. That every kind of a real log has a whole event is
//! `tests/tests/reconcile.rs`'.

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::PinnedKeys;
use fireaxe_protocol::statement::Envelope;

use super::*;

fn origin() -> Origin {
    "fireaxe.example/0123456789abcdef".parse().unwrap()
}

fn told(event: Event) -> Value {
    let entry = Entry { index: 7, at: 1_795_845_600, event, body: None };
    super::event(&entry, &Hash([1; 32]), &origin(), false)
}

fn host_said(said: &str) -> HostSaid {
    HostSaid {
        of: Hash([2; 32]),
        host: "db-3.payments.prod".parse().unwrap(),
        said: Envelope { statement: said.into(), signature: String::new() },
    }
}

#[test]
fn every_event_has_what_ocsf_requires_and_a_name_for_ever() {
    let key = Ed25519Key([1; 32]);
    let host = || "db-3.payments.prod".parse().unwrap();
    let reason = Reason::new("evidence.not_yours", "no");
    let operator = || EvidenceReader::Operator("operator uid 0".into());
    let events = [
        Event::LogCreated {
            succeeds: None,
            origin: origin(),
            keys: PinnedKeys { user_ca: key, log: key, krl: key, host_ca: key },
        },
        Event::BlobStored { base64: String::new() },
        Event::CertificateAbandoned { serial: 3, why: "emergency.closed".into() },
        Event::RequestLapsed { emergency: "EM-1".parse().unwrap(), of: Hash([3; 32]) },
        Event::EmergencyClosed {
            emergency: "EM-1".parse().unwrap(),
            by: Closer::Deadline,
            revoked: (0..100).collect(),
            review_due: None,
        },
        Event::HostRetired { of: Hash([3; 32]), host: host(), by: "operator uid 0".into() },
        Event::SessionOpened { emergency: None, unusual: vec![], by: host_said("not a statement") },
        Event::HostAlarmed { by: host_said("") },
        Event::EvidenceRead { by: operator(), what: Evidence::Entries },
        Event::EvidenceRefused { by: operator(), what: Evidence::Recordings, why: reason.clone() },
    ];
    for event in events {
        let kind = kind_of(&event);
        let told = told(event);
        let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{kind} has no {name}"));
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"), "{kind}");
        assert_eq!(number("class_uid") / 1000, number("category_uid"), "{kind}");
        assert_eq!(number("time"), 1_795_845_600_000, "{kind}");
        assert!((1..=4).contains(&number("severity_id")) && (1..=2).contains(&number("status_id")));
        assert_eq!(told["metadata"]["uid"], Hash([1; 32]).to_string(), "{kind}");
        assert_eq!(told["metadata"]["event_code"], kind, "{kind}");
        let about = if number("class_uid") == 3004 { &told["entity"]["type"] } else { &told["user"]["name"] };
        assert!(about.is_string(), "{kind}: {told}");
        assert!(told.to_string().len() < 4096, "{kind}");
    }
}

#[test]
fn what_cannot_be_and_what_was_refused_stand_out() {
    let unusual = vec![Reason::new("session.unknown_serial", "no certificate was ever issued with serial 9")];
    let odd = told(Event::SessionOpened { emergency: None, unusual, by: host_said("") });
    assert_eq!(
        (&odd["severity_id"], &odd["dst_endpoint"]["hostname"]),
        (&json!(4), &json!("db-3.payments.prod"))
    );
    assert_eq!(odd["unmapped"]["unusual"][0]["code"], "session.unknown_serial");
    let why = Reason::new("evidence.not_yours", "no");
    let by = EvidenceReader::Operator("operator uid 0".into());
    let refused = told(Event::EvidenceRefused { by, what: Evidence::Entries, why });
    assert_eq!(
        (&refused["status_id"], &refused["actor"]["user"]["name"]),
        (&json!(2), &json!("operator uid 0"))
    );
}

#[test]
fn the_short_form_says_that_it_is_and_texts_are_cut_between_characters() {
    let event = Event::CertificateAbandoned { serial: 3, why: "ö".repeat(400) };
    let entry = Entry { index: 7, at: 0, event, body: None };
    let whole = super::event(&entry, &Hash([1; 32]), &origin(), false);
    assert_eq!(whole["unmapped"]["why"].as_str().unwrap(), "ö".repeat(250));
    let short = super::event(&entry, &Hash([1; 32]), &origin(), true);
    assert_eq!((&short["unmapped"], &short["class_uid"]), (&json!({"cut": true}), &json!(3002)));
}
