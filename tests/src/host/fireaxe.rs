//! `fireaxe-host` on a host: installed as a package would, and every verb that a test needs more than once.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::Host;
use crate::ca::Ca;
use crate::clock;
use crate::run::{Ran, end, run_with_input};

impl Host {
    /// Runs `fireaxe-host` on the host.
    pub fn fireaxe(&self, args: &[&str]) -> Ran {
        let _ = self.world.programs().ours("fireaxe-host");
        self.run("/run/world/bin/fireaxe-host", args)
    }

    /// Writes our files with `fireaxe-host files` for these accounts, trusting this CA, and makes sshd
    /// read them.
    pub fn join(&mut self, user_ca: &Path, accounts: &[&str]) {
        self.put("/root/user_ca.pub", fs::read(user_ca).expect("CA key"));
        let mut args = vec!["files", "--system", &self.system, "--host", &self.name];
        args.extend(accounts.iter().flat_map(|account| ["--account", account]));
        args.extend(["--user-ca", "/root/user_ca.pub"]);
        self.fireaxe(&args).ok();
        if self.sshd.is_some() {
            self.restart();
        }
    }

    /// Makes this host one of this CA's, as an operator would without enrolment: configuration, CA key, first
    /// revocation list, then sshd's files for these accounts.
    pub fn join_ca(&mut self, ca: &Ca, accounts: &[&str]) {
        self.put("/etc/fireaxe/host.toml", ca.host_config());
        let key = self.world.room("ca").join("user_ca.pub");
        fs::write(&key, ca.told("user_ca") + "\n").expect("CA key");
        self.put("/etc/ssh/fireaxe_user_ca.pub", fs::read(&key).expect("CA key"));
        self.fireaxe(&["krl"]).ok();
        self.join(&key, accounts);
    }

    /// Puts the program where a package would: `/usr/bin/fireaxe-host`, and the recorder's name for it. Again after
    /// each reboot, by itself.
    pub fn install(&self) {
        let package = self.world.room("package").join("fireaxe-host");
        if !package.exists() {
            // A copy: only root can change it, whoever built it.
            fs::copy(self.world.programs().ours("fireaxe-host"), &package).expect("a copy of fireaxe-host");
        }
        self.put(INSTALLED, "");
        self.run("sh", &["-ec", INSTALL]).ok();
    }

    /// Everything that an owner does for a new host: enrols it, starts the daemon and sshd, applies.
    pub fn set_up(&mut self, ca: &Ca, accounts: &[&str]) {
        self.enrol(ca);
        self.daemon();
        self.start();
        self.apply(accounts);
    }

    /// Invites this host at the CA and enrols it there: the token goes from one to the other, as by hand.
    pub fn enrol(&self, ca: &Ca) {
        self.install();
        let token = ca.cmd(&["host", "invite", &self.name, "--system", &self.system]);
        self.enrol_with(ca, token.ok()).ok();
    }

    /// `fireaxe-host enrol` with this token.
    pub fn enrol_with(&self, ca: &Ca, token: &str) -> Ran {
        self.enrol_saying(ca, token, &[])
    }

    /// The same with more words.
    pub fn enrol_saying(&self, ca: &Ca, token: &str, words: &[&str]) -> Ran {
        let mut command = self.command(PROGRAM);
        command.args(words).args(["enrol", "--addr", &ca.url(), "--pin", &ca.pin(), "--host", &self.name]);
        run_with_input(command.args(["--token-file", "-"]), format!("{token}\n"))
    }

    /// `fireaxe-host apply` for these accounts; sshd must run. From now on clients know the host by its
    /// certificate.
    pub fn apply(&self, accounts: &[&str]) {
        self.apply_with(accounts, &[]).ok();
        let config = fs::read_to_string(self.file("/etc/fireaxe/host.toml")).expect("host.toml");
        let config: toml::Value = toml::from_str(&config).expect("host.toml");
        let host_ca = config.get("enrolled").and_then(|enrolled| enrolled.get("host_ca")?.as_str());
        self.is_known_by(host_ca.expect("enrolment says the host CA"));
    }

    /// The same with more words, whatever comes of it.
    pub fn apply_with(&self, accounts: &[&str], words: &[&str]) -> Ran {
        let accounts = accounts.iter().flat_map(|account| ["--account", account]);
        let args: Vec<&str> = ["apply"].into_iter().chain(accounts).chain(words.iter().copied()).collect();
        self.run(PROGRAM, &args)
    }

