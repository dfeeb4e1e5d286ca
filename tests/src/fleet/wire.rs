//! HTTPS as a host speaks it, in as little memory as ten thousand of them need: requests written as bytes, an
//! answer read by its length, and a stream of events read chunk by chunk (RFC 9112, 7.1).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the CA is, and the only certificate that is taken for it.
#[derive(Clone)]
pub(super) struct Door {
    address: SocketAddr,
    connector: TlsConnector,
}

/// An answer in full.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// Its body.
    pub(super) body: Vec<u8>,
}

/// One connection: requests one after the other, or one stream.
pub(super) struct Connection<S = TlsStream<TcpStream>> {
    stream: S,
    read: Vec<u8>,
}

impl Door {
    /// The CA there, with this certificate (PEM).
    pub(super) fn new(address: SocketAddr, certificate_pem: &[u8]) -> Door {
        let certificate = CertificateDer::from_pem_slice(certificate_pem).expect("certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Separate hosts share no session.
        config.resumption = rustls::client::Resumption::disabled();
        Door { address, connector: TlsConnector::from(Arc::new(config)) }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.connector.connect(name, socket).await?;
        Ok(Connection::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Speaks HTTP over this.
    pub(super) fn over(stream: S) -> Connection<S> {
        Connection { stream, read: Vec::new() }
    }

    /// `POST path` with a JSON body; the whole answer.
    pub(super) async fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).await?;
        self.answer().await
    }

    /// `GET path`, open to everybody; the whole answer.
    pub(super) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.answer().await
    }

    /// `GET path` with this `Authorization`; the answer's status. What follows are [`Connection::next_event`]s.
    pub(super) async fn follow(&mut self, path: &str, proof: &str) -> io::Result<u16> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nauthorization: {proof}\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await?;
        let head = self.head().await?;
        if !head.contains("transfer-encoding: chunked") {
            let length = length(&head)?;
            self.until(length).await?;
            return Err(io::Error::other(format!("{head}\n{}", String::from_utf8_lossy(&self.read))));
        }
        status(&head)
    }

    /// The data of the stream's next event, comments passed over. An event comes in chunks of its own, whole.
    pub(super) async fn next_event(&mut self) -> io::Result<String> {
        loop {
            let chunk = self.chunk().await?;
            let text = String::from_utf8(chunk).map_err(io::Error::other)?;
            let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            if !data.is_empty() {
                return Ok(data.join("\n"));
            }
        }
    }

    /// Takes a whole one or nothing: whoever waits for it may be called away.
    async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = std::str::from_utf8(&self.read[..end]).map_err(io::Error::other)?;
                let size = usize::from_str_radix(line, 16).map_err(io::Error::other)?;
                if size == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let (begin, whole) = (end + 2, end + 2 + size + 2);
                if self.read.len() >= whole {
                    let rest = self.read.split_off(whole);
                    let mut chunk = std::mem::replace(&mut self.read, rest);
                    chunk.truncate(begin + size);
                    return Ok(chunk.split_off(begin));
                }
            }
            self.more().await?;
        }
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head().await?;
        let length = length(&head)?;
        self.until(length).await?;
        let rest = self.read.split_off(length);
        Ok(Answer { status: status(&head)?, body: std::mem::replace(&mut self.read, rest) })
    }

    async fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(head.to_ascii_lowercase());
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let rest = self.read.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.truncate(end);
                return String::from_utf8(line).map_err(io::Error::other);
            }
            self.more().await?;
        }
    }

    async fn until(&mut self, length: usize) -> io::Result<()> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn status(head: &str) -> io::Result<u16> {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("no status: {head}")))
}

fn length(head: &str) -> io::Result<usize> {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.ok_or_else(|| io::Error::other(format!("no length: {head}")))
}
