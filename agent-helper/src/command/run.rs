//! `run`: one action, once. Opens, runs `ssh` with exactly the certificate that came, closes; always, also when
//! ssh fails or somebody presses Ctrl-C (then the process that stands by closes it).

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use fireaxe_protocol::names::{AccountName, EmergencyId, HostName};
use serde::Serialize;

use super::follow::StandBy;
use super::open::{Declared, Fresh};
use super::wait::{Ended, Waited};
use super::{Context, card, close, open, wait};
use crate::authority::Authority;
use crate::cli::{Open, Run};
use crate::control::Held;
use crate::control::client::Control;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::places;
use crate::tty::Keys;

/// What ended `run`, or never let it begin.
enum Ran {
    /// ssh ran, and this is how it ended; its output, if it was caught.
    Ended(ExitStatus, String),
    /// It never ran.
    Never(Exit),
}

pub(super) fn run(cx: &Context, what: Run) -> Result<ExitCode, Failure> {
    if what.act.action.is_none() {
        return Err(Failure::Usage {
            message: "`run` runs one action of the policy: --action NAME and its parameters".to_owned(),
            next: "fireaxe explain --systems   (lists the actions)".to_owned(),
        });
    }
    let config = cx.config()?;
    let authority = cx.authority(&config)?;
    let open = Open {
        target: what.target,
        severity: what.severity,
        reason: what.reason,
        incident: what.incident,
        want: None,
        for_s: None,
        act: what.act,
        wait: what.wait,
        no_wait: false,
        dry_run: false,
        drill: false,
    };
    let typed = open::typed(cx.screen, &open).map_err(|failure| match failure {
        Failure::NoReason(command) => Failure::NoReason(command.replacen("fireaxe open", "fireaxe run", 1)),
        other => other,
    })?;
    let mut control = Control::connect_or_start(&cx.places)?;
    let mut keys = None;
    let fresh = match open::declare(cx, &authority, &mut control, &open, &typed, &mut keys)? {
        Declared::Opened(fresh) => *fresh,
        Declared::Refused(problem) => return Ok(card::show_refusal(cx.screen, &typed, &problem).into()),
    };
    let emergency = fresh.opened.emergency;
    // From here on it is closed, whatever becomes of this process.
    let stand_by = StandBy::start(emergency);
    let ran = once(cx, &authority, &open, &fresh, keys);
    let held = Control::connect(&cx.places).and_then(|mut control| control.list()).unwrap_or_default();
    let uses = held.iter().find(|h| h.emergency == emergency).map_or(0, |h| h.uses);
    let closed = close::close(cx, &authority, &held, emergency);
    if closed.is_ok()
        && let Ok(stand_by) = stand_by
    {
        stand_by.dismiss();
    }
    let ran = ran?;
    let code = match &ran {
        Ran::Ended(status, _) => code_of(*status),
        Ran::Never(exit) => *exit as u8,
    };
    show(cx, &fresh, &ran, uses, closed.as_ref().map(|c| c.entry), code);
    Ok(ExitCode::from(code))
}

fn show(cx: &Context, fresh: &Fresh, ran: &Ran, uses: u32, closed: Result<u64, &Failure>, code: u8) {
    #[derive(Serialize)]
    struct Answer<'a> {
        schema: &'static str,
        emergency: EmergencyId,
        /// Whether the command was started.
        ran: bool,
        exit: u8,
        stdout: Option<&'a str>,
        uses: u32,
        /// Index of the entry that closed it; nothing when it could not be closed yet.
        closed: Option<u64>,
    }
    let emergency = fresh.opened.emergency;
    let (ran, stdout) = match ran {
        Ran::Ended(_, stdout) => (true, Some(stdout.as_str())),
        Ran::Never(_) => (false, None),
    };
    let entry = closed.ok();
    cx.screen.json(&Answer {
        schema: "fireaxe.run/v1",
        emergency,
        ran,
        exit: code,
        stdout,
        uses,
        closed: entry,
    });
    if cx.screen.is_json() {
        return;
    }
    if ran && uses == 0 {
        cx.screen.say("  note: ssh did not log in with the certificate");
    }
    match closed {
        Ok(entry) => cx.screen.say(&format!("  {emergency} is closed (entry {entry} of the log)")),
        Err(failure) => {
            cx.screen.say(&format!("  {emergency} could not be closed: {failure}"));
            cx.screen.say(&format!("  next: fireaxe close {emergency}"));
        }
    }
}

/// Waits if it must and may, then runs ssh.
fn once(
    cx: &Context,
    authority: &Authority<'_>,
    open: &Open,
    fresh: &Fresh,
    keys: Option<Keys>,
) -> Result<Ran, Failure> {
    let say = |line: &str| {
        if !cx.screen.is_json() {
            cx.screen.say(line);
        }
    };
    let mut certificate = fresh.opened.certificate.clone();
    if !is_it(fresh.held.as_ref(), open) {
        if !fresh.waits() || !(open.wait || cx.screen.can_ask()) {
            if let Some(waiting) = &fresh.opened.waiting {
                say(&format!("  {}", crate::words::waiting(waiting, crate::clock::now())));
            }
            say("  it cannot run before it is approved, and nobody waits here.   next: the same with --wait");
            return Ok(Ran::Never(Exit::Pending));
        }
        let waited = wait::until_settled(cx, authority, &fresh.mine, keys.as_ref())?;
        wait::say_ended(cx.screen, &fresh.mine, &waited);
        if !waited.held.iter().any(|h| is_it(Some(h), open)) {
            return Ok(Ran::Never(never(&waited)));
        }
        certificate = waited.grant.and_then(|grant| grant.certificate);
    }
    let mut control = Control::connect(&cx.places)?;
    let held =
        control.list()?.into_iter().find(|h| h.emergency == fresh.opened.emergency && is_it(Some(h), open));
    let (Some(held), Some(certificate)) = (held, certificate) else {
        return Err(Failure::Answer("it gave no certificate for the action"));
    };
    let host = only_host(&held)?;
    let file = cx.places.run.join(format!("run-{}.pub", held.emergency));
    places::replace(&file, &format!("{certificate}\n"))?;
    let ran = ssh(cx, &host, &held.account, &file);
    // A certificate is no secret; it is only in the way.
    let _ = std::fs::remove_file(&file);
    ran
}

