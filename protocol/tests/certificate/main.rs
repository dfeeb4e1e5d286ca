//! The certificate profile, against `ssh-keygen` and against forgeries.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod keygen;

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::certificate::{
    Accepted, Body, CertificateError, Difference, Expected, Fields, HostTerms, Issue, Profile, ProfileError,
    Subject, Within, assemble, compare, cut_receipt, from_openssh, key_id, lint, to_openssh,
};
use fireaxe_protocol::host::SessionCommand;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::names::{EmergencyId, PersonName};
use fireaxe_protocol::policy::{Extension, Presence, Record, Terms};
use fireaxe_protocol::wire::{put_string, put_u32, put_u64};
use keygen::Keygen;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
/// What the certificate of [`terms`] forces: the recorder, with their command spelled out.
const LOOK: &str = "/usr/libexec/fireaxe/session run '/usr/libexec/fireaxe/look --all'";
const RECEIPT: &str = "c2sp.org/tlog-proof@v1\nextra e30=\nindex 1234\n\n— log+key sig\n";

fn ca() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn fresh() -> Ed25519Key {
    Ed25519Key::from(&SigningKey::from_bytes(&[2; 32]))
}

fn ana() -> PersonName {
    "ana".parse().unwrap()
}

fn terms() -> Terms {
    Terms {
        tier: "guarded".parse().unwrap(),
        power: 3,
        account: "root".parse().unwrap(),
        principals: vec!["root:payments-db".parse().unwrap()],
        force_command: Some("/usr/libexec/fireaxe/look --all".to_owned()),
        extensions: vec![Extension::PortForwarding, Extension::Pty],
        source_address: vec!["10.2.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        lifetime_s: 1800,
        approvals: Vec::new(),
        presence: Presence::None,
        record: Record::BestEffort,
        krl_max_age_s: Some(600),
        grace_s: 120,
        action: None,
    }
}

fn bare() -> Terms {
    let none = Terms { force_command: None, extensions: Vec::new(), source_address: Vec::new(), ..terms() };
    Terms { krl_max_age_s: None, record: Record::None, ..none }
}

fn profile(terms: &Terms) -> Result<Profile, ProfileError> {
    profile_with(terms, |_| {})
}

fn profile_with(terms: &Terms, change: impl FnOnce(&mut Issue<'_>)) -> Result<Profile, ProfileError> {
    let person = ana();
    let mut issue = Issue {
        nonce: [3; 32],
        public_key: fresh(),
        serial: 1234,
        subject: Subject::Person(EmergencyId(42), &person),
        at: NOW,
        grant_end: u64::MAX,
        within: None,
        ca_key: Ed25519Key::from(&ca()),
    };
    change(&mut issue);
    Profile::from_terms(terms, &issue)
}

fn sign(signed: Vec<u8>) -> Vec<u8> {
    let signature = ca().sign(&signed).to_bytes();
    assemble(signed, &signature)
}

fn issue(terms: &Terms) -> Vec<u8> {
    sign(Body::of(&profile(terms).unwrap()).with_receipt(RECEIPT))
}

fn check(certificate: &[u8], terms: &Terms) -> Result<Accepted, Vec<Difference>> {
    check_at(certificate, terms, NOW)
}

fn check_at(certificate: &[u8], terms: &Terms, now: u64) -> Result<Accepted, Vec<Difference>> {
    let expected = Expected {
        public_key: fresh(),
        terms,
        ca_key: Ed25519Key::from(&ca()),
        subject: Subject::Person(EmergencyId(42), &ana()),
        within: None,
        now,
    };
    compare(&to_openssh(certificate), &expected)
}

fn differs(certificate: &[u8], terms: &Terms) -> Vec<&'static str> {
    check(certificate, terms).unwrap_err().into_iter().map(|difference| difference.field).collect()
}

// --- the road -------------------------------------------------------------------------------------------

#[test]
fn what_is_issued_is_linted_accepted_and_cut_to_the_same_body() {
    for terms in [terms(), bare()] {
        let profile = profile(&terms).unwrap();
        let body = Body::of(&profile);
        assert_eq!(lint(&body, &profile), Ok(()));
        let certificate = sign(body.with_receipt(RECEIPT));
        let accepted = check(&certificate, &terms).unwrap();
        assert_eq!(accepted.body, body);
        assert_eq!(accepted.receipt, RECEIPT);
        assert_eq!((accepted.serial, accepted.key_id.as_str()), (1234, "fireaxe/EM-42/ana/1234"));
        assert_eq!((accepted.valid_after, accepted.valid_before), (NOW - 120, NOW + 1800));
        let cut = cut_receipt(&certificate).unwrap();
        assert_eq!((cut.body, cut.receipt.as_str()), (body.clone(), RECEIPT));
        assert_eq!(Body::read(body.as_bytes()), Ok(body));
    }
}

#[test]
fn ssh_keygen_reads_the_same_fields() {
    let tool = Keygen::new();
    tool.put("full-cert.pub", to_openssh(&issue(&terms())));
    let listing = tool.ok(&["-L", "-f", "full-cert.pub"]);
    let lines: Vec<&str> = listing.lines().map(str::trim).collect();
    let fingerprint = |key: Ed25519Key| key.fingerprint().to_string();
    let expected = [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate".to_owned(),
        format!("Public key: ED25519-CERT {}", fingerprint(fresh())),
        format!("Signing CA: ED25519 {} (using ssh-ed25519)", fingerprint(Ed25519Key::from(&ca()))),
        "Key ID: \"fireaxe/EM-42/ana/1234\"".to_owned(),
        "Serial: 1234".to_owned(),
        "Valid: from 2027-01-15T07:58:00 to 2027-01-15T08:30:00".to_owned(),
        "Principals:".to_owned(),
        "root:payments-db".to_owned(),
        "Critical Options:".to_owned(),
        format!("force-command {LOOK}"),
        "source-address 10.2.0.0/16,2001:db8::/32".to_owned(),
        "Extensions:".to_owned(),
        "permit-port-forwarding".to_owned(),
        "permit-pty".to_owned(),
    ];
    assert_eq!(lines[1..=expected.len()], expected, "{listing}");
    let rest = lines[expected.len() + 1..].join("\n");
    assert!(
        rest.starts_with("receipt@fireaxe UNKNOWN OPTION") && rest.contains("terms@fireaxe UNKNOWN"),
        "{rest}"
    );

    tool.put("bare-cert.pub", to_openssh(&issue(&bare())));
    let listing = tool.ok(&["-L", "-f", "bare-cert.pub"]);
    assert!(listing.contains("Critical Options: (none)") && !listing.contains("permit-"), "{listing}");
}

#[test]
fn certificates_by_ssh_keygen_are_read_here() {
    let tool = Keygen::new();
    let authority: Ed25519Key = tool.make("ed25519", "ca").parse().unwrap();
    let subject: Ed25519Key = tool.make("ed25519", "ana").parse().unwrap();
    tool.ok(&[
        "-q",
        "-s",
        "ca",
        "-I",
        "some id",
        "-n",
        "deploy,root",
        "-z",
        "77",
        "-V",
        "20270101Z:20270102Z",
        "-O",
        "force-command=id",
        "-O",
        "source-address=10.0.0.0/8",
        "-O",
        "no-pty",
        "ana.pub",
    ]);
    let text = tool.text("ana-cert.pub");
    let line =
        text.trim_end().rsplit_once(' ').filter(|(l, _)| l.contains(' ')).map_or(text.trim_end(), |(l, _)| l);
    let bytes = from_openssh(line).unwrap();
    let (fields, _) = Fields::of_signed(&bytes).unwrap();
    assert_eq!((fields.serial, fields.kind, fields.key_id), (77, 1, "some id"));
    assert_eq!(fields.principals, ["deploy", "root"]);
    assert_eq!((fields.ca_key, fields.public_key), (authority, subject));
    assert_eq!(fields.valid_before - fields.valid_after, 86_400);
    let options: Vec<_> = fields.critical_options.iter().map(|pair| (pair.name, pair.value)).collect();
    assert_eq!(options, [("force-command", Some("id")), ("source-address", Some("10.0.0.0/8"))]);
    let extensions: Vec<_> = fields.extensions.iter().map(|pair| (pair.name, pair.value)).collect();
    assert_eq!(
        extensions,
        [
            ("permit-X11-forwarding", None),
            ("permit-agent-forwarding", None),
            ("permit-port-forwarding", None),
            ("permit-user-rc", None),
        ]
    );
    assert_eq!(cut_receipt(&bytes), Err(CertificateError::NoReceipt));
}

// --- what no certificate can be made of -----------------------------------------------------------------

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

// --- certificates that nobody should make, byte by byte --------------------------------------------------

/// A certificate written freely: every field can be wrong.
#[derive(Clone)]
struct Raw {
    kind: u32,
    serial: u64,
    key_id: Vec<u8>,
    principals: Vec<Vec<u8>>,
    times: (u64, u64),
    critical: Vec<(Vec<u8>, Vec<u8>)>,
    extensions: Vec<(Vec<u8>, Vec<u8>)>,
    reserved: Vec<u8>,
    authority: Vec<u8>,
}

fn data(value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_string(&mut out, value.as_bytes());
    out
}

fn pair(name: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (name.into(), data(value))
}

impl Raw {
    fn good() -> Raw {
        Raw {
            kind: 1,
            serial: 1234,
            key_id: b"fireaxe/EM-42/ana/1234".to_vec(),
            principals: vec![b"root:payments-db".to_vec()],
            times: (NOW - 120, NOW + 1800),
            critical: vec![pair("force-command", LOOK), pair("source-address", "10.2.0.0/16,2001:db8::/32")],
            extensions: vec![
                (b"permit-port-forwarding".to_vec(), Vec::new()),
                (b"permit-pty".to_vec(), Vec::new()),
                pair("receipt@fireaxe", RECEIPT),
                pair("terms@fireaxe", &HostTerms::of(&terms(), None).to_json()),
            ],
            reserved: Vec::new(),
            authority: Ed25519Key::from(&ca()).to_blob(),
        }
    }

    fn with(change: impl FnOnce(&mut Raw)) -> Raw {
        let mut raw = Raw::good();
        change(&mut raw);
        raw
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_string(&mut out, b"ssh-ed25519-cert-v01@openssh.com");
        put_string(&mut out, &[3; 32]);
        put_string(&mut out, &fresh().0);
        put_u64(&mut out, self.serial);
        put_u32(&mut out, self.kind);
        put_string(&mut out, &self.key_id);
        let mut principals = Vec::new();
        self.principals.iter().for_each(|p| put_string(&mut principals, p));
        put_string(&mut out, &principals);
        put_u64(&mut out, self.times.0);
        put_u64(&mut out, self.times.1);
        for list in [&self.critical, &self.extensions] {
            let mut pairs = Vec::new();
            for (name, data) in list {
                put_string(&mut pairs, name);
                put_string(&mut pairs, data);
            }
            put_string(&mut out, &pairs);
        }
        put_string(&mut out, &self.reserved);
        put_string(&mut out, &self.authority);
        out
    }

    fn signed(&self) -> Vec<u8> {
        sign(self.unsigned())
    }

    /// The body of it, without receipt, as if the log held it.
    fn body(&self) -> Result<Body, CertificateError> {
        let mut raw = self.clone();
        raw.extensions.retain(|(name, _)| name != b"receipt@fireaxe");
        Body::read(&raw.unsigned())
    }
}

#[test]
fn the_free_writer_agrees_with_the_profile() {
    assert_eq!(Raw::good().signed(), issue(&terms()));
}

type Change = fn(&mut Raw);

/// Well formed, signed by the CA, and not what was agreed: the field in which it differs, and the lint rule.
const SURPLUS: &[(&str, &str, Change)] = &[
    ("type", "type.user", |r| r.kind = 2),
    ("serial", "serial.reserved", |r| r.serial = 0),
    ("key id", "serial", |r| r.serial = 1235),
    ("key id", "key_id.template", |r| r.key_id = b"".to_vec()),
    ("key id", "key_id.template", |r| r.key_id = b"fireaxe/EM-42/ana/1234/x".to_vec()),
    ("key id", "key_id.alphabet", |r| r.key_id = b"fireaxe/EM-42/ana/1234 (serial 7) CA".to_vec()),
    ("key id", "key_id", |r| r.key_id = b"fireaxe/EM-42/ben/1234".to_vec()),
    ("principals", "principals.empty", |r| r.principals.clear()),
    ("principals", "principals.grammar", |r| r.principals = vec![b"root".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"root:a,root".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"root:*".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"".to_vec()]),
    ("principals", "principals.grammar", |r| r.principals = vec![b"ROOT:payments-db".to_vec()]),
    ("principals", "principals", |r| r.principals.push(b"root:web".to_vec())),
    ("principals", "principals.order", |r| r.principals.push(b"root:payments-db".to_vec())),
    ("principals", "principals.many", |r| {
        r.principals = (0..17).map(|n| format!("root:s{n:02}").into()).collect();
    }),
    ("valid before", "times.order", |r| r.times.1 = r.times.0),
    ("valid before", "times", |r| r.times.1 = NOW - 400),
    ("valid before", "times", |r| r.times.1 += 1),
    ("valid before", "times.lifetime", |r| r.times.1 = u64::MAX),
    ("valid before", "times", |r| r.times.0 -= 1),
    ("valid after", "times", |r| r.times.0 = NOW + 301),
    ("critical options", "critical", |r| r.critical.clear()),
    ("critical options", "critical", |r| drop(r.critical.remove(0))),
    ("critical options", "critical", |r| r.critical[0] = pair("force-command", "/bin/sh")),
    ("critical options", "critical", |r| r.critical[0].1.clear()),
    ("critical options", "critical.force_command", |r| {
        r.critical[0] = pair("force-command", &"a".repeat(limits::FORCED + 1));
    }),
    ("critical options", "critical.force_command", |r| r.critical[0] = pair("force-command", " ")),
    ("critical options", "critical.unknown", |r| r.critical.push(pair("verify-required", ""))),
    ("critical options", "critical", |r| r.critical[1] = pair("source-address", "0.0.0.0/0")),
    ("extensions", "extensions", |r| drop(r.extensions.remove(0))),
    ("extensions", "extension.terms", |r| r.extensions[3] = pair("terms@fireaxe", "{}")),
    ("extensions", "extensions", |r| drop(r.extensions.pop())),
    // It is for a system, and would let sessions go on.
    ("extensions", "extension.within", |r| {
        let within = Some(Within { serial: 41, until: NOW + 1800 });
        r.extensions[3] = pair("terms@fireaxe", &HostTerms::of(&terms(), within).to_json());
    }),
    ("extensions", "extension.unknown", |r| r.extensions.push((b"zz@example.com".to_vec(), Vec::new()))),
    ("extensions", "extension.unknown", |r| {
        r.extensions.insert(0, (b"permit-agent-forwarding".to_vec(), Vec::new()));
    }),
    ("extensions", "extension.data", |r| r.extensions[1].1 = data("x")),
    ("extensions", "format.spelling", |r| r.extensions[1].1 = data("")),
];

#[test]
fn any_surplus_or_lack_is_a_difference_though_the_ca_signed_it() {
    for (n, (field, _, change)) in SURPLUS.iter().enumerate() {
        let found = differs(&Raw::with(change).signed(), &terms());
        assert!(found.contains(field), "{n}: expected {field}, found {found:?}");
        assert!(!found.contains(&"signature"), "{n}: {found:?}");
    }
}

#[test]
fn the_linter_finds_each_broken_rule() {
    let profile = profile(&terms()).unwrap();
    assert_eq!(lint(&Raw::good().body().unwrap(), &profile), Ok(()));
    for (n, (_, rule, change)) in SURPLUS.iter().enumerate() {
        let body = Raw::with(change).body().unwrap();
        let findings = lint(&body, &profile).unwrap_err();
        assert!(findings.iter().any(|finding| finding.rule == *rule), "{n}: {rule} not in {findings:?}");
    }
}

#[test]
fn the_linter_finds_what_differs_from_the_profile() {
    let body = Raw::good().body().unwrap();
    for (rule, other) in [
        ("nonce", profile_with(&terms(), |i| i.nonce = [4; 32])),
        (
            "public_key",
            profile_with(&terms(), |i| i.public_key = Ed25519Key::from(&SigningKey::from_bytes(&[8; 32]))),
        ),
        (
            "ca_key",
            profile_with(&terms(), |i| i.ca_key = Ed25519Key::from(&SigningKey::from_bytes(&[8; 32]))),
        ),
        ("serial", profile_with(&terms(), |i| i.serial = 1235)),
        ("times", profile_with(&terms(), |i| i.at += 1)),
        ("extensions", profile(&Terms { record: Record::None, ..terms() })),
    ] {
        let findings = lint(&body, &other.unwrap()).unwrap_err();
        assert!(findings.iter().any(|finding| finding.rule == rule), "{rule}: {findings:?}");
    }
}

#[test]
fn malformed_certificates_are_not_read_at_all() {
    let order = |what| CertificateError::Order(what);
    let field = |what| CertificateError::Field(what);
    let cases: Vec<(CertificateError, Change)> = vec![
        (order("critical options"), |r| r.critical.reverse()),
        (order("critical options"), |r| r.critical.push(pair("source-address", "10.0.0.0/8"))),
        (order("extensions"), |r| r.extensions.reverse()),
        (order("extensions"), |r| r.extensions.push(pair("receipt@fireaxe", RECEIPT))),
        (order("extensions"), |r| r.extensions.insert(3, pair("receipt@fireaxe", "another"))),
        (order("extensions"), |r| r.extensions.swap(2, 3)),
        (CertificateError::NoReceipt, |r| drop(r.extensions.remove(2))),
        (field("receipt@fireaxe"), |r| r.extensions[2].1.clear()),
        (field("receipt@fireaxe"), |r| r.extensions[2].1 = data("")),
        (field("receipt@fireaxe"), |r| r.extensions[2].1 = data(&"r".repeat(limits::RECEIPT + 1))),
        (field("extensions"), |r| r.extensions[2].1.push(0)),
        (field("extensions"), |r| r.extensions[2].1 = vec![0, 0, 0, 1, 0xff]),
        (field("extensions"), |r| r.extensions[1].0 = b"permit-pty\0".to_vec()),
        (field("reserved field"), |r| r.reserved = vec![0]),
        (field("key id"), |r| r.key_id = b"a\nAccepted publickey for root".to_vec()),
        (field("key id"), |r| r.key_id = b"a\x1b[2J".to_vec()),
        (field("key id"), |r| r.key_id = b"a\0".to_vec()),
        (field("key id"), |r| r.key_id = "ä".into()),
        (field("principals"), |r| r.principals.push(b"root\n".to_vec())),
        (field("principals"), |r| r.principals.push(b"root\0".to_vec())),
        (field("principals"), |r| r.principals = vec![b"a".to_vec(); 257]),
        (CertificateError::TooLong(0), |r| r.key_id = vec![b'a'; 64 * 1024]),
        // a nested certificate, an RSA-like blob, a key with bytes after it: no authority
        (CertificateError::CaKey, |r| r.authority = Raw::good().signed()),
        (CertificateError::CaKey, |r| r.authority = data("ssh-rsa")),
        (CertificateError::CaKey, |r| r.authority.push(0)),
        (CertificateError::CaKey, |r| r.authority.clear()),
    ];
    for (n, (error, change)) in cases.into_iter().enumerate() {
        let certificate = Raw::with(change).signed();
        let found = cut_receipt(&certificate).unwrap_err();
        let same = match found {
            CertificateError::TooLong(_) => error == CertificateError::TooLong(0),
            ref found => *found == error,
        };
        assert!(same, "{n}: {error:?}, found {found:?}");
        assert!(check(&certificate, &terms()).is_err(), "{n}");
    }
}

#[test]
fn a_body_holds_no_receipt_and_no_signature() {
    assert_eq!(Body::read(&Raw::good().unsigned()), Err(CertificateError::HasReceipt));
    assert_eq!(Body::read(&issue(&terms())), Err(CertificateError::Trailing));
}

#[test]
fn every_altered_byte_and_every_cut_is_refused() {
    let good = issue(&terms());
    assert!(check(&good, &terms()).is_ok());
    for n in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[n] ^= flip;
            assert!(check(&bad, &terms()).is_err(), "byte {n} ^ {flip:#x}");
        }
        assert!(check(&good[..n], &terms()).is_err(), "cut at {n}");
        assert!(cut_receipt(&good[..n]).is_err(), "cut at {n}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(cut_receipt(&longer), Err(CertificateError::Trailing));
}

#[test]
fn another_cas_signature_is_refused() {
    let signed = Raw::good().unsigned();
    let signature = SigningKey::from_bytes(&[9; 32]).sign(&signed).to_bytes();
    assert_eq!(differs(&assemble(signed, &signature), &terms()), ["signature"]);
}

#[test]
fn clocks_may_differ_by_the_window_and_no_more() {
    let good = issue(&terms());
    let window = limits::STATEMENT_WINDOW_S;
    for now in [NOW, NOW - window, NOW + window, NOW + 1800 + window] {
        assert!(check_at(&good, &terms(), now).is_ok(), "{now}");
    }
    assert!(check_at(&good, &terms(), NOW - window - 1).is_err());
    assert!(check_at(&good, &terms(), NOW + 1800 + window + 1).is_err());
}

#[test]
fn a_certificate_has_one_line_of_text() {
    let line = to_openssh(&issue(&bare()));
    assert!(from_openssh(&line).is_ok());
    for other in [
        format!("{line} comment"),
        format!("{line}\n"),
        format!(" {line}"),
        line.replace(' ', "  "),
        line.replace("ssh-ed25519-cert", "ssh-rsa-cert"),
        line.replace("openssh.com ", "openssh.com\t"),
        line.trim_end_matches('=').to_owned() + "\u{0}",
        String::new(),
    ] {
        assert_eq!(from_openssh(&other), Err(CertificateError::NotOpenSsh), "{other:?}");
    }
    let long = format!("ssh-ed25519-cert-v01@openssh.com {}", "A".repeat(64 * 1024));
    assert!(matches!(from_openssh(&long), Err(CertificateError::TooLong(_))));
}

// --- properties -----------------------------------------------------------------------------------------

prop_compose! {
    fn any_terms()(
        scopes in proptest::collection::btree_set("[a-z][a-z0-9-]{0,20}", 0..4),
        account in "[a-z_][a-z0-9_-]{0,31}",
        force_command in proptest::option::of("[!-~][ -~]{0,60}"),
        extensions in proptest::sample::subsequence(vec![Extension::PortForwarding, Extension::Pty], 0..=2),
        lifetime_s in 0u32..40_000,
        grace_s in any::<u32>(),
        krl_max_age_s in proptest::option::of(any::<u32>()),
        narrow in any::<bool>(),
    ) -> Terms {
        Terms {
            account: account.parse().unwrap(),
            principals: scopes.iter().map(|s| format!("{account}:{s}").parse().unwrap()).collect(),
            force_command,
            extensions,
            source_address: if narrow { terms().source_address } else { Vec::new() },
            lifetime_s,
            grace_s,
            krl_max_age_s,
            ..terms()
        }
    }
}

proptest! {
    #[test]
    fn no_certificate_outlives_its_grant_or_lacks_a_principal(
        terms in any_terms(),
        at in 0..u64::MAX / 2,
        left in 0u64..50_000,
    ) {
        let grant_end = at + left;
        if let Ok(profile) = profile_with(&terms, |i| { i.at = at; i.grant_end = grant_end; }) {
            let body = Body::of(&profile);
            let fields = body.fields().unwrap();
            prop_assert!(fields.valid_before <= grant_end);
            prop_assert!(fields.valid_before <= at + u64::from(terms.lifetime_s));
            prop_assert!(fields.valid_before - at <= limits::LIFETIME_MAX_S);
            prop_assert!(!fields.principals.is_empty());
            prop_assert_eq!(lint(&body, &profile), Ok(()));
        } else {
            prop_assert!(terms.principals.is_empty()
                || left.min(terms.lifetime_s.into()) < limits::LIFETIME_MIN_S
                || left.min(terms.lifetime_s.into()) > limits::LIFETIME_MAX_S);
        }
    }

    #[test]
    fn receipts_go_in_and_come_out_bit_for_bit(terms in any_terms(), receipt in "\\PC{1,400}", serial in 1..1_000_000_000u64) {
        if let Ok(profile) = profile_with(&terms, |i| i.serial = serial) {
            let body = Body::of(&profile);
            let certificate = sign(body.with_receipt(&receipt));
            let cut = cut_receipt(&certificate).unwrap();
            prop_assert_eq!(&cut.body, &body);
            prop_assert_eq!(cut.receipt, receipt);
            // Another reader finds the receipt too, at its lexical place.
            let other = ssh_key::Certificate::from_bytes(&certificate).unwrap();
            prop_assert!(other.verify_signature().is_ok());
            prop_assert!(other.extensions().contains_key("receipt@fireaxe"));
            prop_assert!(check(&certificate, &terms).is_ok() || serial != 1234);
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), place in 0usize..700) {
        let _ = cut_receipt(&bytes);
        let mut good = issue(&terms());
        let place = place.min(good.len());
        good.splice(place..place, bytes);
        let _ = cut_receipt(&good);
        prop_assert!(good == issue(&terms()) || check(&good, &terms()).is_err());
    }
}
