//! `ssh-config`: blocks that make plain `ssh HOST` use what is held, and fall through to plain ssh when
//! nothing is.
//!
//! `Match host`, not `Match final host`: the first value of an option wins, so a `User` that the person
//! sets anywhere would already stand when a final pass comes, and a `final` anywhere makes ssh read the
//! whole configuration a second time for every host, with new matches. The price: a short name that
//! only `HostName` makes whole is not seen; `--aliases` adds final blocks for those who need it.
//!
//! Names from the CA are written only if they are plain names and patterns; the host that ssh puts in
//! for `%h` stands between single quotes.

use fireaxe_protocol::api::PolicySurface;
use fireaxe_protocol::names::AccountName;
use fireaxe_protocol::policy::Pattern;
use serde::Serialize;

use super::Context;
use crate::cli::SshConfig;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::known_hosts;
use crate::places::Places;

pub(super) fn run(cx: &Context, what: &SshConfig) -> Result<Exit, Failure> {
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let surface: PolicySurface = authority.get(&mut control, "/v1/policy")?;
    let me = std::env::current_exe().map_err(|e| Failure::UnsafePath(e.to_string()))?;
    let known = known_hosts::keep(&cx.places, &surface, &authority.host_ca()?)?;
    let paths = Paths {
        me: &me.display().to_string(),
        socket: &cx.places.agent_socket().display().to_string(),
        known_hosts: &known.display().to_string(),
    };
    let text = blocks(&surface, &paths, what.aliases)?;
    if cx.screen.is_json() {
        #[derive(Serialize)]
        struct Answer {
            schema: &'static str,
            ssh_config: String,
        }
        cx.screen.json(&Answer { schema: "fireaxe.ssh-config/v1", ssh_config: text });
        return Ok(Exit::Ok);
    }
    cx.screen.data(text.trim_end());
    if !is_installed(&cx.places) {
        cx.screen.say("next: fireaxe ssh-config > ~/.ssh/fireaxe.conf   and, as the first line of ~/.ssh/config:   Include fireaxe.conf");
    }
    Ok(Exit::Ok)
}

/// Whether the person's ssh configuration seems to know this program.
pub(super) fn is_installed(places: &Places) -> bool {
    let user = places.home.as_ref().map(|home| home.join(".ssh/config"));
    let system = ["/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d/fireaxe.conf"].map(Into::into);
    user.into_iter()
        .chain(system)
        .any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("fireaxe")))
}

/// What the blocks name.
#[derive(Clone, Copy)]
struct Paths<'a> {
    /// This program.
    me: &'a str,
    /// The agent's.
    socket: &'a str,
    /// Who vouches for hosts.
    known_hosts: &'a str,
}

fn blocks(surface: &PolicySurface, paths: &Paths<'_>, aliases: bool) -> Result<String, Failure> {
    let Paths { me, socket, known_hosts } = *paths;
    for path in [me, socket, known_hosts] {
        if !is_safe_path(path) {
            return Err(Failure::UnsafePath(path.to_owned()));
        }
    }
    let mut patterns: Vec<&str> = surface.systems.iter().flat_map(|s| &s.hosts).map(String::as_str).collect();
    patterns.retain(|p| p.parse::<Pattern>().is_ok());
    patterns.sort_unstable();
    patterns.dedup();
    let mut out = String::from(
        "# Written by `fireaxe ssh-config`. Include it before everything else: the first value of an\n\
         # option wins. With nothing held, or no agent, ssh goes on as if these lines were not there,\n\
         # but for hosts that have a certificate: whoever connects, the host CA vouches for them.\n",
    );
    if patterns.is_empty() {
        return Ok(out);
    }
    let patterns = patterns.join(",");
    // Beside the system's files, not the person's: those go on counting, wherever they are.
    out.push_str(&format!(
        "\nMatch host {patterns}\n    GlobalKnownHostsFile {SYSTEM_KNOWN_HOSTS} {known_hosts}\n"
    ));
    for (n, account) in surface.accounts.iter().enumerate() {
        block(&mut out, &format!("host {patterns}"), account, me, socket, n == 0);
    }
    if aliases {
        for account in &surface.accounts {
            block(&mut out, &format!("final host {patterns}"), account, me, socket, false);
        }
    }
    Ok(out)
}

/// A shared connection would outlive its certificate, hence no ControlMaster and no ControlPath; keys
/// of the agent must be offered whatever `IdentitiesOnly` is set to later. A host that neither the host CA nor
/// the person's own files vouch for is not trusted on first use.
fn block(out: &mut String, criteria: &str, account: &AccountName, me: &str, socket: &str, hint: bool) {
    let hint = if hint { "--hint " } else { "" };
    out.push_str(&format!(
        "\nMatch {criteria} exec \"{me} match {hint}-- '%h' {account}\"\n\
         \x20   User {account}\n\
         \x20   IdentityAgent {socket}\n\
         \x20   IdentitiesOnly no\n\
         \x20   ForwardAgent no\n\
         \x20   ControlMaster no\n\
         \x20   ControlPath none\n\
         \x20   StrictHostKeyChecking yes\n"
    ));
}

