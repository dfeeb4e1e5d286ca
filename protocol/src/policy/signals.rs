//! Signals: what the log says of a request beside its words. Each is a fact with one definition, computed
//! before the decision from the log alone, recorded with it, and free for rules to use.
//!
//! *Granted* is what was given in full, at once or by approval. Only that teaches what is usual of a person: a
//! request that was refused or never approved must not make the next one look familiar.
//!
//! What cannot be told (too little history) is `None` and counts as the tighter value: a rule that asks for
//! the signal applies. An anomaly is raised only for what is known. Said for people in
//! `docs/SIGNALS.md`; a case for each in `ca/src/state/history/cases.rs` of the CA.

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::reason::Reason;

/// The signals of a request, as facts. How each is computed: `ca/src/state/history/`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signals {
    /// The hour of day (UTC) is more than [`NEAR_H`] from all at which this person declared what was granted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unusual_hour: Option<bool>,
    /// Nothing that this person declared from this network was granted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_network: Option<bool>,
    /// Nothing that this key signed was granted, and something that another of this person's signed was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_key: Option<bool>,
    /// Nothing that this person declared for this system was granted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unusual_system: Option<bool>,
    /// The incident's severity was made worse within the last [`RAISED_WITHIN_S`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity_raised: Option<bool>,
    /// The last [`UNUSED`] emergencies of this person that they closed themselves went unused, as they said
    /// themselves when they closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub never_used: Option<bool>,
    /// Declarations of this person within [`RATE_WITHIN_S`] before, the refused ones too.
    #[serde(skip_serializing_if = "is_none_yet", default)]
    pub declared_1h: u32,
    /// Requests of this person within [`RATE_WITHIN_S`] before that waited for approval: each woke somebody.
    #[serde(skip_serializing_if = "is_none_yet", default)]
    pub asked_1h: u32,
}

fn is_none_yet(n: &u32) -> bool {
    *n == 0
}

impl Signals {
    /// Nothing out of the ordinary, and known to be so.
    pub fn ordinary() -> Signals {
        Signals::holding(&[])
    }

    /// Those given hold; all others are known not to.
    pub fn holding(signals: &[Signal]) -> Signals {
        let holds = |signal| Some(signals.contains(&signal));
        Signals {
            unusual_hour: holds(Signal::UnusualHour),
            new_network: holds(Signal::NewNetwork),
            new_key: holds(Signal::NewKey),
            unusual_system: holds(Signal::UnusualSystem),
            severity_raised: holds(Signal::SeverityRaised),
            never_used: holds(Signal::NeverUsed),
            declared_1h: if signals.contains(&Signal::Rate) { RATE } else { 0 },
            asked_1h: 0,
        }
    }

    /// Whether nothing is to be said.
    pub fn is_silent(&self) -> bool {
        *self == Signals::default()
    }
}

/// The name of a signal, as rules spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// Not on call for the system.
    OffCall,
    /// See [`Signals::unusual_hour`].
    UnusualHour,
    /// See [`Signals::new_network`].
    NewNetwork,
    /// See [`Signals::new_key`].
    NewKey,
    /// See [`Signals::unusual_system`].
    UnusualSystem,
    /// At least [`RATE`] other declarations within the hour before.
    Rate,
    /// See [`Signals::severity_raised`].
    SeverityRaised,
    /// The last [`PAIR`] approved requests of this person were approved by the same one. Known only at an
    /// approval: rules cannot use it.
    SamePair,
    /// Approved sooner than the card can be read ([`READ_S`]). Known only at an approval.
    FastApproval,
    /// See [`Signals::never_used`].
    NeverUsed,
}

