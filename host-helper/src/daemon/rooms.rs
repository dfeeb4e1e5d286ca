//! What the daemon's threads know of the rooms behind them, and which room answers which question.
//!
//! The socket reads a line and knows who asks; the feed reads what the CA says. What either means for
//! connections is left to [`Connections`], what a session writes to [`Sink`]; neither knows the other.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{AccountName, PersonName};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::Nonce;

use super::socket::{Handler, PATIENCE, Peer, reply};
use super::words::{Answer, Ask, Notice, Run, Terminal};

/// A certificate that came in, as the PAM hook says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// `PAM_USER`.
    pub account: AccountName,
    /// `PAM_RHOST`.
    pub from: String,
    /// The whole certificate, base64.
    pub certificate: String,
}

/// A certificate that was judged before its holder proved to have the key: a line for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considering {
    /// The connection's monitor, as the one who asks says.
    pub monitor: u32,
    /// The account asked for.
    pub account: String,
    /// The certificate's serial.
    pub serial: Option<u64>,
    /// Why it was refused.
    pub refused: Option<Reason>,
}

/// A session that may run.
#[derive(Debug)]
pub struct Begun {
    /// The connection that it came in with.
    pub connection: Nonce,
    /// The certificate's serial.
    pub serial: u64,
    /// The account.
    pub account: AccountName,
    /// Who the certificate names; a self-test names nobody.
    pub person: Option<PersonName>,
    /// Where the connection comes from.
    pub from: Option<IpAddr>,
    /// What it runs.
    pub run: Run,
    /// What its user is told while it runs. Ends when the connection is over.
    pub notices: Receiver<Notice>,
}

/// A revocation list that sshd reads from now on.
#[derive(Debug, Clone, Copy)]
pub struct InForce<'a> {
    /// Its version.
    pub version: u64,
    /// Its hash.
    pub hash: Hash,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Since when, unix seconds.
    pub at: u64,
}

/// Who is connected, until when, and how that ends. Calls come from several threads; each returns soon
/// (within a second): sweeping is the room's own thread's, [`Connections::keep`].
pub trait Connections: Send + Sync {
    /// `principals` has judged a certificate.
    fn considered(&self, peer: Peer, considering: Considering);
    /// The hook: a certificate came in.
    fn opened(&self, peer: Peer, opening: Opening) -> Answer;
    /// May this process run a session, and which?
    fn begin(&self, peer: Peer, terminal: Option<&Terminal>, asked: Option<&str>) -> Result<Begun, Reason>;
    /// Somebody of root's asked and was not heard in time: may have left a connection in a file.
    fn missed(&self) {}
    /// A session of that connection is over.
    fn ended(&self, connection: Nonce, took: Took);
    /// A recording of that connection was left open by an earlier daemon: its recorder may come back. Called
    /// at the start, before anybody asks.
    fn left_open(&self, connection: Nonce, recorded: Recorded);
    /// sshd has another list: what it revokes is ended, and then `Confirmed` is said. Also called once at
    /// the start, with the list that is there.
    fn listed(&self, list: InForce<'_>);
    /// All countdowns that run; one that is missing was held or is over.
    fn closing(&self, closing: Vec<FeedClosing>);
    /// Certificates that give more time, from the feed: what came in with an earlier one of the same key, in
    /// the same emergency and tier, goes on. Each is judged like one that comes in.
    fn extended(&self, certificates: &[Vec<u8>]);
    /// A session of that connection must be recorded and cannot be any more: it ends in a minute.
    fn unrecorded(&self, connection: Nonce);
    /// How many connections there are.
    fn count(&self) -> u32;
    /// Waits for deadlines and keeps them. Called once, on a thread of its own; does not return.
    fn keep(&self);
}

/// What a recorder says of the session that it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// Its terminal.
    pub terminal: Option<Terminal>,
    /// What the client asks to run.
    pub asked: Option<String>,
}

