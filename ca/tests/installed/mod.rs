//! A CA installed by its own `init`, opened in this process with a clock that the test moves, and spoken
//! to through its routes.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

pub mod forging;
pub mod hosts;
pub mod people;
pub mod snapshots;
pub mod speaking;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use ed25519_dalek::SigningKey;
use fireaxe_ca::clock::{Clock, Moment};
use fireaxe_ca::data_dir::DataDir;
use fireaxe_ca::door::{
    Door, Feed, Fleet, HostTurns, Peer, Proofs, Reached, RecordingTurns, RevocationList, Sessions, Watchers,
    operator_routes, routes, start_herald,
};
use fireaxe_ca::fence::Fence;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::{Log, LogError, Reader};
use fireaxe_ca::metrics::Metrics;
use fireaxe_ca::randomness::SystemRandomness;
use fireaxe_ca::recordings::Recordings;
use fireaxe_ca::road::{Conductor, Cosigners, Deps, Road};
use fireaxe_ca::views::Views;
use fireaxe_protocol::api::{Opened, Problem, ReadProof};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Hash, KrlNote, NoteSigner};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::statement::{
    Close, Declare, Envelope, Header, Kind, Login, Nonce, Params, Statement, sign_ed25519,
};
use http_body_util::BodyExt;
use tower_service::Service;

/// Wall and tick that only the test moves.
#[derive(Debug)]
pub struct HandClock {
    wall_s: AtomicU64,
    tick_ms: AtomicU64,
}

impl HandClock {
    /// Time passes.
    pub fn pass(&self, seconds: u64) {
        self.wall_s.fetch_add(seconds, Ordering::SeqCst);
        self.tick_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// The wall jumps; no time passes.
    pub fn jump(&self, seconds: i64) {
        self.wall_s.fetch_add(seconds.cast_unsigned(), Ordering::SeqCst);
    }

    pub fn wall(&self) -> u64 {
        self.wall_s.load(Ordering::SeqCst)
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        Moment { wall_s: self.wall(), tick_ms: self.tick_ms.load(Ordering::SeqCst) }
    }
}

/// A person with a software key.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub const ANA: u8 = 1;
pub const BEN: u8 = 2;
pub const CLEO: u8 = 3;
pub const DAN: u8 = 4;
pub const STRANGER: u8 = 99;

pub struct Installed {
    dir: Option<tempfile::TempDir>,
    pub clock: Arc<HandClock>,
    pub origin: Origin,
    pub road: Road,
    writer: Option<std::thread::JoinHandle<()>>,
    outside: Router,
    operator: Router,
    numbers: AtomicU64,
}

/// Runs `fireaxe-ca init` with the default policy and a roster of ana, ben and cleo, and of dan, so that
/// somebody else is on call with ana.
pub fn init(dir: &Path) -> PathBuf {
    let policy = include_str!("../../../policies/default/policy.toml");
    let public = |seed| Ed25519Key(key(seed).verifying_key().to_bytes());
    let roster = format!(
        r#"version = 1
[person.ana]
groups = ["payments", "payments-oncall", "sre"]
keys = ["{} ana"]
[person.ben]
groups = ["sre", "sre-leads", "security"]
keys = ["{} ben"]
[person.cleo]
groups = ["sre", "security", "audit"]
keys = ["{} cleo"]
[person.dan]
groups = ["payments-oncall"]
keys = ["{} dan"]
[role]
policy_admin = {{ group = "security", quorum = 2 }}
auditor = {{ group = "audit" }}
incident_commander = {{ group = "sre-leads" }}
"#,
        public(ANA),
        public(BEN),
        public(CLEO),
        public(DAN)
    );
    init_with(dir, policy, &roster)
}

/// The same with another bundle.
pub fn init_with(dir: &Path, policy: &str, roster: &str) -> PathBuf {
    let bundle = dir.join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("policy.toml"), policy).unwrap();
    std::fs::write(bundle.join("roster.toml"), roster).unwrap();
    let data = dir.join("data");
    let ran = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"))
        .args(["init", "--name", "test"])
        .arg("--data")
        .arg(&data)
        .arg("--bundle")
        .arg(&bundle)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    data
}

