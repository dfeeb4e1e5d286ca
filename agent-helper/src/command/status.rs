//! `status`: what is held and what waits, from the agent; then what the CA says, if it answers quickly: what
//! was granted meanwhile is put into the agent. Never signs anything; see `standing` and `grant`.

use fireaxe_protocol::api::{Grant, OwedReview, Requests, WaitingRequest};
use serde::Serialize;

use super::grant::New;
use super::standing::{self, Standing};
use super::{Context, grant, wait};
use crate::authority::Authority;
use crate::clock;
use crate::control::client::{Control, ControlError};
use crate::control::{Held, Pending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen::{self, Screen};
use crate::words::{self, Typed};

#[derive(Serialize, Default)]
struct Answer<'a> {
    schema: &'static str,
    held: Vec<One<'a>>,
    /// What still waits for people.
    waiting: Vec<Waits<'a>>,
    /// Emergencies whose certificate was put into the agent just now.
    upgraded: Vec<String>,
    /// Requests that ended just now without being granted.
    settled: Vec<Waits<'a>>,
    /// Requests of others that wait for you.
    requests: Vec<&'a WaitingRequest>,
    /// Reviews that are owed and yours to make.
    reviews: Vec<&'a OwedReview>,
    agent: Option<String>,
    notes: Vec<String>,
    ca: Option<String>,
}

#[derive(Serialize)]
struct One<'a> {
    #[serde(flatten)]
    held: &'a Held,
    left_s: u64,
    /// `open`, `closing`, `closed`, `unknown`; nothing when the CA was not asked or did not answer.
    state: Option<&'a str>,
}

#[derive(Serialize)]
struct Waits<'a> {
    emergency: String,
    system: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a fireaxe_protocol::api::Waiting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    awaits: Option<&'a fireaxe_protocol::policy::Awaits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<&'a fireaxe_protocol::api::Settled>,
    /// By the agent's word, when the CA did not answer.
    until: u64,
}

/// One emergency that waited when this began, and what the CA says of it.
struct Asked {
    mine: Pending,
    grant: Option<Grant>,
    new: Option<New>,
    trouble: Option<Failure>,
}

impl Asked {
    fn waits(&self) -> bool {
        self.grant.as_ref().is_none_or(|g| grant::waits(g).is_some())
    }

    fn row(&self) -> Waits<'_> {
        let grant = self.grant.as_ref();
        Waits {
            emergency: self.mine.emergency.to_string(),
            system: self.mine.system.as_str(),
            waiting: grant.and_then(|g| g.waiting.as_ref()),
            awaits: grant.and_then(|g| g.decision.awaits.as_ref()),
            settled: grant.and_then(|g| g.settled.as_ref()),
            until: self.mine.until,
        }
    }

    /// Ended without being granted.
    fn ended(&self) -> Option<&fireaxe_protocol::api::Settled> {
        use fireaxe_protocol::api::Settled;
        let settled = self.grant.as_ref().filter(|_| !self.waits())?.settled.as_ref();
        settled.filter(|settled| **settled != Settled::Given)
    }
}

/// What the CA says of everything.
#[derive(Default)]
struct Told {
    states: Vec<Standing>,
    asked: Vec<Asked>,
    requests: Option<Requests>,
    trouble: Option<Failure>,
}

pub(super) fn run(cx: &Context) -> Result<Exit, Failure> {
    let screen = cx.screen;
    let mut control = match Control::connect(&cx.places) {
        Ok(control) => control,
        Err(ControlError::NotRunning) => {
            screen.json(&Answer { schema: SCHEMA, ..Answer::default() });
            if !screen.is_json() {
                screen.say(&format!("nothing is held (no agent is running).   next: {NOTHING}"));
            }
            return Ok(Exit::Ok);
        }
        Err(e) => return Err(e.into()),
    };
    let before = control.list()?;
    let pending = control.pending()?;
    let (_, _, notes) = control.ping()?;
    let mut told = ask_ca(cx, &mut control, &before, pending);
    standing::drop_closed(&mut control, &before, &told.states)?;
    // What was granted meanwhile stands in the list by now; what is over is still told once.
    let held = with_the_closed(control.list()?, before, &mut told.states);
    show_json(cx, &held, &told, &notes);
    if !screen.is_json() {
        show(screen, &held, &told);
    }
    let lied = told.asked.iter().filter_map(|a| a.trouble.as_ref()).any(|t| t.exit() == Exit::Error);
    Ok(if lied { Exit::Error } else { Exit::Ok })
}

