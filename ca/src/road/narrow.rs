//! A certificate for one host, on demand: out of what an emergency holds, to whoever proves to have its fresh
//! key. Step 4 once more, with terms that only get smaller; `state/narrowed.rs` says which may be made.
//!
//! The one that is there is given again, the same bytes, as long as it is fresh: no entry for each login.

use fireaxe_protocol::api::Narrowed;
use fireaxe_protocol::certificate::{Subject, Within};
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, HostName};
use fireaxe_protocol::policy::{Pattern, Terms};

use super::issue::{Order, prepare, sign_again};
use super::refusal::{Internal, Refusal};
use super::request::live;
use super::turn::Turn;
use super::{Asked, Reply};
use crate::state::{CannotNarrow, Live, Narrowed as There};

impl Turn<'_> {
    pub(super) fn take_narrow(&mut self, id: EmergencyId, host: HostName, reply: Reply<Box<Narrowed>>) {
        match self.narrow(id, &host) {
            Ok(Some(narrowed)) => self.later(Ok(Box::new(narrowed)), reply),
            // It stands in this batch: signed and given in the next turn, from the log.
            Ok(None) => self.deferred.push(Asked::Narrow(id, host, reply)),
            Err(refusal) => self.later(Err(refusal), reply),
        }
    }

    /// The certificate, if the log holds it; nothing once it has been put into this batch, or while what it
    /// rests on is there only.
    fn narrow(&mut self, id: EmergencyId, host: &HostName) -> Result<Option<Narrowed>, Refusal> {
        self.must_be_open(live(self.state, id)?.id)?;
        let live = live(self.state, id)?;
        let cannot = |why| Refusal::NotNarrowed { id, host: host.clone(), why };
        match live.narrowed_to(&self.bundle, host, self.now) {
            Err(CannotNarrow::There(there)) if there.serial >= self.committed => Ok(None),
            Err(CannotNarrow::There(there)) => self.narrowed_again(live, &there).map(Some),
            Err(why) => Err(cannot(why)),
            Ok((base, _)) if base.serial >= self.committed => Ok(None),
            Ok((base, terms)) => {
                let (of, within) = (base.of, base.within());
                if !self.names(live, &of, host)? {
                    return Err(cannot(CannotNarrow::OutOfReach));
                }
                self.put_narrowed(id, of, &terms, within).map(|()| None)
            }
        }
    }

    /// Whether the decision of `of` named the host: the policy may know hosts since that nobody was given.
    fn names(&self, live: &Live, of: &Hash, host: &HostName) -> Result<bool, Refusal> {
        let index = if *of == live.request.leaf { Some(live.request.index) } else { live.superseded(of) };
        let index = index.ok_or_else(|| Internal::Fold(format!("{} is of no decision", live.id)))?;
        let (entry, _) = self.read_back(index)?;
        let decided = entry.event.decided().ok_or(Internal::Entry(index))?;
        Ok(decided.hosts.iter().any(|p| p.parse::<Pattern>().is_ok_and(|p| p.matches(host))))
    }

    /// Logs the body. Dying after the commit leaves an entry of a certificate that nobody received; whoever
    /// asks again while it is fresh gets it.
    fn put_narrowed(
        &mut self,
        id: EmergencyId,
        of: Hash,
        terms: &Terms,
        within: Within,
    ) -> Result<(), Refusal> {
        let live = live(self.state, id)?;
        let (person, public_key) = (live.person.clone(), live.fresh_key);
        let prepared = prepare(&Order {
            terms,
            subject: Subject::Person(id, &person),
            public_key,
            serial: self.batch.next_index(),
            now: self.now,
            grant_end: within.until,
            within: Some(within),
            nonce: self.random.bytes32().map_err(|_| Internal::Randomness)?,
            ca_key: self.state.keys().user_ca,
        })?;
        // Dropped unsigned, on purpose: what the log holds is signed, each time the same bytes.
        self.append_certificate(prepared, of, terms.hash()).map(drop)
    }

    fn narrowed_again(&self, live: &Live, there: &There) -> Result<Narrowed, Refusal> {
        let base = live.certificates().iter().find(|c| c.serial == there.base);
        let base = base.ok_or(Internal::Entry(there.serial))?;
        let lifetime_s = u32::try_from(there.valid_before - there.at).unwrap_or(u32::MAX);
        let certified = self.logged(there.serial)?;
        Ok(Narrowed {
            schema: "fireaxe.narrowed/v1".into(),
            emergency: live.id,
            host: there.host.clone(),
            of: base.of,
            terms: base.gives.on_host(&there.host, lifetime_s),
            certificate: sign_again(&certified, self.user_ca)?,
            valid_before: there.valid_before,
        })
    }
}
