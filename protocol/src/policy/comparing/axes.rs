//! What is walked along, beside the systems: the ways an emergency may begin, who is on call, what a
//! signature proves, and what is out of the ordinary. From both bundles, so that nothing that either of
//! them asks about is left out.

use std::collections::BTreeSet;

use super::cells::{Place, Scope, bit};
use super::walk::Asker;
use crate::names::{GroupName, IncidentId, RuleId, Severity, SystemName};
use crate::policy::shape::{Policy, TriggerSource, When};
use crate::policy::{Bundle, Facts, IncidentFact, IncidentState, Presence, Signal, Signals, Target};

pub(in crate::policy) const SCOPES: [Scope; 5] =
    [Scope::System, Scope::Host, Scope::FurtherHost, Scope::NewHost, Scope::GoneHost];
pub(in crate::policy) const ON_CALL: [Option<bool>; 3] = [Some(true), Some(false), None];
pub(in crate::policy) const PRESENCE: [Presence; 3] = [Presence::None, Presence::Touch, Presence::Verified];

/// What an emergency rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Way {
    /// An open incident whose id begins so, fresh and on the system.
    Incident(String),
    /// A bare claim.
    Claim,
    /// A claim that as many others sign as can be asked for.
    CoDeclared,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Way::Incident(ids) => write!(f, "{ids}"),
            Way::Claim => f.write_str("claim"),
            Way::CoDeclared => f.write_str("co-declared"),
        }
    }
}

/// What is out of the ordinary: what it takes for some rule or exception to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Circumstance {
    pub(in crate::policy) words: String,
    at: u64,
    drill: bool,
    extension: u8,
    overdue: u8,
    signals: Vec<Signal>,
    /// Groups of whoever asks, when it is nobody in particular.
    pub(in crate::policy) groups: Vec<GroupName>,
    /// Only these systems can tell; `None` is all.
    pub(in crate::policy) systems: Option<BTreeSet<SystemName>>,
}

impl Circumstance {
    fn ordinary() -> Circumstance {
        Circumstance {
            words: String::new(),
            at: 0,
            drill: false,
            extension: 0,
            overdue: 0,
            signals: Vec::new(),
            groups: Vec::new(),
            systems: None,
        }
    }

    /// The least that meets `when`.
    fn meeting(when: &When) -> Circumstance {
        let mut words = Vec::new();
        let drill = when.drill == Some(true);
        if drill {
            words.push("in a drill".to_owned());
        }
        let extension = when.extension.unwrap_or(0);
        if extension > 0 {
            words.push(format!("at extension {extension}"));
        }
        let overdue = when.overdue_reviews.unwrap_or(0);
        if overdue > 0 {
            words.push(format!("with {overdue} reviews overdue"));
        }
        let signals = when.signals.clone().unwrap_or_default();
        if !signals.is_empty() {
            let names: Vec<&str> = signals.iter().map(|signal| signal.as_str()).collect();
            words.push(format!("when {}", names.join(" and ")));
        }
        let groups: Vec<GroupName> =
            when.groups.iter().flat_map(|list| list.first()).map(|at| at.value.clone()).collect();
        words.extend(groups.first().map(|group| format!("in group {group}")));
        let systems = when.systems.as_ref().map(|list| list.iter().map(|at| at.value.clone()).collect());
        let words = words.join(", ");
        Circumstance { words, at: 0, drill, extension, overdue, signals, groups, systems }
    }

    /// What escapes `when`, if being in a group does.
    fn escaping(when: &When) -> Option<Circumstance> {
        let group = when.outside.as_ref()?.first()?.value.clone();
        Some(Circumstance { words: format!("in group {group}"), groups: vec![group], ..Self::ordinary() })
    }

    fn same_facts(&self, other: &Circumstance) -> bool {
        let Circumstance { words: _, at, drill, extension, overdue, signals, groups, systems: _ } = self;
        (*at, *drill, *extension, *overdue, signals, groups)
            == (other.at, other.drill, other.extension, other.overdue, &other.signals, &other.groups)
    }
}

/// What is walked along each dimension that is not the system's own.
pub(in crate::policy) struct Axes {
    pub(in crate::policy) ways: Vec<Way>,
    /// Every combination, in order.
    pub(in crate::policy) requests: Vec<Request>,
    /// The ordinary first.
    pub(in crate::policy) circumstances: Vec<Circumstance>,
}

impl Axes {
    pub(in crate::policy) fn of(before: &Bundle, after: &Bundle, asker: &Asker<'_>) -> Axes {
        let both = [&before.policy, &after.policy];
        // What neither policy asks about is walked one way only.
        let asks = |presence: Presence| {
            let tiers = both.iter().flat_map(|policy| policy.tiers.values()).map(|tier| tier.presence);
            let rules = both.iter().flat_map(|policy| &policy.rules).filter_map(|rule| rule.add.presence);
            tiers.chain(rules).any(|asked| asked == presence)
        };
        let is_walked = |presence: &Presence| *presence == Presence::None || asks(*presence);
        let presence: Vec<Presence> = PRESENCE.into_iter().filter(is_walked).collect();
        let on_call = if asker.on_call_by_group { vec![None] } else { ON_CALL.to_vec() };
        let ways = ways(&both);
        let requests = requests(&ways, &on_call, &presence);
        Axes { ways, requests, circumstances: circumstances(&both, !asker.on_call_by_group) }
    }
}

