//! A person: a home of their own, a key of their own, and a `fireaxe` that sees nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::ca::Ca;
use crate::clock;
use crate::host::{Host, Login};
use crate::keys::KeyPair;
use crate::run::{Ran, end, run};
use crate::world::World;

/// An engineer of the world. Their agent ends when this is dropped.
pub struct Engineer {
    world: World,
    name: String,
    home: PathBuf,
    key: KeyPair,
    /// Lines of further keys of theirs.
    spare: Vec<String>,
    agent: Option<Child>,
    environment: Vec<(String, String)>,
}

impl Engineer {
    pub(crate) fn new(world: &World, name: &str) -> Engineer {
        let home = world.room(&format!("people-{name}"));
        for dir in [".ssh", ".config", ".local", "run"] {
            world.room(&format!("people-{name}/{dir}"));
        }
        let key = KeyPair::generate(&home.join(".ssh"), "id_ed25519");
        Engineer {
            world: world.clone(),
            name: name.into(),
            home,
            key,
            spare: Vec::new(),
            agent: None,
            environment: Vec::new(),
        }
    }

    /// Their name in the roster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where they live.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Their enrolled key.
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// Their home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A command in their environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear();
        command.env("PATH", format!("{}:{path}", self.world.programs().bin.display()));
        command.env("HOME", &self.home).env("USER", &self.name).env("LANG", "C.UTF-8").env("NO_COLOR", "1");
        command.env("XDG_CONFIG_HOME", self.home.join(".config"));
        command.env("XDG_STATE_HOME", self.home.join(".local/state"));
        command.env("XDG_DATA_HOME", self.home.join(".local/share"));
        command.env("XDG_CACHE_HOME", self.home.join(".cache"));
        command.env("XDG_RUNTIME_DIR", self.home.join("run"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.home);
        command
    }

