//! Sockets and TLS: HTTPS for the outside, a unix socket for the operator. Bounds how long a connection may
//! take to say something; how many there are, `places.rs` does.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Sleep, Timer};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use fireaxe_protocol::log::Hash;

use super::Peer;
use super::places::{ConnectionPlace, Entered, Places};

/// The address at the other end of the socket: the kernel's word, never a header's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

/// A client that has not finished its TLS handshake by then is cut off. When a whole fleet comes back at once,
/// 10,000 handshakes of a third of a millisecond, the last of them waits for all the others: cut off by then, it
/// would come again, and the others too.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// A client that has not sent its request's head by then is cut off. Also ends idle kept-alive ones, but for the
/// one on which a host reports.
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
    let places = Places::within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
    let task = tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.changed() => return,
            };
            let Ok((socket, address)) = accepted else {
                // Out of descriptors, most likely: let some connections end first.
                places.make_room(tokio::time::Instant::now());
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let _ = socket.set_nodelay(true);
            let entered = loop {
                match places.enter(address.ip(), tokio::time::Instant::now()) {
                    Entered::In(entry, ended) => break Some((entry, ended)),
                    Entered::NotNow => break None,
                    Entered::Full => tokio::select! {
                        () = places.freed() => {}
                        _ = stop.changed() => return,
                    },
                }
            };
            let Some((entry, ended)) = entered else { continue };
            let (acceptor, routes) = (acceptor.clone(), routes.clone());
            tokio::spawn(async move {
                let place = entry.place().clone();
                let served = async {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
                        serve(stream, routes, Some((PeerAddress(address.ip()), place))).await;
                    }
                };
                tokio::select! {
                    () = served => {}
                    // Another one has its place.
                    _ = ended => {}
                }
                drop(entry);
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
    let heads = Heads(from.as_ref().map(|(_, place)| place.clone()));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some((from, place)) = &from {
            request.extensions_mut().insert(*from);
            request.extensions_mut().insert(place.clone());
        }
        let place = from.as_ref().map(|(_, place)| place.clone());
        routes.call(request.map(|body| Coming::new(body, place)))
    });
    // An error here is a client that went away or spoke no HTTP: theirs to know.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(heads)
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A request's body, which makes its connection a busy one when all of it has come: a head costs nothing, and
/// whoever sends no more than that holds no place by it.
struct Coming {
    body: Incoming,
    place: Option<ConnectionPlace>,
}

impl Coming {
    fn new(body: Incoming, place: Option<ConnectionPlace>) -> Coming {
        let mut coming = Coming { body, place };
        if coming.body.is_end_stream() {
            coming.is_whole();
        }
        coming
    }

    fn is_whole(&mut self) {
        if let Some(place) = self.place.take() {
            place.busy(tokio::time::Instant::now());
        }
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.is_whole();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Measures how long a client takes over its request's head: this is asked for whenever a connection begins to
/// wait for one, and for nothing else.
#[derive(Debug, Clone)]
struct Heads(Option<ConnectionPlace>);

impl Heads {
    fn until(&self, deadline: Instant) -> Instant {
        let longer = self.0.as_ref().and_then(|place| place.silent(tokio::time::Instant::now()));
        deadline + longer.map_or(Duration::ZERO, |longer| longer.saturating_sub(HEAD))
    }
}

impl Timer for Heads {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep_until(self.until(deadline))
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        TokioTimer::new().reset(sleep, self.until(deadline));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

    use super::*;

    #[test]
    fn the_connection_on_which_a_host_reports_waits_from_one_heartbeat_to_the_next_and_others_do_not() {
        let (places, at) = (Places::new(2, 2), TokioTimer::new().now());
        let address = "192.0.2.1".parse().unwrap();
        let Entered::In(entry, _ended) = places.enter(address, tokio::time::Instant::now()) else { panic!() };
        let heads = Heads(Some(entry.place().clone()));
        assert_eq!(heads.until(at + HEAD), at + HEAD);
        entry.place().busy(tokio::time::Instant::now());
        entry.place().is_of(&"db-3.payments.prod".parse().unwrap());
        let longer = heads.until(at + HEAD) - at;
        assert!(longer > Duration::from_secs(fireaxe_protocol::limits::HOST_IDLE_S), "{longer:?}");
        assert_eq!(Heads(None).until(at + HEAD), at + HEAD);
    }
}
