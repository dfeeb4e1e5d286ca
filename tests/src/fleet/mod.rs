//! A fleet in one process: any number of simulated hosts that join by the real front door of a real CA, follow
//! its real feed over TLS of their own, check what a host checks, and sign what they report with keys of their
//! own. What they do not have is an sshd.
//!
//! | file | what it holds |
//! |---|---|
//! | `member` | one host: its key, what it makes of an event |
//! | `invite` | their invitations |
//! | `follow` | its life: join, follow, confirm, say each minute how it is |
//! | `wire` | HTTPS in little memory |
//! | `tally` | how far they are, as lines of JSON |
//!
//! The process is `src/bin/fleet.rs`; [`Fleet`] starts it and reads its lines.

mod follow;
mod invite;
mod member;
mod tally;
mod wire;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::ca::Ca;
use crate::clock;
use crate::run::{bound, end};
use crate::world::World;
use member::{Member, Pinned, Shared};
use tally::{Line, Tally, say, share};

/// What the process reads on standard input: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    address: SocketAddr,
    /// The CA's TLS certificate.
    certificate: PathBuf,
    origin: String,
    log_key: String,
    krl_key: String,
    /// Name and join token of each.
    hosts: Vec<(String, String)>,
    /// Whether one host's verification counts for all that see the same bytes.
    share: bool,
}

/// A fleet that follows. Its process ends when this is dropped.
pub struct Fleet {
    process: Child,
    lines: Receiver<(Instant, Line)>,
    hosts: u64,
}

/// When a list was confirmed by so many.
#[derive(Debug, Clone, Copy)]
pub struct Reached {
    /// Half of them.
    pub half: Instant,
    /// 99 of 100.
    pub most: Instant,
    /// The last.
    pub all: Instant,
}

impl Fleet {
    /// Invites `web-0.shop.prod` ... of the system `web` to this CA, and starts them. Ends once all follow.
    /// `share`: one host's check of the same bytes counts for all.
    pub fn begin(world: &World, ca: &Ca, hosts: u64, share: bool) -> Fleet {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let names = (0..hosts).map(name).collect();
        let invited = runtime.block_on(invite::invite(&ca.data().join("operator.sock"), names));
        let plan = Plan {
            address: SocketAddr::new(world.address(), ca.port()),
            certificate: ca.data().join("tls.crt"),
            origin: ca.told("origin"),
            log_key: ca.told("log_key"),
            krl_key: ca.told("krl_key"),
            hosts: invited,
            share,
        };
        let mut command = bound(world.programs().ours("fleet"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the fleet starts");
        let mut stdin = process.stdin.take().expect("pipe");
        serde_json::to_writer(&mut stdin, &plan).expect("plan");
        stdin.write_all(b"\n").expect("plan");
        drop(stdin);
        let stdout = BufReader::new(process.stdout.take().expect("pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of the fleet");
                if sender.send((clock::now(), line)).is_err() {
                    return;
                }
            }
        });
        let fleet = Fleet { process, lines, hosts };
        fleet.waits_for(|line| *line == Line::Joined(hosts));
        fleet.waits_for(|line| *line == Line::Following(hosts));
        fleet
    }

    /// Waits until every host has this list or a newer one in force and the CA has its signed word.
    pub fn confirms(&self, version: u64) -> Reached {
        let reached = |percent: u64| {
            let enough = share(self.hosts, percent);
            self.waits_for(|line| matches!(line, Line::Confirmed { version: v, hosts } if *v >= version && *hosts >= enough))
        };
        Reached { half: reached(50), most: reached(99), all: reached(100) }
    }

    fn waits_for(&self, is_it: impl Fn(&Line) -> bool) -> Instant {
        loop {
            // Generous: ten thousand handshakes on a busy machine.
            match self.lines.recv_timeout(Duration::from_secs(300)) {
                Ok((_, Line::Wrong(why))) => panic!("the fleet found something wrong: {why}"),
                Ok((at, line)) if is_it(&line) => return at,
                Ok(_) => {}
                Err(error) => panic!("the fleet says nothing more: {error}"),
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// The process: reads its plan, joins, follows until it is ended.
pub fn main() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a plan");
    let plan: Plan = serde_json::from_str(&line).expect("a plan");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("more descriptors");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("runtime");
    let why = runtime.block_on(live(plan));
    say(&Line::Wrong(why));
}

async fn live(plan: Plan) -> String {
    let certificate = std::fs::read(&plan.certificate).expect("the CA's certificate");
    let door = wire::Door::new(plan.address, &certificate);
    let pinned = Arc::new(Pinned {
        origin: plan.origin.parse().expect("origin"),
        log: plan.log_key.parse().expect("log key"),
        krl: plan.krl_key.parse().expect("list key"),
        shared: plan.share.then(Shared::default),
    });
    let count = plan.hosts.len() as u64;
    let way = follow::Way { door, begin: Arc::new(tokio::sync::Semaphore::new(AT_ONCE)) };
    let mut joining = tokio::task::JoinSet::new();
    for (number, (name, token)) in plan.hosts.into_iter().enumerate() {
        let (way, pinned) = (way.clone(), pinned.clone());
        joining.spawn(async move {
            let mut member = Member::new(number as u64, name.parse().expect("a name"), pinned);
            follow::join(&way, &mut member, &token).await.map(|()| member)
        });
    }
    let mut members = Vec::new();
    while let Some(joined) = joining.join_next().await {
        match joined.expect("a task") {
            Ok(member) => members.push(member),
            Err(why) => return why,
        }
    }
    say(&Line::Joined(count));
    let tally = Arc::new(Tally::new(count));
    let mut following = tokio::task::JoinSet::new();
    for (number, member) in members.into_iter().enumerate() {
        following.spawn(follow::follow(way.clone(), number as u64, member, tally.clone()));
    }
    following.join_next().await.map_or_else(|| "no hosts".into(), |ended| ended.expect("a task"))
}

fn name(number: u64) -> String {
    format!("web-{number}.shop.prod")
}

/// Joining, or beginning to follow, at once.
const AT_ONCE: usize = 64;
