//! Recordings on their way to the CA, and what does not get there.

use std::cell::RefCell;

use fireaxe_protocol::recording::{Chain, Ended, Event, Header, SessionKind, Stream, Writer};

use super::*;

#[derive(Default)]
struct Taking {
    chain: RefCell<Chain>,
    requests: RefCell<Vec<u64>>,
    away: RefCell<bool>,
    /// It has no room for this one.
    full: Option<Nonce>,
}

fn problem(status: u16, expected: Option<u64>) -> TransportError {
    let json = serde_json::json!({
        "type": "t", "title": "no", "status": status, "code": "x", "reasons": [], "expected": expected
    });
    TransportError::Problem(serde_json::from_value(json).unwrap())
}

impl Carrier for &Taking {
    fn carry(&self, recording: Nonce, from: u64, chunks: &[u8]) -> Result<ChunksTaken, TransportError> {
        self.requests.borrow_mut().push(from);
        if *self.away.borrow() {
            return Err(TransportError::NotRunning { addr: "x".into() });
        }
        if self.full == Some(recording) {
            return Err(problem(507, None));
        }
        let mut chain = self.chain.borrow_mut();
        if from != chain.chunks() {
            return Err(problem(409, Some(chain.chunks())));
        }
        chain.all(chunks).map_err(|_| problem(400, None))?;
        Ok(ChunksTaken { schema: "fireaxe.chunks-taken/v1".into(), chunks: chain.chunks() })
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<Report>>);

impl Reports for Heard {
    fn say(&self, report: Report) -> Result<(), HostError> {
        self.0.lock().unwrap().push(report);
        Ok(())
    }
}

fn header(recording: Nonce) -> Header {
    Header {
        v: 1,
        recording,
        connection: Nonce([6; 16]),
        serial: 7,
        host: "db-3.payments.prod".parse().unwrap(),
        account: "ops".parse().unwrap(),
        from: None,
        began_us: 1,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: None,
        sealed: Vec::new(),
    }
}

fn event(n: u64) -> Vec<Event> {
    vec![Event { offset_us: n, stream: Stream::Output, bytes: vec![b'x'; 5000] }]
}

fn uploads<'c>(dir: &Path, ca: &'c Taking, heard: &Arc<Heard>) -> Uploads<&'c Taking> {
    Uploads::new(dir.into(), Arc::default(), heard.clone(), ca)
}

/// Turns until nothing is left to be sent now.
fn all(sends: &mut Uploads<&Taking>) {
    for _ in 0..1000 {
        match sends.round().unwrap() {
            Turns::More => {}
            Turns::Idle => return,
            Turns::Away => panic!("the CA is there"),
        }
    }
    panic!("it is never done");
}

fn code(report: &Report) -> Option<&str> {
    let Report::Alarmed(alarm) = report else { return None };
    Some(&alarm.code)
}

#[test]
fn a_recording_is_sent_as_it_grows_in_whole_chunks_and_goes_when_it_is_over() {
    let (dir, ca, heard) = (tempfile::tempdir().unwrap(), Taking::default(), Arc::<Heard>::default());
    let name = Nonce([5; 16]);
    let path = dir.path().join(name.to_string());
    let mut sends = uploads(dir.path(), &ca, &heard);
    let (mut writer, mut bytes) = Writer::begin(header(name));
    let whole = bytes.len();
    bytes.extend(writer.data(event(1)));
    // The second chunk is half written.
    fs::write(&path, &bytes[..whole + 100]).unwrap();
    all(&mut sends);
    assert_eq!(ca.chain.borrow().chunks(), 1);
    fs::write(&path, &bytes).unwrap();
    *ca.away.borrow_mut() = true;
    assert_eq!(sends.round().unwrap(), Turns::Away);
    *ca.away.borrow_mut() = false;
    // A restart knows nothing: the CA says how far it is.
    let mut sends = uploads(dir.path(), &ca, &heard);
    all(&mut sends);
    assert_eq!(ca.chain.borrow().chunks(), 2);
    let (last, recorded) = writer.end(Ended::Exited(0), 9);
    bytes.extend(last);
    fs::write(&path, &bytes).unwrap();
    all(&mut sends);
    assert!(path.exists(), "it went before its sink was done with it");
    fs::write(dir.path().join(format!("{name}.end")), "{}").unwrap();
    all(&mut sends);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(ca.chain.borrow().recorded(), Some(recorded));
    assert_eq!(*ca.requests.borrow(), [0, 1, 0, 1, 2]);
    assert!(heard.0.lock().unwrap().is_empty());
}

