//! `match`: what ssh asks before each connection. No network, no configuration, one short question to
//! the agent. Silent unless asked for a hint and somebody is there to read it.

use std::io::IsTerminal;

use fireaxe_protocol::names::{AccountName, HostName};

use serde::Serialize;

use super::Context;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;

pub(super) fn run(cx: &Context, host: &str, account: AccountName, hint: bool) -> Result<Exit, Failure> {
    // ssh passes whatever was typed; a name that is none of ours is simply no match.
    let Ok(host) = host.parse::<HostName>() else { return Ok(Exit::Error) };
    let (yes, reached) = match Control::connect(&cx.places) {
        Ok(mut control) => control.matches(host.clone(), account).unwrap_or((false, false)),
        Err(_) => (false, false),
    };
    if !reached && hint && !cx.screen.is_json() && std::io::stderr().is_terminal() {
        cx.screen.say(&format!(
            "fireaxe: nothing held reaches {host}; going on with plain ssh.   next: fireaxe open {host} -r \"...\"   |   fireaxe why {host}"
        ));
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        host: &'a HostName,
        matched: bool,
        reached: bool,
    }
    cx.screen.json(&Answer { schema: "fireaxe.match/v1", host: &host, matched: yes, reached });
    Ok(if yes { Exit::Ok } else { Exit::Error })
}
