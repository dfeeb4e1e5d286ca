//! Three ways: issuance, hosts' sshd logs, and what hosts reported and recorded. Pure: everything is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fireaxe_protocol::host::EndReason;
use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::names::{EmergencyId, HostName, shown};
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::Nonce;
use serde::Serialize;

use super::Window;
use super::finding::Findings;
use super::known::{Certificate, Known, Session};
use super::logins::{Login, SshdLog};
use super::pairs::{APART_S, One, Sides};
use super::shelf::OnDisk;
use super::sshd::How;

/// How many there are of each, and how they match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Certificates issued.
    pub certificates: u64,
    /// Of them, those that came in anywhere, as themselves or as one made of them for one host.
    pub used: u64,
    /// Logins in sshd's logs with a certificate of ours; none without such a log.
    pub logins: Option<u64>,
    /// Logins in them without one.
    pub standing: Option<u64>,
    /// Connections that hosts reported.
    pub sessions: u64,
    /// Of them, those that are a login in sshd's logs.
    pub matched: Option<u64>,
    /// Recordings that the CA has, or was told of.
    pub recordings: u64,
    /// Of them, those that are what was reported.
    pub as_reported: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Compared {
    /// How many.
    pub summary: Summary,
    /// What does not match.
    pub findings: Findings,
}

/// How long a closing may wait for a host's word, seconds.
pub(super) const CONFIRM_S: u64 = 60;

/// Compares what began within `window`, at `now`. Without `log`: what hosts say is all there is of logins.
pub fn compare(known: &Known, log: Option<&SshdLog>, disk: &[OnDisk], window: Window, now: u64) -> Compared {
    let mut one = Comparing { known, window, now, out: Compared::default(), used: BTreeSet::new() };
    if let Some(log) = log {
        one.lines(log);
        one.logins(log);
    }
    one.sessions(log);
    one.recordings(disk);
    one.certificates();
    one.ends();
    one.out
}

struct Comparing<'k> {
    known: &'k Known,
    window: Window,
    now: u64,
    out: Compared,
    used: BTreeSet<u64>,
}

