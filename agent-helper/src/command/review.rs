//! `review`: somebody who took no part looks back at an emergency that is over, and signs what they found.

use fireaxe_protocol::api::{Emergency, Reviewed};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::statement::{self, Kind, Statement, Verdict};
use serde::Serialize;

use super::{Context, ls, requests, standing};
use crate::cli::Review;
use crate::clock;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;

pub(super) fn run(cx: &Context, what: Review) -> Result<Exit, Failure> {
    let found = match (what.emergency, what.verdict, what.reason) {
        (None, None, None) => None,
        (Some(emergency), Some(verdict), Some(reason)) => Some((emergency, verdict, reason)),
        (emergency, ..) => return Err(incomplete(emergency)),
    };
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let Some((emergency, verdict, reason)) = found else {
        let all = requests::fetch(&authority, &mut control)?;
        return Ok(requests::show_reviews(cx, &all));
    };
    let about: Emergency = authority.get(&mut control, &standing::path(emergency))?;
    if about.emergency != emergency {
        return Err(Failure::Answer("it is about another emergency"));
    }
    if !cx.screen.is_json() {
        cx.screen.say(&format!("  {}", ls::line(&about, clock::now())));
    }
    let reviewed: Reviewed = {
        let (header, of) = (authority.header(Kind::Review)?, about.declaration);
        let statement = Statement::Review(statement::Review { header, of, emergency, verdict, reason });
        let envelope = authority.sign(&authority.signer()?, &statement)?;
        authority.state(emergency, "review", &envelope)?
    };
    if reviewed.emergency != emergency {
        return Err(Failure::Answer("it is about another emergency"));
    }
    #[derive(Serialize)]
    struct Answer {
        schema: &'static str,
        emergency: EmergencyId,
        verdict: Verdict,
        entry: u64,
    }
    cx.screen.json(&Answer { schema: "fireaxe.review/v1", emergency, verdict, entry: reviewed.entry });
    if !cx.screen.is_json() {
        cx.screen.headline(&format!("{emergency}  reviewed (entry {} of the log)", reviewed.entry));
    }
    Ok(Exit::Ok)
}

fn incomplete(emergency: Option<EmergencyId>) -> Failure {
    let id = emergency.map_or("EM-...".to_owned(), |id| id.to_string());
    Failure::Usage {
        message: "a review is an emergency, a verdict and a reason; alone, `review` lists what is owed"
            .to_owned(),
        next: format!("fireaxe review {id} --verdict justified|follow-up|unjustified -r \"...\""),
    }
}
