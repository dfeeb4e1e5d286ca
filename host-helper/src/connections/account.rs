//! Who an account is on this host: its number, and the shell that runs what a session runs.

use std::path::Path;
use std::process::Command;

use fireaxe_protocol::host::RECORDER;
use fireaxe_protocol::names::AccountName;

/// What is known of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    /// Absolute path.
    pub(super) shell: String,
}

/// Looks an account up: the file first, then whatever else the host's name service knows.
pub(super) fn look_up(name: &AccountName) -> Option<Account> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    parse(&passwd, name).or_else(|| {
        let asked = Command::new("getent").args(["passwd", name.as_str()]).output().ok()?;
        parse(&String::from_utf8_lossy(&asked.stdout), name)
    })
}

fn parse(passwd: &str, name: &AccountName) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name.as_str()))?;
    let fields: Vec<&str> = line.split(':').collect();
    let shell = fields.get(6).copied().unwrap_or_default();
    Some(Account { uid: fields.get(2)?.parse().ok()?, shell: real_shell(shell) })
}

/// The login shell of accounts made for tiers is the recorder itself: what it runs needs another.
fn real_shell(shell: &str) -> String {
    let is_shell =
        shell.starts_with('/') && shell != RECORDER && !NO_SHELL.iter().any(|no| shell.ends_with(no));
    if is_shell {
        shell.to_owned()
    } else if Path::new(BASH).exists() {
        BASH.to_owned()
    } else {
        "/bin/sh".to_owned()
    }
}

const BASH: &str = "/bin/bash";
const NO_SHELL: [&str; 2] = ["/nologin", "/false"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorder_as_login_shell_still_has_a_shell_to_run() {
        let passwd =
            format!("root:x:0:0:r:/root:/bin/zsh\nops:x:7:7::/h:{RECORDER}\nno:x:8:8::/:/usr/sbin/nologin\n");
        let shell = |name: &str| parse(&passwd, &name.parse().unwrap()).map(|a| (a.uid, a.shell));
        assert_eq!(shell("root"), Some((0, "/bin/zsh".into())));
        for (name, uid) in [("ops", 7), ("no", 8)] {
            let (found, shell) = shell(name).unwrap();
            assert!(found == uid && ["/bin/bash", "/bin/sh"].contains(&shell.as_str()), "{shell}");
        }
        assert_eq!(shell("op"), None);
    }
}
