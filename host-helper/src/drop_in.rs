//! The drop-in for a stock sshd, and what in sshd's own configuration would contradict it. Pure text.
//!
//! Everything stands in `Match User` blocks for the accounts that tiers use: for every other account sshd
//! goes on as before, with whatever CA, revocation list or principals it had. In a file that is included,
//! a `Match` ends with the file; `Match all` at the end says it once more.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fireaxe_protocol::names::AccountName;

/// sshd reads `sshd_config.d` in order and the first value wins: hence the low number.
pub const DROP_IN: &str = "etc/ssh/sshd_config.d/10-fireaxe.conf";
/// Keys that may sign user certificates, one a line.
pub const USER_CA: &str = "etc/ssh/fireaxe_user_ca.pub";
/// One file an account: the principals that open it.
pub const PRINCIPALS: &str = "etc/ssh/fireaxe_principals";
/// Standing keys of tier accounts, root-owned; normally empty.
pub const STANDING_KEYS: &str = "etc/ssh/fireaxe_keys";
/// The account that runs `principals`, which needs no right but to read.
pub const SERVICE_USER: &str = "fireaxe-host";
/// The revocation list.
pub const REVOKED: &str = "etc/ssh/fireaxe_revoked_keys";

/// How sshd learns which principals open an account. One or the other, never both: a file that matches is
/// asked first, and what the command would say is then not heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principals {
    /// From a file for each account.
    Files,
    /// From this program, by its absolute path: `PROGRAM principals ...`, as [`SERVICE_USER`].
    Command(PathBuf),
}

/// What the drop-in is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    /// The accounts that tiers use, `root` included if they do. Not empty.
    pub accounts: BTreeSet<AccountName>,
    /// How principals are learnt.
    pub principals: Principals,
    /// The host certificate, if there is one to show. Counts for everybody.
    pub host_certificate: Option<PathBuf>,
}

/// The arguments of `principals` as sshd fills them in. All of these tokens are known since OpenSSH 6.8; one
/// that is not known passes `sshd -t` and then kills every login.
const PRINCIPALS_ARGUMENTS: &str = "principals --account %u --certificate %k --key-id=%i";

impl DropIn {
    /// Its text.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# Written by `fireaxe-host`; changes are lost when it runs again.\n\
             # Accounts that are not named here are as they were.\n",
        );
        if let Some(certificate) = &self.host_certificate {
            out.push_str(&format!("HostCertificate {}\n", certificate.display()));
        }
        block(&mut out, self.accounts.iter(), &self.settings_of_all());
        let tiers: Vec<&AccountName> = self.accounts.iter().filter(|a| a.as_str() != "root").collect();
        if !tiers.is_empty() {
            out.push_str("# Made for emergencies: nobody leaves a key of their own here.\n");
            block(&mut out, tiers.into_iter(), &settings_of_tiers());
        }
        out.push_str("Match all\n");
        out
    }

    /// Reads back what [`DropIn::text`] wrote; none if the text is not ours at all. One that was changed by
    /// hand is read as far as it goes: its own text differs then.
    pub fn read(text: &str) -> Option<DropIn> {
        let (mut accounts, mut principals, mut host_certificate) = (None, None, None);
        for (_, keyword, value) in directives(text) {
            match keyword.as_str() {
                "hostcertificate" => host_certificate = Some(PathBuf::from(value)),
                "match" if accounts.is_none() => {
                    let names = value.strip_prefix("User ")?;
                    accounts = Some(names.split(',').map(str::parse).collect::<Result<_, _>>().ok()?);
                }
                "authorizedprincipalscommand" if principals.is_none() => {
                    principals = Some(match value.strip_suffix(PRINCIPALS_ARGUMENTS) {
                        Some(program) => Principals::Command(PathBuf::from(program.trim_end())),
                        None => Principals::Files,
                    });
                }
                _ => {}
            }
        }
        Some(DropIn { accounts: accounts?, principals: principals?, host_certificate })
    }

    /// What must be in force for this account, by sshd's own (lower-case) keywords.
    pub fn meant(&self, account: &AccountName) -> Vec<(String, String)> {
        let mut settings = self.settings_of_all();
        if account.as_str() != "root" {
            settings.extend(settings_of_tiers());
        }
        settings.into_iter().map(|(keyword, value)| (keyword.to_ascii_lowercase(), value)).collect()
    }

    fn settings_of_all(&self) -> Vec<(&'static str, String)> {
        let (file, command, user) = match &self.principals {
            Principals::Files => (format!("/{PRINCIPALS}/%u"), "none".to_owned(), None),
            Principals::Command(program) => (
                "none".to_owned(),
                format!("{} {PRINCIPALS_ARGUMENTS}", program.display()),
                Some(("AuthorizedPrincipalsCommandUser", SERVICE_USER.to_owned())),
            ),
        };
        let mut settings = vec![
            ("TrustedUserCAKeys", format!("/{USER_CA}")),
            ("AuthorizedPrincipalsFile", file),
            ("AuthorizedPrincipalsCommand", command),
        ];
        settings.extend(user);
        settings.push(("RevokedKeys", format!("/{REVOKED}")));
        settings.push(("LogLevel", "VERBOSE".to_owned()));
        settings
    }
}

