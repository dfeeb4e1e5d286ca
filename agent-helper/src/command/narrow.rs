//! `narrow`: a process beside the agent that asks the CA for a certificate for one host, and starting it. The
//! agent holds keys and never talks to the network; this one talks to the CA and gets no more from the agent than
//! the proof of one request. What it hands back the agent checks again.
//!
//! It says nothing: whoever waits is an ssh, and the wide certificate goes on working without it.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fireaxe_protocol::api::Narrowed;
use fireaxe_protocol::names::{EmergencyId, HostName};

use super::{Context, grant};
use crate::agent::service::Came;
use crate::authority::{Agreed, Authority};
use crate::clock::Deadline;
use crate::control::client::Control;
use crate::control::{Narrow, NewNarrowed, Pending};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::places::Places;

pub(super) fn run(cx: &Context, emergency: EmergencyId, host: &HostName) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.hasty_authority(&config)?;
    let mut control = Control::connect(&cx.places)?;
    let origin = authority.known()?.origin.clone();
    let narrow = Narrow { emergency, origin, host: host.clone() };
    let mut held = control.narrowing(&narrow)?;
    let answer = authority.narrowed(&mut control, &narrow)?;
    if answer.of != held.of || !answer.terms.are_narrowed_from(&held.terms, host) {
        // Most likely the CA has given something since that the agent does not hold yet.
        let mine = control.list()?.into_iter().find(|one| one.emergency == emergency);
        let waits = control.pending()?.into_iter().find(|one| one.emergency == emergency);
        if let Some(mine) = waits.or_else(|| mine.as_ref().map(Pending::of)) {
            grant::take_up(&authority, &mut control, &mine)?;
            held = control.narrowing(&narrow)?;
        }
    }
    check(&authority, &narrow, &held, &answer)?;
    let Narrowed { certificate, terms, .. } = answer;
    control.narrow(&narrow, NewNarrowed { certificate, terms })?;
    // An ssh waits for the end of this: what the log showed is looked at by the next verb.
    authority.look_back_later();
    Ok(Exit::Ok)
}

/// That it is of this emergency and host, of what is held, exactly its terms, and in the log.
fn check(
    authority: &Authority<'_>,
    narrow: &Narrow,
    held: &crate::control::Narrowing,
    answer: &Narrowed,
) -> Result<(), Failure> {
    if answer.emergency != narrow.emergency || answer.host != narrow.host {
        return Err(Failure::Answer("it is for another emergency or host"));
    }
    if answer.of != held.of || !answer.terms.are_narrowed_from(&held.terms, &narrow.host) {
        return Err(Failure::Answer("its terms are not what is held, for that host"));
    }
    let agreed = Agreed {
        emergency: narrow.emergency,
        of: held.of,
        terms: &answer.terms,
        certificate: &answer.certificate,
        public_key: held.public_key,
        within: Some(held.within),
    };
    authority.check(&agreed).map(drop)
}

/// Starts one process for each, and waits for all of them; whoever is not done by then is ended.
pub(super) fn ask(places: &Places, wanted: &[Narrow], patience: Duration) -> Vec<Came> {
    let deadline = Deadline::after(patience);
    let started: Vec<_> = wanted.iter().map(|narrow| start(places, narrow)).collect();
    started.into_iter().map(|one| one.map_or(Came::None, |(child, end)| came(child, end, deadline))).collect()
}

/// The process, and a stream that ends when it does.
fn start(places: &Places, narrow: &Narrow) -> Option<(Child, UnixStream)> {
    let (mine, its) = UnixStream::pair().ok()?;
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.args(["narrow", &narrow.emergency.to_string(), "--", narrow.host.as_str()]);
    if let Ok(config) = std::path::absolute(&places.config) {
        command.env("FIREAXE_CONFIG", config);
    }
    command.stdin(Stdio::null()).stdout(OwnedFd::from(its)).stderr(Stdio::null());
    let child = command.spawn().ok()?;
    Some((child, mine))
}

fn came(mut child: Child, mut end: UnixStream, deadline: Deadline) -> Came {
    let left = deadline.left().max(Duration::from_millis(1));
    // It writes nothing: this is its end, or the end of the patience.
    let ended = end.set_read_timeout(Some(left)).is_ok() && matches!(end.read(&mut [0]), Ok(0));
    if !ended {
        let _ = child.kill();
    }
    match child.wait().ok().and_then(|status| status.code()) {
        Some(0) => Came::Held,
        Some(code) if code != Exit::Unavailable as i32 => Came::None,
        _ => Came::Away,
    }
}
