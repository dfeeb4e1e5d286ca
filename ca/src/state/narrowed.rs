//! Certificates for single hosts, made on demand out of what an emergency holds: which may be made, and which
//! entries are such. Whether the decision of its time named the host is the road's to look up.
//!
//! They give nobody anything that a decision did not give: the same key, the same terms, one host of those that
//! the emergency reaches, no later end; each says of which it was made, by whose end the sessions that it lets in
//! are over. So nobody signs for one, and nothing in the log brings it about.

use std::cmp::Reverse;

use fireaxe_protocol::certificate::Fields;
use fireaxe_protocol::limits::{NARROWED, NARROWED_FRESH_S};
use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::policy::{Bundle, NotNarrowed, Terms};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::State;
use super::live::{Issued, Live, Phase};

/// One certificate of an emergency for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowed {
    /// Serial = index of its entry.
    pub serial: u64,
    /// When it was made, unix seconds.
    pub at: u64,
    /// Its end, unix seconds.
    pub valid_before: u64,
    /// Serial of the certificate whose terms were narrowed.
    pub base: u64,
    /// Hash of its terms.
    pub terms: Hash,
    /// The host.
    pub host: HostName,
}

/// Why none is made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CannotNarrow {
    /// The emergency is not open.
    #[error("nothing is issued while it closes")]
    NotOpen,
    /// Nothing was given, or all of it has ended.
    #[error("nothing that was given is alive")]
    NothingHeld,
    /// The emergency is for another host, or the policy gives the host to another system, or to none.
    #[error("it does not reach that host")]
    OutOfReach,
    /// One is there that is still fresh: its serial.
    #[error("there is one already")]
    There(Narrowed),
    /// [`NARROWED`] are alive.
    #[error("{NARROWED} certificates for single hosts are alive")]
    TooMany,
    /// By the terms and the time.
    #[error(transparent)]
    Terms(#[from] NotNarrowed),
}

impl Live {
    /// The strongest certificate that a decision gave and that is alive at `now`: by power, a tier's before an
    /// action's, then the one that lasts longest. An engineer's `ssh` takes the same.
    pub fn strongest(&self, now: u64) -> Option<&Issued> {
        let alive = self.certificates.iter().filter(|c| c.valid_before > now);
        alive.min_by_key(|c| {
            (Reverse(c.gives.power), c.gives.action.is_some(), Reverse(c.valid_before), Reverse(c.serial))
        })
    }

    /// What a certificate for `host` would be made from, and its terms.
    pub fn narrowed_to(
        &self,
        bundle: &Bundle,
        host: &HostName,
        now: u64,
    ) -> Result<(&Issued, Terms), CannotNarrow> {
        if self.phase != Phase::Open {
            return Err(CannotNarrow::NotOpen);
        }
        let base = self.strongest(now).ok_or(CannotNarrow::NothingHeld)?;
        let target = host.as_str().parse().ok().and_then(|name| bundle.policy.resolve(&name).ok());
        let is_of_system = target.is_some_and(|t| t.system == self.system && t.host.as_ref() == Some(host));
        if !is_of_system || self.host.as_ref().is_some_and(|only| only != host) {
            return Err(CannotNarrow::OutOfReach);
        }
        let fresh = |one: &&Narrowed| {
            one.host == *host
                && one.base == base.serial
                && one.valid_before > now
                && (one.valid_before >= now.saturating_add(NARROWED_FRESH_S)
                    || one.valid_before == base.valid_before)
        };
        if let Some(there) = self.narrowed.iter().find(fresh) {
            return Err(CannotNarrow::There(there.clone()));
        }
        if self.narrowed.iter().filter(|one| one.valid_before > now).count() >= NARROWED {
            return Err(CannotNarrow::TooMany);
        }
        let terms = base.gives.narrowed(host, base.valid_before.saturating_sub(now))?;
        Ok((base, terms))
    }
}

impl State {
    /// What an entry narrows, if it is a certificate for one host that may be made at `at`; nothing otherwise.
    pub(crate) fn narrowing(
        &self,
        index: u64,
        at: u64,
        event: &Event,
        body: Option<&[u8]>,
    ) -> Option<(EmergencyId, Narrowed)> {
        let Event::CertificateIssued { of, terms: named } = event else { return None };
        let live = self.emergencies.by_leaf(of)?;
        let given = |hash: &Hash| hash == named;
        if live.request.grantable.as_ref().is_some_and(|(hash, ..)| given(hash)) {
            return None;
        }
        let fields = Fields::of_unsigned(body?).ok()?;
        let host = fields.only_host()?;
        let (base, terms) = live.narrowed_to(self.bundle()?, &host, at).ok()?;
        let valid_before = at.saturating_add(terms.lifetime_s.into());
        let is_of_base = base.of == *of && fields.within() == Some(base.within());
        (is_of_base && terms.hash() == *named).then(|| {
            let narrowed =
                Narrowed { serial: index, at, valid_before, base: base.serial, terms: *named, host };
            (live.id, narrowed)
        })
    }
}
