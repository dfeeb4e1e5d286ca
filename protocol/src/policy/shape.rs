//! The policy as values: what `policy.toml` says once every name in it has been found. Made only by
//! [`super::Bundle::parse`]; each part knows the line it stands on.

use std::collections::BTreeMap;

use thiserror::Error;

use super::finding::{At, nearest};
use super::hosts::{HostIndex, Pattern};
use super::{Cidr, Command, Extension, Presence, Record, Signal, Target};
use crate::names::{
    AccountName, ActionName, GroupName, HostName, IncidentId, RuleId, Severity, SystemName, TargetName,
    TierName, TriggerName,
};

/// What `policy.toml` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(super) triggers: BTreeMap<TriggerName, Trigger>,
    pub(super) systems: BTreeMap<SystemName, System>,
    pub(super) risk: Risk,
    pub(super) tiers: BTreeMap<TierName, Tier>,
    pub(super) actions: BTreeMap<ActionName, Action>,
    pub(super) rules: Vec<Rule>,
    pub(super) rules_by_system: RulesBySystem,
    pub(super) exceptions: Vec<Exception>,
    pub(super) limits: Limits,
    pub(super) reviews: Option<Reviews>,
    pub(super) keep: Option<Keep>,
    pub(super) tests: Vec<Case>,
    pub(super) hosts: HostIndex<SystemName>,
}

/// Which rules can concern a system, so that a thousand systems with a rule each cost a thousand looks and
/// not a million. Places in the policy's list, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RulesBySystem {
    named: BTreeMap<SystemName, Vec<usize>>,
    any: Vec<usize>,
}

impl RulesBySystem {
    pub(super) fn of(rules: &[Rule]) -> RulesBySystem {
        let mut index = RulesBySystem::default();
        for (n, rule) in rules.iter().enumerate() {
            match &rule.when.systems {
                Some(list) => {
                    list.iter().for_each(|at| index.named.entry(at.value.clone()).or_default().push(n));
                }
                None => index.any.push(n),
            }
        }
        index
    }

    /// Those that name the system, in order.
    pub(super) fn naming(&self, system: &SystemName) -> &[usize] {
        self.named.get(system).map_or(&[], Vec::as_slice)
    }
}

/// A pre-defined way an emergency may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name, e.g. `pagerduty`.
    pub name: TriggerName,
    /// Where it stands.
    pub line: u32,
    /// What begins it.
    pub source: TriggerSource,
    /// The event that starts the closing of what this trigger opened: `incident.resolved`.
    pub close_on: Option<String>,
    /// How long live sessions may go on once closing starts, seconds.
    pub grace_s: u32,
    /// An emergency of this trigger must be tied to an incident within so many seconds, or it closes.
    pub link_within_s: Option<u32>,
}

/// What begins an emergency: a tracker's incident, or a person's bare claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerSource {
    /// Incidents whose id begins `<ids>:`.
    Incidents {
        /// The prefix, without the colon.
        ids: String,
        /// How old the last word on an incident may be before it counts for nothing, seconds.
        max_age_s: u32,
        /// The tracker's words for severities.
        severity: BTreeMap<String, Severity>,
        /// The severity of a word that is not in the map.
        default: Severity,
    },
    /// A bare claim.
    Claim {
        /// The worst severity a bare claim can have.
        cap: At<Severity>,
        /// How many on-call people must sign for more than the cap, the declarer among them.
        co_declare: Option<u8>,
    },
}

/// Hosts that belong together, how much they matter, and whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Its name.
    pub name: SystemName,
    /// Where it stands.
    pub line: u32,
    /// Its hosts. Never empty.
    pub hosts: Vec<At<Pattern>>,
    /// 1 to 4.
    pub sensitivity: u8,
    /// 1 to 4, of the whole system.
    pub blast: u8,
    /// Whose it is.
    pub owner: At<GroupName>,
    /// Whose members are on call for it.
    pub on_call: At<GroupName>,
}

/// The risk table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// Rows by limit, smallest first; the last one's is 16.
    pub bands: Vec<Band>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Band {
    /// Its name, e.g. `medium`.
    pub name: String,
    /// The largest sensitivity x blast in it.
    pub limit: u8,
    /// Where the row stands.
    pub line: u32,
    /// For severity 4, 3, 2, 1. `None` is `deny`.
    pub cells: [At<Option<TierName>>; 4],
}

impl Band {
    /// The cell of a severity.
    pub fn cell(&self, severity: Severity) -> &At<Option<TierName>> {
        let [four, three, two, one] = &self.cells;
        match severity.number() {
            1 => one,
            2 => two,
            3 => three,
            _ => four,
        }
    }
}

