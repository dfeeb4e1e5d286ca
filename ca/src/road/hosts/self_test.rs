//! A login's proof: a certificate that opens one account of one host, from that host itself, for a minute, and
//! runs nothing. `fireaxe-host apply` tries it before it leaves a changed sshd alone.

use fireaxe_protocol::api::SelfTestCertificate;
use fireaxe_protocol::certificate::Subject;
use fireaxe_protocol::host::{Report, SelfTest};
use fireaxe_protocol::limits::{SELF_TEST_S, SELF_TESTS};
use fireaxe_protocol::log::Event;
use fireaxe_protocol::names::{AccountName, HostName, Principal, SELF_TEST_TIER};
use fireaxe_protocol::policy::{Bundle, Presence, Record, Terms};
use fireaxe_protocol::statement::HostReport;

use super::enrol::{may_stay, user_of};
use super::{HostRefusal, Speaking};
use crate::road::caller::fresh;
use crate::road::issue::{Order, prepare, sign_again};
use crate::road::refusal::{Internal, Refusal};
use crate::road::turn::Turn;
use crate::state::{Answered, State};

/// The terms of a self-test: the same for every host and account.
pub(crate) fn terms(host: &HostName, account: &AccountName) -> Option<Terms> {
    let principal: Principal = format!("{account}:{host}").parse().ok()?;
    Some(Terms {
        tier: SELF_TEST_TIER.parse().ok()?,
        power: 1,
        account: account.clone(),
        principals: vec![principal],
        force_command: Some("/bin/true".to_owned()),
        extensions: Vec::new(),
        source_address: vec!["127.0.0.1/32".parse().ok()?, "::1/128".parse().ok()?],
        lifetime_s: SELF_TEST_S,
        approvals: Vec::new(),
        presence: Presence::None,
        record: Record::None,
        krl_max_age_s: None,
        grace_s: 0,
        action: None,
    })
}

/// Whether `words`, signed by the key of a host that is enrolled, ask for a self-test that it may have at `now`.
pub(crate) fn may_test<'w>(
    state: &State,
    bundle: &Bundle,
    words: &'w HostReport,
    now: u64,
) -> Result<&'w SelfTest, HostRefusal> {
    let host = &words.host;
    let Report::SelfTest(test) = &words.report else {
        return Err(HostRefusal::OtherReport(host.clone()));
    };
    if words.seq != 0 {
        return Err(HostRefusal::OtherReport(host.clone()));
    }
    let enrolled = state.hosts.enrolled().get(host);
    let enrolled = enrolled.ok_or_else(|| HostRefusal::NotEnrolled(host.clone()))?;
    may_stay(bundle, host, &enrolled.system)?;
    let used = bundle.policy.accounts();
    if !used.contains(&test.account) {
        let used = used.iter().map(ToString::to_string).collect();
        return Err(HostRefusal::OtherAccount { account: test.account.clone(), used });
    }
    if user_of(state, bundle, &test.public_key).is_some() {
        return Err(HostRefusal::KeyNotFresh);
    }
    if state.hosts.self_tests(host, now) >= SELF_TESTS {
        return Err(HostRefusal::TooManySelfTests { host: host.clone(), many: SELF_TESTS });
    }
    Ok(test)
}

impl Turn<'_> {
    /// The certificate, if the log holds it; nothing once it has been put into this batch.
    pub(super) fn self_test(&mut self, speaking: &Speaking) -> Result<Option<SelfTestCertificate>, Refusal> {
        let Speaking { words, key, said } = speaking;
        match self.state.answered.find(&key.fingerprint(), &words.header, &said.said.statement) {
            Some(Answered::Other) => return Err(Refusal::NonceReused),
            Some(Answered::Same { entry }) if entry >= self.committed => return Ok(None),
            Some(Answered::Same { entry }) => return self.self_test_again(entry).map(Some),
            None => {}
        }
        fresh(words.header.at, self.now)?;
        // It may have been retired or enrolled anew since the door looked.
        let still = self.state.hosts.enrolled().get(&words.host);
        if still.is_none_or(|enrolled| enrolled.enrolment != said.of) {
            return Err(HostRefusal::NotEnrolled(words.host.clone()).into());
        }
        let bundle = self.bundle.clone();
        let test = may_test(self.state, &bundle, words, self.now)?;
        let terms = terms(&words.host, &test.account)
            .ok_or_else(|| Internal::Fold("the terms of a self-test cannot be written".into()))?;
        let prepared = prepare(&Order {
            terms: &terms,
            subject: Subject::SelfTest,
            public_key: test.public_key,
            serial: self.batch.next_index() + 1,
            now: self.now,
            grant_end: self.now.saturating_add(terms.lifetime_s.into()),
            within: None,
            nonce: self.random.bytes32().map_err(|_| Internal::Randomness)?,
            ca_key: self.state.keys().user_ca,
        })?;
        let hash = terms.hash();
        // A crash before the commit: nothing happened. After it: both entries are there, and the same words
        // again get the certificate.
        let leaf = self.append(Event::SelfTestGranted { by: said.clone(), terms })?.leaf;
        drop(self.append_certificate(prepared, leaf, hash)?);
        Ok(None)
    }

    fn self_test_again(&self, index: u64) -> Result<SelfTestCertificate, Refusal> {
        let (granted, _) = self.read_back(index)?;
        let Event::SelfTestGranted { terms, .. } = granted.event else {
            return Err(Internal::Entry(index).into());
        };
        let serial = index + 1;
        let certified = self.logged(serial)?;
        Ok(SelfTestCertificate {
            schema: "fireaxe.self-test/v1".into(),
            certificate: sign_again(&certified, self.user_ca)?,
            valid_before: granted.at.saturating_add(terms.lifetime_s.into()),
            terms,
        })
    }
}
