//! A host whose sessions are registered, and recorded or not, without a CA: what signs for it is made up, so that
//! each certificate says what a test needs. Its daemon is `host-helper/examples/recorded.rs`, or `registry.rs`.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject, Within, assemble, to_openssh};
use fireaxe_protocol::host::{RECORDER, Report, SessionClosed};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::Krl;
use fireaxe_protocol::log::{
    Checkpoint, Cosigner, Event as Entry, Hash, KrlNote, NoteSigner, Receipt, encode_entry, line1, tree,
};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{Extension, Presence, Record, Terms};
use fireaxe_protocol::recording::{Body as Part, Chain, Chunk, Event, Stream};

use crate::clock;
use crate::host::{Host, Login};
use crate::keys::KeyPair;
use crate::run::{Ran, end, run};
use crate::running::{Running, start};
use crate::world::World;

/// The host, and whatever signs for it.
pub struct Town {
    /// Where it is.
    pub world: World,
    /// The host.
    pub host: Host,
    /// Signs certificates: the host trusts the one that was here at first.
    pub ca: SigningKey,
    /// Signs heads of the log: the host trusts the one that was here at first.
    pub log: NoteSigner,
    /// Witnesses that cosign each of those heads.
    pub witnesses: Vec<Cosigner>,
    daemon: Option<Child>,
    kind: Kind,
    revoked: Vec<u64>,
    serial: u64,
}

/// What a certificate is to say, beside its key.
pub struct Wanted<'a> {
    /// Its serial, at least 1.
    pub serial: u64,
    /// What it gives.
    pub terms: &'a Terms,
    /// Seconds until its end.
    pub lives: u64,
    /// The one that it was made of, if it is for one host.
    pub within: Option<Within>,
}

/// Which daemon there is, and with it what `ops` and `look` have as login shell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Registry and sink; the recorder.
    Recorded,
    /// The registry alone; bash.
    Registered,
}

/// A recording of the host, as far as it is.
pub struct Recording {
    /// Its header, counts and end.
    pub chain: Chain,
    /// Its chunks.
    pub chunks: Vec<Chunk>,
}

/// What a tier gives in these tests: everything that a session could hide behind, recorded.
pub fn terms(account: &str) -> Terms {
    Terms {
        tier: "fix".parse().expect("a tier"),
        power: 2,
        account: account.parse().expect("an account"),
        principals: vec![format!("{account}:payments-db").parse().expect("a principal")],
        force_command: None,
        extensions: vec![Extension::Pty],
        source_address: Vec::new(),
        lifetime_s: 3600,
        approvals: Vec::new(),
        presence: Presence::None,
        record: Record::Required,
        krl_max_age_s: None,
        grace_s: 1,
        action: None,
    }
}

/// What a tier gives that is not recorded: everything else that a session could hide behind.
pub fn unrecorded(account: &str) -> Terms {
    let extensions = vec![Extension::PortForwarding, Extension::Pty];
    Terms { extensions, record: Record::None, grace_s: 2, ..terms(account) }
}

impl Town {
    /// A host with its sshd and daemon running; `ops` and `look` have the recorder as login shell.
    pub fn begin() -> Town {
        let mut town = Town::of(Kind::Recorded);
        town.start_daemon();
        town
    }

    /// A host with its sshd and a daemon that registers connections and takes no recording; accounts keep their
    /// shells.
    pub fn registered() -> Town {
        let mut town = Town::without_daemon();
        town.start_daemon();
        town
    }

    /// The same, its daemon not started yet.
    pub fn without_daemon() -> Town {
        Town::of(Kind::Registered)
    }

