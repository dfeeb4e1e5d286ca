//! One decision, without log, network or keys: a mix of requests under the default bundle.

use std::hint::black_box;

use fireaxe_protocol::names::IncidentId;
use fireaxe_protocol::policy::{
    Bundle, Decision, Facts, IncidentFact, IncidentState, Outcome, Presence, Signals, Target, Want, decide,
};

use super::summary::{Summary, quantile};
use crate::clock;

/// Passes over the mix.
const PASSES: usize = 4000;

/// The default bundle.
pub fn bundle() -> Bundle {
    let policy = include_str!("../../../policies/default/policy.toml");
    let roster = include_str!("../../../policies/default/roster.toml");
    Bundle::parse(policy, roster).expect("the default bundle")
}

/// Four requests by name: one that is permitted, one that waits for approval, one that is refused, and an
/// action. Each comes out as its name says.
pub fn mix(bundle: &Bundle) -> [(&'static str, Facts); 4] {
    let host = Some("db-3.payments.prod".parse().expect("host"));
    let on_host = Facts { incident: Some(incident()), ..facts() };
    let permit = Facts { target: Target { host: host.clone(), ..facts().target }, ..on_host.clone() };
    let waits = Facts { on_call: Some(false), groups: vec!["sre".parse().expect("group")], ..permit.clone() };
    let refuse = Facts { severity: Some(4.try_into().expect("severity")), ..facts() };
    let restart =
        Want::Action("restart-payments".parse().expect("action"), vec![("shard".into(), "7".into())]);
    let action = Facts { want: Some(restart), ..permit.clone() };
    let mix = [("permit", permit), ("waits", waits), ("refuse", refuse), ("action", action)];
    for (name, facts) in &mix {
        let outcome = decide(&bundle.policy, facts).outcome;
        let as_named = match (*name, &outcome) {
            ("permit", Outcome::Permit(terms)) => terms.action.is_none(),
            ("action", Outcome::Permit(terms)) => terms.action.is_some(),
            ("waits", Outcome::NeedsApproval { .. }) | ("refuse", Outcome::Refuse { .. }) => true,
            _ => false,
        };
        assert!(as_named, "{name}: {outcome:?}");
    }
    mix
}

/// Records `policy.decide_us`: the median pass over [`mix`], a fourth of it for each decision.
pub fn measure(summary: &mut Summary) {
    let bundle = bundle();
    let mix = mix(&bundle);
    let pass =
        || mix.iter().map(|(_, facts)| decide(&bundle.policy, black_box(facts))).collect::<Vec<Decision>>();
    let mut samples = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let start = clock::now();
        let decisions = pass();
        samples.push(start.elapsed().as_secs_f64() * 1e6 / mix.len() as f64);
        drop(black_box(decisions));
    }
    summary.put("policy.decide_us", quantile(&mut samples, 0.5));
}

/// On call for the payments database, the whole of it, without an incident.
fn facts() -> Facts {
    Facts {
        at: 1_800_000_000,
        person: "ana".parse().expect("person"),
        groups: vec!["payments-oncall".parse().expect("group")],
        presence: Presence::Touch,
        target: Target { system: "payments-db".parse().expect("system"), host: None },
        severity: None,
        incident: None,
        on_call: Some(true),
        other_host_open: false,
        open_incidents: Vec::new(),
        want: None,
        for_s: None,
        drill: false,
        seconds: Vec::new(),
        extension: 0,
        network: Some("10.2.3.0/24".parse().expect("network")),
        reviews_overdue: 0,
        signals: Signals::ordinary(),
    }
}

fn incident() -> IncidentFact {
    let id: IncidentId = "pd:PGR0VU2".parse().expect("incident");
    IncidentFact {
        id,
        state: Some(IncidentState::Open),
        severity: Some(1.try_into().expect("severity")),
        systems: vec!["payments-db".parse().expect("system")],
        age_s: 60,
    }
}
