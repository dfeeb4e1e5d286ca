//! Logins with certificates through `principals` and the PAM hook, and what ends them: on a real sshd, without a
//! CA, since what is shown is what a host does by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test; its functions too")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject, assemble, to_openssh};
use fireaxe_protocol::host::{Change, EndReason, PlantedKind, Report, SessionClosed};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::Krl;
use fireaxe_protocol::log::{
    Checkpoint, Event, Hash, KrlNote, NoteSigner, Receipt, encode_entry, line1, tree,
};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{Extension, Presence, Record, Terms};
use fireaxe_tests::clock;
use fireaxe_tests::host::{Host, Login};
use fireaxe_tests::keys::KeyPair;
use fireaxe_tests::run::{Ran, end};
use fireaxe_tests::running::{Running, start, start_on_a_terminal};
use fireaxe_tests::world::World;

/// A host that joined, its daemon's registry, and whatever signs for it.
struct Town {
    world: World,
    host: Host,
    daemon: Option<std::process::Child>,
    ca: SigningKey,
    log: NoteSigner,
    revoked: Vec<u64>,
}

/// A login: an emergency's key, its certificate's serial, and how long that lives.
struct Key {
    pair: KeyPair,
    serial: u64,
}

fn origin() -> Origin {
    "ca.fireaxe.test/0123456789abcdef".parse().unwrap()
}

/// What a tier gives in these tests: everything that a session could hide behind.
fn terms(account: &str, record: Record) -> Terms {
    Terms {
        tier: "fix".parse().unwrap(),
        power: 2,
        account: account.parse().unwrap(),
        principals: vec![format!("{account}:payments-db").parse().unwrap()],
        force_command: None,
        extensions: vec![Extension::PortForwarding, Extension::Pty],
        source_address: Vec::new(),
        lifetime_s: 3600,
        approvals: Vec::new(),
        presence: Presence::None,
        record,
        krl_max_age_s: None,
        grace_s: 2,
        action: None,
    }
}

