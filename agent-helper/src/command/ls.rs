//! `ls`: the emergencies this person may read, newest first.

use fireaxe_protocol::api::{Emergencies, Emergency, ReviewState};
use fireaxe_protocol::names::PersonName;
use fireaxe_protocol::statement::Verdict;
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

/// One emergency in one line.
pub(super) fn line(one: &Emergency, now: u64) -> String {
    let target = one.host.as_ref().map_or(one.system.as_str(), |host| host.as_str());
    let tier = match (&one.tier, &one.waiting) {
        (Some(tier), Some(waits)) => format!("tier {tier}, {waits} waits"),
        (Some(tier), None) => format!("tier {tier}"),
        (None, Some(waits)) => format!("tier {waits} waits"),
        (None, None) => "waiting".to_owned(),
    };
    let end = match (&one.closed_by, one.closed_at) {
        (Some(by), Some(at)) => format!("closed {} by {by}", words::clock(at, now)),
        _ => {
            format!("{} until {} ({})", one.state, words::clock(one.until, now), words::left(one.until, now))
        }
    };
    let incident = one.incident.as_ref().map(|id| format!("  {id}")).unwrap_or_default();
    let drill = if one.drill { "  (drill)" } else { "" };
    format!(
        "{}  {}  {target}  severity {}  {tier}  {end}{}{incident}{drill}  {}",
        one.emergency,
        one.person,
        one.severity,
        people(one, now),
        one.reason
    )
}

/// Who else took part, what hosts said of it, how often it was extended, and how its review stands.
fn people(one: &Emergency, now: u64) -> String {
    let mut out = String::new();
    let names = |all: &[PersonName]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !one.seconds.is_empty() {
        out.push_str(&format!("  claimed with {}", names(&one.seconds)));
    }
    if !one.approved_by.is_empty() {
        out.push_str(&format!("  approved by {}", names(&one.approved_by)));
    }
    if one.extensions > 0 {
        out.push_str(&format!("  extended {}x", one.extensions));
    }
    if let Some(connections) = &one.connections {
        if connections.live > 0 {
            out.push_str(&format!("  {} connection(s) live", connections.live));
        }
        if connections.unusual > 0 {
            out.push_str(&format!("  {} UNUSUAL of {} connection(s)", connections.unusual, connections.all));
        }
    }
    if let Some(confirmed) = &one.confirmed {
        out.push_str(&format!("  end confirmed on {} of {} hosts", confirmed.by, confirmed.hosts));
    }
    match &one.review {
        Some(ReviewState { by: Some(by), verdict, .. }) => {
            let found = verdict.map_or("", |v| match v {
                Verdict::Justified => ": justified",
                Verdict::FollowUp => ": follow-up",
                Verdict::Unjustified => ": unjustified",
            });
            out.push_str(&format!("  reviewed by {by}{found}"));
        }
        Some(ReviewState { due, overdue: true, .. }) => {
            out.push_str(&format!("  REVIEW OVERDUE since {}", words::clock(*due, now)));
        }
        Some(ReviewState { due, .. }) => out.push_str(&format!("  review due {}", words::clock(*due, now))),
        None => {}
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Emergency {
        serde_json::from_value(serde_json::json!({
            "emergency": "EM-42", "state": "open", "declaration": "00".repeat(32), "person": "ana",
            "system": "payments-db", "severity": 1, "reason": "primary refuses writes", "drill": false,
            "declared_at": 1, "until": 1_800_002_700, "serials": []
        }))
        .unwrap()
    }

    #[test]
    fn a_line_says_what_waits_who_took_part_and_how_the_review_stands() {
        let now = 1_800_000_000;
        let tier = |name: &str| Some(name.parse().unwrap());
        let mut em = one();
        assert!(
            line(&em, now).contains("  waiting  open until 08:45 UTC (45 min)  primary"),
            "{}",
            line(&em, now)
        );
        em.waiting = tier("root");
        assert!(line(&em, now).contains("  tier root waits  "), "{}", line(&em, now));
        em.tier = tier("look");
        em.seconds = vec!["dora".parse().unwrap()];
        em.approved_by = vec!["ben".parse().unwrap(), "cleo".parse().unwrap()];
        em.extensions = 2;
        em.review = Some(ReviewState { due: now - 60, overdue: true, by: None, verdict: None });
        assert_eq!(
            line(&em, now),
            "EM-42  ana  payments-db  severity 1  tier look, root waits  open until 08:45 UTC (45 min)  claimed with dora  approved by ben, cleo  extended 2x  REVIEW OVERDUE since 07:59 UTC  primary refuses writes"
        );
        em.review = Some(ReviewState { due: now + 60, overdue: false, by: None, verdict: None });
        assert!(line(&em, now).contains("  review due 08:01 UTC  "));
        let (by, verdict) = (Some("eve".parse().unwrap()), Some(Verdict::FollowUp));
        em.review = Some(ReviewState { due: now, overdue: false, by, verdict });
        assert!(line(&em, now).contains("  reviewed by eve: follow-up  "));
    }
}