fn block<'a>(
    out: &mut String,
    accounts: impl Iterator<Item = &'a AccountName>,
    settings: &[(&'static str, String)],
) {
    let names: Vec<&str> = accounts.map(AccountName::as_str).collect();
    out.push_str(&format!("Match User {}\n", names.join(",")));
    for (keyword, value) in settings {
        out.push_str(&format!("    {keyword} {value}\n"));
    }
}

fn settings_of_tiers() -> Vec<(&'static str, String)> {
    vec![
        ("AuthorizedKeysFile", format!("/{STANDING_KEYS}/%u")),
        ("AuthorizedKeysCommand", "none".to_owned()),
        // No certificate of ours permits `~/.ssh/rc`, which runs before a certificate's command; this says
        // it once more for keys that root may put into the standing keys.
        ("PermitUserRC", "no".to_owned()),
    ]
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
                    "a Match before the Include of sshd_config.d: 10-fireaxe.conf would count for some only";
                found.push(Conflict { file: file.into(), line, what });
                included = true;
            }
            _ => {}
        }
    }
    if !included {
        let what = "does not include /etc/ssh/sshd_config.d/*.conf: 10-fireaxe.conf would not be read";
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

    fn drop_in(names: &[&str], principals: Principals) -> DropIn {
        let accounts = names.iter().map(|name| name.parse().unwrap()).collect();
        DropIn { accounts, principals, host_certificate: None }
    }

    fn text(names: &[&str]) -> String {
        drop_in(names, Principals::Files).text()
    }

    #[test]
    fn nothing_is_said_outside_a_match_block() {
        let text = text(&["look", "ops", "root"]);
        let first = text.lines().find(|line| !line.starts_with('#')).unwrap();
        assert_eq!(first, "Match User look,ops,root");
        assert!(text.ends_with("\nMatch all\n"));
    }

    #[test]
    fn root_keeps_its_standing_keys() {
        let all = text(&["look", "root"]);
        assert!(all.contains("Match User look\n    AuthorizedKeysFile"), "{all}");
        assert!(!text(&["root"]).contains("AuthorizedKeysFile"));
    }

    #[test]
    fn sshd_is_told_to_ask_files_or_the_command_and_never_both() {
        let command = drop_in(&["ops", "root"], Principals::Command("/usr/bin/fireaxe-host".into()));
        for (drop_in, none) in [
            (command, "AuthorizedPrincipalsFile none\n"),
            (drop_in(&["ops", "root"], Principals::Files), "AuthorizedPrincipalsCommand none\n"),
        ] {
            assert_eq!(drop_in.text().matches(none).count(), 1, "{}", drop_in.text());
            assert_eq!(DropIn::read(&drop_in.text()).as_ref(), Some(&drop_in));
            // What is compared with `sshd -T` is what is written.
            for (keyword, value) in drop_in.meant(&"ops".parse().unwrap()) {
                let line = format!("    {keyword} {}\n", value.to_lowercase());
                assert!(drop_in.text().to_lowercase().contains(&line), "{line}");
            }
        }
    }

    #[test]
    fn the_host_certificate_stands_before_the_first_match() {
        let mut drop_in = drop_in(&["root"], Principals::Files);
        drop_in.host_certificate = Some("/etc/ssh/k-cert.pub".into());
        let text = drop_in.text();
        assert!(text.find("HostCertificate /etc").unwrap() < text.find("Match").unwrap(), "{text}");
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
