//! What no certificate can be made of, and what the terms make of one.

use super::raw::{Raw, pair};
use super::*;

#[test]
fn terms_without_a_principal_make_no_certificate() {
    let none = Terms { principals: Vec::new(), ..terms() };
    assert_eq!(profile(&none), Err(ProfileError::NoPrincipal));
}

#[test]
fn reserved_serials_are_never_issued() {
    for serial in [0, limits::CANARY_SERIAL, u64::MAX] {
        assert_eq!(profile_with(&bare(), |i| i.serial = serial), Err(ProfileError::Serial(serial)));
    }
    assert!(profile_with(&bare(), |i| i.serial = 1).is_ok());
}

#[test]
fn principals_are_of_the_account_sorted_and_within_their_limit() {
    let with = |list: Vec<String>| {
        let principals = list.iter().map(|p| p.parse().unwrap()).collect();
        profile(&Terms { principals, ..bare() }).map(drop)
    };
    let many = |n: usize| (0..n).map(|i| format!("root:s{i:02}")).collect::<Vec<_>>();
    assert_eq!(with(many(limits::PRINCIPALS)), Ok(()));
    assert_eq!(with(many(limits::PRINCIPALS + 1)), Err(ProfileError::Principals(limits::PRINCIPALS + 1)));
    assert_eq!(with(vec!["root:b".into(), "root:a".into()]), Err(ProfileError::Order("principals")));
    assert_eq!(with(vec!["root:a".into(), "root:a".into()]), Err(ProfileError::Order("principals")));
    assert_eq!(with(vec!["ops:a".into()]), Err(ProfileError::Account("ops:a".into())));
}

#[test]
fn a_key_id_fits_or_is_refused() {
    let long: PersonName = "a".repeat(32).parse().unwrap();
    let id = key_id(Subject::Person(EmergencyId(9_999_999_999), &long), 999_999_999).unwrap();
    assert_eq!(id.len(), limits::KEY_ID);
    assert_eq!(
        key_id(Subject::Person(EmergencyId(9_999_999_999), &long), 1_000_000_000),
        Err(ProfileError::KeyId(limits::KEY_ID + 1))
    );
}

#[test]
fn a_self_test_has_a_key_id_of_its_own_and_is_no_persons() {
    let made = profile_with(&bare(), |i| i.subject = Subject::SelfTest).unwrap();
    let body = Body::of(&made);
    assert_eq!(lint(&body, &made), Ok(()));
    let certificate = sign(body.with_receipt(RECEIPT));
    let of = |subject| Expected {
        public_key: fresh(),
        terms: Box::leak(Box::new(bare())),
        ca_key: Ed25519Key::from(&ca()),
        subject,
        within: None,
        now: NOW,
    };
    let accepted = compare(&to_openssh(&certificate), &of(Subject::SelfTest)).unwrap();
    assert_eq!(accepted.key_id, "fireaxe/self-test/1234");
    assert_eq!(differs(&certificate, &bare()), ["key id"]);
    let ana = issue(&bare());
    let refused = compare(&to_openssh(&ana), &of(Subject::SelfTest)).unwrap_err();
    assert_eq!(refused.iter().map(|d| d.field).collect::<Vec<_>>(), ["key id"]);
    for id in
        ["fireaxe/self-test/1235", "fireaxe/self-test/01234", "fireaxe/self-test/1234/x", "self-test/1234"]
    {
        let raw = Raw::with(|r| r.key_id = id.into());
        let findings = lint(&raw.body().unwrap(), &profile(&terms()).unwrap()).unwrap_err();
        assert!(findings.iter().any(|f| f.rule == "key_id.template"), "{id}: {findings:?}");
    }
}

#[test]
fn a_force_command_is_one_printable_line_or_refused() {
    let with = |command: &str| profile(&Terms { force_command: Some(command.to_owned()), ..bare() });
    let recorded = |command: &str| profile(&Terms { force_command: Some(command.to_owned()), ..terms() });
    for command in ["", "  ", "a\nb", "a\0", "a\u{1b}", "ä", &"a".repeat(limits::FORCE_COMMAND + 1)] {
        assert!(matches!(with(command), Err(ProfileError::ForceCommand(_))), "{command:?}");
        assert!(matches!(recorded(command), Err(ProfileError::ForceCommand(_))), "{command:?}");
    }
    for of in [&with as &dyn Fn(&str) -> _, &recorded] {
        assert!(of(&"a".repeat(limits::FORCE_COMMAND)).is_ok());
    }
}

