//! Step 3, first half: gather the facts a decision may rest on. Reads the state, changes nothing.

use fireaxe_protocol::api::ExplainRequest;
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::names::{
    ActionName, EmergencyId, IncidentId, PersonName, Severity, TargetName, TierName,
};
use fireaxe_protocol::policy::{Bundle, Cidr, Facts, Presence, Target, Want};
use fireaxe_protocol::statement::{Declare, Extend, Params};

use super::Refusal;
use crate::state::{Asks, State};

/// What is asked, whether declared, asked again or only to be explained.
pub(crate) struct Request<'a> {
    pub(super) target: &'a TargetName,
    /// What the target is, if that has been found out.
    pub(super) resolved: Option<&'a Target>,
    pub(super) severity: Option<Severity>,
    pub(super) incident: Option<&'a IncidentId>,
    pub(super) want: Option<Want>,
    pub(super) for_s: Option<u32>,
    pub(super) drill: bool,
    /// Who signed the claim too, by canonical name.
    pub(super) seconds: &'a [PersonName],
    /// Which extension of its emergency it is; 0 for a declaration.
    pub(super) extension: u8,
    /// The emergency whose newest request this is, if it is decided anew.
    pub(super) anew: Option<EmergencyId>,
}

impl<'a> Request<'a> {
    pub(crate) fn declared(words: &'a Declare) -> Request<'a> {
        Request {
            target: &words.target,
            resolved: None,
            severity: words.severity,
            incident: words.incident.as_ref(),
            want: want(words.want.as_ref(), words.action.as_ref(), &words.params),
            for_s: words.for_s,
            drill: words.drill,
            seconds: &[],
            extension: 0,
            anew: None,
        }
    }

    /// The same once others have signed the claim, and with what its owner said since.
    pub(crate) fn again(
        words: &'a Declare,
        extend: Option<&'a Extend>,
        target: &'a Target,
        seconds: &'a [PersonName],
        extension: u8,
        anew: Option<EmergencyId>,
    ) -> Request<'a> {
        let before = Request { resolved: Some(target), seconds, anew, ..Request::declared(words) };
        let Some(extend) = extend else { return before };
        Request {
            severity: extend.severity.or(before.severity),
            incident: extend.incident.as_ref().or(before.incident),
            for_s: extend.for_s.or(before.for_s),
            extension,
            ..before
        }
    }

    pub(super) fn explained(words: &'a ExplainRequest) -> Request<'a> {
        Request {
            target: &words.target,
            resolved: None,
            severity: words.severity,
            incident: words.incident.as_ref(),
            want: want(words.want.as_ref(), words.action.as_ref(), &words.params),
            for_s: words.for_s,
            drill: false,
            seconds: &[],
            extension: 0,
            anew: None,
        }
    }
}

fn want(tier: Option<&TierName>, action: Option<&ActionName>, params: &Params) -> Option<Want> {
    let of_action = |name: &ActionName| {
        let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Want::Action(name.clone(), params.collect())
    };
    action.map(of_action).or_else(|| tier.cloned().map(Want::Tier))
}

/// Who asks, and what is known of how they asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) person: &'a PersonName,
    /// The enrolled key that signed; none when nothing was signed.
    pub(crate) key: Option<&'a Fingerprint>,
    pub(crate) presence: Presence,
    pub(crate) network: Option<&'a Cidr>,
}

/// All facts at `now` for `asker` asking `request`.
pub(crate) fn gather(
    state: &State,
    bundle: &Bundle,
    asker: &Asker<'_>,
    request: &Request<'_>,
    now: u64,
) -> Result<Facts, Refusal> {
    let person = asker.person;
    let target = match request.resolved {
        Some(target) => target.clone(),
        None => resolve(bundle, request.target)?,
    };
    let groups = bundle.roster.person(person).map(|p| p.groups.clone()).unwrap_or_default();
    // Until on-call comes from a schedule, being in the system's on-call group is being on call.
    let on_call = bundle.policy.system(&target.system).map(|system| groups.contains(&system.on_call.value));
    let other_host_open = target.host.as_ref().is_some_and(|host| {
        let person = bundle.roster.canonical(person);
        state.emergencies.other_host_open(person, request.incident, &target.system, host)
    });
    // Only a refusal for want of a severity names them, and looking costs.
    let nothing_claimed = request.severity.is_none() && request.incident.is_none();
    let open_incidents = if nothing_claimed {
        state.incidents.counting(&target.system, &bundle.policy, now)
    } else {
        Vec::new()
    };
    // Nobody signed an explanation: then nobody can tell.
    let signals = asker.key.map(|key| {
        let severity_raised = match request.incident {
            Some(id) => state.incidents.raised(id, now),
            None => Some(false),
        };
        let (network, anew) = (asker.network.copied(), request.anew);
        let asks = Asks { person, key, network, system: &target.system, anew, severity_raised };
        state.history.signals(&bundle.roster, &asks, now)
    });
    let mut seconds = request.seconds.to_vec();
    seconds.sort();
    Ok(Facts {
        at: now,
        person: person.clone(),
        groups,
        presence: asker.presence,
        severity: request.severity,
        incident: request.incident.map(|id| state.incidents.fact(id, now)),
        on_call,
        other_host_open,
        open_incidents,
        want: request.want.clone(),
        for_s: request.for_s,
        drill: request.drill,
        seconds,
        extension: request.extension,
        network: asker.network.copied(),
        reviews_overdue: state.reviews.overdue(&target.system, now),
        signals: signals.unwrap_or_default(),
        target,
    })
}

/// What a name means in the bundle.
pub(super) fn resolve(bundle: &Bundle, name: &TargetName) -> Result<Target, Refusal> {
    bundle
        .policy
        .resolve(name)
        .map_err(|unknown| Refusal::UnknownTarget { name: name.to_string(), nearest: unknown.nearest })
}
