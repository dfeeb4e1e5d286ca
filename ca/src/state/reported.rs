//! What hosts said: which report of each was the last, which connections are there, and which closings each has
//! confirmed or still owes a word about. What is never logged (heartbeats, unasked confirmations) is the door's.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fireaxe_protocol::api::Reports;
use fireaxe_protocol::host::{EndReason, Report};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::{CONFIRMED, KRL_KEEP_S, LIFETIME_MAX_S, REPORTS_PER_HOUR};
use fireaxe_protocol::log::{Event, Hash, HostSaid};
use fireaxe_protocol::names::{EmergencyId, HostName, SystemName};
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::{Envelope, HostReport, Nonce, Statement};
use serde::{Deserialize, Serialize};

use super::FoldError;

/// Connections of one host that are followed until they close. One past it, the oldest is forgotten, and its
/// closing will look as if it had never been open. 1,024 of 120 bytes.
const CONNECTIONS: usize = 1024;

/// How long a closing is owed a confirmation, seconds: as long as the list can hold its serials. Past it, what a
/// host says of the list proves nothing about them.
const OWED_S: u64 = LIFETIME_MAX_S + KRL_KEEP_S;

/// See the file's top.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    hosts: BTreeMap<HostName, Speaker>,
    closings: Closings,
    counted: Counted,
}

/// Of what hosts reported since the log began, how much somebody should have looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Logins and ends that cannot be, going by the log.
    pub unusual: u64,
    /// Connections that ended without a recording although their terms ask for one, as the host says.
    pub unrecorded: u64,
}

/// An enrolled host as far as its reports go.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    /// The system it belongs to.
    pub system: SystemName,
    /// What it signs with.
    pub key: Ed25519Key,
    /// Leaf of its `host.enrolled` entry.
    pub enrolment: Hash,
    /// When that was, unix seconds.
    pub enrolled_at: u64,
    /// Number of its last report.
    pub seq: u64,
    /// Hashes of its last reports' words, the one with that number last: as many as one request may repeat.
    words: VecDeque<Hash>,
    /// Closings up to this entry are confirmed, or were before it was one of ours.
    pub confirmed: u64,
    /// How many reports of the last hour that had any.
    pub hour: Hour,
    connections: HashMap<Nonce, Connection>,
}

/// An hour, and how many reports came in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hour(u64, u32);

impl Hour {
    /// Whether one more may come at `at`, unix seconds.
    pub fn has_room(self, at: u64) -> bool {
        self.0 != at / HOUR_S || self.1 < REPORTS_PER_HOUR
    }

    fn one_more(self, at: u64) -> Hour {
        let hour = at / HOUR_S;
        Hour(hour, if self.0 == hour { self.1.saturating_add(1) } else { 1 })
    }
}

/// A connection that was opened and not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The certificate's serial.
    pub serial: u64,
    /// Its number among the host's reports.
    pub seq: u64,
    /// Whether its terms ask for a recording, as the host says.
    pub record: Record,
}

/// Emergencies that were closed lately and had something alive.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Closings {
    /// By what they reached: the name of a system, or of one host. No name is both.
    by_scope: HashMap<String, VecDeque<Closing>>,
    ended: HashMap<EmergencyId, u64>,
    by_age: VecDeque<(u64, String, EmergencyId)>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Closing {
    entry: u64,
    leaf: Hash,
    at: u64,
}

impl Reported {
    /// What hosts reported that somebody should have looked at.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// The closings of each scope that are owed confirmations, oldest first: entry, and when, unix seconds.
    pub fn closings(&self) -> HashMap<String, Vec<(u64, u64)>> {
        let all = self.closings.by_scope.iter();
        all.map(|(scope, of)| (scope.clone(), of.iter().map(|one| (one.entry, one.at)).collect())).collect()
    }

