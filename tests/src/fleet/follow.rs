//! A host's life: it joins by the front door, follows the feed, says what is in force, and each minute how it is,
//! over a second connection that it keeps. The real one has a thread for each; here one loop does both, so
//! a host reads nothing of its feed while it waits for an answer. A connection that breaks is made again, later
//! and later; whatever the host finds wrong ends the simulation with its name.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fireaxe_protocol::api::{Consistency, Join, Joined, Problem, Reports, ReportsTaken};
use fireaxe_protocol::host::{Confirmed, Report};
use fireaxe_protocol::log::Checkpoint;
use fireaxe_protocol::statement::Envelope;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::member::{Member, continues};
use super::tally::Tally;
use super::wire::{Answer, Connection, Door};
use crate::bench::dice::Dice;

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
    let answer = posted(&way.door, &mut None, "/v1/hosts", &body).await;
    let joined: Joined = read(&answer)?;
    if joined.host == *member.name() { Ok(()) } else { Err(format!("joined as {}", joined.host)) }
}

/// Follows until something is wrong: says what. `number` makes its moments its own.
pub(super) async fn follow(way: Way, number: u64, member: Member, tally: Arc<Tally>) -> String {
    let beat = Instant::now() + EVERY;
    let mut dice = Dice::new(number);
    dice.draw();
    let mut life = Life { way, member, tally, before: None, follows: false, reports: None, dice, beat };
    loop {
        match life.live().await {
            Ok(()) | Err(End::Broken) => tokio::time::sleep(PAUSE).await,
            Err(End::Wrong(why)) => return format!("{}: {why}", life.member.name()),
        }
    }
}

struct Life {
    way: Way,
    member: Member,
    tally: Arc<Tally>,
    /// The list that the CA has its word about.
    before: Option<u64>,
    follows: bool,
    /// The connection on which it reports, if it has one: kept from one report to the next.
    reports: Option<Connection>,
    dice: Dice,
    /// When it says next how it is.
    beat: Instant,
}

impl Life {
    async fn live(&mut self) -> Result<(), End> {
        let turn = self.way.begin.acquire().await;
        let mut feed = self.way.door.connect().await?;
        let status = feed.follow("/v1/feed", &self.member.proof("/v1/feed")).await?;
        drop(turn);
        if status != 200 {
            return Err(End::Wrong(format!("the feed is answered with {status}")));
        }
        loop {
            tokio::select! {
                event = feed.next_event() => self.takes(&event?).await.map_err(End::Wrong)?,
                () = tokio::time::sleep_until(self.beat) => self.beats().await.map_err(End::Wrong)?,
            }
        }
    }

    async fn takes(&mut self, event: &str) -> Result<(), String> {
        let todo = self.member.takes(event)?;
        if let Some((old, new)) = todo.prove {
            prove(&self.way.door, &old, &new).await?;
        }
        if let Some(confirmed) = todo.confirm {
            let version = confirmed.version;
            let is_owed = todo.owed.is_some_and(|owed| owed <= version);
            self.confirm(confirmed, is_owed).await?;
            self.tally.confirmed(self.before.replace(version), version);
            self.beat = Instant::now() + self.within(SOON);
        }
        if !std::mem::replace(&mut self.follows, true) {
            self.tally.follows();
        }
        Ok(())
    }

    async fn beats(&mut self) -> Result<(), String> {
        let beat = Report::Heartbeat(self.member.heartbeat());
        let beat = self.member.mentions(beat);
        // Owed by now is what it has confirmed: nothing but a list asks this host for anything.
        self.send(beat).await?;
        self.beat = Instant::now() + EVERY * 9 / 10 + self.within(EVERY / 5);
        Ok(())
    }

    /// Says that the list is in force: with a number if the log waits for that, by the event or by the answer.
    async fn confirm(&mut self, confirmed: Confirmed, is_owed: bool) -> Result<(), String> {
        let report = Report::Confirmed(confirmed);
        if !is_owed {
            let mention = self.member.mentions(report.clone());
            if !self.send(mention).await? {
                return Ok(());
            }
        }
        let logged = self.member.reports(report);
        self.send(logged).await.map(drop)
    }

    /// Whether the CA now wants it for the log.
    async fn send(&mut self, report: Envelope) -> Result<bool, String> {
        let body = serde_json::to_vec(&Reports { reports: vec![report] }).expect("json");
        let path = format!("/v1/hosts/{}/reports", self.member.name());
        let answer = posted(&self.way.door, &mut self.reports, &path, &body).await;
        // The answer to the same words was lost before.
        let problem = serde_json::from_slice::<Problem>(&answer.body).ok();
        if problem.is_some_and(|problem| problem.expected == Some(self.member.next())) {
            return Ok(false);
        }
        read::<ReportsTaken>(&answer).map(|taken| taken.confirm.is_some())
    }

    /// Any moment within `most`.
    fn within(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.dice.below(most.as_millis() as u64))
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

/// The same request until it is answered, over this connection if there is one and it still stands.
async fn posted(door: &Door, kept: &mut Option<Connection>, path: &str, body: &[u8]) -> Answer {
    let mut pause = PAUSE;
    loop {
        let answer = async {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => door.connect().await?,
            };
            let answer = connection.post(path, body).await?;
            *kept = Some(connection);
            Ok::<_, io::Error>(answer)
        };
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

/// A heartbeat comes so often, and after a new list any moment within this: as the daemon's.
const EVERY: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
/// Before a connection is made again, first and at most.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);
