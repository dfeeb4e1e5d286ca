//! Each finding by the smallest world that has it, and a world that has none.

use std::collections::HashSet;

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::keys::{Ed25519Key, Fingerprint};
use fireaxe_protocol::log::Hash;

use super::super::finding::Weight;
use super::super::known::{Closed, Closing, Enrolled, Over, ReportedRecording};
use super::super::sshd::Accepted;
use super::*;

const T: u64 = 1_795_845_600;
const DB_3: &str = "db-3.payments.prod";

fn ca() -> Fingerprint {
    Ed25519Key([1; 32]).fingerprint()
}

fn name(n: u8) -> Nonce {
    Nonce([n; 16])
}

fn recorded() -> Recorded {
    Recorded { recording: name(9), chunks: 5, bytes: 100, head: Hash([7; 32]), lost: 0 }
}

/// One certificate, one login, one session, one recording: all fits.
struct World {
    known: Known,
    log: SshdLog,
    disk: Vec<OnDisk>,
}

fn world() -> World {
    let host: HostName = DB_3.parse().unwrap();
    let mut known = Known::default();
    known.user_ca = Some(ca());
    let enrolled = Enrolled { system: "payments-db".parse().unwrap(), reports: true, entry: 3 };
    known.hosts.insert(host.clone(), enrolled);
    let certificate = Certificate {
        at: T,
        emergency: Some(EmergencyId(1)),
        key_id: "fireaxe/EM-1/ana/12".into(),
        principals: vec!["root:payments-db".into()],
        valid_before: T + 1800,
        record: Record::Required,
        within: None,
        revoked_at: None,
        hosts: ["db-*.payments.prod".to_owned()].into(),
    };
    known.certificates.insert(12, certificate);
    known.sessions.push(Session {
        host: host.clone(),
        connection: name(8),
        serial: 12,
        account: "root".into(),
        from: [127, 0, 0, 1].into(),
        at: T + 11,
        entry: 13,
        unusual: vec![],
        closed: Some(Closed {
            why: EndReason::Left,
            all_listed: true,
            names: HashSet::from([name(9)]),
            entry: 14,
        }),
    });
    let reported = ReportedRecording { entry: 14, at: T + 60, recorded: recorded() };
    known.reported.insert((host.clone(), name(9)), reported);
    let over = Over { at: T + 100, due: Some(T + 5000), reviewed: true };
    known.over.insert(EmergencyId(1), over);
    let closing = Closing {
        entry: 15,
        at: T + 100,
        leaf: Hash([5; 32]),
        emergency: EmergencyId(1),
        scope: "payments-db".into(),
    };
    known.closings.push(closing);
    known.confirmed.insert((host.clone(), Hash([5; 32])));
    let mut log = SshdLog { lines: 9, of_sshd: 9, ..SshdLog::default() };
    log.covers.insert(host.clone(), (T - 1000, T + 1000));
    log.logins.push(login("fireaxe/EM-1/ana/12", 12, ca(), T + 10));
    let disk = vec![OnDisk {
        host,
        name: name(9),
        connection: Some(name(8)),
        began: T + 12,
        found: Some(recorded()),
        fault: None,
    }];
    World { known, log, disk }
}

fn login(key_id: &str, serial: u64, ca: Fingerprint, at: u64) -> Login {
    let how = How::Certificate { key_id: key_id.into(), serial, ca };
    let from = Some([127, 0, 0, 1].into());
    let accepted = Accepted { account: "root".into(), from, how };
    Login { line: 4, at: Some(at), host: DB_3.parse().unwrap(), accepted }
}

/// The codes of what is found in a world that this was changed in, what is wrong first.
fn found(change: impl FnOnce(&mut World)) -> Vec<&'static str> {
    let mut world = world();
    change(&mut world);
    codes(compare(&world.known, Some(&world.log), &world.disk, Window::default(), T + 10_000))
}

fn codes(mut compared: Compared) -> Vec<&'static str> {
    let listed = compared.findings.listed().to_vec();
    for one in &listed {
        assert!(!one.place.is_empty() && !one.sentence.is_empty() && !one.next.is_empty(), "{one:?}");
        assert!(one.sentence.chars().all(|c| !c.is_control()), "{one:?}");
    }
    listed.iter().map(|one| one.code).collect()
}

fn certificate(world: &mut World) -> &mut Certificate {
    world.known.certificates.get_mut(&12).unwrap()
}