    /// Every enrolled host, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostName, &Speaker)> {
        self.hosts.iter()
    }

    /// One of them.
    pub fn host(&self, host: &HostName) -> Option<&Speaker> {
        self.hosts.get(host)
    }

    /// When an emergency that had something alive was closed, unix seconds; nothing once that is long ago.
    pub fn ended(&self, emergency: EmergencyId) -> Option<u64> {
        self.closings.ended.get(&emergency).copied()
    }

    /// The newest closing of each scope that is owed confirmations: its entry, by the name of a system or host.
    pub fn newest_closings(&self) -> HashMap<String, u64> {
        let newest = |(scope, closings): (&String, &VecDeque<Closing>)| {
            closings.back().map(|closing| (scope.clone(), closing.entry))
        };
        self.closings.by_scope.iter().filter_map(newest).collect()
    }

    /// Leaves of the closings that `host` confirms with a list of `version`: those that reached it, that it has
    /// not confirmed, and that the list reflects; oldest first, at most [`CONFIRMED`].
    pub fn confirms(&self, host: &HostName, version: u64) -> Vec<Hash> {
        self.owed(host, version).map(|closing| closing.leaf).collect()
    }

    fn owed(&self, host: &HostName, version: u64) -> impl Iterator<Item = Closing> {
        let speaker = self.hosts.get(host);
        let scopes = [Some(host.as_str()), speaker.map(|speaker| speaker.system.as_str())];
        let confirmed = speaker.map_or(u64::MAX, |speaker| speaker.confirmed);
        let closings = scopes.into_iter().flatten().filter_map(|scope| self.closings.by_scope.get(scope));
        let mut owed: Vec<Closing> = closings
            .flat_map(|closings| closings.iter().rev().take_while(|closing| closing.entry > confirmed))
            .filter(|closing| closing.entry <= version)
            .copied()
            .collect();
        owed.sort_by_key(|closing| closing.entry);
        owed.into_iter().take(CONFIRMED)
    }

    /// Whether `host` may say something more within this hour.
    pub fn may_report(&self, host: &HostName, at: u64) -> bool {
        self.hosts.get(host).is_none_or(|speaker| speaker.hour.has_room(at))
    }

    pub(super) fn take(&mut self, index: u64, at: u64, event: &Event, leaf: Hash) -> Result<(), FoldError> {
        match event {
            Event::HostEnrolled { host, system, key, .. } => {
                let speaker = Speaker {
                    system: system.clone(),
                    key: *key,
                    enrolment: leaf,
                    enrolled_at: at,
                    seq: 0,
                    words: VecDeque::new(),
                    confirmed: index,
                    hour: Hour::default(),
                    connections: HashMap::new(),
                };
                // One that is enrolled anew begins anew: what it had open before, it cannot speak for.
                self.hosts.insert(host.clone(), speaker);
            }
            Event::HostRetired { host, .. } => drop(self.hosts.remove(host)),
            Event::SessionOpened { by, unusual, .. } => {
                self.counted.unusual += u64::from(!unusual.is_empty());
                let words = self.heard(index, at, by)?;
                let Report::SessionOpened(opened) = words.report else {
                    return Err(FoldError::Statement(index));
                };
                let connection = Connection { serial: opened.serial, seq: words.seq, record: opened.record };
                if let Some(speaker) = self.hosts.get_mut(&by.host) {
                    speaker.open(opened.connection, connection);
                }
            }
            Event::SessionClosed { by, unusual, .. } => {
                self.counted.unusual += u64::from(!unusual.is_empty());
                let words = self.heard(index, at, by)?;
                let Report::SessionClosed(closed) = words.report else {
                    return Err(FoldError::Statement(index));
                };
                if let Some(speaker) = self.hosts.get_mut(&by.host) {
                    let was = speaker.connections.remove(&closed.connection);
                    let asked = was.is_some_and(|was| was.record != Record::None);
                    let none = closed.recordings.is_empty() && closed.more == 0;
                    self.counted.unrecorded += u64::from(asked && none && closed.why != EndReason::Refused);
                }
            }
            Event::HostConfirmed { closed, by } => {
                let words = self.heard(index, at, by)?;
                let Report::Confirmed(confirmed) = words.report else {
                    return Err(FoldError::Statement(index));
                };
                // A list that is newer than this entry there is none of, whatever the host says.
                let version = confirmed.version.min(index);
                let owed: Vec<Closing> = self.owed(&by.host, version).collect();
                if !owed.iter().map(|closing| &closing.leaf).eq(closed) {
                    return Err(FoldError::Confirmed(index));
                }
                let reached = match owed.last() {
                    Some(last) if owed.len() == CONFIRMED => last.entry,
                    _ => version,
                };
                if let Some(speaker) = self.hosts.get_mut(&by.host) {
                    speaker.confirmed = speaker.confirmed.max(reached);
                }
            }
            Event::HostAlarmed { by } => {
                let words = self.heard(index, at, by)?;
                if !matches!(words.report, Report::Alarmed(_)) {
                    return Err(FoldError::Statement(index));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// An emergency was closed, and certificates of it were alive.
    pub(super) fn closed(&mut self, index: u64, at: u64, leaf: Hash, emergency: EmergencyId, scope: &str) {
        let closings = &mut self.closings;
        closings.by_scope.entry(scope.to_owned()).or_default().push_back(Closing { entry: index, leaf, at });
        closings.ended.insert(emergency, at);
        closings.by_age.push_back((at, scope.to_owned(), emergency));
    }

    /// Drops closings that nobody is owed a word about any more once the log's time is `reached`.
    pub(super) fn forget(&mut self, reached: u64) {
        let closings = &mut self.closings;
        let old = |(at, ..): &mut (u64, String, EmergencyId)| at.saturating_add(OWED_S) < reached;
        while let Some((_, scope, emergency)) = closings.by_age.pop_front_if(old) {
            closings.ended.remove(&emergency);
            if let Some(of_scope) = closings.by_scope.get_mut(&scope) {
                of_scope.pop_front();
                if of_scope.is_empty() {
                    closings.by_scope.remove(&scope);
                }
            }
        }
    }

    /// A report in an entry: of a host that is enrolled so, and its next.
    fn heard(&mut self, index: u64, at: u64, by: &HostSaid) -> Result<Box<HostReport>, FoldError> {
        let Ok(Statement::Report(words)) = Statement::read(&by.said.statement) else {
            return Err(FoldError::Statement(index));
        };
        let speaker = self.hosts.get_mut(&by.host).filter(|speaker| speaker.enrolment == by.of);
        let speaker = speaker.ok_or(FoldError::Dangling(index, by.of))?;
        if words.host != by.host || words.seq != speaker.seq.saturating_add(1) {
            return Err(FoldError::Report(index));
        }
        speaker.seq = words.seq;
        if speaker.words.len() == Reports::MOST {
            speaker.words.pop_front();
        }
        speaker.words.push_back(Hash::of(by.said.statement.as_bytes()));
        speaker.hour = speaker.hour.one_more(at);
        Ok(words)
    }
}

impl Speaker {
    /// The hash of the words that it said with this number; nothing when that is too long ago to be repeated.
    pub fn said(&self, seq: u64) -> Option<Hash> {
        let ago = usize::try_from(self.seq.checked_sub(seq)?).ok()?;
        self.words.iter().rev().nth(ago).copied()
    }

    /// Whether it said this very report, under this number and in these words, lately enough to be remembered.
    pub fn has(&self, words: &HostReport, said: &Envelope) -> bool {
        self.said(words.seq).is_some_and(|logged| logged == Hash::of(said.statement.as_bytes()))
    }

    /// The connection of that name, if it is open.
    pub fn connection(&self, name: &Nonce) -> Option<Connection> {
        self.connections.get(name).copied()
    }

    fn open(&mut self, name: Nonce, connection: Connection) {
        self.connections.insert(name, connection);
        if self.connections.len() > CONNECTIONS
            && let Some(oldest) = self.connections.iter().min_by_key(|(_, c)| c.seq).map(|(name, _)| *name)
        {
            self.connections.remove(&oldest);
        }
    }
}

const HOUR_S: u64 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(n: u8) -> Hash {
        Hash([n; 32])
    }

    fn reported() -> (Reported, HostName) {
        let mut reported = Reported::default();
        let host: HostName = "db-3.payments.prod".parse().unwrap();
        let speaker = Speaker {
            system: "payments-db".parse().unwrap(),
            key: Ed25519Key([1; 32]),
            enrolment: leaf(0),
            enrolled_at: 1000,
            seq: 0,
            words: VecDeque::new(),
            confirmed: 10,
            hour: Hour::default(),
            connections: HashMap::new(),
        };
        reported.hosts.insert(host.clone(), speaker);
        (reported, host)
    }

    #[test]
    fn a_host_owes_a_word_about_what_reached_it_since_it_was_enrolled() {
        let (mut reported, host) = reported();
        reported.closed(9, 1000, leaf(1), EmergencyId(1), "payments-db");
        reported.closed(11, 1000, leaf(2), EmergencyId(2), "vault");
        reported.closed(12, 1000, leaf(3), EmergencyId(3), "payments-db");
        reported.closed(13, 1000, leaf(4), EmergencyId(4), "db-3.payments.prod");
        reported.closed(14, 1000, leaf(5), EmergencyId(5), "db-4.payments.prod");
        reported.closed(15, 1000, leaf(6), EmergencyId(6), "payments-db");
        assert_eq!(reported.confirms(&host, 14), [leaf(3), leaf(4)]);
        assert_eq!(reported.confirms(&host, u64::MAX), [leaf(3), leaf(4), leaf(6)]);
        reported.hosts.get_mut(&host).unwrap().confirmed = 13;
        assert_eq!(reported.confirms(&host, 20), [leaf(6)]);
    }

    #[test]
    fn a_debt_lapses_once_the_list_holds_its_serials_no_more() {
        let (mut reported, host) = reported();
        reported.closed(12, 1000, leaf(3), EmergencyId(3), "payments-db");
        reported.forget(1000 + OWED_S);
        assert_eq!((reported.confirms(&host, 99).len(), reported.ended(EmergencyId(3))), (1, Some(1000)));
        reported.forget(1001 + OWED_S);
        assert_eq!((reported.confirms(&host, 99).len(), reported.ended(EmergencyId(3))), (0, None));
        assert!(reported.newest_closings().is_empty());
    }

    #[test]
    fn one_confirmation_names_no_more_closings_than_fit_and_the_next_the_rest() {
        let (mut reported, host) = reported();
        for n in 0..=CONFIRMED as u64 {
            reported.closed(11 + n, 1000, Hash::of(&n.to_be_bytes()), EmergencyId(n + 1), "payments-db");
        }
        assert_eq!(reported.confirms(&host, u64::MAX).len(), CONFIRMED);
        reported.hosts.get_mut(&host).unwrap().confirmed = 10 + CONFIRMED as u64;
        assert_eq!(reported.confirms(&host, u64::MAX).len(), 1);
    }

    #[test]
    fn one_connection_too_many_forgets_the_oldest() {
        let (mut reported, host) = reported();
        let speaker = reported.hosts.get_mut(&host).unwrap();
        let name = |n: u64| Nonce(u128::from(n).to_be_bytes());
        for seq in 1..=CONNECTIONS as u64 {
            speaker.open(name(seq), Connection { serial: 7, seq, record: Record::None });
        }
        assert!(speaker.connection(&name(1)).is_some());
        speaker.open(name(9999), Connection { serial: 7, seq: 9999, record: Record::None });
        assert!(speaker.connection(&name(1)).is_none() && speaker.connection(&name(2)).is_some());
    }

    #[test]
    fn a_host_may_say_so_much_in_an_hour_and_then_again_in_the_next() {
        let (mut reported, host) = reported();
        reported.hosts.get_mut(&host).unwrap().hour = Hour(5, REPORTS_PER_HOUR - 1);
        assert!(reported.may_report(&host, 5 * HOUR_S));
        reported.hosts.get_mut(&host).unwrap().hour = Hour(5, REPORTS_PER_HOUR);
        assert!(!reported.may_report(&host, 6 * HOUR_S - 1));
        assert!(reported.may_report(&host, 6 * HOUR_S));
    }
}
