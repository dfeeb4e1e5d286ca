//! A CA of a few lines over real TLS, for the daemon's own tests: it has a log, a list and an enrolment, and
//! misbehaves on request. What a CA must check is tested with the real one.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::api::{
    ChunksTaken, Consistency, FeedEvent, FeedHead, FeedList, Join, Joined, Keys, ReadProof, Reports,
    ReportsTaken,
};
use fireaxe_protocol::certificate::{HostBody, HostIssue, HostProfile, host_certificate, to_openssh};
use fireaxe_protocol::host::Report;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::Krl;
use fireaxe_protocol::log::{Checkpoint, Hash, KrlNote, NoteSigner, tree};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::recording::Chain;
use fireaxe_protocol::statement::{Claimed, EnrolledKey, Statement};
use fireaxe_transport::Pin;
use rustls::pki_types::PrivateKeyDer;
use serde::Serialize;

pub(crate) const HOST: &str = "db-3.payments.prod";

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn origin() -> Origin {
    "ca.fireaxe.test/0123456789abcdef".parse().unwrap()
}

/// A list with its note; `seed` 2 is the CA's own key for notes.
pub(crate) struct List {
    pub(crate) bytes: Vec<u8>,
    pub(crate) version: u64,
    pub(crate) note: String,
}

pub(crate) fn list(version: u64, seed: u8) -> List {
    let user_ca = Ed25519Key::from(&key(1));
    let mut krl = Krl::new(version, now(), user_ca);
    krl.revoke(user_ca, version + 1000).unwrap();
    noted(krl.write(), version, seed)
}

pub(crate) fn noted(bytes: Vec<u8>, version: u64, seed: u8) -> List {
    let signer = NoteSigner::new(&KrlNote::key_name(&origin()), key(seed)).unwrap();
    let note = KrlNote { origin: origin(), krl: Hash::of(&bytes), version, time: now() };
    List { note: STANDARD.encode(note.sign(&signer).unwrap()), bytes, version }
}

impl List {
    pub(crate) fn event(&self, with_bytes: bool) -> FeedEvent {
        let krl = with_bytes.then(|| STANDARD.encode(&self.bytes));
        let list = FeedList { version: self.version, note: self.note.clone(), krl };
        FeedEvent { schema: "fireaxe.feed/v1".into(), krl: Some(list), ..FeedEvent::default() }
    }
}

pub(crate) struct Log(pub(crate) Vec<Hash>);

impl tree::Nodes for Log {
    type Error = std::convert::Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        match level {
            0 => Ok(self.0[index as usize]),
            _ => {
                let (left, right) = (self.node(level - 1, index * 2)?, self.node(level - 1, index * 2 + 1)?);
                Ok(tree::node_hash(&left, &right))
            }
        }
    }
}

impl Log {
    pub(crate) fn of(entries: impl IntoIterator<Item = u64>) -> Log {
        Log(entries.into_iter().map(|n| tree::leaf_hash(&n.to_be_bytes())).collect())
    }

    pub(crate) fn event(&self, size: u64, from: u64) -> FeedEvent {
        let signer = NoteSigner::new(origin().as_str(), key(3)).unwrap();
        let head = Checkpoint { origin: origin(), size, root: tree::root(size, self).unwrap() };
        let proof = if from == 0 { Vec::new() } else { tree::consistency_proof(from, size, self).unwrap() };
        let head = FeedHead { checkpoint: head.sign(&signer).unwrap(), from, proof };
        FeedEvent { schema: "fireaxe.feed/v1".into(), head: Some(head), ..FeedEvent::default() }
    }
}

/// What it holds, and how it behaves.
pub(crate) struct State {
    pub(crate) list: List,
    pub(crate) log: Log,
    /// Numbered reports, in order.
    pub(crate) taken: Vec<Report>,
    /// Those without a number.
    pub(crate) news: Vec<Report>,
    pub(crate) recording: Chain,
    /// Requests as they came: method and path.
    pub(crate) seen: Vec<String>,
    /// It hangs up on everybody.
    pub(crate) away: bool,
    /// It takes no reports with a number.
    pub(crate) busy: bool,
    /// It takes them, and hangs up before it says so.
    pub(crate) answers_lost: u32,
    pub(crate) confirm: Option<u64>,
    /// What the feed says next.
    feed: VecDeque<String>,
    /// How often it was followed; only the newest follower is told.
    pub(crate) followed: u64,
    /// The certificate of the next one to join is for this name.
    pub(crate) certify: String,
    token: String,
    host_key: Option<Ed25519Key>,
}

pub(crate) struct StandIn {
    pub(crate) address: String,
    pub(crate) pin: String,
    pub(crate) shared: Arc<(Mutex<State>, Condvar)>,
}