impl Comparing<'_> {
    /// What of the log could not be used.
    fn lines(&mut self, log: &SshdLog) {
        if let Some((line, count)) = log.unreadable {
            self.out.findings.wrong(
                "log.unreadable",
                format!("line {line}"),
                format!("{count} line(s) look like a login of sshd and cannot be read, or are too long"),
                "look at that line; another program or another sshd may have written it".into(),
            );
        }
        for (name, (line, count)) in &log.elsewhere {
            let (place, next) = (format!("line {line}"), "say whose log it is: --host HOST".to_owned());
            match name {
                Some(name) => self.out.findings.wrong(
                    "log.other_host",
                    place,
                    format!("{count} login(s) on {}, which is no host of ours, or several", shown(name)),
                    next,
                ),
                None => self.out.findings.wrong(
                    "log.no_host",
                    place,
                    format!("{count} login(s) in lines that name no host"),
                    next,
                ),
            }
        }
        if log.of_sshd == 0 {
            self.out.findings.wrong(
                "log.empty",
                "the log".into(),
                format!("none of its {} line(s) is sshd's: nothing is known of logins", log.lines),
                "give /var/log/auth.log, journalctl -u ssh -o json, or --sshd-log journal".into(),
            );
        }
    }

    fn logins(&mut self, log: &SshdLog) {
        let (mut ours, mut standing) = (0, 0);
        let mut ways: BTreeMap<(&HostName, &str, String), (u64, u64)> = BTreeMap::new();
        for login in &log.logins {
            match &login.accepted.how {
                How::Certificate { key_id, serial, ca } if Some(*ca) == self.known.user_ca => {
                    ours += 1;
                    self.used.insert(*serial);
                    self.judge(login, *serial, key_id);
                }
                other => {
                    standing += 1;
                    let way = (&login.host, login.accepted.account.as_str(), way(other));
                    ways.entry(way).or_insert((login.line, 0)).1 += 1;
                }
            }
        }
        for ((host, account, way), (line, count)) in ways {
            self.out.findings.wrong(
                "login.standing",
                format!("{host}, line {line}"),
                format!("{count} login(s) to {} by {way}: no certificate of ours", shown(account)),
                format!("on {host}: fireaxe-host doctor   names the ways in that it has besides"),
            );
        }
        (self.out.summary.logins, self.out.summary.standing) = (Some(ours), Some(standing));
    }

    /// One login with a certificate that our key signed.
    fn judge(&mut self, login: &Login, serial: u64, key_id: &str) {
        let (host, account) = (&login.host, login.accepted.account.as_str());
        let place = format!("{host}, line {}", login.line);
        let findings = &mut self.out.findings;
        let stolen = "revoke the CA's key if it cannot be explained: docs/OPERATIONS.md".to_owned();
        let Some(certificate) = self.known.certificates.get(&serial) else {
            let sentence = format!(
                "our CA's key signed a certificate with serial {serial} that the log does not hold ({})",
                shown(key_id)
            );
            return findings.wrong("login.never_issued", place, sentence, stolen);
        };
        if certificate.key_id != key_id {
            let sentence = format!(
                "certificate {serial} was issued as {} and came in as {}",
                certificate.key_id,
                shown(key_id)
            );
            return findings.wrong("login.other_certificate", place, sentence, stolen);
        }
        let enrolled = self.known.hosts.get(host);
        if !certificate.opens(account, host, enrolled.map(|one| &one.system)) {
            let sentence = format!(
                "certificate {serial} is for {}, and opened {} on {host}",
                certificate.principals.join(" "),
                shown(account)
            );
            let next = format!("on {host}: fireaxe-host doctor");
            findings.wrong("login.out_of_reach", place.clone(), sentence, next);
        }
        let Some(at) = login.at else { return };
        let next =
            format!("on {host}: fireaxe-host status   says how old its list is, timedatectl its clock");
        if at > certificate.valid_before.saturating_add(STATEMENT_WINDOW_S) {
            let sentence =
                format!("certificate {serial} ended at {}, and came in at {at}", certificate.valid_before);
            findings.wrong("login.after_end", place, sentence, next);
        } else if let Some(ended) = certificate.revoked_at
            && at > ended.saturating_add(STATEMENT_WINDOW_S)
        {
            let sentence = format!("certificate {serial} was revoked at {ended}, and came in at {at}");
            findings.wrong("login.after_revocation", place, sentence, next);
        } else if at.saturating_add(STATEMENT_WINDOW_S) < certificate.at {
            let sentence =
                format!("certificate {serial} was issued at {}, and came in at {at}", certificate.at);
            findings.wrong("login.before_issue", place, sentence, next);
        }
    }

    fn sessions(&mut self, log: Option<&SshdLog>) {
        self.used.extend(self.known.sessions.iter().map(|session| session.serial));
        let window = self.window;
        let in_window = |session: &&Session| window.holds(session.at);
        for session in self.known.sessions.iter().filter(in_window) {
            self.out.summary.sessions += 1;
            if !session.unusual.is_empty() {
                let sentence = format!(
                    "{} reported a session of certificate {} that cannot be: {}",
                    session.host,
                    session.serial,
                    session.unusual.join(", ")
                );
                let next = "fireaxe-ca log verify --data DIR, and ask who runs that host".into();
                self.out.findings.wrong(
                    "session.unusual",
                    format!("entry {}", session.entry),
                    sentence,
                    next,
                );
            }
            self.unrecorded(session);
        }
        if let Some(log) = log {
            self.pair(log);
        }
    }

    /// A session that is over, and has no recording although its terms ask for one.
    fn unrecorded(&mut self, session: &Session) {
        let (Some(closed), Some(certificate)) =
            (&session.closed, self.known.certificates.get(&session.serial))
        else {
            return;
        };
        let none = closed.names.is_empty() && closed.all_listed && closed.why != EndReason::Refused;
        if !none || certificate.record == Record::None {
            return;
        }
        let asked = if certificate.record == Record::Required { "required" } else { "best-effort" };
        let sentence = format!(
            "a session of {} on {} has no recording, and its terms say {asked}; one that only forwarded ports, or \
             opened nothing, has none",
            certificate.key_id, session.host
        );
        let next = format!("on {}: journalctl -t fireaxe-host   around {}", session.host, session.at);
        self.out.findings.wrong("session.unrecorded", format!("entry {}", closed.entry), sentence, next);
    }

    fn pair(&mut self, log: &SshdLog) {
        let mut sides = Sides::default();
        for (place, login) in log.logins.iter().enumerate() {
            let How::Certificate { serial, ca, .. } = &login.accepted.how else { continue };
            if Some(*ca) == self.known.user_ca {
                let account = login.accepted.account.clone();
                let same = (login.host.to_string(), *serial, account, login.accepted.from);
                sides.login(same, One { place, at: login.at });
            }
        }
        for (place, session) in self.known.sessions.iter().enumerate() {
            let same =
                (session.host.to_string(), session.serial, session.account.clone(), Some(session.from));
            sides.session(same, One { place, at: Some(session.at) });
        }
        let alone = sides.alone();
        self.out.summary.matched = Some(alone.pairs);
        let mut silent: BTreeMap<&HostName, (u64, u64)> = BTreeMap::new();
        for login in alone.logins.iter().filter_map(|place| log.logins.get(*place)) {
            match self.known.hosts.get(&login.host) {
                Some(host) if host.reports => self.unreported(login),
                _ => silent.entry(&login.host).or_insert((login.line, 0)).1 += 1,
            }
        }
        for (host, (line, count)) in silent {
            self.out.findings.wrong(
                "host.never_reports",
                format!("{host}, line {line}"),
                format!("{count} login(s) with certificates of ours, and it never reported a session"),
                format!("a host set up with --stock reports none; any other: on {host}: fireaxe-host doctor"),
            );
        }
        for session in alone.sessions.iter().filter_map(|place| self.known.sessions.get(*place)) {
            // At its ends a log may lack a line that the report has, and so may the window.
            let covered = log.covers.get(&session.host).is_some_and(|(first, last)| {
                let (first, last) = ((*first).max(self.window.from), (*last).min(self.window.to));
                first.saturating_add(APART_S) <= session.at && session.at.saturating_add(APART_S) <= last
            });
            if covered {
                let sentence = format!(
                    "{} reported a login of certificate {} to {} from {} at {}, and its sshd's log has none",
                    session.host, session.serial, session.account, session.from, session.at
                );
                let next = format!("find out who can write to the log of {}", session.host);
                self.out.findings.wrong(
                    "session.not_in_log",
                    format!("entry {}", session.entry),
                    sentence,
                    next,
                );
            }
        }
    }

    fn unreported(&mut self, login: &Login) {
        let How::Certificate { serial, .. } = &login.accepted.how else { return };
        let sentence = format!(
            "certificate {serial} came in to {} and {} never reported it",
            shown(&login.accepted.account),
            login.host
        );
        let next = format!("on {}: fireaxe-host status   says what waits to be sent", login.host);
        let place = format!("{}, line {}", login.host, login.line);
        self.out.findings.wrong("login.unreported", place, sentence, next);
    }

    fn recordings(&mut self, disk: &[OnDisk]) {
        let by_connection: HashMap<(&HostName, Nonce), &Session> = self
            .known
            .sessions
            .iter()
            .map(|session| ((&session.host, session.connection), session))
            .collect();
        let mut there: HashSet<(&HostName, Nonce)> = HashSet::new();
        for one in disk {
            there.insert((&one.host, one.name));
            let reported = self.known.reported.get(&(one.host.clone(), one.name));
            if !self.window.holds(reported.map_or(one.began, |reported| reported.at)) {
                continue;
            }
            self.out.summary.recordings += 1;
            let session = one.connection.and_then(|name| by_connection.get(&(&one.host, name)));
            let wrong = match (&one.fault, reported, session) {
                (Some(fault), ..) => Some(("recording.damaged", fault.clone())),
                (None, Some(reported), _) => match &one.found {
                    Some(found) if *found == reported.recorded => None,
                    Some(found) if found.chunks < reported.recorded.chunks => {
                        let (has, of) = (found.chunks, reported.recorded.chunks);
                        Some((
                            "recording.short",
                            format!("it has {has} of the {of} chunks that were reported"),
                        ))
                    }
                    _ => Some(("recording.differs", "it is another than was reported".into())),
                },
                (None, None, None) => Some(("recording.no_session", "its session was never reported".into())),
                (None, None, Some(session)) => {
                    session.closed.as_ref().filter(|closed| closed.all_listed).map(|_| {
                        ("recording.not_reported", "the report of its session's end has not got it".into())
                    })
                }
            };
            match wrong {
                Some((code, why)) => self.recording(code, &one.host, one.name, &why),
                None => self.out.summary.as_reported += u64::from(reported.is_some()),
            }
        }
        for ((host, name), reported) in &self.known.reported {
            let gone = self.known.expired.contains(&(host.clone(), *name));
            if there.contains(&(host, *name)) || gone || !self.window.holds(reported.at) {
                continue;
            }
            self.out.summary.recordings += 1;
            self.recording("recording.missing", host, *name, "it was reported, and is not on this disk");
        }
    }

    fn recording(&mut self, code: &'static str, host: &HostName, name: Nonce, why: &str) {
        let sentence = format!("recording {name} of {host}: {why}");
        let next = format!("fireaxe-ca rec verify {name} --data DIR; on {host}: fireaxe-host status");
        self.out.findings.wrong(code, format!("{host}, {name}"), sentence, next);
    }

    /// Those that nobody used: no harm, and worth knowing.
    fn certificates(&mut self) {
        let bases: BTreeSet<u64> =
            self.used.iter().filter_map(|serial| self.known.certificates.get(serial)?.within).collect();
        for (serial, certificate) in &self.known.certificates {
            if !self.window.holds(certificate.at) {
                continue;
            }
            self.out.summary.certificates += 1;
            if self.used.contains(serial) || bases.contains(serial) {
                self.out.summary.used += 1;
            } else if lived(certificate) > 0 && ended(certificate) <= self.now {
                let lived = lived(certificate);
                let sentence = format!("{} was never used; it lived {lived} s", certificate.key_id);
                let next = "nothing, unless somebody says that they used it".into();
                self.out.findings.info("certificate.unused", format!("entry {serial}"), sentence, next);
            }
        }
    }

    fn ends(&mut self) {
        let window = self.window;
        for (id, over) in self.known.over.iter().filter(|(_, over)| window.holds(over.at)) {
            if let Some(due) = over.due.filter(|due| !over.reviewed && *due < self.now) {
                self.owed(*id, due);
            }
        }
        let late = |at: u64| self.window.holds(at) && at.saturating_add(CONFIRM_S) < self.now;
        for missing in self.known.unconfirmed().filter(|missing| late(missing.at)) {
            let (host, id) = (missing.host, missing.emergency);
            self.out.findings.wrong(
                "closing.unconfirmed",
                format!("{host}, entry {}", missing.entry),
                format!(
                    "{id} was closed at {}, and {host} never confirmed that it has ended there",
                    missing.at
                ),
                format!("fireaxe-ca fleet --data DIR; on {host}: fireaxe-host status"),
            );
        }
    }

    fn owed(&mut self, id: EmergencyId, due: u64) {
        let sentence = format!("{id} is over, and its review was due at {due}");
        let next = format!("somebody who took no part: fireaxe review {id}");
        self.out.findings.wrong("review.overdue", id.to_string(), sentence, next);
    }
}

/// When it could no longer be used, unix seconds.
fn ended(certificate: &Certificate) -> u64 {
    certificate.revoked_at.unwrap_or(u64::MAX).min(certificate.valid_before)
}

/// For how long it could be used, seconds.
fn lived(certificate: &Certificate) -> u64 {
    ended(certificate).saturating_sub(certificate.at)
}

fn way(how: &How) -> String {
    match how {
        How::Certificate { key_id, ca, .. } => {
            format!("a certificate of another CA, {ca}, {}", shown(key_id))
        }
        How::Key(key) => format!("the key {}", shown(key)),
        How::Other(method) => shown(method),
    }
}

#[cfg(test)]
mod tests;
