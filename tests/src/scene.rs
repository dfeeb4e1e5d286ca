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

/// The system of both hosts.
const SYSTEM: &str = "payments-db";

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
    /// Builds it with stock hosts: files only, nothing of ours in the login path, so nothing is recorded either.
    /// Panics, with what is wrong, when something does not come up.
    pub fn begin() -> Scene {
        Scene::begin_with(|_| ())
    }

    /// The same, ana's and ben's enrolled keys on security keys; see [`Engineer::take_security_key`].
    pub fn begin_with_security_keys() -> Scene {
        Scene::begin_with(|setting| {
            setting.ana.take_security_key();
            setting.ben.take_security_key();
        })
    }

    /// The same with what `prepare` changes.
    pub fn begin_with(prepare: impl FnOnce(&mut Setting)) -> Scene {
        Scene::build(stock_policy(), prepare, |world, ca, name| {
            let mut host = world.host(name, SYSTEM);
            host.join_ca(ca, &TIER_ACCOUNTS);
            host.start();
            host
        })
    }

    /// The whole default policy, and hosts with everything of ours: enrolled, applied, the daemon running.
    pub fn begin_with_helper() -> Scene {
        Scene::begin_with_helper_and(|_| ())
    }

    /// The same with what `prepare` changes.
    pub fn begin_with_helper_and(prepare: impl FnOnce(&mut Setting)) -> Scene {
        Scene::build(default_policy(), prepare, |world, ca, name| {
            let mut host = world.host(name, SYSTEM);
            host.set_up(ca, &TIER_ACCOUNTS);
            host
        })
    }

    fn build(
        policy: String,
        prepare: impl FnOnce(&mut Setting),
        host: impl Fn(&World, &Ca, &str) -> Host,
    ) -> Scene {
        let world = World::new();
        let mut setting = Setting {
            policy,
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
        let [db_3, db_4] = ["db-3.payments.prod", "db-4.payments.prod"].map(|name| host(&world, &ca, name));
        let others = others.into_iter().map(|(person, _)| person).collect();
        Scene { world, ca, ana, ben, cleo, kept, others, db_3, db_4 }
    }

    /// Somebody whom the setting added.
    pub fn other(&self, name: &str) -> &Engineer {
        self.others.iter().find(|person| person.name() == name).expect("the setting has them")
    }

    /// A changed bundle, and the files with the words that put it in force, each signed by another person of
    /// security with nothing but `ssh-keygen`.
    pub fn signed_change(
        &self,
        policy: impl Fn(&str) -> String,
        roster: impl Fn(&str) -> String,
    ) -> (String, [String; 2]) {
        let (old, new) = (self.world.dir().join("bundle"), self.world.room("new-bundle"));
        let changed = |file: &str, change: &dyn Fn(&str) -> String| {
            let before = std::fs::read_to_string(old.join(file)).expect("the bundle");
            std::fs::write(new.join(file), change(&before)).expect("a file");
        };
        changed("policy.toml", &policy);
        changed("roster.toml", &roster);
        let words = ["ben", "cleo"].map(|name| new.join(format!("change.{name}")).display().to_string());
        let bundle = new.display().to_string();
        self.ca.cmd(&["policy", "statement", &bundle, "-o", &words[0]]).ok();
        std::fs::copy(&words[0], &words[1]).expect("a file");
        for (person, file) in [&self.ben, &self.cleo].into_iter().zip(&words) {
            let mut sign = person.command("ssh-keygen");
            sign.args(["-Y", "sign", "-n", "bundle.v1@fireaxe", "-f"]).arg(person.key().path()).arg(file);
            crate::run(&mut sign).ok();
        }
        (bundle, words)
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

/// [`default_policy`] without its `[limits]`: for whoever declares faster than people do.
pub fn policy_without_limits() -> String {
    without_limits(&default_policy())
}

/// A policy without its `[limits]`.
pub fn without_limits(policy: &str) -> String {
    let (before, limits) = policy.split_once("[limits]\n").expect("limits");
    let (_, after) = limits.split_once("\n\n").expect("the end of the limits");
    format!("{before}{after}")
}

/// The default policy for hosts that have no recorder, as `fireaxe-host files` sets them up: the same, nothing
/// recorded. A tier that is recorded is refused there: its certificate names a program that is not there.
pub fn stock_policy() -> String {
    let mut policy = default_policy();
    for setting in ["record = \"best-effort\"", "record = \"required\"", "krl_max_age = \"10m\""] {
        policy = policy.replace(&format!("{setting}\n"), "").replace(&format!(", {setting}"), "");
    }
    assert!(!policy.contains("krl_max_age = ") && !policy.contains("record = \"required"), "{policy}");
    policy
}

/// [`stock_policy`] without its worked examples: for who changes what they are about.
pub fn policy_without_examples() -> String {
    let policy = stock_policy();
    let (rules, _) = policy.split_once("# --- Worked examples").expect("the examples");
    rules.to_owned()
}
