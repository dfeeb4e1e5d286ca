//! `fireaxe-host principals`: sshd's `AuthorizedPrincipalsCommand`. Prints which principals open the account,
//! for a certificate that this host may admit; for any other, nothing.
//!
//! sshd runs it twice a login, as an unprivileged user, before the holder has proved to have the key: so it
//! counts nothing, consumes nothing, opens nothing. It always ends with exit code 0: with any other sshd logs
//! the whole certificate. What it prints is made of this host's own configuration alone.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::limits;
use fireaxe_protocol::names::AccountName;
use fireaxe_protocol::reason::Reason;

use super::judge::{self, Admitted};
use super::known::Known;
use crate::clock::Deadline;
use crate::config::Config;
use crate::daemon::call;
use crate::daemon::words::{Ask, SOCKET};
use crate::files;
use crate::journal::{Line, Severity};

/// What sshd says, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `%u`
    pub account: &'a str,
    /// `%k`: base64 of the certificate.
    pub certificate: &'a str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Considered {
    /// What sshd is to be told: lines of `<account>:<system>` or `<account>:<host>`; empty: refused.
    pub output: String,
    /// The certificate's serial, if it could be judged.
    pub serial: Option<u64>,
    /// Why nothing is printed.
    pub refused: Option<Reason>,
    /// The revocation list that it was judged by.
    pub list: Option<u64>,
}

/// Judges. `now` is unix seconds; `uid` who runs this: root must not, since sshd would run with root's rights
/// whatever a certificate makes it do.
pub fn consider(asked: &Asked<'_>, config: &Path, now: u64, uid: u32) -> Considered {
    let refused = |reason: Reason| Considered {
        output: String::new(),
        serial: None,
        refused: Some(reason),
        list: None,
    };
    if uid == 0 {
        let sentence = "it runs as root: AuthorizedPrincipalsCommandUser must be a user of its own";
        return refused(Reason::new("login.as_root", sentence));
    }
    let config = match Config::read(config) {
        Ok(config) => config,
        Err(error) => return refused(Reason::new("login.config", error.to_string())),
    };
    let user_ca = match files::read_user_ca(&config.user_ca) {
        Ok(keys) => keys,
        Err(error) => return refused(Reason::new("login.no_ca", error.to_string())),
    };
    let not_ours = || judge::reason(&[judge::Refusal::NotOurs]);
    let Ok(account) = asked.account.parse::<AccountName>() else {
        return refused(judge::reason(&[judge::Refusal::Account]));
    };
    let longest = limits::CERTIFICATE.div_ceil(3) * 4;
    let Some(certificate) = Some(asked.certificate)
        .filter(|text| text.len() <= longest)
        .and_then(|text| STANDARD.decode(text).ok())
    else {
        return refused(not_ours());
    };
    let known = Known::of(&config, user_ca);
    let list = known.version();
    match judge::judge(&certificate, &account, &known.here(&config, now)) {
        Ok(Admitted { serial, principals, .. }) => {
            let output = principals.iter().map(|principal| format!("{principal}\n")).collect();
            Considered { output, serial: Some(serial), refused: None, list }
        }
        Err(refusals) => {
            let serial = judge::serial(&certificate);
            Considered { list, serial, ..refused(judge::reason(&refusals)) }
        }
    }
}

/// Tells the journal and the daemon, neither of which is waited for. `monitor` is sshd's process.
pub fn tell(asked: &Asked<'_>, considered: &Considered, monitor: u32) {
    let Considered { serial, refused, list, .. } = considered;
    let (verdict, severity) = match refused {
        None => ("admitted", Severity::Info),
        Some(_) => ("refused", Severity::Warning),
    };
    Line::new("considered")
        .with("verdict", verdict)
        .with("account", asked.account)
        .with_some("serial", *serial)
        .with("monitor", monitor)
        .with_some("list", *list)
        .with_some("reason", refused.as_ref().map(|reason| &reason.code))
        .with_some("why", refused.as_ref().map(|reason| &reason.sentence))
        .say(severity);
    let ask = Ask::Considered {
        monitor,
        account: asked.account.to_owned(),
        serial: *serial,
        refused: refused.clone(),
    };
    // A daemon that is away or hangs: the journal has it.
    let _ = call::say(Path::new(SOCKET), &ask, Deadline::after(PATIENCE));
}

/// How long the daemon may keep a login waiting here.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(50);
