//! A host: Debian's stock sshd on a loopback port, with its own `/etc`, `/home`, `/root`, `/var`, `/tmp`,
//! `/run` and processes. The machine's are never touched; see `openssh/host.sh`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::ca::Ca;
use crate::clock;
use crate::keys::KeyPair;
use crate::run::{Ran, end, run};
use crate::world::World;

/// The accounts that tiers use, besides root, and one that none does.
pub const ACCOUNTS: [(&str, u32); 3] = [("look", 2001), ("ops", 2002), ("deploy", 2003)];

/// What a client logs in with.
#[derive(Debug, Clone)]
pub enum Login {
    /// A private key's file and its certificate's.
    Files(PathBuf, PathBuf),
    /// An agent's socket.
    Agent(PathBuf),
    /// A private key's file alone.
    Key(PathBuf),
}

impl Login {
    /// A key with the certificate that lies beside it.
    pub fn certified(key: &KeyPair) -> Login {
        Login::Files(key.path().to_path_buf(), key.certificate_path())
    }
}

/// A host of the world. Ends with everything that runs on it when dropped.
pub struct Host {
    world: World,
    name: String,
    system: String,
    dir: PathBuf,
    init: Child,
    pid: String,
    sshd: Option<Child>,
    port: u16,
}

impl Host {
    pub(crate) fn new(world: &World, name: &str, system: &str) -> Host {
        let dir = world.room("hosts").join(name);
        furnish(world, &dir, name);
        let (init, pid) = enter_new_namespaces(world, &dir);
        Host {
            world: world.clone(),
            name: name.into(),
            system: system.into(),
            dir,
            init,
            pid,
            sshd: None,
            port: 0,
        }
    }

