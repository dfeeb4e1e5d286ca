//! The sink on a disk that is full for everybody: root, who mounts, needs no reserve to be told of it.

use std::path::PathBuf;
use std::process::Command;

use super::*;

/// What a session that must be recorded has left once it cannot be.
const NOTICE: Duration = Duration::from_millis(300);

/// A disk of a mebibyte.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
        assert!(mounted.unwrap().success(), "run as root: a disk of the test's own is mounted");
        Disk(dir)
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut filler = fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn on(disk: &Disk) -> Scene {
    let scene = scene(plenty());
    let limits = Limits { notice: NOTICE, ..plenty() };
    let folder = disk.0.path().join("recordings");
    let (sink, _) = Recordings::open(
        &folder,
        "db-3.payments.prod".parse().unwrap(),
        Sealing::default(),
        limits,
        scene.heard.clone(),
        || (),
    )
    .unwrap();
    Scene { sink, ..scene }
}

fn chain(scene: &Scene, n: u8) -> Chain {
    let kept = scene.sink.shelf().kept().unwrap();
    let path = &kept.iter().find(|kept| kept.recording == Nonce([n; 16])).unwrap().path;
    let mut chain = Chain::default();
    chain.all(&fs::read(path).unwrap()).unwrap();
    chain
}

/// Says so much, and reads the notice of a session that must be recorded.
fn floods(recorder: &mut Recorder) {
    for _ in 0..10 {
        recorder.says(0, Stream::Output, &[b'x'; 10_000]);
    }
}

#[test]
#[ignore = "mounts a disk, as root: `make end-to-end` runs it"]
fn a_full_disk_ends_what_must_be_recorded_and_every_byte_of_the_rest_is_recorded_or_counted() {
    let disk = Disk::new();
    let scene = on(&disk);
    let (mut required, _) = scene.begins(1, Record::Required, None);
    let (mut other, _) = scene.begins(2, Record::BestEffort, None);
    for recorder in [&mut required, &mut other] {
        floods(recorder);
    }
    let deadline = crate::clock::Deadline::after(Duration::from_secs(30));
    let written = |n: u8| fs::metadata(scene.sink.shelf().path(Nonce([n; 16]))).unwrap().len();
    while written(1) < 100_000 || written(2) < 100_000 {
        assert!(deadline.left().is_some(), "what was said is not written");
        std::thread::sleep(Duration::from_millis(10));
    }
    disk.fill();
    floods(&mut required);
    let Some(Notice::Ends { .. }) = required.line() else { panic!("no notice") };
    floods(&mut other);
    // The notice is over, and so is its recording: the connection is to be ended, whatever the recorder says.
    let took = required.taking.join().unwrap();
    assert!(took.unrecorded && took.since >= NOTICE, "{took:?}");
    assert_eq!(took.recorded, None, "nothing fits, its end neither");
    let alarms = |scene: &Scene| scene.heard.0.lock().unwrap().len();
    assert_eq!(alarms(&scene), 1);
    // One that may go on does, and its loss is marked as soon as something fits.
    floods(&mut other);
    fs::remove_file(disk.filler()).unwrap();
    floods(&mut other);
    let recorded = other.over(Over::Exited(0)).recorded.unwrap();
    assert_eq!(recorded.bytes + recorded.lost, 400_000);
    assert!(recorded.bytes >= 100_000 && recorded.lost >= 100_000, "{recorded:?}");
    assert_eq!(chain(&scene, 2).recorded(), Some(recorded));
    // With room again the next session begins, and what had no room for its end gets it.
    let (next, answer) = scene.begins(3, Record::Required, None);
    assert!(matches!(answer, Answer::Run(_)));
    assert!(!next.over(Over::Exited(0)).unrecorded);
    let ended = chain(&scene, 1);
    let recorded = ended.recorded().unwrap();
    assert_eq!((recorded.bytes + recorded.lost, ended.end().unwrap().how), (200_000, Ended::Full));
    assert!(scene.sink.shelf().kept().unwrap().iter().all(|kept| kept.ended.is_some()));
}

#[test]
#[ignore = "mounts a disk, as root: `make end-to-end` runs it"]
fn what_waits_for_its_chunk_when_the_disk_fills_is_counted_too() {
    let disk = Disk::new();
    let scene = on(&disk);
    let (mut recorder, _) = scene.begins(1, Record::BestEffort, None);
    disk.fill();
    // Less than a chunk and more than a page: only time, or the end, writes it.
    recorder.says(0, Stream::Output, &[b'x'; 5000]);
    let deadline = crate::clock::Deadline::after(Duration::from_secs(30));
    while scene.heard.0.lock().unwrap().is_empty() {
        assert!(deadline.left().is_some(), "nothing was tried to write");
        std::thread::sleep(Duration::from_millis(10));
    }
    recorder.says(0, Stream::Output, b"again");
    fs::remove_file(disk.filler()).unwrap();
    let recorded = recorder.over(Over::Exited(0)).recorded.unwrap();
    assert_eq!((recorded.bytes, recorded.lost), (0, 5005));
}
