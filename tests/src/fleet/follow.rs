//! A host's life: it joins by the front door, follows the feed, and says what is in force, over a connection of
//! its own as the real one does. A connection that breaks is made again, later and later; whatever the host finds
//! wrong ends the simulation with its name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::api::{Consistency, Join, Joined, Problem, Reports, ReportsTaken};
use fireaxe_protocol::host::{Confirmed, Report};
use fireaxe_protocol::log::Checkpoint;
use fireaxe_protocol::statement::Envelope;
use tokio::sync::Semaphore;

use super::member::{Member, continues};
use super::tally::Tally;
use super::wire::{Answer, Door};

/// Where a host is heard, and how many begin at once: a fleet does not start on one tick.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) door: Door,
    pub(super) begin: Arc<Semaphore>,
}

/// Why a host's life was interrupted.
enum End {
    /// The connection broke: it is made again.
    Broken,
    /// What came over it is wrong.
    Wrong(String),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Broken
    }
}

/// Joins with this token.
pub(super) async fn join(way: &Way, member: &mut Member, token: &str) -> Result<(), String> {
    let _turn = way.begin.acquire().await;
    let join = Join { enrol: member.enrol(token), token: token.to_owned() };
    let body = serde_json::to_vec(&join).expect("json");
    let answer = posted(&way.door, "/v1/hosts", &body).await;
    let joined: Joined = read(&answer)?;
    if joined.host == *member.name() { Ok(()) } else { Err(format!("joined as {}", joined.host)) }
}

/// Follows until something is wrong: says what.
pub(super) async fn follow(way: Way, mut member: Member, tally: Arc<Tally>) -> String {
    let mut before = None;
    let mut following = false;
    loop {
        match live(&way, &mut member, &tally, &mut before, &mut following).await {
            Ok(()) | Err(End::Broken) => tokio::time::sleep(PAUSE).await,
            Err(End::Wrong(why)) => return format!("{}: {why}", member.name()),
        }
    }
}

async fn live(
    way: &Way,
    member: &mut Member,
    tally: &Tally,
    before: &mut Option<u64>,
    following: &mut bool,
) -> Result<(), End> {
    let turn = way.begin.acquire().await;
    let mut feed = way.door.connect().await?;
    let status = feed.follow("/v1/feed", &member.proof("/v1/feed")).await?;
    drop(turn);
    if status != 200 {
        return Err(End::Wrong(format!("the feed is answered with {status}")));
    }
    loop {
        let todo = member.takes(&feed.next_event().await?).map_err(End::Wrong)?;
        if let Some((old, new)) = todo.prove {
            prove(&way.door, &old, &new).await.map_err(End::Wrong)?;
        }
        if let Some(confirmed) = todo.confirm {
            let version = confirmed.version;
            confirm(&way.door, member, confirmed).await.map_err(End::Wrong)?;
            tally.confirmed(before.replace(version), version);
        }
        if !std::mem::replace(following, true) {
            tally.follows();
        }
    }
}

async fn prove(door: &Door, old: &Checkpoint, new: &Checkpoint) -> Result<(), String> {
    let path = format!("/log/consistency?from={}&to={}", old.size, new.size);
    let answer = async { door.connect().await?.get(&path).await };
    let proof: Consistency = read(&answer.await.map_err(|error| error.to_string())?)?;
    if continues(old, new, &proof.proof) {
        Ok(())
    } else {
        Err(format!("head {} does not continue head {}", new.size, old.size))
    }
}

/// Says that the list is in force; again as an entry of the log, if the CA asks for one.
async fn confirm(door: &Door, member: &mut Member, confirmed: Confirmed) -> Result<(), String> {
    let report = Report::Confirmed(confirmed);
    let mention = member.mentions(report.clone());
    if send(door, member, mention).await? {
        let logged = member.reports(report);
        send(door, member, logged).await?;
    }
    Ok(())
}

/// Whether the CA now wants it for the log.
async fn send(door: &Door, member: &Member, report: Envelope) -> Result<bool, String> {
    let body = serde_json::to_vec(&Reports { reports: vec![report] }).expect("json");
    let answer = posted(door, &format!("/v1/hosts/{}/reports", member.name()), &body).await;
    // The answer to the same words was lost before.
    let problem = serde_json::from_slice::<Problem>(&answer.body).ok();
    if problem.is_some_and(|problem| problem.expected == Some(member.next())) {
        return Ok(false);
    }
    read::<ReportsTaken>(&answer).map(|taken| taken.confirm.is_some())
}

/// The same request until it is answered.
async fn posted(door: &Door, path: &str, body: &[u8]) -> Answer {
    let mut pause = PAUSE;
    loop {
        let answer = async { door.connect().await?.post(path, body).await };
        match answer.await {
            Ok(answer) if answer.status != 503 => return answer,
            _ => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST);
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, String> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{error}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))
}

/// Before a connection is made again, first and at most.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);
