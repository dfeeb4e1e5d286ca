//! What people read of the road's own state: what a holder has and waits for, what an approver must see, what
//! waits for whom. Appends nothing; signs nothing that was not logged.

use fireaxe_protocol::api::{
    Called, Grant, IncidentCard, NextRung, OwedReview, RequestCard, Requests, Waiting, WaitingRequest,
};
use fireaxe_protocol::log::Event;
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Decision, Terms, raised};

use super::approve::may_not_answer;
use super::issue::sign_again;
use super::refusal::{Internal, Refusal};
use super::request::live;
use super::review::may_not_review;
use super::turn::Turn;
use super::{Asked, Reply};
use crate::state::{Issued, Live, Phase, Settled, State, Wait};

/// How many a list shows.
const LIST: usize = 200;

impl Turn<'_> {
    pub(super) fn take_grant(&mut self, id: EmergencyId, reply: Reply<Box<Grant>>) {
        match live(self.state, id) {
            Ok(live)
                if self.is_of_this_batch(live)
                    || self.newest(live).is_some_and(|c| c.serial >= self.committed) =>
            {
                self.deferred.push(Asked::Grant(id, reply));
            }
            Ok(live) => {
                let grant = self.grant(live).map(Box::new);
                self.later(grant, reply);
            }
            Err(refusal) => self.later(Err(refusal), reply),
        }
    }

    pub(super) fn take_card(&mut self, id: EmergencyId, reader: PersonName, reply: Reply<Box<RequestCard>>) {
        match live(self.state, id) {
            Ok(live) if self.is_of_this_batch(live) => self.deferred.push(Asked::Card(id, reader, reply)),
            Ok(live) => {
                let card = self.card(live, &reader).map(Box::new);
                self.later(card, reply);
            }
            Err(refusal) => self.later(Err(refusal), reply),
        }
    }

    /// The newest certificate that is still alive.
    fn newest<'l>(&self, live: &'l Live) -> Option<&'l Issued> {
        live.certificates().iter().rev().find(|c| c.valid_before > self.now)
    }

    /// What is held and what waits. The certificate is signed again from its entry: the same bytes.
    fn grant(&self, live: &Live) -> Result<Grant, Refusal> {
        let index = live.request.index;
        let (entry, _) = self.read_back(index)?;
        let decided = entry.event.decided().ok_or(Internal::Entry(index))?;
        let mut grant = Grant {
            schema: "fireaxe.grant/v1".into(),
            emergency: live.id,
            state: phase(live.phase).into(),
            declaration: live.leaf,
            request: live.request.leaf,
            decision: decided.decision.clone(),
            system: live.system.clone(),
            host: live.host.clone(),
            hosts: decided.hosts.to_vec(),
            owner: self.bundle.policy.system(&live.system).map(|system| system.owner.value.to_string()),
            waiting: live.request.waiting.as_ref().map(|wait| waiting(live, wait)),
            settled: live.request.settled.as_ref().map(settled),
            of: None,
            terms: None,
            certificate: None,
            valid_before: None,
            until: live.until,
            extensions_left: 0,
        };
        let held = self.newest(live).filter(|_| live.phase == Phase::Open);
        if let Some(newest) = held.filter(|c| !self.state.revocations.is_revoked(c.serial)) {
            let terms = self.terms_of(live, newest, decided.decision)?;
            grant.certificate = Some(sign_again(&self.logged(newest.serial)?, self.user_ca)?);
            grant.of = Some(newest.of);
            grant.valid_before = Some(newest.valid_before);
            grant.extensions_left = self.extensions_left(live, &terms);
            grant.terms = Some(terms);
        }
        Ok(grant)
    }

    /// The terms of a certificate: those of the entry that gave it, the newest or one before.
    fn terms_of(&self, live: &Live, issued: &Issued, newest: &Decision) -> Result<Terms, Refusal> {
        let fits = |decision: &Decision| {
            let both = decision.terms_now().into_iter().chain(decision.terms_waiting());
            both.into_iter().find(|terms| terms.hash() == issued.terms).cloned()
        };
        if issued.of == live.request.leaf {
            return fits(newest).ok_or_else(|| Internal::Entry(live.request.index).into());
        }
        let index = live.superseded(&issued.of).ok_or(Internal::Entry(issued.serial))?;
        let (entry, _) = self.read_back(index)?;
        entry.event.decided().and_then(|d| fits(d.decision)).ok_or_else(|| Internal::Entry(index).into())
    }

    fn extensions_left(&self, live: &Live, terms: &Terms) -> u8 {
        let extends = self.bundle.policy.tier(&terms.tier).map_or(0, |tier| tier.extends);
        extends.saturating_sub(live.extensions)
    }

    fn card(&self, live: &Live, reader: &PersonName) -> Result<RequestCard, Refusal> {
        let text = |index: u64| {
            let bytes = self.reader.entry_bytes(index).map_err(|_| Internal::Entry(index))?;
            String::from_utf8(bytes).map_err(|_| Internal::Entry(index))
        };
        let (entry, declared) = (text(live.request.index)?, text(live.index)?);
        let (read, _) = self.read_back(live.request.index)?;
        let decided = read.event.decided().ok_or(Internal::Entry(live.request.index))?;
        let wait = live.request.waiting.as_ref();
        let state = match (wait, &live.request.settled) {
            (Some(_), _) => "waiting",
            (None, Some(Settled::Given)) => "given",
            (None, Some(Settled::Refused { .. })) => "refused",
            (None, Some(Settled::Lapsed)) => "lapsed",
            (None, None) => "none",
        };
        let may_not =
            wait.and_then(|wait| may_not_answer(&self.bundle, live, wait, reader).into_iter().next());
        Ok(RequestCard {
            schema: "fireaxe.request/v1".into(),
            emergency: live.id,
            entry,
            declaration: live.leaf,
            declared,
            state: state.into(),
            waiting: wait.map(|wait| waiting(live, wait)),
            owner: self.bundle.policy.system(&live.system).map(|system| system.owner.value.to_string()),
            incident: decided.facts.incident.as_ref().map(|incident| {
                let known = self.state.incidents.known(&incident.id);
                IncidentCard {
                    id: incident.id.clone(),
                    state: known.map(|(update, _)| update.state),
                    severity: known.map(|(update, _)| update.severity),
                    title: known.and_then(|(update, _)| update.title.clone()),
                    age_s: known.map_or(0, |(_, at)| self.now.saturating_sub(at)),
                }
            }),
            signals: raised(decided.facts),
            recent: self.recent(live),
            may_not,
            also_waiting: self.also_waiting(reader, live.id),
        })
    }

    fn recent(&self, live: &Live) -> Vec<fireaxe_protocol::api::RecentUse> {
        self.state.history.recent_before(live.id, &live.person, &self.bundle.roster)
    }

    /// What else waits for `person` beside `except`.
    pub(super) fn also_waiting(&self, person: &PersonName, except: EmergencyId) -> Vec<EmergencyId> {
        let others = self.state.emergencies.waiting().filter(|live| live.id != except);
        let theirs = others.filter(|live| {
            let wait = live.request.waiting.as_ref();
            wait.is_some_and(|wait| may_not_answer(&self.bundle, live, wait, person).is_empty())
        });
        theirs.take(LIST).map(|live| live.id).collect()
    }

    /// What waits for people, and what of it for `reader`.
    pub(super) fn requests(&self, reader: &PersonName) -> Requests {
        let requests = self.state.emergencies.waiting().take(LIST).map(|live| {
            let wait = live.request.waiting.as_ref();
            let second = live.request.awaits.as_ref().filter(|_| wait.is_none());
            let groups = self.bundle.roster.person(reader).map(|p| p.groups.as_slice()).unwrap_or_default();
            WaitingRequest {
                emergency: live.id,
                waits_for: if second.is_some() { "second" } else { "approval" }.into(),
                person: live.person.clone(),
                system: live.system.clone(),
                host: live.host.clone(),
                tier: wait.map(|wait| wait.full.tier.clone()),
                at: live.request.at,
                until: wait.map_or(live.until, |wait| wait.until),
                yours: match (wait, second) {
                    (Some(wait), _) => may_not_answer(&self.bundle, live, wait, reader).is_empty(),
                    (None, Some(awaits)) => {
                        groups.contains(&awaits.from) && !live.is_asked_by(&self.bundle.roster, reader)
                    }
                    (None, None) => false,
                },
            }
        });
        let mut reviews: Vec<OwedReview> = self
            .state
            .reviews
            .iter()
            .map(|owed| OwedReview {
                emergency: owed.id,
                person: owed.person.clone(),
                system: owed.system.clone(),
                closed_at: owed.closed_at,
                due: owed.due,
                overdue: owed.due < self.now,
                yours: may_not_review(&self.bundle, owed, reader).is_empty(),
            })
            .collect();
        reviews.sort_by_key(|owed| (owed.due, owed.emergency));
        reviews.truncate(LIST);
        Requests { schema: "fireaxe.requests/v1".into(), requests: requests.collect(), reviews }
    }
}

