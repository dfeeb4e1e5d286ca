//! A CA of a few lines over real TLS: it signs what it is asked to, with a real receipt over a log of two
//! entries, and misbehaves on request. What a CA must check is tested with the real one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::api::{Keys, Opened};
use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject, assemble, to_openssh};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{
    Checkpoint, Event, Hash, NoteKey, NoteSigner, Receipt, encode_entry, line1, tree,
};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{Decision, Outcome, Presence, Record, Terms};
use fireaxe_protocol::statement::{Declare, Envelope, Statement};
use fireaxe_transport::Pin;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// What to answer: status and JSON; `None` cuts the connection. [`stream`] opens a stream of events.
pub(crate) type Answer = Option<(u16, Value)>;

pub(crate) struct FakeCa {
    pub(crate) address: String,
    pub(crate) pin: String,
    pub(crate) seen: Arc<Mutex<Vec<Request>>>,
    news: Arc<(Mutex<u64>, Condvar)>,
}

/// The answer that opens a stream of events; each [`FakeCa::tell`] is one.
pub(crate) fn stream() -> Answer {
    Some((200, Value::Null))
}

/// An answer that is no JSON.
pub(crate) fn bytes(of: &[u8]) -> Answer {
    Some((200, Value::String(STANDARD.encode(of))))
}

impl FakeCa {
    /// Something has happened: every open stream says so.
    pub(crate) fn tell(&self) {
        *self.news.0.lock().unwrap() += 1;
        self.news.1.notify_all();
    }

