//! A fleet on the feed: how long a revocation takes to reach every host and come back signed, and what the fleet
//! costs the CA, idle and during. The simulated hosts run on the same machine, so their work is in the times.

use std::time::Duration;

use super::process;
use super::summary::Summary;
use crate::ca::Ca;
use crate::clock;
use crate::fleet::Fleet;
use crate::holder::Holder;
use crate::world::World;

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
    let reach = ca.fleet().revocation.expect("a revocation");
    assert_eq!((reach.hosts, reach.confirmed), (hosts, hosts), "{reach:?}");
}

/// What joining left behind is over by then.
const SETTLE: Duration = Duration::from_secs(5);
/// As long as the CA is watched doing nothing. Its hosts are sent a comment every ten seconds.
const IDLE: Duration = Duration::from_secs(20);