impl StandIn {
    pub(crate) fn start(token: &str) -> StandIn {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let secret = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], secret)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let state = State {
            list: list(5, 2),
            log: Log::of(0..40),
            taken: Vec::new(),
            news: Vec::new(),
            recording: Chain::default(),
            seen: Vec::new(),
            away: false,
            busy: false,
            answers_lost: 0,
            confirm: None,
            feed: VecDeque::new(),
            followed: 0,
            certify: HOST.into(),
            token: token.into(),
            host_key: None,
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let mine = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared) = (config.clone(), mine.clone());
                std::thread::spawn(move || serve(stream, config, &shared));
            }
        });
        StandIn { address, pin: Pin::of_der(made.cert.der()).to_string(), shared }
    }

    /// Changes it; open feeds notice.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.shared.0.lock().unwrap());
        self.shared.1.notify_all();
        done
    }

    pub(crate) fn say(&self, event: &FeedEvent) {
        self.say_text(serde_json::to_string(event).unwrap());
    }

    pub(crate) fn say_text(&self, text: String) {
        self.change(|state| state.feed.push_back(text));
    }

    /// Waits until it holds, a minute at most.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        until(what, || holds(&self.shared.0.lock().unwrap()));
    }
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

type Shared = (Mutex<State>, Condvar);
type Tls = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

fn serve(stream: TcpStream, config: Arc<rustls::ServerConfig>, shared: &Shared) {
    let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0u8; 4096];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let header = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let length: usize = header("content-length").map_or(0, |v| v.parse().unwrap());
        if bytes.len() < end + 4 + length {
            continue;
        }
        let body = bytes[end + 4..end + 4 + length].to_vec();
        bytes.drain(..end + 4 + length);
        let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        let mut state = shared.0.lock().unwrap();
        state.seen.push(line.clone());
        if state.away {
            return;
        }
        if line == "GET /v1/feed" {
            prove(&state, &header("authorization"), "GET", "/v1/feed");
            drop(state);
            return feed(&mut stream, shared);
        }
        let Some(answer) = answer(&mut state, &line, &body, &header("authorization")) else { return };
        drop(state);
        if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn prove(state: &State, header: &Option<String>, method: &str, path: &str) {
    let proof = ReadProof::read(header.as_ref().unwrap()).unwrap();
    proof.verify(&state.host_key.unwrap(), &origin(), method, path).unwrap();
}

