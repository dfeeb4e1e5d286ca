//! Decisions, terms and times in words: the few lines an engineer reads at night. No I/O.

mod request;
mod typed;
mod waiting;

use fireaxe_protocol::api::Opened;
use fireaxe_protocol::names::IncidentId;
use fireaxe_protocol::policy::{Decision, Extension, Outcome, Presence, Record, Smaller, Terms};
use fireaxe_protocol::reason::Reason;

use crate::control::Held;

pub(crate) use request::card;
pub(crate) use typed::Typed;
pub(crate) use waiting::{awaits, missing, request, review, settled, waiting};

/// What the first line of a card says.
pub(crate) struct Subject<'a> {
    /// `EM-42`, or nothing when nothing was declared.
    pub(crate) head: String,
    /// The system, or what was typed.
    pub(crate) what: &'a str,
    pub(crate) one_host: bool,
    pub(crate) incident: Option<&'a (IncidentId, u64)>,
    pub(crate) decision: &'a Decision,
}

impl<'a> Subject<'a> {
    /// Of an opened emergency.
    pub(crate) fn of(opened: &'a Opened) -> Subject<'a> {
        Subject {
            head: format!("{}  ", opened.emergency),
            what: opened.system.as_str(),
            one_host: opened.host.is_some(),
            incident: opened.incident.as_ref(),
            decision: &opened.decision,
        }
    }
}

/// `EM-42  payments-db, one host (sensitivity 4 x blast 2: medium), severity 1 from pd:PGR0VU2 (2 min
/// old)  ->  tier root`
pub(crate) fn headline(subject: &Subject<'_>) -> String {
    let decision = subject.decision;
    let scope = if subject.one_host { "one host" } else { "the whole system" };
    let severity = match (decision.severity, subject.incident) {
        (Some(s), Some((id, age))) if !is_claimed(decision) => {
            format!("severity {s} from {id} ({} old)", span(*age))
        }
        (Some(s), _) => format!("severity {s}, claimed"),
        (None, _) => "no severity".to_owned(),
    };
    format!(
        "{}{}, {scope} (sensitivity {} x blast {}: {}), {severity}  ->  {}",
        subject.head,
        subject.what,
        decision.sensitivity,
        decision.blast,
        decision.band,
        outcome(decision)
    )
}

/// Whether the person's own word gave the severity: an incident may be named and count for nothing.
pub(crate) fn is_claimed(decision: &Decision) -> bool {
    decision.because.iter().any(|reason| reason.code == "severity.claimed")
}

/// What a person should know although the request is granted: an incident they named does not count.
pub(crate) fn warnings(decision: &Decision) -> impl Iterator<Item = &Reason> {
    decision.because.iter().filter(|reason| reason.code.starts_with("incident."))
}

/// The largest request that would be granted now while this one waits; nothing when it is held meanwhile
/// anyhow.
pub(crate) fn smaller_now(decision: &Decision) -> Option<&Smaller> {
    match &decision.outcome {
        Outcome::NeedsApproval { smaller: Some(smaller), meanwhile, .. }
            if meanwhile.as_ref() != Some(&smaller.terms) =>
        {
            Some(smaller)
        }
        _ => None,
    }
}

/// The first few of a list, and how many more there are.
pub(crate) fn some_of(all: &[String]) -> String {
    match all {
        [a, b, c, d, rest @ ..] if !rest.is_empty() => format!("{a}, {b}, {c}, {d} and {} more", rest.len()),
        _ => all.join(", "),
    }
}

fn outcome(decision: &Decision) -> String {
    match &decision.outcome {
        Outcome::Permit(terms) => tier(terms),
        Outcome::NeedsApproval { full, meanwhile: Some(now), .. } => {
            format!("{} now; {} waits for {}", tier(now), tier(full), approvals(full))
        }
        Outcome::NeedsApproval { full, meanwhile: None, .. } => {
            format!("{} waits for {}", tier(full), approvals(full))
        }
        Outcome::Refuse { .. } => "refused".to_owned(),
    }
}

/// `tier root`, or `action restart-payments (tier ops)`.
pub(crate) fn held(held: &Held) -> String {
    match &held.action {
        Some(action) => format!("action {action} (tier {})", held.tier),
        None => format!("tier {}", held.tier),
    }
}

fn tier(terms: &Terms) -> String {
    match &terms.action {
        Some(action) => format!("action {action} (tier {})", terms.tier),
        None => format!("tier {}", terms.tier),
    }
}

fn approvals(terms: &Terms) -> String {
    let each = terms.approvals.iter().map(|a| {
        let from = a.from.iter().map(|g| g.as_str()).collect::<Vec<_>>().join(" or ");
        format!("{} of {from}", a.count)
    });
    let all = each.collect::<Vec<_>>().join(", and ");
    if all.is_empty() { "approval".to_owned() } else { format!("approval by {all}") }
}

/// `account root on db-3.payments.prod, with a terminal, 45 min, recorded; owner: team payments`
pub(crate) fn terms(terms: &Terms, hosts: &[String], owner: Option<&str>) -> String {
    let mut parts = vec![format!("account {} on {}", terms.account, hosts_in_words(hosts))];
    match &terms.force_command {
        Some(command) => parts.push(format!("only the command {command}")),
        None => parts.push("any command".to_owned()),
    }
    let has = |e| terms.extensions.contains(&e);
    parts.push(if has(Extension::Pty) { "with a terminal" } else { "no terminal" }.to_owned());
    if has(Extension::PortForwarding) {
        parts.push("with port forwarding".to_owned());
    }
    if !terms.source_address.is_empty() {
        let from = terms.source_address.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        parts.push(format!("from {from} only"));
    }
    parts.push(span(terms.lifetime_s.into()));
    parts.push(
        match terms.record {
            Record::None => "not recorded",
            Record::BestEffort => "recorded if possible",
            Record::Required => "recorded",
        }
        .to_owned(),
    );
    match terms.presence {
        Presence::None => {}
        Presence::Touch => parts.push("needs a touch of your key".to_owned()),
        Presence::Verified => parts.push("needs your key's PIN or fingerprint".to_owned()),
    }
    let told = owner.map(|owner| format!("; owner: team {owner}")).unwrap_or_default();
    parts.join(", ") + &told
}

fn hosts_in_words(hosts: &[String]) -> String {
    match hosts {
        [] => "no host".to_owned(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}

/// `45 s`, `12 min`, `2 h`, `2 h 5 min`, `3 days`.
pub(crate) fn span(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, m) => format!("{m} min"),
        (48.., _) => format!("{} days", hours / 24),
        (h, 0) => format!("{h} h"),
        (h, m) => format!("{h} h {m} min"),
    }
}

/// What is left of something that ends: minutes rounded down, so that nobody counts on more.
pub(crate) fn left(until: u64, now: u64) -> String {
    if until <= now { "over".to_owned() } else { span(until - now) }
}

/// `03:01 UTC`, and with the date when it is not within a day of `now`.
pub(crate) fn clock(at: u64, now: u64) -> String {
    let seconds = i64::try_from(at).unwrap_or(i64::MAX);
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(t) if at.abs_diff(now) < 86_400 => format!("{:02}:{:02} UTC", t.hour(), t.minute()),
        Ok(t) => format!("{} {:02}:{:02} UTC", t.date(), t.hour(), t.minute()),
        Err(_) => "never".to_owned(),
    }
}

