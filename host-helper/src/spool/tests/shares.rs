//! Who logs in in a loop while the CA is away, and what that does to others.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use fireaxe_protocol::host::{Change, Planted, PlantedKind, SessionClosed, SessionOpened};
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::Nonce;

use super::{Counting, alarm, closed, drain, open, opened};
use crate::spool::*;

/// Places in these tests: 16 of one holder, 96 of those that need not be recorded.
const PLACES: usize = 128;

fn connection(n: u64) -> Nonce {
    Nonce(u128::from(n).to_be_bytes())
}

fn begins(n: u64, record: Record) -> SessionOpened {
    let Report::SessionOpened(said) = opened(7) else { panic!() };
    SessionOpened { connection: connection(n), record, ..said }
}

fn ends(n: u64) -> SessionClosed {
    let Report::SessionClosed(said) = closed(7) else { panic!() };
    SessionClosed { connection: connection(n), ..said }
}

fn planted(n: u64) -> SessionClosed {
    let path = "/root/.ssh/authorized_keys".into();
    let found = Planted { kind: PlantedKind::AuthorizedKeys, path, change: Change::Changed, owner: Some(0) };
    SessionClosed { planted: vec![found], ..ends(n) }
}

fn small(dir: &Path) -> Arc<Spool> {
    let spool = open(dir);
    spool.inner().waiting.with_places(PLACES);
    spool
}

fn person(name: &str) -> PersonName {
    name.parse().unwrap()
}

/// Opens and, if that is taken, closes; gives whether it was.
fn logs_in(spool: &Spool, name: &str, n: u64, record: Record) -> bool {
    let taken = spool.opened(begins(n, record), Some(&person(name))).is_ok();
    if taken {
        spool.say(Report::SessionClosed(ends(n))).unwrap();
    }
    taken
}

/// The alarms that tell what is only counted, made due.
fn counted(spool: &Spool) -> Vec<Reason> {
    spool.inner().waiting.due(u64::MAX, 100).alarms()
}

#[test]
fn who_logs_in_in_a_loop_shuts_out_nobody_but_themselves_and_hides_no_report_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    assert!(logs_in(&spool, "ben", 1, Record::None));
    // Goes on without end, and is never refused: that need not be recorded.
    for n in 1000..3000 {
        assert!(logs_in(&spool, "ana", n, Record::None));
    }
    assert_eq!(spool.filled().reports, 2 + PLACES / 8);
    for n in 2..6 {
        assert!(logs_in(&spool, "ben", n, Record::Required), "{n}");
    }
    // What must be recorded goes on in the half that others leave her.
    assert!(logs_in(&spool, "ana", 4000, Record::Required));
    let told = counted(&spool);
    let [told] = &told[..] else { panic!("{told:?}") };
    let says = "1992 beginnings and 1992 ends";
    assert!(told.code == "spool.counted" && told.sentence.starts_with("ana "), "{told:?}");
    assert!(told.sentence.contains(says), "{told:?}");

    let ca = Rc::new(Counting::default());
    let taken = drain(&spool, &ca);
    let of = |n: u64| [Report::SessionOpened(begins(n, Record::None)), Report::SessionClosed(ends(n))];
    assert_eq!(taken[..4], [of(1), of(1000)].concat());
    assert_eq!(taken.len(), PLACES / 8 + 12);
}

#[test]
fn who_must_be_recorded_has_half_of_what_others_leave_and_is_told_beyond_that() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    let many = |who: &str, from: u64| {
        (from..).take_while(|n| logs_in(&spool, who, *n, Record::Required)).count() * 2
    };
    assert_eq!(
        [many("ana", 1000), many("ben", 2000), many("cleo", 3000)],
        [PLACES / 2, PLACES / 4, PLACES / 8]
    );
    let told = counted(&spool);
    assert!(told.iter().any(|told| told.sentence.contains("1 logins were refused")), "{told:?}");
}

