//! The statements that entries keep, and who signed them, in the shape that `ssh-keygen -Y verify` takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::Fingerprint;
use crate::log::{Activation, Closer, Event, Hash, HostSaid, SignedBy};
use crate::names::{HostName, PersonName};
use crate::policy::Presence;
use crate::statement::{Claimed, Envelope};

/// Whose words an entry says they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who<'e> {
    /// A person of the roster.
    Person {
        /// Who.
        name: &'e PersonName,
        /// The key, as the entry has it.
        key: &'e Fingerprint,
        /// A FIDO key's counter, as the entry has it.
        counter: Option<u32>,
        /// What the signature proves, where the entry keeps that.
        presence: Option<Presence>,
    },
    /// A host.
    Host {
        /// Which.
        name: &'e HostName,
        /// Leaf of its `host.enrolled` entry; none in that entry itself.
        of: Option<Hash>,
    },
}

/// One statement of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'e> {
    /// Whose.
    pub who: Who<'e>,
    /// The words and the signature.
    pub envelope: &'e Envelope,
}

impl Who<'_> {
    /// What `ssh-keygen -Y verify -I` is told.
    pub fn principal(&self) -> String {
        match self {
            Who::Person { name, .. } => name.to_string(),
            Who::Host { name, .. } => name.to_string(),
        }
    }
}

/// Every statement that an entry keeps, in order.
pub fn said(event: &Event) -> Vec<Said<'_>> {
    match event {
        Event::EmergencyDeclared { declared, key, counter, facts, .. }
        | Event::DeclarationRefused { declared, key, counter, facts, .. } => {
            let who =
                Who::Person { name: &facts.person, key, counter: *counter, presence: Some(facts.presence) };
            vec![Said { who, envelope: declared }]
        }
        Event::EmergencySeconded { by, .. }
        | Event::ExtensionRequested { by, .. }
        | Event::ExtensionRefused { by, .. }
        | Event::ApprovalGiven { by, .. }
        | Event::ApprovalRefused { by, .. }
        | Event::EmergencyReviewed { by, .. } => vec![of_person(by)],
        Event::EmergencyClosed { by: Closer::Person { person, closed, key, counter }, .. } => {
            let who = Who::Person { name: person, key, counter: *counter, presence: None };
            vec![Said { who, envelope: closed }]
        }
        Event::BundleActivated { by: Activation::Admins(admins), .. } => {
            admins.iter().map(of_person).collect()
        }
        Event::HostEnrolled { host, said, .. } => {
            vec![Said { who: Who::Host { name: host, of: None }, envelope: said }]
        }
        Event::SelfTestGranted { by, .. }
        | Event::SessionOpened { by, .. }
        | Event::SessionClosed { by, .. }
        | Event::HostConfirmed { by, .. }
        | Event::HostAlarmed { by } => vec![of_host(by)],
        _ => Vec::new(),
    }
}

fn of_person(by: &SignedBy) -> Said<'_> {
    let SignedBy { person, said, key, presence, counter } = by;
    Said {
        who: Who::Person { name: person, key, counter: *counter, presence: Some(*presence) },
        envelope: said,
    }
}

fn of_host(by: &HostSaid) -> Said<'_> {
    Said { who: Who::Host { name: &by.host, of: Some(by.of) }, envelope: &by.said }
}

/// The namespace and the key line of a signature; none if it is no signature of ours.
pub(super) fn signed_as(envelope: &Envelope) -> Option<(&'static str, String)> {
    let claimed = Claimed::read(envelope.clone()).ok()?;
    Some((claimed.statement().header().kind.namespace(), claimed.key_line()?))
}

/// `allowed_signers`: each signer with the key that signed and the namespaces it signed in, sorted.
pub(super) fn allowed_signers<'e>(all: impl Iterator<Item = Said<'e>>) -> String {
    let mut keys: BTreeMap<(String, String), BTreeSet<&'static str>> = BTreeMap::new();
    for one in all {
        if let Some((namespace, line)) = signed_as(one.envelope) {
            keys.entry((one.who.principal(), line)).or_default().insert(namespace);
        }
    }
    let line = |((principal, key), spaces): (&(String, String), &BTreeSet<&str>)| {
        let spaces: Vec<&str> = spaces.iter().copied().collect();
        format!("{principal} namespaces=\"{}\" {key}\n", spaces.join(","))
    };
    keys.iter().map(line).collect()
}
