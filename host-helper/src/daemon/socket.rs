//! The daemon's socket: everybody on the host may connect, so everything is bounded. One line comes in,
//! within two seconds; who says it is what the kernel says. What it means is left to the [`Handler`].
//!
//! | limit | | why |
//! |---|---|---|
//! | [`OF_ROOT`] at once from uid 0 | 64 | hooks of one host: sshd's own `MaxStartups` is 100, each takes milliseconds |
//! | [`OF_OTHERS`] at once from all others | 64 | recorders and `principals`, each takes milliseconds |
//! | [`OF_ONE`] at once from one other uid | 16 | so no account can take all places of the others |
//! | [`PATIENCE`] for the line | 2 s | as long as the hook waits |
//! | [`words::LINE`] for its length | 64 KiB | a certificate at its limit is 22 KiB of base64 |
//!
//! 128 lines of 64 KiB are 8 MiB: what strangers can make the daemon hold.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::words::{self, Ask};
use crate::atomic;
use crate::clock::Deadline;
use crate::error::HostError;

/// Connections of uid 0 at once.
pub const OF_ROOT: usize = 64;
/// Connections of all other users together, at once.
pub const OF_OTHERS: usize = 64;
/// Connections of one other user at once.
pub const OF_ONE: usize = 16;
/// How long a connection may take to say its line, and to take its answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The other end of a connection, as the kernel had it when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process. It may be gone since, and its number another's.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// Answers questions. Called on a thread of the question's own.
pub trait Handler: Send + Sync {
    /// Answers one question; the stream is the asker's. Returns soon: places are few.
    fn answer(&self, peer: Peer, ask: Ask, stream: UnixStream);
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
        let Some(peer) = peer_of(&stream) else { continue };
        // No place, no answer: the asker reads the end, and does what it does without a daemon.
        let Some(place) = Places::take(&places, peer.uid) else { continue };
        let handler = handler.clone();
        let _ = std::thread::Builder::new().name("question".into()).stack_size(STACK).spawn(move || {
            let _place = place;
            if let Some(ask) = question(&stream) {
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

/// Who is at the other end.
pub fn peer_of(stream: &UnixStream) -> Option<Peer> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
    Some(Peer { pid, uid: credentials.uid.as_raw() })
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

/// How many connections each user has.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<u32, usize>>);

impl Places {
    fn take(places: &Arc<Places>, uid: u32) -> Option<Place> {
        let mut taken = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = taken.get(&uid).copied().unwrap_or(0);
        let free = if uid == 0 {
            mine < OF_ROOT
        } else {
            let others: usize = taken.iter().filter(|(uid, _)| **uid != 0).map(|(_, n)| n).sum();
            mine < OF_ONE && others < OF_OTHERS
        };
        if !free {
            return None;
        }
        taken.insert(uid, mine + 1);
        Some(Place { places: places.clone(), uid })
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.uid) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                taken.remove(&self.uid);
            }
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
            assert_eq!(peer.pid, std::process::id());
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

    #[test]
    fn one_account_cannot_take_the_places_of_the_others_nor_all_of_them_roots() {
        let places = Arc::new(Places::default());
        let one: Vec<_> = (0..OF_ONE).map(|_| Places::take(&places, 1000).unwrap()).collect();
        assert!(Places::take(&places, 1000).is_none());
        let mut others = Vec::new();
        for n in 0..OF_OTHERS - OF_ONE {
            others.push(Places::take(&places, 2000 + u32::try_from(n).unwrap()).unwrap());
        }
        assert!(Places::take(&places, 1001).is_none());
        let root: Vec<_> = (0..OF_ROOT).map(|_| Places::take(&places, 0).unwrap()).collect();
        assert!(Places::take(&places, 0).is_none());
        drop((one, root));
        assert!(Places::take(&places, 1001).is_some() && Places::take(&places, 0).is_some());
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
