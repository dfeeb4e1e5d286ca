//! `policy explain`: what a bundle would decide, and how it gets there: each step with its line and its sum.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fireaxe_protocol::names::{ActionName, IncidentId, PersonName, Severity, TargetName, TierName};
use fireaxe_protocol::policy::{
    Decision, Facts, IncidentFact, IncidentState, Outcome, Person, Policy, Presence, Signal, Signals, Target,
    Unknown, Want, decide,
};

use super::super::bundle_files::BundleFiles;
use super::super::{Failed, print};
use crate::clock::{Clock, SystemClock};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Folder with policy.toml and roster.toml
    bundle: PathBuf,
    /// A system or a host
    target: TargetName,
    /// What an action is filled with
    #[arg(value_name = "NAME=VALUE", value_parser = param, requires = "action")]
    params: Vec<(String, String)>,
    /// Who asks
    #[arg(long)]
    person: PersonName,
    /// The severity they claim, 1 (worst) to 4
    #[arg(long, short, value_parser = severity)]
    severity: Option<Severity>,
    /// An incident of that id, open, one minute old, of severity --incident-severity
    #[arg(long)]
    incident: Option<IncidentId>,
    /// Its severity
    #[arg(long, value_parser = severity, default_value = "1")]
    incident_severity: Severity,
    /// A smaller tier
    #[arg(long, conflicts_with = "action")]
    want: Option<TierName>,
    /// One action instead of a tier, with its parameters behind the target
    #[arg(long)]
    action: Option<ActionName>,
    /// Whether they are on call for the system; without it: as their groups say
    #[arg(long)]
    on_call: Option<OnCall>,
    /// Another host of the system is open already
    #[arg(long)]
    host_open: bool,
    /// As extension N of an emergency, instead of a declaration
    #[arg(long, value_name = "N", default_value_t = 0)]
    extension: u8,
    /// A signal that holds; all others do not
    #[arg(long = "signal", value_name = "NAME", value_parser = signal)]
    signals: Vec<Signal>,
    /// Print the decision as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnCall {
    Yes,
    No,
    Unknown,
}

fn severity(text: &str) -> Result<Severity, String> {
    let number: u8 = text.parse().map_err(|_| "a severity is 1 (worst) to 4".to_owned())?;
    Severity::try_from(number).map_err(|e| e.to_string())
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a name, '=' and a value are expected")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn signal(text: &str) -> Result<Signal, String> {
    let named = Signal::IN_RULES.into_iter().find(|signal| signal.as_str() == text);
    named.ok_or_else(|| {
        let names: Vec<&str> = Signal::IN_RULES.iter().map(|signal| signal.as_str()).collect();
        format!("known: {}", names.join(", "))
    })
}

impl Explain {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let bundle = BundleFiles::read(&self.bundle)?.bundle;
        let person = bundle
            .roster
            .person(&self.person)
            .ok_or_else(|| format!("the roster of this bundle has no {}", self.person));
        let target = bundle.policy.resolve(&self.target).map_err(|unknown| not_found(&unknown));
        let (person, target) = match (person, target) {
            (Ok(person), Ok(target)) => (person, target),
            // All that is wrong, at once.
            (person, target) => {
                let lines: Vec<String> = person.err().into_iter().chain(target.err()).collect();
                let hint = format!(
                    "fireaxe-ca policy check {}   (lists the systems; people are in roster.toml)",
                    self.bundle.display()
                );
                return Err(Failed { code: 1, lines, hint: Some(hint) });
            }
        };
        let facts = self.facts(&bundle.policy, person, target);
        let decision = decide(&bundle.policy, &facts);
        if self.json {
            print(format_args!(
                "{}\n",
                serde_json::json!({"schema": "fireaxe.decision/v1", "facts": facts, "decision": decision})
            ))
        } else {
            print(in_words(&decision))
        }
    }

    fn facts(&self, policy: &Policy, person: &Person, target: Target) -> Facts {
        let system = policy.system(&target.system);
        let on_call = match self.on_call {
            Some(OnCall::Yes) => Some(true),
            Some(OnCall::No) => Some(false),
            Some(OnCall::Unknown) => None,
            None if self.signals.contains(&Signal::OffCall) => Some(false),
            None => system.map(|system| person.groups.contains(&system.on_call.value)),
        };
        let hardware = person.keys.iter().any(fireaxe_protocol::statement::EnrolledKey::is_hardware);
        let mut params = self.params.clone();
        params.sort();
        Facts {
            at: SystemClock.now().wall_s,
            person: self.person.clone(),
            groups: person.groups.clone(),
            presence: if hardware { Presence::Verified } else { Presence::None },
            severity: self.severity,
            incident: self.incident.clone().map(|id| IncidentFact {
                id,
                state: Some(IncidentState::Open),
                severity: Some(self.incident_severity),
                systems: vec![target.system.clone()],
                age_s: 60,
            }),
            on_call,
            target,
            other_host_open: self.host_open,
            open_incidents: Vec::new(),
            want: match &self.action {
                Some(action) => Some(Want::Action(action.clone(), params)),
                None => self.want.clone().map(Want::Tier),
            },
            for_s: None,
            drill: false,
            seconds: Vec::new(),
            extension: self.extension,
            network: None,
            reviews_overdue: 0,
            signals: Signals::holding(&self.signals),
        }
    }
}

fn not_found(unknown: &Unknown) -> String {
    match unknown.nearest.is_empty() {
        true => unknown.to_string(),
        false => format!("{unknown}; near it: {}", unknown.nearest.join(", ")),
    }
}

fn in_words(decision: &Decision) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut say = |reason: &fireaxe_protocol::reason::Reason| {
        let at = reason.at.as_ref().map(|at| format!("   ({at})")).unwrap_or_default();
        lines.push(format!("  {}{at}", reason.sentence));
    };
    decision.because.iter().for_each(&mut say);
    let verdict = match &decision.outcome {
        Outcome::Permit(terms) => {
            format!("tier {}: account {}, {} min", terms.tier, terms.account, terms.lifetime_s / 60)
        }
        Outcome::NeedsApproval { full, meanwhile, .. } => format!(
            "tier {} once approved; meanwhile {}",
            full.tier,
            meanwhile.as_ref().map_or("nothing".to_owned(), |terms| terms.tier.to_string())
        ),
        Outcome::Refuse { reasons, smaller } => {
            reasons.iter().for_each(&mut say);
            match smaller {
                Some(smaller) => format!("refused; tier {} would be given", smaller.terms.tier),
                None => "refused".to_owned(),
            }
        }
    };
    lines.push(verdict);
    lines.join("\n") + "\n"
}