#[test]
fn a_recorded_tier_forces_the_recorder_with_its_command_or_a_shell() {
    let forced = |record: Record, command: Option<&str>| {
        let terms = Terms { record, force_command: command.map(str::to_owned), ..terms() };
        let certificate = issue(&terms);
        assert!(check(&certificate, &terms).is_ok());
        let body = cut_receipt(&certificate).unwrap().body;
        let fields = body.fields().unwrap();
        let found = fields.critical_options.iter().find(|pair| pair.name == "force-command");
        found.and_then(|pair| pair.value).map(str::to_owned)
    };
    for record in [Record::BestEffort, Record::Required] {
        let read = |command| SessionCommand::read(&forced(record, command).unwrap());
        assert_eq!(read(None), Some(SessionCommand::Shell));
        assert_eq!(read(Some("uptime; id")), Some(SessionCommand::Run("uptime; id".into())));
    }
    assert_eq!(forced(Record::None, None), None);
    assert_eq!(forced(Record::None, Some("uptime; id")).as_deref(), Some("uptime; id"));
}

#[test]
fn what_a_certificate_forces_fits_with_the_recorder_around_it_or_is_refused() {
    // A quote takes four bytes each; `{RECORDER} run ''` is the rest.
    let around = SessionCommand::Run(" ".into()).write().len() - 1;
    let plain = (limits::FORCED - around) % 4;
    let of = |quotes: usize| {
        let command = "'".repeat(quotes) + &" ".repeat(plain);
        profile(&Terms { force_command: Some(command), ..terms() })
    };
    let most = (limits::FORCED - around - plain) / 4;
    assert!(of(most).is_ok());
    assert!(matches!(of(most + 1), Err(ProfileError::ForceCommand(_))));
}

#[test]
fn a_recorded_tier_without_the_recorder_is_a_difference() {
    for other in ["/usr/libexec/fireaxe/look --all", "/usr/libexec/fireaxe/session shell"] {
        let raw = Raw::with(|r| r.critical[0] = pair("force-command", other));
        assert_eq!(differs(&raw.signed(), &terms()), ["critical options"]);
        let findings = lint(&raw.body().unwrap(), &profile(&terms()).unwrap()).unwrap_err();
        assert_eq!(findings.iter().map(|f| f.rule).collect::<Vec<_>>(), ["critical"]);
    }
}

/// One command and nothing else.
fn restart() -> Terms {
    Terms {
        action: Some("restart-payments".parse().unwrap()),
        force_command: Some("/usr/bin/systemctl restart payments@12".to_owned()),
        ..bare()
    }
}

#[test]
fn an_action_is_one_command_without_extensions_or_refused() {
    assert!(check(&issue(&restart()), &restart()).is_ok());
    let refused = Err(ProfileError::Action("restart-payments".parse().unwrap()));
    for wider in
        [Terms { force_command: None, ..restart() }, Terms { extensions: vec![Extension::Pty], ..restart() }]
    {
        assert_eq!(profile(&wider), refused);
        // And should a CA make one all the same, its client does not take it.
        let same_but_a_tier = issue(&Terms { action: None, ..wider.clone() });
        assert!(check(&same_but_a_tier, &Terms { action: None, ..wider.clone() }).is_ok());
        assert_eq!(differs(&same_but_a_tier, &wider), ["action"]);
    }
}

#[test]
fn a_client_takes_no_force_command_above_the_limit_whatever_the_terms_say() {
    let of = |n: usize| {
        let command = "a".repeat(n);
        let mut raw = Raw::good();
        raw.critical[0] = pair("force-command", &SessionCommand::Run(command.clone()).write());
        (raw.signed(), Terms { force_command: Some(command), ..terms() })
    };
    let (at, agreed) = of(limits::FORCE_COMMAND);
    assert!(check(&at, &agreed).is_ok());
    let (past, agreed) = of(limits::FORCE_COMMAND + 1);
    assert_eq!(differs(&past, &agreed), ["force-command"]);
}

#[test]
fn the_grant_end_and_the_limits_bound_the_lifetime() {
    let with = |lifetime_s: u32, grant_end: u64| {
        profile_with(&Terms { lifetime_s, ..bare() }, |i| i.grant_end = grant_end).map(|p| p.valid_before())
    };
    assert_eq!(with(1800, u64::MAX), Ok(NOW + 1800));
    assert_eq!(with(1800, NOW + 600), Ok(NOW + 600));
    assert_eq!(with(1800, NOW + 59), Err(ProfileError::Lifetime(59)));
    assert_eq!(with(1800, NOW - 1), Err(ProfileError::Lifetime(0)));
    assert_eq!(with(60, u64::MAX), Ok(NOW + 60));
    assert_eq!(with(59, u64::MAX), Err(ProfileError::Lifetime(59)));
    assert_eq!(with(8 * 3600, u64::MAX), Ok(NOW + 8 * 3600));
    assert_eq!(with(8 * 3600 + 1, u64::MAX), Err(ProfileError::Lifetime(8 * 3600 + 1)));
}

#[test]
fn a_weak_key_or_the_cas_own_is_not_certified() {
    let mut identity = [0u8; 32];
    identity[0] = 1;
    let weak = profile_with(&bare(), |i| i.public_key = Ed25519Key(identity));
    assert_eq!(weak, Err(ProfileError::PublicKey));
    let own = profile_with(&bare(), |i| i.public_key = Ed25519Key::from(&ca()));
    assert_eq!(own, Err(ProfileError::CaKey));
}