impl Town {
    fn new() -> Town {
        let world = World::new();
        let host = world.host("db-3.payments.prod", "payments-db");
        let log = NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[3; 32])).unwrap();
        let mut town =
            Town { world, host, daemon: None, ca: SigningKey::from_bytes(&[1; 32]), log, revoked: vec![] };
        town.furnish();
        town.host.start();
        town
    }

    fn with_daemon() -> Town {
        let mut town = Town::new();
        town.start_daemon();
        town
    }

    fn furnish(&mut self) {
        let host = &self.host;
        host.install();
        host.run("sh", &["-c", "getent passwd fireaxe-host >/dev/null || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fireaxe-host"]).ok();
        let krl = NoteSigner::new(&KrlNote::key_name(&origin()), SigningKey::from_bytes(&[4; 32])).unwrap();
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
        host.put(
            "/etc/ssh/sshd_config.d/10-fireaxe.conf",
            "UsePAM yes\nLogLevel VERBOSE\nMatch User look,ops,root\n\
             TrustedUserCAKeys /etc/ssh/fireaxe_user_ca.pub\nAuthorizedPrincipalsFile none\n\
             AuthorizedPrincipalsCommand /usr/bin/fireaxe-host principals --account %u --certificate %k --key-id=%i\n\
             AuthorizedPrincipalsCommandUser fireaxe-host\nRevokedKeys /etc/ssh/fireaxe_revoked_keys\nMatch all\n",
        );
        let pam = fs::read_to_string(host.file("/etc/pam.d/sshd")).unwrap();
        let hook = "pam_loginuid.so\nsession required pam_exec.so quiet type=open_session /usr/bin/fireaxe-host hook";
        assert!(pam.contains("pam_loginuid.so"), "{pam}");
        host.put("/etc/pam.d/sshd", pam.replacen("pam_loginuid.so", hook, 1));
        self.revoke(&[]);
    }

    /// Puts a list in force that revokes these, too.
    fn revoke(&mut self, serials: &[u64]) {
        self.revoked.extend(serials);
        let version = 100 + self.revoked.len() as u64;
        let ca = Ed25519Key::from(&self.ca);
        let mut list = Krl::new(version, clock::unix(), ca);
        self.revoked.iter().for_each(|serial| list.revoke(ca, *serial).unwrap());
        let bytes = list.write();
        let state = serde_json::json!({"schema": "fireaxe.host-krl/v1", "version": version, "hash": Hash::of(&bytes),
            "signed_at": clock::unix(), "confirmed_at": clock::unix()});
        self.host.put("/var/lib/fireaxe/krl.json", state.to_string());
        self.host.put("/etc/ssh/.list", bytes);
        fs::rename(self.host.file("/etc/ssh/.list"), self.host.file("/etc/ssh/fireaxe_revoked_keys"))
            .unwrap();
    }

    fn start_daemon(&mut self) {
        let mut command = self.host.command("sh");
        command.args(["-c", "echo $$ >/run/registry.pid; exec /run/world/bin/examples/registry"]);
        command.stdin(Stdio::null());
        self.daemon = Some(command.spawn().unwrap());
        let up = || (self.host.run("sh", &["-c", "test -S /run/fireaxe/host.sock"]).code == 0).then_some(());
        clock::wait_for(clock::LIMIT, up).expect("the registry starts");
        // A socket that was left behind answers nobody.
        let answers =
            || (self.host.run("sh", &["-c", "test -d /var/lib/fireaxe/connections"]).code == 0).then_some(());
        clock::wait_for(clock::LIMIT, answers).expect("the registry starts");
    }

    fn signal_daemon(&mut self, signal: &str) {
        self.host.run("sh", &["-c", &format!("kill -{signal} $(cat /run/registry.pid)")]).ok();
        if signal == "KILL" {
            end(&mut self.daemon.take().unwrap());
            self.host.run("rm", &["/run/fireaxe/host.sock"]).ok();
        }
    }

    /// A key with a certificate of these terms that ends `lives` seconds from now.
    fn key(&self, serial: u64, terms: &Terms, lives: u64) -> Key {
        self.key_by(&self.ca, serial, terms, lives)
    }

    fn key_by(&self, ca: &SigningKey, serial: u64, terms: &Terms, lives: u64) -> Key {
        let pair = KeyPair::generate(&self.world.room("keys"), &format!("key-{serial}"));
        let key = Key { pair, serial };
        fs::write(
            key.pair.certificate_path(),
            to_openssh(&self.certificate(ca, &key, serial, terms, lives)) + "\n",
        )
        .unwrap();
        key
    }

    fn certificate(&self, ca: &SigningKey, key: &Key, serial: u64, terms: &Terms, lives: u64) -> Vec<u8> {
        let line = key.pair.public_line();
        let public: Ed25519Key = line.rsplit_once(' ').unwrap().0.parse().unwrap();
        // Issued an hour before its end, whenever that is.
        let at = clock::unix() + lives - u64::from(terms.lifetime_s);
        let issue = Issue {
            nonce: [9; 32],
            public_key: public,
            serial,
            subject: Subject::Person(EmergencyId(42), &"ana".parse().unwrap()),
            at,
            grant_end: u64::MAX,
            within: None,
            ca_key: Ed25519Key::from(ca),
        };
        let body = Body::of(&Profile::from_terms(terms, &issue).unwrap());
        let event = Event::CertificateIssued { of: Hash([1; 32]), terms: Hash([2; 32]) };
        let entry = encode_entry(serial, at, &event, Some(body.as_bytes())).unwrap();
        // The last leaf of a log of `serial + 1` entries: beside it one whole tree for each bit of its index.
        let peaks = vec![Hash([7; 32]); serial.count_ones() as usize];
        let root = peaks.iter().fold(tree::leaf_hash(&entry), |node, peak| tree::node_hash(peak, &node));
        let checkpoint = Checkpoint { origin: origin(), size: serial + 1, root }.sign(&self.log).unwrap();
        let receipt = Receipt { line1: line1(&entry).to_vec(), index: serial, hashes: peaks, checkpoint };
        let signed = body.with_receipt(&String::from_utf8(receipt.encode()).unwrap());
        assemble(signed.clone(), &ca.sign(&signed).to_bytes())
    }

    fn ssh(&self, key: &Key, account: &str, remote: &str) -> Ran {
        self.host.ssh(&Login::certified(&key.pair), account, remote)
    }

    fn starts(&self, key: &Key, account: &str, options: &[&str], remote: &str) -> Running {
        let mut command = self.host.ssh_command(&Login::certified(&key.pair), account, options);
        if !remote.is_empty() {
            command.arg(remote);
        }
        start(&mut command)
    }

    fn reports(&self) -> Vec<Report> {
        let text = fs::read_to_string(self.host.file("/var/log/reports.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn closed(&self, serial: u64) -> SessionClosed {
        let found = || {
            self.reports().into_iter().find_map(|report| match report {
                Report::SessionClosed(closed) if closed.serial == serial => Some(closed),
                _ => None,
            })
        };
        clock::wait_for(clock::LIMIT, found)
            .unwrap_or_else(|| panic!("{serial} never closed: {:?}\n{}", self.reports(), self.host.syslog()))
    }

    fn opened(&self, serial: u64) -> usize {
        let reports = self.reports();
        reports.iter().filter(|r| matches!(r, Report::SessionOpened(o) if o.serial == serial)).count()
    }

    #[track_caller]
    fn comes_open(&self, serial: u64) {
        clock::wait_for(clock::LIMIT, || (self.opened(serial) > 0).then_some(()))
            .unwrap_or_else(|| panic!("{serial} never opened\n{}", self.host.syslog()));
    }

    /// Processes on the host whose command line holds `text`.
    fn running(&self, text: &str) -> usize {
        let pattern = format!("[{}]{}", &text[..1], &text[1..]);
        let ran = self.host.run("sh", &["-c", &format!("ps -eo args | grep -c -- '{pattern}'")]);
        ran.stdout.trim().parse().unwrap_or(0)
    }

    #[track_caller]
    fn comes_to_run(&self, text: &str) {
        clock::wait_for(clock::LIMIT, || (self.running(text) > 0).then_some(())).unwrap_or_else(|| {
            panic!("{text} never ran:\n{}", self.host.run("ps", &["-eo", "pid,ppid,args"]))
        });
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = self.host.run("sh", &["-c", "kill -KILL $(cat /run/registry.pid)"]);
            // What entered the host for it stopped with it, and would never be seen to end.
            end(&mut daemon);
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- syslog\n{}", self.host.syslog());
        }
    }
}

