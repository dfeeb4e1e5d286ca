//! A dossier holds everything of its emergency and is checked without the CA; whatever is changed in it is found,
//! and where. A period's tables open in a spreadsheet and its entries lie in the log.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use std::collections::BTreeMap;
use std::io::Read;

use fireaxe_ca::door::{CertificatesAnswer, RecordedAnswer};
use fireaxe_ca::evidence::{Draft, Logged, PeriodQuery, collect, dossier, period};
use fireaxe_protocol::evidence::manifest::sums;
use fireaxe_protocol::evidence::{MANIFEST, Made, Manifest, Part, Parts, SUMS, Told, Trust, check};
use fireaxe_protocol::host::{Change, Planted, PlantedKind, Recorded, Report};
use fireaxe_protocol::log::{Checkpoint, Entry, Event, Hash, NoteKey};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::recording::{Ended, Header, SessionKind, Stream, Writer};
use fireaxe_protocol::statement::Nonce;
use installed::people::{DAN, EVE, POLICY, roster};
use installed::speaking::{DB3, closed, confirmed, host_key, opened};
use installed::{ANA, Installed};

const VERSION: &str = "0.1.0";

/// Parts in memory, to be changed.
#[derive(Clone)]
struct Mem(BTreeMap<String, Vec<u8>>);

impl Parts for Mem {
    fn list(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect()
    }

    fn pieces(&mut self, name: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        self.0.get(name).ok_or("it is not there")?.chunks(1000).for_each(each);
        Ok(())
    }
}

impl Mem {
    fn of_zip(bytes: &[u8], folder: &str) -> Mem {
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let mut out = BTreeMap::new();
        for n in 0..zip.len() {
            let mut part = zip.by_index(n).unwrap();
            let name = part.name().unwrap().strip_prefix(&format!("{folder}/")).unwrap().to_owned();
            let mut bytes = Vec::new();
            part.read_to_end(&mut bytes).unwrap();
            out.insert(name, bytes);
        }
        Mem(out)
    }

    fn check(&self) -> Told {
        check(&mut self.clone(), Trust { key: None, must: false, version: VERSION })
    }

    /// Makes the manifest and the sums fit again, as somebody would who has no log key: then it is not logged.
    fn sealed_again(mut self) -> Mem {
        let mut manifest = Manifest::decode(&self.0[MANIFEST]).unwrap();
        manifest.made.logged = false;
        for name in ["manifest.json", "manifest.entry.json", "manifest.tlog-proof", "SHA256SUMS"] {
            self.0.remove(name);
        }
        manifest.parts = self
            .0
            .iter()
            .map(|(name, bytes)| Part {
                name: name.clone(),
                bytes: bytes.len() as u64,
                sha256: Hash::of(bytes),
            })
            .collect();
        let text = manifest.encode();
        self.0.insert(SUMS.into(), sums(&manifest, &[(MANIFEST, Hash::of(text.as_bytes()))]).into_bytes());
        self.0.insert(MANIFEST.into(), text.into_bytes());
        self
    }

    #[track_caller]
    fn is_found(&self, place: &str, what: &str) {
        let told = self.check();
        let found = told.found.iter().any(|one| one.place.starts_with(place) && one.what.contains(what));
        assert!(found, "{place}: {what}: {:#?}", told.found);
    }
}

fn made(logged: bool) -> Made {
    Made { at: 1_800_000_000, by: "operator uid 0".into(), version: VERSION.into(), logged }
}

/// An emergency with everything: approved, narrowed, used, recorded, closed, confirmed, reviewed.
async fn begin() -> Installed {
    let ca = Installed::with(POLICY, &roster());
    ca.joins(DB3).await;
    let (emergency, fresh) = ca.waits("payments-db").await;
    let id = emergency.emergency;
    let path = format!("/v1/emergencies/{id}/certificates/{DB3}");
    let narrowed = ca.post_proved(&path, &ca.proof(&fresh, "POST", &path)).await;
    assert_eq!(narrowed.status, 200, "{}", narrowed.text());
    ca.approved(EVE, id).await;
    let serial = serials(&ca).pop().unwrap();
    let now = ca.clock.wall();
    let (chunks, recorded) = recording(serial);
    let name = recorded.recording;
    let path = format!("/v1/hosts/{DB3}/recordings/{name}?from=0");
    let sent = ca.post_bytes_proved(&path, chunks.concat(), &ca.proof(&host_key(DB3), "POST", &path)).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    ca.reported(DB3, 1, opened(1, serial, "root", now)).await;
    let told = ca.close_emergency(ANA, &emergency).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let Report::SessionClosed(mut over) = closed(1, serial, now) else { unreachable!() };
    over.recordings = vec![recorded];
    over.planted = vec![Planted {
        kind: PlantedKind::AuthorizedKeys,
        path: "/root/.ssh/<b>authorized_keys".into(),
        change: Change::Appeared,
        owner: Some(0),
    }];
    ca.reported(DB3, 2, Report::SessionClosed(over)).await;
    let list = ca.size();
    ca.reported(DB3, 3, confirmed(list, now)).await;
    let told = ca.review(DAN, emergency.declaration, id).await;
    assert_eq!(told.status, 200, "{}", told.text());
    ca.verifies();
    ca
}

