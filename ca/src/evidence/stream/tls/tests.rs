//! A real TLS server that reads all, cuts, stalls, dawdles or ends without a word; and a stream that loses nothing.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::super::position::PositionFile;
use super::super::pump::{Batch, Follow, Pace, Pump, PumpError, Source, Undelivered};
use super::*;

/// What the server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Reads to our close, and closes.
    Reads,
    /// The same, a little at a time.
    Dawdles,
    /// Ends the connection after so many bytes.
    Cuts(usize),
    /// Reads nothing any more.
    Stalls,
    /// Reads to our close, and ends TCP without closing TLS.
    EndsUntold,
    /// Sends without end.
    Talks,
}

/// What came in on one connection: whole messages by the entry's index.
#[derive(Debug, Clone)]
struct Came {
    does: Does,
    entries: Vec<u64>,
}

struct Server {
    port: u16,
    authority: tempfile::NamedTempFile,
    came: Arc<Mutex<Vec<Came>>>,
}

/// A server that does `script` to one connection after the other, and then reads.
fn server(script: Vec<Does>) -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut authority = tempfile::NamedTempFile::new().unwrap();
    authority.write_all(made.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let came = Arc::new(Mutex::new(Vec::new()));
    let into = came.clone();
    std::thread::spawn(move || {
        let mut script = script.into_iter();
        let mut held = Vec::new();
        for socket in listener.incoming() {
            let does = script.next().unwrap_or(Does::Reads);
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            let text = serve(&mut stream, does);
            into.lock().unwrap().push(Came { does, entries: entries(&text) });
            finish(&mut stream, does);
            if does == Does::Stalls {
                held.push(stream);
            }
        }
    });
    Server { port, authority, came }
}

fn serve(stream: &mut StreamOwned<ServerConnection, TcpStream>, does: Does) -> Vec<u8> {
    let (mut text, mut piece) = (Vec::new(), vec![0; 4096]);
    loop {
        let room = match does {
            Does::Stalls => {
                // The handshake alone.
                while stream.conn.is_handshaking() && stream.conn.complete_io(&mut stream.sock).is_ok() {}
                return text;
            }
            Does::Cuts(at) if text.len() >= at => return text,
            Does::Cuts(at) => (at - text.len()).min(4096),
            Does::Dawdles => 700,
            _ => 4096,
        };
        match stream.read(&mut piece[..room]) {
            Ok(0) => break,
            Ok(more) => text.extend_from_slice(&piece[..more]),
            Err(_) => return text,
        }
        if does == Does::Dawdles {
            std::thread::yield_now();
        }
    }
    text
}

