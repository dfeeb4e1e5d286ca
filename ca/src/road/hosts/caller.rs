//! Step 2 for hosts: signed words in, a host out; but reports, which `speakers.rs` hears itself. Runs on the
//! request's own task; the token is looked up before any signature is checked, so a stranger costs a hash.

use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::HostSaid;
use fireaxe_protocol::names::{HostName, Origin};
use fireaxe_protocol::statement::{Enrol, EnrolledKey, Envelope, HostReport, Kind, Statement};

use super::HostRefusal;
use crate::road::speakers::claimed;
use crate::road::{Refusal, Speakers};

/// A host that showed a token and proved its host key. Made only by [`Speakers::joins`].
#[derive(Debug)]
pub struct Joining {
    pub(super) words: Enrol,
    pub(super) said: Envelope,
}

/// What a host that is enrolled asks for, signed by its key. Made only by [`Speakers::speaks`].
#[derive(Debug)]
pub struct Speaking {
    pub(super) words: HostReport,
    pub(super) key: Ed25519Key,
    pub(super) said: HostSaid,
}

impl Speakers {
    /// Checks in order of cost: shape, kind, log, token, key, signature. Whether the token is still good is the
    /// writer's to say, once more.
    pub fn joins(&self, origin: &Origin, envelope: Envelope, token: &JoinToken) -> Result<Joining, Refusal> {
        let claimed = claimed(origin, envelope, Kind::Enrol)?;
        let wrong = |found| Refusal::WrongKind { expected: Kind::Enrol, found };
        let Statement::Enrol(words) = claimed.statement() else {
            return Err(wrong(claimed.statement().header().kind));
        };
        let (host, token) = (&words.host, token.hash());
        let invited = self.invitation(host).is_some_and(|one| one.token == token);
        // The same words again, after their answer was lost.
        let used = self.get(host).is_some_and(|one| one.token == token && one.public_key == words.public_key);
        if words.token != token || !(invited || used) {
            return Err(HostRefusal::NotInvited(host.clone()).into());
        }
        if *claimed.fingerprint() != words.public_key.fingerprint() {
            return Err(HostRefusal::OtherKey.into());
        }
        let key = EnrolledKey::of_host(&words.public_key).ok_or(HostRefusal::OtherKey)?;
        let signed = claimed.verify(&key)?;
        match signed.statement {
            Statement::Enrol(words) => Ok(Joining { words, said: signed.envelope }),
            other => Err(wrong(other.header().kind)),
        }
    }

    /// A `report` of `host` that asks for something, signed by the key with which it is enrolled.
    pub fn speaks(&self, origin: &Origin, envelope: Envelope, host: &HostName) -> Result<Speaking, Refusal> {
        let claimed = claimed(origin, envelope, Kind::Report)?;
        let unknown = || Refusal::from(HostRefusal::NotEnrolled(host.clone()));
        let known = self.get(host).ok_or_else(unknown)?;
        let signed = known.signed(claimed)?.ok_or_else(unknown)?;
        match signed.statement {
            Statement::Report(words) if words.host == *host => Ok(Speaking {
                words: *words,
                key: known.public_key,
                said: HostSaid { of: known.enrolment, host: host.clone(), said: signed.envelope },
            }),
            _ => Err(HostRefusal::OtherReport(host.clone()).into()),
        }
    }
}
