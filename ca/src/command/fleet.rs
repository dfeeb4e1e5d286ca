//! `fleet`: every enrolled host as a running CA sees it, and how far the newest revocation got.

use clap::Args;
use fireaxe_protocol::api::{Fleet as Told, FleetHost, Missing, Problem};
use fireaxe_protocol::host::Mode;
use fireaxe_protocol::names::{SystemName, shown};
use time::OffsetDateTime;

use super::{Data, Failed, operator_client, print, tell};
use crate::data_dir::DataDir;
use crate::door::is_stale;

/// How hosts are, and how far the newest revocation got
#[derive(Debug, Args)]
pub(super) struct Fleet {
    #[command(flatten)]
    data: Data,
    /// Hosts of this system only
    #[arg(long)]
    system: Option<SystemName>,
    /// Hosts only that are silent, or whose revocation list is old
    #[arg(long)]
    stale: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Fleet {
    pub(super) fn run(self) -> Result<(), Failed> {
        let (status, bytes) = operator_client::get(&DataDir::at(&self.data.dir), "/operator/fleet")?;
        if !status.is_success() {
            let said = serde_json::from_slice::<Problem>(&bytes).map(|problem| problem.title);
            return Err(Failed::error(said.unwrap_or_else(|_| format!("the CA answered {status}"))));
        }
        let mut fleet: Told = serde_json::from_slice(&bytes)
            .map_err(|e| Failed::error(format!("the CA's answer cannot be read: {e}")))?;
        let (newest, now) = (fleet.krl_version, fleet.now);
        fleet.hosts.retain(|host| self.system.as_ref().is_none_or(|system| host.system == *system));
        let none_at_all = fleet.hosts.is_empty();
        fleet.hosts.retain(|host| !self.stale || is_stale(host, newest, now));
        if self.json {
            return print(format_args!("{}\n", serde_json::json!(fleet)));
        }
        for host in &fleet.hosts {
            print(format_args!("{}\n", line(host, newest, now)))?;
            for reason in &host.drift {
                print(format_args!("    {} [{}]\n", shown(&reason.sentence), shown(&reason.code)))?;
            }
            for stray in &host.strays {
                let account = stray.account.as_deref().map(|one| format!(" for {}", shown(one)));
                let since = stray.since.map(|at| format!(", since {}", clock(at, now)));
                print(format_args!(
                    "    another way in: {}{}{}\n",
                    shown(&stray.place),
                    account.unwrap_or_default(),
                    since.unwrap_or_default()
                ))?;
            }
        }
        match &self.system {
            Some(system) if none_at_all => tell(format_args!("no host of {system} is enrolled")),
            None if none_at_all => tell("no host is enrolled"),
            _ if fleet.hosts.is_empty() => tell("no host is stale"),
            _ => {}
        }
        if let Some(missing) = &fleet.missing {
            tell(lacks(missing));
        }
        if let Some(reach) = &fleet.revocation {
            tell(reached(reach, now));
        }
        Ok(())
    }
}

/// "missing: 2 sessions without their recording, 1 closing not confirmed (...)"
fn lacks(missing: &Missing) -> String {
    let Missing { unrecorded, unusual, unconfirmed, overdue } = *missing;
    let all = [
        (unrecorded, "session(s) without their recording"),
        (unusual, "report(s) of sessions that cannot be"),
        (unconfirmed, "confirmation(s) of closings"),
        (overdue, "review(s) overdue"),
    ];
    let said: Vec<String> =
        all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if said.is_empty() {
        return "nothing is missing, going by what hosts say".into();
    }
    format!("missing: {}   fireaxe-ca log reconcile names each", said.join(", "))
}

/// "revoked 14:02:11Z, on 997 of 1000 by 14:02:13Z, not yet on: a, b, c"
fn reached(reach: &fireaxe_protocol::api::Reach, now: u64) -> String {
    let mut said = match reach.revoked_at_ms {
        0 => "the newest list was made before this CA was started".to_owned(),
        ms => format!("revoked {}", clock(ms / 1000, now)),
    };
    said.push_str(&format!(", on {} of {}", reach.confirmed, reach.hosts));
    if let Some(ms) = reach.last_at_ms {
        said.push_str(&format!(" by {}", clock(ms / 1000, now)));
    }
    if !reach.stale.is_empty() {
        let names: Vec<&str> = reach.stale.iter().map(|host| host.as_str()).collect();
        let missing = reach.hosts.saturating_sub(reach.confirmed);
        let more = missing.saturating_sub(names.len() as u64);
        said.push_str(&format!(", not yet on: {}", names.join(", ")));
        if more > 0 {
            said.push_str(&format!(" and {more} more"));
        }
    }
    said
}

fn line(host: &FleetHost, newest: u64, now: u64) -> String {
    let mut words = vec![format!("{}  {}", host.host, host.system)];
    match host.seen_at {
        None => words.push("not heard since the CA was started".into()),
        Some(at) => {
            let ago = now.saturating_sub(at);
            let follows = if host.following { "follows" } else { "does not follow" };
            words.push(format!("{follows}, heard {ago} s ago"));
            words.push(match host.krl_version {
                Some(version) if version >= newest => format!("list {version}"),
                Some(version) => format!("list {version}, the newest is {newest}"),
                None => "no list that is known".into(),
            });
        }
    }
    if let Some(age) = host.krl_age_s {
        words.push(format!("known to be the newest {age} s ago"));
    }
    if let Some(ahead) = host.clock_ahead_s.filter(|ahead| ahead.unsigned_abs() > 2) {
        words.push(format!(
            "its clock is {} s {}",
            ahead.unsigned_abs(),
            if ahead > 0 { "ahead" } else { "behind" }
        ));
    }
    if let Some(mode) = host.mode {
        words.push(match mode {
            Mode::Stock => "stock".into(),
            Mode::Neither => "NEITHER files nor the program".into(),
            Mode::Helper => format!("{} connection(s)", host.sessions.unwrap_or(0)),
        });
    }
    if is_stale(host, newest, now) {
        words.push("STALE".into());
    }
    words.join("  ")
}

/// `14:02:11Z`; with its date when that is not today's: `2026-11-20 14:02:11Z`. UTC.
fn clock(at: u64, now: u64) -> String {
    let read = |at: u64| i64::try_from(at).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let Some(then) = read(at) else { return at.to_string() };
    let time = format!("{:02}:{:02}:{:02}Z", then.hour(), then.minute(), then.second());
    if read(now).is_some_and(|now| now.date() == then.date()) {
        time
    } else {
        format!("{} {time}", then.date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_have_not_said_that_they_have_the_list_are_named_as_that() {
        let reach = fireaxe_protocol::api::Reach {
            revoked_at_ms: 1_700_000_000_000,
            hosts: 4,
            confirmed: 2,
            last_at_ms: None,
            stale: vec!["db-3.payments.prod".parse().unwrap()],
        };
        let said = reached(&reach, 1_700_000_000);
        assert_eq!(said, "revoked 22:13:20Z, on 2 of 4, not yet on: db-3.payments.prod and 1 more");
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_names_it() {
        assert_eq!(lacks(&Missing::default()), "nothing is missing, going by what hosts say");
        let some = Missing { unrecorded: 2, overdue: 1, ..Missing::default() };
        let said =
            "missing: 2 session(s) without their recording, 1 review(s) overdue   fireaxe-ca log reconcile";
        assert!(lacks(&some).starts_with(said));
    }

    #[test]
    fn a_time_of_another_day_has_its_date() {
        let now = 1_700_000_000;
        assert_eq!(clock(now - 60, now), "22:12:20Z");
        assert_eq!(clock(now - 9 * 86_400, now), "2023-11-05 22:13:20Z");
        assert_eq!(clock(u64::MAX, now), u64::MAX.to_string());
    }
}