/// Everything that tries to outlive its session: each with a name to be found by.
const ESCAPES: &str = "setsid sleep 7001 & nohup sleep 7002 >/dev/null 2>&1 & \
    (setsid sh -c 'sleep 7003 & sleep 7004 &' &) & sh -c 'trap \"\" TERM HUP; while :; do sleep 7005; done' & \
    setsid sh -c 'trap \"\" TERM HUP INT; setsid sh -c \"trap \\\"\\\" TERM HUP; while :; do sleep 7006; done\"' & \
    sleep 7007";

#[test]
fn a_certificate_opens_its_account_and_is_told_to_the_ca_with_its_end() {
    let town = Town::with_daemon();
    let key = town.key(6, &terms("ops", Record::None), 600);
    assert_eq!(town.ssh(&key, "ops", "id -un").ok(), "ops");
    let closed = town.closed(6);
    assert_eq!((closed.why, closed.swept.left, town.opened(6)), (EndReason::Left, 0, 1));
    assert_eq!(closed.swept.killed, 0);
    // Another account, another CA.
    town.ssh(&key, "look", "id -un").fails();
    let stranger = SigningKey::from_bytes(&[6; 32]);
    let other = town.key_by(&stranger, 7, &terms("ops", Record::None), 600);
    town.ssh(&other, "ops", "true").fails();
    let syslog = town.host.syslog();
    assert!(syslog.contains("considered verdict=admitted account=ops serial=6"), "{syslog}");
    assert!(syslog.contains("considered verdict=refused account=look serial=6"), "{syslog}");
}

