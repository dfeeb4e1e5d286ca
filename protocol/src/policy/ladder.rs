//! Who is asked when: the rungs of a request that waits for approval. The CA climbs them on its own clock.

use std::collections::BTreeSet;

use super::shape::Tier;
use super::{Approvals, Rung, Terms};
use crate::names::GroupName;

/// The tier's rungs, as far as their groups may approve these very terms; at once, whoever may approve and is
/// on no rung. If that is nobody, the first rung is called at once. Never empty for terms that want approvals.
pub(super) fn ladder(tier: Option<&Tier>, terms: &Terms) -> Vec<Rung> {
    let may: BTreeSet<&GroupName> = terms.approvals.iter().flat_map(|quorum| &quorum.from).collect();
    let rungs =
        tier.into_iter().flat_map(|tier| &tier.escalate).filter(|(_, group)| may.contains(&group.value));
    let mut later: Vec<Rung> =
        rungs.map(|(after_s, group)| Rung { after_s: *after_s, groups: vec![group.value.clone()] }).collect();
    let on_a_rung: BTreeSet<&GroupName> = later.iter().flat_map(|rung| &rung.groups).collect();
    let first: Vec<GroupName> =
        may.iter().filter(|g| !on_a_rung.contains(**g)).map(|g| (*g).clone()).collect();
    if first.is_empty() {
        if let Some(rung) = later.first_mut() {
            rung.after_s = 0;
        }
    } else {
        later.insert(0, Rung { after_s: 0, groups: first });
    }
    later
}

/// `1 of sre-leads or payments-oncall`
pub(super) fn in_words(quorum: &Approvals) -> String {
    let groups: Vec<&str> = quorum.from.iter().map(|group| group.as_str()).collect();
    format!("{} of {}", quorum.count, groups.join(" or "))
}
