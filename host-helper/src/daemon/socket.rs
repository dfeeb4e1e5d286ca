//! The daemon's socket: everybody on the host may connect, so everything is bounded. One line comes in,
//! within two seconds; who says it is what the kernel says. What it means is left to the [`Handler`].
//!
//! | limit | | why |
//! |---|---|---|
//! | [`OF_ROOT`] at once from uid 0 | 64 | hooks of one host: sshd's own `MaxStartups` is 100, each takes milliseconds |
//! | [`OF_OTHERS`] at once from all others | 64 | recorders and `principals`, each takes milliseconds |
//! | [`OF_ONE`] at once from one other uid | 16 | so no account can take all places of the others |
//! | [`PUT_OUT`] and not gone yet | 64 | their threads end as soon as they run |
//! | [`PATIENCE`] for the line | 2 s | as long as the hook waits |
//! | [`words::LINE`] for its length | 64 KiB | a certificate at its limit is 22 KiB of base64 |
//!
//! 192 lines of 64 KiB are 12 MiB: what strangers can make the daemon hold.
//!
//! A place is held until the question is answered; a session has a thread of its own by then. Whoever has said
//! no line yet only holds one as long as nobody else needs it: a newcomer puts out the oldest such of its own
//! uid, or of all others when it is theirs that are taken. So a program that floods the socket and says nothing
//! takes no place from another of the same account, which says its line as it connects.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::words::{self, Ask};
use crate::atomic;
use crate::clock::Deadline;
use crate::error::HostError;
use crate::processes::ProcessId;

/// Connections of uid 0 at once.
pub const OF_ROOT: usize = 64;
/// Connections of all other users together, at once.
pub const OF_OTHERS: usize = 64;
/// Connections of one other user at once.
pub const OF_ONE: usize = 16;
/// Connections that were put out and whose threads have not ended.
pub const PUT_OUT: usize = 64;
/// How long a connection may take to say its line, and to take its answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The other end of a connection, as the kernel had it when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process, as it was looked at when the connection was accepted: its number may be another's since,
    /// and [`ProcessId::read`] then finds nobody. Between connecting and that look a number can be given again
    /// unseen; the daemon accepts within milliseconds, and a number comes round after 32,768 processes or more.
    pub process: ProcessId,
    /// Its user.
    pub uid: u32,
}

/// Answers questions. Called on a thread of the question's own.
pub trait Handler: Send + Sync {
    /// Answers one question; the stream is the asker's. Returns soon: places are few.
    fn answer(&self, peer: Peer, ask: Ask, stream: UnixStream);

    /// Somebody of root's asked and is gone before it was heard, as a hook that waited long enough: what it left is
    /// to be looked for. Returns at once.
    fn missed(&self) {}
}

/// Binds the socket, in the place of one that was left behind. Only the holder of the daemon's lock may.
pub fn bind(path: &Path) -> Result<UnixListener, HostError> {
    let failed = |error| HostError::write(path, &error);
    if let Some(folder) = path.parent() {
        atomic::folder(folder)?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
        Ok(_) => {
            return Err(HostError::Write { path: path.into(), why: "something else is there".into() });
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Whatever the umask is. Until this line only root can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

/// Accepts for ever. Returns when accepting fails for good.
pub fn serve(listener: &UnixListener, handler: &Arc<dyn Handler>) -> HostError {
    let places = Arc::new(Places::default());
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => match error.raw_os_error() {
                // Too many open files, or no memory for one more: others end, and give theirs back.
                Some(errno) if FULL.contains(&errno) => {
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
                _ if error.kind() == std::io::ErrorKind::Interrupted => continue,
                _ => return HostError::read(Path::new(words::SOCKET), &error),
            },
        };
        let Some(peer) = peer_of(&stream) else {
            if rustix::net::sockopt::socket_peercred(&stream).is_ok_and(|peer| peer.uid.is_root()) {
                handler.missed();
            }
            continue;
        };
        let stream = Arc::new(stream);
        // No place, no answer: the asker reads the end, and does what it does without a daemon.
        let Some(place) = Places::take(&places, peer.uid, &stream) else { continue };
        let handler = handler.clone();
        let _ = std::thread::Builder::new().name("question".into()).stack_size(STACK).spawn(move || {
            let place = place;
            if let Some(ask) = question(&stream)
                && place.has_spoken()
                && let Some(stream) = Arc::into_inner(stream)
            {
                handler.answer(peer, ask, stream);
            }
        });
    }
}

/// Writes one line; an asker that has gone away is no error of ours.
pub fn reply(stream: &mut UnixStream, answer: &impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        let _ = stream.write_all(&line);
    }
}

/// Who is at the other end; nothing: it is gone already.
pub fn peer_of(stream: &UnixStream) -> Option<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
    Some(Peer { process: ProcessId::of(pid)?, uid: credentials.uid.as_raw() })
}

