//! The logins of an sshd log: lines in, bounded, and of each what is needed to find its counterpart.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Read};

use fireaxe_protocol::limits::{SSHD_LINE, SSHD_LOGINS};
use fireaxe_protocol::names::HostName;
use thiserror::Error;

use super::Window;
use super::framing::{Times, message};
use super::known::Known;
use super::sshd::{Accepted, Said, said};

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The line of the file, from 1.
    pub line: u64,
    /// When, unix seconds; none where the line has no time.
    pub at: Option<u64>,
    /// The host.
    pub host: HostName,
    /// What sshd says of it.
    pub accepted: Accepted,
}

/// What a log holds.
#[derive(Debug, Default)]
pub struct SshdLog {
    /// In the order of the lines.
    pub logins: Vec<Login>,
    /// How many lines there are.
    pub lines: u64,
    /// How many of them are sshd's.
    pub of_sshd: u64,
    /// Of each host the times between which the log has lines of its sshd, both included.
    pub covers: BTreeMap<HostName, (u64, u64)>,
    /// Lines that look like a login and cannot be read, and lines that are too long: the first, and how many.
    pub unreadable: Option<(u64, u64)>,
    /// Logins on hosts that are not ours, or on a name that several have: the first line and how many, by name; none
    /// where the line names no host.
    pub elsewhere: BTreeMap<Option<String>, (u64, u64)>,
}

/// Why a log cannot be read.
#[derive(Debug, Error)]
pub enum SshdLogError {
    /// The file, or the pipe.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// More logins than are held at once.
    #[error("there are more than {limit} logins up to line {0}", limit = SSHD_LOGINS)]
    TooMany(u64),
}

/// Names of hosts that are not ours, which are kept apart: the rest is counted under one name.
const ELSEWHERE: usize = 100;
/// Names of hosts that are remembered with what they stand for: a fleet's, 16 KiB each at most.
const NAMES: usize = 10_000;

/// Reads `input` to its end. `host`: whose log it is, whatever its lines say.
pub fn read(
    mut input: impl BufRead,
    times: Times,
    host: Option<&HostName>,
    known: &Known,
    window: Window,
) -> Result<SshdLog, SshdLogError> {
    let mut log = SshdLog::default();
    let mut bytes = Vec::new();
    // Looked for among all hosts once, not at each line.
    let mut names: HashMap<String, Option<HostName>> = HashMap::new();
    while let Some(whole) = next_line(&mut input, &mut bytes)? {
        log.lines += 1;
        let line = log.lines;
        let text = String::from_utf8_lossy(&bytes);
        let Some(found) = message(text.trim_end_matches(['\n', '\r', '\0']), times) else {
            if !whole {
                log.cannot_read(line);
            }
            continue;
        };
        log.of_sshd += 1;
        let of = match (host, &found.host) {
            (Some(host), _) => Some(host.clone()),
            (None, None) => None,
            (None, Some(name)) => {
                if names.len() >= NAMES {
                    names.clear();
                }
                names.entry(name.clone()).or_insert_with(|| known.host_named(name).cloned()).clone()
            }
        };
        if let (Some(of), Some(at)) = (&of, found.at) {
            let (first, last) = log.covers.entry(of.clone()).or_insert((at, at));
            (*first, *last) = ((*first).min(at), (*last).max(at));
        }
        // A part of a line is no login: what it leaves out may be what counts.
        let accepted = match said(&found.text) {
            Said::Accepted(accepted) if whole => accepted,
            Said::Accepted(_) | Said::Unreadable => {
                log.cannot_read(line);
                continue;
            }
            Said::Other => continue,
        };
        if found.at.is_some_and(|at| !window.holds(at)) {
            continue;
        }
        match of {
            Some(_) if log.logins.len() >= SSHD_LOGINS => return Err(SshdLogError::TooMany(line)),
            Some(host) => log.logins.push(Login { line, at: found.at, host, accepted }),
            None => log.is_elsewhere(line, found.host),
        }
    }
    Ok(log)
}

impl SshdLog {
    fn cannot_read(&mut self, line: u64) {
        let (_, count) = self.unreadable.get_or_insert((line, 0));
        *count += 1;
    }

    fn is_elsewhere(&mut self, line: u64, name: Option<String>) {
        let known = self.elsewhere.contains_key(&name) || self.elsewhere.len() < ELSEWHERE;
        let name = if known { name } else { Some("other hosts".into()) };
        let (_, count) = self.elsewhere.entry(name).or_insert((line, 0));
        *count += 1;
    }
}

