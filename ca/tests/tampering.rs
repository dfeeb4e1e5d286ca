//! Tampering, one kind at a time, by whoever has the file, and by whoever also has the log's key: each is found,
//! at its entry and for its reason.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;
mod tampered;

use ed25519_dalek::SigningKey;
use fireaxe_ca::log::{Log, Reader};
use fireaxe_ca::verify::Beforehand;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Event, EvidenceReader, NoteKey, NoteSigner};
use fireaxe_protocol::statement::{Kind, Statement, sign_ed25519};
use installed::forging::{entries, found, place};
use installed::{ANA, DAN, Installed, key};
use tampered::{Copy, everything, finds};

fn nothing() -> Beforehand {
    Beforehand::default()
}

/// What a host, a witness or last month's auditor has: the newest head.
fn head(ca: &Installed) -> Beforehand {
    Beforehand { key: None, since: Some(ca.reader().latest_checkpoint().unwrap()) }
}

/// The first head over that entry.
fn covering(ca: &Installed, index: u64) -> u64 {
    ca.reader().checkpoint_covering(index).unwrap().0
}

#[tokio::test]
async fn the_log_that_is_tampered_with_is_good_and_has_some_of_everything() {
    let ca = everything().await;
    let copy = Copy::of(&ca);
    assert_eq!(copy.found(&head(&ca)), []);
    let log = entries(&ca);
    for kind in [
        "bundle.activated",
        "emergency.declared",
        "declaration.refused",
        "approval.given",
        "approval.refused",
        "extension.requested",
        "certificate.issued",
        "emergency.closed",
        "emergency.reviewed",
        "host.enrolled",
        "host.certified",
        "session.opened",
        "session.closed",
        "host.confirmed",
        "evidence.read",
        "evidence.exported",
        "evidence.refused",
        "recording.expired",
        "rung.called",
        "incident.updated",
    ] {
        let has = |entry: &Entry| {
            String::from_utf8_lossy(&entry.encode().unwrap()).contains(&format!("\"kind\":\"{kind}\""))
        };
        assert!(log.iter().any(has), "{kind}");
    }
}

/// One byte of each class, by whoever has the file alone: the entry itself says what is wrong, or the head does.
#[tokio::test]
async fn a_byte_of_each_class_is_found_at_its_entry() {
    let ca = everything().await;
    let log = entries(&ca);
    let is = |kind: &'static str| {
        move |entry: &Entry| {
            String::from_utf8_lossy(&entry.encode().unwrap()).contains(&format!("\"kind\":\"{kind}\""))
        }
    };
    for (kind, before, by, says) in [
        ("emergency.declared", "{\"v\":", 0, "does not begin with"),
        ("emergency.declared", "\"index\":", 0, "it says that it is entry"),
        ("emergency.declared", ",\"at\":", 9, ""),
        ("emergency.declared", "\"kind\":\"", 0, "no event that is known"),
        ("emergency.declared", "primary", 0, "does not match the statement"),
        ("emergency.declared", "SSH SIGNATURE-----\\n", 80, ""),
        ("emergency.declared", "\"facts\":{\"at\":", 9, "its facts are not those"),
        ("emergency.declared", "\"because\":[{\"code\":\"", 0, "decide otherwise"),
        ("emergency.declared", "\"hosts\":[\"", 0, "do not follow from its decision"),
        ("certificate.issued", "}\n", 40, "its certificate body"),
        ("certificate.issued", "\"of\":\"", 3, "gave nothing or is not there"),
        ("approval.given", "SSH SIGNATURE-----\\n", 80, ""),
        ("session.opened", "SSH SIGNATURE-----\\n", 80, ""),
        ("host.certified", "\"body\":\"", 110, "not that of a host certificate"),
        ("evidence.read", "\"key\":\"SHA256:", 4, "does not give that key to cleo"),
        ("recording.expired", "\"recording\":\"", 2, "reported no such recording"),
    ] {
        let index = log.iter().position(is(kind)).unwrap() as u64;
        let mut bytes = ca.reader().entry_bytes(index).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let start =
            text.find(before).unwrap_or_else(|| panic!("{kind} {before}: {text}")) + before.len() + by;
        // Another letter of the same alphabet, whatever it is: hex, base64, a digit, a word.
        bytes[start] = match bytes[start] {
            b'0'..=b'8' => bytes[start] + 1,
            b'9' => b'0',
            b'a' => b'b',
            b'A' => b'B',
            other => {
                if other.is_ascii_uppercase() {
                    b'A'
                } else {
                    b'a'
                }
            }
        };
        let copy = Copy::of(&ca);
        copy.put(index, &bytes);
        let found = copy.found(&nothing());
        let place = covering(&ca, index);
        assert!(found.iter().all(|(at, _)| *at >= index), "{kind} {before}: {found:?}");
        finds(&found, place, "is not over these entries");
        finds(&found, index, says);
    }
}

