//! Whether an answer of the CA is about what was asked, gives no more than that, and says the same thing in
//! all its places. Pure. The certificate itself is compared by `authority`.

use fireaxe_protocol::api::{Grant, Opened};
use fireaxe_protocol::names::{HostName, Principal, TargetName};
use fireaxe_protocol::policy::{Outcome, Terms};

use crate::control::{Asked, Pending};
use crate::failure::Failure;

/// The answer to a declaration.
pub(crate) fn check_answer(opened: &Opened, target: &TargetName, asked: &Asked) -> Result<(), Failure> {
    let scope = opened.host.as_ref().map_or(opened.system.as_str(), |host| host.as_str());
    if scope != target.as_str() {
        return Err(Failure::Answer("it is for another target than the one asked for"));
    }
    if opened.terms.as_ref() != opened.decision.terms_now() {
        return Err(Failure::Answer("its terms are not those of its decision"));
    }
    if opened.terms.is_some() != opened.certificate.is_some() {
        return Err(Failure::Answer("it has terms without a certificate, or the other way round"));
    }
    let Some(terms) = &opened.terms else { return Ok(()) };
    // While a wanted tier waits for approval, what is given meanwhile is another one.
    let whole = matches!(opened.decision.outcome, Outcome::Permit(_));
    check_terms(terms, whole, scope, asked)?;
    check_hosts(opened.host.as_ref(), &opened.hosts)
}

/// What is held of an emergency, and what waits: the grant as `mine` may be answered.
pub(crate) fn check_grant(grant: &Grant, mine: &Pending) -> Result<(), Failure> {
    if grant.emergency != mine.emergency || grant.declaration != mine.declaration {
        return Err(Failure::Answer("it is about another emergency"));
    }
    if grant.system != mine.system || grant.host != mine.host {
        return Err(Failure::Answer("it is for another target than the one asked for"));
    }
    if grant.terms.is_some() != grant.certificate.is_some() || grant.of.is_some() != grant.terms.is_some() {
        return Err(Failure::Answer("it has terms without a certificate, or the other way round"));
    }
    let (Some(terms), Some(of)) = (&grant.terms, grant.of) else { return Ok(()) };
    let full = grant.decision.terms_waiting();
    // A certificate of an earlier decision of this emergency is measured by what was asked for alone.
    let newest = of == grant.request;
    if newest && Some(terms) != grant.decision.terms_now() && Some(terms) != full {
        return Err(Failure::Answer("its terms are not those of its decision"));
    }
    if newest && Some(terms) == full && grant.waiting.is_some() {
        return Err(Failure::Answer("it gives what it says is still waiting"));
    }
    let whole = newest && full.is_none_or(|full| full == terms);
    check_terms(terms, whole, mine.reach(), &mine.asked)?;
    check_hosts(grant.host.as_ref(), &grant.hosts)
}

/// Within what was asked for; `whole` says that it is the answer and not something given meanwhile.
fn check_terms(terms: &Terms, whole: bool, scope: &str, asked: &Asked) -> Result<(), Failure> {
    if asked.for_s.is_some_and(|for_s| terms.lifetime_s > for_s) {
        return Err(Failure::Answer("it lasts longer than was asked for"));
    }
    if whole && asked.want.as_ref().is_some_and(|want| *want != terms.tier) {
        return Err(Failure::Answer("it is of another tier than the one asked for"));
    }
    if (whole || terms.action.is_some()) && terms.action != asked.action {
        return Err(Failure::Answer("it is of another action than the one asked for"));
    }
    if terms.action.is_some() && terms.force_command.is_none() {
        return Err(Failure::Answer("it is an action's and runs whatever is asked"));
    }
    let fits = |p: &Principal| p.account == terms.account && &*p.scope == scope;
    if terms.principals.is_empty() || !terms.principals.iter().all(fits) {
        return Err(Failure::Answer("its principals are not the account on the target"));
    }
    Ok(())
}