/// Whether it is the action's, and not something weaker that is held meanwhile.
fn is_it(held: Option<&Held>, open: &Open) -> bool {
    held.is_some_and(|held| held.action.is_some() && held.action == open.act.action)
}

fn never(waited: &Waited) -> Exit {
    match waited.ended {
        Ended::Interrupted | Ended::Over => Exit::Error,
        _ if waited.exit() == Exit::Denied => Exit::Denied,
        _ => Exit::Pending,
    }
}

/// The one host it reaches.
fn only_host(held: &Held) -> Result<HostName, Failure> {
    let one = match (&held.host, held.hosts.as_slice()) {
        (Some(host), _) => Some(host.clone()),
        (None, [one]) => one.parse().ok(),
        _ => None,
    };
    one.ok_or_else(|| Failure::Usage {
        message: format!(
            "`run` runs on one host, and {} has several: {}",
            held.system,
            held.hosts.join(", ")
        ),
        next: "the same with one host's full name".to_owned(),
    })
}

/// Runs ssh with this certificate and nothing else to log in with; what else the person has configured for
/// the host (a jump host, a port) holds.
fn ssh(cx: &Context, host: &HostName, account: &AccountName, certificate: &Path) -> Result<Ran, Failure> {
    let mut ssh = Command::new("ssh");
    for option in options(&cx.places.agent_socket(), certificate)? {
        ssh.arg("-o").arg(option);
    }
    // The certificate runs its own command, whatever is asked for. Should the person's own key open the
    // host instead, this is no command there, and above all no shell.
    ssh.args(["-l", account.as_str(), "--", host.as_str(), "fireaxe-action"]);
    if std::io::stdin().is_terminal() {
        // Nobody types into a command that they could not see beforehand; and who waited has read it.
        ssh.stdin(Stdio::null());
    }
    let cannot = |e: std::io::Error| Failure::Ssh(e.to_string());
    if !cx.screen.is_json() {
        return Ok(Ran::Ended(ssh.status().map_err(cannot)?, String::new()));
    }
    let mut child = ssh.stdout(Stdio::piped()).spawn().map_err(cannot)?;
    let mut text = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.by_ref().take(CAUGHT).read_to_end(&mut text);
        // The rest is let go, so that the command does not stand still.
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    }
    let status = child.wait().map_err(cannot)?;
    Ok(Ran::Ended(status, String::from_utf8_lossy(&text).into_owned()))
}

fn options(socket: &Path, certificate: &Path) -> Result<Vec<String>, Failure> {
    Ok(vec![
        format!("IdentityAgent={}", written(socket)?),
        "IdentitiesOnly=yes".to_owned(),
        format!("IdentityFile={}", written(certificate)?),
        "PreferredAuthentications=publickey".to_owned(),
        "BatchMode=yes".to_owned(),
        "RequestTTY=no".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        "ForwardAgent=no".to_owned(),
        "ForwardX11=no".to_owned(),
        "ClearAllForwardings=yes".to_owned(),
    ])
}

/// A path as ssh's configuration takes it: in quotes, without tokens.
fn written(path: &Path) -> Result<String, Failure> {
    let text =
        path.to_str().filter(|text| !text.contains(['"', '\\', '$']) && !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| Failure::UnsafePath(PathBuf::from(path).display().to_string()))?;
    Ok(format!("\"{}\"", text.replace('%', "%%")))
}

/// As a shell says it.
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

/// How much of a command's output goes into JSON, bytes.
const CAUGHT: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_so_that_ssh_reads_it_back_and_else_not_at_all() {
        assert_eq!(written(Path::new("/run/user/1/a b%h.pub")).unwrap(), "\"/run/user/1/a b%%h.pub\"");
        for wrong in ["/a\"b", "/a\\b", "/a$HOME", "/a\nb"] {
            assert!(written(Path::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ssh_itself_reads_the_options_as_they_are_meant() {
        let mut ssh = Command::new("ssh");
        for option in options(Path::new("/run/a b/agent.sock"), Path::new("/run/a b/%h.pub")).unwrap() {
            ssh.arg("-o").arg(option);
        }
        let out = ssh.args(["-F", "/dev/null", "-G", "db-3.payments.prod"]).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        for line in [
            "identityagent /run/a b/agent.sock",
            "identitiesonly yes",
            "batchmode yes",
            "requesttty false",
            "clearallforwardings yes",
        ] {
            assert!(said.lines().any(|l| l == line), "{line} is missing from\n{said}");
        }
        assert!(said.contains("identityfile /run/a b/"), "{said}");
    }
}
