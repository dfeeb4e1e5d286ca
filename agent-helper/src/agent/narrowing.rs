//! Certificates for single hosts, as the keyring deals with them: for whom one is asked, what is taken, what is
//! shown and signed to whom.

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::certificate::{Body, Issue, Profile, Subject, Within, assemble, to_openssh};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::{EmergencyId, HostName, PersonName};
use fireaxe_protocol::policy::Terms;
use ssh_key::certificate::CertType;
use zeroize::Zeroizing;

use super::binding::tests::{bind_bytes, host_key};
use super::binding::{Binding, SessionBind};
use super::keyring::tests::{NOW, certificate, terms};
use super::keyring::{Keyring, Refused};
use super::userauth::tests::request;
use crate::control::{Hold, Narrow, NewNarrowed, Pinned};

const DB3: &str = "db-3.payments.prod";
const DB4: &str = "db-4.payments.prod";
const HOST_CA: u8 = 8;
const USER_CA: u8 = 9;
/// When the wide certificate ends.
const END: u64 = NOW + 1800;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn wide(account: &str, power: u8) -> Terms {
    let principals = vec![format!("{account}:payments-db").parse().unwrap()];
    Terms { principals, lifetime_s: 1800, ..terms(account, power) }
}

/// A ring that holds the whole system in each of these emergencies.
fn ring(held: &[(u64, &str, u8)]) -> Keyring {
    let mut ring = Keyring::default();
    for (em, account, power) in held {
        let public = ring.fresh_key(Zeroizing::new([*em as u8; 32]), NOW).unwrap();
        hold(&mut ring, &public, (*em, *em), wide(account, *power));
    }
    ring
}

fn hold(ring: &mut Keyring, public: &Ed25519Key, (em, serial): (u64, u64), terms: Terms) {
    let hold = Hold {
        certificate: certificate(public, &format!("{}:payments-db", terms.account), serial, END),
        emergency: EmergencyId(em),
        declaration: Hash([3; 32]),
        origin: "fireaxe.prod/0123456789abcdef".parse().unwrap(),
        system: "payments-db".parse().unwrap(),
        host: None,
        hosts: vec!["db-*.payments.prod".into()],
        terms,
        drill: false,
        pinned: Some(Pinned {
            of: Hash([3; 32]),
            person: "ana".parse().unwrap(),
            user_ca: Ed25519Key::from(&key(USER_CA)),
            host_ca: Ed25519Key::from(&key(HOST_CA)),
        }),
    };
    ring.hold(hold, NOW).unwrap();
}

/// What a host shows in its certificate.
struct Shows {
    names: Vec<&'static str>,
    by: u8,
    kind: CertType,
    from: u64,
    to: u64,
    critical: bool,
}

impl Default for Shows {
    fn default() -> Shows {
        let names = vec![DB3];
        Shows { names, by: HOST_CA, kind: CertType::Host, from: NOW - 60, to: NOW + 3600, critical: false }
    }
}

/// A connection to a host that shows this; `forwarding` as its bind says.
fn bound(shows: &Shows, forwarding: bool) -> Binding {
    let (host, _) = host_key(1);
    let ca = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[shows.by; 32]));
    let subject = Ed25519Key::from(&host).key_data();
    let mut builder = ssh_key::certificate::Builder::new(vec![1; 16], subject, shows.from, shows.to).unwrap();
    builder.cert_type(shows.kind).unwrap();
    for name in &shows.names {
        builder.valid_principal(*name).unwrap();
    }
    if shows.critical {
        builder.critical_option("x@example.org", "").unwrap();
    }
    let blob = builder.sign(&ca).unwrap().to_bytes().unwrap();
    let mut binding = Binding::default();
    assert!(binding.take(SessionBind::parse(&bind_bytes(&host, &blob, &[7; 32], forwarding))));
    binding
}

fn at(host: &'static str) -> Binding {
    bound(&Shows { names: vec![host], ..Shows::default() }, false)
}

/// What a CA might answer.
struct Answers {
    terms: Terms,
    em: u64,
    /// Seed of the key it certifies.
    key: u8,
    by: u8,
    serial: u64,
    within: Option<Within>,
    person: &'static str,
    /// When it is made, unix seconds.
    made: u64,
}

impl Answers {
    fn of(em: u64, wide: &Terms, host: &str) -> Answers {
        let terms = wide.narrowed(&host.parse().unwrap(), 1800).unwrap();
        let within = Some(Within { serial: em, until: END });
        Answers { terms, em, key: em as u8, by: USER_CA, serial: 100 + em, within, person: "ana", made: NOW }
    }

