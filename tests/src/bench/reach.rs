//! A fleet on the feed: how long a revocation takes to reach every host and come back signed, and what the fleet
//! costs the CA, idle and during. The simulated hosts run on the same machine, so their work is in the times.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::process;
use super::summary::Summary;
use crate::ca::Ca;
use crate::clock;
use crate::fleet::Fleet;
use crate::holder::Holder;
use crate::world::World;

/// So many hosts, or as many as this machine lets one process hold two connections each of; says so.
pub fn most(hosts: u64) -> u64 {
    let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let most = hosts.min(descriptors.saturating_sub(OTHER_FILES) / 2);
    if most < hosts {
        eprintln!("a fleet of {most} instead of {hosts}: a process may open {descriptors} files here");
    }
    most
}

/// `fleet.*` for so many hosts.
pub fn measure(figures: &mut Summary, world: &World, ca: &Ca, ana: &Holder, hosts: u64) {
    let pid = ca.pid().expect("a running CA");
    figures.put("fleet.hosts", hosts as f64);
    figures.put("fleet.ca_rss_mib.alone", process::memory(pid, "VmRSS"));
    let began = clock::now();
    let fleet = Fleet::begin(world, ca, hosts, true);
    figures.put("fleet.begin_s", began.elapsed().as_secs_f64());

    std::thread::sleep(SETTLE);
    let (before, began) = (process::cpu(pid), clock::now());
    std::thread::sleep(IDLE);
    let idle = (process::cpu(pid) - before).as_secs_f64() / began.elapsed().as_secs_f64();
    figures.put("fleet.idle.ca_cpu_percent", idle * 100.0);
    figures.put("fleet.idle.ca_rss_mib", process::memory(pid, "VmRSS"));

    let held = ana.open("web", None, Some(2));
    let close = ana.sign_close(&held);
    let (before, began) = (process::cpu(pid), clock::now());
    let version = close();
    let reached = fleet.confirms(version);
    for (name, at) in [("50", reached.half), ("99", reached.most), ("all", reached.all)] {
        figures.put(&format!("fleet.revoke_s.{name}"), at.duration_since(began).as_secs_f64());
    }
    figures.put("fleet.revoke.ca_cpu_s", (process::cpu(pid) - before).as_secs_f64());
    figures.put("fleet.revoke.ca_rss_mib", process::memory(pid, "VmHWM"));
    // The CA agrees. Hosts of other benches are enrolled there too, and away by now.
    let view = ca.fleet();
    let simulated = view.hosts.iter().filter(|host| host.host.as_str().starts_with("web-"));
    let confirmed = simulated.filter(|host| host.krl_version >= Some(version)).count() as u64;
    assert_eq!(confirmed, hosts, "{:?}", view.revocation);
    let reach = view.revocation.expect("a revocation");
    assert!(reach.hosts >= hosts && reach.confirmed >= hosts, "{reach:?}");
}

/// What CA and fleet have open beside connections of hosts.
const OTHER_FILES: u64 = 300;
/// What joining left behind is over by then: the last first heartbeat comes after 20 s.
const SETTLE: Duration = Duration::from_secs(25);
/// As long as the CA is watched while nothing happens: half a heartbeat of each host, a note for all, comments.
const IDLE: Duration = Duration::from_secs(30);