/// The log, once nothing locks it: a program that another test starts at this moment shares the lock of a
/// log that was closed, until it has begun to run.
fn unlocked(data: &DataDir) -> Log {
    for _ in 0..1000 {
        match Log::open(&data.log()) {
            Err(LogError::Locked) => std::thread::sleep(std::time::Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    panic!("the log stays locked");
}

impl Installed {
    pub fn new() -> Installed {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path());
        Installed::begin(dir)
    }

    /// A CA with another bundle.
    pub fn with(policy: &str, roster: &str) -> Installed {
        let dir = tempfile::tempdir().unwrap();
        init_with(dir.path(), policy, roster);
        Installed::begin(dir)
    }

    fn begin(dir: tempfile::TempDir) -> Installed {
        let wall = fireaxe_ca::clock::SystemClock.now().wall_s;
        let clock = Arc::new(HandClock { wall_s: AtomicU64::new(wall), tick_ms: AtomicU64::new(0) });
        Installed::open(dir, clock, 1)
    }

    /// Opens what is there, as `serve` does.
    pub fn open(dir: tempfile::TempDir, clock: Arc<HandClock>, first_number: u64) -> Installed {
        Installed::open_with(dir, clock, first_number, None)
    }

    /// A CA with the default bundle and these witnesses.
    pub fn witnessed(witnesses: Box<dyn Cosigners>) -> Installed {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path());
        let wall = fireaxe_ca::clock::SystemClock.now().wall_s;
        let clock = Arc::new(HandClock { wall_s: AtomicU64::new(wall), tick_ms: AtomicU64::new(0) });
        Installed::open_with(dir, clock, 1, Some(witnesses))
    }

    fn open_with(
        dir: tempfile::TempDir,
        clock: Arc<HandClock>,
        first_number: u64,
        witnesses: Option<Box<dyn Cosigners>>,
    ) -> Installed {
        let data = DataDir::at(&dir.path().join("data"));
        let load = |purpose| keys::load(&data.keys(), purpose).unwrap();
        let log = unlocked(&data);
        let origin = log.origin().clone();
        let deps = Deps {
            log,
            reader: Reader::open(&data.log()).unwrap(),
            snapshot: Some(data.snapshot()),
            user_ca: load(Purpose::UserCa),
            host_ca: load(Purpose::HostCa),
            checkpoints: NoteSigner::new(origin.as_str(), load(Purpose::Log)).unwrap(),
            clock: clock.clone(),
            random: Box::new(SystemRandomness),
            pager: None,
            fence: Arc::new(Fence::open(&data, &Reader::open(&data.log()).unwrap()).unwrap()),
            witnesses,
        };
        let (road, writer) = Conductor::start(deps).unwrap();
        let krl = NoteSigner::new(&KrlNote::key_name(&origin), load(Purpose::Krl)).unwrap();
        let door = Arc::new(Door {
            road: road.clone(),
            reader: Mutex::new(Reader::open(&data.log()).unwrap()),
            views: Views::open(&data.views()).unwrap(),
            sessions: Sessions::default(),
            revocation_list: RevocationList::new(krl),
            watchers: Watchers::default(),
            feed: Feed::default(),
            fleet: Fleet::default(),
            report_turns: HostTurns::default(),
            proofs: Proofs::default(),
            recordings: Recordings::at(&data.recordings()),
            recording_turns: RecordingTurns::default(),
            clock: clock.clone(),
            metrics: Metrics::default(),
        });
        let reached =
            Reached { addr: "https://ca.internal:8443".into(), pin: format!("sha256:{}", Hash::of(b"tls")) };
        start_herald(&door, Reader::open(&data.log()).unwrap()).unwrap();
        Installed {
            dir: Some(dir),
            clock,
            origin,
            road,
            writer: Some(writer),
            outside: routes(door.clone()),
            operator: operator_routes(door, Peer { uid: 0 }, reached),
            numbers: AtomicU64::new(first_number),
        }
    }

    /// Stops the writer and opens everything again: from the snapshot that the restart before left, if there was
    /// one. What is decided from then on is decided by a state that was read back.
    pub fn restart(self) -> Installed {
        self.restart_after(|_| ())
    }

    /// The same, and does something to its folder in between.
    pub fn restart_after(mut self, between: impl FnOnce(&DataDir)) -> Installed {
        self.stop();
        snapshots::starts_alike(&self.data());
        let (dir, clock) = (self.dir.take().unwrap(), self.clock.clone());
        let (data, number) = (DataDir::at(&dir.path().join("data")), self.numbers.load(Ordering::SeqCst));
        drop(self);
        between(&data);
        let again = Installed::open(dir, clock, number);
        snapshots::maker(&again.data()).make().unwrap();
        again
    }

    /// Stops the writer. Nothing is answered any more.
    pub fn stop(&mut self) {
        self.road.stop();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
    }

    /// Stops the writer and gives what is on the disk to whoever changes it.
    pub fn into_dir(mut self) -> (tempfile::TempDir, Arc<HandClock>) {
        self.stop();
        (self.dir.take().unwrap(), self.clock.clone())
    }

    pub fn data(&self) -> DataDir {
        DataDir::at(&self.folder().join("data"))
    }

    /// The folder that all of it is in, and the bundle it began with.
    pub fn folder(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub fn reader(&self) -> Reader {
        Reader::open(&self.data().log()).unwrap()
    }

    /// How many entries the log has.
    pub fn size(&self) -> u64 {
        self.reader().size().unwrap()
    }

    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    pub fn header(&self, kind: Kind) -> Header {
        let mut nonce = [0u8; 16];
        nonce[8..].copy_from_slice(&self.number().to_be_bytes());
        Header { kind, to: self.origin.clone(), nonce: Nonce(nonce), at: self.clock.wall() }
    }

    /// A declaration for `target`, with its own nonce and fresh key.
    pub fn declare(&self, target: &str) -> Declare {
        let mut seed = [7u8; 32];
        seed[..8].copy_from_slice(&self.number().to_be_bytes());
        Declare {
            header: self.header(Kind::Declare),
            target: target.parse().unwrap(),
            severity: Some(2.try_into().unwrap()),
            incident: None,
            reason: "primary refuses writes".parse().unwrap(),
            want: None,
            action: None,
            params: Params::default(),
            for_s: None,
            drill: false,
            public_key: Ed25519Key(SigningKey::from_bytes(&seed).verifying_key().to_bytes()),
        }
    }

    pub async fn post<T: serde::Serialize>(&self, path: &str, body: &T) -> Told {
        let body = serde_json::to_vec(body).unwrap();
        self.ask(&self.outside, "POST", path, body, None).await
    }

    /// A question without a body, asked by whoever made the proof.
    pub async fn post_proved(&self, path: &str, proof: &str) -> Told {
        self.ask(&self.outside, "POST", path, Vec::new(), Some(proof)).await
    }

    pub async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Told {
        self.ask(&self.outside, "POST", path, body, None).await
    }

    pub async fn get(&self, path: &str, proof: Option<&str>) -> Told {
        self.ask(&self.outside, "GET", path, Vec::new(), proof).await
    }

    pub async fn operator(&self, method: &str, path: &str, body: serde_json::Value) -> Told {
        self.ask(&self.operator, method, path, serde_json::to_vec(&body).unwrap(), None).await
    }

    pub async fn send(&self, envelope: &Envelope) -> Told {
        self.post("/v1/emergencies", envelope).await
    }

    /// Declares and expects a certificate.
    pub async fn open_emergency(&self, by: u8, words: &Declare) -> Opened {
        let told = self.send(&signed(by, &Statement::Declare(words.clone()))).await;
        assert_eq!(told.status, 201, "{}", told.text());
        told.json()
    }

    pub async fn close_emergency(&self, by: u8, opened: &Opened) -> Told {
        self.post(&format!("/v1/emergencies/{}/closure", opened.emergency), &self.closing(by, opened)).await
    }

    pub fn closing(&self, by: u8, opened: &Opened) -> Envelope {
        let words = Close {
            header: self.header(Kind::Close),
            of: opened.declaration,
            emergency: opened.emergency,
            uses: None,
        };
        signed(by, &Statement::Close(words))
    }

    pub async fn incident(&self, id: &str, severity: u8, state: &str, system: &str) -> Told {
        let body = serde_json::json!({
            "incident": id, "state": state, "severity": severity, "systems": [system]
        });
        self.operator("POST", "/operator/incidents", body).await
    }

    /// A session for `by`; gives its key.
    pub async fn login(&self, by: u8) -> SigningKey {
        let session = SigningKey::from_bytes(&[by.wrapping_add(100); 32]);
        let words = Login {
            header: self.header(Kind::Login),
            session_key: Ed25519Key(session.verifying_key().to_bytes()),
            for_s: 3600,
        };
        let told = self.post("/v1/sessions", &signed(by, &Statement::Login(words))).await;
        assert_eq!(told.status, 200, "{}", told.text());
        session
    }

    /// The header that proves a read by `key`.
    pub fn proof(&self, key: &SigningKey, method: &str, path: &str) -> String {
        use ed25519_dalek::Signer;
        let at = self.clock.wall();
        let message = ReadProof::message(&self.origin, method, path, at);
        let fingerprint = Ed25519Key(key.verifying_key().to_bytes()).fingerprint();
        ReadProof { key: fingerprint, at, signature: key.sign(&message).to_bytes() }.header()
    }

    /// The state of an emergency as a list shows it.
    pub async fn state_of(&self, id: EmergencyId) -> fireaxe_protocol::api::Emergency {
        let session = self.login(BEN).await;
        let path = format!("/v1/emergencies/{id}");
        let told = self.get(&path, Some(&self.proof(&session, "GET", &path))).await;
        assert_eq!(told.status, 200, "{}", told.text());
        told.json()
    }

    /// A read whose answer is not waited for to its end.
    pub async fn stream(&self, path: &str, proof: &str) -> axum::response::Response {
        let request = Request::get(path).header("authorization", proof).body(Body::empty()).unwrap();
        self.outside.clone().call(request).await.unwrap()
    }

    /// Bytes that a host's key is proved for.
    pub async fn post_bytes_proved(&self, path: &str, body: Vec<u8>, proof: &str) -> Told {
        self.ask(&self.outside, "POST", path, body, Some(proof)).await
    }

    pub async fn post_body(&self, path: &str, body: Body) -> Told {
        answer(&self.outside, Request::post(path).body(body).unwrap()).await
    }

    pub async fn post_body_proved(&self, path: &str, body: Body, proof: &str) -> Told {
        let request = Request::post(path).header("authorization", proof);
        answer(&self.outside, request.body(body).unwrap()).await
    }

    async fn ask(
        &self,
        router: &Router,
        method: &str,
        path: &str,
        body: Vec<u8>,
        proof: Option<&str>,
    ) -> Told {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(proof) = proof {
            request = request.header("authorization", proof);
        }
        answer(router, request.body(Body::from(body)).unwrap()).await
    }
}

async fn answer(router: &Router, request: Request<Body>) -> Told {
    let response = router.clone().call(request).await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let bytes = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    Told { status, headers, bytes }
}

/// Signs words with a person's software key, under the words' own kind.
pub fn signed(by: u8, words: &Statement) -> Envelope {
    sign_ed25519(&key(by), words.header().kind, &words.write())
}

/// An answer.
pub struct Told {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Told {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[track_caller]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Expects a problem of that status and code, complete: reasons never empty.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Problem {
        assert_eq!(self.status, status, "{}", self.text());
        let problem: Problem = self.json();
        assert_eq!(problem.code, code, "{}", self.text());
        assert_eq!(problem.status, status);
        assert!(!problem.reasons.is_empty(), "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        problem
    }
}

/// Whatever the test was about, its history is one more that a snapshot must not change.
impl Drop for Installed {
    fn drop(&mut self) {
        if self.dir.is_some() && !std::thread::panicking() {
            snapshots::agree(&self.data().log(), 2);
        }
    }
}