    /// Starts `fireaxe-host run`, as systemd would, and waits for its socket.
    pub fn daemon(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.file(DAEMON_LOG)).expect("log");
        // The one before may have left its socket: this one is there when its number is.
        self.run("rm", &["-f", DAEMON_PID]).ok();
        let mut command = self.command("sh");
        command.args(["-c", &format!("echo $$ >{DAEMON_PID} && exec {PROGRAM} run")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        let mut child = command.spawn().expect("sh");
        let up = clock::wait_for(clock::LIMIT, || {
            if child.try_wait().ok().flatten().is_some() {
                Some(false)
            } else {
                (self.run("test", &["-S", SOCKET, "-a", "-s", DAEMON_PID]).code == 0).then_some(true)
            }
        });
        if up != Some(true) {
            end(&mut child);
            panic!("the daemon of {} does not start:\n{}", self.name, self.daemon_log());
        }
        self.daemon = Some(child);
    }

    /// `systemctl stop`: asks it to end and waits.
    pub fn stop_daemon(&mut self) {
        self.signal_daemon("TERM");
    }

    /// `kill -9`.
    pub fn kill_daemon(&mut self) {
        self.signal_daemon("KILL");
    }

    /// Stops it in its tracks: it is there and does nothing; see [`Self::resume_daemon`].
    pub fn hang_daemon(&self) {
        self.run("sh", &["-c", &format!("kill -STOP $(cat {DAEMON_PID})")]).ok();
    }

    /// It goes on.
    pub fn resume_daemon(&self) {
        self.run("sh", &["-c", &format!("kill -CONT $(cat {DAEMON_PID})")]).ok();
        // nsenter, which waits for it, stopped when it did.
        if let Some(daemon) = &self.daemon {
            let waits = rustix::process::Pid::from_child(daemon);
            rustix::process::kill_process(waits, rustix::process::Signal::CONT).expect("nsenter is there");
        }
    }

    /// Whether the daemon that was started goes on.
    pub fn daemon_goes_on(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    /// What it has said.
    pub fn daemon_log(&self) -> String {
        let bytes = fs::read(self.file(DAEMON_LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the daemon has said `text`.
    #[track_caller]
    pub fn daemon_says(&self, text: &str) {
        let said = clock::wait_for(clock::LIMIT, || self.daemon_log().contains(text).then_some(()));
        assert!(said.is_some(), "the daemon never said {text:?}:\n{}", self.daemon_log());
    }

    /// `fireaxe-host status --json`.
    pub fn status(&self) -> serde_json::Value {
        let ran = self.run(PROGRAM, &["status", "--json"]);
        serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran}"))
    }

    /// Waits until sshd refuses what this and every older list revokes: the list in force has this version or a
    /// newer one.
    #[track_caller]
    pub fn comes_to_have_list(&self, version: u64) {
        let newest = || self.list_version().is_some_and(|v| v >= version).then_some(());
        let had = clock::wait_for(clock::LIMIT, newest);
        let daemon = self.daemon_log();
        assert!(had.is_some(), "{} has {:?}, not {version}:\n{daemon}", self.name, self.list_version());
    }

    /// The version of the revocation list in force, read from the list itself.
    pub fn list_version(&self) -> Option<u64> {
        let list = fs::read(self.file("/etc/ssh/fireaxe_revoked_keys")).ok()?;
        // PROTOCOL.krl: magic (8), format version (4), then the list's version.
        Some(u64::from_be_bytes(list.get(12..20)?.try_into().ok()?))
    }

    fn signal_daemon(&mut self, signal: &str) {
        if let Some(mut daemon) = self.daemon.take() {
            self.run("sh", &["-c", &format!("kill -{signal} $(cat {DAEMON_PID})")]).ok();
            let ended = clock::wait_for(clock::LIMIT, || daemon.try_wait().expect("the daemon"));
            assert!(ended.is_some(), "the daemon of {} does not end:\n{}", self.name, self.daemon_log());
        }
    }
}

/// Where a package puts the program.
const PROGRAM: &str = "/usr/bin/fireaxe-host";

/// That it was installed, for the next boot.
pub(super) const INSTALLED: &str = "/var/lib/world-installed";

const SOCKET: &str = "/run/fireaxe/host.sock";
const DAEMON_PID: &str = "/run/fireaxe-host.pid";
const DAEMON_LOG: &str = "/var/log/fireaxe-host.log";

/// What a package does.
const INSTALL: &str = "[ ! -e /usr/bin/fireaxe-host ] || exit 0
: >/usr/bin/fireaxe-host
mount --bind /run/world/package/fireaxe-host /usr/bin/fireaxe-host
mkdir -p /usr/libexec/fireaxe
ln -sf /usr/bin/fireaxe-host /usr/libexec/fireaxe/session";
