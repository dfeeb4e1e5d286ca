//! What an approver is shown: read from the entry's own bytes, whose leaf is computed here, so that what is
//! signed is what was shown. Pure. What the CA says beside it (titles, earlier uses) is shown as its word.

use fireaxe_protocol::api::RequestCard;
use fireaxe_protocol::log::{Entry, Event, Hash, tree};
use fireaxe_protocol::names::{EmergencyId, Origin};
use fireaxe_protocol::policy::{Decision, Facts};
use fireaxe_protocol::statement::{Declare, Extend, Statement};

use crate::failure::Failure;

/// A request, as its entries say it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// Leaf of the entry that decided: what is approved, refused or signed too.
    pub(crate) of: Hash,
    /// Leaf of the declaration.
    pub(crate) declaration: Hash,
    /// When it was decided, unix seconds.
    pub(crate) at: u64,
    /// What the decision rested on.
    pub(crate) facts: Facts,
    /// The decision.
    pub(crate) decision: Decision,
    /// The hosts its terms reach.
    pub(crate) hosts: Vec<String>,
    /// What the requester signed first.
    pub(crate) declared: Declare,
    /// What they signed for more time, if that is what waits.
    pub(crate) extend: Option<Extend>,
}

/// Reads the card. Fails when its parts are not of one emergency, or not what they are said to be.
pub(crate) fn read(card: &RequestCard, emergency: EmergencyId, origin: &Origin) -> Result<Shown, Failure> {
    if card.emergency != emergency {
        return Err(Failure::Answer("it is about another emergency"));
    }
    let unreadable = |_| Failure::Answer("an entry in it is none");
    let entry = Entry::decode(card.entry.as_bytes()).map_err(unreadable)?;
    let declared = Entry::decode(card.declared.as_bytes()).map_err(unreadable)?;
    let (of, declaration) =
        (tree::leaf_hash(card.entry.as_bytes()), tree::leaf_hash(card.declared.as_bytes()));
    let Event::EmergencyDeclared { emergency: its, declared: envelope, facts: first, .. } = &declared.event
    else {
        return Err(Failure::Answer("its declaration is another kind of entry"));
    };
    let decided = entry.event.decided().ok_or(Failure::Answer("its entry decided nothing"))?;
    if decided.emergency != emergency || *its != emergency {
        return Err(Failure::Answer("an entry in it is of another emergency"));
    }
    if declaration != card.declaration || refers_to(&entry.event).unwrap_or(of) != declaration {
        return Err(Failure::Answer("its entry and its declaration do not belong together"));
    }
    if card.waiting.as_ref().is_some_and(|waiting| waiting.of != of) {
        return Err(Failure::Answer("what waits is another entry than the one it shows"));
    }
    let words = match Statement::read(&envelope.statement) {
        Ok(Statement::Declare(declare)) if declare.header.to == *origin => declare,
        _ => return Err(Failure::Answer("its declaration holds no words for this log")),
    };
    let target =
        decided.facts.target.host.as_ref().map_or(decided.facts.target.system.as_str(), |h| h.as_str());
    if words.target.as_str() != target || decided.facts.person != first.person {
        return Err(Failure::Answer("what was decided is not what was asked for"));
    }
    let extend = match &entry.event {
        Event::ExtensionRequested { by, .. } => match Statement::read(&by.said.statement) {
            Ok(Statement::Extend(extend)) if extend.of == declaration => Some(extend),
            _ => return Err(Failure::Answer("its extension holds no words for it")),
        },
        _ => None,
    };
    Ok(Shown {
        of,
        declaration,
        at: entry.at,
        facts: decided.facts.clone(),
        decision: decided.decision.clone(),
        hosts: decided.hosts.to_vec(),
        declared: words,
        extend,
    })
}

/// The declaration that a later entry names; a declaration names none.
fn refers_to(event: &Event) -> Option<Hash> {
    match event {
        Event::EmergencySeconded { of, .. }
        | Event::EmergencyRedecided { of, .. }
        | Event::ExtensionRequested { of, .. } => Some(*of),
        _ => None,
    }
}