impl Risk {
    /// The row of sensitivity x blast.
    pub fn band(&self, product: u8) -> Option<&Band> {
        self.bands.iter().find(|band| product <= band.limit)
    }
}

/// One cell's worth of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: TierName,
    /// Where it stands.
    pub line: u32,
    /// What it can do, 1 upwards.
    pub power: u8,
    /// Login account.
    pub account: AccountName,
    /// One command for `/bin/sh -c`; `None` is a shell.
    pub force_command: Option<String>,
    /// Sorted.
    pub extensions: Vec<Extension>,
    /// Sorted; empty is anywhere.
    pub source_address: Vec<Cidr>,
    /// Seconds.
    pub ttl_s: u32,
    /// Who must approve: all of these quorums. Empty: nobody.
    pub approvals: Vec<Quorum>,
    /// How long a request for it waits before it lapses, seconds.
    pub wait_s: u32,
    /// What is given while approvals are awaited.
    pub meanwhile: Option<At<TierName>>,
    /// Whom to wake, and after how many seconds; ascending.
    pub escalate: Vec<(u32, At<GroupName>)>,
    /// How often it may be extended.
    pub extends: u8,
    /// What the declaring signature must prove.
    pub presence: Presence,
    /// Whether sessions are recorded.
    pub record: Record,
    /// Hosts whose revocation list is older refuse this tier, seconds.
    pub krl_max_age_s: Option<u32>,
}

/// So many distinct people of these groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Where it stands.
    pub place: At<()>,
    /// At least 1.
    pub count: u8,
    /// `None`: whoever the tier or other rules name, or else the system's on-call and owner groups.
    pub from: Option<Vec<At<GroupName>>>,
}

/// One exact command instead of a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub name: ActionName,
    /// Where it stands.
    pub line: u32,
    /// Where it may run.
    pub systems: Vec<At<SystemName>>,
    /// Login account.
    pub account: AccountName,
    /// The words of the command as written; `{name}` stands for a parameter.
    pub force_command: Vec<String>,
    /// The pattern of each parameter, as written.
    pub params: BTreeMap<String, String>,
    /// Both, read.
    pub(super) command: Command,
    /// The tier's power it takes.
    pub power: u8,
}

/// When a rule or an exception applies. All of it must be true; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// Whether the person is on call.
    pub on_call: Option<bool>,
    /// One of these systems.
    pub systems: Option<Vec<At<SystemName>>>,
    /// The tier given is one of these. Rules only.
    pub tiers: Option<Vec<At<TierName>>>,
    /// The severity is one of these.
    pub severities: Option<Vec<Severity>>,
    /// `true`: one host alone. `false`: the whole system.
    pub one_host: Option<bool>,
    /// The person is in one of these groups.
    pub groups: Option<Vec<At<GroupName>>>,
    /// The person is in none of these groups.
    pub outside: Option<Vec<At<GroupName>>>,
    /// The emergency began by one of these triggers.
    pub triggers: Option<Vec<At<TriggerName>>>,
    /// A rehearsal, or not.
    pub drill: Option<bool>,
    /// One of these signals holds, or nobody can tell. Rules only.
    pub signals: Option<Vec<Signal>>,
    /// It is this extension of its emergency, or a later one. Rules only.
    pub extension: Option<u8>,
    /// At least so many reviews of the system are overdue; never at severity 1. Rules only.
    pub overdue_reviews: Option<u8>,
}

/// Per hour; `None` is no limit. None of them holds at severity 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Emergencies that one person may declare.
    pub declarations: Option<At<u8>>,
    /// Requests of one person that wake somebody.
    pub asks: Option<At<u8>>,
    /// Approvals that one person may give.
    pub approvals: Option<At<u8>>,
}

/// Who looks back at an emergency, and by when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviews {
    /// Where it stands.
    pub line: u32,
    /// Members of any of these review. Never empty.
    pub from: Vec<At<GroupName>>,
    /// Seconds after the end.
    pub within_s: u32,
}

/// How long recordings are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Where it stands.
    pub line: u32,
    /// Seconds after the end of the connection, as the log has it.
    pub recordings_s: u32,
}

impl Keep {
    /// Whether a recording whose `session.closed` was logged at `closed_at` is kept no longer at `now`. Both
    /// unix seconds. No `recording.expired` is right before.
    pub fn is_over(&self, closed_at: u64, now: u64) -> bool {
        now.saturating_sub(closed_at) >= u64::from(self.recordings_s)
    }
}