#[test]
fn a_certificate_that_is_not_in_the_log_opens_nothing_although_the_ca_key_signed_it() {
    let mut town = Town::with_daemon();
    let thief = NoteSigner::new(origin().as_str(), SigningKey::from_bytes(&[8; 32])).unwrap();
    let log = std::mem::replace(&mut town.log, thief);
    let key = town.key(6, &terms("ops", Record::None), 600);
    town.ssh(&key, "ops", "true").fails();
    town.log = log;
    assert!(town.host.syslog().contains("reason=login.receipt"), "{}", town.host.syslog());
}

/// Sessions of all kinds, of one certificate, and what they leave running.
struct Sessions {
    exec: Running,
    tunnel: Running,
    master: Running,
    channel: Running,
    shell: Running,
}

impl Sessions {
    const CONNECTIONS: usize = 4;

    fn of(town: &Town, key: &Key) -> Sessions {
        let socket = |name: &str| town.world.room("sockets").join(format!("{name}-{}", key.serial));
        let (forward, control) = (socket("forward"), socket("control"));
        let exec = town.starts(key, "ops", &[], ESCAPES);
        let forwarded = format!("{}:127.0.0.1:{}", forward.display(), town.host.port());
        let tunnel = town.starts(key, "ops", &["-N", "-L", &forwarded], "");
        let path = format!("ControlPath={}", control.display());
        let master = town.starts(key, "ops", &["-N", "-o", "ControlMaster=yes", "-o", &path], "");
        let there =
            |path: PathBuf| clock::wait_for(clock::LIMIT, || path.exists().then_some(())).expect("a socket");
        there(control);
        there(forward);
        let channel = town.starts(key, "ops", &["-o", &path], "sleep 7010");
        let mut shell =
            start_on_a_terminal(&town.host.ssh_command(&Login::certified(&key.pair), "ops", &["-tt"]));
        shell.types("setsid sleep 7011 &\n");
        for n in [7001, 7002, 7003, 7004, 7005, 7006, 7007, 7010, 7011] {
            town.comes_to_run(&format!("sleep {n}"));
        }
        Sessions { exec, tunnel, master, channel, shell }
    }

    /// All clients were cut off, and nothing is left.
    #[track_caller]
    fn are_over(self, town: &Town, serial: u64, why: EndReason) {
        let ended = || {
            let closed: Vec<SessionClosed> = town
                .reports()
                .into_iter()
                .filter_map(|report| match report {
                    Report::SessionClosed(closed) if closed.serial == serial => Some(closed),
                    _ => None,
                })
                .collect();
            (closed.len() == Sessions::CONNECTIONS).then_some(closed)
        };
        let closed = clock::wait_for(clock::LIMIT * 3, ended)
            .unwrap_or_else(|| panic!("not all are closed: {:?}\n{}", town.reports(), town.host.syslog()));
        assert!(closed.iter().all(|closed| closed.why == why && closed.swept.left == 0), "{closed:?}");
        assert_eq!(town.running("sleep 70"), 0, "{}", town.host.run("ps", &["-eo", "pid,ppid,args"]));
        for client in [self.exec, self.tunnel, self.master, self.channel, self.shell] {
            assert_eq!(client.ends_by_itself().code, 255);
        }
    }
}

/// Another connection of the same account, with what it left in the background.
fn bystander(town: &Town, serial: u64) -> Running {
    let key = town.key(serial, &terms("ops", Record::None), 3000);
    let running = town.starts(&key, "ops", &[], "setsid sleep 8002 & sleep 8001");
    town.comes_to_run("sleep 8001");
    town.comes_to_run("sleep 8002");
    running
}

#[test]
fn at_its_end_everything_that_came_in_with_a_certificate_is_gone_and_nothing_else() {
    for cgroups in [true, false] {
        let mut town = Town::new();
        if !cgroups {
            town.host.run("touch", &["/run/no-cgroups"]).ok();
        }
        town.start_daemon();
        let mut other = bystander(&town, 20);
        // Long enough for all of them to come in on a busy machine.
        let key = town.key(21, &terms("ops", Record::None), 40);
        let sessions = Sessions::of(&town, &key);
        sessions.are_over(&town, 21, EndReason::Expired);
        assert!(other.goes_on());
        assert_eq!(town.running("sleep 800"), 3, "{}", town.host.run("ps", &["-eo", "pid,ppid,args"]));
        town.ssh(&key, "ops", "true").fails();
    }
}