    /// Its DNS name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The system it belongs to.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The loopback port of its sshd, once started.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the host's `path` is for the test, e.g. `/etc/ssh/fireaxe_revoked_keys`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// Puts a file on the host, owned by root, its folder made when missing.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
        fs::write(&file, bytes).expect("file on the host");
    }

    /// Puts a program on the host that only root can change.
    pub fn put_program(&self, path: &str, text: &str) {
        self.put(path, text);
        let mode = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
        let file = self.file(path);
        mode(&file);
        file.ancestors().skip(1).take_while(|dir| *dir != self.dir).for_each(mode);
    }

    /// Gives an account another login shell, as the host sees its path.
    pub fn set_shell(&self, account: &str, shell: &str) {
        let before = fs::read_to_string(self.file("/etc/passwd")).expect("passwd");
        let line = |line: &str| match line.strip_prefix(&format!("{account}:")) {
            Some(_) => format!("{}:{shell}\n", line.rsplit_once(':').expect("a shell").0),
            None => format!("{line}\n"),
        };
        self.put("/etc/passwd", before.lines().map(line).collect::<String>());
    }

    /// A command to be run on the host as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--mount", "--pid", "--wd=/", "--", program]);
        command.env("LD_LIBRARY_PATH", "/run/fireaxe/openssh/lib").env("HOME", "/root");
        command
    }

    /// A line to be typed to get a root shell on the host, past sshd.
    pub fn enter_line(&self) -> String {
        format!("nsenter --target {} --mount --pid --wd=/ -- /bin/bash", self.pid)
    }

    /// Runs a command on the host as root.
    pub fn run(&self, program: &str, args: &[&str]) -> Ran {
        run(self.command(program).args(args))
    }

    /// Runs `fireaxe-host` on the host.
    pub fn fireaxe(&self, args: &[&str]) -> Ran {
        let _ = self.world.programs().ours("fireaxe-host");
        self.run("/run/fireaxe/bin/fireaxe-host", args)
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

    /// Makes this host one of this CA's, as an operator would: configuration, CA key, first revocation
    /// list, then sshd's files for these accounts.
    pub fn join_ca(&mut self, ca: &Ca, accounts: &[&str]) {
        self.put("/etc/fireaxe/host.toml", ca.host_config());
        let key = self.world.room("ca").join("user_ca.pub");
        fs::write(&key, ca.told("user_ca") + "\n").expect("CA key");
        self.put("/etc/ssh/fireaxe_user_ca.pub", fs::read(&key).expect("CA key"));
        self.fireaxe(&["krl"]).ok();
        self.join(&key, accounts);
    }

    /// Starts sshd and waits until it listens.
    pub fn start(&mut self) {
        // Another process may take the free port in between: then the next one.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            self.port = free.local_addr().expect("address").port();
            drop(free);
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
        self.run("sh", &["-c", "kill $(cat /run/sshd.pid)"]).ok();
        if let Some(mut sshd) = self.sshd.take() {
            let ended = clock::wait_for(clock::LIMIT, || sshd.try_wait().expect("sshd"));
            assert!(ended.is_some(), "sshd of {} does not stop", self.name);
        }
    }

    fn launch(&mut self) -> bool {
        let before = self.log().len();
        let sshd = self.sshd_path();
        let mut command = self.command(&sshd);
        // The configuration is Debian's own; only where to listen is ours.
        command.args(["-D", "-E", "/var/log/sshd.log", "-p", &self.port.to_string()]);
        command.args(["-o", "ListenAddress=127.0.0.1"]);
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
        if self.world.programs().unpacked_sshd().exists() {
            "/run/fireaxe/openssh/root/usr/sbin/sshd".into()
        } else {
            "/usr/sbin/sshd".into()
        }
    }

    /// What sshd says its configuration is for a login to `account` (`sshd -T -C`).
    pub fn effective(&self, account: &str) -> String {
        let who = format!("user={account},host={},addr=127.0.0.1", self.name);
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

    /// `ssh_config` lines by which a client of the machine reaches this host under its name. The key
    /// exchange is the quick one: the default costs 0.2 s a login, and nothing here rests on it.
    pub fn client_config(&self) -> String {
        format!(
            "Host {name}\n    HostName 127.0.0.1\n    Port {port}\n    HostKeyAlias {name}\n    \
             UserKnownHostsFile {known}\n    GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    \
             BatchMode yes\n    ConnectTimeout 20\n    CheckHostIP no\n    KexAlgorithms curve25519-sha256\n",
            name = self.name,
            port = self.port,
            known = self.dir.join("known_hosts").display(),
        )
    }

    /// A real `ssh` to `account` on this host; the caller adds options and the command.
    pub fn ssh_command(&self, login: &Login, account: &str, options: &[&str]) -> Command {
        let config = self.dir.join("client_config");
        fs::write(&config, self.client_config()).expect("client configuration");
        let mut command = Command::new("ssh");
        command.arg("-F").arg(config);
        match login {
            Login::Files(key, certificate) => {
                command.arg("-i").arg(key);
                command.arg("-o").arg(format!("CertificateFile={}", certificate.display()));
                command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
            }
            Login::Key(key) => {
                command.arg("-i").arg(key);
                command.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]);
            }
            Login::Agent(socket) => {
                command.arg("-o").arg(format!("IdentityAgent={}", socket.display()));
                command.args(["-o", "IdentityFile=none"]);
            }
        }
        command.args(options).arg(format!("{account}@{}", self.name));
        command
    }

    /// Logs in with a real `ssh` and runs `remote` there.
    pub fn ssh(&self, login: &Login, account: &str, remote: &str) -> Ran {
        run(self.ssh_command(login, account, &[]).arg(remote))
    }

    /// The same with a terminal asked for (`-tt`).
    pub fn ssh_with_terminal(&self, login: &Login, account: &str, remote: &str) -> Ran {
        run(self.ssh_command(login, account, &["-tt"]).arg(remote))
    }

    /// Tries to reach `port` of the host's loopback through it (`-W`).
    pub fn tunnel(&self, login: &Login, account: &str, port: u16) -> Ran {
        run(&mut self.ssh_command(login, account, &["-W", &format!("127.0.0.1:{port}")]))
    }

    /// Asks the host to listen for the client (`-R`); an ssh that cannot ends with an error.
    pub fn reverse_tunnel(&self, login: &Login, account: &str) -> Ran {
        let back = format!("0:127.0.0.1:{}", self.port);
        run(self.ssh_command(login, account, &["-o", "ExitOnForwardFailure=yes", "-R", &back]).arg("true"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its first process ends with its input; the kernel then ends all others of its namespace.
        drop(self.init.stdin.take());
        if clock::wait_for(clock::LIMIT, || self.init.try_wait().ok().flatten()).is_none() {
            end(&mut self.init);
        }
        if let Some(mut sshd) = self.sshd.take() {
            end(&mut sshd);
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "--- sshd of {}\n{}", self.name, self.log());
        }
    }
}

