//! Counters for the operator's dashboard. Names are `fireaxe_<thing>_total` and gauges without suffix.

use fireaxe_protocol::api::Missing;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::road::{Health, ShadowCounts};

/// What came of a declaration: `opened` or a problem's code. A closed set, so that nobody can make
/// label values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: String,
}

/// What came of another statement: its kind, and `ok` or a problem's code. Closed sets both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Statement {
    kind: &'static str,
    outcome: String,
}

/// All of them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    declarations: Family<Outcome, Counter>,
    statements: Family<Statement, Counter>,
    entries: Gauge,
    open: Gauge,
    can_issue: Gauge,
    fenced: Gauge,
    mirror_ok: Gauge,
    shadow: Family<Outcome, Gauge>,
    hosts: [Gauge; 5],
    evidence: Family<Outcome, Counter>,
    missing: [Gauge; 4],
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("fireaxe");
        let declarations = Family::<Outcome, Counter>::default();
        let statements = Family::<Statement, Counter>::default();
        let (entries, open, can_issue) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("declarations", "Declarations by outcome", declarations.clone());
        registry.register("statements", "Other statements by kind and outcome", statements.clone());
        registry.register("log_entries", "Entries in the log", entries.clone());
        registry.register("emergencies_open", "Emergencies open or closing", open.clone());
        registry.register("can_issue", "1 when log and clock allow issuing", can_issue.clone());
        let (fenced, mirror_ok) = (Gauge::default(), Gauge::default());
        registry.register(
            "fenced",
            "1 when the log may have lost entries: nothing is signed",
            fenced.clone(),
        );
        registry.register(
            "mirror_ok",
            "1 when the log's second copy is written, or there is none",
            mirror_ok.clone(),
        );
        let shadow = Family::<Outcome, Gauge>::default();
        registry.register(
            "shadow_decisions",
            "Decisions of the candidate, by how they differ",
            shadow.clone(),
        );
        let hosts: [Gauge; 5] = Default::default();
        let named = [
            ("hosts_enrolled", "Hosts that are ours"),
            ("hosts_following", "Hosts that follow the feed"),
            ("hosts_krl_confirmed", "Hosts that have the newest revocation list in force"),
            ("hosts_stale", "Hosts that are silent, or whose list is old"),
            ("hosts_log_behind", "Hosts that have seen a longer log than this one: it was put back"),
        ];
        for ((name, help), gauge) in named.into_iter().zip(&hosts) {
            registry.register(name, help, gauge.clone());
        }
        let evidence = Family::<Outcome, Counter>::default();
        registry.register("evidence_accesses", "Reads of entries and recordings", evidence.clone());
        let missing: [Gauge; 4] = Default::default();
        let named = [
            ("sessions_unrecorded", "Connections that ended without the recording that their terms ask for"),
            ("sessions_unusual", "Logins and ends that cannot be, going by the log"),
            ("closings_unconfirmed", "Confirmations that hosts owe of closings more than a minute old"),
            ("reviews_overdue", "Reviews that are overdue"),
        ];
        for ((name, help), gauge) in named.into_iter().zip(&missing) {
            registry.register(name, help, gauge.clone());
        }
        Metrics {
            missing,
            evidence,
            hosts,
            shadow,
            registry,
            declarations,
            statements,
            entries,
            open,
            can_issue,
            fenced,
            mirror_ok,
        }
    }
}

impl Metrics {
    /// Counts a declaration by what came of it.
    pub fn declared(&self, outcome: &str) {
        self.declarations.get_or_create(&Outcome { outcome: outcome.to_owned() }).inc();
    }

    /// Counts another statement by its kind and what came of it.
    pub fn said(&self, kind: &'static str, outcome: &str) {
        self.statements.get_or_create(&Statement { kind, outcome: outcome.to_owned() }).inc();
    }

    /// Counts a read of evidence: `read` and `refused` are entries too, `refused_unlogged` is beyond what is logged of one person.
    pub fn evidence(&self, outcome: &'static str) {
        self.evidence.get_or_create(&Outcome { outcome: outcome.to_owned() }).inc();
    }

    /// How many hosts are enrolled, follow, have confirmed the newest list, are stale, and have seen a longer log.
    pub fn fleet(&self, counts: [usize; 5]) {
        for (gauge, count) in self.hosts.iter().zip(counts) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// What is missing.
    pub fn missing(&self, counts: Missing) {
        let Missing { unrecorded, unusual, unconfirmed, overdue } = counts;
        for (gauge, count) in self.missing.iter().zip([unrecorded, unusual, unconfirmed, overdue]) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// OpenMetrics text.
    pub fn text(&self, health: &Health, shadow: &ShadowCounts) -> Option<String> {
        for (outcome, count) in shadow.read() {
            let outcome = Outcome { outcome: outcome.to_owned() };
            self.shadow.get_or_create(&outcome).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.entries.set(i64::try_from(health.entries).unwrap_or(i64::MAX));
        self.open.set(i64::try_from(health.open).unwrap_or(i64::MAX));
        self.can_issue.set(i64::from(health.can_issue()));
        self.fenced.set(i64::from(!health.fence_ok));
        self.mirror_ok.set(i64::from(health.mirror_ok));
        let mut text = String::new();
        encode(&mut text, &self.registry).ok()?;
        Some(text)
    }
}
