//! Tells systemd that the daemon can be asked (`sd_notify(3)`: one datagram). Without it, nothing.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::journal;

/// Says it to whoever started us, if they want to know. Not told, they take us for not started and start us
/// again; that is worth a line, and no reason to stop.
pub(super) fn say() {
    // What systemd says; nobody else can set a service's environment.
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = say_to(&socket) {
        journal::say(&format!("systemd was not told that this runs: {error}"));
    }
}

fn say_to(socket: &OsStr) -> std::io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_to_a_socket_in_a_folder_and_to_one_in_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("fireaxe-test-{}", std::process::id());
        let in_none = SocketAddr::from_abstract_name(&name).unwrap();
        let listeners = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&in_none).unwrap()];
        for (listener, socket) in listeners.iter().zip([path.into_os_string(), format!("@{name}").into()]) {
            say_to(&socket).unwrap();
            let mut said = [0; 64];
            let length = listener.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1\n");
        }
        assert!(say_to("/nowhere/notify".as_ref()).is_err() && say_to("".as_ref()).is_err());
    }
}
