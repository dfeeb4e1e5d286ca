//! Waiting in the foreground until people have answered: one line that says for whom, and what came of it.
//! Nothing is lost by leaving: the follower goes on, and `status` takes it up again.

use std::time::Duration;

use fireaxe_protocol::api::{Grant, Settled};

use super::grant::New;
use super::watch::{Seen, Watch};
use super::{Context, follow, grant};
use crate::authority::Authority;
use crate::clock;
use crate::control::client::Control;
use crate::control::{Held, Pending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::places::Places;
use crate::screen::Screen;
use crate::tty::Keys;
use crate::words;

/// How the waiting ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ended {
    /// Nothing waits any more, and this is how it was settled.
    Settled(Settled),
    /// The CA takes its key no longer, or says so itself: it was closed meanwhile.
    Over,
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// What there is at the end.
#[derive(Debug)]
pub(super) struct Waited {
    /// How it ended.
    pub(super) ended: Ended,
    /// The last grant that the CA showed.
    pub(super) grant: Option<Grant>,
    /// What is held of the emergency, the most powerful first.
    pub(super) held: Vec<Held>,
}

impl Waited {
    /// 0 when something is held and nobody said no; 77 when somebody did; else 75.
    pub(super) fn exit(&self) -> Exit {
        match &self.ended {
            Ended::Settled(Settled::Refused { .. }) => Exit::Denied,
            Ended::Over => Exit::Error,
            _ if self.held.is_empty() => Exit::Pending,
            _ => Exit::Ok,
        }
    }

    /// For programs.
    pub(super) fn outcome(&self) -> &'static str {
        match &self.ended {
            Ended::Settled(Settled::Given) => "given",
            Ended::Settled(Settled::Refused { .. }) => "refused",
            Ended::Over => "closed",
            Ended::Settled(Settled::Lapsed) if self.held.is_empty() => "lapsed",
            Ended::Interrupted if self.held.is_empty() => "waiting",
            _ => "meanwhile",
        }
    }
}

/// Holds Ctrl-C back from before a statement is sent until what came back is held; `None` where nobody sits.
pub(super) fn keys(screen: Screen) -> Option<Keys> {
    screen.can_ask().then(Keys::hold).flatten()
}

/// Waits until nothing of `mine` waits any more, and takes up each certificate as it comes. Whatever the CA
/// refuses to show ends it; a CA that is not there does not.
pub(super) fn until_settled(
    cx: &Context,
    authority: &Authority<'_>,
    mine: &Pending,
    keys: Option<&Keys>,
) -> Result<Waited, Failure> {
    let mut watch = Watch::new(mine.emergency);
    if let Some(keys) = keys {
        watch.listen(keys);
    }
    let _here = follow::in_front(&cx.places, mine.emergency);
    let had = held(&cx.places, mine).first().map_or(0, |h| h.power);
    let mut said = false;
    let mut progress = cx.screen.progress();
    let mut last: Option<Grant> = None;
    let ended = loop {
        match watch.next(authority, &cx.places, TICK) {
            Seen::Interrupt => break Ended::Interrupted,
            Seen::Nothing => continue,
            Seen::News => {}
        }
        let mut control = Control::connect(&cx.places)?;
        let grant = match grant::take_up(authority, &mut control, mine) {
            Ok((grant, new)) => {
                if let Some(new) = new {
                    progress.clear();
                    say_new(cx.screen, &new);
                    said = true;
                }
                grant
            }
            Err(failure) if grant::may_pass(&failure) => {
                progress.show(&format!("waiting; {failure}; asking again ..."));
                continue;
            }
            Err(failure) if grant::is_over(&failure) => {
                control.forget(mine.emergency)?;
                break Ended::Over;
            }
            Err(failure) => return Err(failure),
        };
        if grant::waits(&grant).is_none() {
            let settled = grant.settled.clone().unwrap_or(Settled::Given);
            last = Some(grant);
            break Ended::Settled(settled);
        }
        progress.show(&line(&grant));
        last = Some(grant);
    };
    drop(progress);
    let held = held(&cx.places, mine);
    if let (Ended::Settled(Settled::Given), Some(best), false) = (&ended, held.first(), said) {
        // The follower was quicker.
        say_new(cx.screen, &New { held: best.clone(), longer: had >= best.power });
    }
    Ok(Waited { ended, grant: last, held })
}

/// What is held of it, the most powerful first.
fn held(places: &Places, mine: &Pending) -> Vec<Held> {
    let all = Control::connect(places).and_then(|mut control| control.list()).unwrap_or_default();
    all.into_iter().filter(|h| h.emergency == mine.emergency).collect()
}

/// What is waited for, in one line.
pub(super) fn line(grant: &Grant) -> String {
    match (&grant.waiting, &grant.decision.awaits) {
        (Some(waiting), _) => words::waiting(waiting, clock::now()),
        (None, Some(awaits)) => words::awaits(awaits, grant.emergency),
        (None, None) => "nothing waits".to_owned(),
    }
}

/// A certificate that has just come into the agent.
pub(super) fn say_new(screen: Screen, new: &New) {
    if !screen.is_json() {
        screen.headline(&new.in_words(clock::now()));
    }
}

/// The end of the waiting, for people; what to type next is the caller's.
pub(super) fn say_ended(screen: Screen, mine: &Pending, waited: &Waited) {
    if screen.is_json() {
        return;
    }
    let id = mine.emergency;
    match &waited.ended {
        Ended::Settled(Settled::Given) => {}
        Ended::Settled(settled) => screen.headline(&format!("{id}  {}", words::settled(settled))),
        Ended::Over => {
            screen.headline(&format!("{id}  is over: it was closed, or the CA takes its key no longer"))
        }
        Ended::Interrupted => {
            screen.say(&format!(
                "  {id}: the request goes on; what is approved comes into the agent by itself"
            ));
        }
    }
    let now = clock::now();
    match waited.held.first() {
        Some(held) => screen.say(&format!(
            "  still held: {}, account {} on {}, ends {} ({})",
            words::held(held),
            held.account,
            held.reach(),
            words::clock(held.valid_before, now),
            words::left(held.valid_before, now)
        )),
        None => screen.say("  nothing is held"),
    }
    if waited.ended == Ended::Interrupted {
        screen.say("  next: fireaxe status   (takes it up again)");
    }
}

/// How long one look at the events lasts.
const TICK: Duration = Duration::from_secs(1);