    fn of(kind: Kind) -> Town {
        let world = World::new();
        let host = world.host("db-3.payments.prod", "payments-db");
        let log = NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[3; 32])).expect("a key");
        let ca = SigningKey::from_bytes(&[1; 32]);
        let mut town =
            Town { world, host, ca, log, witnesses: vec![], daemon: None, kind, revoked: vec![], serial: 5 };
        town.furnish();
        town.host.start();
        town
    }

    fn furnish(&mut self) {
        let host = &self.host;
        host.install();
        let user = "getent passwd fireaxe-host >/dev/null || useradd --system --no-create-home \
                    --home-dir /nonexistent --shell /usr/sbin/nologin fireaxe-host";
        host.run("sh", &["-c", user]).ok();
        let krl = SigningKey::from_bytes(&[4; 32]);
        let krl = NoteSigner::new(&KrlNote::key_name(&origin()), krl).expect("a key");
        let config = format!(
            "addr = \"https://127.0.0.1:1\"\npin = \"sha256:{}\"\nkrl_key = \"{}\"\norigin = \"{}\"\n[enrolled]\n\
             host = \"{}\"\nsystem = \"payments-db\"\nlog_key = \"{}\"\nhost_ca = \"{}\"\n",
            "ab".repeat(32),
            krl.key(),
            origin(),
            host.name(),
            self.log.key(),
            Ed25519Key::from(&SigningKey::from_bytes(&[5; 32])),
        );
        host.put("/etc/fireaxe/host.toml", config);
        host.put("/etc/ssh/fireaxe_user_ca.pub", format!("{}\n", Ed25519Key::from(&self.ca)));
        let keys = if self.kind == Kind::Recorded { "AuthorizedKeysFile none\n" } else { "" };
        host.put(
            "/etc/ssh/sshd_config.d/10-fireaxe.conf",
            format!("UsePAM yes\nLogLevel VERBOSE\nMatch User look,ops,root\n\
             TrustedUserCAKeys /etc/ssh/fireaxe_user_ca.pub\nAuthorizedPrincipalsFile none\n{keys}\
             AuthorizedPrincipalsCommand /usr/bin/fireaxe-host principals --account %u --certificate %k --key-id=%i\n\
             AuthorizedPrincipalsCommandUser fireaxe-host\nRevokedKeys /etc/ssh/fireaxe_revoked_keys\nMatch all\n"),
        );
        let pam = fs::read_to_string(host.file("/etc/pam.d/sshd")).expect("PAM's stack");
        assert!(pam.contains("pam_loginuid.so"), "{pam}");
        let hook = "pam_loginuid.so\nsession required pam_exec.so quiet type=open_session /usr/bin/fireaxe-host hook";
        host.put("/etc/pam.d/sshd", pam.replacen("pam_loginuid.so", hook, 1));
        if self.kind == Kind::Recorded {
            ["ops", "look"].iter().for_each(|account| host.set_shell(account, RECORDER));
        }
        self.revoke(&[]);
    }

    /// Puts a list in force that revokes these, too.
    pub fn revoke(&mut self, serials: &[u64]) {
        self.revoked.extend(serials);
        let version = 100 + self.revoked.len() as u64;
        let ca = Ed25519Key::from(&self.ca);
        let mut list = Krl::new(version, clock::unix(), ca);
        self.revoked.iter().for_each(|serial| list.revoke(ca, *serial).expect("a serial"));
        let bytes = list.write();
        let now = clock::unix();
        let state = serde_json::json!({"schema": "fireaxe.host-krl/v1", "version": version,
            "hash": Hash::of(&bytes), "signed_at": now, "confirmed_at": now});
        self.host.put("/var/lib/fireaxe/krl.json", state.to_string());
        self.host.put("/etc/ssh/.list", bytes);
        let (from, to) = (self.host.file("/etc/ssh/.list"), self.host.file("/etc/ssh/fireaxe_revoked_keys"));
        fs::rename(from, to).expect("the list");
    }

    /// Starts the daemon.
    pub fn start_daemon(&mut self) {
        let example = match self.kind {
            Kind::Recorded => "recorded",
            Kind::Registered => "registry",
        };
        let built = self.world.programs().bin.join("examples").join(example);
        assert!(built.exists(), "build it first: cargo build -p fireaxe-host --examples");
        let mut command = self.host.command("sh");
        let line = format!("echo $$ >{DAEMON_PID}; exec /run/world/bin/examples/{example}");
        self.daemon =
            Some(command.args(["-c", &line]).stdin(Stdio::null()).spawn().expect("the daemon starts"));
        // Made last, when everything else is there.
        let up = || (self.host.run("test", &["-S", SOCKET]).code == 0).then_some(());
        clock::wait_for(clock::LIMIT, up).expect("the daemon starts");
    }

    /// `kill -9`
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            // A socket that was left behind answers nobody.
            let line = format!("kill -KILL $(cat {DAEMON_PID}); rm {SOCKET}");
            self.host.run("sh", &["-c", &line]).ok();
            // What entered the host for it may have stopped with it, and would never be seen to end.
            end(&mut daemon);
        }
    }

    /// `kill -STOP` or `kill -CONT`
    pub fn signal_daemon(&self, signal: &str) {
        self.host.run("sh", &["-c", &format!("kill -{signal} $(cat {DAEMON_PID})")]).ok();
    }

    /// A key with a certificate of these terms that lives for `lives` seconds from now, and its serial: the next.
    pub fn key(&mut self, terms: &Terms, lives: u64) -> (Login, u64) {
        self.serial += 1;
        (self.numbered(self.serial, terms, lives), self.serial)
    }

    /// The same with this serial.
    pub fn numbered(&self, serial: u64, terms: &Terms, lives: u64) -> Login {
        self.certified(&self.pair(serial), &Wanted { serial, terms, lives, within: None })
    }

    /// A new key for the certificate with this serial.
    pub fn pair(&self, serial: u64) -> KeyPair {
        KeyPair::generate(&self.world.room("keys"), &format!("key-{serial}"))
    }

    /// This key with a certificate.
    pub fn certified(&self, pair: &KeyPair, wanted: &Wanted<'_>) -> Login {
        let certificate = to_openssh(&self.certificate(pair, wanted));
        fs::write(pair.certificate_path(), certificate + "\n").expect("a certificate");
        Login::certified(pair)
    }

    /// A certificate for this key, in its binary form.
    pub fn certificate(&self, pair: &KeyPair, wanted: &Wanted<'_>) -> Vec<u8> {
        let Wanted { serial, terms, lives, within } = *wanted;
        let line = pair.public_line();
        let public: Ed25519Key = line.rsplit_once(' ').expect("a comment").0.parse().expect("a key");
        // Issued so long before its end, whenever that is.
        let at = clock::unix() + lives - u64::from(terms.lifetime_s);
        let issue = Issue {
            nonce: [9; 32],
            public_key: public,
            serial,
            subject: Subject::Person(EmergencyId(42), &"ana".parse().expect("a name")),
            at,
            grant_end: u64::MAX,
            within,
            ca_key: Ed25519Key::from(&self.ca),
        };
        let body = Body::of(&Profile::from_terms(terms, &issue).expect("a profile"));
        let event = Entry::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) };
        let entry = encode_entry(serial, at, &event, Some(body.as_bytes())).expect("an entry");
        // The last leaf of a log of `serial + 1` entries: beside it one whole tree for each bit of its index.
        let peaks = vec![Hash([7; 32]); serial.count_ones() as usize];
        let root = peaks.iter().fold(tree::leaf_hash(&entry), |node, peak| tree::node_hash(peak, &node));
        let head = Checkpoint { origin: origin(), size: serial + 1, root };
        let mut checkpoint = head.sign(&self.log).expect("a head");
        self.witnesses.iter().for_each(|witness| checkpoint.push_str(&witness.cosign(&head.text(), at)));
        let receipt = Receipt { line1: line1(&entry).to_vec(), index: serial, hashes: peaks, checkpoint };
        let signed = body.with_receipt(&String::from_utf8(receipt.encode()).expect("text"));
        assemble(signed.clone(), &self.ca.sign(&signed).to_bytes())
    }

    /// What the host reported.
    pub fn reports(&self) -> Vec<Report> {
        let text = fs::read_to_string(self.host.file("/var/log/reports.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until the connection with this serial is over, and gives what was reported of its end.
    #[track_caller]
    pub fn closed(&self, serial: u64) -> SessionClosed {
        self.closed_within(clock::LIMIT, serial)
    }

    /// The same with another limit.
    #[track_caller]
    pub fn closed_within(&self, limit: Duration, serial: u64) -> SessionClosed {
        let found = || {
            self.reports().into_iter().find_map(|report| match report {
                Report::SessionClosed(closed) if closed.serial == serial => Some(closed),
                _ => None,
            })
        };
        clock::wait_for(limit, found)
            .unwrap_or_else(|| panic!("{serial} never closed: {:?}\n{}", self.reports(), self.host.syslog()))
    }

    /// How many connections with this serial were reported as opened.
    pub fn opened(&self, serial: u64) -> usize {
        let reports = self.reports();
        reports.iter().filter(|r| matches!(r, Report::SessionOpened(o) if o.serial == serial)).count()
    }

    /// Waits until one was.
    #[track_caller]
    pub fn comes_open(&self, serial: u64) {
        clock::wait_for(clock::LIMIT, || (self.opened(serial) > 0).then_some(()))
            .unwrap_or_else(|| panic!("{serial} never opened\n{}", self.host.syslog()));
    }

    /// Every recording of this serial.
    pub fn recordings(&self, serial: u64) -> Vec<Recording> {
        let shelf = self.host.outside("/var/lib/fireaxe/recordings");
        let entries = fs::read_dir(shelf).expect("the recordings");
        let read = |path: std::path::PathBuf| {
            let bytes = fs::read(path).ok()?;
            let (mut chain, mut chunks, mut at) = (Chain::default(), Vec::new(), 0);
            while let Ok(Some((chunk, taken))) = chain.next(bytes.get(at..)?) {
                at += taken;
                chunks.push(chunk);
            }
            (chain.header()?.serial == serial).then_some(Recording { chain, chunks })
        };
        let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_none());
        files.filter_map(read).collect()
    }

    /// Whether `text` went over this stream of some recording of this serial; waits a while for it.
    pub fn recorded(&self, serial: u64, stream: Stream, text: &str) -> bool {
        let holds = |recording: &Recording| recording.holds(stream, text.as_bytes());
        let found = || self.recordings(serial).iter().any(holds).then_some(());
        clock::wait_for(Duration::from_secs(5), found).is_some()
    }

    /// Processes on the host whose command line holds `text`.
    pub fn running(&self, text: &str) -> usize {
        let ran = self.host.run("ps", &["-eo", "args"]);
        ran.stdout.lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until such a process is there.
    #[track_caller]
    pub fn comes_to_run(&self, text: &str) {
        clock::wait_for(clock::LIMIT, || (self.running(text) > 0).then_some(())).unwrap_or_else(|| {
            panic!("{text} never ran:\n{}", self.host.run("ps", &["-eo", "pid,ppid,args"]))
        });
    }

    /// Waits until no such process is there.
    pub fn comes_to_end(&self, text: &str) -> bool {
        clock::wait_for(clock::LIMIT, || (self.running(text) == 0).then_some(())).is_some()
    }

    /// Runs `ssh` with these options and this command.
    pub fn ssh(&self, login: &Login, account: &str, options: &[&str], remote: &str) -> Ran {
        run(&mut self.ssh_command(login, account, options, remote))
    }

    /// Starts it, and lets it run.
    pub fn starts(&self, login: &Login, account: &str, options: &[&str], remote: &str) -> Running {
        start(&mut self.ssh_command(login, account, options, remote))
    }

    fn ssh_command(&self, login: &Login, account: &str, options: &[&str], remote: &str) -> Command {
        let mut command = self.host.ssh_command(login, account, options);
        if !remote.is_empty() {
            command.arg(remote);
        }
        command
    }
}

impl Recording {
    /// Whether these bytes went over this stream.
    pub fn holds(&self, stream: Stream, text: &[u8]) -> bool {
        self.bytes(stream).windows(text.len()).any(|window| window == text)
    }

    /// Everything that went over a stream.
    pub fn bytes(&self, stream: Stream) -> Vec<u8> {
        let events = self.chunks.iter().flat_map(|chunk| match &chunk.body {
            Part::Data(events) => events.as_slice(),
            _ => &[],
        });
        events.filter(|event: &&Event| event.stream == stream).flat_map(|event| event.bytes.clone()).collect()
    }
}

/// The log of whatever signs for the host.
fn origin() -> Origin {
    "ca.fireaxe.test/0123456789abcdef".parse().expect("an origin")
}

impl Drop for Town {
    fn drop(&mut self) {
        self.kill_daemon();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- syslog\n{}", self.host.syslog());
        }
    }
}

const SOCKET: &str = "/run/fireaxe/host.sock";
const DAEMON_PID: &str = "/run/daemon.pid";