fn is_safe_path(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+'))
}

/// Where ssh looks by default, beside the person's own files.
const SYSTEM_KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2";

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::api::SystemSurface;
    use fireaxe_protocol::log::Hash;
    use std::process::Command;

    fn surface(hosts: &[&str]) -> PolicySurface {
        PolicySurface {
            schema: "fireaxe.policy/v1".into(),
            bundle: Hash([0; 32]),
            systems: vec![SystemSurface {
                system: "payments-db".parse().unwrap(),
                hosts: hosts.iter().map(|h| h.to_string()).collect(),
            }],
            accounts: vec!["root".parse().unwrap(), "look".parse().unwrap()],
            actions: Vec::new(),
        }
    }

    fn paths<'a>(me: &'a str, socket: &'a str) -> Paths<'a> {
        Paths { me, socket, known_hosts: "/home/ana/.local/state/fireaxe/known_hosts" }
    }

    /// What the real `ssh -G` makes of it: `user`, `identityagent`, and what it asked.
    fn ssh(text: &str, dir: &std::path::Path, before: &str, host: &str) -> String {
        let config = dir.join("config");
        std::fs::write(&config, format!("{text}\n{before}")).unwrap();
        let out = Command::new("ssh").arg("-F").arg(&config).args(["-G", host]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Stands for `fireaxe`: yes for account root, and notes what it was asked.
    fn fake(dir: &std::path::Path) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("fireaxe");
        let log = dir.join("asked");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\ncase \"$*\" in *root) exit 0;; esac\nexit 1\n",
            log.display()
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    #[test]
    fn ssh_reads_the_blocks_and_takes_the_account_that_matches() {
        let dir = tempfile::tempdir().unwrap();
        let me = fake(dir.path());
        let text =
            blocks(&surface(&["db-*.payments.prod"]), &paths(&me, "/run/user/1/fireaxe/agent.sock"), false)
                .unwrap();
        let user = "Host *\n  User ana\n  ControlMaster auto\n  ControlPath /tmp/x\n  IdentitiesOnly yes\n  \
                    UserKnownHostsFile /home/ana/corp_known_hosts\n";
        let inside = ssh(&text, dir.path(), user, "db-3.payments.prod");
        for line in [
            "user root",
            "identityagent /run/user/1/fireaxe/agent.sock",
            "controlmaster false",
            "identitiesonly no",
            "stricthostkeychecking true",
            "globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2 /home/ana/.local/state/fireaxe/known_hosts",
            "userknownhostsfile /home/ana/corp_known_hosts",
        ] {
            assert!(inside.lines().any(|l| l == line), "{line} is missing from\n{inside}");
        }
        assert!(!inside.contains("controlpath /tmp/x"));
        let asked = std::fs::read_to_string(dir.path().join("asked")).unwrap();
        assert_eq!(asked, "match --hint -- db-3.payments.prod root\nmatch -- db-3.payments.prod look\n");
        std::fs::remove_file(dir.path().join("asked")).unwrap();
        let outside = ssh(&text, dir.path(), user, "web-1.shop.prod");
        assert!(outside.lines().any(|l| l == "user ana"));
        assert!(!outside.contains("fireaxe/known_hosts") && !outside.contains("stricthostkeychecking true"));
        assert!(!dir.path().join("asked").exists(), "ssh asked about a host of nobody's");
    }

    #[test]
    fn aliases_are_seen_by_final_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let me = fake(dir.path());
        let text = blocks(&surface(&["db-*.payments.prod"]), &paths(&me, "/s/agent.sock"), true).unwrap();
        let alias = "Host db-3\n  HostName db-3.payments.prod\n";
        assert!(ssh(&text, dir.path(), alias, "db-3").lines().any(|l| l == "user root"));
    }

    #[test]
    fn names_that_ssh_or_a_shell_could_misread_are_never_written() {
        let hostile =
            ["*", "db-1.prod exec \"x\"", "a.prod\nProxyCommand x", "$(x).prod", "!a.prod", "ok.prod"];
        let text = blocks(&surface(&hostile), &paths("/usr/bin/fireaxe", "/s/agent.sock"), false).unwrap();
        assert!(text.contains("Match host ok.prod exec \"/usr/bin/fireaxe match --hint -- '%h' root\"\n"));
        assert!(!text.contains("Proxy") && !text.contains("$("));
        for path in ["relative", "/a b", "/a\"b", "/a%h", "/a'b", "/ü"] {
            assert!(blocks(&surface(&["ok.prod"]), &paths(path, "/s/agent.sock"), false).is_err(), "{path}");
        }
    }
}
