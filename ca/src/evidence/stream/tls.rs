//! Syslog over TLS (RFC 5425): one connection a batch.
//!
//! Syslog has no answer, so what was written to a socket may be lost with it. What can be known is this: after the
//! last message both ends close, and the server's own TLS close is under the session's keys. A server that has not
//! read everything cannot have seen our close; one whose process died sends none. So a batch has arrived when the
//! server has closed after us; everything else (a reset, silence, an end of TCP alone, which anybody on the way can
//! forge) means that the batch is sent again.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use thiserror::Error;

use super::{Item, syslog};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may take no byte, or not close: a slow one is waited for as long as it moves.
const STALL: Duration = Duration::from_secs(30);
/// What a server may say before it closes, bytes: syslog has nothing to say.
const SAID: usize = 64 * 1024;

/// Why a batch has not arrived, as far as is known, or why there is no way there at all.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of certificates.
    #[error("{0} holds no certificate that can be used")]
    Authority(PathBuf),
    /// TLS cannot be set up here.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
    /// The connection.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// It ended without the server's word.
    #[error("the server ended the connection without closing it in TLS: nobody knows what it has read")]
    Untold,
    /// It talks instead of closing.
    #[error("the server does not close: it sends")]
    Talks,
}

/// A syslog server, its certificate checked.
#[derive(Debug)]
pub struct Tls {
    host: String,
    port: u16,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    here: String,
    stall: Duration,
    plain_end: bool,
}

impl Tls {
    /// The server at `host` and `port`, whose certificate one of those in the file `authority` (PEM) signed, or is.
    /// `here` is this machine's name. `plain_end`: an end of TCP alone counts, for servers that never close in TLS.
    pub fn new(
        host: &str,
        port: u16,
        authority: &Path,
        here: &str,
        plain_end: bool,
    ) -> Result<Tls, TlsError> {
        let unusable = || TlsError::Authority(authority.to_owned());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authority).map_err(|_| unusable())? {
            roots.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
        }
        if roots.is_empty() {
            return Err(unusable());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| TlsError::Setup(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(|e| TlsError::Setup(e.to_string()))?;
        Ok(Tls {
            host: host.to_owned(),
            port,
            name,
            config: Arc::new(config),
            here: here.to_owned(),
            stall: STALL,
            plain_end,
        })
    }

    /// The same with less patience, for tests.
    #[cfg(test)]
    pub(super) fn with_stall(mut self, stall: Duration) -> Tls {
        self.stall = stall;
        self
    }

    /// Sends a batch; when it returns, the batch has arrived.
    pub fn deliver(&mut self, items: &[Item]) -> Result<(), TlsError> {
        let mut stream = self.connect()?;
        for item in items {
            stream.write_all(syslog::framed(item, &self.here).as_bytes())?;
        }
        stream.conn.send_close_notify();
        stream.flush()?;
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut stream.sock)?;
        }
        stream.sock.shutdown(Shutdown::Write)?;
        self.closed(&mut stream)
    }

    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>, TlsError> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(self.stall))?;
                    socket.set_write_timeout(Some(self.stall))?;
                    let connection = ClientConnection::new(self.config.clone(), self.name.clone())
                        .map_err(|e| TlsError::Setup(e.to_string()))?;
                    return Ok(StreamOwned::new(connection, socket));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed.into())
    }

    /// Waits until the server has closed, too.
    fn closed(&self, stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Result<(), TlsError> {
        let (mut said, mut piece) = (0, [0; 4096]);
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(more) => said += more,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return if self.plain_end { Ok(()) } else { Err(TlsError::Untold) };
                }
                Err(error) => return Err(error.into()),
            }
            if said > SAID {
                return Err(TlsError::Talks);
            }
        }
    }
}

#[cfg(test)]
mod tests;