#[tokio::test]
async fn entries_that_are_dropped_swapped_cut_off_or_put_in_are_found() {
    let ca = everything().await;
    let size = ca.size();
    let middle = size / 2;
    let spoiled = |sql: String| {
        let copy = Copy::of(&ca);
        copy.sql(&sql);
        copy.found(&nothing())
    };
    finds(&spoiled(format!("DELETE FROM entry WHERE idx = {middle}")), middle, "an entry is missing");
    let swapped = spoiled(format!(
        "UPDATE entry SET idx = -1 WHERE idx = {middle}; UPDATE entry SET idx = {middle} WHERE idx = {middle} + 1;
         UPDATE entry SET idx = {middle} + 1 WHERE idx = -1;"
    ));
    finds(&swapped, middle, &format!("it says that it is entry {}", middle + 1));
    let cut = spoiled(format!("DELETE FROM entry WHERE idx >= {middle}"));
    finds(&cut, middle, "the end of the log is missing");
    let again = spoiled(format!("INSERT INTO entry SELECT {size}, bytes FROM entry WHERE idx = {middle}"));
    finds(&again, size, &format!("it says that it is entry {middle}"));
    finds(&again, size, "no checkpoint covers");
    let headless = spoiled(format!("DELETE FROM checkpoint WHERE size = {size}"));
    assert!(headless.iter().any(|(_, what)| what.contains("no checkpoint covers")), "{headless:?}");
    let moved = spoiled(format!(
        "UPDATE checkpoint SET note = (SELECT note FROM checkpoint ORDER BY size LIMIT 1) WHERE size = {size}"
    ));
    assert!(moved.iter().any(|(_, what)| what.contains("is not over these entries")), "{moved:?}");
    let longer = spoiled(format!("UPDATE entry SET bytes = zeroblob(200000) WHERE idx = {middle}"));
    finds(&longer, middle, "61440 are allowed");
}

#[tokio::test]
async fn a_cut_with_its_heads_a_roll_back_and_yesterdays_copy_are_found_by_a_head_that_was_known() {
    let ca = everything().await;
    let yesterday = Copy::of(&ca);
    let size = ca.size();
    ca.incident("pd:LATER", 1, "open", "vault").await;
    assert_eq!(yesterday.found(&nothing()), [], "by itself it is a good log");
    finds(&yesterday.found(&head(&ca)), size, "older copy was put back");
    let cut = Copy::of(&ca);
    cut.sql(&format!("DELETE FROM entry WHERE idx >= {size}; DELETE FROM checkpoint WHERE size > {size}"));
    assert_eq!(cut.found(&nothing()), []);
    finds(&cut.found(&head(&ca)), size, "its end was cut off");
    assert_eq!(Copy::of(&ca).found(&head(&ca)), []);
}

/// The log's key wrote two pasts: each is good by itself.
#[tokio::test]
async fn a_fork_is_found_by_a_head_of_the_other_branch() {
    let ca = everything().await;
    let fork = Copy::of(&ca);
    let size = ca.size();
    ca.incident("pd:ONE", 1, "open", "vault").await;
    let log = entries(&ca);
    let Event::IncidentUpdated(mut other) = log[size as usize].event.clone() else { unreachable!() };
    other.incident = "pd:TWO".parse().unwrap();
    let keys = ca.data().keys();
    let secret = fireaxe_ca::keys::load(&keys, fireaxe_ca::keys::Purpose::Log).unwrap();
    let signer = NoteSigner::new(ca.origin.as_str(), secret).unwrap();
    let mut writer = Log::open(&fork.path()).unwrap();
    let mut batch = writer.batch().unwrap();
    let _ = batch.append(log[size as usize].at, &Event::IncidentUpdated(other), None, ()).unwrap();
    batch.commit(&signer).unwrap();
    drop(writer);
    assert_eq!(fork.found(&nothing()), []);
    finds(&fork.found(&head(&ca)), size + 1, "was another one when it was known before");
}