/// Declarations within an hour that make [`Signal::Rate`] of the next one.
pub const RATE: u32 = 4;
/// What "within the hour before" is, in seconds.
pub const RATE_WITHIN_S: u64 = 3600;
/// How long an incident counts as raised just before, in seconds: about what it takes to raise it and declare.
pub const RAISED_WITHIN_S: u64 = 600;
/// Earlier declarations that were granted, below which nobody can tell what is usual for a person.
pub const MIN_HISTORY: u32 = 5;
/// Hours of day apart that are still the usual ones: a shift drifts by about that.
pub const NEAR_H: u32 = 2;
/// Closings in a row that make [`Signal::NeverUsed`]: once or twice a colleague was faster.
pub const UNUSED: usize = 3;
/// Approved requests in a row by one approver that make [`Signal::SamePair`].
pub const PAIR: u32 = 3;
/// A card that was shown for less, in seconds, was not read.
pub const READ_S: u32 = 3;

impl Signal {
    /// Those that rules may use, in order.
    pub const IN_RULES: [Signal; 8] = [
        Signal::OffCall,
        Signal::UnusualHour,
        Signal::NewNetwork,
        Signal::NewKey,
        Signal::UnusualSystem,
        Signal::Rate,
        Signal::SeverityRaised,
        Signal::NeverUsed,
    ];

    /// Its name, as rules and entries spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::OffCall => "off-call",
            Signal::UnusualHour => "unusual-hour",
            Signal::NewNetwork => "new-network",
            Signal::NewKey => "new-key",
            Signal::UnusualSystem => "unusual-system",
            Signal::Rate => "rate",
            Signal::SeverityRaised => "severity-raised",
            Signal::SamePair => "same-pair",
            Signal::FastApproval => "fast-approval",
            Signal::NeverUsed => "never-used",
        }
    }

    /// Whether it holds of a request; `None` when nobody can tell. The two that belong to an approval never
    /// hold of a request.
    pub fn holds(self, facts: &Facts) -> Option<bool> {
        let signals = &facts.signals;
        match self {
            Signal::OffCall => facts.on_call.map(|on_call| !on_call),
            Signal::UnusualHour => signals.unusual_hour,
            Signal::NewNetwork => signals.new_network,
            Signal::NewKey => signals.new_key,
            Signal::UnusualSystem => signals.unusual_system,
            Signal::Rate => Some(signals.declared_1h >= RATE),
            Signal::SeverityRaised => signals.severity_raised,
            Signal::NeverUsed => signals.never_used,
            Signal::SamePair | Signal::FastApproval => Some(false),
        }
    }
}

/// Every signal that is known to hold of a request, with its one sentence; code `signal.<name>`.
pub fn raised(facts: &Facts) -> Vec<Reason> {
    let holding = Signal::IN_RULES.into_iter().filter(|signal| signal.holds(facts) == Some(true));
    holding
        .map(|signal| Reason::new(&format!("signal.{}", signal.as_str()), sentence(signal, facts)))
        .collect()
}

fn sentence(signal: Signal, facts: &Facts) -> String {
    let person = &facts.person;
    match signal {
        Signal::OffCall => format!("{person} is not on call for {}", facts.target.system),
        Signal::UnusualHour => {
            let hour = facts.at % 86_400 / 3600;
            format!("nothing that {person} declared around {hour:02} h UTC was granted before")
        }
        Signal::NewNetwork => match &facts.network {
            Some(network) => format!("nothing that {person} declared from {network} was granted before"),
            None => format!("nothing that {person} declared from this network was granted before"),
        },
        Signal::NewKey => format!("nothing that this key of {person} signed was granted before"),
        Signal::UnusualSystem => {
            format!("nothing that {person} declared for {} was granted before", facts.target.system)
        }
        Signal::Rate => {
            format!("{person} declared {} times within the hour before", facts.signals.declared_1h)
        }
        Signal::SeverityRaised => match &facts.incident {
            Some(incident) => {
                format!("the severity of {} was raised within the last ten minutes", incident.id)
            }
            None => "the severity was raised within the last ten minutes".to_owned(),
        },
        Signal::NeverUsed => {
            format!("{person} says they used none of the last {UNUSED} emergencies they closed")
        }
        // What an approval shows has its facts and its sentence in `raised_by_approval`.
        Signal::SamePair | Signal::FastApproval => signal.as_str().to_owned(),
    }
}