#[test]
fn what_fits_is_counted_and_nothing_is_found() {
    let World { known, log, disk } = world();
    let compared = compare(&known, Some(&log), &disk, Window::default(), T + 10_000);
    let expected = Summary {
        certificates: 1,
        used: 1,
        logins: Some(1),
        standing: Some(0),
        sessions: 1,
        matched: Some(1),
        recordings: 1,
        as_reported: 1,
    };
    assert_eq!(compared.summary, expected);
    assert_eq!(codes(compared), Vec::<&str>::new());
}

#[test]
fn a_login_that_issuance_does_not_explain_is_found() {
    let never = |world: &mut World| world.log.logins.push(login("fireaxe/EM-1/ana/77", 77, ca(), T + 10));
    assert_eq!(found(never), ["login.never_issued", "login.unreported"]);
    let other = |world: &mut World| world.log.logins[0] = login("fireaxe/EM-2/ben/12", 12, ca(), T + 10);
    assert_eq!(found(other), ["login.other_certificate"]);
    let reach = |world: &mut World| certificate(world).principals = vec!["ops:payments-db".into()];
    assert_eq!(found(reach), ["login.out_of_reach"]);
    let system = |world: &mut World| certificate(world).principals = vec!["root:ledger".into()];
    assert_eq!(found(system), ["login.out_of_reach"]);
}

#[test]
fn a_login_out_of_its_certificates_time_is_found_beyond_what_clocks_may_differ() {
    let end = |slack: u64| {
        move |world: &mut World| {
            let at = T + 10;
            certificate(world).valid_before = at - STATEMENT_WINDOW_S - slack;
        }
    };
    assert_eq!(found(end(0)), Vec::<&str>::new());
    assert_eq!(found(end(1)), ["login.after_end"]);
    let revoked = |slack: u64| {
        move |world: &mut World| {
            certificate(world).at = T - 1000;
            certificate(world).revoked_at = Some(T + 10 - STATEMENT_WINDOW_S - slack);
        }
    };
    assert_eq!(found(revoked(0)), Vec::<&str>::new());
    assert_eq!(found(revoked(1)), ["login.after_revocation"]);
    let early = |world: &mut World| certificate(world).at = T + 10 + STATEMENT_WINDOW_S + 1;
    assert_eq!(found(early), ["login.before_issue"]);
}

#[test]
fn standing_access_is_found_once_a_way() {
    let foreign = Ed25519Key([2; 32]).fingerprint();
    let ways = found(|world| {
        for _ in 0..3 {
            let mut key = login("", 0, ca(), T);
            key.accepted.how = How::Key("ED25519 SHA256:abc".into());
            world.log.logins.push(key);
        }
        let mut password = login("", 0, ca(), T);
        password.accepted.how = How::Other("password".into());
        world.log.logins.push(password);
        world.log.logins.push(login("\u{1b}[2Jmallory", 12, foreign, T));
    });
    assert_eq!(ways, ["login.standing"; 3]);
}

#[test]
fn what_only_one_side_has_is_found() {
    assert_eq!(
        found(|world| world.log.logins.push(login("fireaxe/EM-1/ana/12", 12, ca(), T + 500))),
        ["login.unreported"]
    );
    let silent = |world: &mut World| {
        world.known.sessions.clear();
        world.disk.clear();
        world.known.reported.clear();
        world.known.hosts.get_mut(&DB_3.parse().unwrap()).unwrap().reports = false;
    };
    assert_eq!(found(silent), ["host.never_reports"]);
    assert_eq!(found(|world| world.log.logins.clear()), ["session.not_in_log"]);
    // A log that does not cover the time says nothing about it.
    let uncovered = |world: &mut World| {
        world.log.logins.clear();
        world.log.covers.insert(DB_3.parse().unwrap(), (T - 1000, T + 11 + APART_S - 1));
    };
    assert_eq!(found(uncovered), Vec::<&str>::new());
    assert_eq!(
        found(|world| world.known.sessions[0].unusual.push("session.unknown_serial".into())),
        ["session.unusual"]
    );
}

