//! Requests to the CA and its answers: JSON or bytes, bounded in time and size.

use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::time::Duration;

use fireaxe_protocol::api::Problem;
use fireaxe_protocol::names::shown;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body, Timeout};

use crate::events::SILENCE;
use crate::tls::{HandshakeFailed, OtherCertificate, PinnedTls};
use crate::{Events, Pin, TransportError};

/// Where the CA listens: `https://HOST:PORT`, one spelling, nothing after the port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address(String);

impl Address {
    /// The address as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Address {
    type Err = TransportError;
    fn from_str(text: &str) -> Result<Address, TransportError> {
        let wrong = || TransportError::Address(shown(text));
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let plain = uri.scheme_str() == Some("https")
            && authority.port_u16().is_some_and(|port| port != 0)
            && !authority.host().is_empty()
            && text == format!("https://{authority}")
            && !authority.as_str().contains('@');
        if plain { Ok(Address(text.to_owned())) } else { Err(wrong()) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection with its TLS handshake.
    pub connect: Duration,
    /// For one request, connection and whole answer included.
    pub whole: Duration,
    /// A connection that is unused for longer is not used again.
    pub idle: Duration,
}

impl Default for Timeouts {
    /// 3 s to connect (a person at a terminal is told by then), 10 s in all; unused for 15 s, half of what the
    /// CA allows.
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(3),
            whole: Duration::from_secs(10),
            idle: Duration::from_secs(15),
        }
    }
}

/// An answer as bytes, with its headers.
#[derive(Debug, Clone)]
pub struct Raw {
    /// HTTP status: 200, or 304 when the `ETag` given is still the newest.
    pub status: u16,
    headers: HeaderMap,
    /// The body; empty for 304.
    pub body: Vec<u8>,
}

impl Raw {
    /// A header's value, if it is there and plain text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The body of an answer, as it comes.
pub struct Reading {
    addr: String,
    body: Box<dyn Read + Send>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("addr", &self.addr).finish()
    }
}

impl Reading {
    /// The next bytes; 0 at its end. An answer that is cut off is an error, not an end.
    pub fn next(&mut self, into: &mut [u8]) -> Result<usize, TransportError> {
        let lost = |e: std::io::Error| TransportError::Lost { addr: self.addr.clone(), why: e.to_string() };
        self.body.read(into).map_err(lost)
    }
}

/// The CA, as seen from here. Requests one after the other share a kept-alive connection.
pub struct Ca {
    address: Address,
    pin: Pin,
    timeouts: Timeouts,
    agent: Agent,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("address", &self.address).field("pin", &self.pin).finish()
    }
}

impl Ca {
    /// The largest JSON answer taken: a list of 200 emergencies with reasons of 500 bytes is below 1 MiB.
    pub const ANSWER: u64 = 2 * 1024 * 1024;

    /// Prepares to talk; connects only with the first request.
    pub fn new(address: Address, pin: Pin, timeouts: Timeouts) -> Result<Ca, TransportError> {
        let config = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .no_delay(true)
            .user_agent(concat!("fireaxe/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(timeouts.connect))
            .timeout_global(Some(timeouts.whole))
            .max_idle_age(timeouts.idle)
            .build();
        let connector = ().chain(TcpConnector::default()).chain(PinnedTls::new(pin)?);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Ca { address, pin, timeouts, agent })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `GET path`; `proof` is the `Authorization` header of reads that need one.
    pub fn get<T: DeserializeOwned>(&self, path: &str, proof: Option<&str>) -> Result<T, TransportError> {
        let mut request = self.agent.get(self.url(path)).header("accept", "application/json");
        if let Some(proof) = proof {
            request = request.header("authorization", proof);
        }
        self.json(request.call())
    }

    /// `POST path` with a JSON body; `proof` as in [`Ca::get`].
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        proof: Option<&str>,
        body: &impl Serialize,
    ) -> Result<T, TransportError> {
        let body = serde_json::to_vec(body).map_err(|e| TransportError::Setup(e.to_string()))?;
        let mut request = self
            .agent
            .post(self.url(path))
            .header("accept", "application/json")
            .header("content-type", "application/json");
        if let Some(proof) = proof {
            request = request.header("authorization", proof);
        }
        self.json(request.send(&body))
    }

    /// `POST path` with bytes as they are; `proof` as in [`Ca::get`].
    pub fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        proof: Option<&str>,
        body: &[u8],
    ) -> Result<T, TransportError> {
        let mut request = self
            .agent
            .post(self.url(path))
            .header("accept", "application/json")
            .header("content-type", "application/octet-stream");
        if let Some(proof) = proof {
            request = request.header("authorization", proof);
        }
        self.json(request.send(body))
    }

    /// `GET path` as bytes, at most `limit` of them; `etag` goes out as `If-None-Match`.
    pub fn get_raw(&self, path: &str, etag: Option<&str>, limit: u64) -> Result<Raw, TransportError> {
        let mut request = self.agent.get(self.url(path));
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let mut response = request.call().map_err(|e| self.explain(e, 0))?;
        let status = response.status().as_u16();
        match status {
            200 => {
                let body = self.body(&mut response, limit)?;
                Ok(Raw { status, headers: response.headers().clone(), body })
            }
            304 => Ok(Raw { status, headers: response.headers().clone(), body: Vec::new() }),
            _ => Err(self.refusal(response)),
        }
    }

