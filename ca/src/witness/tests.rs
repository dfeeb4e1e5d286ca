//! Both ends together, over real sockets: the CA's threads against this program's own witnesses, and against some
//! that lie, hang or are away.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{
    Checkpoint, Cosigner, Event, Hash, NoteSigner, PinnedKeys, WitnessKey, WitnessPolicy, receipt,
};
use fireaxe_protocol::names::Origin;

use super::exchange::AddCheckpoint;
use super::memory::{Memory, MemoryError, Verdict};
use super::{Roots, Settings, Site, Witnesses, serve};
use crate::clock::SystemClock;
use crate::log::{Log, Reader};
use crate::randomness::SystemRandomness;
use crate::road::Cosigners;

fn origin() -> Origin {
    "ca.payments/0123456789abcdef".parse().unwrap()
}

fn signer() -> NoteSigner {
    NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[5; 32])).unwrap()
}

/// A log in a folder; `salt` makes another past of it.
struct Logged {
    path: PathBuf,
    log: Log,
    salt: u8,
}

impl Logged {
    fn new(folder: &Path, salt: u8) -> Logged {
        let path = folder.join(format!("log-{salt}.sqlite"));
        let log = signer().key().key();
        let keys = PinnedKeys { user_ca: Ed25519Key([1; 32]), log, krl: log, host_ca: log };
        Logged { log: Log::create(&path, origin(), keys, 0, &signer()).unwrap(), path, salt }
    }

    fn grow(&mut self, by: u64) -> (u64, String) {
        let mut batch = self.log.batch().unwrap();
        for _ in 0..by {
            let event = Event::CertificateIssued { of: Hash([self.salt; 32]), terms: Hash([2; 32]) };
            let _ = batch.append(batch.next_index(), &event, Some(b"body"), ()).unwrap();
        }
        let committed = batch.commit(&signer()).unwrap();
        (committed.size(), committed.note().to_owned())
    }

    fn ask(&self, from: u64, to: u64) -> Vec<u8> {
        let reader = Reader::open(&self.path).unwrap();
        let (size, note) = reader.checkpoint_covering(to - 1).unwrap();
        assert_eq!(size, to);
        let proof = if from == 0 { Vec::new() } else { reader.consistency(from, to).unwrap() };
        AddCheckpoint { old: from, proof, checkpoint: note }.encode().into_bytes()
    }
}

/// A witness that serves.
struct Served {
    key: WitnessKey,
    address: SocketAddr,
    site: Arc<Site>,
    _runtime: tokio::runtime::Runtime,
}

fn served(folder: &Path, name: &str) -> Served {
    let dir = folder.join(name);
    Memory::create(&dir, &format!("witness.example/{name}"), &mut SystemRandomness).unwrap();
    let memory = Memory::open(&dir, &[signer().key().clone()]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let key = memory.key().clone();
    let site = Arc::new(Site { memory, clock: Arc::new(SystemClock) });
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(site.clone(), listener));
    Served { key, address, site, _runtime: runtime }
}

/// Something that listens and does with each connection what it likes.
fn stranger(does: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| does(stream.unwrap())));
    address
}

