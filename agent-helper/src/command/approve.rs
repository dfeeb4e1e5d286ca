//! `approve` and `refuse`: one screen, then yes or no. What is shown stands in the entry, whose leaf is
//! computed here from its bytes; that leaf is what is signed.

use fireaxe_protocol::api::{Approved, RequestCard, RequestRefused};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Approvals;
use fireaxe_protocol::statement::{self, Kind, Statement};
use serde::Serialize;

use super::{Context, requests};
use crate::authority::Authority;
use crate::cli::{Approve, Refuse};
use crate::clock::{self, Since};
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::request::{self, Shown};
use crate::words;

pub(super) fn run(cx: &Context, what: Approve) -> Result<Exit, Failure> {
    let may_ask = what.yes || cx.screen.can_ask();
    if let (Some(emergency), false) = (what.emergency, may_ask) {
        return Err(unasked(emergency));
    }
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let emergency = match what.emergency {
        Some(emergency) => emergency,
        None => {
            let all = requests::fetch(&authority, &mut control)?;
            let mine = all.requests.iter().filter(|r| r.yours && r.waits_for == "approval");
            match mine.map(|r| r.emergency).collect::<Vec<_>>().as_slice() {
                [one] if may_ask => *one,
                _ => return Ok(requests::show_waiting(cx, &all)),
            }
        }
    };
    let (card, shown) = look(&authority, &mut control, emergency)?;
    let since = Since::now();
    show(cx, &card, &shown);
    if let Some(reason) = card.may_not {
        return Err(Failure::NotYours(reason));
    }
    if !what.yes {
        let answer = cx.screen.ask("approve? [y/N] ").unwrap_or_default();
        if !matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes") {
            cx.screen.say(&format!(
                "  not approved; nothing was signed.   next: fireaxe refuse {emergency} -r \"...\"   (they are told, and wait no longer)"
            ));
            return Ok(Exit::Error);
        }
    }
    let shown_s = since.seconds();
    let header = authority.header(Kind::Approve)?;
    let of = shown.of;
    let statement =
        Statement::Approve(statement::Approve { header, of, emergency, shown_s, reason: what.reason });
    let envelope = authority.sign(&authority.signer()?, &statement)?;
    let approved: Approved = authority.state(emergency, "approvals", &envelope)?;
    if approved.emergency != emergency || approved.of != of {
        return Err(Failure::Answer("it is about another request than the one that was approved"));
    }
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        emergency: EmergencyId,
        of: fireaxe_protocol::log::Hash,
        shown_s: u32,
        entry: u64,
        missing: &'a [Approvals],
    }
    let missing = &approved.missing;
    cx.screen.json(&Answer {
        schema: "fireaxe.approve/v1",
        emergency,
        of,
        shown_s,
        entry: approved.entry,
        missing,
    });
    if !cx.screen.is_json() {
        let then = match missing.is_empty() {
            true => format!("{} has it now", shown.facts.person),
            false => format!("still missing: {}", words::missing(missing)),
        };
        cx.screen.headline(&format!("{emergency}  approved (entry {} of the log); {then}", approved.entry));
    }
    Ok(Exit::Ok)
}

pub(super) fn refuse(cx: &Context, what: Refuse) -> Result<Exit, Failure> {
    let emergency = what.emergency;
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let (card, shown) = look(&authority, &mut control, emergency)?;
    show(cx, &card, &shown);
    if let Some(reason) = card.may_not {
        return Err(Failure::NotYours(reason));
    }
    let header = authority.header(Kind::Refuse)?;
    let of = shown.of;
    let statement = Statement::Refuse(statement::Refuse { header, of, emergency, reason: what.reason });
    let envelope = authority.sign(&authority.signer()?, &statement)?;
    let refused: RequestRefused = authority.state(emergency, "refusals", &envelope)?;
    if refused.emergency != emergency || refused.of != of {
        return Err(Failure::Answer("it is about another request than the one that was refused"));
    }
    #[derive(Serialize)]
    struct Answer {
        schema: &'static str,
        emergency: EmergencyId,
        of: fireaxe_protocol::log::Hash,
        entry: u64,
    }
    cx.screen.json(&Answer { schema: "fireaxe.refuse/v1", emergency, of, entry: refused.entry });
    if !cx.screen.is_json() {
        let keeps = match shown.decision.terms_now() {
            Some(terms) => format!("{} keeps tier {}", shown.facts.person, terms.tier),
            None => format!("{} is told", shown.facts.person),
        };
        cx.screen.headline(&format!("{emergency}  refused (entry {} of the log); {keeps}", refused.entry));
    }
    Ok(Exit::Ok)
}

/// The request that waits, read from its own bytes.
fn look(
    authority: &Authority<'_>,
    control: &mut Control,
    emergency: EmergencyId,
) -> Result<(RequestCard, Shown), Failure> {
    let card = requests::card(authority, control, emergency)?;
    let shown = request::read(&card, emergency, &authority.known()?.origin)?;
    if card.state != "waiting" || shown.decision.terms_waiting().is_none() {
        let state = match shown.decision.awaits {
            Some(_) => format!("it waits for a second signature (fireaxe second {emergency})"),
            None => match card.state.as_str() {
                "none" => "nothing ever did".to_owned(),
                "given" => "it is approved already".to_owned(),
                _ => card.state,
            },
        };
        return Err(Failure::NothingWaits { emergency, state });
    }
    Ok((card, shown))
}

/// The card, on one screen.
pub(super) fn show(cx: &Context, card: &RequestCard, shown: &Shown) {
    if cx.screen.is_json() {
        return;
    }
    let lines = words::card(card, shown, clock::now());
    if let Some((first, rest)) = lines.split_first() {
        cx.screen.headline(first);
        rest.iter().for_each(|line| cx.screen.say(&format!("  {line}")));
    }
}

fn unasked(emergency: EmergencyId) -> Failure {
    Failure::Usage {
        message: "an approval is given on a terminal, or with --yes by whoever has read the request"
            .to_owned(),
        next: format!("fireaxe approve {emergency} --yes"),
    }
}
