//! Hosts on the road: invited by the operator, enrolled by a token and their own key, certified, retired; and
//! the certificate with which one proves to itself that a login works.
//!
//! | file | what it does |
//! |---|---|
//! | `caller.rs` | signed words -> a host that showed its token ([`Joining`]) or its enrolled key ([`Speaking`]) |
//! | `invite.rs` | the operator's word: invited, retired, listed |
//! | `enrol.rs` | a token used: `host.enrolled` and `host.certified` in one commit |
//! | `certify.rs` | the exact body, linted; logged, then signed, the same bytes each time |
//! | `self_test.rs` | a minute's certificate for one account of that host alone |
//! | `refusal.rs` | why not |
//!
//! Nothing is signed here that is not read back from the log: what a request appends is answered in the next
//! turn, by the same code that answers a retry.

mod caller;
mod certify;
mod enrol;
mod invite;
mod refusal;
mod self_test;

pub use caller::{Joining, Speaking};
pub(crate) use certify::{is_due as certificate_is_due, is_of as is_host_body_of};
pub(crate) use enrol::{may_enrol, may_stay};
pub use invite::{Invited, InvitedHost, Listed, ListedHost, RetiredNow};
pub use refusal::HostRefusal;
pub(crate) use self_test::{may_test, terms as self_test_terms};

use fireaxe_protocol::api::SelfTestCertificate;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{HostName, SystemName};
use fireaxe_protocol::policy::Bundle;

use super::turn::Turn;
use super::{Asked, Refusal, Reply, Road};

/// What can be asked of the writer about hosts.
#[derive(Debug)]
pub(crate) enum HostAsked {
    /// The operator invites one.
    Invite(Invitation, Reply<Invited>),
    /// The operator retires one.
    Retire { host: HostName, by: String, reply: Reply<RetiredNow> },
    /// All there are.
    List(Reply<Listed>),
    /// A host joins.
    Join(Box<Joining>, Reply<Certificate>),
    /// A host, whose key has been proved, wants its newest certificate.
    Certify { host: HostName, key: Ed25519Key, reply: Reply<Certificate> },
    /// A host wants a login's proof.
    SelfTest(Box<Speaking>, Reply<Box<SelfTestCertificate>>),
}

/// Whom to invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The host.
    pub host: HostName,
    /// The system it must belong to, if the operator said.
    pub system: Option<SystemName>,
    /// How long the token is good, seconds.
    pub for_s: u64,
    /// Who invites.
    pub by: String,
}

/// A host's certificate, and what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The host.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// Leaf of its `host.enrolled` entry.
    pub enrolment: Hash,
    /// `ssh-ed25519-cert-v01@openssh.com AAAA...`
    pub certificate: String,
    /// When that ends, unix seconds.
    pub valid_before: u64,
}

/// The system whose pattern names the host, by the bundle in force.
pub(crate) fn system_of(bundle: &Bundle, host: &HostName) -> Result<SystemName, HostRefusal> {
    let unknown = |nearest| HostRefusal::NotInPolicy { host: host.clone(), nearest };
    let target = host.as_str().parse().map_err(|_| unknown(Vec::new()))?;
    match bundle.policy.resolve(&target) {
        Ok(found) if found.host.as_ref() == Some(host) => Ok(found.system),
        Ok(_) => Err(unknown(Vec::new())),
        Err(error) => Err(unknown(error.nearest)),
    }
}

impl Turn<'_> {
    pub(super) fn take_host(&mut self, asked: HostAsked) {
        match asked {
            HostAsked::Invite(invitation, reply) => {
                let invited = self.invite(&invitation);
                self.later(invited, reply);
            }
            HostAsked::Retire { host, by, reply } => {
                let retired = self.retire(&host, by);
                self.later(retired, reply);
            }
            HostAsked::List(reply) => {
                let listed = self.list_hosts();
                self.later(Ok(listed), reply);
            }
            HostAsked::Join(joining, reply) => match self.join(&joining) {
                Ok(Some(joined)) => self.later(Ok(joined), reply),
                Ok(None) => self.deferred.push(Asked::Host(HostAsked::Join(joining, reply))),
                Err(refusal) => self.later(Err(refusal), reply),
            },
            HostAsked::Certify { host, key, reply } => match self.newest_certificate(&host, &key) {
                Ok(Some(certificate)) => self.later(Ok(certificate), reply),
                Ok(None) => self.deferred.push(Asked::Host(HostAsked::Certify { host, key, reply })),
                Err(refusal) => self.later(Err(refusal), reply),
            },
            HostAsked::SelfTest(speaking, reply) => match self.self_test(&speaking) {
                Ok(Some(given)) => self.later(Ok(Box::new(given)), reply),
                Ok(None) => self.deferred.push(Asked::Host(HostAsked::SelfTest(speaking, reply))),
                Err(refusal) => self.later(Err(refusal), reply),
            },
        }
    }
}

impl HostAsked {
    /// Tells whoever asked that it is not to be.
    pub(super) fn refuse(self, refusal: Refusal) {
        match self {
            HostAsked::Invite(_, reply) => drop(reply.send(Err(refusal))),
            HostAsked::Retire { reply, .. } => drop(reply.send(Err(refusal))),
            HostAsked::List(reply) => drop(reply.send(Err(refusal))),
            HostAsked::Join(_, reply) | HostAsked::Certify { reply, .. } => drop(reply.send(Err(refusal))),
            HostAsked::SelfTest(_, reply) => drop(reply.send(Err(refusal))),
        }
    }
}

impl Road {
    /// Invites a host; the answer holds the token, which is kept nowhere.
    pub async fn invite(&self, invitation: Invitation) -> Result<Invited, Refusal> {
        self.ask(|reply| Asked::Host(HostAsked::Invite(invitation, reply))).await
    }

    /// Retires a host.
    pub async fn retire(&self, host: HostName, by: String) -> Result<RetiredNow, Refusal> {
        self.ask(|reply| Asked::Host(HostAsked::Retire { host, by, reply })).await
    }

    /// Every host that is invited or enrolled.
    pub async fn hosts(&self) -> Result<Listed, Refusal> {
        self.ask(|reply| Asked::Host(HostAsked::List(reply))).await
    }

    /// Makes a host one of ours, or gives the same answer again.
    pub async fn join(&self, joining: Joining) -> Result<Certificate, Refusal> {
        self.ask(|reply| Asked::Host(HostAsked::Join(Box::new(joining), reply))).await
    }

    /// The newest certificate of a host that proved its `key`; a new one from half of its time on.
    pub async fn certify(&self, host: HostName, key: Ed25519Key) -> Result<Certificate, Refusal> {
        self.ask(|reply| Asked::Host(HostAsked::Certify { host, key, reply })).await
    }

    /// A minute's certificate with which a host tries a login.
    pub async fn self_test(&self, speaking: Speaking) -> Result<Box<SelfTestCertificate>, Refusal> {
        self.ask(|reply| Asked::Host(HostAsked::SelfTest(Box::new(speaking), reply))).await
    }
}
