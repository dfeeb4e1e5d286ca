//! What can be typed. Everything is parsed into valid values here; `command` never sees raw text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use fireaxe_protocol::log::{NoteError, NoteKey};
use fireaxe_protocol::names::{
    AccountName, ActionName, EmergencyId, HostName, IncidentId, NameError, PersonName, ReasonText, Severity,
    TargetName, TierName,
};
use fireaxe_protocol::statement::{Params, Verdict};
use fireaxe_transport::{Address, Pin};

use crate::failure::Failure;
use crate::words;

/// Opens a declared emergency: a short certificate in memory, then plain ssh.
#[derive(Debug, Parser)]
#[command(name = "fireaxe", version, max_term_width = 100, after_help = AFTER, infer_subcommands = false)]
pub(crate) struct Cli {
    /// Answer with one JSON object on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER: &str = "\
Exit codes: 0 ok, 1 error, 2 usage, 4 needs sign-in, 69 CA unavailable, 75 waits for approval,
77 denied by the policy or by an approver, 78 bad configuration, 130 interrupted. `run`: its command's.
Words go to stderr, data to stdout. Environment: FIREAXE_CONFIG, FIREAXE_ADDR, NO_COLOR.";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make or pick a key, print the roster lines to be reviewed, remember the CA.
    Enrol(Enrol),
    /// Declare an emergency and get its certificate into the agent.
    #[command(
        after_help = "Examples:\n  fireaxe open db-3.payments.prod --incident pd:PGR0VU2 -r \"primary refuses writes\"\n  fireaxe open payments-db -s 2 -r \"replicas lag\" --for 30m\n  fireaxe open payments-db -s 2 --dry-run\n  fireaxe open db-3.payments.prod --action restart-payments shard=12 -s 2 -r \"stuck\""
    )]
    Open(Open),
    /// Say yes to a request that waits, or list what waits for you.
    #[command(
        after_help = "Examples:\n  fireaxe approve\n  fireaxe approve EM-42\n  fireaxe approve EM-42 -r \"seen the graphs\" --yes"
    )]
    Approve(Approve),
    /// Say no to a request that waits. What is held meanwhile stays.
    Refuse(Refuse),
    /// Sign another person's claim too: you are on call and claim the same.
    Second {
        /// EM-42.
        #[arg(value_parser = emergency)]
        emergency: EmergencyId,
    },
    /// Ask for more time.
    #[command(
        after_help = "Examples:\n  fireaxe extend\n  fireaxe extend EM-42 --for 30m -r \"restore at 60%\""
    )]
    Extend(Extend),
    /// Look back at an emergency that is over, or list the reviews that are owed.
    Review(Review),
    /// Run one action of the policy: open, run it, close.
    #[command(
        after_help = "Examples:\n  fireaxe run db-3.payments.prod --action restart-payments shard=12 -s 2 -r \"stuck\""
    )]
    Run(Run),
    /// Close an emergency: no further certificate, and what was given is revoked.
    Close {
        /// EM-42; without it, the only one held.
        #[arg(value_parser = emergency)]
        emergency: Option<EmergencyId>,
    },
    /// What is held and until when; and what the CA says, if it answers.
    Status,
    /// Emergencies, newest first.
    Ls,
    /// Keep a copy of the whole log, for people with the role auditor.
    #[command(subcommand)]
    Log(Log),
    /// Keep copies of recordings, for people with the role auditor.
    #[command(subcommand)]
    Rec(Rec),
    /// Whether ssh to a host would work, why not, and what to type.
    Why {
        /// The host's full name.
        #[arg(value_parser = host)]
        host: HostName,
    },
    /// What would be decided if it were declared now. Nothing is logged.
    Explain(Explain),
    /// Print the blocks for ~/.ssh/config that make plain `ssh HOST` work.
    SshConfig(SshConfig),
    /// Run the agent in the foreground, or end the one that runs.
    Agent(Agent),
    /// For ssh: exit 0 if what is held says that HOST is to be entered as ACCOUNT. No network.
    Match {
        /// The host as ssh names it.
        host: String,
        /// The account of one block.
        account: AccountName,
        /// Say what to type when nothing held reaches the host.
        #[arg(long)]
        hint: bool,
    },
    /// Stay when `open` has gone: put what is approved into the agent, warn before the end.
    #[command(hide = true)]
    Follow(Follow),
    /// For the agent: ask the CA for a certificate for one host, and put it into the agent.
    #[command(hide = true)]
    Narrow {
        /// EM-42.
        #[arg(value_parser = emergency)]
        emergency: EmergencyId,
        /// The host's full name.
        #[arg(value_parser = host)]
        host: HostName,
    },
    /// Check a dossier or a period that an auditor was given: a zip, or its folder. Offline.
    #[command(
        after_help = "Examples:\n  fireaxe verify em-42.zip\n  fireaxe verify em-42.zip --key ca.payments/0123456789abcdef+..."
    )]
    Verify(Verify),
    /// Check everything an emergency needs, before it happens.
    Doctor,
    /// Print completions for a shell.
    Completion {
        /// bash, zsh, fish, elvish or powershell.
        shell: Shell,
    },
}