fn check_hosts(host: Option<&HostName>, hosts: &[String]) -> Result<(), Failure> {
    match host {
        Some(host) if hosts != [host.to_string()] => {
            Err(Failure::Answer("it is for one host and names others"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keyring::tests::terms;
    use fireaxe_protocol::log::Hash;
    use fireaxe_protocol::names::EmergencyId;
    use fireaxe_protocol::policy::Decision;

    fn opened() -> Opened {
        let given = terms("root", 3);
        Opened {
            schema: "fireaxe.opened/v1".into(),
            emergency: EmergencyId(42),
            declaration: Hash([1; 32]),
            decision: Decision {
                outcome: Outcome::Permit(given.clone()),
                severity: None,
                trigger: None,
                sensitivity: 1,
                blast: 1,
                band: "low".into(),
                cell: None,
                awaits: None,
                because: Vec::new(),
            },
            system: "payments-db".parse().unwrap(),
            host: Some("db-3.payments.prod".parse().unwrap()),
            hosts: vec!["db-3.payments.prod".into()],
            owner: None,
            incident: None,
            link_by: None,
            waiting: None,
            terms: Some(given),
            certificate: Some("x".into()),
            valid_before: None,
        }
    }

    #[test]
    fn an_answer_that_is_not_about_what_was_asked_is_refused() {
        let target: TargetName = "db-3.payments.prod".parse().unwrap();
        let free = Asked::default();
        let want = |tier: &str, for_s| Asked { want: tier.parse().ok(), for_s, action: None };
        check_answer(&opened(), &target, &free).unwrap();
        check_answer(&opened(), &target, &want("root", Some(600))).unwrap();
        assert!(check_answer(&opened(), &target, &want("look", None)).is_err());
        assert!(check_answer(&opened(), &target, &want("root", Some(599))).is_err());
        let action = Asked { action: "restart-payments".parse().ok(), ..Asked::default() };
        assert!(check_answer(&opened(), &target, &action).is_err(), "a shell was taken for one command");
        type Change = (&'static str, fn(&mut Opened));
        let changes: [Change; 6] = [
            ("another host", |o| o.host = Some("db-4.payments.prod".parse().unwrap())),
            ("the whole system", |o| o.host = None),
            ("more hosts", |o| o.hosts.push("db-4.payments.prod".into())),
            ("other terms", |o| o.terms.as_mut().unwrap().lifetime_s += 1),
            ("no terms", |o| o.terms = None),
            ("another account's principal", |o| {
                let other = terms("ops", 3).principals;
                let mut given = o.terms.clone().unwrap();
                given.principals = other;
                o.decision.outcome = Outcome::Permit(given.clone());
                o.terms = Some(given);
            }),
        ];
        for (what, change) in changes {
            let mut other = opened();
            change(&mut other);
            assert!(check_answer(&other, &target, &free).is_err(), "{what} was taken");
        }
    }

    fn grant() -> (Grant, Pending) {
        let Opened { emergency, declaration, decision, system, host, hosts, terms, .. } = opened();
        let mine = Pending {
            emergency,
            declaration,
            origin: "fireaxe.prod/0123456789abcdef".parse().unwrap(),
            public_key: fireaxe_protocol::keys::Ed25519Key([7; 32]),
            system: system.clone(),
            host: host.clone(),
            drill: false,
            asked: Asked::default(),
            tier: None,
            until: 0,
        };
        let grant = Grant {
            schema: "fireaxe.grant/v1".into(),
            emergency,
            state: "open".into(),
            declaration,
            request: declaration,
            decision,
            system,
            host,
            hosts,
            owner: None,
            waiting: None,
            settled: None,
            of: Some(declaration),
            terms,
            certificate: Some("x".into()),
            valid_before: Some(1),
            until: 1,
            extensions_left: 3,
        };
        (grant, mine)
    }

    #[test]
    fn a_grant_is_of_this_emergency_and_of_the_decision_that_it_names() {
        let (good, mine) = grant();
        check_grant(&good, &mine).unwrap();
        type Change = (&'static str, fn(&mut Grant));
        let changes: [Change; 7] = [
            ("another emergency", |g| g.emergency = EmergencyId(43)),
            ("another declaration", |g| g.declaration = Hash([2; 32])),
            ("another host", |g| g.host = Some("db-4.payments.prod".parse().unwrap())),
            ("more hosts", |g| g.hosts.push("db-4.payments.prod".into())),
            ("no leaf", |g| g.of = None),
            ("terms of no decision", |g| g.terms.as_mut().unwrap().power = 9),
            ("an action nobody asked for", |g| {
                let mut given = g.terms.clone().unwrap();
                (given.action, given.force_command) = ("restart".parse().ok(), Some("id".into()));
                g.decision.outcome = Outcome::Permit(given.clone());
                g.terms = Some(given);
            }),
        ];
        for (what, change) in changes {
            let (mut other, mine) = grant();
            change(&mut other);
            assert!(check_grant(&other, &mine).is_err(), "{what} was taken");
        }
    }

    #[test]
    fn what_still_waits_is_not_taken_as_given() {
        let (mut early, mine) = grant();
        let full = early.terms.clone().unwrap();
        early.decision.outcome =
            Outcome::NeedsApproval { full, meanwhile: None, smaller: None, ladder: vec![], wait_s: 60 };
        check_grant(&early, &mine).unwrap();
        early.waiting = Some(fireaxe_protocol::api::Waiting {
            of: early.request,
            tier: "root".parse().unwrap(),
            missing: Vec::new(),
            approved_by: Vec::new(),
            called: Vec::new(),
            next: None,
            until: 1,
        });
        assert!(check_grant(&early, &mine).is_err());
    }

    #[test]
    fn a_grant_of_an_earlier_decision_is_still_measured_by_what_was_asked_for() {
        let (mut earlier, mut mine) = grant();
        earlier.request = Hash([9; 32]);
        earlier.decision.outcome = Outcome::Permit(terms("look", 1));
        check_grant(&earlier, &mine).unwrap();
        mine.asked.for_s = Some(599);
        assert!(check_grant(&earlier, &mine).is_err());
    }
}
