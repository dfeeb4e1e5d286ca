//! Whether an answer of the CA is about what was asked, gives no more than that, and says the same thing in
//! all its places. Pure. The certificate itself is compared by `authority`.

use fireaxe_protocol::api::Opened;
use fireaxe_protocol::names::{TargetName, TierName};
use fireaxe_protocol::policy::Outcome;

use crate::failure::Failure;

/// What the person asked to be made smaller.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) want: Option<&'a TierName>,
    pub(crate) for_s: Option<u32>,
}

/// The answer is about what was asked, gives no more than that, and says the same thing in all its
/// places.
pub(crate) fn check_answer(opened: &Opened, target: &TargetName, asked: Asked<'_>) -> Result<(), Failure> {
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
    if asked.for_s.is_some_and(|for_s| terms.lifetime_s > for_s) {
        return Err(Failure::Answer("it lasts longer than was asked for"));
    }
    // While a wanted tier waits for approval, what is given meanwhile is another one.
    let whole = matches!(opened.decision.outcome, Outcome::Permit(_));
    if whole && asked.want.is_some_and(|want| *want != terms.tier) {
        return Err(Failure::Answer("it is of another tier than the one asked for"));
    }
    let fits = |p: &fireaxe_protocol::names::Principal| p.account == terms.account && &*p.scope == scope;
    if terms.principals.is_empty() || !terms.principals.iter().all(fits) {
        return Err(Failure::Answer("its principals are not the account on the target"));
    }
    if let Some(host) = &opened.host
        && opened.hosts != [host.to_string()]
    {
        return Err(Failure::Answer("it is for one host and names others"));
    }
    Ok(())
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
        check_answer(&opened(), &target, free).unwrap();
        let (root, look) = ("root".parse().unwrap(), "look".parse().unwrap());
        check_answer(&opened(), &target, Asked { want: Some(&root), for_s: Some(600) }).unwrap();
        assert!(check_answer(&opened(), &target, Asked { want: Some(&look), for_s: None }).is_err());
        assert!(check_answer(&opened(), &target, Asked { want: None, for_s: Some(599) }).is_err());
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
            assert!(check_answer(&other, &target, free).is_err(), "{what} was taken");
        }
    }
}