    /// Sets an environment variable for the next commands.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.retain(|(n, _)| n != name);
        self.environment.push((name.into(), value.into()));
    }

    /// Gives them a security key (`tests/sk-provider`) and a new `ed25519-sk` key on it in place of the
    /// one they had. It is touched, and counts, until `FIREAXE_TEST_SK_FLAGS` or [`Self::set_counter`]
    /// says otherwise.
    pub fn take_security_key(&mut self) {
        let provider = self.world.programs().sk_provider();
        self.set_env("SSH_SK_PROVIDER", &provider.display().to_string());
        self.set_env("FIREAXE_TEST_SK_COUNTER", &self.counter_file().display().to_string());
        let path = self.home.join(".ssh/id_fireaxe_sk");
        let mut command = self.command("ssh-keygen");
        command.args(["-q", "-t", "ed25519-sk", "-N", "", "-C", &format!("{}-key-1", self.name), "-f"]);
        run(command.arg(&path)).ok();
        self.key = KeyPair::at(path);
    }

    /// The last counter of their security key.
    pub fn counter(&self) -> u32 {
        let text = fs::read_to_string(self.counter_file()).expect("counter");
        text.trim().parse().expect("a number")
    }

    /// Makes their security key count on from here.
    pub fn set_counter(&self, last: u32) {
        fs::write(self.counter_file(), last.to_string()).expect("counter");
    }

    fn counter_file(&self) -> PathBuf {
        self.home.join("security-key-counter")
    }

    /// The lines of a roster that `fireaxe enrol` prints for them, put into these groups.
    pub fn roster(&self, groups: &[&str]) -> String {
        let key = self.key.path().display().to_string();
        let enrolled = self.fireaxe(&["enrol", "--person", &self.name, "--key", &key]);
        let lines = enrolled.ok();
        assert!(lines.contains("groups = []"), "{enrolled}");
        let keys = self.spare.iter().map(|line| format!("{line:?}, ")).collect::<String>();
        lines
            .replace("groups = []", &format!("groups = {groups:?}"))
            .replace("keys = [", &format!("keys = [{keys}"))
    }

    /// Makes another's key a second key of this person, in the roster to come.
    pub fn has_also(&mut self, key: &KeyPair) {
        self.spare.push(key.public_line());
    }

    /// Runs `fireaxe` as this person.
    pub fn fireaxe(&self, args: &[&str]) -> Ran {
        run(&mut self.fireaxe_command(args))
    }

    /// `fireaxe open`, which must succeed: what it says as JSON.
    pub fn open(&self, args: &[&str]) -> serde_json::Value {
        let ran = self.fireaxe(&[&["open", "--json"], args].concat());
        serde_json::from_str(ran.ok()).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran}"))
    }

    /// A `fireaxe` of theirs that is not run yet.
    pub fn fireaxe_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(self.world.programs().ours("fireaxe"));
        command.args(args);
        command
    }

    /// What `fireaxe --json` with these words says, whatever its exit code.
    pub fn asks(&self, args: &[&str]) -> serde_json::Value {
        let ran = self.fireaxe(&[&["--json"], args].concat());
        serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran}"))
    }

    /// Waits until what the running agent holds enters `host` as `account`: nothing is typed for it.
    #[track_caller]
    pub fn comes_to_hold(&self, host: &str, account: &str) {
        let holds = || (self.fireaxe(&["match", host, account]).code == 0).then_some(());
        let found = clock::wait_for(clock::LIMIT, holds);
        assert!(found.is_some(), "{} never came to hold {account} on {host}", self.name);
    }

    /// The process that `open` leaves behind for this emergency.
    pub fn follower(&self, emergency: &str) -> Option<u32> {
        let home = format!("HOME={}", self.home.display());
        let is_it = |pid: &u32| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let holds = |bytes: Vec<u8>, word: &str| bytes.split(|b| *b == 0).any(|w| w == word.as_bytes());
            holds(read("cmdline"), "follow")
                && holds(read("cmdline"), emergency)
                && holds(read("environ"), &home)
        };
        let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
            entry.ok().and_then(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok())
        });
        all.into_iter().find(is_it)
    }

    /// Ends that process with `kill -9`, as a machine that sleeps or a crash would.
    pub fn lose_follower(&self, emergency: &str) {
        let follower = clock::wait_for(clock::LIMIT, || self.follower(emergency)).expect("a follower");
        let pid = i32::try_from(follower).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
        let gone = clock::wait_for(clock::LIMIT, || self.follower(emergency).is_none().then_some(()));
        assert!(gone.is_some(), "the follower of {emergency} goes on");
    }

    /// The certificates that ssh sees in their agent, as OpenSSH's text, one a line.
    pub fn certificates(&self) -> Vec<String> {
        let socket = self.socket().expect("an agent's socket");
        let listed = run(self.command("ssh-add").arg("-L").env("SSH_AUTH_SOCK", socket));
        listed.stdout.lines().filter(|line| line.contains("-cert-v01@")).map(str::to_owned).collect()
    }

    /// Starts `fireaxe agent` in the foreground and waits for its socket.
    pub fn start_agent(&mut self) {
        let mut command = self.command("setpriv");
        // It ends with the test, even one that is killed; see `run::bound`.
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.world.programs().ours("fireaxe"));
        let log = fs::File::create(self.home.join("agent.log")).expect("log");
        command.arg("agent").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut agent = command.spawn().expect("agent starts");
        let up = clock::wait_for(clock::LIMIT, || {
            if agent.try_wait().ok().flatten().is_some() { Some(false) } else { self.socket().map(|_| true) }
        });
        if up != Some(true) {
            end(&mut agent);
            panic!("fireaxe agent does not start:\n{}", self.agent_log());
        }
        self.agent = Some(agent);
    }

    /// What the agent has said.
    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.home.join("agent.log")).unwrap_or_default()
    }

    /// The agent's process.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// The agent's socket for ssh, once it is there.
    pub fn socket(&self) -> Option<PathBuf> {
        Some(self.home.join("run/fireaxe/agent.sock")).filter(|socket| socket.exists())
    }

    /// `fireaxe enrol` with their key, at this CA.
    pub fn enrol(&self, ca: &Ca) -> Ran {
        self.enrol_as(&self.name, ca)
    }

    /// The same under a name that need not be theirs.
    pub fn enrol_as(&self, person: &str, ca: &Ca) -> Ran {
        let key = self.key.path().display().to_string();
        let ran = self.fireaxe(&[
            "enrol",
            "--person",
            person,
            "--addr",
            &ca.url(),
            "--pin",
            &ca.pin(),
            "--key",
            &key,
        ]);
        ran.ok();
        ran
    }

    /// Logs in with what the agent holds.
    pub fn login(&self) -> Login {
        Login::Agent(self.socket().expect("an agent's socket"))
    }

    /// Makes their own `ssh HOST` reach these hosts; `fireaxe ssh-config` goes in front.
    pub fn knows(&self, hosts: &[&Host]) {
        let mut config = self.fireaxe(&["ssh-config"]).ok().to_owned();
        config.push_str("\nMatch all\n");
        for host in hosts {
            config.push_str(&host.client_config());
        }
        fs::write(self.home.join(".ssh/config"), config).expect("ssh configuration");
    }

    /// Makes every `ssh` that a program of theirs runs read their configuration: OpenSSH takes the home of the
    /// machine's user, not `HOME`.
    pub fn finds_own_ssh_config(&mut self) {
        let bin = self.world.room(&format!("people-{}/bin", self.name));
        let config = self.home.join(".ssh/config");
        let wrapper = format!("#!/bin/sh\nexec /usr/bin/ssh -F '{}' \"$@\"\n", config.display());
        fs::write(bin.join("ssh"), wrapper).expect("wrapper");
        fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).expect("mode");
        let path = std::env::var("PATH").unwrap_or_default();
        let ours = self.world.programs().bin.display().to_string();
        self.set_env("PATH", &format!("{}:{ours}:{path}", bin.display()));
    }

    /// Their own `ssh`, unwrapped: no key, no agent and no account named.
    pub fn ssh(&self, args: &[&str]) -> Ran {
        run(self.command("ssh").arg("-F").arg(self.home.join(".ssh/config")).args(args))
    }
}

impl Drop for Engineer {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            end(&mut agent);
        }
        // One that `fireaxe open` started by itself is in a session of its own.
        if self.socket().is_some() {
            let fireaxe = self.world.programs().bin.join("fireaxe");
            let _ = self.command(fireaxe).args(["agent", "--stop"]).output();
        }
    }
}