/// The one line that was said, if it is a question. Afterwards reading waits without limit, writing not.
fn question(stream: &UnixStream) -> Option<Ask> {
    let line = line(stream, Deadline::after(PATIENCE))?;
    stream.set_read_timeout(None).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Reads one line of at most [`words::LINE`] bytes, its end not included, before the deadline. `None`:
/// none came, or something came after it.
pub(super) fn line(mut stream: &UnixStream, deadline: Deadline) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        stream.set_read_timeout(Some(deadline.left()?)).ok()?;
        let read = match stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        bytes.extend_from_slice(chunk.get(..read)?);
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 == bytes.len() && bytes.len() <= words::LINE => {
                bytes.truncate(end);
                return Some(bytes);
            }
            None if bytes.len() < words::LINE => {}
            _ => return None,
        }
    }
}

/// Who has a place, the longest first.
#[derive(Debug, Default)]
struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    held: BTreeMap<u64, Held>,
    /// Put out, and not gone yet.
    out: usize,
}

#[derive(Debug)]
struct Held {
    uid: u32,
    /// As long as it has said nothing: what can be shut down to put it out.
    silent: Option<Arc<UnixStream>>,
}

impl Places {
    fn take(places: &Arc<Places>, uid: u32, stream: &Arc<UnixStream>) -> Option<Place> {
        let mut taken = places.lock();
        let of = |is: &dyn Fn(u32) -> bool| taken.held.values().filter(|held| is(held.uid)).count();
        let own = if uid == 0 { OF_ROOT } else { OF_ONE };
        if of(&|held| held == uid) >= own {
            taken.put_out(|held| held == uid)?;
        } else if uid != 0 && of(&|held| held != 0) >= OF_OTHERS {
            taken.put_out(|held| held != 0)?;
        }
        let number = taken.next;
        taken.next += 1;
        taken.held.insert(number, Held { uid, silent: Some(stream.clone()) });
        Some(Place { places: places.clone(), number })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Puts out the oldest of these that has said nothing; `None`: there is none, or too many are on their way.
    fn put_out(&mut self, of: impl Fn(u32) -> bool) -> Option<()> {
        if self.out >= PUT_OUT {
            return None;
        }
        let oldest = |(number, held): (&u64, &Held)| {
            let silent = held.silent.clone().filter(|_| of(held.uid))?;
            Some((*number, silent))
        };
        let (number, stream) = self.held.iter().find_map(oldest)?;
        self.held.remove(&number);
        self.out += 1;
        // Its thread reads the end. A line that it read just now is not answered: it was put out before.
        let _ = stream.shutdown(Shutdown::Both);
        Some(())
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Place {
    /// From here on nobody puts it out; `false`: somebody has.
    fn has_spoken(&self) -> bool {
        self.places.lock().held.get_mut(&self.number).is_some_and(|held| held.silent.take().is_some())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if taken.held.remove(&self.number).is_none() {
            taken.out -= 1;
        }
    }
}

/// ENOMEM, ENFILE, EMFILE, ENOBUFS.
const FULL: [i32; 4] = [12, 23, 24, 105];
/// A question's thread: parsing one line and what its room does. Bytes.
const STACK: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use fireaxe_protocol::reason::Reason;
    use proptest::prelude::*;

    use super::*;
    use crate::daemon::words::Answer;

    struct Echo;

    impl Handler for Echo {
        fn answer(&self, peer: Peer, ask: Ask, mut stream: UnixStream) {
            assert_eq!(peer.process.pid, std::process::id());
            reply(&mut stream, &Answer::Refused(Reason::new("test", format!("{ask:?}"))));
        }
    }

    fn served() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/host.sock");
        let listener = bind(&path).unwrap();
        std::thread::spawn(move || serve(&listener, &(Arc::new(Echo) as Arc<dyn Handler>)));
        (dir, path)
    }

    fn said(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer
    }

    #[test]
    fn a_question_is_answered_and_anything_else_is_not() {
        let (_dir, path) = served();
        assert!(said(&path, b"\"status\"\n").contains("Status"));
        for other in [
            &b"\"status\""[..],
            b"\n",
            b"status\n",
            b"\"status\"\n\"status\"\n",
            // The hook runs at the open alone.
            b"\"closed\"\n",
            b"{\"opened\":{}}\n",
            b"{\"begin\":{\"terminal\":null,\"asked\":null,\"uid\":0}}\n",
        ] {
            assert_eq!(said(&path, other), "", "{:?}", String::from_utf8_lossy(other));
        }
    }

    /// Where the other process of the next test asks.
    const ASKED: &str = "FIREAXE_TEST_SOCKET";

    #[test]
    #[ignore = "run by the next one, as a process of its own that ends while nobody accepts"]
    fn asks_and_is_gone() {
        if let Some(path) = std::env::var_os(ASKED) {
            UnixStream::connect(path).unwrap().write_all(b"x").unwrap();
        }
    }

    #[test]
    fn whoever_of_roots_is_gone_before_it_is_heard_was_missed() {
        struct Missed(std::sync::mpsc::Sender<()>);
        impl Handler for Missed {
            fn answer(&self, _: Peer, _: Ask, _: UnixStream) {
                panic!("nobody is there");
            }
            fn missed(&self) {
                self.0.send(()).unwrap();
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.sock");
        let listener = bind(&path).unwrap();
        let mut other = std::process::Command::new(std::env::current_exe().unwrap());
        other.args(["--ignored", "--exact", "daemon::socket::tests::asks_and_is_gone"]).env(ASKED, &path);
        assert!(other.stdout(std::process::Stdio::null()).status().unwrap().success());
        let (say, missed) = std::sync::mpsc::channel();
        std::thread::spawn(move || serve(&listener, &(Arc::new(Missed(say)) as Arc<dyn Handler>)));
        let heard = missed.recv_timeout(Duration::from_secs(10)).is_ok();
        assert_eq!(heard, rustix::process::getuid().is_root());
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_byte_more_is_not() {
        let (_dir, path) = served();
        let asked = |length: usize| {
            let frame = "{\"begin\":{\"terminal\":null,\"asked\":\"\"}}\n".len();
            format!("{{\"begin\":{{\"terminal\":null,\"asked\":\"{}\"}}}}\n", "x".repeat(length - frame))
        };
        assert!(said(&path, asked(words::LINE).as_bytes()).contains("Begin"));
        assert_eq!(said(&path, asked(words::LINE + 1).as_bytes()), "");
    }

    #[test]
    fn whoever_says_nothing_is_put_out_after_two_seconds_and_keeps_nobody_waiting() {
        let (_dir, path) = served();
        let mut silent = UnixStream::connect(&path).unwrap();
        silent.set_read_timeout(Some(PATIENCE * 3)).unwrap();
        assert!(said(&path, b"\"status\"\n").contains("Status"));
        let started = Deadline::after(PATIENCE * 2);
        assert_eq!(silent.read(&mut [0u8; 1]).unwrap(), 0);
        assert!(started.left().is_some());
    }

    fn end() -> Arc<UnixStream> {
        Arc::new(UnixStream::pair().unwrap().0)
    }

    #[test]
    fn one_account_cannot_take_the_places_of_the_others_nor_all_of_them_roots() {
        let places = Arc::new(Places::default());
        // Each with a question that is being answered: nobody puts those out.
        let take = |uid: u32| Places::take(&places, uid, &end()).inspect(|place| assert!(place.has_spoken()));
        let one: Vec<_> = (0..OF_ONE).map(|_| take(1000).unwrap()).collect();
        assert!(take(1000).is_none());
        let mut others = Vec::new();
        for n in 0..OF_OTHERS - OF_ONE {
            others.push(take(2000 + u32::try_from(n).unwrap()).unwrap());
        }
        assert!(take(1001).is_none());
        let root: Vec<_> = (0..OF_ROOT).map(|_| take(0).unwrap()).collect();
        assert!(take(0).is_none());
        drop((one, root));
        assert!(take(1001).is_some() && take(0).is_some());
    }

    #[test]
    fn who_says_nothing_keeps_no_place_from_another_and_is_put_out_oldest_first() {
        let places = Arc::new(Places::default());
        for (uid, limit) in [(1000, OF_ONE), (0, OF_ROOT)] {
            let spoken = Places::take(&places, uid, &end()).unwrap();
            assert!(spoken.has_spoken());
            let mut silent: Vec<_> =
                (1..limit).map(|_| Places::take(&places, uid, &end()).unwrap()).collect();
            let newcomer = Places::take(&places, uid, &end()).unwrap();
            assert!(!silent.remove(0).has_spoken(), "the oldest that says nothing");
            assert!(silent.iter().all(Place::has_spoken) && newcomer.has_spoken());
            assert!(Places::take(&places, uid, &end()).is_none(), "all of them have said something");
        }
        // Four accounts that are flooded through keep nobody else out.
        let others: Vec<_> = (0..OF_OTHERS)
            .map(|n| Places::take(&places, 2000 + u32::try_from(n / OF_ONE).unwrap(), &end()).unwrap())
            .collect();
        assert!(Places::take(&places, 1001, &end()).is_some());
        assert_eq!(others.iter().filter(|place| !place.has_spoken()).count(), 1);
        // However fast they come, so many threads and no more.
        let flood: Vec<_> = (0..500).filter_map(|_| Places::take(&places, 3000, &end())).collect();
        assert!(flood.len() <= OF_ONE + PUT_OUT, "{}", flood.len());
        drop((others, flood));
        let taken = places.lock();
        assert_eq!((taken.held.len(), taken.out), (0, 0));
    }

    #[test]
    fn an_accounts_own_flood_of_silence_does_not_keep_its_question_from_its_answer() {
        let (_dir, path) = served();
        // More than root has places for, and none of them is two seconds old when the question comes.
        let silent: Vec<_> = (0..OF_ROOT + 10).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert!(said(&path, b"\"status\"\n").contains("Status"));
        drop(silent);
    }

    #[test]
    fn a_session_that_lasts_holds_no_place_of_questions() {
        struct Keeps(Mutex<Vec<UnixStream>>);
        impl Handler for Keeps {
            fn answer(&self, _: Peer, _: Ask, mut stream: UnixStream) {
                let mut kept = self.0.lock().unwrap();
                reply(&mut stream, &Answer::Noted);
                kept.push(stream);
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/host.sock");
        let listener = bind(&path).unwrap();
        let keeps = Arc::new(Keeps(Mutex::default()));
        let handler: Arc<dyn Handler> = keeps.clone();
        std::thread::spawn(move || serve(&listener, &handler));
        for n in 0..OF_ROOT * 2 {
            assert!(said(&path, b"\"status\"\n").contains("noted"), "{n}");
        }
        assert_eq!(keeps.0.lock().unwrap().len(), OF_ROOT * 2);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_anything_else_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("host.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists());
        drop(bind(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let (_dir, path) = served();
            said(&path, &bytes);
            prop_assert!(said(&path, b"\"status\"\n").contains("Status"));
        }
    }
}