#[test]
fn a_revocation_ends_what_is_there_and_is_confirmed_once_nothing_is() {
    let mut town = Town::with_daemon();
    let mut other = bystander(&town, 20);
    let key = town.key(21, &terms("ops", Record::None), 3000);
    let sessions = Sessions::of(&town, &key);
    town.revoke(&[21]);
    let confirmed = || {
        town.reports().into_iter().find_map(|report| match report {
            Report::Confirmed(confirmed) if confirmed.version == 101 => Some(confirmed),
            _ => None,
        })
    };
    let confirmed = clock::wait_for(clock::LIMIT, confirmed).expect("confirmed");
    assert_eq!(confirmed.ended as usize, Sessions::CONNECTIONS);
    assert_eq!(town.running("sleep 70"), 0);
    sessions.are_over(&town, 21, EndReason::Revoked);
    assert!(other.goes_on());
    town.ssh(&key, "ops", "true").fails();
}

#[test]
fn a_countdown_ends_a_session_by_the_grace_of_its_terms_and_one_that_is_held_does_not() {
    let town = Town::with_daemon();
    let (held, ended) =
        (town.key(20, &terms("ops", Record::None), 3000), town.key(21, &terms("ops", Record::None), 3000));
    let patient = Terms { grace_s: 600, ..terms("ops", Record::None) };
    let patient = town.key(22, &patient, 3000);
    let mut goes_on =
        [town.starts(&held, "ops", &[], "sleep 7020"), town.starts(&patient, "ops", &[], "sleep 7022")];
    let cut = town.starts(&ended, "ops", &[], "sleep 7021");
    for serial in [20, 21, 22] {
        town.comes_open(serial);
    }
    let put = |serials: &[u64]| {
        let closing =
            [FeedClosing { emergency: EmergencyId(7), serials: serials.into(), until: clock::unix() + 600 }];
        let text = serde_json::to_string(&closing).unwrap();
        town.host
            .run(
                "sh",
                &["-c", &format!("echo '{text}' >/run/closing.new && mv /run/closing.new /run/closing.json")],
            )
            .ok();
    };
    put(&[20, 21, 22]);
    put(&[21, 22]);
    assert_eq!(town.closed(21).why, EndReason::Closing);
    assert_eq!(cut.ends_by_itself().code, 255);
    assert!(goes_on.iter_mut().all(Running::goes_on));
}

#[test]
fn a_later_certificate_of_the_same_key_lets_a_session_go_on_and_ends_it_too() {
    let mut town = Town::with_daemon();
    let key = town.key(21, &terms("ops", Record::None), 8);
    let mut session = town.starts(&key, "ops", &[], "sleep 7021");
    let other = town.key(22, &terms("ops", Record::None), 8);
    let cut = town.starts(&other, "ops", &[], "sleep 7022");
    town.comes_open(21);
    town.comes_open(22);
    let later = STANDARD.encode(town.certificate(&town.ca, &key, 30, &terms("ops", Record::None), 3000));
    town.host
        .run(
            "sh",
            &["-c", &format!("echo -n {later} >/run/extended.new && mv /run/extended.new /run/extended")],
        )
        .ok();
    // Of another key: it ends at its time, and by then the first would have, too.
    assert_eq!(town.closed(22).why, EndReason::Expired);
    assert_eq!(cut.ends_by_itself().code, 255);
    std::thread::sleep(Duration::from_secs(1));
    assert!(session.goes_on());
    town.revoke(&[30]);
    assert_eq!(town.closed(21).why, EndReason::Revoked);
}

