//! The scene that most tests begin with: the default policy, two database hosts, three people, a CA.

use std::path::Path;

use crate::ca::Ca;
use crate::engineer::Engineer;
use crate::host::Host;
use crate::world::World;

/// Everything is up; nothing is open.
pub struct Scene {
    /// Where it plays.
    pub world: World,
    /// Serves the default policy.
    pub ca: Ca,
    /// On call for the payments database.
    pub ana: Engineer,
    /// Not on call for it, but a lead: may approve, and as an incident commander close anyone's emergency.
    pub ben: Engineer,
    /// Security: opens nothing, reviews what others did.
    pub cleo: Engineer,
    /// Those whom the setting kept.
    pub kept: Vec<Engineer>,
    others: Vec<Engineer>,
    /// `db-3.payments.prod`
    pub db_3: Host,
    /// `db-4.payments.prod`
    pub db_4: Host,
}

/// The accounts of the default policy's tiers.
pub const TIER_ACCOUNTS: [&str; 3] = ["look", "ops", "root"];

/// Roles as in the default roster, whose people's keys nobody has.
const ROLES: &str = r#"
[role]
policy_admin = { group = "security", quorum = 2, presence = "none" }
auditor = { group = "audit" }
incident_commander = { group = "sre-leads" }
"#;

/// Two more people of the roster, so that somebody else can always approve or sign too. Nobody has the private
/// halves of their keys: they do nothing themselves.
pub const COLLEAGUES: &str = r#"
[person.dan]
groups = ["payments-oncall", "sre"]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILtzLwicX0I+FB2CSyefGykEJAmjS7Rmf8XldhuaXjBX dan"]
[person.eve]
groups = ["sre-leads"]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP07ISbLBjC2Z4vh9Tg06kTonWJwBrdwWtdVnEbBL+oR eve"]
"#;

/// What a scene is made of, before it is: changed by the test that wants another.
pub struct Setting {
    /// Where it will play.
    pub world: World,
    /// `policy.toml`
    pub policy: String,
    /// On call for the payments database.
    pub ana: Engineer,
    /// A lead.
    pub ben: Engineer,
    /// Security.
    pub cleo: Engineer,
    /// Variables of the CA's environment.
    pub ca_environment: Vec<(String, String)>,
    /// People whom the scene keeps as they are: not enrolled, no agent.
    pub kept: Vec<Engineer>,
    others: Vec<(Engineer, Vec<&'static str>)>,
    roster: String,
}

impl Setting {
    /// Somebody more, in these groups; [`Scene::other`] gives them back.
    pub fn also(&mut self, name: &str, groups: &[&'static str]) -> &mut Engineer {
        self.others.push((self.world.engineer(name), groups.to_vec()));
        &mut self.others.last_mut().expect("it was just put there").0
    }

    /// Somebody more whose lines in the roster are these, or who has none.
    pub fn with_roster(&mut self, lines: &str) {
        self.roster.push_str(lines);
    }
}

impl Scene {
    /// Builds it. Panics, with what is wrong, when something does not come up.
    pub fn begin() -> Scene {
        Scene::begin_with(|_| ())
    }

    /// The same, ana's enrolled key on a security key; see [`Engineer::take_security_key`].
    pub fn begin_with_security_key() -> Scene {
        Scene::begin_with(|setting| setting.ana.take_security_key())
    }

    /// The same with what `prepare` changes.
    pub fn begin_with(prepare: impl FnOnce(&mut Setting)) -> Scene {
        let world = World::new();
        let mut setting = Setting {
            policy: default_policy(),
            ana: world.engineer("ana"),
            ben: world.engineer("ben"),
            cleo: world.engineer("cleo"),
            ca_environment: Vec::new(),
            kept: Vec::new(),
            others: Vec::new(),
            roster: String::new(),
            world,
        };
        prepare(&mut setting);
        let Setting { world, policy, mut ana, mut ben, mut cleo, ca_environment, kept, mut others, roster } =
            setting;
        let mut people: Vec<(&Engineer, &[&str])> = vec![
            (&ana, &["payments", "payments-oncall", "sre"]),
            (&ben, &["sre", "sre-leads", "security"]),
            (&cleo, &["security", "audit"]),
        ];
        people.extend(others.iter().map(|(person, groups)| (person, groups.as_slice())));
        let bundle = world.bundle(&policy, &people, &format!("{COLLEAGUES}{roster}{ROLES}"));
        let mut ca = world.ca(&bundle);
        ca_environment.iter().for_each(|(name, value)| ca.set_env(name, value));
        ca.start();
        let others_too = others.iter_mut().map(|(person, _)| person);
        for person in [&mut ana, &mut ben, &mut cleo].into_iter().chain(others_too) {
            person.enrol(&ca);
            person.start_agent();
        }
        let host = |name: &str| {
            let mut host = world.host(name, "payments-db");
            host.join_ca(&ca, &TIER_ACCOUNTS);
            host.start();
            host
        };
        let (db_3, db_4) = (host("db-3.payments.prod"), host("db-4.payments.prod"));
        let others = others.into_iter().map(|(person, _)| person).collect();
        Scene { world, ca, ana, ben, cleo, kept, others, db_3, db_4 }
    }

    /// Somebody whom the setting added.
    pub fn other(&self, name: &str) -> &Engineer {
        self.others.iter().find(|person| person.name() == name).expect("the setting has them")
    }

    /// The operator records an incident.
    pub fn incident(&self, id: &str, severity: u8, system: &str) {
        let severity = severity.to_string();
        self.ca.cmd(&["incident", "put", id, "--severity", &severity, "--system", system]).ok();
    }
}

/// `policies/default/policy.toml`
pub fn default_policy() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/default/policy.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same without its `[limits]`: for whoever declares faster than people do.
pub fn policy_without_limits() -> String {
    without_limits(&default_policy())
}

/// A policy without its `[limits]`.
pub fn without_limits(policy: &str) -> String {
    let (before, limits) = policy.split_once("[limits]\n").expect("limits");
    let (_, after) = limits.split_once("\n\n").expect("the end of the limits");
    format!("{before}{after}")
}

/// The same without its worked examples: for who changes what they are about.
pub fn policy_without_examples() -> String {
    let policy = default_policy();
    let (rules, _) = policy.split_once("# --- Worked examples").expect("the examples");
    rules.to_owned()
}