/// What a fresh Debian has, as far as sshd and a login need it.
fn furnish(world: &World, dir: &Path, name: &str) {
    for room in ["etc/ssh/sshd_config.d", "etc/pam.d", "home", "root", "tmp", "var/log", "var/lib", "var/tmp"]
    {
        fs::create_dir_all(dir.join(room)).expect("directory");
    }
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).expect("mode");
    };
    for shared in ["tmp", "var/tmp"] {
        mode(shared, 0o1777);
    }
    for (open, bits) in [("etc", 0o755), ("home", 0o755), ("root", 0o700), ("var", 0o755), ("var/log", 0o755)]
    {
        mode(open, bits);
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("mode");

    let mut copy = Command::new("cp");
    copy.arg("-a");
    for kept in [
        "alternatives",
        "environment",
        "ld.so.cache",
        "ld.so.conf",
        "ld.so.conf.d",
        "localtime",
        "login.defs",
        "security",
    ] {
        let path = Path::new("/etc").join(kept);
        if path.exists() {
            copy.arg(path);
        }
    }
    run(copy.arg(dir.join("etc"))).ok();

    let put = |path: &str, text: &str| fs::write(dir.join(path), text).expect("file");
    let mut passwd = String::from(
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n",
    );
    let mut shadow =
        String::from("root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n");
    let mut group = String::from("root:x:0:\ntty:x:5:\nshadow:x:42:\nutmp:x:43:\nnogroup:x:65534:\n");
    for (account, id) in ACCOUNTS {
        passwd.push_str(&format!("{account}:x:{id}:{id}::/home/{account}:/bin/bash\n"));
        shadow.push_str(&format!("{account}:*:19000:0:99999:7:::\n"));
        group.push_str(&format!("{account}:x:{id}:\n"));
        let home = dir.join("home").join(account);
        fs::create_dir_all(&home).expect("home");
        chown(&home, Some(id), Some(id)).expect("owner");
    }
    put("etc/passwd", &passwd);
    put("etc/shadow", &shadow);
    put("etc/group", &group);
    mode("etc/shadow", 0o600);
    put("etc/hostname", &format!("{name}\n"));
    put("etc/hosts", &format!("127.0.0.1 localhost {name}\n"));
    put("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n");
    put("etc/shells", "/bin/sh\n/bin/bash\n");
    // What Debian's stack comes down to for a login with a key.
    put(
        "etc/pam.d/sshd",
        "auth required pam_deny.so\naccount required pam_nologin.so\naccount required pam_unix.so\n\
         password required pam_deny.so\nsession optional pam_loginuid.so\nsession required pam_unix.so\n",
    );
    put(
        "etc/pam.d/other",
        "auth required pam_deny.so\naccount required pam_deny.so\nsession required pam_deny.so\n",
    );

    let unpacked = world.programs().openssh.join("root/usr/share/openssh/sshd_config");
    let stock = [unpacked.as_path(), Path::new("/usr/share/openssh/sshd_config")];
    let stock = stock.into_iter().find(|path| path.exists()).expect("Debian's sshd_config");
    fs::copy(stock, dir.join("etc/ssh/sshd_config")).expect("sshd_config");

    let key = KeyPair::generate(&dir.join("etc/ssh"), "ssh_host_ed25519_key");
    fs::write(dir.join("known_hosts"), format!("{name} {}\n", key.public_line())).expect("known_hosts");
}

/// Starts the host's first process; gives it and the pid by which its namespaces are entered.
fn enter_new_namespaces(world: &World, dir: &Path) -> (Child, String) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]);
    command.arg(include_str!("../openssh/host.sh")).arg("host.sh");
    command.arg(dir).arg(&world.programs().bin).arg(&world.programs().openssh);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut init = command.spawn().expect("unshare (util-linux) is installed");
    let mut line = String::new();
    let _ = BufReader::new(init.stdout.take().expect("pipe")).read_line(&mut line);
    match line.trim().strip_prefix("ready ") {
        Some(pid) => (init, pid.to_owned()),
        None => {
            drop(init.stdin.take());
            let said = init.wait_with_output().map(|o| String::from_utf8_lossy(&o.stderr).into_owned());
            panic!(
                "cannot make private namespaces here (root in a container needs CAP_SYS_ADMIN): {}",
                said.unwrap_or_default()
            );
        }
    }
}