    /// `GET path` as bytes that are read as they come; `proof` as in [`Ca::get`]. Opening it has the limits of
    /// any request; after that only silence ends it (25 s). How much is taken is for whoever reads.
    pub fn read(&self, path: &str, proof: Option<&str>) -> Result<Reading, TransportError> {
        let mut request = self.agent.get(self.url(path));
        if let Some(proof) = proof {
            request = request.header("authorization", proof);
        }
        let request = request
            .config()
            .timeout_global(None)
            .timeout_recv_response(Some(self.timeouts.whole))
            .timeout_per_read(Some(SILENCE))
            .build();
        let response = request.call().map_err(|e| self.explain(e, 0))?;
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Reading { addr: self.address.0.clone(), body: Box::new(body) })
    }

    /// The same, whole; more than `limit` bytes are an error.
    pub fn get_bytes(&self, path: &str, proof: Option<&str>, limit: u64) -> Result<Vec<u8>, TransportError> {
        let Reading { addr, body } = self.read(path, proof)?;
        let mut bytes = Vec::new();
        let read = body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|e| TransportError::Lost { addr: addr.clone(), why: e.to_string() })?;
        if bytes.len() as u64 > limit { Err(TransportError::TooLarge { addr, limit }) } else { Ok(bytes) }
    }

    /// `GET path` as server-sent events: the connection stays open. Opening it has the limits of any
    /// request; after that only silence ends it (25 s; a CA that is there says something every 10 s). An
    /// event may have [`Events::LONGEST`] bytes.
    pub fn events(&self, path: &str, proof: Option<&str>) -> Result<Events, TransportError> {
        self.events_within(path, proof, Events::LONGEST)
    }

    /// [`Ca::events`] that may each have `longest` bytes.
    pub fn events_within(
        &self,
        path: &str,
        proof: Option<&str>,
        longest: u64,
    ) -> Result<Events, TransportError> {
        let mut request = self.agent.get(self.url(path)).header("accept", "text/event-stream");
        if let Some(proof) = proof {
            request = request.header("authorization", proof);
        }
        let request = request
            .config()
            .timeout_global(None)
            .timeout_recv_response(Some(self.timeouts.whole))
            .timeout_per_read(Some(SILENCE))
            .build();
        let response = request.call().map_err(|e| self.explain(e, 0))?;
        let status = response.status().as_u16();
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(self.garbage(status, "it is no stream of events".into()));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Events::new(self.address.0.clone(), Box::new(body), longest))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    fn json<T: DeserializeOwned>(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, TransportError> {
        let mut response = response.map_err(|e| self.explain(e, 0))?;
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        let status = response.status().as_u16();
        let body = self.body(&mut response, Ca::ANSWER)?;
        serde_json::from_slice(&body).map_err(|e| self.garbage(status, e.to_string()))
    }

    fn refusal(&self, mut response: Response<Body>) -> TransportError {
        let status = response.status().as_u16();
        let body = match self.body(&mut response, Ca::ANSWER) {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if problem.status == status => TransportError::Problem(Box::new(problem)),
            Ok(_) => self.garbage(status, "its problem names another status".into()),
            Err(error) => self.garbage(status, error.to_string()),
        }
    }

    fn body(&self, response: &mut Response<Body>, limit: u64) -> Result<Vec<u8>, TransportError> {
        let status = response.status().as_u16();
        response.body_mut().with_config().limit(limit).read_to_vec().map_err(|e| match e {
            ureq::Error::BodyExceedsLimit(_) => {
                TransportError::TooLarge { addr: self.address.0.clone(), limit }
            }
            other => self.explain(other, status),
        })
    }

    fn garbage(&self, status: u16, why: String) -> TransportError {
        TransportError::Garbage { addr: self.address.0.clone(), status, why }
    }

    fn explain(&self, error: ureq::Error, status: u16) -> TransportError {
        use std::io::ErrorKind as K;
        let addr = self.address.0.clone();
        match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => TransportError::Timeout {
                addr,
                seconds: round_up(self.timeouts.connect),
                during: "connecting",
            },
            ureq::Error::Timeout(_) => {
                TransportError::Timeout { addr, seconds: round_up(self.timeouts.whole), during: "answering" }
            }
            ureq::Error::Io(e) => match e.kind() {
                K::ConnectionRefused => TransportError::NotRunning { addr },
                K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown | K::AddrNotAvailable => {
                    TransportError::Unreachable { addr, why: e.to_string() }
                }
                // rustls says it in four lines.
                K::UnexpectedEof => TransportError::Lost { addr, why: "it was closed".into() },
                _ => TransportError::Lost { addr, why: e.to_string() },
            },
            ureq::Error::HostNotFound => {
                TransportError::Unreachable { addr, why: "its name is not known".into() }
            }
            ureq::Error::Other(e) => match e.downcast_ref::<HandshakeFailed>() {
                Some(failed) => self.handshake(&failed.0),
                None => TransportError::Lost { addr, why: e.to_string() },
            },
            other => self.garbage(status, other.to_string()),
        }
    }

    fn handshake(&self, error: &rustls::Error) -> TransportError {
        let addr = self.address.0.clone();
        if let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = error
            && let Some(other) = other.0.downcast_ref::<OtherCertificate>()
        {
            return TransportError::WrongPin { addr, expected: self.pin, found: other.found };
        }
        TransportError::NotTls { addr, why: error.to_string() }
    }
}

fn round_up(limit: Duration) -> u64 {
    limit.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_host_and_port_and_nothing_else() {
        for good in ["https://127.0.0.1:8443", "https://[::1]:8443", "https://ca.prod.example:1"] {
            assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
        }
        for wrong in [
            "",
            "127.0.0.1:8443",
            "http://127.0.0.1:8443",
            "https://127.0.0.1",
            "https://127.0.0.1:0",
            "https://127.0.0.1:8443/",
            "https://127.0.0.1:8443/v1",
            "https://u:p@127.0.0.1:8443",
            "https://127.0.0.1:8443?x",
            "HTTPS://127.0.0.1:8443",
            "https://:8443",
            "https://ca\u{1b}[31m:1",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?} was taken");
        }
    }
}
