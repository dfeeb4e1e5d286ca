//! The operator's word about hosts: who may join, who is ours no more, who there is.

use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Event;
use fireaxe_protocol::names::{HostName, SystemName};

use super::{HostRefusal, Invitation, system_of};
use crate::road::Recorded;
use crate::road::refusal::{Internal, Refusal};
use crate::road::turn::Turn;

/// An invitation that is in the log.
#[derive(Debug)]
pub struct Invited {
    /// The host.
    pub host: HostName,
    /// The system it will belong to.
    pub system: SystemName,
    /// The token: here and nowhere else.
    pub token: JoinToken,
    /// Until when it is good, unix seconds.
    pub until: u64,
    /// Its `host.invited` entry.
    pub entry: Recorded,
}

/// A host that is ours no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredNow {
    /// The host.
    pub host: HostName,
    /// Its `host.retired` entry.
    pub entry: Recorded,
    /// When its last certificate ends by itself, unix seconds: until then clients go on taking its key for it.
    pub certificate_until: Option<u64>,
}

/// Every host that is invited or enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Enrolled, by name.
    pub enrolled: Vec<ListedHost>,
    /// Invited and not joined yet, by name.
    pub invited: Vec<InvitedHost>,
}

/// One that is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedHost {
    /// Its name.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// Its host key.
    pub key: Ed25519Key,
    /// Since when, unix seconds.
    pub enrolled_at: u64,
    /// When its newest certificate ends, unix seconds.
    pub certificate_until: Option<u64>,
}

/// One that is invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitedHost {
    /// Its name.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// Until when, unix seconds; may have passed.
    pub until: u64,
}

impl Turn<'_> {
    /// One entry. A crash before its commit: nobody was invited and the token was shown to nobody. After it:
    /// an invitation whose token nobody knows; it ends by itself, and a newer one takes its place.
    pub(super) fn invite(&mut self, invitation: &Invitation) -> Result<Invited, Refusal> {
        let Invitation { host, system: said, for_s, by } = invitation;
        let system = system_of(&self.bundle, host)?;
        if let Some(said) = said.as_ref().filter(|said| **said != system) {
            let (host, said) = (host.clone(), said.clone());
            return Err(HostRefusal::OtherSystem { host, is: system, said }.into());
        }
        let token = JoinToken::from_random(&self.random.bytes32().map_err(|_| Internal::Randomness)?);
        let until = self.now.saturating_add(*for_s);
        let event = Event::HostInvited {
            host: host.clone(),
            system: system.clone(),
            token: token.hash(),
            until,
            by: by.clone(),
        };
        let entry = self.append(event)?;
        Ok(Invited { host: host.clone(), system, token, until, entry })
    }

    /// One entry: no report of it is taken from then on, no certificate renewed.
    pub(super) fn retire(&mut self, host: &HostName, by: String) -> Result<RetiredNow, Refusal> {
        let enrolled = self.state.hosts.enrolled().get(host);
        let of = enrolled.ok_or_else(|| HostRefusal::NotEnrolled(host.clone()))?.enrolment;
        let certificate_until = self.state.hosts.certified(host).map(|certified| certified.valid_before);
        let entry = self.append(Event::HostRetired { of, host: host.clone(), by })?;
        Ok(RetiredNow { host: host.clone(), entry, certificate_until })
    }

    pub(super) fn list_hosts(&self) -> Listed {
        let hosts = &self.state.hosts;
        let enrolled = hosts.enrolled().iter().map(|(host, one)| ListedHost {
            host: host.clone(),
            system: one.system.clone(),
            key: one.key,
            enrolled_at: one.enrolled_at,
            certificate_until: hosts.certified(host).map(|certified| certified.valid_before),
        });
        let invited = hosts.invited().iter().map(|(host, one)| InvitedHost {
            host: host.clone(),
            system: one.system.clone(),
            until: one.until,
        });
        Listed { enrolled: enrolled.collect(), invited: invited.collect() }
    }
}