fn entries(ca: &Installed) -> Vec<Entry> {
    (0..ca.size()).map(|index| ca.reader().entry(index).unwrap()).collect()
}

fn serials(ca: &Installed) -> Vec<u64> {
    entries(ca).iter().filter(|entry| entry.body.is_some()).map(|entry| entry.index).collect()
}

fn recording(serial: u64) -> (Vec<Vec<u8>>, Recorded) {
    let (mut writer, first) = Writer::begin(Header {
        sealed: Vec::new(),
        v: 1,
        recording: Nonce([5; 16]),
        connection: Nonce([1; 16]),
        serial,
        host: DB3.parse().unwrap(),
        account: "root".parse().unwrap(),
        from: None,
        began_us: 1_700_000_000_000_000,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: None,
    });
    let bytes = b"uid=0(root)\r\n".to_vec();
    let second =
        writer.data(vec![fireaxe_protocol::recording::Event { offset_us: 9, stream: Stream::Output, bytes }]);
    let (third, recorded) = writer.end(Ended::Exited(0), 10);
    (vec![first, second, third], recorded)
}

/// As `log receipt` does, but for the socket.
async fn dossier_of(ca: &Installed, id: u64) -> Vec<u8> {
    let reader = ca.reader();
    let note = reader.latest_checkpoint().unwrap();
    let head = Checkpoint::open(&note, reader.key(), reader.origin()).unwrap();
    let collected = collect(&reader, EmergencyId(id), head.size).unwrap();
    let serials: Vec<u64> = collected.serials.iter().copied().collect();
    let body = serde_json::json!({ "serials": serials });
    let told: CertificatesAnswer = ca.operator("POST", "/operator/certificates", body).await.json();
    let certificates = told.certificates.into_iter().map(|one| (one.serial, one.certificate)).collect();
    let recordings = ca.data().recordings();
    let draft =
        dossier(&reader, &recordings, (EmergencyId(id), &note), &collected, &certificates, made(true))
            .unwrap();
    written(ca, &draft).await
}

async fn written(ca: &Installed, draft: &Draft<'_>) -> Vec<u8> {
    let manifest = draft.manifest();
    let body = serde_json::json!({ "what": manifest.of, "manifest": manifest.hash() });
    let told = ca.operator("POST", "/operator/evidence", body).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let told: RecordedAnswer = told.json();
    let reader = ca.reader();
    let entry = reader.entry_bytes(told.index).unwrap();
    let logged = Logged { entry, proof: reader.receipt(told.index).unwrap().encode() };
    let mut out = Vec::new();
    draft.write(&mut out, Some(&logged)).unwrap();
    out
}

