//! A thousand hosts on one feed: a revocation reaches each of them, and the CA knows.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use fireaxe_protocol::log::Event;
use fireaxe_tests::World;
use fireaxe_tests::fleet::Fleet;
use fireaxe_tests::holder::Holder;
use fireaxe_tests::scene::{COLLEAGUES, policy_without_limits};

const HOSTS: u64 = 1000;

#[test]
fn a_revocation_reaches_a_thousand_hosts_and_each_of_them_says_so_under_its_own_key() {
    let world = World::new();
    let (ana, ben) = (world.engineer("ana"), world.engineer("ben"));
    let people: [(&_, &[&str]); 2] = [
        (&ana, &["payments", "payments-oncall", "sre", "sre-leads", "security", "audit"]),
        (&ben, &["sre", "sre-leads"]),
    ];
    let mut ca = world.ca(&world.bundle(&policy_without_limits(), &people, COLLEAGUES));
    ca.start();
    // Each joins by the front door, follows, verifies every list and head by itself, and confirms what it began
    // with.
    let fleet = Fleet::begin(&world, &ca, HOSTS, false);
    let holder = Holder::new(&ana, &ca);
    let held = holder.open("web", None, Some(2));
    let version = holder.close(&held);
    fleet.confirms(version);

    let view = ca.fleet();
    assert_eq!(view.hosts.len() as u64, HOSTS);
    for host in &view.hosts {
        assert!(host.following && host.krl_version >= Some(version), "{host:?}");
    }
    let reach = view.revocation.unwrap();
    assert_eq!((reach.hosts, reach.confirmed), (HOSTS, HOSTS), "{reach:?}");
    assert!(reach.stale.is_empty(), "{reach:?}");
    // The proof is in the log, and the log holds together.
    let confirmed = |event: &Event| matches!(event, Event::HostConfirmed { .. });
    let proofs = ca.entries().iter().filter(|entry| confirmed(&entry.event)).count() as u64;
    assert_eq!(proofs, HOSTS);
    ca.verifies();
}