/// Reads a request's head and body, then says this.
fn says(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> SocketAddr {
    stranger(move |mut stream| {
        let (mut read, mut piece) = (Vec::new(), [0u8; 4096]);
        let whole = |read: &[u8]| {
            let text = String::from_utf8_lossy(read).into_owned();
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head.to_ascii_lowercase();
            let length: usize =
                length.split_once("content-length: ")?.1.lines().next()?.trim().parse().ok()?;
            (body.len() >= length).then(|| body.to_owned())
        };
        while whole(&read).is_none() {
            match stream.read(&mut piece) {
                Ok(count @ 1..) => read.extend_from_slice(&piece[..count]),
                _ => return,
            }
        }
        let _ = stream.write_all(&answer(&whole(&read).unwrap()));
    })
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn policy(least: usize, of: &[(&WitnessKey, SocketAddr)]) -> WitnessPolicy {
    let mut text = String::new();
    for (n, (key, address)) in of.iter().enumerate() {
        text.push_str(&format!("witness w{n} {key} http://{address}\n"));
    }
    let names: String = (0..of.len()).map(|n| format!(" w{n}")).collect();
    text.push_str(&format!("group g {least}{names}\nquorum g\n"));
    WitnessPolicy::parse(text.as_bytes(), signer().key()).unwrap()
}

fn start(policy: &WitnessPolicy, log: &Path) -> Witnesses {
    begin(policy, log, false)
}

fn begin(policy: &WitnessPolicy, log: &Path, in_doubt: bool) -> Witnesses {
    let (policy, roots, clock) = (policy.clone(), Roots::default(), Arc::new(SystemClock));
    Witnesses::start(Settings { policy, roots, clock, in_doubt }, log).unwrap()
}

fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn two_of_three_witnesses_are_enough_while_the_third_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Logged::new(folder.path(), 1);
    let (one, two) = (served(folder.path(), "w1"), served(folder.path(), "w2"));
    let third = served(folder.path(), "w3");
    let policy = policy(2, &[(&one.key, one.address), (&two.key, two.address), (&third.key, nowhere())]);
    let witnesses = start(&policy, &log.path);
    witnesses.look().unwrap();
    // Of what was there before.
    let first = witnesses.arrived().unwrap();
    assert_eq!(log.log.keep_cosigned(&first).unwrap().unwrap().size(), 1);
    for by in [1, 3, 300] {
        let (size, head) = log.grow(by);
        let note = witnesses.cosign(size, &head).unwrap();
        assert_eq!(log.log.keep_cosigned(&note).unwrap().unwrap().size(), size);
        let proof = Reader::open(&log.path).unwrap().receipt(size - 1).unwrap().encode();
        receipt::check(b"body", size - 1, &proof, signer().key(), &origin()).unwrap();
        assert_eq!(receipt::check_witnesses(&proof, &policy), Ok(2));
    }
    for site in [&one.site, &two.site] {
        assert_eq!(site.memory.sizes(), [(origin().to_string(), 305)]);
    }
    assert_eq!(witnesses.ahead(), None);
}

#[test]
fn what_nobody_waited_for_is_cosigned_beside_the_road() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Logged::new(folder.path(), 1);
    let one = served(folder.path(), "w1");
    let witnesses = start(&policy(1, &[(&one.key, one.address)]), &log.path);
    witnesses.look().unwrap();
    for _ in 0..20 {
        let (size, head) = log.grow(1);
        witnesses.committed(size, &head);
    }
    let newest = (0..1000).find_map(|_| {
        let note = witnesses.arrived();
        let head = note.and_then(|note| Checkpoint::open(&note, signer().key(), &origin()).ok());
        let found = head.filter(|head| head.size == 21);
        if found.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        found
    });
    assert!(newest.is_some(), "the newest head is never witnessed");
}

#[test]
fn a_quorum_that_is_not_there_holds_nobody_up_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Logged::new(folder.path(), 1);
    let one = served(folder.path(), "w1");
    let silent = Cosigner::new("witness.example/silent", SigningKey::from_bytes(&[7; 32])).unwrap();
    // Accepts, and says nothing.
    let hangs = stranger(std::mem::forget);
    let witnesses = start(&policy(2, &[(&one.key, one.address), (silent.key(), hangs)]), &log.path);
    witnesses.look().unwrap();
    for _ in 0..3 {
        let (size, head) = log.grow(1);
        assert_eq!(witnesses.cosign(size, &head), None);
    }
    assert_eq!(witnesses.ahead(), None);
}

#[test]
fn what_a_lying_witness_says_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Logged::new(folder.path(), 1);
    let (size, head) = log.grow(4);
    let mine = || Cosigner::new("witness.example/w1", SigningKey::from_bytes(&[7; 32])).unwrap();
    let text_of = |body: &str| {
        let (text, _) = AddCheckpoint::decode(body.as_bytes())
            .unwrap()
            .checkpoint
            .split_once("\n\n")
            .map(|(t, s)| (t.to_owned(), s.to_owned()))
            .unwrap();
        text + "\n"
    };
    let liars: Vec<(&str, SocketAddr)> = vec![
        (
            "another key",
            says(move |body| {
                let other = Cosigner::new("witness.example/w1", SigningKey::from_bytes(&[8; 32])).unwrap();
                http("200 OK", &other.cosign(&text_of(body), 7))
            }),
        ),
        (
            "another text",
            says(move |body| http("200 OK", &mine().cosign(&text_of(body).replace("ca.", "cb."), 7))),
        ),
        ("nothing", says(|_| http("200 OK", ""))),
        ("no lines", says(|_| http("200 OK", "<html>not a witness</html>"))),
        (
            "an endless body",
            says(|_| {
                [b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".as_slice(), &[b'a'; 100_000]]
                    .concat()
            }),
        ),
        (
            "a body that never ends",
            says(|_| {
                let chunk = format!("{:x}\r\n{}\r\n", 4096, "a".repeat(4096)).repeat(50);
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}").into_bytes()
            }),
        ),
        ("no HTTP", says(|_| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())),
        ("another place", says(|_| http("302 Found\r\nlocation: http://127.0.0.1:1/", ""))),
        ("a size without sense", says(|_| http("409 Conflict", "many\n"))),
        (
            "another size each time",
            says({
                let count = std::sync::atomic::AtomicU64::new(0);
                move |_| {
                    http(
                        "409 Conflict",
                        &format!("{}\n", 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3),
                    )
                }
            }),
        ),
    ];
    for (what, address) in liars {
        let witnesses = start(&policy(1, &[(mine().key(), address)]), &log.path);
        witnesses.look().unwrap();
        assert_eq!(witnesses.cosign(size, &head), None, "{what}");
        assert_eq!((witnesses.arrived(), witnesses.ahead()), (None, None), "{what}");
    }
}

