//! How much a recorded session carries: a flood from a host to its client, through recorder and sink. Every
//! byte is recorded or marked as lost, or it panics.

use std::io::Read;
use std::process::{Command, Stdio};

use fireaxe_protocol::host::SessionClosed;
use fireaxe_protocol::policy::{Record, Terms};

use crate::clock;
use crate::town::{Town, terms};

/// One flood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flood {
    /// Bytes that the client got.
    pub bytes: u64,
    /// How long it took, from the login's beginning to its end.
    pub seconds: f64,
    /// Bytes in the recording.
    pub recorded: u64,
    /// Bytes that the recording marks as lost.
    pub lost: u64,
}

impl Flood {
    /// Megabytes (10^6 bytes) a second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
}

/// Sends so many bytes from the town's host through one session that is recorded like this.
pub fn flood(town: &mut Town, record: Record, bytes: u64) -> Flood {
    let (login, serial) = town.key(&Terms { record, ..terms("ops") }, 600);
    let seconds = pour(town.host.ssh_command(&login, "ops", &[]), bytes);
    told(record, bytes, seconds, &town.closed(serial))
}

/// Runs this ssh with a command that writes so many bytes as fast as it can, and takes all of them in; seconds
/// from the login's beginning to its end.
pub fn pour(mut ssh: Command, bytes: u64) -> f64 {
    ssh.arg(format!("head -c {bytes} /dev/zero"));
    let began = clock::now();
    let mut ssh = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("ssh");
    let mut out = ssh.stdout.take().expect("a pipe");
    let (mut buffer, mut seen) = (vec![0u8; 256 * 1024], 0u64);
    while let Ok(n @ 1..) = out.read(&mut buffer) {
        seen += n as u64;
    }
    assert!(ssh.wait().expect("ssh").success(), "the flood was cut off");
    assert_eq!(seen, bytes, "what the client got");
    began.elapsed().as_secs_f64()
}

/// What the host's word on the session says of a flood of so many bytes.
pub fn told(record: Record, bytes: u64, seconds: f64, closed: &SessionClosed) -> Flood {
    let (recorded, lost) = closed.recordings.iter().fold((0, 0), |(r, l), one| (r + one.bytes, l + one.lost));
    if record != Record::None {
        assert_eq!(recorded + lost, bytes, "recorded or marked as lost");
    }
    if record == Record::Required {
        assert_eq!(lost, 0, "a session that must be recorded waits");
    }
    Flood { bytes, seconds, recorded, lost }
}