fn ask_ca(cx: &Context, control: &mut Control, held: &[Held], pending: Vec<Pending>) -> Told {
    let unasked = |trouble, pending: Vec<Pending>| Told {
        states: vec![Standing::Unasked; held.len()],
        asked: pending
            .into_iter()
            .map(|mine| Asked { mine, grant: None, new: None, trouble: None })
            .collect(),
        requests: None,
        trouble,
    };
    let config = match cx.config() {
        Ok(config) => config,
        Err(failure) => return unasked(Some(failure), pending),
    };
    let authority = match cx.hasty_authority(&config) {
        Ok(authority) => authority,
        Err(failure) => return unasked(Some(failure), pending),
    };
    let (states, trouble) = standing::ask(&authority, control, held);
    if trouble.is_some() {
        return Told { states, ..unasked(trouble, pending) };
    }
    let mut told = Told { states, ..Told::default() };
    for mine in pending {
        let one = ask_one(&authority, control, mine);
        let away = one.trouble.as_ref().filter(|t| grant::may_pass(t)).cloned();
        told.trouble = told.trouble.or(away);
        told.asked.push(one);
    }
    told.requests = requests(&authority, control);
    told
}

fn ask_one(authority: &Authority<'_>, control: &mut Control, mine: Pending) -> Asked {
    match grant::take_up(authority, control, &mine) {
        Ok((grant, new)) => Asked { mine, grant: Some(grant), new, trouble: None },
        Err(failure) => {
            // Its key reads no longer: it is over, and nothing of it waits.
            if grant::is_over(&failure) {
                let _ = control.forget(mine.emergency);
            }
            Asked { mine, grant: None, new: None, trouble: Some(failure) }
        }
    }
}

/// What waits for this person; only where a session is alive already, since nothing is signed here.
fn requests(authority: &Authority<'_>, control: &mut Control) -> Option<Requests> {
    let session = control.session(authority.person().ok()?, false).ok()?;
    session.until?;
    authority.get(control, "/v1/requests").ok()
}

/// The list as it is now, and those that were dropped because they are closed; `states` in the same order.
fn with_the_closed(now: Vec<Held>, before: Vec<Held>, states: &mut Vec<Standing>) -> Vec<Held> {
    let old: Vec<(Held, Standing)> = before.into_iter().zip(states.drain(..)).collect();
    let of = |id| old.iter().find(|(h, _)| h.emergency == id).map(|(_, s)| s.clone());
    let mut all: Vec<(Held, Standing)> = now
        .into_iter()
        .map(|held| {
            let state = of(held.emergency).unwrap_or(Standing::Unasked);
            (held, state)
        })
        .collect();
    all.extend(old.iter().filter(|(_, state)| state.is_closed()).cloned());
    let (held, found): (Vec<Held>, Vec<Standing>) = all.into_iter().unzip();
    *states = found;
    held
}

fn show_json(cx: &Context, held: &[Held], told: &Told, notes: &[String]) {
    let now = clock::now();
    let requests = told.requests.as_ref();
    cx.screen.json(&Answer {
        schema: SCHEMA,
        held: held
            .iter()
            .zip(&told.states)
            .map(|(held, state)| One {
                held,
                left_s: held.valid_before.saturating_sub(now),
                state: state.state(),
            })
            .collect(),
        waiting: told.asked.iter().filter(|a| a.waits() && a.trouble.is_none()).map(Asked::row).collect(),
        upgraded: told
            .asked
            .iter()
            .filter_map(|a| a.new.as_ref())
            .map(|n| n.held.emergency.to_string())
            .collect(),
        settled: told.asked.iter().filter(|a| a.ended().is_some()).map(Asked::row).collect(),
        requests: requests.iter().flat_map(|r| &r.requests).filter(|r| r.yours).collect(),
        reviews: requests.iter().flat_map(|r| &r.reviews).filter(|r| r.yours).collect(),
        agent: Some(cx.places.agent_socket().display().to_string()),
        notes: notes.to_vec(),
        ca: told.trouble.as_ref().map(ToString::to_string),
    });
}

