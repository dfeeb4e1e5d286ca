//! A token used: the host proves its host key, and is ours.

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::{HostName, SystemName};
use fireaxe_protocol::policy::Bundle;

use super::{Certificate, HostRefusal, Joining, system_of};
use crate::road::caller::fresh;
use crate::road::refusal::{Internal, Refusal};
use crate::road::turn::Turn;
use crate::state::{Invitation, State};

/// Whether the invitation of `host` with this token lets `key` join at `now`.
pub(crate) fn may_enrol<'s>(
    state: &'s State,
    bundle: &Bundle,
    host: &HostName,
    token: &Hash,
    key: &Ed25519Key,
    now: u64,
) -> Result<&'s Invitation, HostRefusal> {
    let invited = state.hosts.invited().get(host).filter(|one| one.token == *token);
    let invited = invited.ok_or_else(|| HostRefusal::NotInvited(host.clone()))?;
    if now > invited.until {
        return Err(HostRefusal::InvitationOver { host: host.clone(), until: invited.until });
    }
    may_stay(bundle, host, &invited.system)?;
    match user_of(state, bundle, key) {
        Some(User::Host(other)) if other == host => Ok(invited),
        Some(user) => Err(HostRefusal::KeyInUse(user.in_words())),
        None => Ok(invited),
    }
}

/// Whether the policy in force still has the host in the system for which it was invited: else it is certified
/// no further, and tests no login.
pub(crate) fn may_stay(bundle: &Bundle, host: &HostName, system: &SystemName) -> Result<(), HostRefusal> {
    let is = system_of(bundle, host)?;
    if is == *system {
        return Ok(());
    }
    Err(HostRefusal::Moved { host: host.clone(), was: system.clone(), is })
}

/// Who uses a key already.
pub(super) enum User<'s> {
    Ca,
    Person,
    Emergency,
    Host(&'s HostName),
}

impl User<'_> {
    fn in_words(&self) -> String {
        match self {
            User::Ca => "it is a key of this CA".into(),
            User::Person => "it is a person's in the roster".into(),
            User::Emergency => "an emergency's certificate is for it".into(),
            User::Host(host) => format!("{host} is enrolled with it (a cloned disk?)"),
        }
    }
}

/// Who uses `key` already: one key speaks for one only.
pub(super) fn user_of<'s>(state: &'s State, bundle: &Bundle, key: &Ed25519Key) -> Option<User<'s>> {
    let pinned = state.keys();
    let fingerprint = key.fingerprint();
    if [pinned.user_ca, pinned.host_ca, pinned.log, pinned.krl].contains(key) {
        Some(User::Ca)
    } else if bundle.roster.by_key(&fingerprint).is_some() {
        Some(User::Person)
    } else if state.emergencies.by_fresh_key(&fingerprint).is_some() {
        Some(User::Emergency)
    } else {
        state.hosts.by_key(key).map(User::Host)
    }
}

impl Turn<'_> {
    /// The certificate of this enrolment, if the log holds it; nothing once it has been put into this batch.
    /// Whoever proves the same key with the same token again gets the same answer.
    pub(super) fn join(&mut self, joining: &Joining) -> Result<Option<Certificate>, Refusal> {
        let words = &joining.words;
        if let Some(enrolled) = self.state.hosts.enrolled().get(&words.host)
            && enrolled.token == words.token
            && enrolled.key == words.public_key
        {
            if enrolled.entry >= self.committed {
                return Ok(None);
            }
            let enrolled = enrolled.clone();
            return self.certificate_of(&words.host, &enrolled, enrolled.entry + 1).map(Some);
        }
        fresh(words.header.at, self.now)?;
        let (host, key) = (&words.host, &words.public_key);
        let invited = may_enrol(self.state, &self.bundle, host, &words.token, key, self.now)?;
        let (of, system) = (invited.leaf, invited.system.clone());
        // Before anything is appended, so that a body the linter refuses leaves no trace.
        let prepared = self.prepare_host(host, *key, self.batch.next_index() + 1)?;
        let said = joining.said.clone();
        let event = Event::HostEnrolled { of, host: host.clone(), system, key: *key, said };
        // A crash before the commit: the token is as good as before. After it: enrolled and certified, both; the
        // answer is lost, and the same words again get it.
        let leaf = self.append(event)?.leaf;
        self.put_host_certificate(prepared, leaf, host).map_err(|e| Internal::Fold(e.to_string()))?;
        Ok(None)
    }
}
