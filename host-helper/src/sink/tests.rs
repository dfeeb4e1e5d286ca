//! The sink against recorders that are good, killed, flooding, lying; and what a crash leaves.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use fireaxe_protocol::policy::Record;
use fireaxe_protocol::recording::{Body, Chain, Chunk, Ended, Event, Stream};

use fireaxe_protocol::statement::Nonce;

use super::words::{BEGUN, Over};
use super::*;
use crate::daemon::words::{Answer, Notice, Run};

mod disk;
mod people;
mod sealed;

#[derive(Default)]
struct Heard(Mutex<Vec<Report>>);

impl Reports for Heard {
    fn say(&self, report: Report) -> Result<(), HostError> {
        self.0.lock().unwrap().push(report);
        Ok(())
    }
}

struct Scene {
    dir: tempfile::TempDir,
    heard: Arc<Heard>,
    sink: Recordings,
}

fn scene(limits: Limits) -> Scene {
    sealing_scene(tempfile::tempdir().unwrap(), Sealing::default(), limits)
}

fn sealing_scene(dir: tempfile::TempDir, sealing: Sealing, limits: Limits) -> Scene {
    let heard = Arc::new(Heard::default());
    let host = "db-3.payments.prod".parse().unwrap();
    let (sink, found) =
        Recordings::open(&dir.path().join("recordings"), host, sealing, limits, heard.clone(), || ())
            .unwrap();
    assert_eq!(found, []);
    Scene { dir, heard, sink }
}

fn plenty() -> Limits {
    Limits { reserve: 0, ..Limits::default() }
}

fn begun(n: u8, record: Record) -> (Begun, Sender<Notice>) {
    let (say, notices) = channel();
    let run = Run {
        recording: Nonce([n; 16]),
        command: None,
        shell: "/bin/bash".into(),
        record,
        emergency: None,
        tier: "root".parse().unwrap(),
        until: 2_000_000_000,
    };
    let (account, from) = ("root".parse().unwrap(), Some("192.0.2.7".parse().unwrap()));
    let person = Some("ana".parse().unwrap());
    (Begun { connection: Nonce([200; 16]), serial: 7, account, person, from, run, notices }, say)
}

struct Recorder {
    stream: BufReader<UnixStream>,
    notices: Sender<Notice>,
    taking: JoinHandle<Took>,
}

impl Recorder {
    fn line<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).ok()
    }

    fn says(&mut self, offset_us: u64, stream: Stream, bytes: &[u8]) {
        let mut frame = Vec::new();
        Event { offset_us, stream, bytes: bytes.to_vec() }.put(&mut frame);
        self.stream.get_mut().write_all(&frame).unwrap();
    }

    fn over(mut self, over: Over) -> Took {
        self.stream.get_mut().write_all(&over.write()).unwrap();
        self.taking.join().unwrap()
    }

    fn killed(self) -> Took {
        drop(self.stream);
        self.taking.join().unwrap()
    }
}

impl Scene {
    fn begins(&self, n: u8, record: Record, asked: Option<&str>) -> (Recorder, Answer) {
        let (mut recorder, answer) = self.asks(n, record, asked);
        if matches!(answer, Answer::Run(_)) {
            recorder.stream.get_mut().write_all(&BEGUN).unwrap();
        }
        (recorder, answer)
    }

    /// A recorder that has its answer, and said nothing yet.
    fn asks(&self, n: u8, record: Record, asked: Option<&str>) -> (Recorder, Answer) {
        let (begun, notices) = begun(n, record);
        self.asks_as(begun, notices, asked)
    }

    fn asks_as(&self, begun: Begun, notices: Sender<Notice>, asked: Option<&str>) -> (Recorder, Answer) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let beginning = Beginning { terminal: None, asked: asked.map(str::to_owned) };
        let sink = self.sink.clone();
        let taking = std::thread::spawn(move || sink.record(begun, beginning, theirs));
        let mut recorder = Recorder { stream: BufReader::new(ours), notices, taking };
        let answer = recorder.line().expect("an answer");
        (recorder, answer)
    }

    fn read(&self, n: u8) -> (Chain, Vec<Chunk>) {
        let bytes = fs::read(self.dir.path().join("recordings").join(Nonce([n; 16]).to_string())).unwrap();
        let mut chain = Chain::default();
        let chunks = chain.all(&bytes).unwrap();
        (chain, chunks)
    }

    fn events(&self, n: u8) -> Vec<Event> {
        let data = |chunk: Chunk| match chunk.body {
            Body::Data(events) => events,
            _ => Vec::new(),
        };
        self.read(n).1.into_iter().flat_map(data).collect()
    }
}

