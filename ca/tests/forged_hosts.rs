//! Logs about hosts that the road would not have written: `log verify` finds each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use fireaxe_protocol::certificate::{HostBody, HostIssue, HostProfile};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::{HOST_CERTIFICATE_S, INVITATION_MAX_S, INVITATION_S};
use fireaxe_protocol::log::{Entry, Event, Hash};
use fireaxe_protocol::statement::{Enrol, Header, Kind, Statement, sign_ed25519};
use installed::forging::{entries, found, only, place};
use installed::hosts::{DB1, DB2, host_key, public};
use installed::{ANA, Installed, key};

/// A log with one host that was invited, enrolled, certified twice, tested, and one that is only invited.
async fn with_hosts() -> Installed {
    let ca = Installed::new();
    ca.enrol_host(DB1, &host_key(1)).await;
    ca.clock.pass(HOST_CERTIFICATE_S / 2);
    ca.renewed(DB1, &host_key(1)).await;
    ca.self_tested(&ca.testing(DB1, "root", &key(90)), &host_key(1)).await;
    ca.invite(DB2).await;
    ca
}

fn is_enrolled(event: &Event) -> bool {
    matches!(event, Event::HostEnrolled { .. })
}

fn is_certified(event: &Event) -> bool {
    matches!(event, Event::HostCertified { .. })
}

fn is_tested(event: &Event) -> bool {
    matches!(event, Event::SelfTestGranted { .. })
}

/// The body that the host CA would log for a host, key and place, with a principal of the forger's choice.
fn body_for(ca: &Installed, host: &str, host_key: Ed25519Key, serial: u64, at: u64) -> String {
    let host = host.parse().unwrap();
    let ca_key = ca.road.published().keys().host_ca;
    let issue = HostIssue { nonce: [9; 32], public_key: host_key, serial, host: &host, at, ca_key };
    STANDARD.encode(HostBody::of(&HostProfile::of(&issue).unwrap()).as_bytes())
}

#[tokio::test]
async fn an_honest_log_of_hosts_is_found_good() {
    let ca = with_hosts().await;
    assert_eq!(found(&ca, &entries(&ca)), []);
}

#[tokio::test]
async fn a_host_enrolled_without_its_invitation_or_its_key_is_found() {
    let ca = with_hosts().await;
    let honest = entries(&ca);
    let at = place(&honest, is_enrolled);
    let with = |change: &dyn Fn(&mut Event)| {
        let mut forged = honest[..=at].to_vec();
        change(&mut forged[at].event);
        found(&ca, &forged).into_iter().filter(|(entry, _)| *entry == at as u64).collect::<Vec<_>>()
    };
    let says = |found: &[(u64, String)], words: &str| {
        assert!(found.iter().any(|(_, what)| what.contains(words)), "{words}: {found:?}");
    };
    let ana = key(ANA);
    // The operator's own key under that name.
    let words = |host: &str, token: Hash, key: &SigningKey| {
        let header = Header { at: honest[at].at, ..ca.header(Kind::Enrol) };
        let words = Enrol { header, host: host.parse().unwrap(), token, public_key: public(key) };
        sign_ed25519(key, Kind::Enrol, &Statement::Enrol(words).write())
    };
    let Event::HostInvited { token, .. } = honest[at - 1].event.clone() else { unreachable!() };
    says(
        &with(&|event| {
            let Event::HostEnrolled { key, .. } = event else { unreachable!() };
            *key = public(&host_key(7));
        }),
        "does not match",
    );
    says(
        &with(&|event| {
            let Event::HostEnrolled { key, said, .. } = event else { unreachable!() };
            (*key, *said) = (public(&host_key(7)), words(DB1, Hash([1; 32]), &host_key(7)));
        }),
        "no open invitation",
    );
    says(
        &with(&|event| {
            let Event::HostEnrolled { key, said, .. } = event else { unreachable!() };
            (*key, *said) = (public(&host_key(7)), words(DB2, token, &host_key(7)));
        }),
        "enrols another host",
    );
    says(
        &with(&|event| {
            let Event::HostEnrolled { key, said, .. } = event else { unreachable!() };
            (*key, *said) = (public(&ana), words(DB1, token, &ana));
        }),
        "a person's in the roster",
    );
    says(
        &with(&|event| {
            let Event::HostEnrolled { system, .. } = event else { unreachable!() };
            *system = "web".parse().unwrap();
        }),
        "another invitation or system",
    );
    // The same invitation twice.
    let mut twice = honest[..=at + 1].to_vec();
    twice.push(honest[at].clone());
    says(&found(&ca, &twice), "no open invitation");
    // Too late.
    let mut late = honest[..=at].to_vec();
    late[at].at += INVITATION_S + 1;
    says(&found(&ca, &late), "was good until");
}