#[test]
fn a_log_that_is_behind_or_another_past_is_told_before_anything_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut real, mut fork) = (Logged::new(folder.path(), 1), Logged::new(folder.path(), 2));
    let witness = served(folder.path(), "w1");
    real.grow(4);
    let add = |body: &[u8]| witness.site.memory.add(body, 7);
    assert!(matches!(add(&real.ask(0, 5)), Verdict::Cosigned(_)));
    let policy = policy(1, &[(&witness.key, witness.address)]);
    // An older copy of it; another past of the same size; another past that has grown beyond.
    for (by, told) in [(2, 5), (2, 5), (7, 5)] {
        fork.grow(by);
        let ahead = start(&policy, &fork.path).look().unwrap_err();
        assert_eq!(
            (ahead.witness.as_str(), ahead.size),
            ("witness.example/w1", told),
            "fork of {}",
            fork.log.size()
        );
    }
    start(&policy, &real.path).look().unwrap();
    // While it runs, the same.
    let witnesses = start(&policy, &real.path);
    witnesses.look().unwrap();
    real.grow(3);
    assert!(matches!(add(&real.ask(5, 8)), Verdict::Cosigned(_)));
    let mut twin = Logged::new(&folder.path().join("."), 3);
    let (size, head) = twin.grow(7);
    assert_eq!(size, 8);
    assert_eq!(witnesses.cosign(size, &head), None);
    assert!(witnesses.ahead().is_some());
}

#[test]
fn a_log_in_doubt_is_confirmed_by_no_witness_that_learns_of_it_now() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut fork) = (Logged::new(folder.path(), 1), Logged::new(folder.path(), 2));
    let (one, wiped) = (served(folder.path(), "w1"), served(folder.path(), "w2"));
    log.grow(4);
    fork.grow(4);
    let both = |least| policy(least, &[(&one.key, one.address), (&wiped.key, wiped.address)]);
    // However often it is started: nobody is given the head.
    for _ in 0..2 {
        assert_eq!(begin(&both(1), &log.path, true).look(), Ok(false));
    }
    assert!(one.site.memory.sizes().iter().chain(&wiped.site.memory.sizes()).all(|(_, size)| *size == 0));
    // One had it before: it counts, and it alone.
    assert!(matches!(one.site.memory.add(&log.ask(0, 5), 7), Verdict::Cosigned(_)));
    assert_eq!(begin(&both(2), &log.path, true).look(), Ok(false));
    let away = policy(1, &[(&one.key, one.address), (&wiped.key, nowhere())]);
    assert_eq!(begin(&away, &log.path, true).look(), Ok(false), "the one that is away may know more");
    let witnesses = begin(&both(1), &log.path, true);
    assert_eq!(witnesses.look(), Ok(true));
    // Another past of that size, and one that is behind.
    assert_eq!(begin(&both(1), &fork.path, true).look().map_err(|ahead| ahead.size), Err(5));
    let behind = folder.path().join("behind");
    Reader::open(&log.path).unwrap().copy_to(&behind).unwrap();
    let (size, head) = log.grow(1);
    // Confirmed and committed: all of them are given it.
    let note = witnesses.cosign(size, &head);
    assert!(note.is_some());
    assert!(matches!(one.site.memory.add(&log.ask(size, size), 7), Verdict::Cosigned(_) | Verdict::Has(5)));
    drop(witnesses);
    let witnesses = begin(&policy(1, &[(&one.key, one.address)]), &behind, true);
    assert_eq!(witnesses.look().map_err(|ahead| ahead.size), Err(size));
}

