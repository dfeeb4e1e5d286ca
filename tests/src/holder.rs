//! Somebody who keeps what they were given: declares with the person's own key, past `fireaxe`, and holds the
//! certificate with its private key in files. What an agent would drop, or ask the CA about anew, stays: so a
//! test can show that the hosts refuse it, not the agent.

use std::fs;
use std::io::Read;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{Closed, Keys, Opened};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::statement::{Close, Declare, Header, Kind, Nonce, Params, Statement, sign_ed25519};
use fireaxe_transport::{Ca as Transport, Timeouts};
use ssh_key::LineEnding;
use ssh_key::private::{Ed25519Keypair, KeypairData, PrivateKey};

use crate::ca::Ca;
use crate::clock;
use crate::engineer::Engineer;
use crate::host::Login;
use crate::keys::KeyPair;

/// The person, as the CA knows them. Their key must be one in software.
pub struct Holder {
    transport: Transport,
    origin: Origin,
    key: SigningKey,
    folder: std::path::PathBuf,
}

/// What they hold.
#[derive(Debug, Clone)]
pub struct Held {
    /// The emergency.
    pub emergency: EmergencyId,
    /// Leaf of its declaration.
    pub of: Hash,
    /// The certificate's serial.
    pub serial: u64,
    /// Its account.
    pub account: String,
    /// Key and certificate.
    pub login: Login,
}

impl Holder {
    /// This person at this CA.
    pub fn new(person: &Engineer, ca: &Ca) -> Holder {
        let (address, pin) = (ca.url().parse().expect("address"), ca.pin().parse().expect("pin"));
        let transport = Transport::new(address, pin, Timeouts::default()).expect("transport");
        let keys: Keys = transport.get("/v1/keys", None).expect("keys");
        let key = PrivateKey::read_openssh_file(person.key().path()).expect("a private key");
        let KeypairData::Ed25519(pair) = key.key_data() else {
            panic!("{} has no software key", person.name())
        };
        let key = SigningKey::from_bytes(&pair.private.to_bytes());
        Holder { transport, origin: keys.origin, key, folder: person.home().join("held") }
    }

    /// Declares for a system or host, with an incident or a severity of their own claim; panics unless a
    /// certificate comes at once.
    pub fn open(&self, target: &str, incident: Option<&str>, severity: Option<u8>) -> Held {
        let fresh = SigningKey::from_bytes(&random());
        let words = Statement::Declare(Declare {
            header: self.header(Kind::Declare),
            target: target.parse().expect("target"),
            severity: severity.map(|severity| severity.try_into().expect("severity")),
            incident: incident.map(|incident| incident.parse().expect("incident")),
            reason: "kept in a file".parse().expect("reason"),
            want: None,
            action: None,
            params: Params::default(),
            for_s: None,
            drill: false,
            public_key: Ed25519Key(fresh.verifying_key().to_bytes()),
        });
        let envelope = sign_ed25519(&self.key, Kind::Declare, &words.write());
        let opened: Opened = self.transport.post("/v1/emergencies", None, &envelope).expect("opened");
        let certificate =
            opened.certificate.as_ref().unwrap_or_else(|| panic!("nothing is given: {opened:?}"));
        let read = ssh_key::Certificate::from_openssh(certificate).expect("a certificate");
        let key = self.keep(&opened.emergency.to_string(), &fresh, certificate);
        Held {
            emergency: opened.emergency,
            of: opened.declaration,
            serial: read.serial(),
            account: opened.terms.map(|terms| terms.account.to_string()).expect("terms"),
            login: Login::certified(&key),
        }
    }

    /// Closes it; gives the version of the first list that revokes what it held.
    pub fn close(&self, held: &Held) -> u64 {
        self.sign_close(held)()
    }

    /// The same in two steps: the signed words, and the request that takes them to the CA over a connection that
    /// is open already.
    pub fn sign_close(&self, held: &Held) -> impl FnOnce() -> u64 + '_ {
        let words =
            Close { header: self.header(Kind::Close), of: held.of, emergency: held.emergency, uses: None };
        let envelope = sign_ed25519(&self.key, Kind::Close, &Statement::Close(words).write());
        let path = format!("/v1/emergencies/{}/closure", held.emergency);
        let _: Keys = self.transport.get("/v1/keys", None).expect("keys");
        move || {
            let closed: Closed = self.transport.post(&path, None, &envelope).expect("closed");
            closed.entry
        }
    }

    fn keep(&self, name: &str, fresh: &SigningKey, certificate: &str) -> KeyPair {
        fs::create_dir_all(&self.folder).expect("a folder");
        let path = self.folder.join(name);
        let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&fresh.to_bytes()));
        let key = PrivateKey::new(pair, "held").expect("a key");
        // Written readable by its owner alone.
        key.write_openssh_file(&path, LineEnding::LF).expect("a file");
        let kept = KeyPair::at(path);
        fs::write(kept.certificate_path(), format!("{certificate}\n")).expect("a file");
        kept
    }

    fn header(&self, kind: Kind) -> Header {
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&random()[..16]);
        Header { kind, to: self.origin.clone(), nonce: Nonce(nonce), at: clock::unix() }
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.expect("the system's randomness");
    bytes
}