#[tokio::test]
async fn an_invitation_that_the_policy_does_not_allow_is_found() {
    let ca = with_hosts().await;
    let mut forged = entries(&ca);
    let last = forged.len() - 1;
    let Event::HostInvited { host, .. } = &mut forged[last].event else { unreachable!() };
    *host = "db-1.nowhere.prod".parse().unwrap();
    only(&found(&ca, &forged), last, "has no host db-1.nowhere.prod");
    let mut forged = entries(&ca);
    let Event::HostInvited { until, .. } = &mut forged[last].event else { unreachable!() };
    *until += INVITATION_MAX_S;
    only(&found(&ca, &forged), last, "is none that is made");
}

#[tokio::test]
async fn a_host_certificate_left_out_or_for_another_name_key_or_time_is_found() {
    let ca = with_hosts().await;
    let honest = entries(&ca);
    let enrolled = place(&honest, is_enrolled);
    let mut without = honest[..=enrolled].to_vec();
    let missing = found(&ca, &without);
    assert!(missing.iter().any(|(_, what)| what.contains("host certificate of db-1")), "{missing:?}");
    without.push(honest[honest.len() - 1].clone());
    only(&found(&ca, &without), enrolled + 1, "before it is missing the host certificate");

    let at = place(&honest, is_certified);
    let with = |body: String| {
        let mut forged = honest[..=at].to_vec();
        let Event::HostCertified { body: logged, .. } = &mut forged[at].event else { unreachable!() };
        *logged = body;
        found(&ca, &forged)
    };
    let (serial, time) = (at as u64, honest[at].at);
    assert_eq!(with(body_for(&ca, DB1, public(&host_key(1)), serial, time)), [], "another nonce is no lie");
    let wrong = "not that of a host certificate";
    only(&with(body_for(&ca, DB2, public(&host_key(1)), serial, time)), at, wrong);
    only(&with(body_for(&ca, DB1, public(&host_key(7)), serial, time)), at, wrong);
    only(&with(body_for(&ca, DB1, public(&host_key(1)), serial + 1, time)), at, wrong);
    only(&with(body_for(&ca, DB1, public(&host_key(1)), serial, time + 60)), at, wrong);

    // Sooner than half of the time of the one before.
    let mut soon = honest[..=enrolled + 1].to_vec();
    let Event::HostEnrolled { host, .. } = &honest[enrolled].event else { unreachable!() };
    let Event::HostCertified { of, .. } = honest[enrolled + 1].event else { unreachable!() };
    let (serial, time) = (soon.len() as u64, honest[enrolled].at + 60);
    let body = body_for(&ca, DB1, public(&host_key(1)), serial, time);
    let event = Event::HostCertified { of, host: host.clone(), body };
    soon.push(Entry { index: serial, at: time, event, body: None });
    only(&found(&ca, &soon), enrolled + 2, "had not passed");
}

#[tokio::test]
async fn a_self_test_with_other_terms_or_another_key_or_without_its_words_is_found() {
    let ca = with_hosts().await;
    let honest = entries(&ca);
    let at = place(&honest, is_tested);
    let says = |forged: &[Entry], words: &str| {
        let found = found(&ca, forged);
        assert!(found.iter().any(|(n, what)| *n >= at as u64 && what.contains(words)), "{words}: {found:?}");
    };
    let mut forged = honest[..=at].to_vec();
    let Event::SelfTestGranted { terms, .. } = &mut forged[at].event else { unreachable!() };
    terms.force_command = None;
    says(&forged, "not those of a self-test");
    // An operator's own words.
    let mut forged = honest[..=at].to_vec();
    let Event::SelfTestGranted { by, .. } = &mut forged[at].event else { unreachable!() };
    let words = Statement::Report(Box::new(ca.testing(DB1, "root", &key(91)))).write();
    by.said = sign_ed25519(&host_key(7), Kind::Report, &words);
    says(&forged, "does not match");
    // The same words twice.
    let mut twice = honest[..at + 2].to_vec();
    twice.push(honest[at].clone());
    says(&twice, "answered before");
    // Another body under it; none at all; one that nothing granted.
    let mut forged = honest[..at + 2].to_vec();
    let body = forged[at + 1].body.as_mut().unwrap();
    let place = body.windows(9).position(|bytes| bytes == b"/bin/true").unwrap();
    body[place..place + 9].copy_from_slice(b"/bin/bash");
    only(&found(&ca, &forged), at + 1, "not what its terms say");
    says(&honest[..=at], "the certificate that");
    let mut forged = honest[..at].to_vec();
    forged.push(honest[at + 1].clone());
    says(&forged, "nothing directly before it brings it about");
}