/// A tightening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub id: RuleId,
    /// Where it stands.
    pub line: u32,
    /// When it applies.
    pub when: When,
    /// What it tightens.
    pub add: Tightening,
    /// Why it exists.
    pub why: String,
}

/// What a rule adds. Each field can only make terms tighter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tightening {
    /// Nothing is given at all.
    pub deny: bool,
    /// At least so many people in every quorum; `from` is intersected with each.
    pub approvals: Option<Quorum>,
    /// These people as well: a quorum of its own, met by other people than the rest.
    pub also: Option<Quorum>,
    /// At most so long, seconds.
    pub ttl_s: Option<u32>,
    /// None but these.
    pub extensions: Option<Vec<Extension>>,
    /// Only from here.
    pub source_address: Option<Vec<Cidr>>,
    /// At least this.
    pub presence: Option<Presence>,
    /// At least this.
    pub record: Option<Record>,
    /// At most so old, seconds.
    pub krl_max_age_s: Option<u32>,
}

/// A loosening: explicit, owned, dated, and over by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Its name.
    pub id: RuleId,
    /// Where it stands.
    pub line: u32,
    /// When it applies.
    pub when: When,
    /// The tier of the cell instead of the table's.
    pub tier: At<TierName>,
    /// The group that answers for it.
    pub owner: At<GroupName>,
    /// From then on, unix seconds.
    pub from: u64,
    /// Until then, unix seconds, exclusive.
    pub until: u64,
    /// Why it exists.
    pub why: String,
}

/// A worked example: what is given, what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Where it stands.
    pub line: u32,
    /// What it shows.
    pub name: Option<String>,
    /// What is given.
    pub given: Given,
    /// What must come out.
    pub expect: Expect,
}

/// The facts of a case; what is not said is ordinary: on call, verified presence, nothing else open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// A system or a host, which the policy must know.
    pub target: At<TargetName>,
    /// The severity of a fresh, open incident on the target's system.
    pub severity: Option<Severity>,
    /// The severity the person claims.
    pub claim: Option<Severity>,
    /// What is odd about the incident: `open` if nothing.
    pub incident: CaseIncident,
    /// `None` when nobody can tell.
    pub on_call: Option<bool>,
    /// The person's groups. Sorted.
    pub groups: Vec<GroupName>,
    /// What their signature proves.
    pub presence: Presence,
    /// A smaller request.
    pub want: Option<At<TierName>>,
    /// One command instead of a tier.
    pub action: Option<At<ActionName>>,
    /// Its parameters. Sorted by name.
    pub params: Vec<(String, String)>,
    /// How many others signed the claim too.
    pub seconds: u8,
    /// Signals that hold; all others are known not to.
    pub signals: Vec<Signal>,
    /// Which extension it is; 0 for a declaration.
    pub extension: u8,
    /// Overdue reviews of the system.
    pub overdue_reviews: u8,
    /// Emergencies that the person declared within the hour before.
    pub declared: u8,
    /// Requests of the person within the hour before that woke somebody.
    pub asked: u8,
    /// A shorter lifetime, seconds.
    pub for_s: Option<u32>,
    /// Another host of the system is open.
    pub other_host_open: bool,
    /// A rehearsal.
    pub drill: bool,
    /// The time of the decision, unix seconds.
    pub at: u64,
}

/// What a case says of its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseIncident {
    /// Open, fresh, on the target's system.
    Open,
    /// Over.
    Resolved,
    /// The last word on it is too old.
    Stale,
    /// The log has never heard of it.
    Unknown,
    /// On another system.
    Elsewhere,
}

/// What a case expects; what is not said does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expect {
    /// The tier given or waiting; `Some(None)` is a refusal.
    pub tier: Option<Option<At<TierName>>>,
    /// What is given at once while approvals are awaited.
    pub meanwhile: Option<At<TierName>>,
    /// How many approvals are needed; 0 is a permit.
    pub approvals: Option<u8>,
    /// Whose approvals. Sorted.
    pub from: Option<Vec<GroupName>>,
    /// Seconds.
    pub lifetime_s: Option<u32>,
    /// The tier waits for others to sign the claim.
    pub awaits: Option<u8>,
    /// The command that the certificate runs.
    pub command: Option<String>,
    /// Login account.
    pub account: Option<AccountName>,
    /// Extensions. Sorted.
    pub extensions: Option<Vec<Extension>>,
    /// Recording.
    pub record: Option<Record>,
    /// The row.
    pub band: Option<String>,
    /// The severity that counted.
    pub severity: Option<Severity>,
    /// The codes of a refusal's reasons, all of them, in order.
    pub refused: Option<Vec<String>>,
    /// The tier of the smaller request that a refusal offers.
    pub smaller: Option<At<TierName>>,
}

