//! `why HOST`: what would happen to `ssh HOST` now, and what to type.

use fireaxe_protocol::api::{ExplainRequest, Explained};
use fireaxe_protocol::names::{HostName, TargetName};
use fireaxe_protocol::statement::Params;
use serde::Serialize;

use super::{Context, explain, ssh_config};
use crate::clock;
use crate::control::Held;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::words::{self, Typed};

pub(super) fn run(cx: &Context, host: &HostName) -> Result<Exit, Failure> {
    let held = match Control::connect(&cx.places) {
        Ok(mut control) => control.list()?,
        Err(_) => Vec::new(),
    };
    if let Some(best) = held.iter().find(|h| h.reaches(host)) {
        return Ok(show_held(cx, host, best));
    }
    if !cx.screen.is_json() {
        let others: Vec<String> = held.iter().map(|h| format!("{} on {}", h.emergency, h.reach())).collect();
        let held = match others.len() {
            0 => "nothing is held".to_owned(),
            _ => format!("what is held ({}) does not reach it", words::some_of(&others)),
        };
        cx.screen.headline(&format!("{host}: ssh would not use a certificate; {held}"));
    }
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let target: TargetName = host.as_str().parse().map_err(Failure::NotValid)?;
    let request = ExplainRequest {
        target,
        severity: None,
        incident: None,
        want: None,
        action: None,
        params: Params::default(),
        for_s: None,
    };
    let typed = Typed { target: host.to_string(), reason: Some("...".to_owned()), ..Typed::default() };
    let explained: Explained = authority
        .post(&mut control, "/v1/policy/explain", &request)
        .map_err(|failure| failure.with_target_corrected(&typed))?;
    Ok(explain::show(cx.screen, "fireaxe.why/v1", &typed, &explained))
}

fn show_held(cx: &Context, host: &HostName, best: &Held) -> Exit {
    let now = clock::now();
    let installed = ssh_config::is_installed(&cx.places);
    let next = match installed {
        true => format!("ssh {host}"),
        false => format!(
            "ssh -o IdentityAgent={} {}@{host}",
            words::quote(&cx.places.agent_socket().display().to_string()),
            best.account
        ),
    };
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        host: &'a HostName,
        held: &'a Held,
        ssh_config: bool,
        next: &'a str,
    }
    cx.screen.json(&Answer {
        schema: "fireaxe.why/v1",
        host,
        held: best,
        ssh_config: installed,
        next: &next,
    });
    if !cx.screen.is_json() {
        cx.screen.headline(&format!(
            "{host}: ssh would log in as {} with {} (tier {}), which ends {} ({})",
            best.account,
            best.emergency,
            best.tier,
            words::clock(best.valid_before, now),
            words::left(best.valid_before, now)
        ));
        if !installed {
            cx.screen.say("  plain `ssh` does not know that yet:   fireaxe ssh-config > ~/.ssh/fireaxe.conf   and `Include fireaxe.conf` first in ~/.ssh/config");
        }
        cx.screen.say("  if it is refused all the same: revoked, or the host's daemon is away, or its revocation list is old; whoever runs it: journalctl -t fireaxe-host");
        cx.screen.say(&format!("  next: {next}   |   fireaxe close {}", best.emergency));
    }
    Exit::Ok
}
