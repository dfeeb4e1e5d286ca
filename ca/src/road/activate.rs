//! Another bundle: signed by the quorum of policy admins that the one in force names, each statement naming
//! the very activation it replaces, so that none can be played again. What the new one no longer knows loses
//! its access at once; what waits is decided anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use fireaxe_protocol::limits::{BLOB_CHUNK, BUNDLE_WINDOW_S};
use fireaxe_protocol::log::{Activation, Closer, Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Bundle, Presence, Role, gains, own_gains};
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{BundleChange, Statement};

use super::declare::hosts_of;
use super::refusal::{Internal, Refusal};
use super::turn::Turn;
use super::{Asked, Known, Reply};
use crate::state::State;

/// A bundle that passed `check`, and who signed for it.
#[derive(Debug)]
pub struct Proposal {
    /// `policy.toml`
    pub policy: String,
    /// `roster.toml`
    pub roster: String,
    /// What they mean.
    pub bundle: Arc<Bundle>,
    /// Statements of kind `bundle`, each by a known person.
    pub signed: Vec<Known>,
}

/// A bundle that is in force now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activated {
    /// Which.
    pub bundle: Hash,
    /// Index of its `bundle.activated` entry.
    pub entry: u64,
    /// Emergencies that ended with it: who declared them is no longer in the roster.
    pub closed: Vec<EmergencyId>,
    /// Emergencies whose waiting request was decided anew.
    pub decided_again: Vec<EmergencyId>,
}

/// One signature under a change, as far as judging it goes.
pub(crate) struct Signature<'a> {
    pub(crate) person: &'a PersonName,
    pub(crate) presence: Presence,
    pub(crate) words: &'a BundleChange,
}

