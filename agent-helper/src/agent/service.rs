//! The agent's process: two sockets, one thread a connection, and a sweeper that drops each key at its
//! end. Only processes of the same user are heard. What may be done is decided in `keyring`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::binding::Binding;
use super::frames::{self, Request as AgentRequest};
use super::keyring::{Keyring, Refused};
use crate::clock::Deadline;
use crate::control::{Answer, LINE, Narrow, Request};
use crate::randomness;

/// Connections at once, both sockets together.
const CONNECTIONS: usize = 64;
/// How long a peer may be silent: a login waits for its person, a verb does not.
const SILENCE: Duration = Duration::from_secs(600);
/// A thread needs little; the default of 2 MiB each would not fit into locked memory.
const STACK: usize = 256 * 1024;
/// The longest the sweeper sleeps: its sleep does not count the time a laptop is suspended.
const SWEEP: Duration = Duration::from_secs(2);

/// How long an ssh that asks for keys is kept waiting for a certificate for its host, all in all.
const PATIENCE: Duration = Duration::from_secs(3);
/// Processes at once that ask the CA for one.
const ASKING: usize = 8;

/// What came of asking the CA for a certificate for one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was handed in.
    Held,
    /// The CA makes none, or what it made was not taken.
    None,
    /// The CA did not answer.
    Away,
}

/// Asks the CA for certificates for single hosts, and has each handed in over the control socket, within that
/// time. What came of each, in order.
pub(crate) type AskCa = Box<dyn Fn(&[Narrow], Duration) -> Vec<Came> + Send + Sync>;

/// The agent as its threads share it.
pub(crate) struct Service {
    keyring: Mutex<Keyring>,
    changed: Condvar,
    /// What the CA is being asked for.
    asking: Mutex<Vec<Narrow>>,
    asked: Condvar,
    connections: AtomicUsize,
    clock: fn() -> u64,
    notes: Vec<String>,
    ask_ca: AskCa,
    stop: Box<dyn Fn() + Send + Sync>,
}