#[test]
fn what_a_recorder_says_is_in_the_file_and_in_what_is_reported() {
    let scene = scene(plenty());
    let (mut recorder, answer) = scene.begins(1, Record::Required, Some("/usr/lib/openssh/sftp-server"));
    assert!(matches!(answer, Answer::Run(_)));
    recorder.says(0, Stream::Output, b"hello");
    recorder.says(0, Stream::Input, b"data");
    recorder.notices.send(Notice::Goes { until: 9 }).unwrap();
    assert_eq!(recorder.line(), Some(Notice::Goes { until: 9 }), "what the daemon says reaches the user");
    let took = recorder.over(Over::Exited(3));
    let (chain, chunks) = scene.read(1);
    assert_eq!((chain.recorded(), took.unrecorded), (took.recorded.clone(), false));
    assert_eq!(chain.end().unwrap().how, Ended::Exited(3));
    let Body::Header(header) = &chunks[0].body else { panic!("a header") };
    assert_eq!(header.kind, fireaxe_protocol::recording::SessionKind::Subsystem);
    assert_eq!((header.serial, header.connection), (7, Nonce([200; 16])));
    let kept = scene.sink.shelf().kept().unwrap();
    assert_eq!((kept.len(), &kept[0].ended), (1, &took.recorded));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&kept[0].path), mode(kept[0].path.parent().unwrap())), (0o600, 0o700));
    scene.sink.shelf().remove(kept[0].recording).unwrap();
    assert_eq!(fs::read_dir(kept[0].path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_recorder_that_is_killed_leaves_what_it_said_closed_with_a_mark() {
    let scene = scene(plenty());
    let (mut recorder, _) = scene.begins(1, Record::Required, None);
    recorder.says(0, Stream::Output, b"before");
    // And in the middle of an event.
    recorder.stream.get_mut().write_all(&[1, 0, 0]).unwrap();
    let took = recorder.killed();
    assert!(took.unrecorded, "its connection is to be ended");
    let (chain, _) = scene.read(1);
    assert_eq!((chain.recorded(), chain.end().unwrap().how), (took.recorded, Ended::Broken));
    assert_eq!(scene.events(1)[0].bytes, b"before");
    let (best_effort, _) = scene.begins(2, Record::BestEffort, None);
    assert!(!best_effort.killed().unrecorded);
}

#[test]
fn a_recorder_that_was_gone_before_its_answer_leaves_nothing_and_ends_nothing() {
    let scene = scene(plenty());
    let (recorder, answer) = scene.asks(1, Record::Required, Some("id"));
    assert!(matches!(answer, Answer::Run(_)));
    assert_eq!(recorder.killed(), Took::default());
    assert_eq!(scene.sink.shelf().kept().unwrap(), []);
    // One that has it may have begun what it asked for.
    let (recorder, _) = scene.begins(2, Record::Required, Some("id"));
    assert!(recorder.killed().unrecorded);
    assert_eq!(scene.read(2).0.end().unwrap().how, Ended::Broken);
}

#[test]
fn a_recorder_that_lies_of_time_or_speaks_in_tongues_spoils_only_its_own_next_word() {
    let scene = scene(plenty());
    let (mut recorder, _) = scene.begins(1, Record::Required, None);
    recorder.says(u64::MAX, Stream::Output, b"from the future");
    recorder.says(0, Stream::Output, b"from the past");
    recorder.stream.get_mut().write_all(&[99; 50]).unwrap();
    let took = recorder.taking.join().unwrap();
    assert!(took.unrecorded);
    let events = scene.events(1);
    assert_eq!(events.len(), 2);
    assert!(events[0].offset_us < 60_000_000 && events[1].offset_us >= events[0].offset_us);
}

#[test]
fn a_command_longer_than_the_header_takes_is_there_to_its_last_byte() {
    let scene = scene(plenty());
    let asked = format!("true {} ; rm -rf /", " ".repeat(50_000));
    let (recorder, _) = scene.begins(1, Record::Required, Some(&asked));
    recorder.over(Over::Exited(0));
    let whole: Vec<u8> = scene
        .events(1)
        .into_iter()
        .filter(|event| event.stream == Stream::Asked)
        .flat_map(|event| event.bytes)
        .collect();
    assert_eq!(whole, asked.as_bytes());
}

#[test]
fn a_flood_is_in_the_file_to_the_last_byte() {
    let scene = scene(plenty());
    let (mut recorder, _) = scene.begins(1, Record::Required, None);
    let part = vec![b'x'; 20_000];
    for _ in 0..500 {
        recorder.says(0, Stream::Output, &part);
    }
    let recorded = recorder.over(Over::Exited(0)).recorded.unwrap();
    assert_eq!((recorded.bytes, recorded.lost), (10_000_000, 0));
    assert_eq!(scene.read(1).0.recorded(), Some(recorded));
}

#[test]
fn without_room_nothing_begins_that_must_be_recorded_and_one_alarm_is_said() {
    let full = scene(Limits { reserve: u64::MAX, ..plenty() });
    // A twentieth of the disk is the most that is kept free: only a disk that full lacks room.
    if full.sink.shelf().free(u64::MAX).unwrap().is_ok() {
        assert!(full.sink.inner.room().is_ok());
    }
    // A folder that is gone has no room.
    fs::remove_dir(full.dir.path().join("recordings")).unwrap();
    for n in 0..3 {
        let (recorder, answer) = full.begins(n, Record::Required, None);
        let Answer::Refused(reason) = answer else { panic!("{answer:?}") };
        assert_eq!(reason.code, "recording.no_room");
        assert_eq!(recorder.taking.join().unwrap(), Took::default());
    }
    let (recorder, answer) = full.begins(4, Record::BestEffort, None);
    let Answer::Run(run) = answer else { panic!("{answer:?}") };
    assert_eq!(run.record, Record::None, "its user is not told that it is recorded");
    assert_eq!(recorder.killed(), Took::default());
    assert_eq!(full.heard.0.lock().unwrap().len(), 1);
}

#[test]
fn a_recording_at_its_limit_ends_a_required_session_and_marks_what_any_other_loses() {
    let scene = scene(Limits { recording: 100_000, ..plenty() });
    for (n, record) in [(1, Record::Required), (2, Record::BestEffort)] {
        let (mut recorder, _) = scene.begins(n, record, None);
        for _ in 0..30 {
            recorder.says(0, Stream::Output, &[b'x'; 10_000]);
        }
        if record == Record::Required {
            let Some(Notice::Ends { at, .. }) = recorder.line() else { panic!("no notice") };
            assert!(at >= crate::clock::now() + 50);
        }
        let recorded = recorder.over(Over::Exited(0)).recorded.unwrap();
        assert_eq!(recorded.bytes + recorded.lost, 300_000, "{record:?}: recorded or marked");
        assert!(recorded.lost > 0 && recorded.bytes >= 90_000);
    }
}

#[test]
fn nobody_takes_the_places_of_others() {
    let scene = scene(plenty());
    let mut all = Vec::new();
    for n in 0..OF_ONE {
        all.push(scene.begins(u8::try_from(n).unwrap(), Record::Required, None).0);
    }
    // In no tier: whoever fills their own places would go on unrecorded.
    for record in [Record::Required, Record::BestEffort] {
        let (_, answer) = scene.begins(100, record, None);
        assert!(matches!(answer, Answer::Refused(reason) if reason.code == "recording.too_many"));
    }
    assert_eq!(*scene.heard.0.lock().unwrap(), []);
    let (mut other, _) = begun(101, Record::Required);
    other.connection = Nonce([9; 16]);
    assert!(scene.sink.inner.place(&other).is_ok());
    all.pop().unwrap().killed();
    let (recorder, answer) = scene.begins(101, Record::Required, None);
    assert!(matches!(answer, Answer::Run(_)));
    recorder.killed();
    for recorder in all {
        recorder.killed();
    }
}

#[test]
fn what_a_crash_leaves_is_closed_at_the_next_start_wherever_it_was_cut() {
    let scene = scene(plenty());
    let (mut recorder, _) = scene.begins(1, Record::Required, None);
    recorder.says(0, Stream::Output, b"hello");
    let whole = recorder.over(Over::Exited(0)).recorded.unwrap();
    let path = scene.sink.shelf().kept().unwrap()[0].path.clone();
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<usize> = {
        let (mut ends, mut at) = (Vec::new(), 0);
        while let Some((_, taken)) = Chunk::read(&bytes[at..]).unwrap() {
            at += taken;
            ends.push(at);
        }
        ends
    };
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        fs::remove_file(path.with_extension("end")).ok();
        let (found, untold) = scene.sink.shelf().recover();
        assert_eq!(untold, [], "cut at {cut}");
        if cut < ends[0] {
            assert_eq!((found, path.exists()), (vec![], false), "cut at {cut}");
            continue;
        }
        assert_eq!(found[0].connection, Nonce([200; 16]));
        let (chain, _) = scene.read(1);
        assert_eq!(chain.recorded().as_ref(), Some(&found[0].recorded), "cut at {cut}");
        let whole_is_there = cut == bytes.len();
        assert_eq!(found[0].recorded == whole, whole_is_there, "cut at {cut}");
        let how = chain.end().unwrap().how;
        assert_eq!(how, if whole_is_there { Ended::Exited(0) } else { Ended::Restarted });
        assert_eq!(scene.sink.shelf().recover().0, [], "and once is enough");
    }
}

#[test]
fn a_session_that_is_not_recorded_is_told_things_too_and_leaves_no_file() {
    let scene = scene(plenty());
    let (mut recorder, answer) = scene.begins(1, Record::None, None);
    assert!(matches!(answer, Answer::Run(_)));
    recorder.notices.send(Notice::Ends { at: 5, why: "closed".into() }).unwrap();
    assert_eq!(recorder.line(), Some(Notice::Ends { at: 5, why: "closed".into() }));
    assert_eq!(recorder.killed(), Took::default());
    assert_eq!(scene.sink.shelf().kept().unwrap(), []);
}

#[test]
fn a_recording_that_cannot_be_closed_waits_and_keeps_neither_the_next_one_nor_the_daemon() {
    let scene = scene(plenty());
    let (mut recorder, _) = scene.begins(2, Record::Required, None);
    recorder.says(1, Stream::Output, b"x");
    recorder.over(Over::Exited(0));
    let folder = scene.dir.path().join("recordings");
    fs::remove_file(folder.join(format!("{}.end", Nonce([2; 16])))).unwrap();
    // No file that could be opened: as root nothing else refuses.
    fs::create_dir(folder.join(Nonce([1; 16]).to_string())).unwrap();
    let host = "db-3.payments.prod".parse().unwrap();
    let (_, found) =
        Recordings::open(&folder, host, Sealing::default(), plenty(), scene.heard.clone(), || ()).unwrap();
    let names: Vec<Nonce> = found.iter().map(|found| found.recorded.recording).collect();
    assert_eq!(names, [Nonce([2; 16])]);
    assert!(folder.join(Nonce([1; 16]).to_string()).exists());
    let heard = scene.heard.0.lock().unwrap();
    let [Report::Alarmed(alarm)] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(alarm.code, "recording.left_open");
    assert!(alarm.sentence.contains(&Nonce([1; 16]).to_string()), "{}", alarm.sentence);
}

#[test]
fn a_recording_that_was_damaged_is_told_with_its_name_and_one_that_is_none_is_not_removed() {
    let scene = scene(plenty());
    let (mut recorder, _) = scene.begins(2, Record::Required, None);
    recorder.says(1, Stream::Output, b"x");
    recorder.over(Over::Exited(0));
    let folder = scene.dir.path().join("recordings");
    let path = folder.join(Nonce([2; 16]).to_string());
    fs::remove_file(path.with_extension("end")).unwrap();
    // The last chunk is zeros, as a power cut may leave it; the other file is nothing of ours.
    let mut bytes = fs::read(&path).unwrap();
    let mut last = 0;
    while let Some((_, taken)) = Chunk::read(&bytes[last..]).unwrap() {
        if last + taken == bytes.len() {
            break;
        }
        last += taken;
    }
    let lost = bytes.len() - last;
    bytes[last..].fill(0);
    fs::write(&path, &bytes).unwrap();
    fs::write(folder.join(Nonce([1; 16]).to_string()), [0xff; 100]).unwrap();
    let (found, untold) = scene.sink.shelf().recover();
    assert_eq!(found.len(), 1);
    let codes: Vec<&str> = untold.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["recording.left_open", "recording.cut_off"]);
    assert!(untold[1].sentence.contains(&format!("{lost} bytes")), "{untold:?}");
    assert!(untold[1].sentence.contains(&Nonce([200; 16]).to_string()), "{untold:?}");
    assert!(folder.join(Nonce([1; 16]).to_string()).exists());
}