#[test]
fn a_daemon_that_comes_back_finds_its_connections_and_those_that_came_meanwhile() {
    let mut town = Town::with_daemon();
    let before = town.key(21, &terms("ops", Record::None), 25);
    let first = town.starts(&before, "ops", &[], "setsid sleep 7021 & sleep 7022");
    town.comes_open(21);
    town.comes_to_run("sleep 7021");
    let left = town.key(23, &terms("ops", Record::None), 3000);
    let gone = town.starts(&left, "ops", &[], "setsid sleep 7024 & sleep 7023");
    town.comes_open(23);
    town.comes_to_run("sleep 7024");
    town.signal_daemon("KILL");
    // Away: one leaves, one comes; one that must be recorded does not.
    drop(gone);
    let meanwhile = town.key(22, &terms("ops", Record::None), 25);
    let second = town.starts(&meanwhile, "ops", &[], "setsid sleep 7031 & sleep 7032");
    town.comes_to_run("sleep 7031");
    let required = town.key(24, &terms("ops", Record::Required), 3000);
    town.ssh(&required, "ops", "true").fails();
    town.start_daemon();
    town.comes_open(22);
    assert_eq!(town.closed(23).why, EndReason::Left);
    for (serial, client) in [(21, first), (22, second)] {
        let closed = town.closed(serial);
        assert_eq!((closed.why, closed.swept.left, town.opened(serial)), (EndReason::Expired, 0, 1));
        assert_eq!(client.ends_by_itself().code, 255);
    }
    assert_eq!(town.running("sleep 70"), 0);
}

#[test]
fn a_daemon_that_hangs_refuses_what_must_be_recorded_and_keeps_nobody_else_out() {
    let mut town = Town::with_daemon();
    town.signal_daemon("STOP");
    let standing = KeyPair::generate(&town.world.room("keys"), "standing");
    town.host.put("/root/.ssh/authorized_keys", standing.public_line());
    let plain = clock::now();
    assert_eq!(town.host.ssh(&Login::Key(standing.path().into()), "root", "id -un").ok(), "root");
    let plain = plain.elapsed();
    let required = town.key(21, &terms("ops", Record::Required), 3000);
    let asked = clock::now();
    town.ssh(&required, "ops", "true").fails();
    // Forwards alone are cut off as well: the connection does not stay behind the refusal.
    let tunnel = town.starts(&required, "ops", &["-N", "-o", "ExitOnForwardFailure=yes"], "");
    assert_eq!(tunnel.ends_by_itself().code, 255);
    let asked = asked.elapsed();
    assert!(asked > Duration::from_secs(3), "the hook waits 2 s each time: {asked:?}");
    assert!(
        asked < Duration::from_secs(4) + 4 * plain.max(Duration::from_secs(1)),
        "{asked:?} beside {plain:?}"
    );
    let other = town.key(22, &terms("ops", Record::None), 3000);
    assert_eq!(town.ssh(&other, "ops", "id -un").ok(), "ops");
    let session = town.starts(&other, "ops", &[], "sleep 7022");
    town.comes_to_run("sleep 7022");
    town.signal_daemon("CONT");
    town.comes_open(22);
    town.revoke(&[22]);
    assert_eq!(session.ends_by_itself().code, 255);
    assert!(town.host.syslog().contains("reason=login.daemon_away"), "{}", town.host.syslog());
}

#[test]
fn killing_the_monitor_does_not_save_a_session() {
    let town = Town::with_daemon();
    for (serial, account) in [(21, "ops"), (22, "root")] {
        let key = town.key(serial, &terms(account, Record::None), 3000);
        let session = town.starts(&key, account, &[], "setsid sleep 7021 & sleep 7022");
        town.comes_open(serial);
        town.comes_to_run("sleep 7021");
        let record = "f=$(ls /run/fireaxe/connections/*.json); sed 's/.*\"monitor\":{\"pid\":\\([0-9]*\\).*/\\1/' $f | xargs kill -9";
        town.host.run("sh", &["-c", record]).ok();
        let closed = town.closed(serial);
        assert_eq!((closed.why, closed.swept.left), (EndReason::Left, 0));
        assert_eq!(town.running("sleep 70"), 0);
        let _ = session.ends_by_itself();
    }
}

