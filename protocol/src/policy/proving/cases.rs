//! Runs worked examples: a bundle's own `[[test]]`s, and files of `[[case]]`s.

use std::collections::BTreeSet;

use crate::names::{IncidentId, PersonName};
use crate::policy::files::case_file;
use crate::policy::finding::Finding;
use crate::policy::shape::{Case, CaseIncident, Expect, Given, Policy, TriggerSource};
use crate::policy::{
    Bundle, Decision, Facts, IncidentFact, IncidentState, Outcome, Signals, Target, Terms, Want, check,
    decide,
};

/// What came of one example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutcome {
    /// Where it stands.
    pub line: u32,
    /// What it shows, or its target.
    pub name: String,
    /// What was decided; `None` when the example itself cannot be run.
    pub decision: Option<Decision>,
    /// What came out otherwise than expected; empty is a pass.
    pub failures: Vec<String>,
}

impl TestOutcome {
    /// Whether everything came out as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Runs the `[[test]]`s of a bundle.
pub fn run_tests(bundle: &Bundle) -> Vec<TestOutcome> {
    bundle.policy.tests.iter().map(|case| run(&bundle.policy, case)).collect()
}

/// What keeps a bundle that parses from being put in force: the findings of [`check`], and its own tests that
/// fail. A line each; empty is a bundle that may be used.
pub fn unsound(bundle: &Bundle) -> Vec<String> {
    let findings = check(bundle).findings.into_iter().map(|finding| finding.to_string());
    let failed = run_tests(bundle).into_iter().filter(|outcome| !outcome.passed());
    let failed = failed.map(|TestOutcome { line, name, failures, .. }| {
        format!("policy.toml:{line}: test fails: {name}: {}", failures.join("; "))
    });
    findings.chain(failed).collect()
}

/// Runs the `[[case]]`s of a file against a bundle.
pub fn run_cases(bundle: &Bundle, cases_toml: &str) -> Result<Vec<TestOutcome>, Vec<Finding>> {
    let cases = case_file::read_file(cases_toml)?;
    Ok(cases.iter().map(|case| run(&bundle.policy, case)).collect())
}

fn run(policy: &Policy, case: &Case) -> TestOutcome {
    let name = case.name.clone().unwrap_or_else(|| case.given.target.value.to_string());
    match facts(policy, &case.given) {
        Ok(facts) => {
            let decision = decide(policy, &facts);
            let failures = compare(&case.expect, &decision);
            TestOutcome { line: case.line, name, decision: Some(decision), failures }
        }
        Err(why) => TestOutcome { line: case.line, name, decision: None, failures: vec![why] },
    }
}

fn facts(policy: &Policy, given: &Given) -> Result<Facts, String> {
    let target = policy.resolve(&given.target.value).map_err(|unknown| match unknown.nearest.first() {
        Some(near) => format!("{unknown}; did you mean `{near}`?"),
        None => unknown.to_string(),
    })?;
    let incident = match given.severity {
        Some(severity) => Some(incident(policy, &target, given.incident, severity)?),
        None => None,
    };
    let person: PersonName = "somebody".parse().map_err(|error| format!("{error}"))?;
    Ok(Facts {
        at: given.at,
        person,
        groups: given.groups.clone(),
        presence: given.presence,
        target,
        severity: given.claim,
        incident,
        on_call: given.on_call,
        other_host_open: given.other_host_open,
        open_incidents: vec![],
        want: match &given.action {
            Some(at) => Some(Want::Action(at.value.clone(), given.params.clone())),
            None => given.want.as_ref().map(|at| Want::Tier(at.value.clone())),
        },
        for_s: given.for_s,
        drill: given.drill,
        seconds: seconds(given.seconds)?,
        extension: given.extension,
        network: None,
        reviews_overdue: given.overdue_reviews.into(),
        signals: signals(given),
    })
}

fn seconds(count: u8) -> Result<Vec<PersonName>, String> {
    (0..count).map(|n| format!("second-{n}").parse().map_err(|error| format!("{error}"))).collect()
}

/// Those given hold; all others are known not to.
fn signals(given: &Given) -> Signals {
    let mut signals = Signals::holding(&given.signals);
    signals.declared_1h = signals.declared_1h.max(given.declared.into());
    signals.asked_1h = given.asked.into();
    signals
}

/// An incident of the first trigger that takes incidents.
fn incident(
    policy: &Policy,
    target: &Target,
    how: CaseIncident,
    severity: crate::names::Severity,
) -> Result<IncidentFact, String> {
    let first = policy.triggers.values().find_map(|trigger| match &trigger.source {
        TriggerSource::Incidents { ids, max_age_s, .. } => Some((ids, *max_age_s)),
        TriggerSource::Claim { .. } => None,
    });
    let (ids, max_age_s) =
        first.ok_or("a `severity` is given, but no trigger takes incidents; use `claim` for a bare claim")?;
    let id: IncidentId = format!("{ids}:TEST").parse().map_err(|error| format!("{error}"))?;
    let known = how != CaseIncident::Unknown;
    let state = if how == CaseIncident::Resolved { IncidentState::Resolved } else { IncidentState::Open };
    let systems = match how {
        CaseIncident::Elsewhere => vec!["elsewhere".parse().map_err(|error| format!("{error}"))?],
        CaseIncident::Unknown => vec![],
        _ => vec![target.system.clone()],
    };
    let age_s = if how == CaseIncident::Stale { u64::from(max_age_s).saturating_add(1) } else { 120 };
    Ok(IncidentFact {
        id,
        state: known.then_some(state),
        severity: known.then_some(severity),
        systems,
        age_s,
    })
}

fn compare(expect: &Expect, decision: &Decision) -> Vec<String> {
    let mut out = Vec::new();
    let mut differ = |what: &str, expected: String, came: String| {
        if expected != came {
            out.push(format!("{what}: {expected} is expected, {came} came out"));
        }
    };
    let (full, meanwhile, reasons, smaller) = match &decision.outcome {
        Outcome::Permit(terms) => (Some(terms), None, None, None),
        Outcome::NeedsApproval { full, meanwhile, smaller, .. } => {
            (Some(full), meanwhile.as_ref(), None, smaller.as_ref())
        }
        Outcome::Refuse { reasons, smaller } => (None, None, Some(reasons), smaller.as_ref()),
    };
    let tier_of = |terms: Option<&Terms>| terms.map_or("none".to_owned(), |terms| terms.tier.to_string());
    if let Some(tier) = &expect.tier {
        let expected = tier.as_ref().map_or("none".to_owned(), |tier| tier.value.to_string());
        differ("tier", expected, tier_of(full));
    }
    if let Some(tier) = &expect.meanwhile {
        differ("meanwhile", tier.value.to_string(), tier_of(meanwhile));
    }
    if let Some(tier) = &expect.smaller {
        differ("smaller", tier.value.to_string(), tier_of(smaller.map(|smaller| &smaller.terms)));
    }
    if let Some(codes) = &expect.refused {
        let came: Vec<&str> = reasons.into_iter().flatten().map(|reason| reason.code.as_str()).collect();
        differ("refused", codes.join(", "), came.join(", "));
    }
    if let Some(band) = &expect.band {
        differ("band", band.clone(), decision.band.clone());
    }
    if let Some(severity) = expect.severity {
        let came = decision.severity.map_or("none".to_owned(), |s| s.to_string());
        differ("severity", severity.to_string(), came);
    }
    if let Some(more) = expect.awaits {
        let came = decision.awaits.as_ref().map_or(0, |awaits| awaits.more);
        differ("awaits", more.to_string(), came.to_string());
    }
    let mut field = |what: &str, expected: Option<String>, of: fn(&Terms) -> String| {
        if let Some(expected) = expected {
            differ(what, expected, full.map_or("nothing".to_owned(), of));
        }
    };
    let approvals =
        |terms: &Terms| terms.approvals.iter().map(|a| u32::from(a.count)).sum::<u32>().to_string();
    field("approvals", expect.approvals.map(|n| n.to_string()), approvals);
    field("from", expect.from.as_ref().map(|from| format!("{from:?}")), |terms| {
        format!(
            "{:?}",
            terms
                .approvals
                .iter()
                .flat_map(|a| &a.from)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        )
    });
    field("ttl", expect.lifetime_s.map(|s| format!("{s} s")), |terms| format!("{} s", terms.lifetime_s));
    field("command", expect.command.clone(), |t| t.force_command.clone().unwrap_or("a shell".into()));
    field("account", expect.account.as_ref().map(ToString::to_string), |terms| terms.account.to_string());
    field("extensions", expect.extensions.as_ref().map(|e| format!("{e:?}")), |terms| {
        format!("{:?}", terms.extensions)
    });
    field("record", expect.record.map(|r| format!("{r:?}")), |terms| format!("{:?}", terms.record));
    out
}
