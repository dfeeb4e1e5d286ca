//! The fleet as people see it: every enrolled host, how it said it is, and how far the newest revocation got.
//! In memory only: after a restart it is empty until the hosts speak again, which they do within some 66
//! seconds. Everything here is the hosts' own word but for when it came and whether they follow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use fireaxe_protocol::api::{Fleet as Told, FleetHost, Missing, Reach};
use fireaxe_protocol::host::{Heartbeat, Report};
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::policy::{Bundle, Role};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::HostReport;

use super::Door;
use super::problem::{self, Answer};
use super::reading::{self, Scope};
use crate::clock::Moment;
use crate::road::KnownHost;

/// Hosts that a reach names as stale.
const STALE: usize = 20;
/// A host that said nothing for so long is stale, seconds: four heartbeats.
const SILENT_S: u64 = 240;
/// A list that nobody confirmed to be the newest for so long is stale, seconds: a heartbeat may come 66 s after the
/// one before, and say then that the newest note is half a minute old.
const OLD_S: u64 = 120;

/// See the file's top.
#[derive(Debug, Default)]
pub struct Fleet {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    hosts: HashMap<HostName, Seen>,
    /// The newest list, and when it was first told, unix milliseconds.
    list: Option<(u64, u64)>,
    /// What the tick must be advanced by to be unix milliseconds.
    base_ms: Option<u64>,
}

/// What one host said last.
#[derive(Debug, Clone)]
struct Seen {
    enrolment: Hash,
    at: u64,
    clock_ahead_s: Option<i64>,
    /// The list in force there, and since when it is known to be that one or a later one: unix milliseconds.
    krl: Option<(u64, u64)>,
    heartbeat: Option<(u64, Heartbeat)>,
    /// It has seen a head of the log that this log does not reach.
    ahead: Option<u64>,
    alarms: u32,
}

/// How many hosts are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FleetCounts {
    /// Enrolled.
    pub enrolled: usize,
    /// Follow the feed.
    pub following: usize,
    /// Have the newest list.
    pub confirmed: usize,
    /// Silent, or with an old list.
    pub stale: usize,
    /// Have seen a longer log than this one.
    pub ahead: usize,
    /// What is missing.
    pub missing: Missing,
}

impl Fleet {
    /// The newest list has this version.
    pub(super) fn list_is(&self, version: u64, now: Moment) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = held.ms(now);
        match held.list {
            Some((known, _)) if known >= version => {}
            // At the first one after a start nobody knows when it was revoked.
            None => held.list = Some((version, 0)),
            Some(_) => held.list = Some((version, ms)),
        }
    }

    /// Takes what a host says of itself: what was never taken before. Of what has no number only its clock counts
    /// when that is far from ours: it may be old. `size` is the log's.
    pub(super) fn heard<'a>(
        &self,
        known: &KnownHost,
        reports: impl IntoIterator<Item = &'a HostReport>,
        now: Moment,
        size: u64,
    ) {
        let mut reports = reports.into_iter().peekable();
        if reports.peek().is_none() {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = held.ms(now);
        // A list that there never was is no list.
        let newest = held.list.map_or(0, |(version, _)| version);
        let fresh = Seen {
            enrolment: known.enrolment,
            at: now.wall_s,
            clock_ahead_s: None,
            krl: None,
            heartbeat: None,
            ahead: None,
            alarms: 0,
        };
        let seen = held.hosts.entry(known.host.clone()).or_insert_with(|| fresh.clone());
        if seen.enrolment != known.enrolment {
            *seen = fresh;
        }
        seen.at = now.wall_s;
        for words in reports {
            let is_now = words.header.at.abs_diff(now.wall_s) <= STATEMENT_WINDOW_S;
            let version = match &words.report {
                Report::Heartbeat(beat) => {
                    let ahead_s = words.header.at.cast_signed().wrapping_sub(now.wall_s.cast_signed());
                    seen.clock_ahead_s = Some(ahead_s);
                    if !is_now {
                        continue;
                    }
                    seen.ahead = beat.head.map(|(head, _)| head).filter(|head| *head > size);
                    if let Some(head) = seen.ahead {
                        tracing::error!(event = "log.behind", host = %known.host, head, size);
                    }
                    seen.heartbeat = Some((now.wall_s, beat.clone()));
                    beat.krl_version
                }
                Report::Confirmed(_) if words.seq == 0 && !is_now => continue,
                Report::Confirmed(confirmed) => confirmed.version,
                Report::Alarmed(_) => {
                    seen.alarms = seen.alarms.saturating_add(1);
                    continue;
                }
                _ => continue,
            };
            if version != 0 && version <= newest && seen.krl.is_none_or(|(before, _)| before != version) {
                seen.krl = Some((version, ms));
            }
        }
    }

    /// All that `may` see.
    pub(super) fn told(&self, door: &Door, may: impl Fn(&KnownHost) -> bool) -> Told {
        let now = door.clock.now().wall_s;
        let mut known = door.road.published().speakers().all();
        known.retain(|host| may(host));
        known.sort_by(|a, b| a.host.cmp(&b.host));
        let newest = door.road.published().revocations().version;
        let following: Vec<bool> = known.iter().map(|host| door.feed.is_following(&host.host)).collect();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reach = held.list.map(|(_, revoked_at_ms)| Reach {
            revoked_at_ms,
            hosts: known.len() as u64,
            confirmed: 0,
            last_at_ms: None,
            stale: Vec::new(),
        });
        let mut hosts = Vec::with_capacity(known.len());
        for (host, following) in known.iter().zip(following) {
            let seen = held.hosts.get(&host.host).filter(|seen| seen.enrolment == host.enrolment);
            let krl = seen.and_then(|seen| seen.krl);
            if let Some(reach) = &mut reach {
                match krl {
                    Some((version, ms)) if version >= newest => {
                        reach.confirmed += 1;
                        reach.last_at_ms = reach.last_at_ms.max(Some(ms));
                    }
                    _ if reach.stale.len() < STALE => reach.stale.push(host.host.clone()),
                    _ => {}
                }
            }
            hosts.push(line(host, seen, following, now));
        }
        Told {
            schema: "fireaxe.fleet/v1".into(),
            now,
            krl_version: newest,
            revocation: reach,
            missing: None,
            hosts,
        }
    }

    /// The same of every host, with what is missing.
    pub(super) fn told_all(&self, door: &Door) -> Told {
        let now = door.clock.now().wall_s;
        let published = door.road.published();
        let missing = published.missing().counts(&published.speakers().all(), now);
        Told { missing: Some(missing), ..self.told(door, |_| true) }
    }

    /// Counts, for the dashboard.
    pub(super) fn counts(&self, door: &Door) -> FleetCounts {
        let told = self.told_all(door);
        let newest = told.krl_version;
        let count = |is: &dyn Fn(&FleetHost) -> bool| told.hosts.iter().filter(|host| is(host)).count();
        FleetCounts {
            enrolled: told.hosts.len(),
            following: count(&|host| host.following),
            confirmed: count(&|host| host.krl_version.is_some_and(|version| version >= newest)),
            stale: count(&|host| is_stale(host, newest, told.now)),
            ahead: count(&|host| host.drift.iter().any(|reason| reason.code == AHEAD)),
            missing: told.missing.unwrap_or_default(),
        }
    }
}

