//! One session, from its answer to its end: reads what the recorder says, hands it to the recording, tells the
//! recorder what the daemon has to say, and decides what happens when it cannot be recorded.
//!
//! `required`: no session; one that runs is told, and a minute later its recording and its socket end.
//! `best-effort`: it goes on, and what is not recorded is counted; but none begins beyond its connection's own
//! places, which that connection alone could fill to go unrecorded. A recorder that is not read from waits, and
//! its session with it: that is what keeps memory bounded.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::limits;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::recording::{Ended, Event, Header, SessionKind, Size, Stream};

use super::places::{Place, is_own};
use super::recording::Recording;
use super::words::{self, Over, Said};
use super::{FLUSH, Inner, took};
use crate::clock::{self, Stopwatch};
use crate::daemon::socket::reply;
use crate::daemon::words::{Answer, Notice};
use crate::daemon::{Beginning, Begun, Took};
use crate::error::HostError;

/// How often a session that says nothing is looked at: what the daemon has to say waits no longer.
const IDLE: Duration = Duration::from_secs(1);
/// Bytes of one recording between two looks at the disk: of all together, half of the reserve.
const LOOK: u64 = 1 << 20;

/// Takes a session.
pub(super) fn take(
    inner: &Arc<Inner>,
    mut begun: Begun,
    beginning: Beginning,
    mut stream: UnixStream,
) -> Took {
    let record = begun.run.record;
    let started = match record {
        Record::None => None,
        Record::BestEffort | Record::Required => match start(inner, &begun, &beginning) {
            Ok(started) => Some(started),
            Err(reason) if record == Record::Required || is_own(&reason) => {
                reply(&mut stream, &Answer::Refused(reason));
                return Took::default();
            }
            Err(_) => {
                // Its user is not told that it is recorded; the alarm is said.
                begun.run.record = Record::None;
                None
            }
        },
    };
    reply(&mut stream, &Answer::Run(Box::new(begun.run.clone())));
    let recording = started.map(|(place, recording)| Taking::new(inner, place, recording, record));
    let mut session = Session { begun, stream, recording, spoken: false };
    let over = session.carry();
    session.end(over)
}

fn start(inner: &Arc<Inner>, begun: &Begun, beginning: &Beginning) -> Result<(Place, Recording), Reason> {
    let place = inner.place(begun)?;
    place.room()?;
    let seal = inner.seal()?;
    let began = clock::now_us();
    let not_begun = |error: HostError| {
        let reason = Reason::new("recording.not_begun", error.to_string());
        inner.alarm(&inner.alarmed, &reason);
        reason
    };
    let mut header = header(inner, begun, beginning, began);
    let sealed = seal.is_some();
    header.sealed = seal.as_ref().map(|seal| seal.keys().to_vec()).unwrap_or_default();
    let mut recording = Recording::begin(&inner.shelf, header, seal).map_err(not_begun)?;
    // A command whose end the header does not show would be a place to hide in; one that is to be sealed is not
    // in the header at all.
    let asked = beginning.asked.as_deref().unwrap_or_default();
    if sealed || asked.len() > limits::RECORDING_ASKED {
        for part in asked.as_bytes().chunks(limits::RECORDING_EVENT) {
            let event = Event { offset_us: 0, stream: Stream::Asked, bytes: part.to_vec() };
            recording.take(event).map_err(not_begun)?;
        }
    }
    Ok((place, recording))
}

fn header(inner: &Inner, begun: &Begun, beginning: &Beginning, began_us: u64) -> Header {
    let kind = match beginning.asked.as_deref() {
        None if begun.run.command.is_none() => SessionKind::Shell,
        Some(asked) if is_sftp(asked) => SessionKind::Subsystem,
        _ => SessionKind::Exec,
    };
    let size = |terminal: &crate::daemon::words::Terminal| Size {
        term: terminal.term.clone(),
        columns: terminal.columns,
        rows: terminal.rows,
    };
    Header {
        v: 1,
        recording: begun.run.recording,
        connection: begun.connection,
        serial: begun.serial,
        host: inner.host.clone(),
        account: begun.account.clone(),
        from: begun.from,
        began_us,
        kind,
        command: begun.run.command.clone(),
        asked: beginning.asked.clone(),
        terminal: beginning.terminal.as_ref().map(size),
        sealed: Vec::new(),
    }
}

/// sshd runs a subsystem as a command; sftp is the one that there is.
fn is_sftp(asked: &str) -> bool {
    let program = asked.split(' ').next().unwrap_or_default();
    program == "internal-sftp" || program.rsplit('/').next() == Some("sftp-server")
}

/// What becomes of a session's events.
struct Taking {
    inner: Arc<Inner>,
    place: Place,
    recording: Recording,
    record: Record,
    /// Since when there is no room.
    full: Option<Stopwatch>,
    looked: u64,
}

impl Taking {
    fn new(inner: &Arc<Inner>, place: Place, recording: Recording, record: Record) -> Taking {
        Taking { inner: inner.clone(), place, recording, record, full: None, looked: 0 }
    }