#[test]
fn a_server_that_a_root_session_started_again_is_left_and_told() {
    let town = Town::with_daemon();
    let key = town.key(21, &terms("root", Record::None), 3000);
    let sshd = town.host.sshd_path();
    // As on a host without a supervisor: root puts the server up again by hand.
    let line = format!(
        "setsid {sshd} -p 2299 -o PidFile=/run/other.pid >/dev/null 2>&1; sleep 1; setsid sleep 7021 >/dev/null 2>&1 &"
    );
    town.ssh(&key, "root", &line).ok();
    let closed = town.closed(21);
    assert_eq!((closed.swept.left, town.running("sleep 7021")), (1, 0), "{closed:?}");
    assert_eq!(town.running("-p 2299"), 1);
}

#[test]
fn what_a_session_leaves_behind_is_told_and_stays() {
    let town = Town::with_daemon();
    let key = town.key(21, &terms("root", Record::None), 3000);
    // The kernel's times are told by the second: what was there before is not of the session's.
    let a_second_passes = || {
        let before = clock::unix() + 1;
        clock::wait_for(clock::LIMIT, || (clock::unix() > before).then_some(()));
    };
    a_second_passes();
    let line = "mkdir -p ~/.ssh && echo key >>~/.ssh/authorized_keys && echo x >/etc/cron.d/back && \
        cp /bin/true /tmp/sh && chmod 4755 /tmp/sh && echo '[Unit]' >/etc/systemd/system/back.service && \
        mkdir -p /etc/sudoers.d && echo x >/etc/sudoers.d/back && echo >>/etc/ssh/sshd_config && \
        echo x >/etc/profile.d/\"$(printf 'a\\033b')\".sh";
    town.ssh(&key, "root", line).ok();
    let closed = town.closed(21);
    let found: Vec<(PlantedKind, &str, Change)> =
        closed.planted.iter().map(|p| (p.kind, p.path.as_str(), p.change)).collect();
    for expected in [
        (PlantedKind::AuthorizedKeys, "/root/.ssh/authorized_keys", Change::Appeared),
        (PlantedKind::LoginConfiguration, "/etc/ssh/sshd_config", Change::Changed),
        (PlantedKind::Cron, "/etc/cron.d/back", Change::Appeared),
        (PlantedKind::SystemdUnit, "/etc/systemd/system/back.service", Change::Appeared),
        (PlantedKind::Sudoers, "/etc/sudoers.d/back", Change::Appeared),
        (PlantedKind::Setuid, "/tmp/sh", Change::Appeared),
        (PlantedKind::Preload, "/etc/profile.d/a\\x1bb.sh", Change::Appeared),
    ] {
        assert!(found.contains(&expected), "{expected:?} in {found:?}");
    }
    assert_eq!(found.len(), 7, "{found:?}");
    assert!(town.host.file("/etc/cron.d/back").exists());
    // Nothing but a login: nothing is told.
    a_second_passes();
    let quiet = town.key(22, &terms("ops", Record::None), 3000);
    town.ssh(&quiet, "ops", "true").ok();
    assert_eq!(town.closed(22).planted, []);
}

#[test]
fn a_users_own_files_cannot_make_root_run_what_they_say() {
    let town = Town::with_daemon();
    // Debian's pam_env reads this file of the user's, and PAM hands on what it says to programs that it runs as
    // root: the loader would load LD_PRELOAD; this makes it leave a file by which it can be seen.
    town.host.put("/home/ops/.pam_environment", "LD_DEBUG=libs\nLD_DEBUG_OUTPUT=/tmp/ld\n");
    let key = town.key(21, &terms("ops", Record::None), 600);
    town.ssh(&key, "ops", "true").ok();
    assert_eq!(town.closed(21).why, EndReason::Left);
    let left_by = |user: &str| town.host.run("find", &["/tmp", "-name", "ld.*", "-user", user]).stdout;
    assert!(!left_by("ops").is_empty(), "the file has no effect here: nothing is shown");
    assert_eq!(left_by("root"), "");
    let pam = fs::read_to_string(town.host.file("/etc/pam.d/sshd")).unwrap();
    assert!(pam.contains("pam_env.so") && pam.find("fireaxe-host hook") < pam.find("pam_env.so"), "{pam}");
}
