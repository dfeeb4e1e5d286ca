//! The scene that most tests begin with: the default policy, two database hosts, two people, a CA.

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
    /// An incident commander: may close anyone's emergency.
    pub ben: Engineer,
    /// `db-3.payments.prod`
    pub db_3: Host,
    /// `db-4.payments.prod`
    pub db_4: Host,
}

/// The accounts of the default policy's tiers.
pub const TIER_ACCOUNTS: [&str; 3] = ["look", "ops", "root"];

/// Roles as in the default roster, whose people's keys nobody has.
const ROLES: &str = "\n[role]\npolicy_admin = { group = \"security\", quorum = 1 }\n\
                     incident_commander = { group = \"sre-leads\" }\n";

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

impl Scene {
    /// Builds it. Panics, with what is wrong, when something does not come up.
    pub fn begin() -> Scene {
        Scene::begin_with(None)
    }

    /// The same, ana's enrolled key on a security key; see [`Engineer::take_security_key`].
    pub fn begin_with_security_key() -> Scene {
        Scene::build(None, Engineer::take_security_key)
    }

    /// The same, the CA run from another build of its program and with these environment variables.
    pub fn begin_with(program: Option<(&Path, &[(&str, &str)])>) -> Scene {
        Scene::build(program, |_| ())
    }

    fn build(program: Option<(&Path, &[(&str, &str)])>, prepare_ana: impl FnOnce(&mut Engineer)) -> Scene {
        let world = World::new();
        let (mut ana, mut ben) = (world.engineer("ana"), world.engineer("ben"));
        prepare_ana(&mut ana);
        let people: [(&Engineer, &[&str]); 2] =
            [(&ana, &["payments", "payments-oncall", "sre"]), (&ben, &["sre", "sre-leads", "security"])];
        let bundle = world.bundle(&default_policy(), &people, &format!("{COLLEAGUES}{ROLES}"));
        let mut ca = world.ca(&bundle);
        if let Some((program, environment)) = program {
            ca.use_program(program);
            environment.iter().for_each(|(name, value)| ca.set_env(name, value));
        }
        ca.start();
        for person in [&mut ana, &mut ben] {
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
        Scene { world, ca, ana, ben, db_3, db_4 }
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
    let policy = default_policy();
    let (before, limits) = policy.split_once("[limits]\n").expect("limits");
    let (_, after) = limits.split_once("\n\n").expect("the end of the limits");
    format!("{before}{after}")
}