/// What came of a session's recording.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Took {
    /// What the recording comes to, if there is one.
    pub recorded: Option<Recorded>,
    /// It had to be recorded and was not, to its end: the recorder was killed, or there was no room. What
    /// goes on of the connection goes on unseen, so it is to be ended, as [`Unrecorded`](fireaxe_protocol::host::EndReason::Unrecorded).
    pub unrecorded: bool,
    /// How long that was so when the recording ended: what its user was told counts from then.
    pub since: Duration,
}

/// Takes what sessions write. Called on a thread of its own for each session.
pub trait Sink: Send + Sync {
    /// Answers [`Answer::Run`] on the stream (or [`Answer::Refused`] when the session must be recorded and
    /// cannot be) and takes the recording from it until the session is over.
    fn record(&self, begun: Begun, beginning: Beginning, stream: UnixStream) -> Took;
}

/// What answers before the rooms are there: it waits for them as long as an asker waits, and then says nothing,
/// as if there were no daemon. So the socket can be there before what was left is taken up, and its queue is
/// never long: who connects is looked at at once.
#[derive(Default)]
pub(super) struct Door {
    rooms: Mutex<Option<Arc<Rooms>>>,
    opened: Condvar,
}

impl Door {
    /// The rooms are there.
    pub(super) fn open(&self, rooms: Rooms) {
        *self.rooms.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(rooms));
        self.opened.notify_all();
    }
}

impl Handler for Door {
    fn answer(&self, peer: Peer, ask: Ask, stream: UnixStream) {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_timeout_while(rooms, PATIENCE, |rooms| rooms.is_none());
        let rooms = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
        if let Some(rooms) = rooms {
            rooms.answer(peer, ask, stream);
        }
    }

    fn missed(&self) {
        // Without rooms yet, they begin with what was left.
        if let Some(rooms) = &*self.rooms.lock().unwrap_or_else(PoisonError::into_inner) {
            rooms.missed();
        }
    }
}

/// Hands each question to its room.
pub struct Rooms {
    connections: Arc<dyn Connections>,
    sink: Arc<dyn Sink>,
    /// How things are, as JSON of `fireaxe.host-status/v1`.
    status: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// How sshd lets people in was changed. Returns at once.
    applied: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rooms")
    }
}

impl Rooms {
    /// The rooms behind the socket.
    pub fn new(
        connections: Arc<dyn Connections>,
        sink: Arc<dyn Sink>,
        status: impl Fn() -> serde_json::Value + Send + Sync + 'static,
    ) -> Rooms {
        Rooms { connections, sink, status: Box::new(status), applied: Box::new(|| ()) }
    }

    /// The same, and `applied` is called when root says [`Ask::Applied`]; it returns at once.
    #[must_use]
    pub fn telling(self, applied: impl Fn() + Send + Sync + 'static) -> Rooms {
        Rooms { applied: Box::new(applied), ..self }
    }
}

impl Handler for Rooms {
    fn answer(&self, peer: Peer, ask: Ask, mut stream: UnixStream) {
        let root = |answer: &dyn Fn() -> Answer| match peer.uid {
            0 => answer(),
            uid => Answer::Refused(Reason::new("peer.not_root", format!("uid {uid} may not ask that"))),
        };
        let answer = match ask {
            Ask::Considered { monitor, account, serial, refused } => {
                return self.connections.considered(peer, Considering { monitor, account, serial, refused });
            }
            Ask::Opened { account, from, certificate } => {
                let opening = Opening { account, from, certificate };
                root(&|| self.connections.opened(peer, opening.clone()))
            }
            Ask::Applied => root(&|| {
                (self.applied)();
                Answer::Noted
            }),
            Ask::Status => root(&|| Answer::Status((self.status)())),
            Ask::Begin { terminal, asked } => {
                match self.connections.begin(peer, terminal.as_ref(), asked.as_deref()) {
                    Ok(begun) => return self.session(begun, Beginning { terminal, asked }, stream),
                    Err(reason) => Answer::Refused(reason),
                }
            }
        };
        reply(&mut stream, &answer);
    }