    fn write(self) -> NewNarrowed {
        let ca = key(self.by);
        let person: PersonName = self.person.parse().unwrap();
        let issue = Issue {
            nonce: [5; 32],
            public_key: Ed25519Key::from(&key(self.key)),
            serial: self.serial,
            subject: Subject::Person(EmergencyId(self.em), &person),
            at: self.made,
            grant_end: self.made + u64::from(self.terms.lifetime_s),
            within: self.within,
            ca_key: Ed25519Key::from(&ca),
        };
        let body = Body::of(&Profile::from_terms(&self.terms, &issue).unwrap()).with_receipt("receipt");
        let signature = ca.sign(&body).to_bytes();
        NewNarrowed { certificate: to_openssh(&assemble(body, &signature)), terms: self.terms }
    }
}

fn narrow(em: u64, host: &str) -> Narrow {
    Narrow {
        emergency: EmergencyId(em),
        origin: "fireaxe.prod/0123456789abcdef".parse().unwrap(),
        host: host.parse().unwrap(),
    }
}

/// The ring of EM-1, root on the system, with a certificate for db-3 alone.
fn narrowed() -> Keyring {
    let mut ring = ring(&[(1, "root", 3)]);
    ring.narrow(&narrow(1, DB3), &Answers::of(1, &wide("root", 3), DB3).write(), NOW).unwrap();
    ring
}

/// The serials that a connection is shown.
fn shown(ring: &mut Keyring, binding: &Binding, now: u64) -> Vec<String> {
    let offered = ring.offer(binding, now).into_iter();
    offered
        .map(|(_, comment)| comment.split("serial ").nth(1).unwrap().trim_end_matches(')').to_owned())
        .collect()
}

#[test]
fn only_for_a_host_that_the_pinned_host_ca_certifies_is_one_asked() {
    let mut ring = ring(&[(1, "root", 3)]);
    assert_eq!(ring.wanted(&at(DB3), NOW), [narrow(1, DB3)]);
    let cases: [(&str, Shows); 8] = [
        ("another CA", Shows { by: USER_CA, ..Shows::default() }),
        ("expired", Shows { to: NOW, ..Shows::default() }),
        ("not yet", Shows { from: NOW + 1, ..Shows::default() }),
        ("a user's", Shows { kind: CertType::User, ..Shows::default() }),
        ("a host of another system", Shows { names: vec!["web-1.shop.prod"], ..Shows::default() }),
        ("two of its names are reached", Shows { names: vec![DB3, DB4], ..Shows::default() }),
        ("no name of a host", Shows { names: vec!["*"], ..Shows::default() }),
        ("an option nobody knows", Shows { critical: true, ..Shows::default() }),
    ];
    for (what, shows) in cases {
        let binding = bound(&shows, false);
        assert_eq!(ring.wanted(&binding, NOW), [], "{what}");
        assert_eq!(shown(&mut ring, &binding, NOW), ["1"], "{what}: the wide one goes on working");
    }
    let (host, blob) = host_key(1);
    let mut plain = Binding::default();
    assert!(plain.take(SessionBind::parse(&bind_bytes(&host, &blob, &[7; 32], false))));
    for binding in [plain, Binding::None] {
        assert_eq!(ring.wanted(&binding, NOW), [], "a plain host key, and no binding at all");
        assert_eq!(shown(&mut ring, &binding, NOW), ["1"]);
    }
}

#[test]
fn a_short_name_beside_the_whole_one_is_no_second_host() {
    let mut ring = ring(&[(1, "root", 3)]);
    let binding = bound(&Shows { names: vec!["db-3", DB3, "10.2.0.3"], ..Shows::default() }, false);
    assert_eq!(ring.wanted(&binding, NOW), [narrow(1, DB3)]);
}

#[test]
fn a_forwarded_connection_never_asks_never_sees_and_never_signs() {
    let mut ring = narrowed();
    let blob = ring.offer(&at(DB3), NOW)[0].0.clone();
    let mut later = bound(&Shows::default(), true);
    let (host, plain) = host_key(1);
    later.take(SessionBind::parse(&bind_bytes(&host, &plain, &[7; 32], false)));
    for binding in [bound(&Shows::default(), true), later] {
        assert_eq!(ring.wanted(&binding, NOW), []);
        assert_eq!(ring.offer(&binding, NOW), []);
        let login = request(&[7; 32], "root", &blob, None);
        assert_eq!(ring.sign(&binding, &blob, &login, NOW), Err(Refused::NotHere));
    }
}

