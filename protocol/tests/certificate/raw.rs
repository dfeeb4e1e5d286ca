//! A certificate written freely, whatever it says.

use super::*;

/// A certificate written freely: every field can be wrong.
#[derive(Clone)]
pub(super) struct Raw {
    pub(super) kind: u32,
    pub(super) serial: u64,
    pub(super) key_id: Vec<u8>,
    pub(super) principals: Vec<Vec<u8>>,
    pub(super) times: (u64, u64),
    pub(super) critical: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) extensions: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) reserved: Vec<u8>,
    pub(super) authority: Vec<u8>,
}

pub(super) fn data(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, value.as_bytes());
    out
}

pub(super) fn pair(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.into(), data(value))
}

impl Raw {
    pub(super) fn good() -> Raw {
        Raw {
            kind: 1,
            serial: 1234,
            key_id: b"fireaxe/EM-42/ana/1234".to_vec(),
            principals: vec![b"root:payments-db".to_vec()],
            times: (NOW - 120, NOW + 1800),
            critical: vec![pair("force-command", LOOK), pair("source-address", "10.2.0.0/16,2001:db8::/32")],
            extensions: vec![
                (b"permit-port-forwarding".to_vec(), Vec::new()),
                (b"permit-pty".to_vec(), Vec::new()),
                pair("receipt@fireaxe", RECEIPT),
                pair("terms@fireaxe", &HostTerms::of(&terms(), None).to_json()),
            ],
            reserved: Vec::new(),
            authority: Ed25519Key::from(&ca()).to_blob(),
        }
    }

    pub(super) fn with(change: impl FnOnce(&mut Raw)) -> Raw {
        let mut raw = Raw::good();
        change(&mut raw);
        raw
    }

    pub(super) fn unsigned(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, b"ssh-ed25519-cert-v01@openssh.com");
        put_string(&mut out, &[3; 32]);
        put_string(&mut out, &fresh().0);
        put_u64(&mut out, self.serial);
        put_u32(&mut out, self.kind);
        put_string(&mut out, &self.key_id);
        let mut principals = Vec::new();
        self.principals.iter().for_each(|p| put_string(&mut principals, p));
        put_string(&mut out, &principals);
        put_u64(&mut out, self.times.0);
        put_u64(&mut out, self.times.1);
        for list in [&self.critical, &self.extensions] {
            let mut pairs = Vec::new();
            for (name, data) in list {
                put_string(&mut pairs, name);
                put_string(&mut pairs, data);
            }
            put_string(&mut out, &pairs);
        }
        put_string(&mut out, &self.reserved);
        put_string(&mut out, &self.authority);
        out
    }

    pub(super) fn signed(&self) -> Vec<u8> {
        sign(self.unsigned())
    }

    /// The body of it, without receipt, as if the log held it.
    pub(super) fn body(&self) -> Result<Body, CertificateError> {
        let mut raw = self.clone();
        raw.extensions.retain(|(name, _)| name != b"receipt@fireaxe");
        Body::read(&raw.unsigned())
    }
}
