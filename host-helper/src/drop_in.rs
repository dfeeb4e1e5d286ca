//! The drop-in for a stock sshd, and what in sshd's own configuration would contradict it. Pure text.
//!
//! Everything stands in `Match User` blocks for the accounts that tiers use: for every other account sshd
//! goes on as before, with whatever CA, revocation list or principals it had. In a file that is included,
//! a `Match` ends with the file; `Match all` at the end says it once more.

use fireaxe_protocol::names::AccountName;

/// sshd reads `sshd_config.d` in order and the first value wins: hence the low number.
pub const DROP_IN: &str = "etc/ssh/sshd_config.d/10-fireaxe.conf";
/// Keys that may sign user certificates, one a line.
pub const USER_CA: &str = "etc/ssh/fireaxe_user_ca.pub";
/// One file an account: the principals that open it.
pub const PRINCIPALS: &str = "etc/ssh/fireaxe_principals";
/// Standing keys of tier accounts, root-owned; normally empty.
pub const STANDING_KEYS: &str = "etc/ssh/fireaxe_keys";
/// The revocation list.
pub const REVOKED: &str = "etc/ssh/fireaxe_revoked_keys";

/// The drop-in's text for these accounts, which must not be empty.
pub fn text(accounts: &[AccountName]) -> String {
    let list = |accounts: &[&AccountName]| {
        accounts.iter().map(|account| account.as_str()).collect::<Vec<_>>().join(",")
    };
    let all: Vec<&AccountName> = accounts.iter().collect();
    let tiers: Vec<&AccountName> = accounts.iter().filter(|account| account.as_str() != "root").collect();
    let mut out = format!(
        "# Written by `fireaxe-host files`; changes are lost when it runs again.\n\
         # Accounts that are not named here are as they were.\n\
         Match User {}\n    \
         TrustedUserCAKeys /{USER_CA}\n    \
         AuthorizedPrincipalsFile /{PRINCIPALS}/%u\n    \
         AuthorizedPrincipalsCommand none\n    \
         RevokedKeys /{REVOKED}\n    \
         LogLevel VERBOSE\n",
        list(&all)
    );
    if !tiers.is_empty() {
        out.push_str(&format!(
            "# Made for emergencies: nobody leaves a key of their own here.\n\
             Match User {}\n    \
             AuthorizedKeysFile /{STANDING_KEYS}/%u\n    \
             AuthorizedKeysCommand none\n",
            list(&tiers)
        ));
    }
    out.push_str("Match all\n");
    out
}

/// Something in sshd's configuration that stands against the drop-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The file it is in.
    pub file: String,
    /// Its line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What it means.
    pub what: &'static str,
}

/// Reads `sshd_config`: is the drop-in folder included, before anything could win over it?
pub fn check_main(file: &str, text: &str) -> Vec<Conflict> {
    let mut included = false;
    let mut found = Vec::new();
    for (line, keyword, value) in directives(text) {
        match keyword.as_str() {
            "include" if value.split_whitespace().any(|p| p.contains("sshd_config.d/")) => included = true,
            "match" if !included => {
                let what =
                    "a Match before the Include of sshd_config.d: the drop-in would count for some only";
                found.push(Conflict { file: file.into(), line, what });
                included = true;
            }
            _ => {}
        }
    }
    if !included {
        let what = "does not include /etc/ssh/sshd_config.d/*.conf: the drop-in would not be read";
        found.push(Conflict { file: file.into(), line: 0, what });
    }
    found.extend(check_other(file, text));
    found
}

/// Reads any file of sshd's configuration: does it set what the drop-in would hide for its accounts?
pub fn check_other(file: &str, text: &str) -> Vec<Conflict> {
    let what = |keyword: &str| match keyword {
        "revokedkeys" => Some("another RevokedKeys: for tier accounts it would no longer be asked"),
        "trustedusercakeys" => Some("another TrustedUserCAKeys: its CA would no longer open tier accounts"),
        _ => None,
    };
    directives(text)
        .filter(|(_, _, value)| value != "none")
        .filter_map(|(line, keyword, _)| Some(Conflict { file: file.into(), line, what: what(&keyword)? }))
        .collect()
}

/// Line number, keyword in lower case, and value of each directive, as sshd splits them.
fn directives(text: &str) -> impl Iterator<Item = (usize, String, String)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let (keyword, value) = line.split_once(|c: char| c.is_whitespace() || c == '=').unwrap_or((line, ""));
        let value = value.trim_matches(|c: char| c.is_whitespace() || c == '=');
        Some((at + 1, keyword.to_ascii_lowercase(), value.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(names: &[&str]) -> Vec<AccountName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn nothing_is_said_outside_a_match_block() {
        let text = text(&accounts(&["look", "ops", "root"]));
        let first = text.lines().find(|line| !line.starts_with('#')).unwrap();
        assert_eq!(first, "Match User look,ops,root");
        assert!(text.ends_with("\nMatch all\n"));
    }

    #[test]
    fn root_keeps_its_standing_keys() {
        let all = text(&accounts(&["look", "root"]));
        assert!(all.contains("Match User look\n    AuthorizedKeysFile"), "{all}");
        assert!(!text(&accounts(&["root"])).contains("AuthorizedKeysFile"));
    }

    #[test]
    fn a_configuration_that_hides_the_drop_in_is_found() {
        let good = "Include /etc/ssh/sshd_config.d/*.conf\nX11Forwarding yes\nMatch User a\n";
        assert_eq!(check_main("f", good), []);
        assert_eq!(check_main("f", "X11Forwarding yes\n")[0].line, 0);
        assert_eq!(check_main("f", "Match User a\nInclude /etc/ssh/sshd_config.d/*.conf\n")[0].line, 1);
    }

    #[test]
    fn another_ca_or_revocation_list_is_found_however_it_is_spelled() {
        for line in ["RevokedKeys /x", "  revokedkeys=/x", "REVOKEDKEYS\t/x", "trustedUserCaKeys = /x"] {
            assert_eq!(check_other("f", line).len(), 1, "{line}");
        }
        for line in ["# RevokedKeys /x", "RevokedKeys none", "RevokedKeysX /x", "PermitRootLogin no"] {
            assert_eq!(check_other("f", line), [], "{line}");
        }
    }
}
