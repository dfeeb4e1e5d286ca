//! Statements about an emergency that is there already, other than its closing: who takes which, and the
//! same answer again for the same words.

use fireaxe_protocol::log::{Event, Hash, SignedBy};
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Approvals, compare};
use fireaxe_protocol::statement::Statement;

use super::refusal::{Internal, Refusal};
use super::turn::Turn;
use super::{Asked, Known, Reply};
use crate::state::{Answered, Settled};

/// What came of it. The entry exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The claim counts for more, or is one signature nearer.
    Seconded {
        /// Index of the entry.
        entry: u64,
    },
    /// An approval counts.
    Approved {
        /// Leaf of what was approved.
        of: Hash,
        /// Index of the entry.
        entry: u64,
        /// What is still missing.
        missing: Vec<Approvals>,
    },
    /// A request is over.
    Refused {
        /// Leaf of what was refused.
        of: Hash,
        /// Index of the entry.
        entry: u64,
    },
    /// More time was decided about, and given or waits.
    Extended {
        /// Index of the entry.
        entry: u64,
    },
    /// A review was made.
    Reviewed {
        /// Index of the entry.
        entry: u64,
    },
}

impl Turn<'_> {
    pub(super) fn take_said(&mut self, id: EmergencyId, known: Box<Known>, reply: Reply<Said>) {
        let signed = known.signed();
        let header = signed.statement.header();
        match self.state.answered.find(&signed.fingerprint, header, &signed.envelope.statement) {
            Some(Answered::Other) => self.later(Err(Refusal::NonceReused), reply),
            Some(Answered::Same { entry }) if entry >= self.committed => {
                self.deferred.push(Asked::Say(id, known, reply));
            }
            Some(Answered::Same { entry }) => {
                let again = self.said_again(entry);
                self.later(again, reply);
            }
            // What is read back to decide must be in the log already.
            None if self.state.emergencies.get(id).is_some_and(|live| self.is_of_this_batch(live)) => {
                self.deferred.push(Asked::Say(id, known, reply));
            }
            None => {
                let said = match self.say(id, &known) {
                    Err(Refusal::Superseded { id, before, now }) => Err(self.changed(id, before, now)),
                    said => said,
                };
                self.later(said, reply);
            }
        }
    }

    fn say(&mut self, id: EmergencyId, known: &Known) -> Result<Said, Refusal> {
        self.still_known(known)?;
        let by: SignedBy = known.signed_by();
        match &known.signed().statement {
            Statement::Second(words) => self.second(id, words, by),
            Statement::Approve(words) => self.approve(id, words, by),
            Statement::Refuse(words) => self.refuse(id, words, by),
            Statement::Extend(words) => self.extend(id, words, by, known.network()),
            Statement::Review(words) => self.review(id, words, by),
            Statement::Declare(_)
            | Statement::Close(_)
            | Statement::Login(_)
            | Statement::Bundle(_)
            | Statement::Enrol(_)
            | Statement::Report(_) => {
                Err(Internal::Fold("a statement came by another way than its own".into()).into())
            }
        }
    }

    /// What an approval that was given still waits for; nothing once the terms are given. One that came to
    /// nothing since is told so.
    fn still_missing(&self, id: EmergencyId, of: &Hash) -> Result<Vec<Approvals>, Refusal> {
        let live = self.state.emergencies.get(id).ok_or(Refusal::Closed(id))?;
        if let Some(before) = live.superseded(of) {
            return Err(self.changed(id, before, live.request.index));
        }
        match (&live.request.waiting, &live.request.settled) {
            (Some(wait), _) => Ok(wait.missing()),
            (None, Some(Settled::Given) | None) => Ok(Vec::new()),
            (None, Some(how)) => Err(Refusal::Settled { id, how: how.clone() }),
        }
    }

    /// What is different between the entry that was answered and the one that was decided last.
    fn changed(&self, id: EmergencyId, before: u64, now: u64) -> Refusal {
        let (before, now) = match (self.read_back(before), self.read_back(now)) {
            (Ok((before, _)), Ok((now, _))) => (before.event, now.event),
            (Err(refusal), _) | (_, Err(refusal)) => return refusal,
        };
        let (Some(before), Some(now)) = (before.decided(), now.decided()) else {
            return Refusal::Changed { id, changed: Vec::new() };
        };
        let mut changed = compare(before.decision, now.decision).what;
        if before.bundle != now.bundle {
            changed.insert(0, format!("the policy: bundle {} -> {}", before.bundle, now.bundle));
        }
        if before.facts.seconds != now.facts.seconds {
            let who = now.facts.seconds.iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ");
            changed.insert(0, format!("who claims it: {who} signed it, too"));
        }
        if before.facts.extension != now.facts.extension {
            changed.insert(0, format!("what is asked: extension {} of it", now.facts.extension));
        }
        if before.hosts != now.hosts {
            changed.push(format!("hosts: {} -> {}", before.hosts.join(", "), now.hosts.join(", ")));
        }
        if changed.is_empty() {
            changed.push("its terms are the same, and it was decided again since".to_owned());
        }
        Refusal::Changed { id, changed }
    }

    fn said_again(&self, index: u64) -> Result<Said, Refusal> {
        let (entry, leaf) = self.read_back(index)?;
        match entry.event {
            Event::EmergencySeconded { .. } => Ok(Said::Seconded { entry: index }),
            Event::ApprovalGiven { emergency, of, .. } => {
                let missing = self.still_missing(emergency, &of)?;
                Ok(Said::Approved { of, entry: index, missing })
            }
            Event::ApprovalRefused { of, .. } => Ok(Said::Refused { of, entry: index }),
            Event::ExtensionRequested { .. } => Ok(Said::Extended { entry: index }),
            Event::ExtensionRefused { decision, .. } => {
                Err(Refusal::Denied { decision: Box::new(decision), leaf, index })
            }
            Event::EmergencyReviewed { .. } => Ok(Said::Reviewed { entry: index }),
            _ => Err(Internal::Entry(index).into()),
        }
    }
}
