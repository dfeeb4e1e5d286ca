//! Stands in for a CA that serves revocation lists, so that a test can serve any bytes whatever: a real CA
//! makes no bad lists. TLS, pin and note are real.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::krl::Krl;
use fireaxe_protocol::log::{Hash, KrlNote, NoteSigner};
use fireaxe_protocol::names::Origin;
use fireaxe_transport::Pin;
use rustls::pki_types::PrivateKeyDer;

use crate::host::Host;
use crate::keys::Authority;

/// What is served: the list, its note, its ETag.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// The body.
    pub list: Vec<u8>,
    /// The header `fireaxe-krl-note`; none when empty.
    pub note: String,
    /// The header `etag`; none when empty.
    pub etag: String,
}

/// A server of lists for one user CA.
pub struct Lists {
    address: String,
    pin: Pin,
    ca: Ed25519Key,
    user_ca: PathBuf,
    signer: NoteSigner,
    served: Arc<Mutex<Served>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Lists {
    /// Serves nothing yet. It ends with the test's process.
    pub fn serve(authority: &Authority) -> Lists {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
        let der = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![der.clone()], key))
            .expect("TLS configuration");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("https://{}", listener.local_addr().expect("address"));
        let served = Arc::new(Mutex::new(Served::default()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (config, answers, seen) = (Arc::new(config), served.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, config.clone(), &answers, &seen);
            }
        });
        let line = authority.key.public_line();
        let plain: Vec<&str> = line.split_whitespace().take(2).collect();
        Lists {
            address,
            pin: Pin::of_der(&der),
            ca: plain.join(" ").parse().expect("an Ed25519 key"),
            user_ca: authority.key.public_path(),
            signer: signer(2),
            served,
            requests,
        }
    }

    /// A good list of this version that revokes these serials.
    pub fn list(&self, version: u64, revoked: &[u64]) -> Vec<u8> {
        let mut krl = Krl::new(version, 1_700_000_000 + version, self.ca);
        for serial in revoked {
            krl.revoke(self.ca, *serial).expect("not serial 0");
        }
        krl.write()
    }

    /// The note that a CA would put beside these bytes.
    pub fn note(&self, list: &[u8], version: u64) -> String {
        self.note_by(&self.signer, list, version)
    }

    /// A note by a key that the host does not know.
    pub fn strange_note(&self, list: &[u8], version: u64) -> String {
        self.note_by(&signer(3), list, version)
    }

    fn note_by(&self, signer: &NoteSigner, list: &[u8], version: u64) -> String {
        let time = 1_700_000_000 + version;
        let note = KrlNote { origin: origin(), krl: Hash::of(list), version, time };
        STANDARD.encode(note.sign(signer).expect("note"))
    }

    /// Serves exactly this from now on.
    pub fn set(&self, served: Served) {
        *self.served.lock().expect("lock") = served;
    }

    /// Serves a good list.
    pub fn set_good(&self, version: u64, revoked: &[u64]) {
        let list = self.list(version, revoked);
        let note = self.note(&list, version);
        self.set(Served { list, note, etag: format!("\"{version}\"") });
    }

    /// The heads of all requests so far, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("lock").clone()
    }

    /// The lines of `host.toml` that say where this is, of a host that knows another CA.
    pub fn instead_of(&self, host_config: &str) -> String {
        let line = |line: &str| match line.split_once(" = ") {
            Some(("addr", _)) => format!("addr = {:?}\n", self.address),
            Some(("pin", _)) => format!("pin = \"{}\"\n", self.pin),
            _ => format!("{line}\n"),
        };
        host_config.lines().map(line).collect()
    }

    /// The file of CA keys.
    pub fn user_ca(&self) -> &Path {
        &self.user_ca
    }

    /// Makes `host` ask here.
    pub fn configure(&self, host: &Host) {
        host.put("/etc/ssh/fireaxe_user_ca.pub", std::fs::read(&self.user_ca).expect("CA key"));
        host.put(
            "/etc/fireaxe/host.toml",
            format!(
                "addr = {:?}\npin = \"{}\"\nkrl_key = \"{}\"\norigin = \"{}\"\n",
                self.address,
                self.pin,
                self.signer.key(),
                origin()
            ),
        );
    }
}

fn origin() -> Origin {
    "lists.fireaxe.test/0123456789abcdef".parse().expect("an origin")
}

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(&KrlNote::key_name(&origin()), SigningKey::from_bytes(&[seed; 32])).expect("a signer")
}

fn answer(
    stream: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    served: &Mutex<Served>,
    seen: &Mutex<Vec<String>>,
) {
    let Ok(connection) = rustls::ServerConnection::new(tls) else { return };
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    seen.lock().expect("lock").push(head.clone());
    let served = served.lock().expect("lock").clone();
    let known = !served.etag.is_empty() && head.contains(&format!("if-none-match: {}\r\n", served.etag));
    let mut headers = String::from("connection: close\r\n");
    if head.starts_with("get /v1/feed") {
        headers.push_str("content-type: text/event-stream\r\n");
    }
    for (name, value) in [("fireaxe-krl-note", &served.note), ("etag", &served.etag)] {
        if !value.is_empty() {
            headers.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let (status, body): (&str, &[u8]) =
        if known { ("304 Not Modified", b"") } else { ("200 OK", &served.list) };
    let start = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    let _ = stream
        .write_all(start.as_bytes())
        .and_then(|()| stream.write_all(body))
        .and_then(|()| stream.flush());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}