#[test]
fn one_that_cannot_be_read_is_set_aside_and_one_without_room_waits_and_neither_stops_the_next() {
    let (dir, heard) = (tempfile::tempdir().unwrap(), Arc::<Heard>::default());
    let ca = Taking { full: Some(Nonce([2; 16])), ..Taking::default() };
    fs::write(dir.path().join(Nonce([1; 16]).to_string()), [0xff; 200]).unwrap();
    for name in [Nonce([2; 16]), Nonce([3; 16])] {
        fs::write(dir.path().join(name.to_string()), Writer::begin(header(name)).1).unwrap();
    }
    let mut sends = uploads(dir.path(), &ca, &heard);
    all(&mut sends);
    // The one without room is not asked for again at once.
    all(&mut sends);
    assert_eq!(*ca.requests.borrow(), [0, 0]);
    assert_eq!(ca.chain.borrow().chunks(), 1);
    assert!(dir.path().join("damaged").join(Nonce([1; 16]).to_string()).exists());
    let heard = heard.0.lock().unwrap();
    let codes: Vec<&str> = heard.iter().filter_map(code).collect();
    assert_eq!(codes, ["recording.damaged", "recording.held"]);
}

/// A CA that takes everything, and while whose requests a recording grows by another request.
struct Growing {
    path: PathBuf,
    writer: RefCell<Writer>,
    grows: Nonce,
    asked: RefCell<Vec<Nonce>>,
}

impl Carrier for &Growing {
    fn carry(&self, recording: Nonce, from: u64, chunks: &[u8]) -> Result<ChunksTaken, TransportError> {
        self.asked.borrow_mut().push(recording);
        if recording == self.grows {
            let more: Vec<u8> = (0..240).flat_map(|n| self.writer.borrow_mut().data(event(n))).collect();
            let mut file = File::options().append(true).open(&self.path).unwrap();
            std::io::Write::write_all(&mut file, &more).unwrap();
        }
        let (mut rest, mut taken) = (chunks, from);
        while let Some((_, length)) = Chunk::read(rest).unwrap() {
            (rest, taken) = (&rest[length..], taken + 1);
        }
        Ok(ChunksTaken { schema: "fireaxe.chunks-taken/v1".into(), chunks: taken })
    }
}

#[test]
fn a_recording_that_grows_faster_than_it_is_sent_holds_up_no_other() {
    let (dir, heard) = (tempfile::tempdir().unwrap(), Arc::<Heard>::default());
    let (grows, other) = (Nonce([1; 16]), Nonce([2; 16]));
    let path = dir.path().join(grows.to_string());
    let (writer, first) = Writer::begin(header(grows));
    fs::write(&path, first).unwrap();
    fs::write(dir.path().join(other.to_string()), Writer::begin(header(other)).1).unwrap();
    let ca = Growing { path, writer: RefCell::new(writer), grows, asked: RefCell::default() };
    let mut sends = Uploads::new(dir.path().into(), Arc::default(), heard.clone(), &ca);
    for _ in 0..3 {
        assert_eq!(sends.round().unwrap(), Turns::More);
    }
    // One that comes meanwhile has its turn, too.
    let later = Nonce([3; 16]);
    fs::write(dir.path().join(later.to_string()), Writer::begin(header(later)).1).unwrap();
    assert_eq!(sends.round().unwrap(), Turns::More);
    assert_eq!(*ca.asked.borrow(), [grows, other, grows, grows, grows, later]);
}

#[test]
fn a_long_recording_is_walked_through_once_and_what_is_known_of_it_is_not_read_again() {
    let (dir, ca, heard) = (tempfile::tempdir().unwrap(), Taking::default(), Arc::<Heard>::default());
    let name = Nonce([5; 16]);
    let path = dir.path().join(name.to_string());
    let (mut writer, mut bytes) = Writer::begin(header(name));
    bytes.extend((0..600).flat_map(|n| writer.data(event(n))));
    fs::write(&path, &bytes).unwrap();
    let mut sends = uploads(dir.path(), &ca, &heard);
    all(&mut sends);
    assert_eq!(ca.chain.borrow().chunks(), 601);
    // What the CA has is not looked at any more: it could be anything.
    fs::write(&path, vec![0xff; bytes.len()]).unwrap();
    let (last, _) = writer.end(Ended::Exited(0), 999);
    fs::write(dir.path().join(format!("{name}.end")), "{}").unwrap();
    std::io::Write::write_all(&mut File::options().append(true).open(&path).unwrap(), &last).unwrap();
    all(&mut sends);
    assert!(!path.exists() && ca.chain.borrow().recorded().is_some());

    // After a restart the CA says how far it is, and that is found; also that this was the end.
    bytes.extend(last);
    fs::write(&path, &bytes).unwrap();
    fs::write(dir.path().join(format!("{name}.end")), "{}").unwrap();
    ca.requests.borrow_mut().clear();
    all(&mut uploads(dir.path(), &ca, &heard));
    assert!(!path.exists());
    assert_eq!(*ca.requests.borrow(), [0]);
    assert!(heard.0.lock().unwrap().is_empty());
}
