//! Logs in which a host says what it did not say, or the CA says beside it what does not follow, signed with the
//! CA's own keys. `log verify` finds each.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::{Entry, Event, Hash, HostSaid};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::reason::Reason;
use fireaxe_protocol::statement::{HostReport, Kind, Statement, sign_ed25519};
use installed::forging::{entries, found};
use installed::speaking::{DB3, DB4, closed, confirmed, host_key, opened, with_hosts};
use installed::{ANA, Installed};

#[track_caller]
fn finds(found: &[(u64, String)], entry: usize, says: &str) {
    let is = |(at, what): &(u64, String)| *at == entry as u64 && what.contains(says);
    assert!(found.iter().any(is), "entry {entry}, {says}: {found:?}");
}

/// A log with a session that was opened and closed, a closing that was confirmed, and an alarm; the indices of
/// those four.
async fn said() -> (Installed, Vec<Entry>, [usize; 4]) {
    let ca = with_hosts(&[DB3, DB4]).await;
    let emergency = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let account = emergency.terms.as_ref().unwrap().account.to_string();
    let serial = entries(&ca).iter().rfind(|e| e.body.is_some()).unwrap().index;
    let now = ca.clock.wall();
    ca.reported(DB3, 1, opened(1, serial, &account, now)).await;
    let closing: fireaxe_protocol::api::Closed = ca.close_emergency(ANA, &emergency).await.json();
    ca.reported(DB3, 2, closed(1, serial, now)).await;
    ca.reported(DB3, 3, confirmed(closing.entry, now)).await;
    ca.reported(DB3, 4, Report::Alarmed(Reason::new("x", "y"))).await;
    let log = entries(&ca);
    let end = log.len();
    assert_eq!(found(&ca, &log), [], "the same log under one head");
    (ca, log, [end - 5, end - 3, end - 2, end - 1])
}

fn by(event: &mut Event) -> &mut HostSaid {
    match event {
        Event::SessionOpened { by, .. }
        | Event::SessionClosed { by, .. }
        | Event::HostConfirmed { by, .. }
        | Event::HostAlarmed { by } => by,
        other => panic!("{other:?}"),
    }
}

/// The same words, changed and signed again by the key of `host`.
fn again(by: &HostSaid, host: &str, change: impl FnOnce(&mut HostReport)) -> HostSaid {
    let Ok(Statement::Report(mut words)) = Statement::read(&by.said.statement) else { panic!("no report") };
    change(&mut words);
    let said = sign_ed25519(&host_key(host), Kind::Report, &Statement::Report(words).write());
    HostSaid { said, ..by.clone() }
}

#[tokio::test]
async fn words_that_the_host_did_not_sign_are_found() {
    let (ca, log, places) = said().await;
    for at in places {
        let mut forged = log.clone();
        let said = by(&mut forged[at].event);
        said.said.statement = said.said.statement.replacen("\"at\":1", "\"at\":2", 1);
        finds(
            &found(&ca, &forged),
            at,
            "is not signed by the key with which db-3.payments.prod was enrolled",
        );

        let mut forged = log.clone();
        let said = by(&mut forged[at].event);
        *said = again(said, DB4, |_| ());
        finds(&found(&ca, &forged), at, "is not signed by the key");

        let mut forged = log.clone();
        let said = by(&mut forged[at].event);
        *said = again(said, DB3, |words| words.header.to = "test/00000000000000ff".parse().unwrap());
        finds(&found(&ca, &forged), at, "for another log");

        let mut forged = log.clone();
        let said = by(&mut forged[at].event);
        *said = again(said, DB3, |words| words.header.at -= 86_400);
        finds(&found(&ca, &forged), at, "was signed before db-3.payments.prod was enrolled so");

        let mut forged = log.clone();
        by(&mut forged[at].event).of = Hash([9; 32]);
        finds(&found(&ca, &forged), at, "was not enrolled so at its time");
    }
}

#[tokio::test]
async fn a_report_that_is_left_out_repeated_or_moved_is_found() {
    let (ca, log, places) = said().await;
    for at in &places[..3] {
        let mut without = log.clone();
        without.remove(*at);
        finds(
            &found(&ca, &without),
            places[places.iter().position(|p| p == at).unwrap() + 1] - 1,
            "not the host's next one",
        );
        let mut twice = log.clone();
        twice.insert(at + 1, log[*at].clone());
        finds(&found(&ca, &twice), at + 1, "not the host's next one");
    }
}

#[tokio::test]
async fn what_stands_beside_the_words_follows_from_the_log() {
    let (ca, log, [opening, ending, confirming, _]) = said().await;
    let not = "does not follow from them and from the log";

    // Another emergency's, nobody's, or something made to look unusual.
    let mut forged = log.clone();
    let Event::SessionOpened { emergency, .. } = &mut forged[opening].event else { panic!() };
    *emergency = Some(EmergencyId(7));
    finds(&found(&ca, &forged), opening, not);
    *match &mut forged[opening].event {
        Event::SessionOpened { emergency, .. } => emergency,
        _ => panic!(),
    } = None;
    finds(&found(&ca, &forged), opening, not);
    let mut forged = log.clone();
    let Event::SessionClosed { unusual, .. } = &mut forged[ending].event else { panic!() };
    unusual.push(Reason::new("session.not_open", "so they say"));
    finds(&found(&ca, &forged), ending, not);

    // The host says that a serial came in that never was, and the CA does not say so.
    let mut forged = log.clone();
    let said = by(&mut forged[opening].event);
    *said = again(said, DB3, |words| {
        if let Report::SessionOpened(said) = &mut words.report {
            said.serial = 2;
        }
    });
    finds(&found(&ca, &forged), opening, not);

    // A confirmation of what was not owed, or of less than was.
    for leaves in [vec![], vec![Hash([1; 32])]] {
        let mut forged = log.clone();
        let Event::HostConfirmed { closed, .. } = &mut forged[confirming].event else { panic!() };
        *closed = leaves;
        finds(&found(&ca, &forged), confirming, "does not confirm exactly the closings");
    }
    // The host confirmed an older list than the one that revokes.
    let mut forged = log.clone();
    let said = by(&mut forged[confirming].event);
    *said = again(said, DB3, |words| {
        if let Report::Confirmed(said) = &mut words.report {
            said.version -= 1;
        }
    });
    finds(&found(&ca, &forged), confirming, "does not confirm exactly the closings");

    // An entry of one kind with words of another.
    let mut forged = log.clone();
    forged[opening].event = Event::HostAlarmed { by: by(&mut forged[opening].event).clone() };
    finds(&found(&ca, &forged), opening, not);
}