    /// Answers `GET /v1/keys` by itself and everything else with `answer`, which also gets the number of
    /// requests for that line before this one.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> FakeCa {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let all = seen.clone();
        let news: Arc<(Mutex<u64>, Condvar)> = Arc::default();
        let told = news.clone();
        let (config, answer) = (Arc::new(config), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answer, all) = (config.clone(), answer.clone(), all.clone());
                let told = told.clone();
                std::thread::spawn(move || serve(stream, config, &*answer, &all, &told));
            }
        });
        FakeCa { address, pin: Pin::of_der(made.cert.der()).to_string(), seen, news }
    }

    /// The requests for one line, e.g. `POST /v1/emergencies`.
    pub(crate) fn requests(&self, line: &str) -> Vec<Request> {
        self.seen.lock().unwrap().iter().filter(|r| r.line == line).cloned().collect()
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    answer: &dyn Fn(&Request, usize) -> Answer,
    all: &Mutex<Vec<Request>>,
    news: &(Mutex<u64>, Condvar),
) {
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
            head.lines().find_map(|l| {
                let (found, value) = l.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let length: usize = header("content-length").map_or(0, |v| v.parse().unwrap());
        if bytes.len() < end + 4 + length {
            continue;
        }
        let request = Request {
            line: head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned(),
            authorization: header("authorization"),
            body: String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned(),
        };
        bytes.drain(..end + 4 + length);
        let before = {
            let mut all = all.lock().unwrap();
            all.push(request.clone());
            all.iter().filter(|r| r.line == request.line).count() - 1
        };
        let answered = match request.line.as_str() {
            "GET /v1/keys" => Some((200, serde_json::to_value(keys()).unwrap())),
            _ => answer(&request, before),
        };
        let Some((status, json)) = answered else { return };
        if json == Value::Null {
            send_events(&mut stream, news);
            return;
        }
        let body = match &json {
            Value::String(raw) => STANDARD.decode(raw).unwrap(),
            json => json.to_string().into_bytes(),
        };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
        let whole = [head.as_bytes(), &body].concat();
        if stream.write_all(&whole).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}

fn send_events(stream: &mut impl Write, news: &(Mutex<u64>, Condvar)) {
    let mut told = *news.0.lock().unwrap();
    let mut text = "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\n\r\n: here\n\n".to_owned();
    while stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok() {
        let now = news.0.lock().unwrap();
        let (now, _) = news.1.wait_timeout_while(now, Duration::from_millis(200), |n| *n == told).unwrap();
        text = if *now == told { ":\n\n".to_owned() } else { format!("data: {{\"entry\":{now}}}\n\n") };
        told = *now;
    }
}

pub(crate) fn origin() -> Origin {
    "fireaxe.prod/0123456789abcdef".parse().unwrap()
}

fn public(key: &SigningKey) -> Ed25519Key {
    Ed25519Key(key.verifying_key().to_bytes())
}

fn user_ca() -> SigningKey {
    SigningKey::from_bytes(&[21; 32])
}

fn log_key() -> SigningKey {
    SigningKey::from_bytes(&[22; 32])
}

/// Signs heads of the log that [`keys`] name.
pub(crate) fn log_signer() -> NoteSigner {
    NoteSigner::new(origin().as_str(), log_key()).unwrap()
}

fn keys() -> Keys {
    Keys {
        schema: "fireaxe.keys/v1".into(),
        origin: origin(),
        user_ca: public(&user_ca()),
        log: NoteKey::new(origin().as_str(), &public(&log_key())).unwrap().to_string(),
        krl: NoteKey::new("x", &public(&log_key())).unwrap().to_string(),
        host_ca: public(&user_ca()),
        now: super::now(),
    }
}

/// The declaration in a request's body.
pub(crate) fn declared(request: &Request) -> Declare {
    let envelope: Envelope = serde_json::from_str(&request.body).unwrap();
    match Statement::read(&envelope.statement).unwrap() {
        Statement::Declare(declare) => declare,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn terms() -> Terms {
    Terms {
        tier: "root".parse().unwrap(),
        power: 3,
        account: "root".parse().unwrap(),
        principals: vec!["root:db-3.payments.prod".parse().unwrap()],
        force_command: None,
        extensions: vec![fireaxe_protocol::policy::Extension::Pty],
        source_address: Vec::new(),
        lifetime_s: 2700,
        approvals: Vec::new(),
        presence: Presence::None,
        record: Record::None,
        krl_max_age_s: None,
        grace_s: 60,
        action: None,
    }
}

pub(crate) fn decision(outcome: Outcome) -> Decision {
    Decision {
        outcome,
        severity: Some(1.try_into().unwrap()),
        trigger: None,
        sensitivity: 4,
        blast: 2,
        band: "medium".into(),
        cell: None,
        awaits: None,
        because: Vec::new(),
    }
}

/// Where a CA may go wrong.
#[derive(Debug, Clone)]
pub(crate) struct Makes {
    /// The terms the certificate is made from; the answer always shows [`terms`].
    pub(crate) terms: Terms,
    /// The declaration its entry in the log refers to.
    pub(crate) of: Hash,
    /// Who signs the checkpoint.
    pub(crate) log: SigningKey,
    /// Index of its entry.
    pub(crate) serial: u64,
}

pub(crate) const DECLARATION: Hash = Hash([5; 32]);

impl Default for Makes {
    fn default() -> Makes {
        Makes { terms: terms(), of: DECLARATION, log: log_key(), serial: 1 }
    }
}

/// The whole answer to a declaration, with a certificate and its receipt.
pub(crate) fn opened(request: &Request, makes: &Makes) -> Value {
    let certificate = certificate(declared(request).public_key, makes);
    let opened = Opened {
        schema: "fireaxe.opened/v1".into(),
        emergency: EmergencyId(42),
        declaration: DECLARATION,
        decision: decision(Outcome::Permit(terms())),
        system: "payments-db".parse().unwrap(),
        host: Some("db-3.payments.prod".parse().unwrap()),
        hosts: vec!["db-3.payments.prod".into()],
        owner: Some("payments".into()),
        incident: Some(("pd:PGR0VU2".parse().unwrap(), 120)),
        link_by: None,
        waiting: None,
        terms: Some(terms()),
        certificate: Some(certificate),
        valid_before: None,
    };
    serde_json::to_value(opened).unwrap()
}

/// A certificate over this key, with its receipt.
pub(crate) fn certificate(public_key: Ed25519Key, makes: &Makes) -> String {
    let at = super::now();
    let person = "ana".parse().unwrap();
    let issue = Issue {
        nonce: [1; 32],
        public_key,
        serial: makes.serial,
        subject: Subject::Person(EmergencyId(42), &person),
        at,
        grant_end: at + 3600,
        within: None,
        ca_key: public(&user_ca()),
    };
    let body = Body::of(&Profile::from_terms(&makes.terms, &issue).unwrap());
    let event = Event::CertificateIssued { of: makes.of, terms: makes.terms.hash() };
    let entry = encode_entry(makes.serial, at, &event, Some(body.as_bytes())).unwrap();
    let mut leaves = Leaves((0..makes.serial).map(|n| tree::leaf_hash(&n.to_be_bytes())).collect());
    leaves.0.push(tree::leaf_hash(&entry));
    let size = makes.serial + 1;
    let head = Checkpoint { origin: origin(), size, root: tree::root(size, &leaves).unwrap() };
    let signer = NoteSigner::new(origin().as_str(), makes.log.clone()).unwrap();
    let receipt = Receipt {
        line1: line1(&entry).to_vec(),
        index: makes.serial,
        hashes: tree::inclusion_proof(makes.serial, size, &leaves).unwrap(),
        checkpoint: head.sign(&signer).unwrap(),
    };
    let signed = body.with_receipt(&String::from_utf8(receipt.encode()).unwrap());
    let signature = user_ca().sign(&signed).to_bytes();
    to_openssh(&assemble(signed, &signature))
}

struct Leaves(Vec<Hash>);

impl tree::Nodes for Leaves {
    type Error = std::convert::Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        if level == 0 {
            return Ok(self.0[usize::try_from(index).unwrap()]);
        }
        Ok(tree::node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
    }
}
