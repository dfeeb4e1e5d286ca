//! Who an account is on this host: its number, and the shell that runs what a session runs.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::host::RECORDER;
use fireaxe_protocol::names::AccountName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::{Deadline, Stopwatch};

/// What is known of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    /// Absolute path.
    pub(super) shell: String,
}

/// The name service does not answer in time, or says that it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoAnswer;

/// Accounts that are not in `/etc/passwd`, as the name service said, for [`FRESH`]: a program for each session
/// would let who begins many of them load the host, or a directory that hangs hold all places.
///
/// A directory that does not answer says nothing: what it said before goes on to count.
///
/// What is said here gives no rights: it is compared with the uid that the kernel says. For that long after an
/// account was given another number, its sessions are refused; after it was given another shell, they get the
/// old one. An account that is gone is still known, to a connection that came in before.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<BTreeMap<AccountName, (Stopwatch, Option<Account>)>>);

impl Accounts {
    /// Looks an account up: the file first, which is read anew each time, then whatever else the host's name
    /// service knows.
    /// `None`: nobody knows it. The error: nobody answers.
    pub(super) fn look_up(&self, name: &AccountName) -> Result<Option<Account>, NoAnswer> {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        match parse(&passwd, name) {
            Some(account) => Ok(Some(account)),
            None => self.remembered(name, || ask(Command::new("getent"), name)),
        }
    }

    fn remembered(
        &self,
        name: &AccountName,
        ask: impl FnOnce() -> Result<Option<Account>, NoAnswer>,
    ) -> Result<Option<Account>, NoAnswer> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, account)) = known().get(name)
            && since.elapsed() < fresh(account.as_ref())
        {
            return Ok(account.clone());
        }
        // Nobody waits for another account's answer.
        let answer = ask();
        let mut known = known();
        let account = match answer {
            Ok(account) => account,
            Err(NoAnswer) => match known.get(name) {
                Some((_, Some(before))) => return Ok(Some(before.clone())),
                _ => return Err(NoAnswer),
            },
        };
        if known.len() >= REMEMBERED {
            known.retain(|_, (since, account)| since.elapsed() < fresh(account.as_ref()));
        }
        known.insert(name.clone(), (Stopwatch::start(), account.clone()));
        Ok(account)
    }
}

/// How long an answer counts. That there is none may be a directory's bad moment.
fn fresh(account: Option<&Account>) -> Duration {
    if account.is_some() { FRESH } else { UNKNOWN }
}

/// Asks the name service, and no longer than a recorder waits.
fn ask(mut getent: Command, name: &AccountName) -> Result<Option<Account>, NoAnswer> {
    let deadline = Deadline::after(PATIENCE);
    getent.args(["passwd", name.as_str()]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = getent.stdout(Stdio::piped()).spawn().map_err(|_| NoAnswer)?;
    let said = child.stdout.take().and_then(|out| read(out, deadline));
    // Gone by itself, or gone now: either way it is waited for.
    let said = said.ok_or(NoAnswer);
    if said.is_err() {
        let _ = child.kill();
    }
    let ended = child.wait().map_err(|_| NoAnswer)?;
    let account = parse(&String::from_utf8_lossy(&said?), name);
    match account {
        Some(account) => Ok(Some(account)),
        // getent(1): 2, the key is not there.
        None if ended.code() == Some(UNKNOWN_KEY) => Ok(None),
        None => Err(NoAnswer),
    }
}

/// All that comes before the deadline; nothing: the end did not.
fn read(mut out: std::process::ChildStdout, deadline: Deadline) -> Option<Vec<u8>> {
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    while said.len() < LONGEST {
        let left = Timespec::try_from(deadline.left()?).ok()?;
        match poll(&mut [PollFd::new(&out, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
        }
        match out.read(&mut buffer).ok()? {
            0 => return Some(said),
            n => said.extend_from_slice(buffer.get(..n)?),
        }
    }
    None
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

const FRESH: Duration = Duration::from_secs(60);
const UNKNOWN: Duration = Duration::from_secs(5);
/// How long it is waited for: a recorder waits for two seconds.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The longest answer, bytes.
const LONGEST: usize = 64 * 1024;
/// Accounts that are remembered beyond their time, for when nobody answers.
const REMEMBERED: usize = 1024;
const UNKNOWN_KEY: i32 = 2;
const BASH: &str = "/bin/bash";
const NO_SHELL: [&str; 2] = ["/nologin", "/false"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_service_is_asked_once_for_each_account_and_not_for_each_session() {
        let (accounts, mut asked) = (Accounts::default(), Vec::new());
        let [ops, gone] = ["ops", "gone"].map(|name| name.parse::<AccountName>().unwrap());
        let found = Account { uid: 7, shell: "/bin/sh".into() };
        for name in [&ops, &gone, &ops, &gone, &ops] {
            let answer = Ok((*name == ops).then(|| found.clone()));
            let told = accounts.remembered(name, || {
                asked.push(name.clone());
                answer.clone()
            });
            assert_eq!(told, answer);
        }
        assert_eq!(asked, [ops, gone]);
    }

    #[test]
    fn who_does_not_answer_unsays_nothing() {
        let (accounts, ops) = (Accounts::default(), "ops".parse::<AccountName>().unwrap());
        assert_eq!(accounts.remembered(&ops, || Err(NoAnswer)), Err(NoAnswer));
        let found = Account { uid: 7, shell: "/bin/sh".into() };
        assert_eq!(accounts.remembered(&ops, || Ok(Some(found.clone()))), Ok(Some(found.clone())));
        // Its time is over.
        let long_ago = Stopwatch::ago(FRESH);
        accounts.0.lock().unwrap().get_mut(&ops).unwrap().0 = long_ago;
        assert_eq!(accounts.remembered(&ops, || Err(NoAnswer)), Ok(Some(found)));
        assert_eq!(accounts.remembered(&ops, || Ok(None)), Ok(None));
    }

    #[test]
    fn a_name_service_that_hangs_or_never_stops_is_not_waited_for() {
        let limit = Deadline::after(Duration::from_secs(60));
        for script in ["exec sleep 600", "exec cat /dev/zero", "exec yes"] {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]);
            assert_eq!(ask(shell, &"ops".parse().unwrap()), Err(NoAnswer), "{script}");
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo $1:x:7:7::/h:/bin/sh"]);
        assert_eq!(ask(shell, &"ops".parse().unwrap()).unwrap().map(|account| account.uid), Some(7));
        let mut unknown = Command::new("sh");
        unknown.args(["-c", "exit 2"]);
        assert_eq!(ask(unknown, &"ops".parse().unwrap()), Ok(None));
        assert!(limit.left().is_some());
    }

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
