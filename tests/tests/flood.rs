//! Somebody holds the CA's door with connections that say nothing, or half a request: others are served all the
//! same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::api::Keys;
use fireaxe_tests::ca::Ca;
use fireaxe_tests::scene::{COLLEAGUES, policy_without_limits};
use fireaxe_tests::{World, clock};
use fireaxe_transport::{Ca as Transport, Timeouts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// As many as the CA has.
const PLACES: usize = 4096;
/// So many come at once.
const WAVE: usize = 200;
/// A head that promises a body.
const HALF: &[u8] = b"POST /v1/emergencies HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n";

async fn silent(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.2:0".parse().unwrap())?;
    socket.connect(to).await
}

async fn half(to: SocketAddr, tls: TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let mut stream = tls.connect(ServerName::try_from("localhost").unwrap(), silent(to).await?).await?;
    stream.write_all(HALF).await?;
    stream.flush().await?;
    Ok(stream)
}

fn connector(ca: &Ca) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.data().join("tls.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// Takes all places with what `connect` makes from 127.0.0.2, and sees that 127.0.0.1 is served.
fn others_are_served_in_a_flood_of<T, C>(connect: impl Fn(SocketAddr, TlsConnector) -> C)
where
    T: Send + 'static,
    C: Future<Output = std::io::Result<T>> + Send + 'static,
{
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let world = World::new();
    let (ana, ben) = (world.engineer("ana"), world.engineer("ben"));
    let people: [(&_, &[&str]); 2] = [
        (&ana, &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"]),
        (&ben, &["sre", "sre-leads"]),
    ];
    let mut ca = world.ca(&world.bundle(&policy_without_limits(), &people, COLLEAGUES));
    ca.start();
    let address = SocketAddr::new(world.address(), ca.port());
    let tls = connector(&ca);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let held = || std::fs::read_dir(format!("/proc/{}/fd", ca.pid().unwrap())).unwrap().count();
    // In waves: what the kernel has no room for in the queue before the CA would be lost.
    let mut flood = Vec::new();
    let full = clock::wait_for(clock::LIMIT, || {
        flood.extend(runtime.block_on(async {
            let mut coming = tokio::task::JoinSet::new();
            for _ in 0..WAVE {
                // One that does not get in has no place either.
                let one = connect(address, tls.clone());
                coming.spawn(tokio::time::timeout(Duration::from_secs(5), one));
            }
            coming.join_all().await
        }));
        (held() >= PLACES).then_some(())
    });
    assert!(full.is_some(), "{} held of {}", held(), flood.len());

    // Several, one after the other, each with a connection of its own: before the flood is cut off by itself.
    for _ in 0..5 {
        let transport =
            Transport::new(ca.url().parse().unwrap(), ca.pin().parse().unwrap(), Timeouts::default());
        let keys: Keys = transport.unwrap().get("/v1/keys", None).unwrap();
        assert_eq!(keys.origin.to_string(), ca.told("origin"));
    }
    assert!(held() >= PLACES, "the flood was over by then: {}", held());
    drop(flood);
}

#[test]
fn four_thousand_silent_connections_of_one_address_keep_nobody_else_out() {
    others_are_served_in_a_flood_of(|to, _| silent(to));
}

#[test]
fn four_thousand_half_requests_of_one_address_keep_nobody_else_out() {
    others_are_served_in_a_flood_of(half);
}
