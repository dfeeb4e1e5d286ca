//! `log reconcile`: whether something is missing between issuance, hosts' sshd logs and recordings. Reads the data
//! folder and a log; needs no running CA.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use clap::Args;
use fireaxe_protocol::log::Entry;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::names::HostName;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::clock::{Clock, SystemClock};
use crate::command::{Data, Failed, print, tell};
use crate::data_dir::DataDir;
use crate::evidence::reconcile::{
    Compared, Known, SshdLog, SshdLogError, Summary, Times, Weight, Window, compare, on_disk, read,
};
use crate::log::Reader;

/// Compare what was issued with what hosts' sshd logs and recordings show
#[derive(Debug, Args)]
pub(in crate::command) struct Reconcile {
    #[command(flatten)]
    data: Data,
    /// sshd's log (LogLevel VERBOSE): a file, - for standard input, or journal for this machine's
    #[arg(long, value_name = "FILE|-|journal")]
    sshd_log: Option<String>,
    /// The host whose log it is, whatever its lines say
    #[arg(long, requires = "sshd_log")]
    host: Option<HostName>,
    /// The zone of times in it that name none: +01:00
    #[arg(long, value_name = "OFFSET", default_value = "+00:00", value_parser = zone, allow_hyphen_values = true)]
    zone: UtcOffset,
    /// From then on: unix seconds, 2026-11-28, or 2026-11-28T02:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<u64>,
    /// Until then, not included
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<u64>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Reconcile {
    pub(in crate::command) fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let window = Window { from: self.from.unwrap_or(0), to: self.to.unwrap_or(u64::MAX) };
        if window.from >= window.to {
            let lines = vec!["--from is not before --to: nothing lies between".into()];
            return Err(Failed { code: 2, lines, hint: Some("fireaxe-ca log reconcile --help".into()) });
        }
        let now = SystemClock.now().wall_s;
        let known = known(&dir)?;
        let log = match &self.sshd_log {
            Some(source) => Some(self.sshd_log(source, &known, window, now)?),
            None => None,
        };
        let mut disk = Vec::new();
        on_disk(&dir.recordings(), |one| disk.push(one));
        let compared = compare(&known, log.as_ref(), &disk, window, now);
        told(compared, self.json)
    }

    fn sshd_log(&self, source: &str, known: &Known, window: Window, now: u64) -> Result<SshdLog, Failed> {
        let times = Times { now, zone: self.zone };
        let from = |input: &mut dyn Read| {
            let read = read(BufReader::new(input), times, self.host.as_ref(), known, window);
            read.map_err(|error| unreadable(source, &error))
        };
        match source {
            "-" => from(&mut std::io::stdin().lock()),
            "journal" => {
                let mut child = journal(window)?;
                let mut out = child.stdout.take().ok_or_else(|| Failed::error("journalctl has no output"))?;
                let log = from(&mut out);
                drop(out);
                let status = child.wait().map_err(|e| Failed::error(format!("journalctl: {e}")))?;
                if log.is_ok() && !status.success() {
                    return Err(Failed::error(format!("journalctl did not succeed: {status}"))
                        .hint("run it as root, or as a member of systemd-journal"));
                }
                log
            }
            path => {
                let path = PathBuf::from(path);
                let file = File::open(&path).map_err(|e| {
                    Failed::error(format!("{}: {e}", path.display()))
                        .hint("give a file that this user can read, - for standard input, or journal")
                })?;
                from(&mut &file)
            }
        }
    }
}

fn known(dir: &DataDir) -> Result<Known, Failed> {
    let reader = Reader::open(&dir.log()).map_err(|e| Failed::log(dir, e))?;
    let size = reader.size().map_err(|e| Failed::log(dir, e))?;
    let (mut known, mut wrong) = (Known::default(), None);
    let read = reader.entries(0, size, |index, bytes| match Entry::decode(bytes) {
        Ok(entry) => {
            known.take(&entry, leaf_hash(bytes));
            ControlFlow::Continue(())
        }
        Err(error) => {
            wrong = Some(format!("entry {index}: {error}"));
            ControlFlow::Break(())
        }
    });
    read.map_err(|e| Failed::log(dir, e))?;
    match wrong {
        None => Ok(known),
        Some(line) => Err(Failed::error(line)
            .hint(format!("fireaxe-ca log verify --data {} says how far it is good", dir.path().display()))),
    }
}