impl Service {
    /// An empty agent. `notes` is what could not be locked down; `stop` removes the sockets and ends
    /// the process.
    pub(crate) fn new(
        clock: fn() -> u64,
        notes: Vec<String>,
        ask_ca: AskCa,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Service> {
        Arc::new(Service {
            keyring: Mutex::default(),
            changed: Condvar::new(),
            asking: Mutex::default(),
            asked: Condvar::new(),
            connections: AtomicUsize::new(0),
            clock,
            notes,
            ask_ca,
            stop: Box::new(stop),
        })
    }

    /// Serves both sockets until the process ends.
    pub(crate) fn run(self: &Arc<Service>, agent: UnixListener, control: UnixListener) -> io::Result<()> {
        let me = self.clone();
        spawn("sweeper", move || me.sweep())?;
        let me = self.clone();
        spawn("agent", move || me.accept(&agent, Service::serve_ssh))?;
        self.accept(&control, Service::serve_control);
        Ok(())
    }

    fn accept(
        self: &Arc<Service>,
        listener: &UnixListener,
        serve: fn(&Service, UnixStream) -> io::Result<()>,
    ) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors, most likely: the others go on, this one is tried again shortly.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if !is_own(&stream) || self.connections.load(Ordering::Relaxed) >= CONNECTIONS {
                continue;
            }
            self.connections.fetch_add(1, Ordering::Relaxed);
            let me = self.clone();
            let started = spawn("connection", move || {
                // A peer that breaks off or breaks the protocol ends its own connection, nothing else.
                let _ = serve(&me, stream);
                me.connections.fetch_sub(1, Ordering::Relaxed);
            });
            if started.is_err() {
                self.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn keyring(&self) -> MutexGuard<'_, Keyring> {
        self.keyring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what has ended, at its end.
    fn sweep(&self) {
        let mut keyring = self.keyring();
        loop {
            let now = (self.clock)();
            let next = keyring.sweep(now).map_or(SWEEP, |at| Duration::from_secs(at.saturating_sub(now)));
            let next = next.clamp(Duration::from_millis(100), SWEEP);
            (keyring, _) = self.changed.wait_timeout(keyring, next).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn serve_ssh(&self, mut stream: UnixStream) -> io::Result<()> {
        limit(&stream)?;
        let mut binding = Binding::default();
        // What this connection was shown: nothing else is used on it.
        let mut shown: Vec<(Vec<u8>, String)> = Vec::new();
        while let Some(frame) = frames::read(&mut stream)? {
            let answer = match frames::parse(&frame) {
                AgentRequest::Identities => {
                    self.narrow(&binding);
                    shown = self.keyring().offer(&binding, (self.clock)());
                    frames::identities(&shown)
                }
                AgentRequest::Sign { key, .. } if !shown.iter().any(|(blob, _)| blob == key) => {
                    frames::failure()
                }
                AgentRequest::Sign { key, data } => {
                    match self.keyring().sign(&binding, key, data, (self.clock)()) {
                        Ok(signature) => frames::signature(&signature),
                        Err(_) => frames::failure(),
                    }
                }
                AgentRequest::Bind(bind) => {
                    if binding.take(bind) {
                        frames::success()
                    } else {
                        frames::failure()
                    }
                }
                AgentRequest::Other => frames::failure(),
            };
            frames::write(&mut stream, &answer)?;
        }
        Ok(())
    }

    /// Has the CA asked for certificates for the host at the far end, where that is wanted. Whatever comes of it,
    /// the caller goes on within [`PATIENCE`]: what is held without it goes on working.
    fn narrow(&self, binding: &Binding) {
        let wanted = self.keyring().wanted(binding, (self.clock)());
        if wanted.is_empty() {
            return;
        }
        let deadline = Deadline::after(PATIENCE);
        let Some(mine) = self.begin_asking(&wanted, deadline) else { return };
        let came = if mine.is_empty() { Vec::new() } else { (self.ask_ca)(&mine, deadline.left()) };
        let now = (self.clock)();
        for (narrow, came) in mine.iter().zip(&came).filter(|(_, came)| **came != Came::Held) {
            self.keyring().none_came(narrow, *came == Came::Away, now);
        }
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.retain(|one| !mine.contains(one));
        self.asked.notify_all();
        // Another connection asks for the same: it is not asked for twice.
        while asking.iter().any(|one| wanted.contains(one)) && !deadline.left().is_zero() {
            let waited = self.asked.wait_timeout(asking, deadline.left());
            asking = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes on what nobody asks for yet, once there is a place; nothing when none is free in time.
    fn begin_asking(&self, wanted: &[Narrow], deadline: Deadline) -> Option<Vec<Narrow>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mine: Vec<Narrow> = wanted.iter().filter(|one| !asking.contains(one)).cloned().collect();
            if asking.len() + mine.len() <= ASKING {
                asking.extend(mine.iter().cloned());
                return Some(mine);
            }
            if deadline.left().is_zero() {
                return None;
            }
            let waited = self.asked.wait_timeout(asking, deadline.left());
            asking = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn serve_control(&self, stream: UnixStream) -> io::Result<()> {
        limit(&stream)?;
        let mut out = stream.try_clone()?;
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let read = lines.by_ref().take(LINE).read_until(b'\n', &mut line)?;
            if read == 0 || line.last() != Some(&b'\n') {
                return Ok(());
            }
            let (answer, stop) = match serde_json::from_slice::<Request>(&line) {
                Ok(Request::Stop) => (Answer::Done, true),
                Ok(request) => (self.answer(request), false),
                Err(e) => (Answer::Refused { why: format!("the request cannot be read: {e}") }, false),
            };
            let mut text = serde_json::to_vec(&answer)?;
            text.push(b'\n');
            out.write_all(&text)?;
            if stop {
                *self.keyring() = Keyring::default();
                (self.stop)();
                return Ok(());
            }
        }
    }

    fn answer(&self, request: Request) -> Answer {
        self.try_answer(request).unwrap_or_else(|why| Answer::Refused { why })
    }

    fn try_answer(&self, request: Request) -> Result<Answer, String> {
        let now = (self.clock)();
        let say = |refused: Refused| refused.to_string();
        let mut keyring = self.keyring();
        let answer = match request {
            Request::Ping => Answer::Pong {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                notes: self.notes.clone(),
            },
            Request::FreshKey => {
                let seed = randomness::seed().map_err(|e| e.to_string())?;
                Answer::Key { public_key: keyring.fresh_key(seed, now).map_err(say)? }
            }
            Request::Hold { hold } => Answer::Held { held: vec![keyring.hold(*hold, now).map_err(say)?] },
            Request::List => Answer::Held { held: keyring.list(now) },
            Request::Remember { pending } => {
                keyring.remember(*pending, now).map_err(say)?;
                Answer::Done
            }
            Request::Discard { public_key } => {
                keyring.discard(&public_key);
                Answer::Done
            }
            Request::Forget { emergency } => {
                keyring.forget(emergency);
                Answer::Done
            }
            Request::Pending => Answer::Pending { pending: keyring.pending(now) },
            Request::Drop { emergency } => Answer::Dropped { count: keyring.drop_emergency(emergency) },
            Request::Match { host, account } => Answer::Matched {
                yes: keyring.matches(&host, &account, now),
                reached: keyring.best_for(&host, now).is_some(),
            },
            Request::Session { person, renew } => {
                let seed = randomness::seed().map_err(|e| e.to_string())?;
                Answer::Session { session: keyring.session(&person, renew, seed, now) }
            }
            Request::LoggedIn { public_key, until } => {
                keyring.logged_in(&public_key, until).map_err(say)?;
                Answer::Done
            }
            Request::ReadProof { read } => {
                let proof = keyring.read_proof(&read, now).map_err(say)?;
                Answer::Proof { key: proof.key, at: proof.at, signature: STANDARD.encode(proof.signature) }
            }
            Request::Narrowing { narrow } => {
                let narrowing = keyring.narrowing(&narrow, now).map_err(say)?;
                Answer::Narrowing { narrowing: Box::new(narrowing) }
            }
            Request::Narrow { narrow, new } => {
                keyring.narrow(&narrow, &new, now).map_err(say)?;
                Answer::Done
            }
            Request::Stop => Answer::Done,
        };
        self.changed.notify_all();
        Ok(answer)
    }
}

/// Whether the peer runs as the same user. Root is not: it needs no socket to take what it wants.
fn is_own(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == rustix::process::getuid())
}

fn limit(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(|_| ())
}
