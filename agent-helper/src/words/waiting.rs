//! What waits, in one line: who was asked, who has said yes, what is missing, who is asked next.

use fireaxe_protocol::api::{OwedReview, Settled, Waiting, WaitingRequest};
use fireaxe_protocol::names::{EmergencyId, GroupName};
use fireaxe_protocol::policy::{Approvals, Awaits};

use super::{clock, some_of};

/// `tier root waits for 1 of payments-leads; asked: ben, cleo; approved by dora; next asked: managers at 02:20
/// UTC; lapses 02:46 UTC`
pub(crate) fn waiting(waiting: &Waiting, now: u64) -> String {
    let mut parts = vec![format!("tier {} waits for {}", waiting.tier, missing(&waiting.missing))];
    let mut asked: Vec<String> =
        waiting.called.iter().flat_map(|c| &c.people).map(ToString::to_string).collect();
    let mut seen = Vec::new();
    asked.retain(|name| {
        !seen.contains(name) && {
            seen.push(name.clone());
            true
        }
    });
    parts.push(match asked.is_empty() {
        true => "nobody asked yet".to_owned(),
        false => format!("asked: {}", some_of(&asked)),
    });
    if !waiting.approved_by.is_empty() {
        let names: Vec<String> = waiting.approved_by.iter().map(ToString::to_string).collect();
        parts.push(format!("approved by {}", some_of(&names)));
    }
    if let Some(next) = &waiting.next {
        parts.push(format!("next asked: {} at {}", groups(&next.groups, "and"), clock(next.at, now)));
    }
    parts.push(format!("lapses {}", clock(waiting.until, now)));
    parts.join("; ")
}

/// `1 of payments-leads, and 2 of security or managers`
pub(crate) fn missing(missing: &[Approvals]) -> String {
    if missing.is_empty() {
        return "nobody any more".to_owned();
    }
    let each = missing.iter().map(|a| format!("{} of {}", a.count, groups(&a.from, "or")));
    each.collect::<Vec<_>>().join(", and ")
}

fn groups(groups: &[GroupName], word: &str) -> String {
    groups.iter().map(GroupName::as_str).collect::<Vec<_>>().join(&format!(" {word} "))
}

/// `severity 1 counts once another person of payments-oncall types   fireaxe second EM-3`
pub(crate) fn awaits(awaits: &Awaits, emergency: EmergencyId) -> String {
    let who = match awaits.more {
        0 | 1 => format!("another person of {} types", awaits.from),
        more => format!("{more} other people of {} type", awaits.from),
    };
    format!("severity {} counts once {who}   fireaxe second {emergency}", awaits.severity)
}

/// `EM-9  ana  db-3.payments.prod  tier root, asked 02:16 UTC, lapses 02:46 UTC   fireaxe approve EM-9`
pub(crate) fn request(one: &WaitingRequest, now: u64) -> String {
    let target = one.host.as_ref().map_or(one.system.as_str(), |host| host.as_str());
    let (what, verb) = match one.waits_for.as_str() {
        "second" => ("the claim".to_owned(), "second"),
        _ => (one.tier.as_ref().map_or("a tier".to_owned(), |t| format!("tier {t}")), "approve"),
    };
    let (asked, until) = (clock(one.at, now), clock(one.until, now));
    let yours = if one.yours { format!("   fireaxe {verb} {}", one.emergency) } else { String::new() };
    format!("{}  {}  {target}  {what}, asked {asked}, lapses {until}{yours}", one.emergency, one.person)
}

/// `review of EM-7 is overdue since 02:00 UTC: ana, payments-db   fireaxe review EM-7 ...`
pub(crate) fn review(one: &OwedReview, now: u64) -> String {
    let due = match one.overdue {
        true => format!("is overdue since {}", clock(one.due, now)),
        false => format!("is due by {}", clock(one.due, now)),
    };
    let yours = match one.yours {
        true => format!(
            "   fireaxe review {} --verdict justified|follow-up|unjustified -r \"...\"",
            one.emergency
        ),
        false => String::new(),
    };
    format!("review of {} {due}: {}, {}{yours}", one.emergency, one.person, one.system)
}

/// `refused by ben: use the replica`
pub(crate) fn settled(settled: &Settled) -> String {
    match settled {
        Settled::Given => "approved".to_owned(),
        Settled::Refused { by, reason } => format!("refused by {by}: {reason}"),
        Settled::Lapsed => "lapsed: nobody answered in time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::api::{Called, NextRung};

    #[test]
    fn the_line_says_who_was_asked_who_approved_what_is_missing_and_who_is_next() {
        let now = 1_800_000_000;
        let group = |name: &str| name.parse::<GroupName>().unwrap();
        let called = |people: &[&str]| Called {
            at: now,
            groups: vec![group("leads")],
            people: people.iter().map(|p| p.parse().unwrap()).collect(),
        };
        let mut waits = Waiting {
            of: fireaxe_protocol::log::Hash([1; 32]),
            tier: "root".parse().unwrap(),
            missing: vec![
                Approvals { count: 1, from: vec![group("leads")] },
                Approvals { count: 2, from: vec![group("managers"), group("security")] },
            ],
            approved_by: vec!["dora".parse().unwrap()],
            called: vec![called(&["ben", "cleo"]), called(&["ben", "eve"])],
            next: Some(NextRung { at: now + 240, groups: vec![group("managers"), group("owners")] }),
            until: now + 1800,
        };
        assert_eq!(
            waiting(&waits, now),
            "tier root waits for 1 of leads, and 2 of managers or security; asked: ben, cleo, eve; approved by dora; next asked: managers and owners at 08:04 UTC; lapses 08:30 UTC"
        );
        waits.called.clear();
        waits.approved_by.clear();
        waits.next = None;
        waits.missing.clear();
        assert_eq!(
            waiting(&waits, now),
            "tier root waits for nobody any more; nobody asked yet; lapses 08:30 UTC"
        );
    }

    #[test]
    fn a_claim_says_what_the_other_person_types() {
        let mut claim =
            Awaits { severity: 1.try_into().unwrap(), more: 1, from: "payments-oncall".parse().unwrap() };
        let em = EmergencyId(3);
        assert_eq!(
            awaits(&claim, em),
            "severity 1 counts once another person of payments-oncall types   fireaxe second EM-3"
        );
        claim.more = 2;
        assert!(awaits(&claim, em).contains("2 other people of payments-oncall type   fireaxe second EM-3"));
    }
}
