//! A network of its own: a network namespace with two bridges, and hosts that hang on each by a cable, with
//! addresses of their own. By the one they reach the CA, by the other people reach them, so that a host can be
//! cut off from the CA alone. Whoever makes the network goes in: the CA, people and tests that this thread starts
//! are at the bridges' addresses. Nothing of the machine's network is touched or reached.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::clock;
use crate::host::Host;
use crate::run::{bound, end, run};
use crate::world::{OpenSsh, World};

/// The network. Dropped, it lets its thread out and goes; its hosts and CA are to be dropped before.
pub struct Network {
    world: World,
    keeper: Child,
    outside: File,
    hosts: AtomicU8,
}

impl Network {
    pub(crate) fn begin(world: &World) -> Network {
        let outside = File::open("/proc/thread-self/ns/net").expect("this thread's network");
        let mut command = bound("unshare");
        command.args(["--net", "sh", "-ec", KEEPER, "keeper", &format!("{CA}/24"), &format!("{PEOPLE}/24")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("setpriv and unshare are installed");
        let mut line = String::new();
        let _ = BufReader::new(keeper.stdout.take().expect("pipe")).read_line(&mut line);
        assert!(
            line.trim() == "ready",
            "cannot make a network namespace with a bridge here (iproute2 makes it)"
        );
        let inside = File::open(format!("/proc/{}/ns/net", keeper.id())).expect("the network");
        move_into_link_name_space(inside.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
        Network { world: world.clone(), keeper, outside, hosts: AtomicU8::new(0) }
    }

    /// Where hosts find the CA.
    pub fn address(&self) -> IpAddr {
        CA.into()
    }

    /// Where hosts see people come from.
    pub fn people(&self) -> IpAddr {
        PEOPLE.into()
    }

    /// A host on it, not yet started; its sshd will listen on port 22.
    pub fn host(&self, name: &str, system: &str) -> Host {
        Host::new(&self.world, name, system, OpenSsh::Stock, Some(self.cable()))
    }

    /// The same with this OpenSSH; none, said loudly, when it could not be had.
    pub fn host_with(&self, openssh: OpenSsh, name: &str, system: &str) -> Option<Host> {
        let there = self.world.has(openssh);
        there.then(|| Host::new(&self.world, name, system, openssh, Some(self.cable())))
    }

    fn cable(&self) -> Link {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        Link { number: 10 + number }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = move_into_link_name_space(self.outside.as_fd(), Some(LinkNameSpaceType::Network));
        drop(self.keeper.stdin.take());
        if clock::wait_for(clock::LIMIT, || self.keeper.try_wait().ok().flatten()).is_none() {
            end(&mut self.keeper);
        }
    }
}

/// A host's cables. All its commands run in this thread's network, where the bridges are.
pub(crate) struct Link {
    /// The last byte of its addresses.
    number: u8,
}

impl Link {
    /// Where people find the host.
    pub(crate) fn address(&self) -> IpAddr {
        self.address_at(PEOPLE).into()
    }

    fn address_at(&self, bridge: Ipv4Addr) -> Ipv4Addr {
        let [a, b, c, _] = bridge.octets();
        Ipv4Addr::new(a, b, c, self.number)
    }

    fn names(&self) -> [String; 2] {
        ["ca", "people"].map(|bridge| format!("{bridge}{}", self.number))
    }

    /// Connects the network namespace of this process with both bridges; again after a reboot.
    pub(crate) fn plug_in(&self, pid: &str) {
        let ip = |words: &[&str]| run(Command::new("ip").args(words));
        let inside = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            run(command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip").args(words)).ok();
        };
        inside(&["link", "set", "lo", "up"]);
        let sides = [("br-ca", "eth0", CA), ("br-people", "eth1", PEOPLE)];
        for (name, (bridge, card, at)) in self.names().iter().zip(sides) {
            // What a host that is gone had may linger.
            let _ = ip(&["link", "delete", name]);
            // Always the same hardware address: others remember it over a reboot.
            let hardware = format!("02:00:00:00:{}:{:02x}", &card[3..].repeat(2), self.number);
            let ours = ["link", "add", name, "type", "veth", "peer", "name", card, "address", &hardware];
            ip(&[&ours[..], &["netns", pid]].concat()).ok();
            ip(&["link", "set", name, "master", bridge, "up"]).ok();
            inside(&["address", "add", &format!("{}/24", self.address_at(at)), "dev", card]);
            inside(&["link", "set", card, "up"]);
        }
    }

    fn set(&self, names: &[String], to: &str) {
        for name in names {
            run(Command::new("ip").args(["link", "set", name, to])).ok();
        }
    }
}

impl Host {
    /// Pulls its cables: nothing reaches it, and it reaches nobody. Connections are not told.
    pub fn cut_off(&self) {
        let link = self.link.as_ref().expect("a host of a network");
        link.set(&link.names(), "down");
    }

    /// Pulls the cable to the CA alone: people still reach it.
    pub fn cut_off_from_the_ca(&self) {
        let link = self.link.as_ref().expect("a host of a network");
        link.set(&link.names()[..1], "down");
    }

    /// Plugs both in again.
    pub fn reconnect(&self) {
        let link = self.link.as_ref().expect("a host of a network");
        link.set(&link.names(), "up");
    }
}

/// Within a namespace of its own every network may have the same.
const CA: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PEOPLE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

const KEEPER: &str = "ip link set lo up
number=1
for bridge in br-ca br-people; do
    ip link add $bridge address 02:00:00:00:00:0$number type bridge
    ip address add \"$1\" dev $bridge
    ip link set $bridge up
    number=2
    shift
done
echo ready
while read -r _; do :; done";