#[tokio::test]
async fn a_dossier_has_everything_of_its_emergency_and_holds() {
    let ca = begin().await;
    let before = Mem::of_zip(&dossier_of(&ca, 1).await, "EM-1");
    assert!(
        !before.0.keys().any(|name| name.starts_with("certificates/")),
        "revoked and not over: none is signed again"
    );
    ca.clock.pass(3600);
    let mem = Mem::of_zip(&dossier_of(&ca, 1).await, "EM-1");
    let told = mem.check();
    assert_eq!(told.found, [], "{told:#?}");
    assert_eq!((told.of.as_str(), told.anchored, told.logged), ("EM-1", false, true));
    assert_eq!((told.recordings, told.certificates as usize), (1, serials(&ca).len()));
    assert_eq!(told.decisions, 1);
    assert!(told.statements >= 7, "{told:?}");
    let events: Vec<String> = mem
        .0
        .iter()
        .filter(|(name, _)| name.starts_with("entries/"))
        .map(|(_, bytes)| Entry::decode(bytes).unwrap().kind())
        .collect();
    for kind in [
        "log.created",
        "blob.stored",
        "bundle.activated",
        "incident.updated",
        "host.invited",
        "host.enrolled",
        "emergency.declared",
        "certificate.issued",
        "rung.called",
        "approval.given",
        "session.opened",
        "emergency.closed",
        "session.closed",
        "host.confirmed",
        "emergency.reviewed",
        "evidence.exported",
    ] {
        assert!(events.iter().any(|found| found == kind), "no {kind}: {events:?}");
    }
    let page = String::from_utf8(mem.0["index.html"].clone()).unwrap();
    for words in
        ["primary refuses writes", "eve", "looked at it", "/root/.ssh/&lt;b&gt;authorized_keys", "justified"]
    {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");

    // The key that the reader has decides.
    let key: NoteKey = told.key.unwrap();
    let with =
        |key: &NoteKey, must| check(&mut mem.clone(), Trust { key: Some(key), must, version: VERSION });
    assert!(with(&key, true).anchored && with(&key, true).is_good());
    let other = Installed::new();
    let theirs = other.reader().key().clone();
    assert!(!with(&theirs, true).is_good());
    assert!(
        with(&theirs, false).is_good() && !with(&theirs, false).anchored,
        "another log is no fault of this one"
    );
    let same_name = NoteKey::new(key.name(), &theirs.key()).unwrap();
    assert!(!with(&same_name, false).is_good(), "the same log with another key is");
    // Another version's words are not compared.
    let told = check(&mut mem.clone(), Trust { key: None, must: false, version: "9.9.9" });
    assert!(told.is_good() && told.remarks.iter().any(|one| one.contains("not compared")), "{told:?}");
}

#[tokio::test]
async fn whatever_is_changed_in_a_dossier_is_found_where_it_was_changed() {
    let ca = begin().await;
    ca.clock.pass(3600);
    let good = Mem::of_zip(&dossier_of(&ca, 1).await, "EM-1");
    assert_eq!(good.check().found, []);
    for (name, bytes) in &good.0 {
        let mut flipped = good.clone();
        let at = bytes.len() / 2;
        flipped.0.get_mut(name).unwrap()[at] ^= 1;
        let told = flipped.check();
        // Of the manifest and its two neighbours one byte shows in whichever of them it no longer fits.
        let of_manifest = |place: &str| name.starts_with("manifest") && place.starts_with("manifest");
        let found = told.found.iter().any(|one| one.place == *name || of_manifest(&one.place));
        assert!(found, "flip {name}: {:?}", told.found);
        let mut dropped = good.clone();
        dropped.0.remove(name);
        let told = dropped.check();
        let named = told.found.iter().any(|one| one.place == *name || one.place.starts_with("manifest"));
        assert!(named, "drop {name}: {:?}", told.found);
        let mut surplus = good.clone();
        surplus.0.insert(format!("{name}.more"), bytes.clone());
        assert!(!surplus.check().is_good(), "{name} twice");
        if !name.starts_with("manifest") && name != SUMS {
            let told = flipped.sealed_again().check();
            let found = told.found.iter().any(|one| {
                one.place == *name
                    || one.place == name.replace("proofs/", "entries/").replace(".tlog-proof", ".json")
            });
            assert!(found, "flip {name} and seal again: {:?}", told.found);
            let told = dropped.sealed_again().check();
            assert!(!told.is_good(), "drop {name} and seal again");
        }
    }
    let names: Vec<&String> = good.0.keys().filter(|name| name.contains('/')).collect();
    for two in names.windows(2).filter(|two| good.0[two[0]] != good.0[two[1]]) {
        let mut swapped = good.clone();
        let (a, b) = (good.0[two[0]].clone(), good.0[two[1]].clone());
        swapped.0.insert(two[0].clone(), b);
        swapped.0.insert(two[1].clone(), a);
        assert!(!swapped.check().is_good(), "{two:?}");
        let told = swapped.sealed_again().check();
        let only_words = told.found.iter().all(|one| one.place == "index.html" || one.place == "VERIFY.txt");
        assert!(!only_words, "{two:?}: {:?}", told.found);
    }
}

/// Removes an entry with all that belongs to it.
fn without(good: &Mem, wanted: impl Fn(&Event) -> bool) -> Mem {
    let mut out = good.clone();
    for (name, bytes) in &good.0 {
        if name.starts_with("entries/") && wanted(&Entry::decode(bytes).unwrap().event) {
            let digits = name.trim_start_matches("entries/").trim_end_matches(".json");
            out.0.retain(|name, _| !name.contains(digits));
        }
    }
    out.sealed_again()
}

#[tokio::test]
async fn a_dossier_from_which_somebody_left_things_out_refers_to_what_is_missing() {
    let ca = begin().await;
    let good = Mem::of_zip(&dossier_of(&ca, 1).await, "EM-1");
    without(&good, |event| matches!(event, Event::ApprovalGiven { .. }))
        .is_found("entries/", "not enough people had agreed");
    without(&good, |event| matches!(event, Event::CertificateIssued { .. }))
        .is_found("entries/", "which it revokes, is not here");
    without(&good, |event| matches!(event, Event::HostEnrolled { .. }))
        .is_found("statements/", "by which that host joined");
    without(&good, |event| matches!(event, Event::BlobStored { .. }))
        .is_found("entries/", "policy or roster are not here");
    without(&good, |event| matches!(event, Event::EmergencyDeclared { .. }))
        .is_found(MANIFEST, "declares EM-1 is not here");
    without(&good, |event| matches!(event, Event::LogCreated { .. }))
        .is_found("entries/000000.json", "first entry");
}

#[tokio::test]
async fn parts_of_another_emergency_and_of_another_log_have_no_place() {
    let ca = begin().await;
    let mut words = ca.declare("db-4.payments.prod");
    words.severity = Some(3.try_into().unwrap());
    let other = ca.open_emergency(EVE, &words).await;
    let (one, two) = (dossier_of(&ca, 1).await, dossier_of(&ca, other.emergency.0).await);
    let (one, two) = (Mem::of_zip(&one, "EM-1"), Mem::of_zip(&two, "EM-2"));
    assert!(one.check().is_good() && two.check().is_good(), "{:?}", two.check().found);
    let mut mixed = one.clone();
    mixed.0.extend(
        two.0
            .iter()
            .filter(|(name, _)| name.starts_with("entries/") || name.starts_with("proofs/"))
            .map(|(n, b)| (n.clone(), b.clone())),
    );
    assert!(!mixed.check().is_good());
    mixed.sealed_again().is_found("entries/", "");
    // The manifest of one with the parts of the other.
    let mut crossed = two.clone();
    for name in ["manifest.json", "manifest.entry.json", "manifest.tlog-proof"] {
        crossed.0.insert(name.into(), one.0[name].clone());
    }
    assert!(!crossed.check().is_good());
    // The manifest's entry of another file.
    let mut crossed = one.clone();
    for name in ["manifest.entry.json", "manifest.tlog-proof"] {
        crossed.0.insert(name.into(), two.0[name].clone());
    }
    crossed.is_found("manifest.entry.json", "another manifest");
    // Everything of another log under this one's manifest.
    let elsewhere = begin().await;
    let theirs = Mem::of_zip(&dossier_of(&elsewhere, 1).await, "EM-1");
    let mut foreign = theirs.clone();
    foreign.0.insert(MANIFEST.into(), one.0[MANIFEST].clone());
    assert!(!foreign.check().is_good());
    let mut entry = one.clone();
    for name in ["entries/000003.json", "proofs/000003.tlog-proof"] {
        entry.0.insert(name.into(), theirs.0[name].clone());
    }
    entry.sealed_again().is_found("entries/000003.json", "another head");
}

#[tokio::test]
async fn a_period_lies_in_the_log_and_its_tables_are_no_formulas() {
    let ca = begin().await;
    let mut words = ca.declare("payments-db");
    words.severity = Some(2.try_into().unwrap());
    words.reason = "=cmd|' /C calc'!A0".parse().unwrap();
    let told =
        ca.send(&installed::signed(EVE, &fireaxe_protocol::statement::Statement::Declare(words))).await;
    assert!(told.status < 300, "{}", told.text());
    let reader = ca.reader();
    let note = reader.latest_checkpoint().unwrap();
    let (from, to) = (ca.clock.wall() - 100, ca.clock.wall() + 100);
    for all in [false, true] {
        let query = PeriodQuery { from, to, all };
        let draft = period(&reader, &note, query, made(true)).unwrap();
        let mem = Mem::of_zip(&written(&ca, &draft).await, "period");
        let told = mem.check();
        assert_eq!(told.found, []);
        assert!(told.entries > 10 && told.logged, "{told:?}");
        assert_eq!(all, mem.0.keys().any(|name| name.starts_with("log/tile/entries/")), "{:?}", mem.0.keys());
        let mut seen = 0;
        for (name, bytes) in mem.0.iter().filter(|(name, _)| name.starts_with("csv/")) {
            let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(bytes.as_slice());
            for record in reader.records() {
                let record = record.unwrap_or_else(|error| panic!("{name}: {error}"));
                for cell in &record {
                    assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{name}: {cell}");
                    seen += usize::from(cell == "'=cmd|' /C calc'!A0");
                }
            }
        }
        assert_eq!(seen, 1);
        // Each line, changed, dropped or moved.
        let text = String::from_utf8(mem.0["entries.jsonl"].clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let with = |lines: &[&str]| {
            let mut mem = mem.clone();
            mem.0.insert("entries.jsonl".into(), (lines.join("\n") + "\n").into_bytes());
            mem.sealed_again()
        };
        assert_eq!(with(&lines).check().found, []);
        let mut fewer = lines.clone();
        fewer.pop();
        with(&fewer).is_found("entries.jsonl", "not all of that range");
        with(&lines[1..]).is_found("entries.jsonl", "another one stands there");
        let mut moved = lines.clone();
        moved.swap(2, 3);
        with(&moved).is_found("entries.jsonl", "another one stands there");
        let changed = lines[2].replacen("\\\"at\\\":1", "\\\"at\\\":2", 1);
        let mut other = lines.clone();
        other[2] = &changed;
        with(&other).is_found("entries.jsonl", "does not hash to its leaf");
        for name in mem.0.keys() {
            let mut flipped = mem.clone();
            let bytes = flipped.0.get_mut(name).unwrap();
            let at = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
                assert!(!flipped.check().is_good(), "{name}");
            }
        }
    }
    let empty = period(&reader, &note, PeriodQuery { from: 1, to: 2, all: false }, made(true)).unwrap();
    assert_eq!(Mem::of_zip(&written(&ca, &empty).await, "period").check().found, []);
}

#[tokio::test]
async fn what_is_revoked_before_its_time_is_not_signed_again_for_evidence() {
    let ca = begin().await;
    let serials = serials(&ca);
    let ask = async |serials: &[u64]| -> Vec<u64> {
        let body = serde_json::json!({ "serials": serials });
        let told: CertificatesAnswer = ca.operator("POST", "/operator/certificates", body).await.json();
        told.certificates.into_iter().map(|one| one.serial).collect()
    };
    assert_eq!(ask(&serials).await, [0u64; 0], "closed, and their time is not over");
    let before = ca.size();
    assert_eq!(ask(&[0, 1, 2, before, u64::MAX]).await, [0u64; 0], "no certificates, or not there");
    ca.clock.pass(3600);
    assert_eq!(ask(&serials).await, serials, "over: they open nothing");
    assert_eq!(ca.size(), before, "nothing was logged for it");
}

#[test]
fn without_a_running_ca_nothing_is_handed_out_unless_it_says_so_itself() {
    let dir = tempfile::tempdir().unwrap();
    let data = installed::init(dir.path());
    let out = dir.path().join("period.zip");
    let run = |more: &[&str]| {
        let ran = std::process::Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"))
            .args(["log", "export", "--from", "2020-01-01", "--to", "2100-01-01", "-o"])
            .arg(&out)
            .arg("--data")
            .arg(&data)
            .args(more)
            .output()
            .unwrap();
        (ran.status.code(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let (code, said) = run(&[]);
    assert!(code == Some(69) && said.contains("--unlogged") && said.contains("fireaxe-ca serve"), "{said}");
    assert!(!out.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside it");
    let (code, said) = run(&["--unlogged"]);
    assert!(code == Some(0) && said.contains("NOT LOGGED"), "{said}");
    let mem = Mem::of_zip(&std::fs::read(&out).unwrap(), "period");
    let told = mem.check();
    assert!(told.is_good() && !told.logged && !told.remarks.is_empty(), "{told:?}");
    assert!(String::from_utf8_lossy(&mem.0["VERIFY.txt"]).contains("NOT LOGGED"));
    let (code, said) = run(&["--unlogged"]);
    assert!(code == Some(1) && said.contains("is there already"), "{said}");
}
