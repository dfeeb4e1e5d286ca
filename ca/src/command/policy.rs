//! `policy`: check, test and explain a bundle, offline, before it decides anything.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fireaxe_protocol::names::{IncidentId, PersonName, Severity, TargetName, TierName};
use fireaxe_protocol::policy::{
    Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Signals, Want, check, decide, run_tests,
};

use super::bundle_files::{BundleFiles, refused};
use super::{Failed, print, tell};
use crate::clock::{Clock, SystemClock};

/// Check, test and explain a policy bundle, offline.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Prove that it is total, monotone and without unused parts; print the whole table
    Check(Folder),
    /// Run its embedded tests
    Test(Folder),
    /// Say what it would decide, and how it gets there
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// Folder with policy.toml and roster.toml
    bundle: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Folder with policy.toml and roster.toml
    bundle: PathBuf,
    /// A system or a host
    target: TargetName,
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
    #[arg(long)]
    want: Option<TierName>,
    /// Print the decision as JSON
    #[arg(long)]
    json: bool,
}

fn severity(text: &str) -> Result<Severity, String> {
    let number: u8 = text.parse().map_err(|_| "a severity is 1 (worst) to 4".to_owned())?;
    Severity::try_from(number).map_err(|e| e.to_string())
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Policy::Check(folder) => {
                let files = BundleFiles::read(&folder.bundle)?;
                let report = check(&files.bundle);
                print(format_args!("{}", report.table))?;
                if !report.findings.is_empty() {
                    return Err(refused(&report.findings));
                }
                tell(format_args!("the bundle is sound: total, monotone, nothing unused"));
                Ok(())
            }
            Policy::Test(folder) => test(&folder),
            Policy::Explain(explain) => explain.run(),
        }
    }
}

fn test(folder: &Folder) -> Result<(), Failed> {
    let files = BundleFiles::read(&folder.bundle)?;
    let outcomes = run_tests(&files.bundle);
    let mut failed = 0;
    for outcome in &outcomes {
        print(format_args!(
            "{} policy.toml:{} {}\n",
            if outcome.passed() { "ok  " } else { "FAIL" },
            outcome.line,
            outcome.name
        ))?;
        for failure in &outcome.failures {
            print(format_args!("       {failure}\n"))?;
        }
        failed += usize::from(!outcome.passed());
    }
    tell(format_args!("{} tests, {failed} failed", outcomes.len()));
    if failed == 0 {
        Ok(())
    } else {
        Err(Failed::config(vec![format!("{failed} of the bundle's tests fail")]))
    }
}

impl Explain {
    fn run(&self) -> Result<(), Failed> {
        let bundle = BundleFiles::read(&self.bundle)?.bundle;
        let target = bundle.policy.resolve(&self.target).map_err(|unknown| {
            Failed::error(format!(
                "there is no system or host {}; near it: {}",
                self.target,
                unknown.nearest.join(", ")
            ))
        })?;
        let person = bundle
            .roster
            .person(&self.person)
            .ok_or_else(|| Failed::error(format!("the roster has no {}", self.person)))?;
        let system = bundle.policy.system(&target.system);
        let hardware = person.keys.iter().any(fireaxe_protocol::statement::EnrolledKey::is_hardware);
        let facts = Facts {
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
            on_call: system.map(|system| person.groups.contains(&system.on_call.value)),
            target,
            other_host_open: false,
            open_incidents: Vec::new(),
            want: self.want.clone().map(Want::Tier),
            for_s: None,
            drill: false,
            seconds: Vec::new(),
            extension: 0,
            network: None,
            reviews_overdue: 0,
            signals: Signals::default(),
        };
        let decision = decide(&bundle.policy, &facts);
        if self.json {
            print(format_args!(
                "{}\n",
                serde_json::json!({"schema": "fireaxe.decision/v1", "facts": facts, "decision": decision})
            ))?;
        } else {
            print(format_args!("{}", in_words(&decision)))?;
        }
        Ok(())
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
