//! A home of its own for each test, with the real program in it; and a CA that says what it is told to.

#![allow(dead_code, reason = "each test program uses its part of this")]

pub(crate) mod ca;
pub(crate) mod log;
pub(crate) mod people;
pub(crate) mod waiting;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// A home with an agent in it; both end with the test.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) agent: Option<Child>,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { dir: tempfile::tempdir().unwrap(), agent: None }
    }

    pub(crate) fn with_agent() -> Home {
        let mut home = Home::new();
        let child = home.fireaxe(&["agent"]).stderr(Stdio::null()).spawn().unwrap();
        home.agent = Some(child);
        home.wait_for("control.sock");
        home
    }

    pub(crate) fn fireaxe(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fireaxe"));
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.dir.path()).env("XDG_RUNTIME_DIR", self.dir.path().join("run"));
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.fireaxe(words).output().unwrap()
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join("run/fireaxe").join(name)
    }

    pub(crate) fn wait_for(&self, name: &str) {
        wait_until(name, || UnixStream::connect(self.socket(name)).is_ok());
    }

    pub(crate) fn ask(&self, request: Value) -> Value {
        let mut stream = UnixStream::connect(self.socket("control.sock")).unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Puts a certificate into the agent, as `open` does after its checks; its text.
    pub(crate) fn hold(&self, serial: u64, lifetime: u64) -> String {
        let public = self.ask(json!({"ask": "fresh_key"}))["public_key"].as_str().unwrap().to_owned();
        let subject = ssh_key::PublicKey::from_openssh(&public).unwrap();
        let now = now();
        let key = subject.key_data().clone();
        let mut builder =
            ssh_key::certificate::Builder::new(vec![1; 16], key, now - 120, now + lifetime).unwrap();
        builder.serial(serial).unwrap().key_id(format!("fireaxe/EM-42/ana/{serial}")).unwrap();
        builder.valid_principal("root:db-3.payments.prod").unwrap();
        let ca = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[9; 32]));
        let certificate = builder.sign(&ca).unwrap().to_openssh().unwrap();
        let hold = json!({
            "certificate": certificate, "emergency": "EM-42", "declaration": "00".repeat(32),
            "origin": "fireaxe.prod/0123456789abcdef", "system": "payments-db", "host": "db-3.payments.prod",
            "hosts": ["db-3.payments.prod"], "drill": false,
            "terms": {
                "tier": "root", "power": 3, "account": "root", "principals": ["root:db-3.payments.prod"],
                "extensions": [], "source_address": [], "lifetime_s": lifetime, "approvals": [],
                "presence": "none", "record": "none", "grace_s": 0
            }
        });
        let answer = self.ask(json!({"ask": "hold", "hold": hold}));
        assert_eq!(answer["answer"], "held", "{answer}");
        certificate
    }

    /// Has the agent sign a login as `account` with the first key it shows; whether it did.
    pub(crate) fn login(&self, account: &str) -> bool {
        use fireaxe_protocol::wire::put_string;
        let mut stream = UnixStream::connect(self.socket("agent.sock")).unwrap();
        let mut ask = |frame: &[u8]| {
            stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
            stream.write_all(frame).unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut answer).unwrap();
            answer
        };
        let shown = ask(&[11]);
        let length = u32::from_be_bytes(shown[5..9].try_into().unwrap()) as usize;
        let blob = shown[9..9 + length].to_vec();
        let mut data = Vec::new();
        put_string(&mut data, &[7; 32]);
        data.push(50);
        for part in [account.as_bytes(), b"ssh-connection", b"publickey"] {
            put_string(&mut data, part);
        }
        data.push(1);
        put_string(&mut data, b"ssh-ed25519-cert-v01@openssh.com");
        put_string(&mut data, &blob);
        let mut sign = vec![13];
        put_string(&mut sign, &blob);
        put_string(&mut sign, &data);
        sign.extend([0; 4]);
        ask(&sign)[0] == 14
    }

    pub(crate) fn openssh(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(words).env("SSH_AUTH_SOCK", self.socket("agent.sock")).stdin(Stdio::null());
        command.current_dir(self.dir.path()).output().unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(mut child) = self.agent.take() {
            let _ = child.kill();
            let _ = child.wait();
        } else {
            // One that a verb has started, if there is one.
            let _ = self.run(&["agent", "--stop"]);
        }
    }
}

/// What a program wrote.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program said.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Unix seconds.
#[allow(clippy::disallowed_methods, reason = "a test's clock")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits for a condition, for 20 seconds at most.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(condition(), "in vain: {what}");
}

/// The program on a terminal of its own; `typed` is what its person types when `ready`.
pub(crate) fn on_a_terminal(
    home: &Home,
    words: &[&str],
    ready: impl Fn() -> bool,
    typed: &[u8],
) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_fireaxe");
    let line: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("{program} {}", line.join(" ")), "/dev/null"]);
    let like = home.fireaxe(&[]);
    script.env_clear().envs(like.get_envs().filter_map(|(k, v)| v.map(|v| (k, v)))).env("TERM", "xterm");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    wait_until("it is ready", ready);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(typed).unwrap();
    stdin.flush().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}