/// Ends the connection, as it would after all was read.
fn finish(stream: &mut StreamOwned<ServerConnection, TcpStream>, does: Does) {
    if does == Does::Talks {
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    }
    if matches!(does, Does::Reads | Does::Dawdles) {
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}

/// The indexes of whole messages, read by the length before each.
fn entries(mut text: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(blank) = text.iter().position(|b| *b == b' ') {
        let length: usize = std::str::from_utf8(&text[..blank]).unwrap().parse().unwrap();
        let Some(message) = text.get(blank + 1..blank + 1 + length) else { break };
        let message = std::str::from_utf8(message).unwrap();
        let index = message.split_once("index=\"").unwrap().1.split_once('"').unwrap().0;
        found.push(index.parse().unwrap());
        text = &text[blank + 1 + length..];
    }
    found
}

/// A log of so many entries.
struct Entries(u64);

impl Source for Entries {
    fn size(&mut self) -> Result<u64, String> {
        Ok(self.0)
    }
    fn leaf(&mut self, index: u64) -> Option<Hash> {
        (index < self.0).then(|| leaf(index))
    }
    fn read(&mut self, from: u64, until: u64, batch: &mut Batch) -> Result<(), String> {
        for index in from..until {
            let item = Item {
                index,
                at: 1_795_845_600,
                leaf: leaf(index),
                kind: "session.opened".into(),
                emergency: None,
                origin: "fireaxe.example/0123456789abcdef".into(),
                severity: 1,
                text: format!(
                    "{{\"n\":{index},\"pad\":\"{}\"}}",
                    "x".repeat(usize::try_from(index % 300).unwrap())
                ),
                short: "{}".into(),
            };
            if !batch.push(item) {
                break;
            }
        }
        Ok(())
    }
}

fn leaf(index: u64) -> Hash {
    Hash::of(&index.to_be_bytes())
}

/// Waits for nothing; ends the stream after so many waits.
struct Waits(u32);

impl Pace for Waits {
    fn wait(&mut self, _: Duration) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
    fn tell(&mut self, _: &str) {}
}

fn position() -> PositionFile {
    PositionFile::in_memory(
        "fireaxe.example/0123456789abcdef".parse().unwrap(),
        Ed25519Key([1; 32]),
        "t".into(),
    )
}

fn stream(
    server: &Server,
    plain_end: bool,
    size: u64,
    position: &mut PositionFile,
    waits: u32,
) -> Result<u64, PumpError> {
    let tls = Tls::new("localhost", server.port, server.authority.path(), "ca-1", plain_end).unwrap();
    let mut tls = tls.with_stall(Duration::from_millis(500));
    let mut deliver = |items: &[Item]| tls.deliver(items).map_err(Undelivered::Again);
    let follow = if waits < 100 { Follow::Forever } else { Follow::ToTheEnd };
    Pump { source: &mut Entries(size), deliver: &mut deliver, position, pace: &mut Waits(waits) }.run(follow)
}

/// All that connections brought which were read to their end: every entry, in order, none left out.
fn is_whole(server: &Server, size: u64) {
    let came = server.came.lock().unwrap().clone();
    let read: Vec<u64> = came
        .iter()
        .filter(|one| matches!(one.does, Does::Reads | Does::Dawdles | Does::EndsUntold))
        .flat_map(|one| one.entries.clone())
        .collect();
    let mut expected = 0;
    for index in read {
        assert!(index <= expected, "entry {index} came, and {expected} has not: {came:?}");
        expected = expected.max(index + 1);
    }
    assert_eq!(expected, size);
    for one in &came {
        assert!(one.entries.windows(2).all(|pair| pair[1] == pair[0] + 1), "{one:?}");
    }
}

#[test]
fn a_server_that_reads_gets_every_entry_once() {
    let server = server(vec![]);
    assert_eq!(stream(&server, false, 2500, &mut position(), 1000).unwrap(), 2500);
    is_whole(&server, 2500);
    let came: usize = server.came.lock().unwrap().iter().map(|one| one.entries.len()).sum();
    assert_eq!(came, 2500);
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = server(vec![Does::Dawdles]);
    assert_eq!(stream(&server, false, 900, &mut position(), 1000).unwrap(), 900);
    is_whole(&server, 900);
    assert_eq!(server.came.lock().unwrap().len(), 1);
}

#[test]
fn a_connection_cut_anywhere_loses_nothing() {
    // Every place of a message is met: its length, its head, its text, the last byte of all.
    let mut place = 1usize;
    for _ in 0..6 {
        let cuts: Vec<Does> = (0..4)
            .map(|_| {
                place = (place * 7919 + 104_729) % 160_000;
                Does::Cuts(place)
            })
            .collect();
        let server = server(cuts);
        assert_eq!(stream(&server, false, 1500, &mut position(), 1000).unwrap(), 1500);
        is_whole(&server, 1500);
    }
}

#[test]
fn a_server_that_stalls_is_left_and_tried_again() {
    let server = server(vec![Does::Stalls, Does::Stalls]);
    assert_eq!(stream(&server, false, 700, &mut position(), 1000).unwrap(), 700);
    is_whole(&server, 700);
}

#[test]
fn an_end_of_tcp_alone_is_no_arrival_unless_the_operator_says_so() {
    let untold = vec![Does::EndsUntold; 20];
    let server = server(untold);
    let mut stands = position();
    let given_up = stream(&server, false, 10, &mut stands, 1000);
    assert!(matches!(given_up, Err(PumpError::Tried { last: TlsError::Untold, .. })), "{given_up:?}");
    assert_eq!(stands.position().next, 0);
    assert_eq!(stream(&server, true, 10, &mut stands, 1000).unwrap(), 10);
    is_whole(&server, 10);
}

#[test]
fn a_server_that_talks_without_end_is_left() {
    let server = server(vec![Does::Talks; 20]);
    let given_up = stream(&server, false, 10, &mut position(), 1000);
    // It may also have been left in the middle of a write of its own.
    assert!(matches!(given_up, Err(PumpError::Tried { .. })), "{given_up:?}");
}

#[test]
fn a_stream_that_is_started_again_goes_on_where_it_was_known_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("position");
    let open = || {
        let log = "fireaxe.example/0123456789abcdef".parse().unwrap();
        PositionFile::open(&path, log, Ed25519Key([1; 32]), "t".into()).unwrap()
    };
    // The first batch arrives, the second is cut, and the stream ends there.
    let server = server(vec![Does::Reads, Does::Cuts(5000)]);
    let before = stream(&server, false, 2500, &mut open(), 1).unwrap();
    assert_eq!((before, open().position().next), (1000, 1000));
    assert_eq!(stream(&server, false, 2500, &mut open(), 1000).unwrap(), 1500);
    is_whole(&server, 2500);
    // Another log under the same position is refused before anything is sent.
    let came = server.came.lock().unwrap().len();
    let shorter = stream(&server, false, 99, &mut open(), 1000);
    assert!(matches!(shorter, Err(PumpError::Position(_))), "{shorter:?}");
    assert_eq!(server.came.lock().unwrap().len(), came);
}

#[test]
fn a_server_with_another_certificate_gets_nothing() {
    let (server, other) = (server(vec![]), self::server(vec![]));
    let mixed = Server { port: server.port, authority: other.authority, came: server.came.clone() };
    let refused = stream(&mixed, false, 10, &mut position(), 1000);
    assert!(matches!(refused, Err(PumpError::Tried { last: TlsError::Connection(_), .. })), "{refused:?}");
    assert!(server.came.lock().unwrap().iter().all(|one| one.entries.is_empty()));
    let nothing = tempfile::NamedTempFile::new().unwrap();
    let unusable = Tls::new("localhost", 6514, nothing.path(), "ca-1", false);
    assert!(matches!(unusable, Err(TlsError::Authority(_))));
}