/// `enrol`
#[derive(Debug, Args)]
pub(crate) struct Enrol {
    /// Your name in the roster.
    #[arg(long)]
    pub(crate) person: PersonName,
    /// Where the CA listens: https://HOST:PORT.
    #[arg(long, requires = "pin")]
    pub(crate) addr: Option<Address>,
    /// sha256:... of the CA's certificate, from its operator.
    #[arg(long, requires = "addr")]
    pub(crate) pin: Option<Pin>,
    /// A private key's file, or the .pub of one in your ssh-agent. Made if it is not there.
    #[arg(long)]
    pub(crate) key: Option<PathBuf>,
}

/// `verify`
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The zip, or the folder it was unpacked into.
    pub(crate) path: PathBuf,
    /// The log's key, from elsewhere: NAME+ID+BASE64. Left out: the one that this client remembers.
    #[arg(long, value_parser = log_key)]
    pub(crate) key: Option<NoteKey>,
}

fn log_key(text: &str) -> Result<NoteKey, String> {
    text.trim().parse().map_err(|error: NoteError| error.to_string())
}

/// `open`
#[derive(Debug, Args)]
pub(crate) struct Open {
    /// A system or a host.
    #[arg(value_parser = target)]
    pub(crate) target: TargetName,
    /// How bad: 1 (worst) to 4.
    #[arg(short, long, value_parser = severity)]
    pub(crate) severity: Option<Severity>,
    /// What is wrong, in your words.
    #[arg(short, long)]
    pub(crate) reason: Option<ReasonText>,
    /// The incident it is for, e.g. pd:PGR0VU2.
    #[arg(long)]
    pub(crate) incident: Option<IncidentId>,
    /// A smaller tier than the policy would give.
    #[arg(long, conflicts_with = "action")]
    pub(crate) want: Option<TierName>,
    /// A shorter time, e.g. 30m.
    #[arg(long = "for", value_parser = words::parse_span)]
    pub(crate) for_s: Option<u32>,
    #[command(flatten)]
    pub(crate) act: Act,
    /// Wait until what waits for people is decided. So it is on a terminal.
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
    /// Do not wait for people.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Say what would be decided, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A marked rehearsal.
    #[arg(long, conflicts_with = "action")]
    pub(crate) drill: bool,
}

/// `approve`
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// EM-42; without it, the only one that waits for you, or the list.
    #[arg(value_parser = emergency)]
    pub(crate) emergency: Option<EmergencyId>,
    /// In your words.
    #[arg(short, long)]
    pub(crate) reason: Option<ReasonText>,
    /// You have read it: do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `refuse`
#[derive(Debug, Args)]
pub(crate) struct Refuse {
    /// EM-42.
    #[arg(value_parser = emergency)]
    pub(crate) emergency: EmergencyId,
    /// Why: the requester reads it.
    #[arg(short, long)]
    pub(crate) reason: ReasonText,
}

