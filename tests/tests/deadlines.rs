//! When a session ends, on a real sshd, without a CA: by a countdown, or by a later certificate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test; its functions too")]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::FeedClosing;
use fireaxe_protocol::host::EndReason;
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Terms;
use fireaxe_tests::clock;
use fireaxe_tests::running::Running;
use fireaxe_tests::town::{Town, Wanted, unrecorded};

#[test]
fn a_countdown_ends_a_session_by_the_grace_of_its_terms_and_one_that_is_held_does_not() {
    let town = Town::registered();
    let (held, ended) =
        (town.numbered(20, &unrecorded("ops"), 3000), town.numbered(21, &unrecorded("ops"), 3000));
    let patient = Terms { grace_s: 600, ..unrecorded("ops") };
    let patient = town.numbered(22, &patient, 3000);
    let mut goes_on =
        [town.starts(&held, "ops", &[], "sleep 7020"), town.starts(&patient, "ops", &[], "sleep 7022")];
    let cut = town.starts(&ended, "ops", &[], "sleep 7021");
    for serial in [20, 21, 22] {
        town.comes_open(serial);
    }
    let put = |serials: &[u64]| {
        let closing =
            [FeedClosing { emergency: EmergencyId(7), serials: serials.into(), until: clock::unix() + 600 }];
        let text = serde_json::to_string(&closing).unwrap();
        town.host
            .run(
                "sh",
                &["-c", &format!("echo '{text}' >/run/closing.new && mv /run/closing.new /run/closing.json")],
            )
            .ok();
    };
    put(&[20, 21, 22]);
    put(&[21, 22]);
    assert_eq!(town.closed(21).why, EndReason::Closing);
    assert_eq!(cut.ends_by_itself().code, 255);
    assert!(goes_on.iter_mut().all(Running::goes_on));
}

#[test]
fn a_later_certificate_of_the_same_key_lets_a_session_go_on_and_ends_it_too() {
    let mut town = Town::registered();
    let (terms, pair) = (unrecorded("ops"), town.pair(21));
    let wanted = |serial, lives| Wanted { serial, terms: &terms, lives, within: None };
    let key = town.certified(&pair, &wanted(21, 8));
    let mut session = town.starts(&key, "ops", &[], "sleep 7021");
    let other = town.numbered(22, &unrecorded("ops"), 8);
    let cut = town.starts(&other, "ops", &[], "sleep 7022");
    town.comes_open(21);
    town.comes_open(22);
    let later = STANDARD.encode(town.certificate(&pair, &wanted(30, 3000)));
    town.host
        .run(
            "sh",
            &["-c", &format!("echo -n {later} >/run/extended.new && mv /run/extended.new /run/extended")],
        )
        .ok();
    // Of another key: it ends at its time, and by then the first would have, too.
    assert_eq!(town.closed(22).why, EndReason::Expired);
    assert_eq!(cut.ends_by_itself().code, 255);
    std::thread::sleep(Duration::from_secs(1));
    assert!(session.goes_on());
    town.revoke(&[30]);
    assert_eq!(town.closed(21).why, EndReason::Revoked);
}