/// A lifetime as it is typed.
pub(crate) fn written(seconds: u32) -> String {
    match seconds {
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// Quotes one word for a POSIX shell, if it needs it.
pub(crate) fn quote(word: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'+' | b'@');
    let inside = |b: u8| plain(b) || b == b'=';
    if word.bytes().next().is_some_and(plain) && word.bytes().all(inside) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `90s`, `30m`, `2h`: a lifetime. Its limits are the certificate's.
pub(crate) fn parse_span(text: &str) -> Result<u32, String> {
    use fireaxe_protocol::limits::{LIFETIME_MAX_S, LIFETIME_MIN_S};
    let wrong = || "a number and s, m or h, e.g. 30m".to_owned();
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let factor: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = digits.parse::<u64>().map_err(|_| wrong())?.saturating_mul(factor);
    match u32::try_from(seconds) {
        Ok(s) if (LIFETIME_MIN_S..=LIFETIME_MAX_S).contains(&seconds) => Ok(s),
        _ => Err(format!("between {} and {}", span(LIFETIME_MIN_S), span(LIFETIME_MAX_S))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keyring::tests::terms as some_terms;

    fn decision(outcome: Outcome) -> Decision {
        Decision {
            outcome,
            severity: Some(1.try_into().unwrap()),
            trigger: None,
            sensitivity: 4,
            blast: 2,
            band: "medium".into(),
            cell: None,
            awaits: None,
            because: Vec::new(),
        }
    }

    #[test]
    fn the_card_says_what_where_how_bad_and_what_is_given() {
        let mut given = some_terms("root", 3);
        given.lifetime_s = 2700;
        given.extensions = vec![Extension::Pty];
        given.record = Record::Required;
        let decision = decision(Outcome::Permit(given.clone()));
        let subject = Subject {
            head: "EM-42  ".into(),
            what: "payments-db",
            one_host: true,
            incident: Some(&("pd:PGR0VU2".parse().unwrap(), 120)),
            decision: &decision,
        };
        assert_eq!(
            headline(&subject),
            "EM-42  payments-db, one host (sensitivity 4 x blast 2: medium), severity 1 from pd:PGR0VU2 (2 min old)  ->  tier root"
        );
        assert_eq!(
            terms(&given, &["db-3.payments.prod".into()], Some("payments")),
            "account root on db-3.payments.prod, any command, with a terminal, 45 min, recorded; owner: team payments"
        );
    }

    #[test]
    fn an_incident_that_does_not_count_is_not_said_to_give_the_severity() {
        let mut decision = decision(Outcome::Permit(some_terms("root", 3)));
        decision.because = vec![
            Reason::new("incident.unknown", "pd:X does not count"),
            Reason::new("severity.claimed", "severity 1 by your own claim"),
        ];
        let incident = ("pd:X".parse().unwrap(), 0);
        let subject = Subject {
            head: String::new(),
            what: "payments-db",
            one_host: false,
            incident: Some(&incident),
            decision: &decision,
        };
        assert!(headline(&subject).contains("severity 1, claimed"));
        assert_eq!(warnings(&decision).count(), 1);
    }

    #[test]
    fn spans_are_read_within_their_limits() {
        assert_eq!(parse_span("60s"), Ok(60));
        assert_eq!(parse_span("30m"), Ok(1800));
        assert_eq!(parse_span("8h"), Ok(28_800));
        for wrong in
            ["", "59s", "9h", "481m", "30", "m", "-5m", "1.5h", "30 m", "99999999999999999999h", "3ü"]
        {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_shown_as_a_person_reads_them() {
        assert_eq!((span(59), span(2700), span(7500)), ("59 s".into(), "45 min".into(), "2 h 5 min".into()));
        assert_eq!(clock(1_800_000_000, 1_800_000_000), "08:00 UTC");
        assert_eq!(clock(1_800_000_000, 1_700_000_000), "2027-01-15 08:00 UTC");
        assert_eq!((left(100, 100), left(100, 41)), ("over".into(), "59 s".into()));
    }
}