/// What is unusual about an approval: the same approver for the last `in_a_row` approved requests of this
/// person, this one among them; the card was shown for `shown_s`, and the request was `age_s` old.
pub fn raised_by_approval(
    approver: &crate::names::PersonName,
    requester: &crate::names::PersonName,
    in_a_row: u32,
    shown_s: u32,
    age_s: u64,
) -> Vec<Reason> {
    let mut out = Vec::new();
    if in_a_row >= PAIR {
        let sentence = format!("{approver} approved the last {in_a_row} approved requests of {requester}");
        out.push(Reason::new("signal.same-pair", sentence));
    }
    if shown_s < READ_S || age_s < READ_S.into() {
        let seen = u64::from(shown_s).min(age_s);
        let sentence = format!("{approver} approved after {seen} s: sooner than the card can be read");
        out.push(Reason::new("signal.fast-approval", sentence));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{IncidentFact, IncidentState, Presence, Target};
    use super::*;

    /// A request at 03:20 UTC of which nothing is unusual, and everything known.
    fn usual() -> Facts {
        Facts {
            at: 86_400 * 20_000 + 3 * 3600 + 1200,
            person: "ana".parse().unwrap(),
            groups: Vec::new(),
            presence: Presence::None,
            target: Target { system: "payments-db".parse().unwrap(), host: None },
            severity: None,
            incident: Some(IncidentFact {
                id: "pd:A".parse().unwrap(),
                state: Some(IncidentState::Open),
                severity: Some(1.try_into().unwrap()),
                systems: vec!["payments-db".parse().unwrap()],
                age_s: 60,
            }),
            on_call: Some(true),
            other_host_open: false,
            open_incidents: Vec::new(),
            want: None,
            for_s: None,
            drill: false,
            seconds: Vec::new(),
            extension: 0,
            network: Some("192.0.2.0/24".parse().unwrap()),
            reviews_overdue: 0,
            signals: Signals {
                unusual_hour: Some(false),
                new_network: Some(false),
                new_key: Some(false),
                unusual_system: Some(false),
                severity_raised: Some(false),
                never_used: Some(false),
                declared_1h: RATE - 1,
                asked_1h: 200,
            },
        }
    }

    /// Makes one signal of a usual request hold, fail, or be unknown.
    type Set = fn(&mut Facts, Option<bool>);

    /// Every signal that rules may use and a request can be made to show, with its sentence.
    const EACH: [(Signal, Set, &str); 7] = [
        (Signal::OffCall, |f, v| f.on_call = v.map(|v| !v), "ana is not on call for payments-db"),
        (
            Signal::UnusualHour,
            |f, v| f.signals.unusual_hour = v,
            "nothing that ana declared around 03 h UTC was granted before",
        ),
        (
            Signal::NewNetwork,
            |f, v| f.signals.new_network = v,
            "nothing that ana declared from 192.0.2.0/24 was granted before",
        ),
        (
            Signal::NewKey,
            |f, v| f.signals.new_key = v,
            "nothing that this key of ana signed was granted before",
        ),
        (
            Signal::UnusualSystem,
            |f, v| f.signals.unusual_system = v,
            "nothing that ana declared for payments-db was granted before",
        ),
        (
            Signal::SeverityRaised,
            |f, v| f.signals.severity_raised = v,
            "the severity of pd:A was raised within the last ten minutes",
        ),
        (
            Signal::NeverUsed,
            |f, v| f.signals.never_used = v,
            "ana says they used none of the last 3 emergencies they closed",
        ),
    ];

    #[test]
    fn each_signal_that_is_known_to_hold_is_raised_alone_with_its_one_sentence() {
        assert_eq!(raised(&usual()), [], "nothing is unusual");
        for (signal, set, sentence) in EACH {
            let mut facts = usual();
            set(&mut facts, Some(true));
            let code = format!("signal.{}", signal.as_str());
            assert_eq!(raised(&facts), [Reason::new(&code, sentence)]);
            assert_eq!(signal.holds(&facts), Some(true), "{code}");
            for other in Signal::IN_RULES.into_iter().filter(|other| *other != signal) {
                assert_eq!(other.holds(&facts), Some(false), "{code} is not {}", other.as_str());
            }
        }
    }

    #[test]
    fn what_nobody_can_tell_is_neither_true_nor_false_and_raises_nothing() {
        for (signal, set, _) in EACH {
            let mut facts = usual();
            set(&mut facts, None);
            assert_eq!(signal.holds(&facts), None, "{}", signal.as_str());
            assert_eq!(raised(&facts), [], "{}", signal.as_str());
        }
    }

    #[test]
    fn the_rate_is_raised_at_its_edge() {
        let mut facts = usual();
        assert_eq!(Signal::Rate.holds(&facts), Some(false));
        facts.signals.declared_1h = RATE;
        assert_eq!(Signal::Rate.holds(&facts), Some(true));
        let sentence = "ana declared 4 times within the hour before";
        assert_eq!(raised(&facts), [Reason::new("signal.rate", sentence)]);
    }

    #[test]
    fn several_stand_in_the_order_of_the_signals() {
        let mut facts = usual();
        for (_, set, _) in EACH.iter().rev() {
            set(&mut facts, Some(true));
        }
        facts.signals.declared_1h = RATE;
        let codes: Vec<String> = raised(&facts).into_iter().map(|reason| reason.code).collect();
        assert_eq!(codes, Signal::IN_RULES.map(|signal| format!("signal.{}", signal.as_str())));
        assert!(Signal::IN_RULES.is_sorted());
    }

    #[test]
    fn the_name_of_a_signal_is_what_an_entry_spells() {
        let approvals = [Signal::SamePair, Signal::FastApproval];
        for signal in Signal::IN_RULES.into_iter().chain(approvals) {
            assert_eq!(serde_json::to_string(&signal).unwrap(), format!("\"{}\"", signal.as_str()));
        }
        for signal in approvals {
            assert_eq!(signal.holds(&usual()), Some(false), "an approval's, never a request's");
        }
    }

    #[test]
    fn an_approval_is_unusual_by_its_pair_and_by_its_speed_at_their_edges() {
        let (ben, ana) = ("ben".parse().unwrap(), "ana".parse().unwrap());
        let codes = |in_a_row, shown_s, age_s| -> Vec<String> {
            let raised = raised_by_approval(&ben, &ana, in_a_row, shown_s, age_s);
            raised.into_iter().map(|reason| reason.code).collect()
        };
        assert_eq!(codes(PAIR - 1, READ_S, READ_S.into()), [""; 0]);
        assert_eq!(codes(PAIR, READ_S, READ_S.into()), ["signal.same-pair"]);
        assert_eq!(codes(1, READ_S - 1, 600), ["signal.fast-approval"]);
        // The approver's clock may say anything; the request's age is the log's own.
        assert_eq!(codes(1, 600, u64::from(READ_S) - 1), ["signal.fast-approval"]);
        let both = raised_by_approval(&ben, &ana, PAIR, 1, 40);
        let sentences: Vec<&str> = both.iter().map(|reason| reason.sentence.as_str()).collect();
        assert_eq!(
            sentences,
            [
                "ben approved the last 3 approved requests of ana",
                "ben approved after 1 s: sooner than the card can be read"
            ]
        );
    }

    #[test]
    fn silent_signals_leave_no_trace_in_an_entry() {
        let silent = serde_json::to_string(&Signals::default()).unwrap();
        assert_eq!(silent, "{}");
        assert!(Signals::default().is_silent());
        let told = Signals { new_key: Some(false), ..Signals::default() };
        assert!(!told.is_silent(), "known not to hold is something to be said");
        assert_eq!(serde_json::to_string(&told).unwrap(), r#"{"new_key":false}"#);
    }
}
