//! One request to a witness over a kept-alive connection: bounded in time and size. Goes nowhere else: no proxy, no
//! redirect.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::limits;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A witness that has not answered by then has failed. Longer than the road waits: one that is slow still cosigns
/// beside it.
const ANSWER: Duration = Duration::from_secs(5);
/// A connection that is unused for longer is not used again.
const IDLE: Duration = Duration::from_secs(20);

/// Whom `https` witnesses' certificates must lead to.
#[derive(Debug, Clone, Default)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads a PEM file of CA certificates; at least one.
    pub fn read(path: &Path) -> Result<Roots, String> {
        let failed = |error: String| format!("{}: {error}", path.display());
        let all = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
        let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
        if all.is_empty() { Err(failed("holds no certificate".into())) } else { Ok(Roots(all)) }
    }
}

/// The machine's own file of CA certificates, where distributions keep it.
pub fn platform_roots() -> Option<PathBuf> {
    let places =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    places.into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// The way to one witness.
pub(super) struct Wire {
    agent: Agent,
    url: String,
}

impl Wire {
    pub(super) fn new(url: &str, roots: &Roots) -> Wire {
        let certificates: Vec<Certificate<'static>> =
            roots.0.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&certificates))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .max_idle_age(IDLE)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .no_delay(true)
            .proxy(None)
            .tls_config(tls)
            .user_agent("fireaxe-ca")
            .build();
        Wire { agent: config.new_agent(), url: format!("{url}/add-checkpoint") }
    }

    /// Status and body of the answer; else why there is none.
    pub(super) fn post(&self, body: &str) -> Result<(u16, Vec<u8>), String> {
        let mut response = self.agent.post(&self.url).send(body).map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let most = limits::WITNESS_ANSWER as u64;
        let body = response.body_mut().with_config().limit(most).read_to_vec();
        body.map(|body| (status, body)).map_err(|error| error.to_string())
    }
}