/// A target that no system of the policy has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the policy knows no system or host {target}")]
pub struct Unknown {
    /// What was asked for.
    pub target: TargetName,
    /// The systems and host patterns most like it, best first, at most three.
    pub nearest: Vec<String>,
}

impl Policy {
    /// Which system, and which host of it, a person means.
    pub fn resolve(&self, target: &TargetName) -> Result<Target, Unknown> {
        let text = target.as_str();
        if let Some((system, _)) =
            text.parse().ok().and_then(|name: SystemName| self.systems.get_key_value(&name))
        {
            return Ok(Target { system: system.clone(), host: None });
        }
        if let Ok(host) = text.parse::<HostName>()
            && let Some((_, system)) = self.hosts.find(text)
        {
            return Ok(Target { system: system.clone(), host: Some(host) });
        }
        let names = self.systems.keys().map(SystemName::as_str);
        let hosts = self.systems.values().flat_map(|s| s.hosts.iter().map(|p| p.value.as_str()));
        let nearest = nearest(text, names.chain(hosts)).into_iter().map(str::to_owned).collect();
        Err(Unknown { target: target.clone(), nearest })
    }

    /// A system by name.
    pub fn system(&self, name: &SystemName) -> Option<&System> {
        self.systems.get(name)
    }

    /// All systems, by name.
    pub fn systems(&self) -> impl Iterator<Item = &System> {
        self.systems.values()
    }

    /// A tier by name.
    pub fn tier(&self, name: &TierName) -> Option<&Tier> {
        self.tiers.get(name)
    }

    /// All tiers, by name.
    pub fn tiers(&self) -> impl Iterator<Item = &Tier> {
        self.tiers.values()
    }

    /// A trigger by name, as a decision names it.
    pub fn trigger(&self, name: &TriggerName) -> Option<&Trigger> {
        self.triggers.get(name)
    }

    /// The trigger that an incident's id belongs to.
    pub fn trigger_for(&self, incident: &IncidentId) -> Option<&Trigger> {
        self.triggers.values().find(
            |trigger| matches!(&trigger.source, TriggerSource::Incidents { ids, .. } if ids == incident.prefix()),
        )
    }

    /// The trigger of bare claims.
    pub fn claim_trigger(&self) -> Option<&Trigger> {
        self.triggers.values().find(|trigger| matches!(trigger.source, TriggerSource::Claim { .. }))
    }

    /// The rules that name a system or none at all, in order.
    pub(super) fn rules_on(&self, system: &SystemName) -> Vec<&Rule> {
        let index = &self.rules_by_system;
        let mut places: Vec<usize> = index.any.iter().chain(index.naming(system)).copied().collect();
        places.sort_unstable();
        places.iter().filter_map(|n| self.rules.get(*n)).collect()
    }

    /// An action by name.
    pub fn action(&self, name: &ActionName) -> Option<&Action> {
        self.actions.get(name)
    }

    /// All actions, by name.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }

    /// Actions that may run on a system, by name.
    pub fn actions_on(&self, system: &SystemName) -> impl Iterator<Item = &Action> {
        self.actions.values().filter(|action| action.runs_on(system))
    }

    /// What a person may do per hour.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Who looks back, if anybody must.
    pub fn reviews(&self) -> Option<&Reviews> {
        self.reviews.as_ref()
    }

    /// How long recordings are kept; nothing: for ever.
    pub fn keep(&self) -> Option<&Keep> {
        self.keep.as_ref()
    }

    /// The risk table.
    pub fn risk(&self) -> &Risk {
        &self.risk
    }

    /// Accounts that tiers and actions use, the most powerful first, each once.
    pub fn accounts(&self) -> Vec<AccountName> {
        let tiers = self.tiers.values().map(|tier| (tier.power, &tier.account));
        let actions = self.actions.values().map(|action| (action.power, &action.account));
        let mut all: Vec<(u8, &AccountName)> = tiers.chain(actions).collect();
        all.sort_by(|(p, a), (q, b)| q.cmp(p).then(a.cmp(b)));
        let mut out: Vec<AccountName> = Vec::new();
        for (_, account) in all {
            if !out.contains(account) {
                out.push(account.clone());
            }
        }
        out
    }
}
