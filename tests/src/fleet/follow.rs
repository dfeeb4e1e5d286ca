//! A host's life: it joins by the front door, follows the feed, and says what is in force, over a connection of
//! its own as the real one does. Whatever it finds wrong ends the simulation with its name.

use std::io;
use std::sync::Arc;

use fireaxe_protocol::api::{Consistency, Join, Joined, Reports};
use fireaxe_protocol::host::{Confirmed, Report};
use fireaxe_protocol::log::Checkpoint;
use fireaxe_protocol::statement::Envelope;

use super::member::{Member, continues};
use super::tally::Tally;
use super::wire::{Connection, Door};

/// Joins with this token.
pub(super) async fn join(door: &Door, member: &mut Member, token: &str) -> Result<(), String> {
    let join = Join { enrol: member.enrol(token), token: token.to_owned() };
    let body = serde_json::to_vec(&join).expect("json");
    let answer = async { door.connect().await?.post("/v1/hosts", &body).await };
    let answer = answer.await.map_err(|error| error.to_string())?;
    let joined: Joined = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{error}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))?;
    if joined.host == *member.name() { Ok(()) } else { Err(format!("joined as {}", joined.host)) }
}

/// Follows until the CA ends the stream or something is wrong.
pub(super) async fn follow(door: Door, mut member: Member, tally: Arc<Tally>) -> String {
    let ended = live(&door, &mut member, &tally).await;
    format!("{}: {}", member.name(), ended.err().unwrap_or_else(|| "the feed ended".into()))
}

async fn live(door: &Door, member: &mut Member, tally: &Tally) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let mut feed = door.connect().await.map_err(said)?;
    let status = feed.follow("/v1/feed", &member.proof("/v1/feed")).await.map_err(said)?;
    if status != 200 {
        return Err(format!("the feed is answered with {status}"));
    }
    let (mut following, mut before) = (false, None);
    loop {
        let todo = member.takes(&feed.next_event().await.map_err(said)?)?;
        if let Some((old, new)) = todo.prove {
            prove(door, &old, &new).await?;
        }
        if let Some(confirmed) = todo.confirm {
            let version = confirmed.version;
            confirm(door, member, confirmed).await?;
            tally.confirmed(before.replace(version), version);
        }
        if !std::mem::replace(&mut following, true) {
            tally.follows();
        }
    }
}

async fn prove(door: &Door, old: &Checkpoint, new: &Checkpoint) -> Result<(), String> {
    let path = format!("/log/consistency?from={}&to={}", old.size, new.size);
    let answer = async { door.connect().await?.get(&path).await };
    let answer = answer.await.map_err(|error| error.to_string())?;
    let proof: Consistency = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("{error}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)))?;
    if continues(old, new, &proof.proof) {
        Ok(())
    } else {
        Err(format!("head {} does not continue head {}", new.size, old.size))
    }
}

/// Says that the list is in force; again as an entry of the log, if the CA asks for one.
async fn confirm(door: &Door, member: &mut Member, confirmed: Confirmed) -> Result<(), String> {
    let mut connection = door.connect().await.map_err(|error| error.to_string())?;
    let report = Report::Confirmed(confirmed);
    let mention = member.mentions(report.clone());
    if send(&mut connection, member, mention).await? {
        let logged = member.reports(report);
        send(&mut connection, member, logged).await?;
    }
    Ok(())
}

/// Whether the CA now wants it for the log.
async fn send(connection: &mut Connection, member: &Member, report: Envelope) -> Result<bool, String> {
    let body = serde_json::to_vec(&Reports { reports: vec![report] }).expect("json");
    let path = format!("/v1/hosts/{}/reports", member.name());
    let answer = connection.post(&path, &body).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let taken: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    if answer.status != 200 {
        return Err(format!("a report is answered with {}: {text}", answer.status));
    }
    Ok(taken["confirm"].is_u64())
}
