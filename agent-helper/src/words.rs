//! Decisions, terms and times in words: the few lines an engineer reads at night. No I/O.

use fireaxe_protocol::api::Opened;
use fireaxe_protocol::names::{IncidentId, Severity, TierName};
use fireaxe_protocol::policy::{Decision, Extension, Outcome, Pattern, Presence, Record, Smaller, Terms};
use fireaxe_protocol::reason::Reason;

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

/// What was typed after `open`, to be typed again with a change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    pub(crate) target: String,
    pub(crate) severity: Option<Severity>,
    pub(crate) incident: Option<IncidentId>,
    pub(crate) reason: Option<String>,
    pub(crate) want: Option<TierName>,
    pub(crate) for_s: Option<u32>,
    pub(crate) drill: bool,
}

impl Typed {
    /// The whole command that asks for `smaller` instead.
    pub(crate) fn smaller(&self, smaller: &Smaller) -> String {
        let mut other = self.clone();
        other.severity = smaller.severity.or(other.severity);
        other.want = smaller.want.clone().or(other.want);
        // The largest request may be larger than the time that was asked for; never smaller than given.
        other.for_s = other.for_s.filter(|for_s| *for_s <= smaller.terms.lifetime_s);
        other.command()
    }

    /// What to type when the policy refuses this: the smaller request; else the same without the one
    /// thing that was wrong; else a question that declares nothing.
    pub(crate) fn after_refusal(&self, reasons: &[Reason], smaller: Option<&Smaller>) -> String {
        if let Some(smaller) = smaller {
            return self.smaller(smaller);
        }
        let mut other = self.clone();
        if !reasons.is_empty() && reasons.iter().all(|r| r.code.starts_with("lifetime.")) {
            other.for_s = None;
            return other.command();
        }
        let worse = self.severity.and_then(|s| Severity::try_from(u8::from(s).saturating_sub(1)).ok());
        match worse.filter(|_| reasons.iter().any(|r| r.code == "risk.denied")) {
            Some(worse) => {
                other.severity = Some(worse);
                format!("{}   (what it gives if it is worse than you said)", other.question())
            }
            None => format!("{}   (how the policy gets there)", other.question()),
        }
    }

    /// What to type when the CA knows no such target and `near` is a name or pattern like it.
    pub(crate) fn corrected(&self, near: &str) -> Option<String> {
        let target = if near.contains('*') { fill(near, &self.target)? } else { near.to_owned() };
        Some(Typed { target, ..self.clone() }.command())
    }

    fn question(&self) -> String {
        let whole = Typed { reason: None, drill: false, ..self.clone() }.command();
        whole.replacen("fireaxe open", "fireaxe explain", 1)
    }

    /// The whole command, quoted for a shell.
    pub(crate) fn command(&self) -> String {
        let mut out = format!("fireaxe open {}", quote(&self.target));
        if let Some(severity) = self.severity {
            out.push_str(&format!(" -s {severity}"));
        }
        if let Some(incident) = &self.incident {
            out.push_str(&format!(" --incident {incident}"));
        }
        if let Some(want) = &self.want {
            out.push_str(&format!(" --want {want}"));
        }
        if let Some(for_s) = self.for_s {
            out.push_str(&format!(" --for {}", written(for_s)));
        }
        if self.drill {
            out.push_str(" --drill");
        }
        if let Some(reason) = &self.reason {
            out.push_str(&format!(" -r {}", quote(reason)));
        }
        out
    }
}

/// A host of the pattern `near`, as like `typed` as can be: each label that fits is kept, each that the
/// pattern spells out is put right.
fn fill(near: &str, typed: &str) -> Option<String> {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (near.split('.').collect(), typed.split('.').collect());
    if wanted.len() != found.len() {
        return None;
    }
    let right = wanted.iter().zip(found).map(|(pattern, label)| {
        if !pattern.contains('*') {
            return Some((*pattern).to_owned());
        }
        // A host name has at least two labels.
        let (pattern, host) = (format!("{pattern}.x"), format!("{label}.x"));
        let fits = pattern.parse::<Pattern>().ok()?.matches(&host.parse().ok()?);
        fits.then(|| label.to_owned())
    });
    right.collect::<Option<Vec<String>>>().map(|labels| labels.join("."))
}

/// A lifetime as it is typed.
fn written(seconds: u32) -> String {
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
    if !word.is_empty() && word.bytes().all(plain) {
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
    fn the_smaller_request_is_a_whole_command_that_a_shell_reads_back() {
        let typed = Typed {
            target: "db-3.payments.prod".into(),
            severity: Some(1.try_into().unwrap()),
            reason: Some("it's $(down)".into()),
            ..Typed::default()
        };
        let smaller = Smaller {
            severity: Some(2.try_into().unwrap()),
            want: Some("look".parse().unwrap()),
            terms: some_terms("look", 1),
        };
        let command = typed.smaller(&smaller);
        assert_eq!(command, r"fireaxe open db-3.payments.prod -s 2 --want look -r 'it'\''s $(down)'");
        let echoed = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s|' {}", command.trim_start_matches("fireaxe open "))])
            .output()
            .unwrap();
        let echoed = String::from_utf8(echoed.stdout).unwrap();
        assert_eq!(echoed, "db-3.payments.prod|-s|2|--want|look|-r|it's $(down)|");
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
    fn no_refusal_is_answered_with_the_same_command_again() {
        let typed = Typed {
            target: "payments-db".into(),
            severity: Some(4.try_into().unwrap()),
            reason: Some("x".into()),
            for_s: Some(28_800),
            ..Typed::default()
        };
        assert_eq!(typed.command(), "fireaxe open payments-db -s 4 --for 8h -r x");
        let why = |code: &str| vec![Reason::new(code, "so")];
        assert_eq!(
            typed.after_refusal(&why("lifetime.above_tier"), None),
            "fireaxe open payments-db -s 4 -r x"
        );
        assert!(
            typed
                .after_refusal(&why("risk.denied"), None)
                .starts_with("fireaxe explain payments-db -s 3 --for 8h   (")
        );
        assert!(
            typed.after_refusal(&why("rule.denied"), None).starts_with("fireaxe explain payments-db -s 4")
        );
    }

    #[test]
    fn a_mistyped_host_is_put_right_as_its_pattern_says() {
        let corrected =
            |typed: &str, near: &str| Typed { target: typed.into(), ..Typed::default() }.corrected(near);
        let found = |host: &str| Some(format!("fireaxe open {host}"));
        assert_eq!(corrected("db-9.payment.prod", "db-*.payments.prod"), found("db-9.payments.prod"));
        assert_eq!(corrected("payment-db", "payments-db"), found("payments-db"));
        assert_eq!(corrected("dv-9.payment.prod", "db-*.payments.prod"), None);
        assert_eq!(corrected("db-9.prod", "db-*.payments.prod"), None);
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
