//! What entries about hosts say, held against the state of their time: that the policy had such a host, that the
//! invitation was there, unused and in time, that the host's key signed, that each body says exactly what it
//! must, that a self-test gives exactly its terms.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::certificate::{Body, HostBody, Issue, Profile, Subject};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::{INVITATION_MAX_S, LIFETIME_MIN_S};
use fireaxe_protocol::log::{Entry, Event, Hash, HostSaid};
use fireaxe_protocol::names::{HostName, SystemName};
use fireaxe_protocol::policy::Terms;
use fireaxe_protocol::statement::{Envelope, SignatureError, Statement};

use super::check::Check;
use crate::road::{
    certificate_is_due, fresh, is_host_body_of, may_enrol, may_stay, may_test, self_test_terms, system_of,
};
use crate::state::State;

/// A self-test whose certificate stands next.
pub(super) struct Tested {
    pub(super) leaf: Hash,
    key: Ed25519Key,
    terms: Terms,
}

impl Check {
    /// What an entry about a host says, before the state takes it.
    pub(super) fn host(&mut self, state: &State, entry: &Entry, leaf: Hash) {
        let index = entry.index;
        let Some(bundle) = state.bundle() else { return };
        match &entry.event {
            Event::HostInvited { host, system, until, .. } => {
                if system_of(bundle, host).as_ref() != Ok(system) {
                    self.note(index, format!("the policy of its time has no host {host} in {system}"));
                }
                let good_s = until.saturating_sub(entry.at);
                if !(LIFETIME_MIN_S..=INVITATION_MAX_S).contains(&good_s) {
                    self.note(index, format!("an invitation for {good_s} s is none that is made"));
                }
            }
            Event::HostEnrolled { of, host, system, key, said } => {
                self.enrolment(state, entry, (of, host, system), key, said);
            }
            Event::HostCertified { host, body, .. } => self.host_certificate(state, entry, host, body),
            Event::SelfTestGranted { by, terms } => self.self_test(state, entry, by, terms, leaf),
            _ => {}
        }
    }

    fn enrolment(
        &mut self,
        state: &State,
        entry: &Entry,
        (of, host, system): (&Hash, &HostName, &SystemName),
        key: &Ed25519Key,
        said: &Envelope,
    ) {
        let index = entry.index;
        let Some(Statement::Enrol(words)) = self.host_statement(state, index, key, said) else {
            return self.note(index, format!("the key of {host} did not sign that it joins"));
        };
        if fresh(words.header.at, entry.at).is_err() {
            self.note(index, "the statement in it was too old or from the future");
        }
        if words.host != *host || words.public_key != *key {
            self.note(index, format!("what was signed enrols another host or key than {host}"));
        }
        let Some(bundle) = state.bundle() else { return };
        match may_enrol(state, bundle, host, &words.token, key, entry.at) {
            Ok(invited) if invited.leaf == *of && invited.system == *system => {}
            Ok(_) => self.note(index, format!("it names another invitation or system than that of {host}")),
            Err(refusal) => self.note(index, refusal.to_string()),
        }
    }

    fn host_certificate(&mut self, state: &State, entry: &Entry, host: &HostName, body: &str) {
        let index = entry.index;
        self.tally.certificates += 1;
        // What is not enrolled the state does not take.
        let Some(enrolled) = state.hosts.enrolled().get(host) else { return };
        if let Some(newest) = state.hosts.certified(host) {
            if !certificate_is_due(&newest, entry.at) {
                self.note(index, format!("half of the time of the certificate of {host} had not passed"));
            }
            let stays = state.bundle().map(|bundle| may_stay(bundle, host, &enrolled.system));
            if let Some(Err(refusal)) = stays {
                self.note(index, refusal.to_string());
            }
        }
        let ca = state.keys().host_ca;
        let body = STANDARD.decode(body).ok().and_then(|bytes| HostBody::read(&bytes).ok());
        if !body.is_some_and(|body| is_host_body_of(&body, host, enrolled.key, ca, (index, entry.at))) {
            self.note(index, format!("its body is not that of a host certificate of {host}"));
        }
    }

    fn self_test(&mut self, state: &State, entry: &Entry, by: &HostSaid, terms: &Terms, leaf: Hash) {
        let index = entry.index;
        let Some(enrolled) = state.hosts.enrolled().get(&by.host) else { return };
        let Some(Statement::Report(words)) = self.host_statement(state, index, &enrolled.key, &by.said)
        else {
            return self.note(index, format!("the key of {} did not sign that report", by.host));
        };
        if fresh(words.header.at, entry.at).is_err() {
            self.note(index, "the statement in it was too old or from the future");
        }
        let key = enrolled.key.fingerprint();
        if state.answered.find(&key, &words.header, &by.said.statement).is_some() {
            self.note(index, "the statement in it, or its nonce, was answered before");
        }
        if words.host != by.host {
            self.note(index, format!("what was signed is of another host than {}", by.host));
        }
        let Some(bundle) = state.bundle() else { return };
        match may_test(state, bundle, &words, entry.at) {
            Ok(test) => {
                if self_test_terms(&by.host, &test.account).as_ref() != Some(terms) {
                    self.note(index, "its terms are not those of a self-test");
                }
                self.tested = Some(Tested { leaf, key: test.public_key, terms: terms.clone() });
            }
            Err(refusal) => self.note(index, refusal.to_string()),
        }
    }

    /// The certificate of a self-test: its body is what the terms say.
    pub(super) fn self_test_certificate(&mut self, state: &State, entry: &Entry, tested: &Tested) {
        let index = entry.index;
        self.tally.certificates += 1;
        let bytes = entry.body.as_deref().unwrap_or_default();
        let nonce = Body::read(bytes).ok().and_then(|body| body.fields().ok()?.nonce.try_into().ok());
        let Some(nonce) = nonce else {
            return self.note(index, "its certificate body cannot be read");
        };
        let issue = Issue {
            nonce,
            public_key: tested.key,
            serial: index,
            subject: Subject::SelfTest,
            at: entry.at,
            grant_end: entry.at.saturating_add(tested.terms.lifetime_s.into()),
            within: None,
            ca_key: state.keys().user_ca,
        };
        let expected = Profile::from_terms(&tested.terms, &issue).map(|profile| Body::of(&profile));
        if !expected.is_ok_and(|expected| expected.as_bytes() == bytes) {
            self.note(index, "its certificate body is not what its terms say");
        }
    }

    /// A statement of a host, if `key` signed it for this log.
    fn host_statement(
        &mut self,
        state: &State,
        index: u64,
        key: &Ed25519Key,
        said: &Envelope,
    ) -> Option<Statement> {
        let spoken = match self.spoken(said) {
            Ok(spoken) => spoken,
            Err(error) => {
                self.note(index, error.to_string());
                return None;
            }
        };
        if spoken.statement.header().to != *state.origin() {
            self.note(index, "the statement in it is for another log");
        }
        let signed = if spoken.key == key.key_data() { spoken.signed } else { Err(SignatureError::Mismatch) };
        signed.map_err(|error| self.note(index, error.to_string())).ok().map(|signed| signed.statement)
    }
}
