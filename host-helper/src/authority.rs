//! The CA as an enrolled host sees it: each request proved by the host key.

use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::api::{ChunksTaken, Consistency, HostCertificate, Reports as Batch, ReportsTaken};
use fireaxe_protocol::limits::HOST_IDLE_S;
use fireaxe_protocol::names::{HostName, Origin};
use fireaxe_protocol::statement::{Envelope, Nonce};
use fireaxe_transport::{Ca, Events, Timeouts, TransportError};

use crate::clock;
use crate::config::{Config, Enrolled};
use crate::error::HostError;
use crate::host_key::HostKey;

/// The longest event of the feed. A list of 32 KiB in base64 with its note is 55 KiB, a head with its proof
/// 13 KiB; the rest is for countdowns: 300 emergencies of 20 serials. Bytes.
pub const FEED_EVENT: u64 = 256 * 1024;

/// A connection to the CA under this host's name. One for each thread: requests of one wait for each other.
#[derive(Debug)]
pub struct Authority {
    ca: Ca,
    key: Arc<HostKey>,
    origin: Origin,
    host: HostName,
}

impl Authority {
    /// Prepares to talk; connects only with the first request.
    pub fn new(config: &Config, enrolled: &Enrolled, key: Arc<HostKey>) -> Result<Authority, HostError> {
        // The connection for reports outlives the pause between two heartbeats: when a list changes, every host
        // of a fleet has something to say at once, and a new connection would cost more than all the rest. The CA
        // ends others earlier, which is seen before one is used again.
        let timeouts = Timeouts { idle: Duration::from_secs(HOST_IDLE_S), ..Timeouts::default() };
        let ca = Ca::new(config.addr.clone(), config.pin, timeouts)?;
        Ok(Authority { ca, key, origin: config.origin.clone(), host: enrolled.host.clone() })
    }

    /// Sends reports; those with a number are in order.
    pub fn report(&self, reports: Vec<Envelope>) -> Result<ReportsTaken, TransportError> {
        let path = format!("/v1/hosts/{}/reports", self.host);
        // Each report is signed; the request needs no proof of its own.
        self.ca.post(&path, None, &Batch { reports })
    }

    /// Sends whole chunks of a recording, of which the first has the number `from`.
    pub fn chunks(&self, recording: Nonce, from: u64, chunks: &[u8]) -> Result<ChunksTaken, TransportError> {
        let path = format!("/v1/hosts/{}/recordings/{recording}?from={from}", self.host);
        self.ca.post_bytes(&path, Some(&self.proof("POST", &path)), chunks)
    }

    /// The newest host certificate.
    pub fn certificate(&self) -> Result<HostCertificate, TransportError> {
        let path = format!("/v1/hosts/{}/certificate", self.host);
        self.ca.post(&path, Some(&self.proof("POST", &path)), &serde_json::json!({}))
    }

    /// A certificate of a minute for one account of this host.
    pub fn self_test(
        &self,
        asks: &Envelope,
    ) -> Result<fireaxe_protocol::api::SelfTestCertificate, TransportError> {
        self.ca.post(&format!("/v1/hosts/{}/self-tests", self.host), None, asks)
    }

    /// The proof that one head of the log continues another.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Consistency, TransportError> {
        self.ca.get(&format!("/log/consistency?from={from}&to={to}"), None)
    }

    /// Follows the feed.
    pub fn feed(&self) -> Result<Events, TransportError> {
        let path = "/v1/feed";
        self.ca.events_within(path, Some(&self.proof("GET", path)), FEED_EVENT)
    }

    fn proof(&self, method: &str, path: &str) -> String {
        self.key.proof(&self.origin, method, path, clock::now())
    }
}
