//! What the log says: certificates, sessions as hosts reported them, emergencies that are over, closings and who
//! confirmed them. A fold of its own over entries, which decides nothing; that the log holds together is `verify`'s.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use fireaxe_protocol::certificate::{Fields, HostTerms, TERMS};
use fireaxe_protocol::host::{EndReason, Recorded, Report};
use fireaxe_protocol::keys::Fingerprint;
use fireaxe_protocol::log::{Entry, Event, Hash, HostPattern, HostSaid};
use fireaxe_protocol::names::{EmergencyId, HostName, SystemName};
use fireaxe_protocol::policy::{Pattern, Record};
use fireaxe_protocol::statement::{Nonce, Statement};

/// See the file's top.
#[derive(Debug, Default)]
pub struct Known {
    /// The fingerprint of the key that signs users' certificates.
    pub user_ca: Option<Fingerprint>,
    /// By serial.
    pub certificates: BTreeMap<u64, Certificate>,
    /// In the order in which they were reported.
    pub sessions: Vec<Session>,
    /// Recordings as hosts reported them.
    pub reported: BTreeMap<(HostName, Nonce), ReportedRecording>,
    /// Recordings that the policy keeps no longer.
    pub expired: HashSet<(HostName, Nonce)>,
    /// Emergencies that are over.
    pub over: BTreeMap<EmergencyId, Over>,
    /// Hosts that are ours now.
    pub hosts: BTreeMap<HostName, Enrolled>,
    pub(super) closings: Vec<Closing>,
    pub(super) confirmed: HashSet<(HostName, Hash)>,
    decided: HashMap<Hash, (EmergencyId, Arc<[HostPattern]>)>,
    scopes: HashMap<EmergencyId, String>,
    open: HashMap<(HostName, Nonce), usize>,
}

/// A certificate of ours.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// When it was issued, unix seconds.
    pub at: u64,
    /// For which emergency; none for a host's self-test.
    pub emergency: Option<EmergencyId>,
    /// As it stands in its body.
    pub key_id: String,
    /// What it opens.
    pub principals: Vec<String>,
    /// Its last second and one, unix seconds.
    pub valid_before: u64,
    /// Whether its sessions are recorded.
    pub record: Record,
    /// The serial that it was made of, for one host.
    pub within: Option<u64>,
    /// When it was revoked or abandoned, unix seconds.
    pub revoked_at: Option<u64>,
    pub(super) hosts: Arc<[HostPattern]>,
}

/// A connection as its host reported it.
#[derive(Debug, Clone)]
pub struct Session {
    /// The host.
    pub host: HostName,
    /// Its random name.
    pub connection: Nonce,
    /// The certificate's serial.
    pub serial: u64,
    /// The account.
    pub account: String,
    /// Where from.
    pub from: IpAddr,
    /// When, by the host's clock, unix seconds.
    pub at: u64,
    /// The entry that said so.
    pub entry: u64,
    /// Codes of what in it cannot be, as the CA found when it was told.
    pub unusual: Vec<String>,
    /// How it ended, if it did.
    pub closed: Option<Closed>,
}

/// The end of a connection.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Why.
    pub why: EndReason,
    /// Whether all of them were listed.
    pub all_listed: bool,
    /// Their names, as listed.
    pub names: HashSet<Nonce>,
    /// The entry that said so.
    pub entry: u64,
}

/// A recording as its host reported it.
#[derive(Debug, Clone)]
pub struct ReportedRecording {
    /// The entry that did.
    pub entry: u64,
    /// When that was, unix seconds.
    pub at: u64,
    /// What it must come to.
    pub recorded: Recorded,
}

/// An emergency that is over.
#[derive(Debug, Clone, Copy)]
pub struct Over {
    /// When it ended, unix seconds.
    pub at: u64,
    /// By when its review was due.
    pub due: Option<u64>,
    /// Somebody looked back at it.
    pub reviewed: bool,
}

/// A host that is ours.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The system it belongs to.
    pub system: SystemName,
    /// It reported a session once.
    pub reports: bool,
    pub(super) entry: u64,
}

/// An end that hosts are to confirm.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    pub(super) entry: u64,
    pub(super) at: u64,
    pub(super) leaf: Hash,
    pub(super) emergency: EmergencyId,
    pub(super) scope: String,
}

/// A host's word that is missing: the closing's entry, when it was, and of which emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The host.
    pub host: HostName,
    /// The entry that closed it.
    pub entry: u64,
    /// When, unix seconds.
    pub at: u64,
    /// The emergency.
    pub emergency: EmergencyId,
}

impl Certificate {
    /// Whether it opens `account` on `host`, of which `system` is known when it is ours.
    pub fn opens(&self, account: &str, host: &HostName, system: Option<&SystemName>) -> bool {
        self.principals.iter().filter_map(|principal| principal.split_once(':')).any(|(opens, scope)| {
            opens == account
                && match system {
                    _ if scope == host.as_str() => true,
                    Some(system) => scope == system.as_str(),
                    // A host that is not ours has no system: what the decision says of hosts counts.
                    None => self
                        .hosts
                        .iter()
                        .any(|one| one.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(host))),
                }
        })
    }
}