#[tokio::test]
async fn a_log_signed_anew_with_another_key_is_found_by_its_heads_or_by_the_key_that_was_known() {
    let ca = everything().await;
    let log = entries(&ca);
    let other = SigningKey::from_bytes(&[77; 32]);
    let Event::LogCreated { origin, mut keys, .. } = log[0].event.clone() else { unreachable!() };
    let real = NoteKey::new(origin.as_str(), &keys.log).unwrap();

    // The whole of it, with a first entry that names the other key: a good log, and not ours.
    keys.log = Ed25519Key::from(&other);
    let signer = NoteSigner::new(origin.as_str(), other).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.sqlite");
    let mut writer = Log::create(&path, origin, keys, log[0].at, &signer).unwrap();
    let mut batch = writer.batch().unwrap();
    for entry in &log[1..] {
        let _ = batch.append(entry.at, &entry.event, entry.body.as_deref(), ()).unwrap();
    }
    batch.commit(&signer).unwrap();
    let signed = writer.size();
    drop(writer);
    let found = |before: &Beforehand| tampered::found_in(&path, before);
    assert_eq!(found(&nothing()), [], "by itself it is a good log");
    let key = Beforehand { key: Some(real.clone()), since: None };
    finds(&found(&key), 0, "not by");
    finds(&found(&head(&ca)), 0, "is not one of this log");
    assert_eq!(Copy::of(&ca).found(&Beforehand { key: Some(real), ..head(&ca) }), []);

    // Its heads alone.
    let note = Reader::open(&path).unwrap().latest_checkpoint().unwrap();
    let copy = Copy::of(&ca);
    copy.sql(&format!("UPDATE checkpoint SET note = '{note}' WHERE size = {signed}"));
    finds(&copy.found(&nothing()), signed, "is not signed by the log's key");
}

/// Whoever has the log's key, and none of a person.
#[tokio::test]
async fn approvals_that_nobody_gave_are_found() {
    let ca = everything().await;
    let log = entries(&ca);
    assert_eq!(found(&ca, &log), []);
    let at = place(&log, |event| matches!(event, Event::ApprovalGiven { .. }));
    let forged = |change: &dyn Fn(&mut Event)| {
        let mut log = log.clone();
        change(&mut log[at].event);
        found(&ca, &log)
    };
    let signed_by = |seed: u8, change: &dyn Fn(&mut fireaxe_protocol::statement::Approve)| {
        forged(&|event| {
            let Event::ApprovalGiven { by, .. } = event else { unreachable!() };
            let Ok(Statement::Approve(mut words)) = Statement::read(&by.said.statement) else {
                unreachable!()
            };
            change(&mut words);
            by.said = sign_ed25519(&key(seed), Kind::Approve, &Statement::Approve(words).write());
        })
    };
    let at = at as u64;
    // Another key, whose person is named or not.
    finds(&signed_by(99, &|_| ()), at, "does not give that key to ben");
    finds(&signed_by(DAN, &|_| ()), at, "does not give that key to ben");
    // The right key, and words that it did not sign.
    let changed = forged(&|event| {
        let Event::ApprovalGiven { by, .. } = event else { unreachable!() };
        by.said.statement = by.said.statement.replacen("\"shown_s\":9", "\"shown_s\":8", 1);
    });
    finds(&changed, at, "does not match the statement");
    // Of another leaf, by the right key.
    let other = signed_by(installed::BEN, &|words| words.of = leaf_hash(b"another"));
    finds(&other, at, "does not answer what waited");
    // Who asked says yes.
    let own = forged(&|event| {
        let Event::ApprovalGiven { by, .. } = event else { unreachable!() };
        let Ok(Statement::Approve(words)) = Statement::read(&by.said.statement) else { unreachable!() };
        by.person = "ana".parse().unwrap();
        by.key = Ed25519Key::from(&key(ANA)).fingerprint();
        by.said = sign_ed25519(&key(ANA), Kind::Approve, &Statement::Approve(words).write());
    });
    finds(&own, at, "does not answer what waited");
    // The very words once more.
    let mut twice = log.clone();
    twice.insert(at as usize + 1, log[at as usize].clone());
    twice.truncate(at as usize + 2);
    finds(&found(&ca, &twice), at + 1, "was answered before");
    // None at all: what it gave stands there without it.
    let mut without = log.clone();
    without.remove(at as usize);
    finds(&found(&ca, &without), at, "");
}

