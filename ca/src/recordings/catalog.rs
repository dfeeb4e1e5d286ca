//! What the log says of recordings: who reported them, whose they are, and which have expired. A fold over entries,
//! of which each is taken once and in order. Believes the log; `verify` does not.

use std::collections::{BTreeMap, HashMap};

use fireaxe_protocol::host::{Recorded, Report};
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, Event, Hash, HostSaid};
use fireaxe_protocol::names::{AccountName, EmergencyId, HostName, PersonName, TierName};
use fireaxe_protocol::policy::Decision;
use fireaxe_protocol::statement::{Nonce, Statement};

/// A recording's host and its own name.
pub type Name = (HostName, Nonce);

/// What a host reported of a recording when its connection had closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What its chunks come to.
    pub recorded: Recorded,
    /// Leaf of the `session.closed` entry.
    pub of: Hash,
    /// When that was logged, unix seconds. Retention counts from here.
    pub at: u64,
}

/// What is known of one recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Of which emergency.
    pub emergency: Option<EmergencyId>,
    /// Whose.
    pub person: Option<PersonName>,
    /// What it was opened with.
    pub tier: Option<TierName>,
    /// What the host reported.
    pub reported: Option<Reported>,
    /// When the log says that it was about to be removed, unix seconds.
    pub expired_at: Option<u64>,
}

#[derive(Debug, Clone)]
struct Connection {
    emergency: Option<EmergencyId>,
    serial: u64,
    account: AccountName,
}

#[derive(Debug, Default, Clone)]
struct Known {
    connection: Option<Nonce>,
    emergency: Option<EmergencyId>,
    reported: Option<Reported>,
    expired_at: Option<u64>,
}

/// The fold.
#[derive(Debug, Default)]
pub struct Catalog {
    next: u64,
    recordings: BTreeMap<Name, Known>,
    connections: HashMap<(HostName, Nonce), Connection>,
    /// By leaf of the entry that decided: the hash of terms, the tier, the account.
    decided: HashMap<Hash, Vec<(Hash, TierName, AccountName)>>,
    people: HashMap<EmergencyId, PersonName>,
    /// By serial: the leaf of what decided, and the terms.
    certificates: HashMap<u64, (Hash, Hash)>,
}

impl Catalog {
    /// The entry that is to be taken next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes entry `index`.
    pub fn take(&mut self, index: u64, bytes: &[u8]) {
        self.next = index + 1;
        // Most entries of a large log are of other kinds: not worth taking apart.
        let head = bytes.get(..100).unwrap_or(bytes);
        let about = |kind: &[u8]| head.windows(kind.len()).any(|part| part == kind);
        if !KINDS.iter().any(|kind| about(kind)) {
            return;
        }
        if let Ok(entry) = Entry::decode(bytes) {
            self.entry(index, &entry, || leaf_hash(bytes));
        }
    }

    fn entry(&mut self, index: u64, entry: &Entry, leaf: impl FnOnce() -> Hash) {
        match &entry.event {
            Event::SessionOpened { emergency, by, .. } => {
                if let Some(Report::SessionOpened(said)) = words(by) {
                    let of = Connection { emergency: *emergency, serial: said.serial, account: said.account };
                    self.connections.insert((by.host.clone(), said.connection), of);
                }
            }
            Event::SessionClosed { emergency, by, .. } => {
                let Some(Report::SessionClosed(said)) = words(by) else { return };
                let of = leaf();
                for recorded in said.recordings {
                    let name = (by.host.clone(), recorded.recording);
                    let known = self.recordings.entry(name).or_default();
                    known.connection = Some(said.connection);
                    known.emergency = *emergency;
                    known.reported = Some(Reported { recorded, of, at: entry.at });
                }
            }
            Event::RecordingExpired { host, recording, .. } => {
                let known = self.recordings.entry((host.clone(), *recording)).or_default();
                known.expired_at = known.expired_at.or(Some(entry.at));
            }
            Event::CertificateIssued { of, terms } => {
                self.certificates.insert(index, (*of, *terms));
            }
            event => {
                let Some(decided) = event.decided() else { return };
                self.people.entry(decided.emergency).or_insert_with(|| decided.facts.person.clone());
                self.decided.insert(leaf(), tiers(decided.decision));
            }
        }
    }

    /// All that the log names.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.recordings.keys()
    }

    /// What is known of one; `connection` is what its own header says, for one that was not reported yet.
    pub fn told(&self, name: &Name, connection: Option<Nonce>) -> Told {
        let known = self.recordings.get(name).cloned().unwrap_or_default();
        let connection = known.connection.or(connection);
        let opened = connection.and_then(|connection| self.connections.get(&(name.0.clone(), connection)));
        let emergency = known.emergency.or_else(|| opened.and_then(|opened| opened.emergency));
        Told {
            emergency,
            person: emergency.and_then(|id| self.people.get(&id)).cloned(),
            tier: opened.and_then(|opened| self.tier(opened)),
            reported: known.reported,
            expired_at: known.expired_at,
        }
    }

    /// By the terms of the certificate; ones that were narrowed to a host are known by their account.
    fn tier(&self, opened: &Connection) -> Option<TierName> {
        let (of, terms) = self.certificates.get(&opened.serial)?;
        let tiers = self.decided.get(of)?;
        let exact = tiers.iter().find(|(hash, _, _)| hash == terms);
        exact.or_else(|| tiers.iter().find(|(_, _, account)| *account == opened.account)).map(|t| t.1.clone())
    }
}

fn tiers(decision: &Decision) -> Vec<(Hash, TierName, AccountName)> {
    let all = decision.terms_now().into_iter().chain(decision.terms_waiting());
    all.map(|terms| (terms.hash(), terms.tier.clone(), terms.account.clone())).collect()
}

fn words(by: &HostSaid) -> Option<Report> {
    match Statement::read(&by.said.statement) {
        Ok(Statement::Report(words)) => Some(words.report),
        _ => None,
    }
}

const KINDS: [&[u8]; 5] = [
    b"\"kind\":\"session.",
    b"\"kind\":\"recording.expired",
    b"\"kind\":\"certificate.issued",
    b"\"kind\":\"emergency.",
    b"\"kind\":\"extension.",
];