#[test]
fn what_is_not_what_is_held_for_that_host_is_not_taken() {
    let wide = wide("root", 3);
    let host = |name: &str| name.parse::<HostName>().unwrap();
    let answers = || Answers::of(1, &wide, DB3);
    let changed = |change: fn(&mut Answers)| {
        let mut answers = Answers::of(1, &super::narrowing::wide("root", 3), DB3);
        change(&mut answers);
        answers
    };
    let cases: [(&str, Answers); 15] = [
        ("another host's", Answers::of(1, &wide, DB4)),
        ("longer than minutes", changed(|a| a.terms.lifetime_s = 601)),
        (
            "the whole system",
            Answers { terms: Terms { lifetime_s: 600, ..wide.clone() }, within: None, ..answers() },
        ),
        (
            "two hosts",
            changed(|a| {
                a.terms.principals.push("root:db-4.payments.prod".parse().unwrap());
                a.within = None;
            }),
        ),
        (
            "another account",
            Answers { terms: super::narrowing::wide("ops", 3).on_host(&host(DB3), 600), ..answers() },
        ),
        ("another key", changed(|a| a.key = 77)),
        ("another CA", changed(|a| a.by = HOST_CA)),
        ("another person", changed(|a| a.person = "ben")),
        ("another emergency", changed(|a| a.em = 2)),
        (
            "ends after what is held",
            changed(|a| (a.made, a.within) = (END - 400, Some(Within { serial: 1, until: END + 200 }))),
        ),
        (
            "sessions go on after what is held",
            changed(|a| a.within = Some(Within { serial: 1, until: END + 1 })),
        ),
        ("sessions end before", changed(|a| a.within = Some(Within { serial: 1, until: END - 1 }))),
        (
            "sessions go on after it is revoked",
            changed(|a| a.within = Some(Within { serial: 2, until: END })),
        ),
        ("of itself", changed(|a| (a.serial, a.within) = (102, Some(Within { serial: 101, until: END })))),
        ("of nothing", changed(|a| a.within = None)),
    ];
    for (what, answers) in cases {
        let mut ring = ring(&[(1, "root", 3)]);
        let taken = ring.narrow(&narrow(1, DB3), &answers.write(), NOW);
        assert!(matches!(taken, Err(Refused::Certificate(_))), "{what}: {taken:?}");
        assert_eq!(
            (ring.narrowed(), shown(&mut ring, &at(DB3), NOW)),
            (vec![], vec!["1".to_owned()]),
            "{what}"
        );
    }
    let mut other = answers().write();
    other.terms = Answers::of(1, &wide, DB4).terms;
    let mut ring = ring(&[(1, "root", 3)]);
    assert!(ring.narrow(&narrow(1, DB3), &other, NOW).is_err(), "terms of one, certificate of another");
    assert_eq!(ring.narrow(&narrow(2, DB3), &answers().write(), NOW), Err(Refused::NotHeld));
    assert!(ring.narrow(&narrow(1, "web-1.shop.prod"), &answers().write(), NOW).is_err());
    ring.narrow(&narrow(1, DB3), &answers().write(), NOW).unwrap();
}

#[test]
fn on_its_host_it_stands_in_for_the_wide_one_and_nowhere_else() {
    let mut ring = narrowed();
    assert_eq!(shown(&mut ring, &at(DB3), NOW), ["101"], "that one, alone");
    let narrow = ring.offer(&at(DB3), NOW)[0].0.clone();
    let wide = ring.offer(&Binding::None, NOW)[0].0.clone();
    assert_eq!(shown(&mut ring, &at(DB4), NOW), ["1"]);
    assert_eq!(shown(&mut ring, &Binding::None, NOW), ["1"]);
    let mut sign = |binding: &Binding, key: &[u8], account| {
        ring.sign(binding, key, &request(&[7; 32], account, key, None), NOW).map(drop)
    };
    assert_eq!(sign(&at(DB3), &narrow, "root"), Ok(()));
    assert_eq!(sign(&at(DB3), &narrow, "ops"), Err(Refused::OtherAccount));
    assert_eq!(sign(&at(DB4), &narrow, "root"), Err(Refused::NotHeld));
    assert_eq!(sign(&Binding::None, &narrow, "root"), Err(Refused::NotHeld));
    assert_eq!(sign(&Binding::None, &wide, "root"), Ok(()));
    assert_eq!(ring.list(NOW).len(), 1, "a list of what is held stays readable");
    assert_eq!(ring.list(NOW)[0].uses, 2, "logins with it count");
}