fn show(screen: Screen, held: &[Held], told: &Told) {
    let now = clock::now();
    for one in &told.asked {
        if let Some(new) = &one.new {
            wait::say_new(screen, new);
        }
        if let Some(settled) = one.ended() {
            screen.headline(&format!("{}  {}", one.mine.emergency, words::settled(settled)));
        }
    }
    for (held, state) in held.iter().zip(&told.states) {
        screen.data(&line(held, state, now));
    }
    for one in told.asked.iter().filter(|a| a.waits()) {
        show_waiting(screen, one, now);
    }
    if let Some(unknown) =
        told.states.iter().position(|s| *s == Standing::Unknown).and_then(|at| held.get(at))
    {
        screen.say(&format!(
            "  the CA does not take the key of {0} any longer: it is over, most likely.   next: fireaxe ls   |   fireaxe close {0}",
            unknown.emergency
        ));
    }
    if told.states.iter().any(Standing::is_closed) {
        screen.say("  what is closed is gone from the agent now");
    }
    if held.is_empty() && !told.asked.iter().any(Asked::waits) {
        screen.say(&format!("nothing is held.   next: {NOTHING}"));
    }
    show_requests(screen, told.requests.as_ref(), now);
    if let Some(trouble) = &told.trouble {
        screen.say(&format!("  the CA was not asked or did not answer: {trouble}"));
        if let Some(next) = trouble.next() {
            screen.say(&format!("  next: {next}"));
        }
        if !held.is_empty() {
            screen.say("  what is held goes on working to its end; hosts check it without the CA");
        }
    }
}

/// One that waits, or of which the CA would not say how it stands.
fn show_waiting(screen: Screen, one: &Asked, now: u64) {
    let id = one.mine.emergency;
    match (&one.grant, &one.trouble) {
        (Some(grant), _) => {
            screen.data(&screen::clean(&format!("{id}  {}  {}", one.mine.reach(), wait::line(grant))));
            if let Some(smaller) = words::smaller_now(&grant.decision) {
                let typed = Typed {
                    target: one.mine.reach().to_owned(),
                    severity: grant.decision.severity,
                    reason: Some("...".to_owned()),
                    ..Typed::default()
                };
                screen.say(&format!("  would be given now: {}", typed.smaller(smaller)));
            }
        }
        (None, Some(trouble)) if !grant::may_pass(trouble) => {
            screen.say(&format!("{id}  {}: {trouble}", one.mine.reach()));
            for reason in trouble.reasons() {
                screen.say(&format!("  {reason}"));
            }
            if let Some(next) = trouble.next() {
                screen.say(&format!("  next: {next}"));
            }
        }
        _ => {
            let tier = one.mine.tier.as_ref().map_or("the claim".to_owned(), |t| format!("tier {t}"));
            let until = words::clock(one.mine.until, now);
            screen.data(&format!("{id}  {}  {tier} waits until {until}", one.mine.reach()));
        }
    }
}

fn show_requests(screen: Screen, requests: Option<&Requests>, now: u64) {
    let Some(requests) = requests else { return };
    for one in requests.requests.iter().filter(|r| r.yours) {
        screen.say(&format!("  waits for you: {}", words::request(one, now)));
    }
    for one in requests.reviews.iter().filter(|r| r.yours) {
        screen.say(&format!("  {}", words::review(one, now)));
    }
}

fn line(held: &Held, state: &Standing, now: u64) -> String {
    let drill = if held.drill { "  (drill)" } else { "" };
    let state = match state {
        Standing::Unasked => String::new(),
        Standing::Unknown => "  unknown to the CA".to_owned(),
        Standing::Known(found) if found.state == "open" => String::new(),
        Standing::Known(found) => {
            format!("  {} by {}", found.state, found.closed_by.as_deref().unwrap_or("its incident"))
        }
    };
    format!(
        "{}  {}  account {} on {}  ends {} ({}){drill}{state}",
        held.emergency,
        words::held(held),
        held.account,
        held.hosts.join(", "),
        words::clock(held.valid_before, now),
        words::left(held.valid_before, now)
    )
}

const SCHEMA: &str = "fireaxe.status/v1";
const NOTHING: &str = "fireaxe open HOST -r \"...\"   |   fireaxe ls";