    /// Takes an event, or counts it when there is no room. `Err`: there is no room from here on.
    fn event(&mut self, event: Event) -> Result<(), Reason> {
        if self.full.is_some() {
            self.recording.drop(&event);
            return Ok(());
        }
        let written = self.recording.written();
        if written >= self.inner.limits.recording {
            self.recording.drop(&event);
            return self.stop(Reason::new("recording.full", "the recording has the most bytes that one may"));
        }
        if written - self.looked >= LOOK {
            self.looked = written;
            self.place.holds(written);
            if let Err(reason) = self.place.room() {
                self.recording.drop(&event);
                return self.stop(reason);
            }
        }
        self.recording.take(event).or_else(|error| self.failed(&error))
    }

    fn tend(&mut self) -> Result<(), Reason> {
        match self.full {
            None => self.recording.tend().or_else(|error| self.failed(&error)),
            Some(_) => Ok(()),
        }
    }

    /// Its notice has passed since it had to be recorded and could not be.
    fn is_due(&self) -> bool {
        self.record == Record::Required
            && self.full.is_some_and(|since| since.elapsed() >= self.inner.limits.notice)
    }

    fn failed(&mut self, error: &HostError) -> Result<(), Reason> {
        let reason = Reason::new("recording.not_written", error.to_string());
        self.inner.alarm(&self.inner.alarmed, &reason);
        self.stop(reason)
    }

    fn stop(&mut self, reason: Reason) -> Result<(), Reason> {
        self.full = Some(Stopwatch::start());
        Err(reason)
    }
}

struct Session {
    begun: Begun,
    stream: UnixStream,
    recording: Option<Taking>,
    /// Whether its recorder has said anything: until then nothing runs.
    spoken: bool,
}

impl Session {
    /// Reads until the session is over; gives how, if its recorder said so.
    fn carry(&mut self) -> Option<Over> {
        let (mut have, mut buffer) = (Vec::new(), vec![0u8; 64 * 1024]);
        let (mut notices, mut known) = (true, 0);
        loop {
            while notices {
                match self.begun.notices.try_recv() {
                    Ok(notice) => reply(&mut self.stream, &notice),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => notices = false,
                }
            }
            let waits = self.recording.as_ref().is_some_and(|taking| taking.recording.waits());
            self.stream.set_read_timeout(Some(if waits { FLUSH } else { IDLE })).ok()?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => {
                    self.spoken = true;
                    have.extend_from_slice(buffer.get(..n)?);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
            let mut at = 0;
            // What is no event of ours ends the session's recording: nothing after it could be trusted.
            while let Some((said, taken)) = words::read(have.get(at..)?).ok()? {
                at += taken;
                match said {
                    Said::Begun => {}
                    Said::Over(over) => return Some(over),
                    Said::Event(event) => self.with(|taking| taking.event(event)),
                }
            }
            have.drain(..at);
            self.with(Taking::tend);
            self.tell_grown(&mut known);
            if self.recording.as_ref().is_some_and(|taking| taking.is_due()) {
                return None;
            }
        }
    }

    /// Wakes who sends the file, if it has grown since, and will stay.
    fn tell_grown(&self, known: &mut u64) {
        let Some(taking) = &self.recording else { return };
        if self.spoken && taking.recording.written() > *known {
            *known = taking.recording.written();
            (taking.inner.grown)();
        }
    }

    /// Does something with the recording, if there is one; tells the user when it has to end.
    fn with(&mut self, work: impl FnOnce(&mut Taking) -> Result<(), Reason>) {
        let Some(taking) = &mut self.recording else { return };
        let Err(reason) = work(taking) else { return };
        if taking.record == Record::Required {
            let at = clock::now() + taking.inner.limits.notice.as_secs();
            reply(&mut self.stream, &Notice::Ends { at, why: reason.sentence });
        }
    }

    fn end(self, over: Option<Over>) -> Took {
        let Some(taking) = self.recording else { return took(None) };
        if !self.spoken {
            // The answer came too late, and a recorder that still wants to asks anew. A file that stays is one
            // that the next start of the daemon closes.
            taking.recording.discard();
            return took(None);
        }
        let how = match over {
            Some(Over::Exited(code)) => Ended::Exited(code),
            Some(Over::Signalled(signal)) => Ended::Signalled(signal),
            None if taking.is_due() => Ended::Full,
            None => Ended::Broken,
        };
        let required = taking.record == Record::Required;
        let since = taking.full.map_or(Duration::ZERO, |full| full.elapsed());
        let Taking { inner, place, mut recording, .. } = taking;
        let ended = recording.end(how);
        place.holds(recording.written());
        let recorded: Option<Recorded> = match ended {
            Ok(recorded) => Some(recorded),
            Err(error) => {
                // Its end waits for room, or for the next start of the daemon; nobody waits for it.
                inner.alarm(&inner.alarmed, &Reason::new("recording.not_closed", error.to_string()));
                inner.leave(recording, how);
                None
            }
        };
        (inner.grown)();
        Took { recorded, unrecorded: required && over.is_none(), since }
    }
}
