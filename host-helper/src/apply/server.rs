//! The sshd that runs here: which process, where it listens, and how it is told to read its configuration
//! again. By a signal, never a restart: a restart that fails leaves nobody a way in.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::ApplyError;
use super::effective::Effective;
use crate::files;

/// A running sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pid: i32,
    /// Inode of each listening socket, and where it listens.
    listens: BTreeMap<u64, SocketAddr>,
}

/// How long it may take to come back: 100 looks, 100 ms apart.
const LOOKS: u32 = 100;
const BETWEEN: Duration = Duration::from_millis(100);

impl Server {
    /// The one whose pid file sshd's configuration names.
    pub(crate) fn find(effective: &Effective) -> Option<Server> {
        let text = fs::read_to_string(effective.first("pidfile")?).ok()?;
        let pid: i32 = text.trim().parse().ok().filter(|pid| *pid > 1)?;
        // A pid file of yesterday may name any process.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (name.trim() == "sshd").then(|| Server { pid, listens: listens(pid) })
    }

    /// Where it is reached from this host: the loopback, where it listens there.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let near = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
            _ => *address,
        };
        let found: Vec<SocketAddr> = self.listens.values().map(near).collect();
        let first = |test: fn(&SocketAddr) -> bool| found.iter().copied().find(test);
        first(|a| a.ip() == Ipv4Addr::LOCALHOST)
            .or_else(|| first(|a| a.ip().is_loopback()))
            .or_else(|| first(|_| true))
    }

    /// Makes it read its configuration again, after asking whether it will take it: an sshd that does not
    /// like its configuration ends instead of coming back.
    pub(crate) fn reload(&self, sshd: &Path) -> Result<Server, ApplyError> {
        files::ask(sshd).map_err(ApplyError::Reload)?;
        let pid = Pid::from_raw(self.pid).ok_or_else(|| ApplyError::Reload("it has no pid".into()))?;
        kill_process(pid, Signal::HUP).map_err(|error| ApplyError::Reload(error.to_string()))?;
        // It has read everything once it listens on other sockets than before.
        for _ in 0..LOOKS {
            let now = listens(self.pid);
            if !now.is_empty() && now.keys().all(|inode| !self.listens.contains_key(inode)) {
                return Ok(Server { pid: self.pid, listens: now });
            }
            thread::sleep(BETWEEN);
        }
        Err(ApplyError::Reload(format!("process {} does not listen again after SIGHUP", self.pid)))
    }
}

/// Where a process listens on TCP.
fn listens(pid: i32) -> BTreeMap<u64, SocketAddr> {
    let mut own = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let Ok(link) = fs::read_link(entry.path()) else { continue };
        let inode =
            link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        own.extend::<Option<u64>>(inode);
    }
    let mut found = BTreeMap::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        found.extend(text.lines().skip(1).filter_map(listening).filter(|(inode, _)| own.contains(inode)));
    }
    found
}

/// A line of `/proc/net/tcp` that listens: its inode and address.
fn listening(line: &str) -> Option<(u64, SocketAddr)> {
    let mut words = line.split_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    if state != "0A" {
        return None;
    }
    let inode = words.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The kernel prints the address as numbers of this machine's byte order, 32 bits each.
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?),
    };
    Some((inode, SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let v4 = "   0: 0100007F:08A9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0";
        assert_eq!(listening(v4), Some((12345, "127.0.0.1:2217".parse().unwrap())));
        let v6 = "   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1";
        assert_eq!(listening(v6), Some((77, "[::1]:22".parse().unwrap())));
        assert_eq!(listening(&v4.replace(" 0A ", " 01 ")), None);
        for short in ["", "0: 1", "0: 0100007F:08A9 0 0A"] {
            assert_eq!(listening(short), None);
        }
    }

    #[test]
    fn it_is_reached_on_the_loopback_where_it_can_be() {
        let server = |addresses: &[&str]| Server {
            pid: 2,
            listens: addresses.iter().map(|a| a.parse().unwrap()).zip(1..).map(|(a, n)| (n, a)).collect(),
        };
        for (listens, reached) in [
            (&["0.0.0.0:22", "[::]:22"][..], "127.0.0.1:22"),
            (&["[::]:22"], "[::1]:22"),
            (&["10.0.0.7:2222"], "10.0.0.7:2222"),
            (&["10.0.0.7:22", "127.0.0.1:23"], "127.0.0.1:23"),
        ] {
            assert_eq!(server(listens).address(), Some(reached.parse().unwrap()));
        }
        assert_eq!(server(&[]).address(), None);
    }
}