#[test]
fn what_need_not_be_recorded_leaves_places_for_what_must_be() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for n in 0..200 {
        logs_in(&spool, &format!("p{}", n % 20), n, Record::BestEffort);
    }
    assert_eq!(spool.filled().reports, PLACES * 3 / 4);
    assert!(logs_in(&spool, "ben", 300, Record::Required));
}

#[test]
fn an_end_has_its_place_from_its_beginning_however_full_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for n in 0..PLACES as u64 {
        let who = person(&format!("p{n}"));
        let taken = spool.opened(begins(n, Record::Required), Some(&who)).is_ok();
        assert_eq!(taken, n < PLACES as u64 / 2, "{n}");
    }
    for n in 0..PLACES as u64 / 2 {
        spool.say(Report::SessionClosed(planted(n))).unwrap();
    }
    assert_eq!(spool.filled().reports, PLACES);
    // And one that nothing is known of, from before a restart.
    spool.say(Report::SessionClosed(planted(5000))).unwrap();
}

#[test]
fn what_was_planted_behind_a_flood_of_logins_is_told_in_full_and_at_last_in_the_count() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for n in 0..100 {
        assert!(logs_in(&spool, "ana", n, Record::None));
    }
    let share = PLACES as u64 / 8;
    for n in 100..100 + share {
        spool.opened(begins(n, Record::None), Some(&person("ana"))).unwrap();
        spool.say(Report::SessionClosed(planted(n))).unwrap();
    }
    assert_eq!(spool.filled().reports as u64, share + share / 2);
    let sentence = &counted(&spool)[0].sentence;
    assert!(sentence.contains(&format!("{} planted", share / 2)), "{sentence}");
    // A restart knows it, and who has how much.
    drop(spool);
    let spool = open(dir.path());
    assert!(counted(&spool)[0].sentence.contains(&format!("{} planted", share / 2)));
    assert_eq!(spool.filled().reports as u64, share + share / 2);
}

#[test]
fn a_restart_knows_whose_places_are_taken_and_which_ends_are_to_come() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    // Half of all places.
    let most = MOST as u64 / 4;
    for n in 0..most {
        spool.opened(begins(n, Record::Required), Some(&person("ana"))).unwrap();
    }
    drop(spool);
    let spool = open(dir.path());
    assert!(spool.opened(begins(9000, Record::Required), Some(&person("ana"))).is_err());
    assert!(spool.opened(begins(9001, Record::Required), Some(&person("ben"))).is_ok());
    for n in 0..most {
        spool.say(Report::SessionClosed(ends(n))).unwrap();
    }
    assert_eq!(spool.filled().reports as u64, 2 * most + 1);
    // What has left gives its place back.
    assert_eq!(drain(&spool, &Rc::default()).len() as u64, 2 * most + 1);
    assert!(spool.opened(begins(9002, Record::Required), Some(&person("ana"))).is_ok());
}

#[test]
fn the_hosts_own_words_have_places_of_their_own_and_what_finds_none_is_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for n in 0..shares::OWN + 3 {
        // Each an hour after the last.
        spool.inner().alarms.clear();
        assert_eq!(spool.say(alarm(&n.to_string())).is_ok(), n < shares::OWN);
    }
    assert!(logs_in(&spool, "ben", 1, Record::Required));
    assert_eq!(spool.filled().lost, 3);
    drop(spool);
    // At least half of the count is on the disk.
    let spool = open(dir.path());
    let lost = spool.filled().lost;
    assert!((2..=3).contains(&lost), "{lost}");
    let taken = drain(&spool, &Rc::default());
    assert_eq!(taken[0], Report::Alarmed(overflowed(lost)));
    assert_eq!((taken.len(), spool.filled().lost), (shares::OWN + 3, 0));
}

