//! What sshd makes of all its files together: the first value wins, so a file that is right may count for
//! nothing. And what its version is known for.

use fireaxe_protocol::host::Mode;
use fireaxe_protocol::names::AccountName;

use super::version::Version;
use super::{Doctor, Finding};
use crate::apply::effective::Effective;
use crate::apply::server::Server;
use crate::drop_in::{DropIn, Principals};
use crate::escape::plain;
use crate::files;

/// The oldest that is supported.
const OLDEST: (u32, u32) = (8, 4);

/// Findings, and what counts for an account that nobody names.
pub(super) fn findings(doctor: &Doctor<'_>, drop_in: Option<&DropIn>) -> (Option<Effective>, Vec<Finding>) {
    let mut found = Vec::new();
    let sshd = doctor.sshd;
    if let Err(error) = files::ask(sshd) {
        let sentence = format!("sshd would not start again: {error}");
        found.push(Finding::wrong(
            "sshd.refuses",
            sentence,
            "sshd -t; do not restart it before that is mended",
        ));
    }
    let general = match Effective::ask(sshd, "nobody") {
        Ok(general) => general,
        Err(error) => {
            found.push(Finding::wrong("sshd.unknown", error.to_string(), "sshd -T says what it dislikes"));
            return (None, found);
        }
    };
    if let Some(drop_in) = drop_in {
        for account in &drop_in.accounts {
            of_account(doctor, drop_in, account, &mut found);
        }
        if matches!(drop_in.principals, Principals::Command(_)) && !general.is("usepam", "yes") {
            let sentence = "UsePAM is off: the daemon is not told of connections, which have no deadline";
            found.push(Finding::wrong(
                "sshd.no_pam",
                sentence,
                "set `UsePAM yes`, or fireaxe-host apply --stock --account NAME",
            ));
        }
    }
    if let Some(enrolled) = &doctor.config.enrolled {
        let key = enrolled.host_key.display().to_string();
        if !general.all("hostkey").contains(&key) {
            let sentence = format!("sshd does not use {key}, which this host is enrolled with");
            found.push(Finding::wrong("sshd.host_key", sentence, "add it as a HostKey"));
        }
    }
    if !general.is("permituserenvironment", "no") {
        let sentence = "PermitUserEnvironment is on: accounts set variables for what runs in their sessions";
        found.push(Finding::wrong("sshd.user_environment", sentence, "set PermitUserEnvironment no"));
    }
    for pattern in general.all("acceptenv") {
        if pattern.starts_with('*') || pattern.starts_with("LD_") {
            let sentence = format!("AcceptEnv {} lets clients set any variable", plain(pattern, 80));
            found.push(Finding::wrong("sshd.accept_env", sentence, "name the variables that are needed"));
        }
    }
    if Server::find(&general).is_none() {
        let sentence = "no sshd runs by its pid file: apply cannot make it read its configuration";
        found.push(Finding::note("sshd.not_running", sentence, "systemctl status ssh"));
    }
    pitfalls(&general, Version::ask(sshd).number, &mut found);
    (Some(general), found)
}

fn of_account(doctor: &Doctor<'_>, drop_in: &DropIn, account: &AccountName, found: &mut Vec<Finding>) {
    let effective = match Effective::ask(doctor.sshd, account.as_str()) {
        Ok(effective) => effective,
        Err(error) => {
            return found.push(Finding::wrong(
                "sshd.unknown",
                error.to_string(),
                "sshd -T says what it dislikes",
            ));
        }
    };
    for (keyword, value) in drop_in.meant(account) {
        if !effective.is(&keyword, &value) {
            let is = plain(&effective.all(&keyword).join(" | "), 120);
            found.push(Finding::wrong(
                "sshd.overruled",
                format!("{keyword} for {account} is `{is}` and not `{value}`"),
                "another file in sshd_config.d or a Match is read first: move it behind 10-fireaxe.conf",
            ));
        }
    }
    if mode_of(&effective) == Mode::Neither {
        found.push(Finding::wrong(
            "sshd.two_ways",
            format!("sshd asks both a file and a program who may be {account}, or neither"),
            "fireaxe-host apply --account NAME",
        ));
    }
    if crate::apply::accounts::find(account.as_str()).is_none() {
        let sentence = format!("there is no account {account}: sshd refuses it");
        found.push(Finding::wrong("host.no_account", sentence, "fireaxe-host apply --account NAME makes it"));
    }
}

/// How sshd learns principals, of all accounts of the drop-in alike.
pub(super) fn mode(doctor: &Doctor<'_>, drop_in: &DropIn) -> Mode {
    let mut modes = drop_in.accounts.iter().map(|account| {
        Effective::ask(doctor.sshd, account.as_str()).map_or(Mode::Neither, |asked| mode_of(&asked))
    });
    let first = modes.next().unwrap_or(Mode::Neither);
    if modes.all(|mode| mode == first) { first } else { Mode::Neither }
}

fn mode_of(effective: &Effective) -> Mode {
    let file = !effective.is("authorizedprincipalsfile", "none");
    let command = !effective.is("authorizedprincipalscommand", "none");
    match (file, command) {
        (true, false) => Mode::Stock,
        (false, true) => Mode::Helper,
        _ => Mode::Neither,
    }
}

/// What this version is known for. Measured or read in its sources; see the table in OPERATIONS.md.
fn pitfalls(general: &Effective, version: Option<(u32, u32)>, found: &mut Vec<Finding>) {
    let Some(version) = version else {
        let sentence = "sshd does not say which version it is";
        return found.push(Finding::note("sshd.version", sentence, "fireaxe-host doctor knows OpenSSH only"));
    };
    if version < OLDEST {
        let sentence =
            format!("OpenSSH {}.{} is older than 8.4, on which nothing was tried", version.0, version.1);
        found.push(Finding::wrong("sshd.version", sentence, "upgrade openssh-server"));
    }
    for keyword in ["authorizedprincipalscommand", "authorizedkeyscommand"] {
        let value = general.first(keyword).unwrap_or("");
        if version < (9, 4) && (value.contains("%C") || value.contains("%D")) {
            let sentence =
                format!("{keyword} has %C or %D, which this sshd does not know: it kills every login");
            found.push(Finding::wrong("sshd.token", sentence, "remove them, or upgrade to 9.4"));
        }
    }
    let penalties = general.first("persourcepenalties").is_some_and(|value| value != "no");
    if version >= (9, 8) && penalties && general.is("persourcepenaltyexemptlist", "none") {
        let sentence =
            "four failed logins from one address block that address for 20 s, valid certificates too";
        found.push(Finding::note(
            "sshd.penalties",
            sentence,
            "PerSourcePenaltyExemptList with the addresses of bastions, or people meet `Connection closed`",
        ));
    }
}
