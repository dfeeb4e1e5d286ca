//! Somebody holds the CA's door with connections that say nothing: others are served all the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::net::SocketAddr;
use std::time::Duration;

use fireaxe_protocol::api::Keys;
use fireaxe_tests::scene::{COLLEAGUES, policy_without_limits};
use fireaxe_tests::{World, clock};
use fireaxe_transport::{Ca as Transport, Timeouts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};

/// As many as the CA has.
const PLACES: usize = 4096;
/// So many come at once.
const WAVE: usize = 200;

async fn silent(from: &'static str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(to).await
}

#[test]
fn four_thousand_silent_connections_of_one_address_keep_nobody_else_out() {
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let held = || std::fs::read_dir(format!("/proc/{}/fd", ca.pid().unwrap())).unwrap().count();
    // In waves: what the kernel has no room for in the queue before the CA would be lost.
    let mut flood = Vec::new();
    let full = clock::wait_for(clock::LIMIT, || {
        flood.extend(runtime.block_on(async {
            let mut coming = tokio::task::JoinSet::new();
            for _ in 0..WAVE {
                // One that does not get in has no place either.
                let one = tokio::time::timeout(Duration::from_secs(1), silent("127.0.0.2", address));
                coming.spawn(one);
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
