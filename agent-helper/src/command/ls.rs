//! `ls`: the emergencies this person may read, newest first.

use fireaxe_protocol::api::{Emergencies, Emergency};
use serde::Serialize;

use super::Context;
use crate::clock;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen;
use crate::words;

pub(super) fn run(cx: &Context) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let found: Emergencies = authority.get(&mut control, "/v1/emergencies")?;
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        emergencies: &'a [Emergency],
    }
    cx.screen.json(&Answer { schema: "fireaxe.emergencies/v1", emergencies: &found.emergencies });
    if !cx.screen.is_json() {
        if found.emergencies.is_empty() {
            cx.screen.say("no emergency yet");
        }
        let now = clock::now();
        for one in &found.emergencies {
            cx.screen.data(&screen::clean(&line(one, now)));
        }
    }
    Ok(Exit::Ok)
}

fn line(one: &Emergency, now: u64) -> String {
    let target = one.host.as_ref().map_or(one.system.as_str(), |host| host.as_str());
    let tier = one.tier.as_ref().map_or("waiting".to_owned(), |tier| format!("tier {tier}"));
    let end = match (&one.closed_by, one.closed_at) {
        (Some(by), Some(at)) => format!("closed {} by {by}", words::clock(at, now)),
        _ => {
            format!("{} until {} ({})", one.state, words::clock(one.until, now), words::left(one.until, now))
        }
    };
    let incident = one.incident.as_ref().map(|id| format!("  {id}")).unwrap_or_default();
    let drill = if one.drill { "  (drill)" } else { "" };
    format!(
        "{}  {}  {target}  severity {}  {tier}  {end}{incident}{drill}  {}",
        one.emergency, one.person, one.severity, one.reason
    )
}
