//! Sockets and TLS: HTTPS for the outside, a unix socket for the operator. Bounds how many connections
//! there are and how long one may take to say something.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use fireaxe_protocol::log::Hash;

use super::Peer;
use super::feed::FEEDS;

/// The address at the other end of the socket: the kernel's word, never a header's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// The place of a connection among all: free again when the connection ends, or before that when it turns out
/// to be one of those that have places of their own.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPlace(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl ConnectionPlace {
    /// Somebody else may have it.
    pub(super) fn give_back(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Connections at once, beside those of hosts that follow the feed: clients, approvers, reports of hosts.
const CONNECTIONS: usize = 4096;
/// Descriptors that all of that needs: connections, feeds, and what the log and its readers have open.
pub const DESCRIPTORS: u64 = (CONNECTIONS + FEEDS + 256) as u64;
/// A client that has not finished its TLS handshake by then is cut off. When a whole fleet comes back at once,
/// 10,000 handshakes of a third of a millisecond, the last of them waits for all the others: cut off by then, it
/// would come again, and the others too.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// A client that has not sent its request's head by then is cut off. Also ends idle kept-alive ones.
const HEAD: Duration = Duration::from_secs(30);

/// Why a socket cannot be opened.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address.
    #[error("cannot listen on {address}: {source}{hint}")]
    Address {
        /// Which.
        address: String,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A TLS file.
    #[error("{path}: {said}")]
    Tls {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        said: String,
    },
    /// A thread.
    #[error("a thread cannot start: {0}")]
    Thread(std::io::Error),
}

/// The server's certificate and key, and the pin that clients know it by.
pub struct Tls {
    config: Arc<rustls::ServerConfig>,
    /// SHA-256 of the DER certificate.
    pub pin: Hash,
}

impl Tls {
    /// Makes a self-signed certificate for `names`, valid ten years: clients pin it, so neither its names
    /// nor a public PKI carry the trust.
    pub fn create(certificate: &Path, key: &Path, names: Vec<String>) -> Result<(), ListenError> {
        let failed = |path: &Path, said: String| ListenError::Tls { path: path.to_owned(), said };
        let made =
            rcgen::generate_simple_self_signed(names).map_err(|e| failed(certificate, e.to_string()))?;
        let write = |path: &Path, text: &str, mode: u32| {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
            file.and_then(|mut file| {
                std::io::Write::write_all(&mut file, text.as_bytes())?;
                file.sync_all()
            })
            .map_err(|e| failed(path, e.to_string()))
        };
        let secret = zeroize::Zeroizing::new(made.signing_key.serialize_pem());
        write(key, &secret, 0o600)?;
        write(certificate, &made.cert.pem(), 0o644)
    }

    /// Reads them back.
    pub fn load(certificate: &Path, key: &Path) -> Result<Tls, ListenError> {
        let failed = |path: &Path, said: String| ListenError::Tls { path: path.to_owned(), said };
        let der =
            CertificateDer::from_pem_file(certificate).map_err(|e| failed(certificate, e.to_string()))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| failed(key, e.to_string()))?;
        let pin = Hash::of(&der);
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // The first one's key schedule runs on SHA-256, which processors have instructions for; a
        // handshake hashes a lot.
        provider.cipher_suites = vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
        ];
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![der], secret))
            .map_err(|e| failed(certificate, e.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients are short-lived processes that hold no tickets; making two for each costs more than it
        // ever gives back.
        config.send_tls13_tickets = 0;
        config.ignore_client_order = true;
        Ok(Tls { config: Arc::new(config), pin })
    }
}

/// Serves `routes` over HTTPS until `stop` changes. Gives the address that was bound.
pub async fn listen_https(
    address: SocketAddr,
    tls: &Tls,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, tokio::task::JoinHandle<()>), ListenError> {
    let failed = |source: std::io::Error| ListenError::Address {
        address: address.to_string(),
        hint: match source.kind() {
            std::io::ErrorKind::AddrInUse => {
                "; another program has the port: choose one with --listen HOST:PORT"
            }
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
            _ => "",
        },
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let task = tokio::spawn(async move {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => return,
            };
            let Ok((socket, address)) = accepted else {
                // Out of descriptors, most likely: let some connections end first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = socket.set_nodelay(true);
            let (acceptor, routes) = (acceptor.clone(), routes.clone());
            tokio::spawn(async move {
                let place = ConnectionPlace(Arc::new(Mutex::new(Some(place))));
                if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
                    serve(stream, routes, Some((PeerAddress(address.ip()), place.clone()))).await;
                }
                place.give_back();
            });
        }
    });
    Ok((bound, task))
}

/// Serves what `routes` makes for each peer on a unix socket that only this user may open. A stale socket
/// file is replaced.
pub fn listen_operator(
    path: &Path,
    routes: impl Fn(Peer) -> Router + Send + 'static,
    mut stop: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<()>, ListenError> {
    let failed = |source| ListenError::Address { address: path.display().to_string(), source, hint: "" };
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => return,
            };
            if let Ok((socket, _)) = accepted
                && let Ok(peer) = socket.peer_cred()
            {
                tokio::spawn(serve(socket, routes(Peer { uid: peer.uid() }), None));
            }
        }
    }))
}

async fn serve(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    from: Option<(PeerAddress, ConnectionPlace)>,
) {
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        if let Some((from, place)) = &from {
            request.extensions_mut().insert(*from);
            request.extensions_mut().insert(place.clone());
        }
        routes.call(request)
    });
    // An error here is a client that went away or spoke no HTTP: theirs to know.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