/// What waits of an emergency that was declared, as things stand.
pub(super) fn waiting_of(state: &State, declared: &Event) -> Option<Waiting> {
    let live = state.emergencies.get(declared.emergency()?)?;
    live.request.waiting.as_ref().map(|wait| waiting(live, wait))
}

/// What waits, as readers see it.
pub(super) fn waiting(live: &Live, wait: &Wait) -> Waiting {
    Waiting {
        of: live.request.leaf,
        tier: wait.full.tier.clone(),
        missing: wait.missing(),
        approved_by: wait.approvals.iter().map(|one| one.person.clone()).collect(),
        called: wait
            .called
            .iter()
            .map(|call| Called { at: call.at, groups: call.groups.clone(), people: call.people.clone() })
            .collect(),
        next: wait.next_rung(live.request.at).map(|(at, rung)| NextRung { at, groups: rung.groups.clone() }),
        until: wait.until,
    }
}

fn settled(how: &Settled) -> fireaxe_protocol::api::Settled {
    use fireaxe_protocol::api;
    match how {
        Settled::Given => api::Settled::Given,
        Settled::Refused { by, reason } => api::Settled::Refused { by: by.clone(), reason: reason.clone() },
        Settled::Lapsed => api::Settled::Lapsed,
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "open",
        Phase::Closing { .. } => "closing",
    }
}
