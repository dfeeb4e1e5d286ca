//! A network of its own: a bridge in a network namespace of its own, and hosts that hang on it by a cable each,
//! with addresses of their own. Whoever makes it goes in: the CA, people and tests that this thread starts are
//! at the bridge's address. Nothing of the machine's network is touched or reached.

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
        command.args(["--net", "sh", "-ec", KEEPER, "keeper", &format!("{BRIDGE}/24")]);
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

    /// Where the CA and people are.
    pub fn address(&self) -> IpAddr {
        BRIDGE.into()
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
        let [a, b, c, _] = BRIDGE.octets();
        Link { name: format!("host{number}"), address: Ipv4Addr::new(a, b, c, 10 + number) }
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

/// A host's cable. All its commands run in this thread's network, which is the bridge's.
pub(crate) struct Link {
    name: String,
    address: Ipv4Addr,
}

impl Link {
    /// The host's address.
    pub(crate) fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// Connects the network namespace of this process with the bridge; again after a reboot.
    pub(crate) fn plug_in(&self, pid: &str) {
        let ip = |words: &[&str]| run(Command::new("ip").args(words));
        // What a host that is gone had may linger.
        let _ = ip(&["link", "delete", &self.name]);
        // Always the same card: others remember it over a reboot.
        let [.., number] = self.address.octets();
        let card = format!("02:00:00:00:01:{number:02x}");
        let ours = ["link", "add", &self.name, "type", "veth", "peer", "name", "eth0", "address", &card];
        ip(&[&ours[..], &["netns", pid]].concat()).ok();
        ip(&["link", "set", &self.name, "master", "br0", "up"]).ok();
        let inside = |words: &[&str]| {
            let mut command = Command::new("nsenter");
            run(command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip").args(words)).ok();
        };
        inside(&["link", "set", "lo", "up"]);
        inside(&["address", "add", &format!("{}/24", self.address), "dev", "eth0"]);
        inside(&["link", "set", "eth0", "up"]);
    }

    fn set(&self, to: &str) {
        run(Command::new("ip").args(["link", "set", &self.name, to])).ok();
    }
}

impl Host {
    /// Pulls its cable: nothing reaches it, and it reaches nobody. Connections are not told.
    pub fn cut_off(&self) {
        self.link.as_ref().expect("a host of a network").set("down");
    }

    /// Plugs it in again.
    pub fn reconnect(&self) {
        self.link.as_ref().expect("a host of a network").set("up");
    }
}

/// Within a namespace of its own every network may have the same.
const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

const KEEPER: &str = "ip link set lo up
ip link add br0 address 02:00:00:00:00:01 type bridge
ip address add \"$1\" dev br0
ip link set br0 up
echo ready
while read -r _; do :; done";