impl Known {
    /// Takes one entry, whose leaf hash is `leaf`.
    pub fn take(&mut self, entry: &Entry, leaf: Hash) {
        if let Some(decided) = entry.event.decided() {
            self.decided.insert(leaf, (decided.emergency, decided.hosts.into()));
            let target = &decided.facts.target;
            let scope = target.host.as_ref().map_or(target.system.as_str(), HostName::as_str);
            self.scopes.entry(decided.emergency).or_insert_with(|| scope.to_owned());
        }
        match &entry.event {
            Event::LogCreated { keys, .. } => self.user_ca = Some(keys.user_ca.fingerprint()),
            Event::CertificateIssued { of, .. } => self.issued(entry, of),
            Event::CertificateAbandoned { serial, .. } => self.revoked(&[*serial], entry.at),
            Event::EmergencyClosed { emergency, revoked, review_due, .. } => {
                self.revoked(revoked, entry.at);
                self.over.insert(*emergency, Over { at: entry.at, due: *review_due, reviewed: false });
                if let Some(scope) = self.scopes.get(emergency).filter(|_| !revoked.is_empty()) {
                    let (scope, emergency) = (scope.clone(), *emergency);
                    self.closings.push(Closing { entry: entry.index, at: entry.at, leaf, emergency, scope });
                }
            }
            Event::EmergencyReviewed { emergency, .. } => {
                if let Some(over) = self.over.get_mut(emergency) {
                    over.reviewed = true;
                }
            }
            Event::HostEnrolled { host, system, .. } => {
                let enrolled = Enrolled { system: system.clone(), reports: false, entry: entry.index };
                self.hosts.insert(host.clone(), enrolled);
            }
            Event::HostRetired { host, .. } => drop(self.hosts.remove(host)),
            Event::SessionOpened { by, unusual, .. } => {
                let unusual = unusual.iter().map(|reason| reason.code.clone()).collect();
                self.opened(entry.index, by, unusual);
            }
            Event::SessionClosed { by, .. } => self.closed(entry.index, entry.at, by),
            Event::HostConfirmed { closed, by } => {
                self.confirmed.extend(closed.iter().map(|leaf| (by.host.clone(), *leaf)));
            }
            Event::RecordingExpired { host, recording, .. } => {
                self.expired.insert((host.clone(), *recording));
            }
            _ => {}
        }
    }

    /// Closings that a host which they reached, and which is ours still, never confirmed.
    pub fn unconfirmed(&self) -> impl Iterator<Item = Unconfirmed> {
        self.closings.iter().flat_map(move |closing| {
            let reached = self.hosts.iter().filter(move |(host, known)| {
                (closing.scope == known.system.as_str() || closing.scope == host.as_str())
                    && closing.entry > known.entry
                    && !self.confirmed.contains(&((*host).clone(), closing.leaf))
            });
            reached.map(move |(host, _)| Unconfirmed {
                host: host.clone(),
                entry: closing.entry,
                at: closing.at,
                emergency: closing.emergency,
            })
        })
    }

    /// The host whose name a log has as `name`: its whole name, or its first label if that is one host's alone.
    pub fn host_named(&self, name: &str) -> Option<&HostName> {
        let is = |host: &&HostName| host.as_str().eq_ignore_ascii_case(name);
        let short = |host: &&HostName| {
            host.as_str().split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(name))
        };
        self.hosts.keys().find(is).or_else(|| {
            let mut named = self.hosts.keys().filter(short);
            named.next().filter(|_| named.next().is_none())
        })
    }

    fn issued(&mut self, entry: &Entry, of: &Hash) {
        let Some(fields) = entry.body.as_deref().and_then(|body| Fields::of_unsigned(body).ok()) else {
            return;
        };
        let terms = fields.extension(TERMS).and_then(|pair| HostTerms::from_json(pair.value?));
        let decided = self.decided.get(of);
        let certificate = Certificate {
            at: entry.at,
            emergency: decided.map(|(id, _)| *id),
            key_id: fields.key_id.to_owned(),
            principals: fields.principals.iter().map(ToString::to_string).collect(),
            valid_before: fields.valid_before,
            record: terms.as_ref().map_or(Record::None, |terms| terms.record),
            within: terms.and_then(|terms| terms.within).map(|within| within.serial),
            revoked_at: None,
            hosts: decided.map_or_else(|| [].into(), |(_, hosts)| hosts.clone()),
        };
        self.certificates.insert(entry.index, certificate);
    }

    fn revoked(&mut self, serials: &[u64], at: u64) {
        for serial in serials {
            if let Some(certificate) = self.certificates.get_mut(serial) {
                certificate.revoked_at.get_or_insert(at);
            }
        }
    }

    fn opened(&mut self, entry: u64, by: &HostSaid, unusual: Vec<String>) {
        let Some(Report::SessionOpened(said)) = words(by) else { return };
        if let Some(host) = self.hosts.get_mut(&by.host) {
            host.reports = true;
        }
        self.open.insert((by.host.clone(), said.connection), self.sessions.len());
        self.sessions.push(Session {
            host: by.host.clone(),
            connection: said.connection,
            serial: said.serial,
            account: said.account.to_string(),
            from: said.from.to_canonical(),
            at: said.at,
            entry,
            unusual,
            closed: None,
        });
    }

    fn closed(&mut self, entry: u64, at: u64, by: &HostSaid) {
        let Some(Report::SessionClosed(said)) = words(by) else { return };
        let names = said.recordings.iter().map(|one| one.recording).collect();
        for recorded in said.recordings {
            let name = (by.host.clone(), recorded.recording);
            self.reported.insert(name, ReportedRecording { entry, at, recorded });
        }
        let place = self.open.remove(&(by.host.clone(), said.connection));
        if let Some(session) = place.and_then(|place| self.sessions.get_mut(place)) {
            // What is not listed may be recordings or other findings: nobody knows which.
            session.closed = Some(Closed { why: said.why, all_listed: said.more == 0, names, entry });
        }
    }
}

fn words(by: &HostSaid) -> Option<Report> {
    match Statement::read(&by.said.statement) {
        Ok(Statement::Report(words)) => Some(words.report),
        _ => None,
    }
}
