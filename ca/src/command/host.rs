//! `host invite`, `host ls`, `host retire`: the operator's word on which hosts there are.
//!
//! The token goes to stdout and nowhere else, so that it can be piped to where the host is installed without
//! lying in a shell's history; everything for people goes to stderr.

use clap::{Args, Subcommand};
use fireaxe_protocol::names::{HostName, SystemName};

use super::{Data, Failed, operator_client, print, tell};
use crate::clock::{Clock, SystemClock};
use crate::data_dir::DataDir;
use crate::door::{HostsAnswer, InvitationRequest, InvitedAnswer, RetiredAnswer};

/// Which hosts there are.
#[derive(Debug, Subcommand)]
pub(super) enum Host {
    /// Let a host join: prints a token, good once
    Invite(Invite),
    /// List hosts that are enrolled or invited
    Ls(Ls),
    /// Take a host out: its reports are not taken any more, its certificate is not renewed
    Retire(Retire),
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// The host's name, e.g. db-3.payments.prod
    name: HostName,
    /// The system it must belong to; which one it is, the policy says
    #[arg(long)]
    system: Option<SystemName>,
    /// How long the token is good, e.g. 10m, 1h, 2d
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = time)]
    for_s: u64,
    /// Print the token and what it is for as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, Args)]
pub(super) struct Retire {
    /// The host's name
    name: HostName,
    /// Print the entry as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
}

/// `90s`, `10m`, `1h`, `2d` in seconds.
fn time(text: &str) -> Result<u64, String> {
    let wrong = || "a number and s, m, h or d: 10m, 1h, 2d".to_owned();
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

impl Host {
    pub(super) fn run(self) -> Result<(), Failed> {
        match self {
            Host::Invite(invite) => invite.run(),
            Host::Ls(ls) => ls.run(),
            Host::Retire(retire) => retire.run(),
        }
    }
}

impl Invite {
    fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let request =
            InvitationRequest { host: self.name.clone(), system: self.system, for_s: Some(self.for_s) };
        let told: InvitedAnswer = operator_client::post(&dir, "/operator/hosts", &request)?;
        if self.json {
            print(format_args!("{}\n", serde_json::json!(told)))?;
        } else {
            print(format_args!("{}\n", told.token))?;
        }
        let left = told.until.saturating_sub(SystemClock.now().wall_s);
        tell(format_args!(
            "{} may join as a host of {} once, within {}: entry {} of the log",
            told.host,
            told.system,
            span(left),
            told.index
        ));
        tell(format_args!(
            "next:  on {}, as root; it reads the token: paste it, then Enter and Ctrl-D",
            told.host
        ));
        tell(format_args!(
            "       fireaxe-host enrol --addr {} --pin {} --host {} --token-file -",
            told.ca.addr, told.ca.pin, told.host
        ));
        Ok(())
    }
}

impl Ls {
    fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let told: HostsAnswer = operator_client::get_json(&dir, "/operator/hosts")?;
        if self.json {
            return print(format_args!("{}\n", serde_json::json!(told)));
        }
        for one in &told.enrolled {
            let certificate = match one.certificate_until {
                Some(until) if until > told.now => format!("certified for {}", span(until - told.now)),
                _ => "its certificate is over".to_owned(),
            };
            let since = span(told.now.saturating_sub(one.enrolled_at));
            let key = one.key.fingerprint();
            print(format_args!(
                "{}  {}  enrolled {since} ago  {certificate}  {key}\n",
                one.host, one.system
            ))?;
        }
        for one in &told.invited {
            let good = match one.until.checked_sub(told.now) {
                Some(left) => format!("invited, for {} more", span(left)),
                None => "invited, and did not join in time".to_owned(),
            };
            print(format_args!("{}  {}  {good}\n", one.host, one.system))?;
        }
        if told.enrolled.is_empty() && told.invited.is_empty() {
            tell("no host is enrolled or invited");
            tell(format_args!("next:  fireaxe-ca host invite NAME --data {}", self.data.dir.display()));
        }
        Ok(())
    }
}

impl Retire {
    fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let path = format!("/operator/hosts/{}/retirement", self.name);
        let told: RetiredAnswer = operator_client::post(&dir, &path, &serde_json::json!({}))?;
        if self.json {
            print(format_args!("{}\n", serde_json::json!(told)))?;
        }
        tell(format_args!("{} is retired: entry {} of the log", told.host, told.index));
        let now = SystemClock.now().wall_s;
        if let Some(left) = told.certificate_until.and_then(|until| until.checked_sub(now)) {
            tell(format_args!(
                "  its host certificate is good for {} more: if its key is in other hands, take its name out of DNS",
                span(left)
            ));
        }
        Ok(())
    }
}

/// The largest unit that says enough.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
