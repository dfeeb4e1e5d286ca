//! The server of a host: Debian's own configuration; only where to listen is ours.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use super::Host;
use crate::clock;
use crate::run::end;

impl Host {
    /// Starts sshd and waits until it listens.
    pub fn start(&mut self) {
        if self.link.is_some() {
            self.port = 22;
            assert!(self.launch(), "sshd of {} does not start:\n{}", self.name, self.log());
            return;
        }
        // Another process may take the free port in between: then the next one.
        for _ in 0..10 {
            let free = TcpListener::bind((self.address, 0)).expect("a free port");
            self.port = free.local_addr().expect("address").port();
            drop(free);
            // First of all files: whatever a later one matches, this is outside of it.
            let listen = format!("Port {}\nListenAddress {}\n", self.port, self.address);
            self.put("/etc/ssh/sshd_config.d/00-listen.conf", listen);
            if self.launch() {
                return;
            }
        }
        panic!("sshd of {} does not start:\n{}", self.name, self.log());
    }

    /// Stops sshd (sessions go on) and starts it again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.launch(), "sshd of {} does not start again:\n{}", self.name, self.log());
    }

    /// Stops sshd: no new connection.
    pub fn stop(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            self.run("sh", &["-c", "kill $(cat /run/sshd.pid)"]).ok();
            let ended = clock::wait_for(clock::LIMIT, || sshd.try_wait().expect("sshd"));
            assert!(ended.is_some(), "sshd of {} does not stop", self.name);
        }
    }

    fn launch(&mut self) -> bool {
        let before = self.log().len();
        let mut command = self.command(&self.sshd_path());
        command.args(["-D", "-E", "/var/log/sshd.log"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sshd starts");
        let up = clock::wait_for(clock::LIMIT, || {
            let log = self.log();
            let new = log.get(before..).unwrap_or("");
            if new.contains("Server listening on") {
                Some(true)
            } else if new.contains("Cannot bind any address") || child.try_wait().ok().flatten().is_some() {
                Some(false)
            } else {
                None
            }
        });
        if up == Some(true) {
            self.sshd = Some(child);
            true
        } else {
            end(&mut child);
            false
        }
    }

    /// The server's program as the host sees it.
    pub fn sshd_path(&self) -> String {
        "/usr/sbin/sshd".into()
    }

    /// What sshd says its configuration is for a login to `account` (`sshd -T -C`).
    pub fn effective(&self, account: &str) -> String {
        let who = format!("user={account},host={},addr={}", self.name, self.address);
        self.run(&self.sshd_path(), &["-T", "-C", &who]).ok().to_owned()
    }

    /// Everything sshd has logged.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.file("/var/log/sshd.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until sshd has logged `text`.
    #[track_caller]
    pub fn logs(&self, text: &str) {
        let seen = clock::wait_for(clock::LIMIT, || self.log().contains(text).then_some(()));
        assert!(seen.is_some(), "{} never logged {text:?}:\n{}", self.name, self.log());
    }
}
