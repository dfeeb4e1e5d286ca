//! `second`: another person on call signs the claim too. From then on they count as a requester.

use fireaxe_protocol::api::Seconded;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::{Kind, Second, Statement};
use serde::Serialize;

use super::{Context, approve, requests};
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::request;

pub(super) fn run(cx: &Context, emergency: EmergencyId) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let card = requests::card(&authority, &mut control, emergency)?;
    let shown = request::read(&card, emergency, &authority.known()?.origin)?;
    if shown.decision.awaits.is_none() {
        return Err(Failure::NothingWaits { emergency, state: "no second signature".to_owned() });
    }
    approve::show(cx, &card, &shown);
    let header = authority.header(Kind::Second)?;
    let statement = Statement::Second(Second { header, of: shown.of, emergency });
    let envelope = authority.sign(&authority.signer()?, &statement)?;
    let seconded: Seconded = authority.state(emergency, "seconds", &envelope)?;
    if seconded.emergency != emergency {
        return Err(Failure::Answer("it is about another emergency"));
    }
    #[derive(Serialize)]
    struct Answer {
        schema: &'static str,
        emergency: EmergencyId,
        entry: u64,
    }
    cx.screen.json(&Answer { schema: "fireaxe.second/v1", emergency, entry: seconded.entry });
    if !cx.screen.is_json() {
        cx.screen.headline(&format!(
            "{emergency}  you claim it too (entry {} of the log), together with {}",
            seconded.entry, shown.facts.person
        ));
        cx.screen.say("  you count as a requester now: you can neither approve nor review it");
    }
    Ok(Exit::Ok)
}