    fn missed(&self) {
        self.connections.missed();
    }
}

impl Rooms {
    /// A session lasts for hours: it gets a thread of its own, and the socket its place back.
    fn session(&self, begun: Begun, beginning: Beginning, stream: UnixStream) {
        let (connections, sink) = (self.connections.clone(), self.sink.clone());
        let connection = begun.connection;
        let started = std::thread::Builder::new().name("session".into()).spawn(move || {
            // Said however the sink ends: a connection must not wait for a recording that nobody writes.
            let mut over = Over { connections, connection, took: Took::default() };
            over.took = sink.record(begun, beginning, stream);
        });
        if started.is_err() {
            // The stream is closed by now: the recorder reads the end instead of an answer, and refuses.
            self.connections.ended(connection, Took::default());
        }
    }
}

struct Over {
    connections: Arc<dyn Connections>,
    connection: Nonce,
    took: Took,
}

impl Drop for Over {
    fn drop(&mut self) {
        self.connections.ended(self.connection, std::mem::take(&mut self.took));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Deadline;
    use crate::processes::ProcessId;

    /// Rooms that nothing of this reaches.
    struct Nobody;

    impl Connections for Nobody {
        fn considered(&self, _: Peer, _: Considering) {}
        fn opened(&self, _: Peer, _: Opening) -> Answer {
            Answer::Noted
        }
        fn begin(&self, _: Peer, _: Option<&Terminal>, _: Option<&str>) -> Result<Begun, Reason> {
            Err(Reason::new("test", "nobody"))
        }
        fn ended(&self, _: Nonce, _: Took) {}
        fn left_open(&self, _: Nonce, _: Recorded) {}
        fn listed(&self, _: InForce<'_>) {}
        fn closing(&self, _: Vec<FeedClosing>) {}
        fn extended(&self, _: &[Vec<u8>]) {}
        fn unrecorded(&self, _: Nonce) {}
        fn count(&self) -> u32 {
            0
        }
        fn keep(&self) {}
    }

    impl Sink for Nobody {
        fn record(&self, _: Begun, _: Beginning, _: UnixStream) -> Took {
            Took::default()
        }
    }

    #[test]
    fn only_root_is_told_how_things_are_and_has_it_looked_again() {
        let looked = Arc::new(AtomicUsize::new(0));
        let counts = looked.clone();
        let rooms = Rooms::new(Arc::new(Nobody), Arc::new(Nobody), || serde_json::json!("status")).telling(
            move || {
                counts.fetch_add(1, Ordering::SeqCst);
            },
        );
        let ask = |uid, ask| {
            let (mut mine, theirs) = UnixStream::pair().unwrap();
            rooms.answer(Peer { process: ProcessId { pid: 1, start: 1 }, uid }, ask, theirs);
            let mut said = String::new();
            mine.read_to_string(&mut said).unwrap();
            said
        };
        for question in [Ask::Applied, Ask::Status] {
            assert!(ask(1000, question).contains("peer.not_root"));
        }
        assert_eq!(looked.load(Ordering::SeqCst), 0);
        assert_eq!(ask(0, Ask::Applied), "\"noted\"\n");
        assert_eq!(looked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn before_the_rooms_are_there_a_question_waits_and_then_hears_nothing() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let peer = Peer { process: ProcessId { pid: 1, start: 1 }, uid: 0 };
        let (early, late) = (Deadline::after(PATIENCE / 2), Deadline::after(PATIENCE * 10));
        Door::default().answer(peer, Ask::Status, theirs);
        assert!(early.left().is_none() && late.left().is_some());
        assert_eq!(ours.read(&mut [0; 1]).unwrap(), 0, "the end, as of no daemon");
    }
}
