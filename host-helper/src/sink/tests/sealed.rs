//! Sealed recordings: what the disk holds without a key, what each auditor opens, and that nothing is recorded
//! when there is nobody to seal to.

use std::io::Read;

use age::x25519::Identity;
use fireaxe_protocol::recording::{Opened, Sealed};

use super::*;

const MARKER: &[u8] = b"SAY-NOTHING-OF-THIS";

fn sealing(to: &[&Identity]) -> (tempfile::TempDir, Sealing) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auditors");
    let lines: String = to.iter().map(|identity| format!("{}\n", identity.to_public())).collect();
    fs::write(&path, lines).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let sealing = Sealing::to(Some(&path));
    (dir, sealing)
}

fn open(sealed: &Sealed, identity: &Identity) -> Option<Vec<u8>> {
    let decryptor = age::Decryptor::new_buffered(sealed.age.as_slice()).ok()?;
    let mut plain = Vec::new();
    decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).ok()?.read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// The events of a recording, as this auditor reads them.
fn opened(chunks: &[Chunk], identity: &Identity) -> Option<Vec<Event>> {
    let Body::Header(header) = &chunks[0].body else { panic!("a header") };
    let (mut opened, mut events) = (Opened::of(header), Vec::new());
    for chunk in chunks {
        if let Body::Sealed(sealed) = &chunk.body {
            events.extend(opened.take(chunk.seq, sealed, &open(sealed, identity)?).unwrap());
        }
    }
    Some(events)
}

#[test]
fn each_auditor_opens_it_and_the_disk_holds_nothing_that_was_said() {
    let (ana, ben, other) = (Identity::generate(), Identity::generate(), Identity::generate());
    let (dir, sealing) = sealing(&[&ana, &ben]);
    let scene = sealing_scene(dir, sealing, plenty());
    let asked = format!("echo {}", String::from_utf8_lossy(MARKER));
    let (mut recorder, answer) = scene.begins(1, Record::Required, Some(&asked));
    assert!(matches!(answer, Answer::Run(_)));
    recorder.says(0, Stream::Output, MARKER);
    // More than a chunk holds, in events as large as they may be.
    for _ in 0..4 {
        recorder.says(0, Stream::Output, &MARKER.repeat(1700));
    }
    recorder.says(0, Stream::Input, MARKER);
    let took = recorder.over(Over::Exited(0));
    let bytes = fs::read(scene.dir.path().join("recordings").join(Nonce([1; 16]).to_string())).unwrap();
    assert!(!bytes.windows(MARKER.len()).any(|part| part == MARKER), "in clear on the disk");
    let (chain, chunks) = scene.read(1);
    assert_eq!(chain.recorded(), took.recorded, "checked without a key, as the CA does");
    let header = chain.header().unwrap();
    assert_eq!((header.asked.as_deref(), header.sealed.len()), (None, 2));
    for auditor in [&ana, &ben] {
        let events = opened(&chunks, auditor).expect("opened");
        let of = |stream: Stream| -> Vec<u8> {
            events
                .iter()
                .filter(|event| event.stream == stream)
                .flat_map(|event| event.bytes.clone())
                .collect()
        };
        assert_eq!(of(Stream::Asked), asked.as_bytes());
        assert_eq!(of(Stream::Output).len(), MARKER.len() * (4 * 1700 + 1));
        assert_eq!(of(Stream::Input), MARKER);
    }
    assert_eq!(opened(&chunks, &other), None);
}

#[test]
fn with_nobody_to_seal_to_nothing_is_recorded_and_required_is_refused() {
    let (dir, sealing) = sealing(&[]);
    let path = dir.path().join("auditors");
    let scene = sealing_scene(dir, sealing, plenty());
    for (n, broken) in [Some("age1nonsense\n"), Some(""), None].into_iter().enumerate() {
        match broken {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let n = u8::try_from(n).unwrap() * 2;
        let (_, answer) = scene.begins(n, Record::Required, None);
        let Answer::Refused(reason) = answer else { panic!("{answer:?}") };
        assert_eq!(reason.code, "recording.not_sealed");
        let (mut recorder, answer) = scene.begins(n + 1, Record::BestEffort, None);
        let Answer::Run(run) = answer else { panic!("{answer:?}") };
        assert_eq!(run.record, Record::None, "its user is not told that it is recorded");
        recorder.says(0, Stream::Output, MARKER);
        assert_eq!(recorder.over(Over::Exited(0)).recorded, None);
    }
    assert_eq!(scene.sink.shelf().kept().unwrap(), [], "nothing on the disk");
    let said = scene.heard.0.lock().unwrap();
    let alarms = said
        .iter()
        .filter(|report| matches!(report, Report::Alarmed(reason) if reason.code == "recording.not_sealed"));
    assert_eq!(alarms.count(), 1, "once, not for each session");
    drop(said);
    // Mended while the daemon runs: the next session is recorded again.
    fs::write(&path, format!("{}\n", Identity::generate().to_public())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let (recorder, answer) = scene.begins(9, Record::Required, None);
    assert!(matches!(answer, Answer::Run(_)));
    recorder.over(Over::Exited(0));
    assert_eq!(scene.read(9).0.header().unwrap().sealed.len(), 1);
}

#[test]
fn a_sealed_recording_that_a_crash_cut_is_closed_without_a_key() {
    let ana = Identity::generate();
    let (dir, sealing) = sealing(&[&ana]);
    let scene = sealing_scene(dir, sealing, plenty());
    let (mut recorder, _) = scene.begins(1, Record::Required, None);
    recorder.says(0, Stream::Output, MARKER);
    recorder.over(Over::Exited(0));
    let folder = scene.dir.path().join("recordings");
    let path = folder.join(Nonce([1; 16]).to_string());
    let (_, chunks) = scene.read(1);
    let cut: Vec<u8> = chunks[..2].iter().flat_map(Chunk::write).collect();
    fs::write(&path, &cut).unwrap();
    fs::remove_file(folder.join(format!("{}.end", Nonce([1; 16])))).unwrap();
    let (found, untold) = Shelf::open(&folder).unwrap().recover();
    assert_eq!((found.len(), untold), (1, Vec::new()));
    let (chain, chunks) = scene.read(1);
    assert_eq!((chain.end().unwrap().how, found[0].recorded.bytes), (Ended::Restarted, MARKER.len() as u64));
    assert_eq!(opened(&chunks, &ana).unwrap()[0].bytes, MARKER);
}
