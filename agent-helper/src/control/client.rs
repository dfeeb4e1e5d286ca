//! The verbs' end of the control socket, and starting the agent when there is none.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::ReadProof;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::{AccountName, EmergencyId, HostName, PersonName};
use thiserror::Error;

use super::{
    Answer, Held, Hold, LINE, Narrow, Narrowing, NewNarrowed, Pending, ReadRequest, Request, SessionState,
};
use crate::clock::Deadline;
use crate::places::Places;

/// Why the agent did not do something.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ControlError {
    /// There is none.
    #[error("no fireaxe agent is running")]
    NotRunning,
    /// It did not come up.
    #[error("the fireaxe agent did not start within {0} s")]
    NotStarted(u64),
    /// This program cannot find or run itself.
    #[error("the fireaxe agent cannot be started: {0}")]
    CannotStart(String),
    /// The conversation broke off.
    #[error("the fireaxe agent does not answer: {0}")]
    Broken(String),
    /// It said no.
    #[error("the fireaxe agent refused: {0}")]
    Refused(String),
    /// It said something else than was asked: another version.
    #[error("the fireaxe agent answered something else; it may be of another version")]
    Unexpected,
}

/// A conversation with the agent.
#[derive(Debug)]
pub(crate) struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    /// Connects to the agent that runs.
    pub(crate) fn connect(places: &Places) -> Result<Control, ControlError> {
        let stream = UnixStream::connect(places.control_socket()).map_err(|_| ControlError::NotRunning)?;
        let limit = Some(Duration::from_secs(5));
        let limited = stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit));
        limited.map_err(|e| ControlError::Broken(e.to_string()))?;
        Ok(Control { stream: BufReader::new(stream) })
    }

    /// Connects, and starts an agent of this program first if none runs. It outlives this process: it
    /// begins its own session and has no terminal.
    pub(crate) fn connect_or_start(places: &Places) -> Result<Control, ControlError> {
        if let Ok(control) = Control::connect(places) {
            return Ok(control);
        }
        let me = std::env::current_exe().map_err(|e| ControlError::CannotStart(e.to_string()))?;
        let mut child = Command::new(me);
        // What it starts reads the configuration, too; a relative name would mean another file there.
        if let Ok(config) = std::path::absolute(&places.config) {
            child.env("FIREAXE_CONFIG", config);
        }
        let mut child = child
            .args(["agent", "--detached"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()
            .map_err(|e| ControlError::CannotStart(e.to_string()))?;
        let deadline = Deadline::after(Duration::from_secs(START_S));
        loop {
            if let Ok(control) = Control::connect(places) {
                return Ok(control);
            }
            // It ends early when another start won the race (then its socket appears) or when it
            // cannot run here (then nothing does).
            if deadline.left().is_zero() {
                return Err(match child.try_wait() {
                    Ok(Some(status)) => ControlError::CannotStart(format!("it ended with {status}")),
                    _ => ControlError::NotStarted(START_S),
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, ControlError> {
        let broken = |e: String| ControlError::Broken(e);
        let mut text = serde_json::to_vec(request).map_err(|e| broken(e.to_string()))?;
        text.push(b'\n');
        self.stream.get_mut().write_all(&text).map_err(|e| broken(e.to_string()))?;
        let mut line = Vec::new();
        let mut limited = self.stream.by_ref().take(LINE);
        limited.read_until(b'\n', &mut line).map_err(|e| broken(e.to_string()))?;
        match serde_json::from_slice(&line) {
            Ok(Answer::Refused { why }) => Err(ControlError::Refused(why)),
            Ok(answer) => Ok(answer),
            Err(_) if line.is_empty() => Err(broken("it closed the connection".into())),
            Err(_) => Err(ControlError::Unexpected),
        }
    }

    /// The agent's version, process and what it could not lock down.
    pub(crate) fn ping(&mut self) -> Result<(String, u32, Vec<String>), ControlError> {
        match self.ask(&Request::Ping)? {
            Answer::Pong { version, pid, notes } => Ok((version, pid, notes)),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// A new key's public half.
    pub(crate) fn fresh_key(&mut self) -> Result<Ed25519Key, ControlError> {
        match self.ask(&Request::FreshKey)? {
            Answer::Key { public_key } => Ok(public_key),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Drops a fresh key that gets no certificate.
    pub(crate) fn discard(&mut self, public_key: Ed25519Key) -> Result<(), ControlError> {
        match self.ask(&Request::Discard { public_key })? {
            Answer::Done => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Puts a certificate into the agent.
    pub(crate) fn hold(&mut self, hold: Hold) -> Result<Held, ControlError> {
        match self.ask(&Request::Hold { hold: Box::new(hold) })? {
            Answer::Held { mut held } => held.pop().ok_or(ControlError::Unexpected),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What is held, the most powerful first.
    pub(crate) fn list(&mut self) -> Result<Vec<Held>, ControlError> {
        match self.ask(&Request::List)? {
            Answer::Held { held } => Ok(held),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Remembers that something waits.
    pub(crate) fn remember(&mut self, pending: Pending) -> Result<(), ControlError> {
        match self.ask(&Request::Remember { pending: Box::new(pending) })? {
            Answer::Done => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Nothing of it waits any more.
    pub(crate) fn forget(&mut self, emergency: EmergencyId) -> Result<(), ControlError> {
        match self.ask(&Request::Forget { emergency })? {
            Answer::Done => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What waits.
    pub(crate) fn pending(&mut self) -> Result<Vec<Pending>, ControlError> {
        match self.ask(&Request::Pending)? {
            Answer::Pending { pending } => Ok(pending),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Drops an emergency's certificates; how many there were.
    pub(crate) fn drop_emergency(&mut self, emergency: EmergencyId) -> Result<usize, ControlError> {
        match self.ask(&Request::Drop { emergency })? {
            Answer::Dropped { count } => Ok(count),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Whether `ssh host` should log in as `account`, and whether anything held reaches that host.
    pub(crate) fn matches(
        &mut self,
        host: HostName,
        account: AccountName,
    ) -> Result<(bool, bool), ControlError> {
        match self.ask(&Request::Match { host, account })? {
            Answer::Matched { yes, reached } => Ok((yes, reached)),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The session key for reading.
    pub(crate) fn session(&mut self, person: &PersonName, renew: bool) -> Result<SessionState, ControlError> {
        match self.ask(&Request::Session { person: person.clone(), renew })? {
            Answer::Session { session } => Ok(session),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The CA has taken the session key.
    pub(crate) fn logged_in(&mut self, public_key: Ed25519Key, until: u64) -> Result<(), ControlError> {
        match self.ask(&Request::LoggedIn { public_key, until })? {
            Answer::Done => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// A proof for one read.
    pub(crate) fn read_proof(&mut self, read: ReadRequest) -> Result<ReadProof, ControlError> {
        match self.ask(&Request::ReadProof { read })? {
            Answer::Proof { key, at, signature } => {
                let raw = STANDARD.decode(signature).ok().and_then(|raw| raw.try_into().ok());
                Ok(ReadProof { key, at, signature: raw.ok_or(ControlError::Unexpected)? })
            }
            _ => Err(ControlError::Unexpected),
        }
    }

    /// What a certificate for one host must be made of.
    pub(crate) fn narrowing(&mut self, narrow: &Narrow) -> Result<Narrowing, ControlError> {
        match self.ask(&Request::Narrowing { narrow: narrow.clone() })? {
            Answer::Narrowing { narrowing } => Ok(*narrowing),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Hands in a certificate for one host.
    pub(crate) fn narrow(&mut self, narrow: &Narrow, new: NewNarrowed) -> Result<(), ControlError> {
        match self.ask(&Request::Narrow { narrow: narrow.clone(), new: Box::new(new) })? {
            Answer::Done => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Ends the agent; everything it holds is wiped.
    pub(crate) fn stop(&mut self) -> Result<(), ControlError> {
        match self.ask(&Request::Stop)? {
            Answer::Done => Ok(()),
            _ => Err(ControlError::Unexpected),
        }
    }
}

/// Seconds: it takes milliseconds; a machine that swaps takes longer.
const START_S: u64 = 5;