#[tokio::test]
async fn evidence_that_was_read_without_the_role_or_by_another_key_is_found() {
    let ca = everything().await;
    let log = entries(&ca);
    let forged = |is: &dyn Fn(&Event) -> bool, change: &dyn Fn(&mut Event)| {
        let mut log = log.clone();
        let at = place(&log, is);
        change(&mut log[at].event);
        (at as u64, found(&ca, &log))
    };
    let reader = |event: &mut Event, with: EvidenceReader| match event {
        Event::EvidenceRead { by, .. }
        | Event::EvidenceRefused { by, .. }
        | Event::EvidenceExported { by, .. } => *by = with,
        _ => unreachable!(),
    };
    let person = |name: &str, seed: u8| EvidenceReader::Person {
        person: name.parse().unwrap(),
        key: Ed25519Key::from(&key(seed)).fingerprint(),
    };
    let read = |event: &Event| matches!(event, Event::EvidenceRead { .. });
    let refused = |event: &Event| matches!(event, Event::EvidenceRefused { .. });
    let exported = |event: &Event| matches!(event, Event::EvidenceExported { .. });
    for (is, with, says) in [
        (&read as &dyn Fn(&Event) -> bool, person("ana", ANA), "ana was no auditor"),
        (&exported, person("ana", ANA), "ana was no auditor"),
        (&read, person("cleo", ANA), "does not give that key to cleo"),
        (&refused, person("cleo", installed::CLEO), "cleo was an auditor"),
        (&read, EvidenceReader::Operator("operator uid 01".into()), "no operator of this machine"),
    ] {
        let (at, found) = forged(is, &|event| reader(event, with.clone()));
        finds(&found, at, says);
    }
    // A recording of another host, and one that expires twice.
    let expired = |event: &Event| matches!(event, Event::RecordingExpired { .. });
    let (at, other) = forged(&expired, &|event| {
        let Event::RecordingExpired { host, .. } = event else { unreachable!() };
        *host = "db-4.payments.prod".parse().unwrap();
    });
    finds(&other, at, "reported no such recording");
    let mut twice = log.clone();
    twice.push(log[at as usize].clone());
    finds(&found(&ca, &twice), log.len() as u64, "or it expired before");
}

#[tokio::test]
async fn a_tile_that_is_not_that_of_its_entries_or_is_missing_is_found() {
    let ca = everything().await;
    while ca.size() < 257 {
        ca.incident("pd:MORE", 1, "open", "vault").await;
    }
    let spoiled = |sql: &str| {
        let copy = Copy::of(&ca);
        copy.sql(sql);
        copy.found(&nothing())
    };
    assert_eq!(spoiled(""), []);
    finds(&spoiled("UPDATE tile SET bytes = zeroblob(8192)"), 0, "tile/0/000 is not that of its entries");
    finds(&spoiled("DELETE FROM tile"), 0, "tile/0/000 is missing");
}

/// Views are not believed by anybody: edited ones lie to people until they are made anew, and change no log.
#[tokio::test]
async fn edited_views_change_nothing_that_counts_and_a_rebuild_puts_them_right() {
    let ca = everything().await;
    let views = ca.data().views();
    let emergencies =
        |views: &fireaxe_ca::views::Views| views.emergencies(&ca.reader(), None, ca.clock.wall()).unwrap();
    let before = emergencies(&fireaxe_ca::views::Views::open(&views).unwrap());
    assert!(!before.is_empty());
    rusqlite::Connection::open(&views).unwrap().execute("DELETE FROM emergency", []).unwrap();
    assert_eq!(emergencies(&fireaxe_ca::views::Views::open(&views).unwrap()).len(), 0, "the list lies");
    assert_eq!(Copy::of(&ca).found(&head(&ca)), []);
    std::fs::remove_file(&views).unwrap();
    let after = emergencies(&fireaxe_ca::views::Views::open(&views).unwrap());
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}
