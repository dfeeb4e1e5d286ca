//! Step 2 for hosts: signed words in, a host out. Runs on the request's own task; the token is looked up
//! before any signature is checked, so a stranger costs a hash.

use std::sync::Arc;

use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::HostSaid;
use fireaxe_protocol::names::{HostName, Origin};
use fireaxe_protocol::statement::{
    Claimed, Enrol, EnrolledKey, Envelope, HostReport, Kind, Signed, Statement,
};

use super::HostRefusal;
use crate::road::Refusal;
use crate::state::{EnrolledHosts, Invitations};

/// A host that showed a token and proved its host key. Made only by [`HostGate::joins`].
#[derive(Debug)]
pub struct Joining {
    pub(super) words: Enrol,
    pub(super) said: Envelope,
}

/// A report of a host that is enrolled, signed by its key. Made only by [`HostGate::speaks`].
#[derive(Debug)]
pub struct Speaking {
    pub(super) words: HostReport,
    pub(super) key: Ed25519Key,
    pub(super) said: HostSaid,
}

/// What is needed to know a host.
#[derive(Debug, Clone)]
pub struct HostGate {
    /// The log that statements must be for.
    pub origin: Origin,
    /// Hosts that are ours.
    pub hosts: Arc<EnrolledHosts>,
    /// Hosts that may become so.
    pub invited: Arc<Invitations>,
}

impl HostGate {
    /// Checks in order of cost: shape, kind, log, token, key, signature. Whether the token is still good is the
    /// writer's to say, once more.
    pub fn joins(&self, envelope: Envelope, token: &JoinToken) -> Result<Joining, Refusal> {
        let claimed = self.read(envelope, Kind::Enrol)?;
        let Statement::Enrol(words) = claimed.statement() else {
            return Err(Refusal::WrongKind {
                expected: Kind::Enrol,
                found: claimed.statement().header().kind,
            });
        };
        let (host, token) = (&words.host, token.hash());
        let invited = self.invited.get(host).is_some_and(|one| one.token == token);
        // The same words again, after their answer was lost.
        let used = self.hosts.get(host).is_some_and(|one| one.token == token && one.key == words.public_key);
        if words.token != token || !(invited || used) {
            return Err(HostRefusal::NotInvited(host.clone()).into());
        }
        let public_key = words.public_key;
        if *claimed.fingerprint() != public_key.fingerprint() {
            return Err(HostRefusal::OtherKey.into());
        }
        let signed = verified(claimed, &public_key)?;
        match signed.statement {
            Statement::Enrol(words) => Ok(Joining { words, said: signed.envelope }),
            other => Err(Refusal::WrongKind { expected: Kind::Enrol, found: other.header().kind }),
        }
    }

    /// A `report` of `host`, signed by the key with which it is enrolled.
    pub fn speaks(&self, envelope: Envelope, host: &HostName) -> Result<Speaking, Refusal> {
        let claimed = self.read(envelope, Kind::Report)?;
        let unknown = || Refusal::from(HostRefusal::NotEnrolled(host.clone()));
        let enrolled = self.hosts.get(host).ok_or_else(unknown)?;
        if *claimed.fingerprint() != enrolled.key.fingerprint() {
            return Err(unknown());
        }
        let signed = verified(claimed, &enrolled.key)?;
        match signed.statement {
            Statement::Report(words) if words.host == *host => Ok(Speaking {
                words: *words,
                key: enrolled.key,
                said: HostSaid { of: enrolled.enrolment, host: host.clone(), said: signed.envelope },
            }),
            _ => Err(HostRefusal::OtherReport(host.clone()).into()),
        }
    }

    fn read(&self, envelope: Envelope, expected: Kind) -> Result<Claimed, Refusal> {
        let claimed = Claimed::read(envelope)?;
        let header = claimed.statement().header();
        if header.kind != expected {
            return Err(Refusal::WrongKind { expected, found: header.kind });
        }
        if header.to != self.origin {
            return Err(Refusal::WrongLog { found: header.to.clone(), ours: self.origin.clone() });
        }
        Ok(claimed)
    }
}

fn verified(claimed: Claimed, key: &Ed25519Key) -> Result<Signed, Refusal> {
    let key = EnrolledKey::of_host(key).ok_or(HostRefusal::OtherKey)?;
    Ok(claimed.verify(&key)?)
}
