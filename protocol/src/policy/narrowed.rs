//! Narrowing: the terms of a grant on one of its hosts alone, for minutes. Which hosts a grant reaches is left
//! to who asks.

use thiserror::Error;

use crate::limits;
use crate::names::{HostName, Principal};
use crate::policy::Terms;

/// Why terms are not made narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotNarrowed {
    /// What is held ends in fewer than [`limits::LIFETIME_MIN_S`] seconds.
    #[error("what is held ends in less than a minute")]
    TooLate,
    /// What is held names just that host and ends no later.
    #[error("what is held names just that host and ends within minutes already")]
    Already,
}

impl Terms {
    /// These terms on `host` alone, when what is held of them ends in `left_s` seconds: its one principal is
    /// the account on that host, it lasts [`limits::NARROWED_S`] seconds and never longer than what is held;
    /// everything else stays.
    pub fn narrowed(&self, host: &HostName, left_s: u64) -> Result<Terms, NotNarrowed> {
        let longest = u64::from(self.lifetime_s.min(limits::NARROWED_S));
        let lifetime_s = longest.min(left_s);
        if lifetime_s < limits::LIFETIME_MIN_S {
            return Err(NotNarrowed::TooLate);
        }
        let narrow = self.on_host(host, u32::try_from(lifetime_s).unwrap_or(limits::NARROWED_S));
        if narrow.principals == self.principals && lifetime_s == left_s {
            return Err(NotNarrowed::Already);
        }
        Ok(narrow)
    }

    /// Whether these are terms of `wide` on `host` alone, whenever they were made.
    pub fn are_narrowed_from(&self, wide: &Terms, host: &HostName) -> bool {
        let lifetime = limits::LIFETIME_MIN_S..=u64::from(wide.lifetime_s.min(limits::NARROWED_S));
        lifetime.contains(&self.lifetime_s.into()) && *self == wide.on_host(host, self.lifetime_s)
    }

    /// These terms with the account on `host` as their principal, and another lifetime in seconds.
    pub fn on_host(&self, host: &HostName, lifetime_s: u32) -> Terms {
        let principals = vec![Principal::of_host(&self.account, host)];
        Terms { principals, lifetime_s, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Approvals, Cidr, Extension, Presence, Record};

    fn wide() -> Terms {
        let cidr: Cidr = "10.2.0.0/16".parse().unwrap();
        Terms {
            tier: "guarded".parse().unwrap(),
            power: 3,
            account: "root".parse().unwrap(),
            principals: vec!["root:payments-db".parse().unwrap()],
            force_command: Some("/usr/bin/id".into()),
            extensions: vec![Extension::Pty],
            source_address: vec![cidr],
            lifetime_s: 2700,
            approvals: vec![Approvals { count: 1, from: vec!["sre".parse().unwrap()] }],
            presence: Presence::Touch,
            record: Record::Required,
            krl_max_age_s: Some(600),
            grace_s: 60,
            action: None,
        }
    }

    fn host() -> HostName {
        "db-3.payments.prod".parse().unwrap()
    }

    #[test]
    fn only_the_principal_and_the_lifetime_change() {
        let narrow = wide().narrowed(&host(), 2700).unwrap();
        assert_eq!(narrow.principals, ["root:db-3.payments.prod".parse().unwrap()]);
        assert_eq!(narrow.lifetime_s, 600);
        let back = Terms { principals: wide().principals, lifetime_s: 2700, ..narrow.clone() };
        assert_eq!(back, wide());
        assert!(narrow.are_narrowed_from(&wide(), &host()));
    }

    #[test]
    fn it_never_lasts_longer_than_what_is_held_nor_shorter_than_a_certificate_may() {
        let lifetime = |terms: Terms, left_s| terms.narrowed(&host(), left_s).map(|terms| terms.lifetime_s);
        assert_eq!(lifetime(wide(), 601), Ok(600));
        assert_eq!(lifetime(wide(), 599), Ok(599));
        assert_eq!(lifetime(wide(), 60), Ok(60));
        assert_eq!(lifetime(wide(), 59), Err(NotNarrowed::TooLate));
        assert_eq!(lifetime(wide(), 0), Err(NotNarrowed::TooLate));
        assert_eq!(lifetime(Terms { lifetime_s: 120, ..wide() }, 2700), Ok(120));
    }

    #[test]
    fn what_would_be_no_narrower_is_not_made() {
        let one = wide().on_host(&host(), 2700);
        assert_eq!(one.narrowed(&host(), 2000).unwrap().lifetime_s, 600);
        assert_eq!(one.narrowed(&host(), 600), Err(NotNarrowed::Already));
        assert_eq!(one.narrowed(&host(), 300), Err(NotNarrowed::Already));
        assert_eq!(wide().narrowed(&host(), 300).unwrap().lifetime_s, 300, "a system's is always wider");
    }

    #[test]
    fn anything_wider_than_a_narrowing_is_none() {
        let narrow = wide().narrowed(&host(), 2700).unwrap();
        let other: HostName = "db-4.payments.prod".parse().unwrap();
        assert!(!narrow.are_narrowed_from(&wide(), &other));
        type Change = (&'static str, fn(&mut Terms));
        let changes: [Change; 8] = [
            ("longer", |t| t.lifetime_s = 601),
            ("too short", |t| t.lifetime_s = 59),
            ("one more host", |t| t.principals.push("root:db-4.payments.prod".parse().unwrap())),
            ("the system", |t| t.principals = vec!["root:payments-db".parse().unwrap()]),
            ("no principal", |t| t.principals.clear()),
            ("another account", |t| t.account = "ops".parse().unwrap()),
            ("an extension more", |t| t.extensions.insert(0, Extension::PortForwarding)),
            ("no command", |t| t.force_command = None),
        ];
        for (what, change) in changes {
            let mut other = narrow.clone();
            change(&mut other);
            assert!(!other.are_narrowed_from(&wide(), &host()), "{what}");
        }
        let short = Terms { lifetime_s: 120, ..wide() };
        assert!(!narrow.are_narrowed_from(&short, &host()), "longer than the tier gives");
    }
}