/// `extend`
#[derive(Debug, Args)]
pub(crate) struct Extend {
    /// EM-42; without it, the only one held.
    #[arg(value_parser = emergency)]
    pub(crate) emergency: Option<EmergencyId>,
    /// How long, e.g. 30m; without it, as long as the policy gives.
    #[arg(long = "for", value_parser = words::parse_span)]
    pub(crate) for_s: Option<u32>,
    /// How bad it is by now: 1 (worst) to 4.
    #[arg(short, long, value_parser = severity)]
    pub(crate) severity: Option<Severity>,
    /// The incident it is for by now.
    #[arg(long)]
    pub(crate) incident: Option<IncidentId>,
    /// Why it takes longer.
    #[arg(short, long)]
    pub(crate) reason: Option<ReasonText>,
    /// Wait until what waits for people is decided. So it is on a terminal.
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) wait: bool,
    /// Do not wait for people.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// `review`
#[derive(Debug, Args)]
pub(crate) struct Review {
    /// EM-42; without it, what is owed.
    #[arg(value_parser = emergency)]
    pub(crate) emergency: Option<EmergencyId>,
    /// justified, follow-up or unjustified.
    #[arg(long, value_parser = verdict)]
    pub(crate) verdict: Option<Verdict>,
    /// What you found, in your words.
    #[arg(short, long)]
    pub(crate) reason: Option<ReasonText>,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A host, or a system of one host.
    #[arg(value_parser = target)]
    pub(crate) target: TargetName,
    #[command(flatten)]
    pub(crate) act: Act,
    /// How bad: 1 (worst) to 4.
    #[arg(short, long, value_parser = severity)]
    pub(crate) severity: Option<Severity>,
    /// What is wrong, in your words.
    #[arg(short, long)]
    pub(crate) reason: Option<ReasonText>,
    /// The incident it is for.
    #[arg(long)]
    pub(crate) incident: Option<IncidentId>,
    /// Wait for people where nobody sits. So it is on a terminal.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// One command instead of a tier.
#[derive(Debug, Clone, Args)]
pub(crate) struct Act {
    /// One command of the policy instead of a shell; its parameters follow as NAME=VALUE.
    #[arg(long)]
    pub(crate) action: Option<ActionName>,
    /// The action's parameters.
    #[arg(value_name = "NAME=VALUE", value_parser = parameter, requires = "action")]
    pub(crate) params: Vec<(String, String)>,
}

impl Act {
    /// The parameters, each name once.
    pub(crate) fn params(&self) -> Result<Params, Failure> {
        let mut params = Params::default();
        for (name, value) in &self.params {
            params.insert(name, value).map_err(|message| Failure::Usage {
                message,
                next: "fireaxe explain --systems   (lists the actions and their parameters)".to_owned(),
            })?;
        }
        Ok(params)
    }
}

/// `log`
#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Bring a copy up to date: every part is checked against the log's signed head before it is kept.
    #[command(
        after_help = "Examples:\n  fireaxe log fetch /srv/audit/prod\n  fireaxe-ca log verify --tiles /srv/audit/prod"
    )]
    Fetch {
        /// The folder; made if it is not there.
        dir: PathBuf,
    },
}

/// `rec`
#[derive(Debug, Subcommand)]
pub(crate) enum Rec {
    /// Fetch recordings beside the copy of the log (DIR/recordings/HOST/NAME), and check their chains.
    #[command(allow_missing_positional = true)]
    #[command(
        after_help = "Examples:\n  fireaxe rec fetch /srv/audit/prod\n  fireaxe rec fetch EM-42 /srv/audit/prod\n  fireaxe rec fetch db-3.payments.prod /srv/audit/prod"
    )]
    Fetch {
        /// EM-42 or a host's full name; without it, all.
        #[arg(value_parser = recordings_of)]
        which: Option<RecordingsOf>,
        /// The folder; made if it is not there.
        dir: PathBuf,
    },
}

/// Whose recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordingsOf {
    /// One emergency's.
    Emergency(EmergencyId),
    /// One host's.
    Host(HostName),
}

/// `follow`
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// EM-42.
    #[arg(value_parser = emergency)]
    pub(crate) emergency: EmergencyId,
    /// As other verbs start it: its own session, no terminal.
    #[arg(long)]
    pub(crate) detached: bool,
    /// Close it when stdin ends without a word.
    #[arg(long, conflicts_with = "detached")]
    pub(crate) close_at_end: bool,
    /// The terminal to warn on.
    #[arg(long)]
    pub(crate) tty: Option<PathBuf>,
}