/// This machine's journal of sshd: no shell, nothing of the arguments is text of others.
fn journal(window: Window) -> Result<Child, Failed> {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "--quiet", "--output=json", "--unit=ssh", "--unit=sshd"]);
    if window.from > 0 {
        command.arg(format!("--since=@{}", window.from));
    }
    if window.to < u64::MAX {
        command.arg(format!("--until=@{}", window.to));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().map_err(|e| {
        Failed::error(format!("journalctl cannot be run: {e}")).hint(
            "on a host that has it: journalctl -u ssh -u sshd -o json > sshd.json; then --sshd-log sshd.json",
        )
    })
}

fn unreadable(source: &str, error: &SshdLogError) -> Failed {
    let failed = Failed::error(format!("{source}: {error}"));
    match error {
        SshdLogError::TooMany(_) => failed.hint("take a period at a time: --from TIME --to TIME"),
        SshdLogError::Read(_) => failed,
    }
}

fn told(mut compared: Compared, json: bool) -> Result<(), Failed> {
    let findings = &mut compared.findings;
    let (wrong, info) = (findings.count_wrong(), findings.count_info());
    if json {
        let told = serde_json::json!({
            "schema": "fireaxe.reconciled/v1", "ok": wrong == 0, "summary": compared.summary,
            "wrong": wrong, "info": info, "findings": findings.listed(),
        });
        print(format_args!("{told}\n"))?;
    } else {
        for one in findings.listed() {
            let weight = if one.weight == Weight::Wrong { "" } else { "info: " };
            print(format_args!("{weight}{}: {} [{}]\n", one.place, one.sentence, one.code))?;
            print(format_args!("    next: {}\n", one.next))?;
        }
        let listed = findings.listed().len() as u64;
        if listed < wrong + info {
            tell(format_args!(
                "and {} more: take a period at a time: --from TIME --to TIME",
                wrong + info - listed
            ));
        }
    }
    tell(counted(&compared.summary));
    match wrong {
        0 => {
            tell("nothing is missing");
            Ok(())
        }
        wrong => Err(Failed { code: 1, lines: vec![format!("{wrong} finding(s)")], hint: None }),
    }
}

/// "112 certificates, 97 used, 97 logins, 97 sessions, 95 recordings"
fn counted(sum: &Summary) -> String {
    let logins = sum.logins.map_or_else(|| "no sshd log".into(), |logins| format!("{logins} logins"));
    let mut said = format!(
        "{} certificates, {} used, {logins}, {} sessions, {} recordings",
        sum.certificates, sum.used, sum.sessions, sum.recordings
    );
    if let (Some(matched), Some(standing)) = (sum.matched, sum.standing) {
        said.push_str(&format!(
            "; {matched} logins are sessions, {standing} logins without a certificate of ours"
        ));
    }
    said
}

/// `1795845600`, `2026-11-28`, `2026-11-28T02:00:00Z`.
fn moment(text: &str) -> Result<u64, String> {
    if let Ok(at) = text.parse::<u64>() {
        return Ok(at);
    }
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    let read = OffsetDateTime::parse(&whole, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp);
    read.and_then(|at| u64::try_from(at).ok())
        .ok_or_else(|| "a time is unix seconds, 2026-11-28 (UTC), or 2026-11-28T02:00:00Z".to_owned())
}

/// `+01:00`, `-08:00`.
fn zone(text: &str) -> Result<UtcOffset, String> {
    let wrong = || "a zone is +01:00 or -08:00".to_owned();
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes): (i8, i8) =
        (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    if hours < 0 || minutes < 0 {
        return Err(wrong());
    }
    UtcOffset::from_hms(sign * hours, sign * minutes, 0).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_zones_are_read_or_refused_by_name() {
        assert_eq!(moment("17"), Ok(17));
        assert_eq!(moment("2026-11-28"), Ok(1_795_824_000));
        assert_eq!(moment("2026-11-28T06:00:00Z"), Ok(1_795_845_600));
        assert_eq!(moment("2026-11-28T07:00:00+01:00"), Ok(1_795_845_600));
        for bad in ["", "yesterday", "2026-13-01", "-1", "1969-01-01"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
        assert_eq!(zone("-08:30"), Ok(UtcOffset::from_hms(-8, -30, 0).unwrap()));
        for bad in ["", "01:00", "+1", "+-1:00", "+99:00", "é"] {
            assert!(zone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_populations_are_counted_in_one_line() {
        let sum = Summary {
            certificates: 112,
            used: 97,
            logins: Some(97),
            standing: Some(0),
            sessions: 97,
            matched: Some(97),
            recordings: 95,
            as_reported: 95,
        };
        assert!(
            counted(&sum).starts_with("112 certificates, 97 used, 97 logins, 97 sessions, 95 recordings")
        );
        let alone = Summary { logins: None, matched: None, ..sum };
        assert!(counted(&alone).contains("no sshd log"));
    }
}