fn feed(stream: &mut Tls, shared: &Shared) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: here\n\n";
    if stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).is_err() {
        return;
    }
    let mut state = shared.0.lock().unwrap();
    state.followed += 1;
    let mine = state.followed;
    loop {
        if state.away || state.followed != mine {
            return;
        }
        let text = match state.feed.pop_front() {
            Some(text) => format!("data: {text}\n\n"),
            None => {
                let waited = shared.1.wait_timeout(state, Duration::from_secs(1)).unwrap();
                state = waited.0;
                if !waited.1.timed_out() {
                    continue;
                }
                ": still here\n\n".into()
            }
        };
        if stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn ok(json: &impl Serialize) -> Option<Vec<u8>> {
    http(200, "", &serde_json::to_vec(json).unwrap())
}

fn http(status: u16, headers: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

fn problem(status: u16, code: &str, expected: Option<u64>) -> Option<Vec<u8>> {
    let json = serde_json::json!({
        "type": "t", "title": "no", "status": status, "code": code, "reasons": [], "expected": expected
    });
    http(status, "", &serde_json::to_vec(&json).unwrap())
}

fn answer(state: &mut State, line: &str, body: &[u8], proof: &Option<String>) -> Option<Vec<u8>> {
    let (method, path) = line.split_once(' ').unwrap();
    let signer = |name: &str, seed| NoteSigner::new(name, key(seed)).unwrap().key().to_string();
    if path == "/v1/keys" {
        return ok(&Keys {
            schema: "fireaxe.keys/v1".into(),
            origin: origin(),
            user_ca: Ed25519Key::from(&key(1)),
            host_ca: Ed25519Key::from(&key(4)),
            log: signer(origin().as_str(), 3),
            krl: signer(&KrlNote::key_name(&origin()), 2),
            now: now(),
        });
    }
    if path == "/v1/krl" {
        let headers = format!("fireaxe-krl-note: {}\r\n", state.list.note);
        return http(200, &headers, &state.list.bytes.clone());
    }
    if path == "/v1/hosts" {
        return join(state, serde_json::from_slice(body).unwrap());
    }
    if let Some(query) = path.strip_prefix("/log/consistency?from=") {
        let (from, to) = query.split_once("&to=").unwrap();
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let proof = tree::consistency_proof(from, to, &state.log).unwrap();
        return ok(&Consistency { schema: "fireaxe.consistency/v1".into(), from, to, proof });
    }
    if path == format!("/v1/hosts/{HOST}/reports") {
        return reports(state, serde_json::from_slice(body).unwrap());
    }
    if let Some(rest) = path.strip_prefix(&format!("/v1/hosts/{HOST}/recordings/")) {
        prove(state, proof, method, path);
        let from: u64 = rest.split_once("?from=").unwrap().1.parse().unwrap();
        if from != state.recording.chunks() {
            return problem(409, "recording.order", Some(state.recording.chunks()));
        }
        state.recording.all(body).unwrap();
        return ok(&ChunksTaken {
            schema: "fireaxe.chunks-taken/v1".into(),
            chunks: state.recording.chunks(),
        });
    }
    problem(404, "unknown", None)
}

fn join(state: &mut State, join: Join) -> Option<Vec<u8>> {
    let claimed = Claimed::read(join.enrol).unwrap();
    let Statement::Enrol(words) = claimed.statement().clone() else { panic!() };
    claimed.verify(&EnrolledKey::read(&words.public_key.to_string()).unwrap()).unwrap();
    if join.token != state.token {
        return problem(403, "host.not_invited", None);
    }
    state.host_key = Some(words.public_key);
    let profile = HostProfile::of(&HostIssue {
        nonce: [7; 32],
        public_key: words.public_key,
        serial: 12,
        host: &state.certify.parse().unwrap(),
        at: now(),
        ca_key: Ed25519Key::from(&key(4)),
    });
    let body = HostBody::of(&profile.unwrap());
    let certificate = host_certificate(&body, &key(4).sign(body.as_bytes()).to_bytes());
    if state.answers_lost > 0 {
        state.answers_lost -= 1;
        return None;
    }
    ok(&Joined {
        schema: "fireaxe.host-joined/v1".into(),
        host: HOST.parse().unwrap(),
        system: "payments-db".parse().unwrap(),
        enrolment: Hash::of(b"enrolment"),
        certificate: to_openssh(&certificate),
        valid_before: now() + 3600,
    })
}

fn reports(state: &mut State, sent: Reports) -> Option<Vec<u8>> {
    let host_key = EnrolledKey::read(&state.host_key.unwrap().to_string()).unwrap();
    for envelope in sent.reports {
        let signed = Claimed::read(envelope).unwrap().verify(&host_key).unwrap();
        let Statement::Report(said) = &signed.statement else { panic!() };
        let last = state.taken.len() as u64;
        match said.seq {
            0 => state.news.push(said.report.clone()),
            _ if state.busy => return problem(503, "busy", None),
            seq if seq <= last => {}
            seq if seq == last + 1 => state.taken.push(said.report.clone()),
            _ => return problem(409, "report.order", Some(last + 1)),
        }
    }
    if state.answers_lost > 0 {
        state.answers_lost -= 1;
        return None;
    }
    let (seq, confirm) = (state.taken.len() as u64, state.confirm);
    ok(&ReportsTaken { schema: "fireaxe.reports-taken/v1".into(), seq, confirm })
}

/// A host's files in a folder of its own.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

/// A daemon that runs. Killed when dropped, as by a power cut.
pub(crate) struct Daemon {
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Whether it runs still.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Files {
    pub(crate) fn new(token: &str) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(dir.path().join("host_key"))
            .status()
            .unwrap();
        assert!(made.success());
        std::fs::write(dir.path().join("token"), format!("{token}\n")).unwrap();
        Files { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn enrol(&self, ca: &StandIn) -> std::process::Output {
        self.enrol_told(ca, &[])
    }

    /// Enrols with these words more.
    pub(crate) fn enrol_told(&self, ca: &StandIn, words: &[&str]) -> std::process::Output {
        let at = |name: &str| self.path(name).into_os_string();
        Command::new(env!("CARGO_BIN_EXE_fireaxe-host"))
            .args(["--json", "enrol", "--addr", &ca.address, "--pin", &ca.pin, "--host", HOST])
            .args(["--token-file".into(), at("token")])
            .args(["--config".into(), at("etc/host.toml")])
            .args(["--host-key".into(), at("host_key")])
            .args(["--user-ca".into(), at("ssh/user_ca.pub")])
            .args(["--revoked-keys".into(), at("ssh/revoked_keys")])
            .args(["--state".into(), at("state")])
            .args(words)
            .output()
            .unwrap()
    }

    pub(crate) fn run(&self) -> Daemon {
        self.run_told(Path::new(""))
    }

    /// Runs it under who listens here for it to be ready; nowhere: nobody.
    pub(crate) fn run_told(&self, ready: &Path) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fireaxe-host"));
        if ready != Path::new("") {
            command.env("NOTIFY_SOCKET", ready);
        }
        let child = command
            .args(["run".into(), "--config".into(), self.path("etc/host.toml").into_os_string()])
            .args(["--run-dir".into(), self.path("run").into_os_string()])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Daemon { child }
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_fireaxe-host"))
            .args(["--json", "status", "--config"])
            .arg(self.path("etc/host.toml"))
            .arg("--socket")
            .arg(self.path("run/host.sock"))
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// All files below a folder, by name and content.
pub(crate) fn all(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(all(&entry.path())),
            false => found.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default())),
        }
    }
    found.sort();
    found
}
