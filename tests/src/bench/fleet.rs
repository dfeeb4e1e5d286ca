//! A generated bundle of many systems: the default policy's tiers and risk table, and for each system two
//! host patterns, groups of its own, a rule, two people, and for every fourth one an action.

use std::fmt::Write;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::keys::Ed25519Key;

/// `policy.toml` and `roster.toml` of `systems` systems, and what was generated, in words. The default
/// policy's own systems, rules and tests stay in it.
pub fn bundle(systems: usize) -> (String, String, String) {
    let mut policy = crate::scene::default_policy();
    let mut roster = String::from(include_str!("../../../policies/default/roster.toml"));
    let mut actions = 0;
    for n in 0..systems {
        let (sensitivity, blast) = (1 + n % 4, 1 + n / 4 % 4);
        let _ = write!(
            policy,
            "\n[system.s{n}]\nhosts = [\"db-{n}-*.fleet.prod\", \"web-{n}.s{n}.prod\"]\nsensitivity = {sensitivity}\n\
             blast = {blast}\nowner = \"o{n}\"\non_call = \"g{n}\"\n\
             [[rule]]\nid = \"r{n}\"\nwhen = {{ systems = [\"s{n}\"], on_call = false }}\n\
             add = {{ approvals = {{ count = 1, from = [\"g{n}\", \"sre-leads\"] }} }}\nwhy = \"PM-{n}\"\n"
        );
        if n % 4 == 0 {
            actions += 1;
            let _ = write!(
                policy,
                "[action.restart-{n}]\nsystems = [\"s{n}\"]\naccount = \"ops\"\n\
                 force_command = [\"/usr/bin/systemctl\", \"restart\", \"s{n}@{{shard}}\"]\n\
                 params = {{ shard = \"[0-9]{{1,3}}\" }}\npower = 2\n"
            );
        }
        for p in 0..PEOPLE_EACH {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&((n * PEOPLE_EACH + p) as u64).to_le_bytes());
            let key = Ed25519Key::from(&SigningKey::from_bytes(&seed));
            let leads = if n < LEADING { ", \"sre-leads\"" } else { "" };
            let _ = write!(
                roster,
                "\n[person.p{n}-{p}]\ngroups = [\"g{n}\", \"o{n}\"{leads}]\nkeys = [\"{key} p{n}-{p}\"]\n"
            );
        }
    }
    let people = systems * PEOPLE_EACH;
    let words = format!(
        "{systems} systems, {systems} rules, {actions} actions, {people} people beside the default's"
    );
    (policy, roster, words)
}

/// Enough for every rule: whoever asks needs another who may approve.
const PEOPLE_EACH: usize = 2;

/// The people of so many systems lead: fewer than a rung may call.
const LEADING: usize = 100;
