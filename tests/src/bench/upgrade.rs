//! From an approval to the certificate in the agent of whoever waits: the real CA, a real `fireaxe agent`
//! with the follower that `fireaxe open` leaves behind, signatures by software keys.
//!
//! Measured from outside, so a little more than the figure's name says: the clock starts before the approver's
//! statement, signed already, is sent over a connection that is open already; it stops when the agent, asked
//! again and again over its ssh-agent socket, lists the certificate of the account that was approved.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::Approved;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::statement::{Approve, Header, Kind, Nonce, Statement, sign_ed25519};
use fireaxe_transport::Ca as Transport;

use super::dice::Dice;
use crate::clock;
use crate::engineer::Engineer;

/// Between two questions to the agent: what the figure may be too large by, and what the asking costs the
/// machine.
const ASK_AGAIN: Duration = Duration::from_micros(500);

/// Who waits for what, and who approves it.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The log.
    pub origin: &'a Origin,
    /// The approvers, in turn: no two in a row by the same.
    pub approvers: &'a [SigningKey],
    /// What is asked for: `fireaxe open` with these words waits for one approval, and gives less meanwhile.
    pub words: &'a [&'a str],
    /// The account that the approval gives.
    pub account: &'a str,
}

/// Milliseconds from the approval to the certificate, `times` times; each emergency is closed again. The
/// waiting person's agent runs already.
pub fn upgrade_ms(scene: &Scene<'_>, transport: &Transport, waiting: &Engineer, times: usize) -> Vec<f64> {
    let mut dice = Dice::new(clock::unix());
    (0..times)
        .map(|n| {
            let told = waiting.open(scene.words);
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            assert_eq!(told["outcome"], "meanwhile", "{told}");
            let emergency: EmergencyId = text(&told["emergency"]).parse().expect("emergency");
            let of: Hash = serde_json::from_value(told["waiting"]["of"].clone()).expect("a leaf");
            wait_for_follower(emergency);
            let approver = &scene.approvers[n % scene.approvers.len()];
            let took = approve(scene, transport, waiting, approver, (emergency, of), &mut dice);
            waiting.fireaxe(&["close", &emergency.to_string()]).ok();
            took.as_secs_f64() * 1e3
        })
        .collect()
}

fn approve(
    scene: &Scene<'_>,
    transport: &Transport,
    waiting: &Engineer,
    approver: &SigningKey,
    (emergency, of): (EmergencyId, Hash),
    dice: &mut Dice,
) -> Duration {
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&dice.bytes32()[..16]);
    let header =
        Header { kind: Kind::Approve, to: scene.origin.clone(), nonce: Nonce(nonce), at: clock::unix() };
    let yes = Approve { header, of, emergency, shown_s: 20, reason: None };
    let envelope = sign_ed25519(approver, Kind::Approve, &Statement::Approve(yes).write());
    let path = format!("/v1/emergencies/{emergency}/approvals");
    let wanted = format!("{emergency} {} on ", scene.account);
    let mut agent = UnixStream::connect(waiting.socket().expect("an agent")).expect("the agent's socket");
    assert!(!lists(&mut agent, &wanted), "{wanted}is there before the approval");
    // The connection of an approver's client is open by then: it has just read the request.
    let _: fireaxe_protocol::api::Keys = transport.get("/v1/keys", None).expect("keys");
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let start = clock::now();
            let approved: Approved = transport.post(&path, None, &envelope).expect("approved");
            assert!(approved.missing.is_empty(), "{approved:?}");
            start
        });
        let until = clock::now() + clock::LIMIT;
        let arrived = arrival(&mut agent, &wanted, until);
        arrived.duration_since(sent.join().expect("the approver"))
    })
}

/// When the agent lists it.
fn arrival(agent: &mut UnixStream, wanted: &str, until: Instant) -> Instant {
    loop {
        let there = lists(agent, wanted);
        let now = clock::now();
        if there {
            return now;
        }
        assert!(now < until, "the approved certificate never came into the agent");
        std::thread::sleep(ASK_AGAIN);
    }
}

/// Whether the agent holds an identity with this in its comment (draft-ietf-sshm-ssh-agent: request 11,
/// answer 12).
fn lists(agent: &mut UnixStream, wanted: &str) -> bool {
    agent.write_all(&[0, 0, 0, 1, 11]).expect("the agent listens");
    let mut length = [0; 4];
    agent.read_exact(&mut length).expect("the agent answers");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    agent.read_exact(&mut answer).expect("the agent answers");
    assert_eq!(answer.first(), Some(&12), "not a list of identities");
    answer.windows(wanted.len()).any(|window| window == wanted.as_bytes())
}

/// Waits until the follower of this emergency listens for events: it does so in a thread of its own, beside the
/// first. One that began to listen a moment too late would ask by itself and find the certificate all the same.
fn wait_for_follower(emergency: EmergencyId) {
    let mut before = 0;
    let listening = clock::wait_for(clock::LIMIT, || {
        let threads = follower(emergency).map_or(0, |process| entries(&process.join("task")));
        let steady = threads > 1 && threads == before;
        before = threads;
        steady.then_some(())
    });
    assert!(listening.is_some(), "nobody follows {emergency}");
}

fn follower(emergency: EmergencyId) -> Option<std::path::PathBuf> {
    let wanted = format!("\0follow\0{emergency}\0");
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut paths = processes.map(|process| process.path());
    paths.find(|path| {
        fs::read(path.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
    })
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}