#[test]
fn a_count_is_told_once_it_is_old_enough_and_what_came_since_stays() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for n in 0..20 {
        logs_in(&spool, "ana", n, Record::None);
    }
    assert!(!spool.inner().waiting.due(clock::now(), 100).alarms().iter().any(|a| a.code == "spool.counted"));
    let due = spool.inner().waiting.due(u64::MAX, 100);
    assert!(due.alarms()[0].sentence.contains("12 beginnings and 12 ends"));
    logs_in(&spool, "ana", 30, Record::None);
    spool.inner().waiting.told(due).unwrap();
    assert!(counted(&spool)[0].sentence.contains("1 beginnings and 1 ends"));
    let due = spool.inner().waiting.due(u64::MAX, 100);
    spool.inner().waiting.told(due).unwrap();
    assert!(counted(&spool).is_empty());
    assert_eq!(fs::read(dir.path().join("counted.json")).unwrap(), b"[]");
}

#[test]
fn a_disk_that_takes_nothing_costs_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for n in 0..2 {
        spool.opened(begins(n, Record::Required), Some(&person("ana"))).unwrap();
    }
    // As root only what is in the place of a file refuses: the next 150.
    for file in 3..153 {
        fs::create_dir(dir.path().join(format!("{file:020}.json"))).unwrap();
    }
    for n in 2..52 {
        assert!(spool.opened(begins(n, Record::Required), Some(&person("ana"))).is_err());
        for end in 0..2 {
            assert!(spool.say(Report::SessionClosed(ends(end))).is_err());
        }
    }
    // An end that was said again and again is none that was lost.
    assert_eq!(spool.filled(), Filled { reports: 2, bytes: spool.filled().bytes, lost: 0, taken: 0 });
    for n in 0..2 {
        spool.say(Report::SessionClosed(ends(n))).unwrap();
    }
    // Her half of all, but for the two.
    let last = 50 + PLACES as u64 / 4;
    for n in 52..last {
        assert!(logs_in(&spool, "ana", n, Record::Required), "{n}");
    }
    assert!(!logs_in(&spool, "ana", last, Record::Required));
}

#[test]
fn what_was_said_later_is_not_sent_before_what_is_still_on_its_way_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    let said = spool.said(opened(1)).unwrap();
    let first = spool.inner().waiting.place(said, None).unwrap().unwrap();
    // The second is there before the first: nobody waits for anybody's disk.
    spool.opened(begins(2, Record::None), Some(&person("ben"))).unwrap();
    let ca = Rc::new(Counting::default());
    assert!(drain(&spool, &ca).is_empty());
    assert!(!spool.inner().has_something());
    let put = first.put();
    spool.inner().waiting.settle(first, put).unwrap();
    assert_eq!(drain(&spool, &ca), [opened(1), Report::SessionOpened(begins(2, Record::None))]);
}

#[test]
fn who_logs_in_without_end_while_the_ca_is_there_leaves_it_three_quarters_of_its_hour_for_others() {
    let mut shares = shares::Shares::of(MOST);
    let ana = person("ana");
    let mut kept = |n: u64, record, who: &PersonName, at| {
        let placed = shares.place(&Report::SessionOpened(begins(n, record)), Some(who), at);
        let is = matches!(placed, shares::Verdict::Kept(_));
        if is {
            let holder = shares::Holder::Person(who.clone());
            shares.place(&Report::SessionClosed(ends(n)), None, at);
            // The CA has both.
            shares.free(Some(&holder));
            shares.free(Some(&holder));
        }
        is
    };
    let most = shares::BEGINNINGS as u64;
    assert_eq!((0..2 * most).filter(|n| kept(*n, Record::None, &ana, 7200)).count() as u64, most);
    assert_eq!(2 * most, u64::from(limits::REPORTS_PER_HOUR) / 4);
    assert!(kept(5000, Record::None, &person("ben"), 7300) && kept(5001, Record::Required, &ana, 7300));
    assert!(!kept(5002, Record::None, &ana, 10_799) && kept(5003, Record::None, &ana, 10_800));
}