/// `explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A system or a host.
    #[arg(value_parser = target, required_unless_present = "systems")]
    pub(crate) target: Option<TargetName>,
    /// List what there is to be opened, instead.
    #[arg(long, conflicts_with_all = ["target", "severity", "incident", "want", "for_s", "action"])]
    pub(crate) systems: bool,
    /// How bad: 1 (worst) to 4.
    #[arg(short, long, value_parser = severity)]
    pub(crate) severity: Option<Severity>,
    /// The incident it is for.
    #[arg(long)]
    pub(crate) incident: Option<IncidentId>,
    /// A smaller tier.
    #[arg(long, conflicts_with = "action")]
    pub(crate) want: Option<TierName>,
    /// A shorter time, e.g. 30m.
    #[arg(long = "for", value_parser = words::parse_span)]
    pub(crate) for_s: Option<u32>,
    #[command(flatten)]
    pub(crate) act: Act,
}

/// `ssh-config`
#[derive(Debug, Args)]
pub(crate) struct SshConfig {
    /// Also for names that your own configuration makes into full ones (HostName, CanonicalizeHostname).
    #[arg(long)]
    pub(crate) aliases: bool,
}

/// `agent`
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// End the agent that runs; what it holds is wiped.
    #[arg(long, conflicts_with = "detached")]
    pub(crate) stop: bool,
    /// As other verbs start it: its own session, no terminal.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// DNS knows no upper case, and caps lock is easily on at night: the valid name is the lower-case one.
fn target(text: &str) -> Result<TargetName, String> {
    if text.contains('@') {
        return Err("the tier gives the account: the host's name alone, without an account before it".into());
    }
    text.to_ascii_lowercase().parse().map_err(|e: NameError| e.rule.to_owned())
}

fn host(text: &str) -> Result<HostName, String> {
    text.to_ascii_lowercase().parse().map_err(|e: NameError| e.rule.to_owned())
}

fn recordings_of(text: &str) -> Result<RecordingsOf, String> {
    match text.to_ascii_uppercase().starts_with("EM-") {
        true => emergency(text).map(RecordingsOf::Emergency),
        false => host(text).map(RecordingsOf::Host),
    }
}

fn emergency(text: &str) -> Result<EmergencyId, String> {
    text.to_ascii_uppercase().parse().map_err(|e: NameError| e.rule.to_owned())
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a parameter is NAME=VALUE, e.g. shard=12")?;
    Params::default().insert(name, value)?;
    Ok((name.to_owned(), value.to_owned()))
}

fn verdict(text: &str) -> Result<Verdict, String> {
    match text {
        "justified" => Ok(Verdict::Justified),
        "follow-up" => Ok(Verdict::FollowUp),
        "unjustified" => Ok(Verdict::Unjustified),
        _ => Err("justified, follow-up or unjustified".to_owned()),
    }
}

fn severity(text: &str) -> Result<Severity, String> {
    let number: u8 = text.parse().map_err(|_| "1 (worst) to 4".to_owned())?;
    Severity::try_from(number).map_err(|e| e.rule.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_valid_is_refused_at_the_door() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["fireaxe"], words].concat());
        assert!(parse(&["open", "db-3.payments.prod", "-s", "1", "-r", "x", "--for", "30m"]).is_ok());
        assert!(parse(&["open", "DB-3.payments.prod", "-r", "caps lock"]).is_ok());
        assert!(parse(&["close", "em-3"]).is_ok() && parse(&["explain", "--systems"]).is_ok());
        for wrong in [
            &["explain"][..],
            &["explain", "payments-db", "--systems"],
            &["open", "ana@db-3.payments.prod", "-r", "x"],
            &["open", "db-3.payments.prod", "-s", "5"],
            &["open", "db-3.payments.prod", "-s", "0"],
            &["open", "a,b", "-s", "1"],
            &["open", "db*.prod", "-s", "1"],
            &["open", "x", "-r", "  "],
            &["open", "x", "-r", "a\u{1b}b"],
            &["open", "x", "--incident", "nocolon"],
            &["open", "x", "--for", "9h"],
            &["close", "EM-0"],
            &["why", "db"],
            &["match", "db-3.payments.prod", "Root"],
            &["enrol", "--person", "ana", "--addr", "https://127.0.0.1:1"],
            &["sta"],
        ] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{wrong:?}");
        }
    }
}