/// The terms on one host for ten minutes, and the certificate of half an hour that they are made of.
fn narrow() -> (Terms, Within) {
    let host = "db-3.payments.prod".parse().unwrap();
    (terms().narrowed(&host, 1800).unwrap(), Within { serial: 41, until: NOW + 1800 })
}

fn narrowed(within: Option<Within>) -> Result<Profile, ProfileError> {
    profile_with(&narrow().0, |i| i.within = within)
}

#[test]
fn a_narrowed_certificate_says_what_it_was_made_of_and_the_client_takes_no_other() {
    let (terms, held) = narrow();
    let certificate = |within| {
        let made = narrowed(within).unwrap();
        let body = Body::of(&made);
        assert_eq!(lint(&body, &made), Ok(()));
        assert_eq!(body.fields().unwrap().within(), within);
        to_openssh(&sign(body.with_receipt(RECEIPT)))
    };
    let found = |certificate: &str, within| {
        let (public_key, ca_key) = (fresh(), Ed25519Key::from(&ca()));
        let subject = Subject::Person(EmergencyId(42), &ana());
        let expected = Expected { public_key, terms: &terms, ca_key, subject, within, now: NOW };
        let differences = compare(certificate, &expected).map(drop).unwrap_err();
        differences.into_iter().map(|difference| difference.field).collect::<Vec<_>>()
    };
    let good = certificate(Some(held));
    let expected = Expected {
        public_key: fresh(),
        terms: &terms,
        ca_key: Ed25519Key::from(&ca()),
        subject: Subject::Person(EmergencyId(42), &ana()),
        within: Some(held),
        now: NOW,
    };
    assert!(compare(&good, &expected).is_ok());
    assert_eq!(found(&good, None), ["extensions"], "as if it were a wide one");
    for (what, within) in [
        ("later", Some(Within { until: held.until + 1, ..held })),
        ("earlier", Some(Within { until: held.until - 1, ..held })),
        ("of another", Some(Within { serial: 42, ..held })),
        ("of nothing", None),
    ] {
        assert_eq!(found(&certificate(within), Some(held)), ["extensions"], "{what}");
    }
}

#[test]
fn only_a_persons_certificate_for_one_host_is_made_of_another_that_was_there_and_ends_no_earlier() {
    let (terms, held) = narrow();
    let end = NOW + u64::from(limits::NARROWED_S);
    let good = [
        held,
        Within { serial: 1, until: end },
        Within { serial: 1233, until: NOW + limits::LIFETIME_MAX_S },
    ];
    for within in good {
        assert!(narrowed(Some(within)).is_ok(), "{within:?}");
    }
    let made = narrowed(Some(held)).unwrap();
    for within in [
        Within { serial: 0, ..held },
        Within { serial: 1234, ..held },
        Within { serial: 1235, ..held },
        Within { until: end - 1, ..held },
        Within { until: NOW + limits::LIFETIME_MAX_S + 1, ..held },
    ] {
        assert_eq!(narrowed(Some(within)), Err(ProfileError::Within(within)));
        let raw = Raw::with(|r| {
            r.principals = vec![b"root:db-3.payments.prod".to_vec()];
            r.times.1 = end;
            r.extensions[3] = pair("terms@fireaxe", &HostTerms::of(&terms, Some(within)).to_json());
        });
        let findings = lint(&raw.body().unwrap(), &made).unwrap_err();
        assert!(findings.iter().any(|f| f.rule == "extension.within"), "{within:?}: {findings:?}");
    }

    let two = ["root:db-3.payments.prod", "root:db-4.payments.prod"].map(|p| p.parse().unwrap());
    let wrong = Err(ProfileError::Within(held));
    for principals in [vec!["root:payments-db".parse().unwrap()], two.to_vec()] {
        let wide = Terms { principals, ..terms.clone() };
        assert_eq!(profile_with(&wide, |i| i.within = Some(held)), wrong);
    }
    let of_a_test = profile_with(&terms, |i| (i.within, i.subject) = (Some(held), Subject::SelfTest));
    assert_eq!(of_a_test, wrong);
}

#[test]
fn the_largest_certificate_of_the_profile_is_within_its_limit() {
    let host = |n: usize| format!("{}.{}.{}.{:061}", "a".repeat(63), "a".repeat(63), "a".repeat(63), n);
    let account = "r".repeat(limits::ACCOUNT);
    let largest = Terms {
        account: account.parse().unwrap(),
        principals: (0..limits::PRINCIPALS)
            .map(|n| format!("{account}:{}", host(n)).parse().unwrap())
            .collect(),
        force_command: Some("a".repeat(limits::FORCE_COMMAND)),
        ..terms()
    };
    let profile = profile(&largest).unwrap();
    let body = Body::of(&profile);
    assert_eq!(lint(&body, &profile), Ok(()));
    let certificate = sign(body.with_receipt(&"r".repeat(limits::RECEIPT)));
    assert!(certificate.len() <= limits::CERTIFICATE);
    assert!(check(&certificate, &largest).is_ok());
}