/// The next line into `bytes`, at most [`SSHD_LINE`] of it; whether that is the whole. Nothing: there is no more.
fn next_line(input: &mut impl BufRead, bytes: &mut Vec<u8>) -> Result<Option<bool>, std::io::Error> {
    bytes.clear();
    let most = SSHD_LINE as u64 + 1;
    if input.by_ref().take(most).read_until(b'\n', bytes)? == 0 {
        return Ok(None);
    }
    if bytes.len() as u64 == most && bytes.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
        return Ok(Some(false));
    }
    Ok(Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fireaxe_protocol::log::{Entry, Event, Hash};
    use fireaxe_protocol::statement::Envelope;
    use time::UtcOffset;

    fn known() -> Known {
        let mut known = Known::default();
        for (index, host) in
            ["db-3.payments.prod", "db-4.payments.prod", "db-4.ledger.prod"].iter().enumerate()
        {
            let event = Event::HostEnrolled {
                of: Hash([0; 32]),
                host: host.parse().unwrap(),
                system: "payments-db".parse().unwrap(),
                key: fireaxe_protocol::keys::Ed25519Key([1; 32]),
                said: Envelope { statement: String::new(), signature: String::new() },
            };
            known.take(&Entry { index: index as u64, at: 0, event, body: None }, Hash([1; 32]));
        }
        known
    }

    fn of(text: &[u8], host: Option<&str>) -> SshdLog {
        let times = Times { now: 1_795_845_600, zone: UtcOffset::UTC };
        let host = host.map(|host| host.parse().unwrap());
        read(text, times, host.as_ref(), &known(), Window::default()).unwrap()
    }

    #[test]
    fn a_host_goes_by_its_name_or_by_a_first_label_that_is_one_hosts() {
        let log = "Nov 27 05:00:00 db-3 sshd[1]: Accepted password for a from ::1 port 1 ssh2\n\
                   Nov 27 05:00:09 db-4.payments.prod sshd[1]: Accepted password for b from ::1 port 1 ssh2\n\
                   Nov 27 05:00:10 db-4 sshd[1]: Accepted password for c from ::1 port 1 ssh2\n\
                   Nov 27 05:00:11 sshd[1]: Accepted password for d from ::1 port 1 ssh2\n\
                   Nov 27 05:00:11 web sshd[1]: Accepted password for d from ::1 port 1 ssh2\n\
                   Nov 27 06:00:00 db-3 sshd[1]: Connection closed\n";
        let found = of(log.as_bytes(), None);
        let hosts: Vec<_> = found.logins.iter().map(|login| (login.line, login.host.as_str())).collect();
        assert_eq!(hosts, [(1, "db-3.payments.prod"), (2, "db-4.payments.prod")]);
        assert_eq!(found.elsewhere.len(), 3, "{:?}", found.elsewhere);
        let (first, last) = found.covers[&"db-3.payments.prod".parse().unwrap()];
        assert_eq!(last - first, 3600);
        let found = of(log.as_bytes(), Some("db-3.payments.prod"));
        assert_eq!((found.logins.len(), found.elsewhere.len()), (5, 0));
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_past_it_is_said_and_passed_over() {
        let line = |length: usize| {
            let begin = "{\"SYSLOG_IDENTIFIER\":\"sshd\",\"_HOSTNAME\":\"db-3\",\"MESSAGE\":\"Accepted password \
                         for a from ::1 port 1 ssh2\",\"OTHER\":\"";
            format!("{begin}{}\"}}\n", "a".repeat(length - begin.len() - 2))
        };
        let log = format!("{}{}{}", line(SSHD_LINE), line(SSHD_LINE + 1), line(200));
        let found = of(log.as_bytes(), None);
        assert_eq!((found.lines, found.logins.len(), found.unreadable), (3, 2, Some((2, 1))));
    }

    #[test]
    fn bytes_that_are_no_text_are_no_login_and_no_end() {
        let mut log = vec![0xff; 300];
        log.extend_from_slice(
            b"\n\0\0\nNov 27 05:00:00 db-3 sshd[1]: Accepted password for a from ::1 port 1 ssh2",
        );
        let found = of(&log, None);
        assert_eq!((found.lines, found.logins.len()), (3, 1));
    }
}
