//! Recordings on the CA's disk, each read to its end: what its chunks come to.

use std::path::Path;

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::statement::Nonce;

use crate::recordings;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// The host whose folder it lies in.
    pub host: HostName,
    /// Its file's name.
    pub name: Nonce,
    /// The connection that its header names; none if that cannot be read, or is another recording's.
    pub connection: Option<Nonce>,
    /// When it began, unix seconds.
    pub began: u64,
    /// What its chunks come to.
    pub found: Option<Recorded>,
    /// What is wrong with its bytes.
    pub fault: Option<String>,
}

/// Hands all of them to `each`, by host and name, one in memory at a time.
pub fn on_disk(root: &Path, mut each: impl FnMut(OnDisk)) {
    for ((host, name), path) in recordings::files(root) {
        each(look(&path, host, name));
    }
}

fn look(path: &Path, host: HostName, name: Nonce) -> OnDisk {
    let nothing = OnDisk { host, name, connection: None, began: 0, found: None, fault: None };
    match recordings::read(path, |_| ()) {
        Err(error) => OnDisk { fault: Some(error.to_string()), ..nothing },
        Ok((chain, _, fault)) => {
            let header = chain.header();
            let is_its_own = header.is_some_and(|one| one.host == nothing.host && one.recording == name);
            let other =
                (!is_its_own).then(|| "its own header names another host or recording, or none".into());
            OnDisk {
                connection: header.filter(|_| is_its_own).map(|header| header.connection),
                began: header.map_or(0, |header| header.began_us / 1_000_000),
                found: chain.recorded(),
                fault: fault.map(|fault| fault.to_string()).or(other),
                ..nothing
            }
        }
    }
}