/// Everything that keeps `after` from taking the place of the bundle in force; empty if it may.
pub(crate) fn may_not_activate(
    activation: Option<Hash>,
    before: &Bundle,
    after: &Bundle,
    signatures: &[Signature<'_>],
    now: u64,
) -> Vec<Reason> {
    let mut out = Vec::new();
    if after.hash == before.hash {
        out.push(Reason::new("bundle.same", "this bundle is in force already"));
    }
    let Some(admins) = before.roster.role(Role::PolicyAdmin) else {
        let sentence = "the roster in force names no policy_admin: nobody may change this CA's bundle";
        out.push(Reason::new("bundle.no_admins", sentence));
        return out;
    };
    let mut signers: BTreeSet<&PersonName> = BTreeSet::new();
    for Signature { person, presence, words } in signatures {
        if Some(words.of) != activation {
            let sentence = format!("what {person} signed replaces another activation than the one in force");
            out.push(Reason::new("bundle.other_activation", sentence));
        } else if words.bundle != after.hash {
            let sentence =
                format!("what {person} signed is for bundle {}, this is {}", words.bundle, after.hash);
            out.push(Reason::new("bundle.other_hash", sentence));
        } else if words.header.at.abs_diff(now) > BUNDLE_WINDOW_S {
            let sentence = format!("what {person} signed is more than {} days old", BUNDLE_WINDOW_S / 86_400);
            out.push(Reason::new("statement.stale", sentence));
        } else if !before.roster.has_role(person, Role::PolicyAdmin) {
            let sentence = format!("{person} is not a policy admin (group {})", admins.group.value);
            out.push(Reason::new("bundle.not_admin", sentence));
        } else if *presence < admins.presence {
            let needed = if admins.presence == Presence::Verified {
                "a touch with PIN or fingerprint"
            } else {
                "a touch"
            };
            let sentence =
                format!("a change of the bundle needs {needed} of the key; {person}'s signature shows less");
            out.push(Reason::new("bundle.presence", sentence));
        } else {
            signers.insert(before.roster.canonical(person));
        }
    }
    let (have, need) = (signers.len(), usize::from(admins.quorum));
    if have < need {
        let sentence = format!("{need} policy admins of group {} must sign, {have} did", admins.group.value);
        out.push(Reason::new("bundle.quorum", sentence));
    } else if !signers.is_empty() {
        // What is looser for all is nobody's own, as long as more than one says so.
        let of = if have > 1 { own_gains } else { gains };
        let gains: Vec<(&PersonName, Vec<String>)> =
            signers.into_iter().map(|person| (person, of(before, after, person))).collect();
        if gains.iter().all(|(_, gains)| !gains.is_empty()) {
            let each: Vec<String> = gains
                .iter()
                .map(|(person, gains)| format!("{person}: {}", gains.first().map_or("more", String::as_str)))
                .collect();
            let sentence = format!(
                "everybody who signed gains by this change ({}): somebody who does not must sign, too",
                each.join("; ")
            );
            out.push(Reason::new("bundle.beneficiaries_alone", sentence));
        }
    }
    out
}

impl Turn<'_> {
    pub(super) fn take_activation(&mut self, proposal: Box<Proposal>, reply: Reply<Activated>) {
        // What waits is decided anew from its entries, which must be in the log already.
        if self.state.emergencies.waiting().any(|live| self.is_of_this_batch(live)) {
            return self.deferred.push(Asked::Activate(proposal, reply));
        }
        let activated = self.activate(&proposal);
        self.later(activated, reply);
    }

    fn activate(&mut self, proposal: &Proposal) -> Result<Activated, Refusal> {
        let Proposal { policy, roster, bundle: after, signed } = proposal;
        for known in signed {
            // No counter is asked to run ahead here: a quorum gathers within a week, in which the same key may
            // have signed other things. What keeps a change from being played twice is the activation it names.
            self.still_enrolled(known)?;
        }
        let before = self.bundle.clone();
        let signatures: Vec<Signature<'_>> = signed.iter().filter_map(signature).collect();
        let reasons = may_not_activate(self.state.activation(), &before, after, &signatures, self.now);
        if !reasons.is_empty() {
            return Err(Refusal::Bundle { reasons });
        }
        let mut leaves = [Vec::new(), Vec::new()];
        for (text, leaves) in [policy, roster].into_iter().zip(&mut leaves) {
            for chunk in text.as_bytes().chunks(BLOB_CHUNK) {
                let base64 = base64::engine::general_purpose::STANDARD.encode(chunk);
                leaves.push(self.append_too(Event::BlobStored { base64 })?.leaf);
            }
        }
        let [policy, roster] = leaves;
        let admins: Vec<SignedBy> = signed.iter().map(Known::signed_by).collect();
        let by = Activation::Admins(admins);
        let event = Event::BundleActivated { bundle: after.hash, policy, roster, by };
        let entry = self.append_too(event)?.index;
        self.bundle = self.state.bundle().cloned().ok_or(Internal::NoBundle)?;
        // Dying before the commit: the bundle before is in force, with everything it knew. After it: all of
        // what follows stands in the same commit.
        let closed = self.close_removed()?;
        let decided_again = self.decide_again()?;
        Ok(Activated { bundle: after.hash, entry, closed, decided_again })
    }

    /// What was declared by a key that the roster no longer gives to the same person ends.
    fn close_removed(&mut self) -> Result<Vec<EmergencyId>, Refusal> {
        let removed: Vec<EmergencyId> = self
            .state
            .emergencies
            .iter()
            .filter(|live| is_removed(&self.bundle, live))
            .map(|live| live.id)
            .collect();
        for id in &removed {
            self.close_now(*id, Closer::Removed).map_err(|e| Internal::Fold(e.to_string()))?;
        }
        Ok(removed)
    }

    /// What waits was decided by the bundle before: its approvals are void, and nobody has to ask again.
    fn decide_again(&mut self) -> Result<Vec<EmergencyId>, Refusal> {
        let waiting: Vec<EmergencyId> = self.state.emergencies.waiting().map(|live| live.id).collect();
        let bundle = self.bundle.clone();
        for id in &waiting {
            let spoilt = |e: Refusal| Refusal::from(Internal::Fold(e.to_string()));
            let live = self.state.emergencies.get(*id).ok_or_else(|| spoilt(Refusal::Closed(*id)))?;
            let (of, words) = (live.leaf, self.words_of(live).map_err(spoilt)?);
            let (facts, decision) = again(&words, self.state, &bundle, live, self.now).map_err(spoilt)?;
            let hosts = hosts_of(&bundle, &facts.target);
            let given = decision.clone();
            let event =
                Event::EmergencyRedecided { emergency: *id, of, bundle: bundle.hash, facts, decision, hosts };
            self.decided_anew(*id, event, &given, false).map_err(spoilt)?;
        }
        Ok(waiting)
    }
}

/// Whether the roster no longer gives the key that declared it to who declared it.
pub(crate) fn is_removed(bundle: &Bundle, live: &crate::state::Live) -> bool {
    bundle.roster.by_key(&live.key).is_none_or(|(person, _)| person.name != live.person)
}

/// What is decided about a request that waited when the bundle changed.
pub(crate) fn again(
    words: &super::request::Words,
    state: &State,
    bundle: &Bundle,
    live: &crate::state::Live,
    now: u64,
) -> Result<(fireaxe_protocol::policy::Facts, fireaxe_protocol::policy::Decision), Refusal> {
    let extension = if words.extend.is_some() { live.extensions } else { 0 };
    words.decide_again(state, bundle, (live, None), extension, Some(live.id), now)
}

fn signature(known: &Known) -> Option<Signature<'_>> {
    match &known.signed().statement {
        Statement::Bundle(words) => {
            Some(Signature { person: known.person(), presence: known.signed().presence, words })
        }
        _ => None,
    }
}