/// One request of the walk, whatever the system.
pub(in crate::policy) struct Request {
    pub(in crate::policy) place: Place,
    pub(in crate::policy) scope: Scope,
    way: Way,
    severity: Severity,
    on_call: Option<bool>,
    presence: Presence,
    /// What it rests on, if that is an incident.
    incident: Option<IncidentId>,
}

fn requests(ways: &[Way], on_call: &[Option<bool>], presence: &[Presence]) -> Vec<Request> {
    let mut out = Vec::new();
    for (a, scope) in SCOPES.into_iter().enumerate() {
        for (b, way) in ways.iter().enumerate() {
            let incident = match way {
                Way::Incident(ids) => format!("{ids}:WALK").parse::<IncidentId>().ok(),
                Way::Claim | Way::CoDeclared => None,
            };
            for (c, severity) in Severity::MILDEST_FIRST.into_iter().enumerate() {
                for (d, on_call) in ON_CALL.into_iter().enumerate().filter(|(_, it)| on_call.contains(it)) {
                    for (e, presence) in
                        PRESENCE.into_iter().enumerate().filter(|(_, it)| presence.contains(it))
                    {
                        let place = [a, b, c, d, e].map(bit);
                        let (way, incident) = (way.clone(), incident.clone());
                        out.push(Request { place, scope, way, severity, on_call, presence, incident });
                    }
                }
            }
        }
    }
    out
}

fn ways(both: &[&Policy; 2]) -> Vec<Way> {
    let mut out: Vec<Way> = Vec::new();
    let mut add = |way: Way| {
        if !out.contains(&way) {
            out.push(way);
        }
    };
    for trigger in both.iter().flat_map(|policy| policy.triggers.values()) {
        match &trigger.source {
            TriggerSource::Incidents { ids, .. } => add(Way::Incident(ids.clone())),
            TriggerSource::Claim { co_declare, .. } => {
                add(Way::Claim);
                if co_declare.is_some() {
                    add(Way::CoDeclared);
                }
            }
        }
    }
    out
}

fn circumstances(both: &[&Policy; 2], by_group: bool) -> Vec<Circumstance> {
    let mut out = vec![Circumstance::ordinary()];
    let mut add = |mut new: Circumstance| {
        // A person is in the groups that they are in.
        if !by_group {
            new.groups.clear();
        }
        match out.iter_mut().find(|known| known.same_facts(&new)) {
            Some(known) => {
                known.systems =
                    known.systems.take().zip(new.systems).map(|(a, b)| a.into_iter().chain(b).collect());
            }
            None => out.push(new),
        }
    };
    for rule in both.iter().flat_map(|policy| &policy.rules) {
        add(Circumstance::meeting(&rule.when));
        Circumstance::escaping(&rule.when).into_iter().for_each(&mut add);
    }
    // The extensions that one policy has and the other has not.
    let [first, second] = both;
    for (tier, other) in first.tiers.values().filter_map(|tier| Some((tier, second.tier(&tier.name)?))) {
        if tier.extends != other.extends {
            let extension = tier.extends.max(other.extends);
            let words = format!("at extension {extension}");
            add(Circumstance { words, extension, ..Circumstance::ordinary() });
        }
    }
    // Each stretch of time in which the same exceptions run.
    let exceptions = || both.iter().enumerate().flat_map(|(n, p)| p.exceptions.iter().map(move |e| (n, e)));
    let mut seen: BTreeSet<Vec<(usize, &RuleId)>> = BTreeSet::from([Vec::new()]);
    for at in exceptions().flat_map(|(_, e)| [e.from, e.until]).collect::<BTreeSet<u64>>() {
        let alive: Vec<_> = exceptions().filter(|(_, e)| e.from <= at && at < e.until).collect();
        if !seen.insert(alive.iter().map(|(n, e)| (*n, &e.id)).collect()) {
            continue;
        }
        let ids: BTreeSet<&str> = alive.iter().map(|(_, e)| e.id.as_str()).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        for (_, exception) in &alive {
            let mut new = Circumstance::meeting(&exception.when);
            new.at = at;
            let runs = format!("while exception {} runs", ids.join(" and "));
            new.words = if new.words.is_empty() { runs } else { format!("{runs}, {}", new.words) };
            add(new);
        }
    }
    out
}

pub(in crate::policy) fn circumstance_in(facts: &mut Facts, circumstance: &Circumstance) {
    let Circumstance { words: _, at, drill, extension, overdue, signals, groups: _, systems: _ } =
        circumstance;
    facts.at = *at;
    facts.drill = *drill;
    facts.extension = *extension;
    facts.reviews_overdue = (*overdue).into();
    facts.signals = Signals::holding(signals);
}

/// Makes the facts those of `request`.
pub(in crate::policy) fn request_in(facts: &mut Facts, request: &Request, target: Target) {
    let severity = request.severity;
    facts.presence = request.presence;
    facts.on_call = request.on_call;
    facts.other_host_open = request.scope == Scope::FurtherHost;
    facts.severity = Some(severity).filter(|_| !matches!(request.way, Way::Incident(_)));
    facts.incident = request.incident.clone().map(|id| IncidentFact {
        id,
        state: Some(IncidentState::Open),
        severity: Some(severity),
        systems: vec![target.system.clone()],
        age_s: 0,
    });
    facts.target = target;
    facts.seconds.clear();
    if request.way == Way::CoDeclared {
        facts.seconds.extend((2..=8).filter_map(|n| format!("second-{n}").parse().ok()));
    }
}