impl Held {
    /// Unix milliseconds: as even as the tick, as right as the wall. Set anew when the wall was moved.
    fn ms(&mut self, now: Moment) -> u64 {
        let wall_ms = now.wall_s.saturating_mul(1000);
        let base = self.base_ms.filter(|base| base.saturating_add(now.tick_ms).abs_diff(wall_ms) < 2000);
        let base = base.unwrap_or_else(|| wall_ms.saturating_sub(now.tick_ms));
        self.base_ms = Some(base);
        base.saturating_add(now.tick_ms)
    }
}

fn line(host: &KnownHost, seen: Option<&Seen>, following: bool, now: u64) -> FleetHost {
    let beat = seen.and_then(|seen| seen.heartbeat.as_ref());
    let mut drift = beat.map(|(_, beat)| beat.drift.clone()).unwrap_or_default();
    if let Some(head) = seen.and_then(|seen| seen.ahead) {
        drift.insert(
            0,
            Reason::new(AHEAD, format!("it has seen a log of {head} entries: this one is shorter")),
        );
    }
    FleetHost {
        host: host.host.clone(),
        system: host.system.clone(),
        enrolled_at: host.enrolled_at,
        seen_at: seen.map(|seen| seen.at),
        following,
        krl_version: seen.and_then(|seen| seen.krl).map(|(version, _)| version),
        krl_age_s: beat.map(|(at, beat)| beat.krl_age_s.saturating_add(now.saturating_sub(*at))),
        clock_ahead_s: seen.and_then(|seen| seen.clock_ahead_s),
        mode: beat.map(|(_, beat)| beat.mode),
        sessions: beat.map(|(_, beat)| beat.sessions),
        drift,
        strays: beat.map(|(_, beat)| beat.strays.clone()).unwrap_or_default(),
    }
}

/// Whether a host's list is not the newest, or nobody knows.
pub(crate) fn is_stale(host: &FleetHost, newest: u64, now: u64) -> bool {
    host.seen_at.is_none_or(|at| at.saturating_add(SILENT_S) < now)
        || host.krl_version.is_none_or(|version| version < newest)
        || host.krl_age_s.is_none_or(|age| age > OLD_S)
}

const AHEAD: &str = "log.behind";

/// `GET /v1/fleet`: auditors see every host, others those of the systems that they own or are on call for.
pub(super) async fn fleet(State(door): State<Arc<Door>>, headers: HeaderMap, uri: Uri) -> Answer<Json<Told>> {
    let scope = reading::who(&door, &headers, "GET", &uri).await?;
    let bundle = door.road.published().gate().bundle;
    let Scope::Person(person) = &scope else {
        return Err(nothing());
    };
    if bundle.roster.has_role(person, Role::Auditor) {
        return Ok(Json(door.fleet.told_all(&door)));
    }
    let groups = bundle.roster.person(person).map(|person| person.groups.clone()).unwrap_or_default();
    let theirs = |bundle: &Bundle, host: &KnownHost| {
        let system = bundle.policy.system(&host.system);
        system.is_some_and(|system| {
            groups.contains(&system.owner.value) || groups.contains(&system.on_call.value)
        })
    };
    let any = bundle
        .policy
        .systems()
        .any(|system| groups.contains(&system.owner.value) || groups.contains(&system.on_call.value));
    if !any {
        return Err(nothing());
    }
    Ok(Json(door.fleet.told(&door, |host| theirs(&bundle, host))))
}

fn nothing() -> problem::Told {
    problem::Told::new(
        StatusCode::FORBIDDEN,
        "fleet.not_yours",
        "hosts are shown to people with the role auditor, and to who owns their system or is on call for it",
    )
}

/// `GET /operator/fleet`
pub(super) async fn operator_fleet(State(door): State<Arc<Door>>) -> Json<Told> {
    Json(door.fleet.told_all(&door))
}
