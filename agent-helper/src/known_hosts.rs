//! A known-hosts file of our own: the host CA vouches for hosts of the policy, and for no other.
//!
//! `ssh-config` names it to ssh beside the system's files, so that whatever the person's own files know goes on
//! counting. Trusted: whoever can change it makes ssh take another machine for one of these hosts; it lies in
//! this user's own state directory. Kept current whenever the policy's surface is read.

use std::path::PathBuf;

use fireaxe_protocol::api::PolicySurface;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::policy::Pattern;

use crate::failure::Failure;
use crate::places::{self, Places};

/// Writes the file if it would be another; gives its path.
pub(crate) fn keep(
    places: &Places,
    surface: &PolicySurface,
    host_ca: &Ed25519Key,
) -> Result<PathBuf, Failure> {
    let path = places.known_hosts();
    let text = lines(surface, host_ca);
    if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
        places::replace(&path, &text)?;
    }
    Ok(path)
}

/// One line a system. Only patterns that nothing could misread are written.
fn lines(surface: &PolicySurface, host_ca: &Ed25519Key) -> String {
    let mut out =
        String::from("# Written by `fireaxe ssh-config`: who vouches for the hosts of the policy.\n");
    for system in &surface.systems {
        let plain = |p: &&str| p.parse::<Pattern>().is_ok();
        let hosts: Vec<&str> = system.hosts.iter().map(String::as_str).filter(plain).collect();
        if !hosts.is_empty() {
            out.push_str(&format!("@cert-authority {} {host_ca} {}\n", hosts.join(","), system.system));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::api::SystemSurface;
    use fireaxe_protocol::log::Hash;

    fn surface(hosts: &[&str]) -> PolicySurface {
        let hosts = hosts.iter().map(|h| h.to_string()).collect();
        let systems = vec![SystemSurface { system: "payments-db".parse().unwrap(), hosts }];
        let schema = "fireaxe.policy/v1".into();
        PolicySurface { schema, bundle: Hash([0; 32]), systems, accounts: Vec::new(), actions: Vec::new() }
    }

    #[test]
    fn the_host_ca_vouches_for_hosts_of_the_policy_only() {
        let key: Ed25519Key = Ed25519Key([9; 32]);
        let text = lines(
            &surface(&["db-*.payments.prod", "*", "a.prod\n@cert-authority *", "!x.prod", "b.prod"]),
            &key,
        );
        let written: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(written, [format!("@cert-authority db-*.payments.prod,b.prod {key} payments-db")]);
    }

    #[test]
    fn the_file_follows_the_policy() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places {
            config: dir.path().join("c"),
            state: dir.path().to_owned(),
            run: dir.path().to_owned(),
            home: None,
        };
        let key = Ed25519Key([9; 32]);
        let path = keep(&places, &surface(&["a.prod"]), &key).unwrap();
        let made = std::fs::metadata(&path).unwrap().modified().unwrap();
        keep(&places, &surface(&["a.prod"]), &key).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), made, "written again for nothing");
        keep(&places, &surface(&["b.prod"]), &key).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(" b.prod ") && !text.contains("a.prod"), "{text}");
    }
}
