//! Signals: what the log says of a request beside its words. Each is a fact with one definition, computed
//! before the decision from the log alone, recorded with it, and free for rules to use.
//!
//! What cannot be told (too little history) is `None` and counts as the tighter value: a rule that asks for
//! the signal applies. An anomaly is raised only for what is known. `docs/SIGNALS.md` has a case for each.

use serde::{Deserialize, Serialize};

use super::Facts;
use crate::reason::Reason;

/// The signals of a request, as facts. How each is computed: `ca/src/state/history.rs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signals {
    /// The hour of day is not one at which this person has declared before, give or take two.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unusual_hour: Option<bool>,
    /// This person has never declared from this network.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_network: Option<bool>,
    /// This key has signed nothing in the log before, and another of this person's has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_key: Option<bool>,
    /// This person has never declared for this system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unusual_system: Option<bool>,
    /// The incident's severity was made worse within the last ten minutes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub severity_raised: Option<bool>,
    /// The last certificates of this person, at least three in a row, were never used, as they said
    /// themselves when they closed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub never_used: Option<bool>,
    /// Emergencies this person declared within the hour before.
    #[serde(skip_serializing_if = "is_none_yet", default)]
    pub declared_1h: u32,
    /// Requests of this person within the hour before that woke somebody.
    #[serde(skip_serializing_if = "is_none_yet", default)]
    pub asked_1h: u32,
}

fn is_none_yet(n: &u32) -> bool {
    *n == 0
}

impl Signals {
    /// Nothing out of the ordinary, and known to be so.
    pub fn ordinary() -> Signals {
        let known = Some(false);
        Signals {
            unusual_hour: known,
            new_network: known,
            new_key: known,
            unusual_system: known,
            severity_raised: known,
            never_used: known,
            declared_1h: 0,
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
    /// At least [`RATE`] declarations within the hour before.
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

/// Declarations within an hour that make [`Signal::Rate`].
pub const RATE: u32 = 4;
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
            format!("{person} has not declared around {:02} h UTC before", facts.at % 86_400 / 3600)
        }
        Signal::NewNetwork => match &facts.network {
            Some(network) => format!("{person} has not declared from {network} before"),
            None => format!("{person} has not declared from this network before"),
        },
        Signal::NewKey => format!("this key of {person} has signed nothing here before"),
        Signal::UnusualSystem => format!("{person} has not opened {} before", facts.target.system),
        Signal::Rate => format!(
            "{person} declared {} other emergencies within the hour before",
            facts.signals.declared_1h
        ),
        Signal::SeverityRaised => match &facts.incident {
            Some(incident) => format!("the severity of {} was raised just before", incident.id),
            None => "the severity was raised just before".to_owned(),
        },
        Signal::NeverUsed => format!("{person} did not use the certificates they were given last"),
        Signal::SamePair | Signal::FastApproval => String::new(),
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
