//! Hosts: invited, enrolled, certified, retired.
//!
//! An invitation is good once and until its time; a newer one of the same host takes its place. A host that is
//! invited again may be enrolled anew with another key (its disk was replaced): the key before is out from
//! then. What hosts say beyond that is `reported.rs`'s.

use std::collections::{BTreeMap, HashMap, VecDeque};

use base64::Engine;
use fireaxe_protocol::certificate::HostBody;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::SELF_TESTS_WITHIN_S;
use fireaxe_protocol::log::{Event, Hash, HostSaid};
use fireaxe_protocol::names::{HostName, SystemName};
use serde::{Deserialize, Serialize};

use super::FoldError;

/// An invitation that was not used yet. Its time may be over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Leaf of its `host.invited` entry.
    pub leaf: Hash,
    /// The system the host is to belong to.
    pub system: SystemName,
    /// Hash of the join token.
    pub token: Hash,
    /// Until when it is good, unix seconds.
    pub until: u64,
}

/// A host that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledHost {
    /// The system it belongs to.
    pub system: SystemName,
    /// Its host key: what it signs reports and reads with.
    pub key: Ed25519Key,
    /// Leaf of its `host.enrolled` entry.
    pub enrolment: Hash,
    /// Index of that entry; its first certificate's is the next.
    pub entry: u64,
    /// When that was, unix seconds.
    pub enrolled_at: u64,
    /// Hash of the join token that it used: the same key with the same token gets the same answer.
    pub token: Hash,
}

/// The newest certificate of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// Its serial: index of its `host.certified` entry.
    pub serial: u64,
    /// That entry's time, unix seconds.
    pub at: u64,
    /// When it ends, unix seconds.
    pub valid_before: u64,
}

/// All hosts that are invited or enrolled.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hosts {
    invited: BTreeMap<HostName, Invitation>,
    enrolled: BTreeMap<HostName, EnrolledHost>,
    by_key: HashMap<Ed25519Key, HostName>,
    certified: HashMap<HostName, Certified>,
    /// When each host asked for self-tests within the last [`SELF_TESTS_WITHIN_S`].
    self_tests: HashMap<HostName, VecDeque<u64>>,
    /// The newest `self-test.granted`: leaf, and hash of the terms that its certificate will have.
    granted: Option<(Hash, Hash)>,
}

impl Hosts {
    /// Hosts that are ours, by name.
    pub fn enrolled(&self) -> &BTreeMap<HostName, EnrolledHost> {
        &self.enrolled
    }

    /// Invitations that were not used yet, by the host's name.
    pub fn invited(&self) -> &BTreeMap<HostName, Invitation> {
        &self.invited
    }

    /// The host whose key that is.
    pub fn by_key(&self, key: &Ed25519Key) -> Option<&HostName> {
        self.by_key.get(key)
    }

    /// Its newest certificate.
    pub fn certified(&self, host: &HostName) -> Option<Certified> {
        self.certified.get(host).copied()
    }

    /// How many self-tests it was granted within the last [`SELF_TESTS_WITHIN_S`] before `now`.
    pub fn self_tests(&self, host: &HostName, now: u64) -> usize {
        let recent = |at: &&u64| at.saturating_add(SELF_TESTS_WITHIN_S) > now;
        self.self_tests.get(host).map_or(0, |times| times.iter().filter(recent).count())
    }

    pub(super) fn take(&mut self, index: u64, at: u64, event: &Event, leaf: Hash) -> Result<(), FoldError> {
        match event {
            Event::HostInvited { host, system, token, until, .. } => {
                let one = Invitation { leaf, system: system.clone(), token: *token, until: *until };
                self.invited.insert(host.clone(), one);
                Ok(())
            }
            Event::HostEnrolled { of, host, system, key, .. } => {
                let invited = self.invited.get(host).filter(|one| one.leaf == *of);
                let invited = invited.ok_or(FoldError::Dangling(index, *of))?;
                if at > invited.until || invited.system != *system {
                    return Err(FoldError::Host(index));
                }
                if self.by_key.get(key).is_some_and(|other| other != host) {
                    return Err(FoldError::Host(index));
                }
                let one = EnrolledHost {
                    system: system.clone(),
                    key: *key,
                    enrolment: leaf,
                    entry: index,
                    enrolled_at: at,
                    token: invited.token,
                };
                self.invited.remove(host);
                if let Some(before) = self.enrolled.insert(host.clone(), one) {
                    self.by_key.remove(&before.key);
                }
                self.by_key.insert(*key, host.clone());
                self.certified.remove(host);
                Ok(())
            }
            Event::HostCertified { of, host, body } => {
                self.must_be(index, of, host)?;
                let body = base64::engine::general_purpose::STANDARD.decode(body);
                let body = body.ok().and_then(|bytes| HostBody::read(&bytes).ok());
                let body = body.ok_or(FoldError::HostCertificate(index))?;
                let valid_before = body.fields().map_err(|_| FoldError::HostCertificate(index))?.valid_before;
                self.certified.insert(host.clone(), Certified { serial: index, at, valid_before });
                Ok(())
            }
            Event::HostRetired { of, host, .. } => {
                self.must_be(index, of, host)?;
                if let Some(before) = self.enrolled.remove(host) {
                    self.by_key.remove(&before.key);
                }
                // An invitation of it that is still open was for the host that is gone.
                self.invited.remove(host);
                self.certified.remove(host);
                self.self_tests.remove(host);
                Ok(())
            }
            Event::SelfTestGranted { by: HostSaid { of, host, .. }, terms } => {
                self.must_be(index, of, host)?;
                let times = self.self_tests.entry(host.clone()).or_default();
                times.retain(|time| time.saturating_add(SELF_TESTS_WITHIN_S) > at);
                times.push_back(at);
                self.granted = Some((leaf, terms.hash()));
                Ok(())
            }
            _ => Err(FoldError::Host(index)),
        }
    }

    /// Whether `of` is the newest `self-test.granted`, whose certificate was not issued yet.
    pub(super) fn awaits_certificate(&self, of: &Hash) -> bool {
        self.granted.is_some_and(|(leaf, _)| leaf == *of)
    }

    /// The certificate of a self-test: one, of its terms, directly after it.
    pub(super) fn issue(&mut self, index: u64, of: &Hash, terms: &Hash) -> Result<(), FoldError> {
        match self.granted.take() {
            Some((leaf, granted)) if leaf == *of && granted == *terms => Ok(()),
            _ => Err(FoldError::Certificate(index)),
        }
    }

    /// The host is enrolled, and by that entry.
    fn must_be(&self, index: u64, of: &Hash, host: &HostName) -> Result<(), FoldError> {
        match self.enrolled.get(host) {
            Some(enrolled) if enrolled.enrolment == *of => Ok(()),
            _ => Err(FoldError::Dangling(index, *of)),
        }
    }
}