#[test]
fn near_its_end_another_is_asked_for_and_the_wide_one_shown_until_it_comes() {
    let mut ring = narrowed();
    let last = NOW + u64::from(limits::NARROWED_S) - limits::NARROWED_FRESH_S;
    assert_eq!(ring.wanted(&at(DB3), last), []);
    assert_eq!(shown(&mut ring, &at(DB3), last), ["101"]);
    assert_eq!(ring.wanted(&at(DB3), last + 1), [narrow(1, DB3)]);
    assert_eq!(shown(&mut ring, &at(DB3), last + 1), ["1"]);
    let next = Answers { serial: 200, made: last + 1, ..Answers::of(1, &wide("root", 3), DB3) };
    ring.narrow(&narrow(1, DB3), &next.write(), last + 1).unwrap();
    assert_eq!((shown(&mut ring, &at(DB3), last + 1), ring.narrowed()), (vec!["200".to_owned()], vec![200]));

    // At the end of what is held there is no longer one to be had.
    let made = END - 300;
    let short = wide("root", 3).narrowed(&DB3.parse().unwrap(), 300).unwrap();
    let last = Answers { terms: short, serial: 300, made, ..Answers::of(1, &wide("root", 3), DB3) };
    ring.narrow(&narrow(1, DB3), &last.write(), made).unwrap();
    assert_eq!(ring.wanted(&at(DB3), END - 20), []);
    assert_eq!(shown(&mut ring, &at(DB3), END - 20), ["300"]);
    assert_eq!(ring.wanted(&at(DB4), END - 20), [], "nothing would be left of it");
    ring.sweep(END);
    assert_eq!(ring.narrowed(), [] as [u64; 0]);
}

#[test]
fn it_goes_with_the_emergency_and_with_what_it_was_made_of() {
    let mut ring = narrowed();
    ring.drop_emergency(EmergencyId(1));
    assert_eq!(ring.narrowed(), [] as [u64; 0]);

    let mut ring = ring_with_fix();
    assert_eq!(shown(&mut ring, &at(DB3), NOW), ["101"]);
    let public = Ed25519Key::from(&key(1));
    hold(&mut ring, &public, (1, 50), wide("root", 3));
    assert_eq!(ring.wanted(&at(DB3), NOW), [narrow(1, DB3)], "an upgrade is asked for at once");
    assert_eq!(
        shown(&mut ring, &at(DB3), NOW),
        ["50"],
        "what was made of the weaker one stands in for nothing"
    );
    assert_eq!(ring.narrowed(), [] as [u64; 0]);
}

fn ring_with_fix() -> Keyring {
    let mut ring = ring(&[(1, "ops", 2)]);
    ring.narrow(&narrow(1, DB3), &Answers::of(1, &wide("ops", 2), DB3).write(), NOW).unwrap();
    ring
}

#[test]
fn of_two_emergencies_each_has_its_own_and_the_stronger_stays_first() {
    let mut ring = ring(&[(1, "look", 1), (2, "root", 3)]);
    let wanted = ring.wanted(&at(DB3), NOW);
    assert_eq!(wanted, [narrow(2, DB3), narrow(1, DB3)]);
    ring.narrow(&narrow(1, DB3), &Answers::of(1, &wide("look", 1), DB3).write(), NOW).unwrap();
    assert_eq!(shown(&mut ring, &at(DB3), NOW), ["2", "101"]);
    ring.narrow(&narrow(2, DB3), &Answers::of(2, &wide("root", 3), DB3).write(), NOW).unwrap();
    assert_eq!(shown(&mut ring, &at(DB3), NOW), ["102", "101"]);
    let db3: HostName = DB3.parse().unwrap();
    assert!(ring.matches(&db3, &"root".parse().unwrap(), NOW), "ssh takes the same account as before");
}

#[test]
fn whoever_gave_none_is_not_asked_again_for_a_while() {
    let mut ring = ring(&[(1, "root", 3), (2, "root", 3)]);
    ring.none_came(&narrow(1, DB3), false, NOW);
    assert_eq!(ring.wanted(&at(DB3), NOW), [narrow(2, DB3)]);
    assert_eq!(ring.wanted(&at(DB4), NOW).len(), 2, "it was about that host");
    assert_eq!(ring.wanted(&at(DB3), NOW + 30).len(), 2);
    ring.none_came(&narrow(1, DB3), true, NOW);
    assert_eq!(ring.wanted(&at(DB4), NOW + 29), [], "a CA that is away is away for all");
    assert_eq!(ring.wanted(&at(DB4), NOW + 30).len(), 2);
}

#[test]
fn they_are_bounded() {
    let mut ring = ring(&[(1, "root", 3)]);
    for n in 0..limits::NARROWED as u64 + 1 {
        let host = format!("db-{n}.payments.prod");
        let answers = Answers { serial: 1000 + n, ..Answers::of(1, &wide("root", 3), &host) };
        ring.narrow(&narrow(1, &host), &answers.write(), NOW).unwrap();
    }
    assert_eq!(ring.narrowed().len(), limits::NARROWED);
    for n in 0..100 {
        ring.none_came(&narrow(1, &format!("x-{n}.payments.prod")), false, NOW);
    }
    assert_eq!(shown(&mut ring, &at(DB3), NOW), ["1003"]);
}
