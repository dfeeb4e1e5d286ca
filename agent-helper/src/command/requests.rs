//! What waits for people: the list behind `approve` and `review` without a number.

use fireaxe_protocol::api::{OwedReview, RequestCard, Requests, WaitingRequest};
use fireaxe_protocol::names::EmergencyId;
use serde::Serialize;

use super::Context;
use crate::authority::Authority;
use crate::clock;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::screen;
use crate::words;

/// All of it.
pub(super) fn fetch(authority: &Authority<'_>, control: &mut Control) -> Result<Requests, Failure> {
    authority.get(control, "/v1/requests")
}

/// One, with its entries.
pub(super) fn card(
    authority: &Authority<'_>,
    control: &mut Control,
    emergency: EmergencyId,
) -> Result<RequestCard, Failure> {
    authority.get(control, &format!("/v1/emergencies/{emergency}/request"))
}

/// Prints what waits for approval; what is the reader's comes first.
pub(super) fn show_waiting(cx: &Context, all: &Requests) -> Exit {
    let mut requests: Vec<&WaitingRequest> = all.requests.iter().collect();
    requests.sort_by_key(|one| !one.yours);
    show_json(cx, &requests, &[]);
    if !cx.screen.is_json() {
        if !requests.iter().any(|one| one.yours) {
            cx.screen.say("nothing waits for you");
        }
        let now = clock::now();
        for one in requests {
            cx.screen.data(&screen::clean(&words::request(one, now)));
        }
    }
    Exit::Ok
}

/// Prints the reviews that are owed; what is the reader's comes first.
pub(super) fn show_reviews(cx: &Context, all: &Requests) -> Exit {
    let mut reviews: Vec<&OwedReview> = all.reviews.iter().collect();
    reviews.sort_by_key(|one| !one.yours);
    show_json(cx, &[], &reviews);
    if !cx.screen.is_json() {
        if !reviews.iter().any(|one| one.yours) {
            cx.screen.say("no review is yours to make");
        }
        let now = clock::now();
        for one in reviews {
            cx.screen.data(&screen::clean(&words::review(one, now)));
        }
    }
    Exit::Ok
}

fn show_json(cx: &Context, requests: &[&WaitingRequest], reviews: &[&OwedReview]) {
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        requests: &'a [&'a WaitingRequest],
        reviews: &'a [&'a OwedReview],
    }
    cx.screen.json(&Answer { schema: "fireaxe.requests/v1", requests, reviews });
}
