//! The host's syslog: a socket that stands behind its `/dev/log`, and everything it was sent.

use std::fs;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Listens until it is dropped; a reboot of the host does not end it.
pub(super) struct Syslog {
    socket: UnixDatagram,
    heard: Arc<Mutex<String>>,
}

impl Syslog {
    /// `<dir>/syslog`, which `openssh/host.sh` binds to `/dev/log`.
    pub(super) fn listen(dir: &Path) -> Syslog {
        let path = dir.join("syslog");
        let socket = UnixDatagram::bind(&path).expect("syslog's socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("mode");
        let heard = Arc::new(Mutex::new(String::new()));
        let (reader, into) = (socket.try_clone().expect("socket"), heard.clone());
        std::thread::spawn(move || {
            // One message of syslog(3) and sshd is shorter than this.
            let mut message = [0; 32 * 1024];
            while let Ok(length @ 1..) = reader.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]);
                let mut heard = into.lock().expect("lock");
                heard.push_str(text.trim_end_matches(['\0', '\n']));
                heard.push('\n');
            }
        });
        Syslog { socket, heard }
    }

    /// A line for each message, as it was sent: `<86>Nov 27 22:17:08 sshd[12]: ...`.
    pub(super) fn text(&self) -> String {
        self.heard.lock().expect("lock").clone()
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        // Ends the reader.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