#[test]
fn a_witness_answers_as_the_specification_says() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut fork) = (Logged::new(folder.path(), 1), Logged::new(folder.path(), 2));
    log.grow(4);
    log.grow(4);
    fork.grow(4);
    fork.grow(4);
    let dir = folder.path().join("w");
    let key = Memory::create(&dir, "witness.example/w", &mut SystemRandomness).unwrap();
    let memory = Memory::open(&dir, &[signer().key().clone()]).unwrap();
    let add = |memory: &Memory, body: &[u8]| memory.add(body, 1_700_000_000);
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();

    assert_eq!(add(&memory, b"old 0\n\n"), Verdict::UnknownLog);
    assert_eq!(add(&memory, b""), Verdict::Malformed);
    let other = text(log.ask(0, 5)).replace("ca.payments", "cb.payments");
    assert_eq!(add(&memory, other.as_bytes()), Verdict::UnknownLog);
    let forged = text(log.ask(0, 5)).replace("\n5\n", "\n6\n");
    assert_eq!(add(&memory, forged.as_bytes()), Verdict::NotSigned);
    assert_eq!(add(&memory, &log.ask(5, 9)), Verdict::Has(0));
    let beyond = text(log.ask(0, 5)).replace("old 0", "old 6");
    assert_eq!(add(&memory, beyond.as_bytes()), Verdict::Malformed);

    let Verdict::Cosigned(lines) = add(&memory, &log.ask(0, 5)) else { panic!() };
    assert!(lines.starts_with("\u{2014} witness.example/w ") && lines.ends_with('\n'));
    assert_eq!(add(&memory, &log.ask(0, 9)), Verdict::Has(5));
    assert!(matches!(add(&memory, &log.ask(5, 5)), Verdict::Cosigned(_)), "again, and again");
    assert_eq!(add(&memory, &fork.ask(5, 5)), Verdict::Has(5), "the same size, another root");
    assert_eq!(add(&memory, &fork.ask(5, 9)), Verdict::NoProof);
    let without = AddCheckpoint { proof: Vec::new(), ..AddCheckpoint::decode(&log.ask(5, 9)).unwrap() };
    assert_eq!(add(&memory, without.encode().as_bytes()), Verdict::NoProof);
    let more = AddCheckpoint { proof: vec![Hash([1; 32])], ..AddCheckpoint::decode(&log.ask(5, 5)).unwrap() };
    assert_eq!(add(&memory, more.encode().as_bytes()), Verdict::NoProof);
    assert!(matches!(add(&memory, &log.ask(5, 9)), Verdict::Cosigned(_)));

    // What it cosigned outlives it; a second process does not cosign beside it.
    let second = Memory::open(&dir, &[signer().key().clone()]);
    assert!(matches!(second.err(), Some(MemoryError::Locked(_))));
    drop(memory);
    let memory = Memory::open(&dir, &[signer().key().clone()]).unwrap();
    assert_eq!((memory.key(), memory.sizes()), (&key, vec![(origin().to_string(), 9)]));
    assert_eq!(add(&memory, &fork.ask(0, 9)), Verdict::Has(9));
    drop(memory);

    // A disk that cannot be written cosigns nothing.
    log.grow(1);
    let memory = Memory::open(&dir, &[signer().key().clone()]).unwrap();
    std::fs::rename(dir.join("logs"), dir.join("away")).unwrap();
    assert_eq!(add(&memory, &log.ask(9, 10)), Verdict::NotKept);
    std::fs::rename(dir.join("away"), dir.join("logs")).unwrap();
    assert!(matches!(add(&memory, &log.ask(9, 10)), Verdict::Cosigned(_)));
    drop(memory);
    let file = std::fs::read_dir(dir.join("logs")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, "damaged").unwrap();
    assert!(matches!(Memory::open(&dir, &[signer().key().clone()]).err(), Some(MemoryError::Damaged { .. })));
}

#[test]
fn however_many_ask_at_once_no_two_pasts_are_cosigned() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut fork) = (Logged::new(folder.path(), 1), Logged::new(folder.path(), 2));
    for _ in 0..6 {
        log.grow(1);
        fork.grow(1);
    }
    let dir = folder.path().join("w");
    Memory::create(&dir, "witness.example/w", &mut SystemRandomness).unwrap();
    let memory = Memory::open(&dir, &[signer().key().clone()]).unwrap();
    // Every request that either past can make, from every size: all at once, over and over.
    let bodies: Vec<(u8, u64, Vec<u8>)> = [(1, &log), (2, &fork)]
        .iter()
        .flat_map(|(past, log)| {
            (0..8u64).flat_map(move |from| {
                (from.max(2)..8).map(move |to| (*past, to, log.ask(if from == 1 { 0 } else { from }, to)))
            })
        })
        .collect();
    let cosigned = std::sync::Mutex::new(std::collections::BTreeSet::new());
    std::thread::scope(|scope| {
        for offset in 0..4 {
            let (bodies, cosigned, memory) = (&bodies, &cosigned, &memory);
            scope.spawn(move || {
                for n in 0..bodies.len() * 4 {
                    let (past, to, body) = &bodies[(n * 7 + offset * 13) % bodies.len()];
                    if let Verdict::Cosigned(_) = memory.add(body, 7) {
                        cosigned.lock().unwrap().insert((*past, *to));
                    }
                }
            });
        }
    });
    let cosigned = cosigned.into_inner().unwrap();
    let pasts: std::collections::BTreeSet<u8> = cosigned.iter().map(|(past, _)| *past).collect();
    assert_eq!(pasts.len(), 1, "{cosigned:?}");
}