#[test]
fn recordings_that_are_not_what_sessions_say_are_found() {
    let unrecorded = |world: &mut World| {
        world.known.sessions[0].closed.as_mut().unwrap().names.clear();
        world.known.reported.clear();
        world.disk.clear();
    };
    assert_eq!(found(unrecorded), ["session.unrecorded"]);
    let mild = |world: &mut World| {
        unrecorded(world);
        certificate(world).record = Record::BestEffort;
    };
    assert_eq!(found(mild), ["session.unrecorded"]);
    for fine in [
        |world: &mut World| certificate(world).record = Record::None,
        |world: &mut World| world.known.sessions[0].closed = None,
        |world: &mut World| world.known.sessions[0].closed.as_mut().unwrap().why = EndReason::Refused,
        |world: &mut World| world.known.sessions[0].closed.as_mut().unwrap().all_listed = false,
    ] {
        let change = |world: &mut World| {
            unrecorded(world);
            fine(world);
        };
        assert_eq!(found(change), Vec::<&str>::new());
    }
    assert_eq!(found(|world| world.disk.clear()), ["recording.missing"]);
    let expired = |world: &mut World| {
        world.disk.clear();
        world.known.expired.insert((DB_3.parse().unwrap(), name(9)));
    };
    assert_eq!(found(expired), Vec::<&str>::new());
    assert_eq!(found(|world| world.disk[0].found.as_mut().unwrap().chunks = 4), ["recording.short"]);
    assert_eq!(found(|world| world.disk[0].found.as_mut().unwrap().bytes = 4), ["recording.differs"]);
    assert_eq!(found(|world| world.disk[0].fault = Some("cut".into())), ["recording.damaged"]);
    let stray = |connection: Option<Nonce>| {
        move |world: &mut World| {
            let stray = OnDisk { name: name(3), connection, ..world.disk[0].clone() };
            world.disk.push(stray);
        }
    };
    assert_eq!(found(stray(Some(name(4)))), ["recording.no_session"]);
    assert_eq!(found(stray(Some(name(8)))), ["recording.not_reported"]);
    let open = |world: &mut World| {
        stray(Some(name(8)))(world);
        world.known.sessions[0].closed = None;
    };
    assert_eq!(found(open), Vec::<&str>::new());
}

#[test]
fn what_is_owed_at_the_end_is_found() {
    let over = |world: &mut World| world.known.over.get_mut(&EmergencyId(1)).unwrap().reviewed = false;
    assert_eq!(found(over), ["review.overdue"]);
    assert_eq!(found(|world| world.known.confirmed.clear()), ["closing.unconfirmed"]);
    let joined_later = |world: &mut World| {
        world.known.confirmed.clear();
        world.known.hosts.get_mut(&DB_3.parse().unwrap()).unwrap().entry = 16;
    };
    assert_eq!(found(joined_later), Vec::<&str>::new());
    let mut world = world();
    world.known.confirmed.clear();
    let at = |now| codes(compare(&world.known, None, &world.disk, Window::default(), now));
    assert_eq!(at(T + 100 + CONFIRM_S), Vec::<&str>::new());
    assert_eq!(at(T + 100 + CONFIRM_S + 1), ["closing.unconfirmed"]);
}

#[test]
fn a_certificate_that_nobody_used_is_said_and_is_no_fault() {
    let unused = |world: &mut World| {
        let spare = Certificate { revoked_at: Some(T + 100), ..certificate(world).clone() };
        world.known.certificates.insert(20, spare);
    };
    let mut world = world();
    unused(&mut world);
    let mut compared = compare(&world.known, Some(&world.log), &world.disk, Window::default(), T + 10_000);
    assert_eq!(compared.findings.count_wrong(), 0);
    let listed = compared.findings.listed();
    assert_eq!((listed[0].code, listed[0].weight), ("certificate.unused", Weight::Info));
    assert!(listed[0].sentence.contains("lived 100 s"), "{}", listed[0].sentence);
    // One that others were made of for single hosts was used when they were.
    let base = |world: &mut World| {
        unused(world);
        certificate(world).within = Some(20);
    };
    assert_eq!(found(base), Vec::<&str>::new());
}

#[test]
fn what_lies_outside_the_window_is_not_looked_at() {
    let mut world = world();
    world.known.confirmed.clear();
    world.known.sessions[0].unusual.push("session.out_of_time".into());
    world.disk.clear();
    let later = Window { from: T + 1000, to: u64::MAX };
    let compared =
        compare(&world.known, Some(&SshdLog { of_sshd: 1, ..SshdLog::default() }), &[], later, T + 9000);
    assert_eq!(
        compared.summary,
        Summary { logins: Some(0), standing: Some(0), matched: Some(0), ..Summary::default() }
    );
    assert_eq!(codes(compared), Vec::<&str>::new());
}
