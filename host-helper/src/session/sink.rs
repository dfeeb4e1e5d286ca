//! The recorder's end of the daemon's socket: events out, notices in.
//!
//! What the socket does not take waits here, at most [`ROOM`] bytes. Then a session that must be recorded
//! waits too, and so does its program; any other goes on, and the bytes that are not recorded are counted.
//! When the daemon is away, it is asked again each second: one that was restarted opens another recording of
//! the same session, which begins with what waited.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use fireaxe_protocol::limits;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::recording::{Event, Stream};

use crate::clock::{Deadline, Stopwatch};
use crate::daemon::call;
use crate::daemon::words::{Answer, Ask, LINE, Notice, SOCKET};
use crate::sink::words::{BEGUN, Over};

/// Bytes that wait for the sink.
const ROOM: usize = 256 * 1024;
/// The same while the daemon is away: what a restart of it must not lose.
const ROOM_AWAY: usize = 1024 * 1024;
/// How long the daemon may take to answer. The session of one that is asked again stands still meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long until a daemon that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The socket, and what waits for it.
pub(super) struct Link {
    stream: Option<UnixStream>,
    record: Record,
    began: Stopwatch,
    frames: VecDeque<Vec<u8>>,
    /// Bytes of the first frame that are written.
    written: usize,
    waiting: usize,
    /// Bytes that were not recorded and are not marked yet.
    lost: u64,
    heard: Vec<u8>,
    away: Option<Away>,
}

struct Away {
    since: Stopwatch,
    asked: Stopwatch,
}

/// Asks whether the session may run, and says that it begins: nothing of it may run before. `Err`: nobody
/// answered, and why.
pub(super) fn ask(begin: &Ask) -> Result<(Answer, UnixStream), String> {
    let deadline = Deadline::after(PATIENCE);
    let mut stream = call::say(Path::new(SOCKET), begin, deadline).map_err(|error| error.to_string())?;
    let answer = call::answer(&stream, deadline).ok_or("it said nothing in time")?;
    if matches!(answer, Answer::Run(_)) {
        stream.write_all(&BEGUN).map_err(|error| error.to_string())?;
    }
    Ok((answer, stream))
}

impl Link {
    pub(super) fn new(stream: UnixStream, record: Record) -> Link {
        let _ = stream.set_nonblocking(true);
        Link {
            stream: Some(stream),
            record,
            began: Stopwatch::start(),
            frames: VecDeque::new(),
            written: 0,
            waiting: 0,
            lost: 0,
            heard: Vec::new(),
            away: None,
        }
    }

    pub(super) fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }

    /// Whether more may be read from whoever is recorded.
    pub(super) fn has_room(&self) -> bool {
        let room = if self.away.is_some() { ROOM_AWAY } else { ROOM };
        self.record != Record::Required || self.waiting < room
    }

    /// Whether what was read may go on: the sink has it, or need not, or is away and will get it.
    pub(super) fn has_it(&self) -> bool {
        self.record != Record::Required || self.waiting == 0 || self.away.is_some()
    }

    /// Whether something waits to be written.
    pub(super) fn waits(&self) -> bool {
        self.waiting > 0 && self.stream.is_some()
    }

    /// Since when the daemon is away.
    pub(super) fn away(&self) -> Option<Duration> {
        self.away.as_ref().map(|away| away.since.elapsed())
    }

    /// Says what went over a stream.
    pub(super) fn say(&mut self, stream: Stream, bytes: &[u8]) {
        for part in bytes.chunks(limits::RECORDING_EVENT) {
            let offset_us = self.began.elapsed_us();
            self.event(&Event { offset_us, stream, bytes: part.to_vec() });
        }
        self.pump();
    }

    /// Says the terminal's new size.
    pub(super) fn resized(&mut self, columns: u16, rows: u16) {
        self.event(&Event::resize(self.began.elapsed_us(), columns, rows));
        self.pump();
    }

    /// Says how the session ended; it is the last.
    pub(super) fn over(&mut self, over: Over) {
        if self.record == Record::None {
            return;
        }
        if self.lost > 0 {
            let lost = Event::lost(self.began.elapsed_us(), std::mem::take(&mut self.lost));
            self.push(&lost);
        }
        self.frames.push_back(over.write());
        self.waiting += 3;
        self.pump();
    }

    fn event(&mut self, event: &Event) {
        if self.record == Record::None {
            return;
        }
        // Only what need not be recorded is ever dropped: the other stops being read.
        if self.record == Record::BestEffort && self.waiting >= ROOM {
            let counts = matches!(event.stream, Stream::Output | Stream::Error | Stream::Input);
            self.lost += if counts { event.bytes.len() as u64 } else { 0 };
            return;
        }
        if self.lost > 0 {
            let lost = Event::lost(event.offset_us, std::mem::take(&mut self.lost));
            self.push(&lost);
        }
        self.push(event);
    }

    fn push(&mut self, event: &Event) {
        let mut frame = Vec::with_capacity(event.length());
        event.put(&mut frame);
        self.waiting += frame.len();
        self.frames.push_back(frame);
    }

    /// Writes what the socket takes.
    pub(super) fn pump(&mut self) {
        while let (Some(stream), Some(frame)) = (&mut self.stream, self.frames.front()) {
            match stream.write(frame.get(self.written..).unwrap_or_default()) {
                Ok(n) => {
                    self.written += n;
                    if self.written >= frame.len() {
                        self.waiting -= frame.len();
                        self.written = 0;
                        self.frames.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.gone(),
            }
        }
    }

    /// Reads what the daemon has to say.
    pub(super) fn hear(&mut self) -> Vec<Notice> {
        let mut buffer = [0u8; 4096];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 && self.heard.len() <= LINE => {
                    self.heard.extend_from_slice(buffer.get(..n).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                _ => self.gone(),
            }
        }
        let mut notices = Vec::new();
        while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            // A word of a newer daemon is skipped: none of them is needed to record.
            notices.extend(serde_json::from_slice(&line));
        }
        notices
    }

    fn gone(&mut self) {
        self.stream = None;
        self.heard.clear();
        if self.record != Record::None && self.away.is_none() {
            self.away = Some(Away { since: Stopwatch::start(), asked: Stopwatch::start() });
        }
    }

    /// Asks a daemon that is away whether it is back; `true`: it is, and what waited goes to it.
    pub(super) fn return_to(&mut self, begin: &Ask) -> bool {
        let Some(away) = &mut self.away else { return false };
        if away.asked.elapsed() < AGAIN {
            return false;
        }
        let asked = ask(begin);
        away.asked = Stopwatch::start();
        match asked {
            Ok((Answer::Run(run), stream)) if run.record == self.record => {
                let _ = stream.set_nonblocking(true);
                self.stream = Some(stream);
                self.away = None;
                self.began = Stopwatch::start();
                // The other recording has a part of the first frame at most, and drops that.
                self.written = 0;
                self.pump();
                true
            }
            _ => false,
        }
    }

    /// Waits until the sink has everything, or no longer than `patience`.
    pub(super) fn finish(mut self, patience: Duration) {
        let Some(stream) = &mut self.stream else { return };
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_write_timeout(Some(patience));
        let mut skip = self.written;
        for frame in &self.frames {
            if stream.write_all(frame.get(skip..).unwrap_or_default()).is_err() {
                return;
            }
            skip = 0;
        }
    }
}
