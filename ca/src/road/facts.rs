//! Step 3, first half: gather the facts a decision may rest on. Reads the state, changes nothing.

use fireaxe_protocol::api::ExplainRequest;
use fireaxe_protocol::names::{IncidentId, PersonName, Severity, TargetName, TierName};
use fireaxe_protocol::policy::{Bundle, Facts, Presence, Signals, Target, Want};
use fireaxe_protocol::statement::Declare;

use super::Refusal;
use crate::state::State;

/// What is asked, whether declared or only to be explained.
pub(crate) struct Request<'a> {
    pub(super) target: &'a TargetName,
    pub(super) severity: Option<Severity>,
    pub(super) incident: Option<&'a IncidentId>,
    pub(super) want: Option<&'a TierName>,
    pub(super) for_s: Option<u32>,
    pub(super) drill: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn declared(words: &'a Declare) -> Request<'a> {
        Request {
            target: &words.target,
            severity: words.severity,
            incident: words.incident.as_ref(),
            want: words.want.as_ref(),
            for_s: words.for_s,
            drill: words.drill,
        }
    }

    pub(super) fn explained(words: &'a ExplainRequest) -> Request<'a> {
        Request {
            target: &words.target,
            severity: words.severity,
            incident: words.incident.as_ref(),
            want: words.want.as_ref(),
            for_s: words.for_s,
            drill: false,
        }
    }
}

/// All facts at `now` for `person` asking `request` with a signature that proved `presence`.
pub(crate) fn gather(
    state: &State,
    bundle: &Bundle,
    person: &PersonName,
    presence: Presence,
    request: &Request<'_>,
    now: u64,
) -> Result<Facts, Refusal> {
    let target = resolve(bundle, request.target)?;
    let groups = bundle.roster.person(person).map(|p| p.groups.clone()).unwrap_or_default();
    // Until on-call comes from a schedule, being in the system's on-call group is being on call.
    let on_call = bundle.policy.system(&target.system).map(|system| groups.contains(&system.on_call.value));
    let other_host_open = target.host.as_ref().is_some_and(|host| {
        state.emergencies.other_host_open(person, request.incident, &target.system, host)
    });
    // Only a refusal for want of a severity names them, and looking costs.
    let nothing_claimed = request.severity.is_none() && request.incident.is_none();
    let open_incidents = if nothing_claimed {
        state.incidents.counting(&target.system, &bundle.policy, now)
    } else {
        Vec::new()
    };
    Ok(Facts {
        at: now,
        person: person.clone(),
        groups,
        presence,
        target,
        severity: request.severity,
        incident: request.incident.map(|id| state.incidents.fact(id, now)),
        on_call,
        other_host_open,
        open_incidents,
        want: request.want.cloned().map(Want::Tier),
        for_s: request.for_s,
        drill: request.drill,
        seconds: Vec::new(),
        extension: 0,
        network: None,
        reviews_overdue: 0,
        signals: Signals::default(),
    })
}

fn resolve(bundle: &Bundle, name: &TargetName) -> Result<Target, Refusal> {
    bundle
        .policy
        .resolve(name)
        .map_err(|unknown| Refusal::UnknownTarget { name: name.to_string(), nearest: unknown.nearest })
}
