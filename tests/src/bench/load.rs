//! Load over real HTTPS: fresh signed statements in, certificates with receipts out.
//!
//! The generator shares the machine with the CA, so it is lean: statements are signed before the clock
//! starts (each is still used once), requests are written as bytes, answers are checked for status and
//! for a certificate, a sample of them in full.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::Opened;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::statement::{Declare, Header, Kind, Nonce, Params, Statement, sign_ed25519};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::summary::quantile;
use crate::clock;

/// Where the CA is and how to speak to it.
#[derive(Clone)]
pub struct Target {
    port: u16,
    connector: TlsConnector,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Certificates received.
    pub done: usize,
    /// Wall time.
    pub took: Duration,
    /// Milliseconds each.
    pub latencies: Vec<f64>,
    /// Some answers in full, to be checked.
    pub sample: Vec<String>,
}

impl Outcome {
    /// Certificates a second.
    pub fn per_s(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// Quantile of the latencies, milliseconds.
    pub fn ms(&mut self, q: f64) -> f64 {
        quantile(&mut self.latencies, q)
    }
}

impl Target {
    /// The CA on that loopback port, whose certificate is the only one trusted.
    pub fn new(port: u16, certificate_pem: &[u8]) -> Target {
        use rustls::pki_types::pem::PemObject;
        let certificate =
            rustls::pki_types::CertificateDer::from_pem_slice(certificate_pem).expect("certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A fresh connection is to be one: no resumption.
        config.resumption = rustls::client::Resumption::disabled();
        Target { port, connector: TlsConnector::from(Arc::new(config)) }
    }

    async fn connect(&self) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        let name = ServerName::try_from("localhost").expect("name");
        self.connector.connect(name, socket).await.expect("TLS")
    }
}

/// Fresh statements by `people` in turn, as ready HTTP requests. Each has its own nonce and fresh key.
pub fn statements(
    origin: &Origin,
    people: &[SigningKey],
    target: &str,
    first: u64,
    count: u64,
) -> Vec<Vec<u8>> {
    let at = clock::unix();
    (first..first + count)
        .map(|n| {
            let person = &people[n as usize % people.len()];
            let mut seed = [0u8; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            seed[8..16].copy_from_slice(&at.to_be_bytes());
            let mut nonce = [0u8; 16];
            nonce.copy_from_slice(&seed[..16]);
            let words = Statement::Declare(Declare {
                header: Header { kind: Kind::Declare, to: origin.clone(), nonce: Nonce(nonce), at },
                target: target.parse().expect("target"),
                severity: Some(2.try_into().expect("severity")),
                incident: None,
                reason: "load bench, a plausible sentence about a primary that refuses writes"
                    .parse()
                    .expect("reason"),
                want: None,
                action: None,
                params: Params::default(),
                for_s: None,
                drill: false,
                public_key: Ed25519Key(SigningKey::from_bytes(&seed).verifying_key().to_bytes()),
            });
            let envelope = sign_ed25519(person, Kind::Declare, &words.write());
            let body = serde_json::to_vec(&envelope).expect("json");
            request("POST", "/v1/emergencies", &body)
        })
        .collect()
}

fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends `requests` over `clients` kept-alive connections (or a fresh one each) and waits for every
/// answer. Panics on any answer that is not a new certificate.
pub async fn run(target: &Target, clients: usize, requests: Vec<Vec<u8>>, fresh_tls: bool) -> Outcome {
    let mut shares: Vec<Vec<Vec<u8>>> = (0..clients).map(|_| Vec::new()).collect();
    for (n, request) in requests.into_iter().enumerate() {
        shares[n % clients].push(request);
    }
    let mut tasks = Vec::new();
    let start = clock::now();
    for share in shares {
        let target = target.clone();
        tasks.push(tokio::spawn(async move {
            let mut stream = None;
            let mut latencies = Vec::with_capacity(share.len());
            let mut sample = Vec::new();
            for request in share {
                let began = clock::now();
                let mut connection = match stream.take() {
                    Some(stream) if !fresh_tls => stream,
                    _ => target.connect().await,
                };
                let (status, body) = exchange(&mut connection, &request).await;
                latencies.push(began.elapsed().as_secs_f64() * 1e3);
                assert!(
                    status == 201,
                    "expected a new certificate, got {status}: {}",
                    String::from_utf8_lossy(&body)
                );
                if sample.is_empty() {
                    sample.push(String::from_utf8(body).expect("utf-8"));
                }
                stream = Some(connection);
            }
            (latencies, sample)
        }));
    }
    let mut outcome = Outcome { done: 0, took: Duration::ZERO, latencies: Vec::new(), sample: Vec::new() };
    for task in tasks {
        let (latencies, sample) = task.await.expect("client");
        outcome.done += latencies.len();
        outcome.latencies.extend(latencies);
        outcome.sample.extend(sample);
    }
    outcome.took = start.elapsed();
    outcome
}

/// Requests a second for a path that does nothing, at `clients` connections: the ceiling of HTTPS itself.
pub async fn empty_requests(target: &Target, clients: usize, each: usize) -> f64 {
    let bytes = request("GET", "/v1/nothing", b"");
    let start = clock::now();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (target, bytes) = (target.clone(), bytes.clone());
        tasks.push(tokio::spawn(async move {
            let mut stream = target.connect().await;
            for _ in 0..each {
                assert_eq!(exchange(&mut stream, &bytes).await.0, 404);
            }
        }));
    }
    for task in tasks {
        task.await.expect("client");
    }
    (clients * each) as f64 / start.elapsed().as_secs_f64()
}

async fn exchange(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> (u16, Vec<u8>) {
    stream.write_all(request).await.expect("write");
    let mut bytes = Vec::with_capacity(8 * 1024);
    loop {
        assert!(stream.read_buf(&mut bytes).await.expect("read") > 0, "the CA closed the connection");
        let Some(head) = find(&bytes, b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("status");
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .expect("content-length");
        let body = head + 4;
        while bytes.len() < body + length {
            assert!(stream.read_buf(&mut bytes).await.expect("read") > 0, "the answer broke off");
        }
        return (status, bytes[body..body + length].to_vec());
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// Checks sampled answers in full: the certificate is what its terms say, and its receipt proves it.
pub fn check_sample(sample: &[String], origin: &Origin, ca_key: Ed25519Key, log_key: &str) {
    use fireaxe_protocol::certificate::{cut_receipt, from_openssh};
    use fireaxe_protocol::log::{NoteKey, receipt};
    let log: NoteKey = log_key.parse().expect("log key");
    for text in sample {
        let opened: Opened = serde_json::from_str(text).expect("answer");
        let line = opened.certificate.expect("certificate");
        let bytes = from_openssh(&line).expect("certificate");
        let read = ssh_key::Certificate::from_openssh(&line).expect("certificate");
        assert_eq!(read.signature_key(), &ca_key.key_data());
        read.verify_signature().expect("the CA's signature");
        let cut = cut_receipt(&bytes).expect("receipt");
        receipt::check(cut.body.as_bytes(), read.serial(), cut.receipt.as_bytes(), &log, origin)
            .expect("the receipt holds");
    }
}
