//! What is sent again is the same, byte for byte; and what is not, and why.

use std::fs;
use std::rc::Rc;

use fireaxe_protocol::statement::Envelope;
use serde_json::{Value, json};

use super::{Counting, alarm, drain, open, opened, voice};
use crate::spool::*;

fn sent(spool: &Arc<Spool>, ca: &Rc<Counting>) -> Vec<Envelope> {
    let before = ca.seen.borrow().len();
    let _ = Sender::new(spool.clone(), ca.clone()).round().unwrap();
    ca.seen.borrow()[before..].to_vec()
}

/// The header's time of what was sent.
fn at(envelope: &Envelope) -> u64 {
    serde_json::from_str::<Value>(&envelope.statement).unwrap()["at"].as_u64().unwrap()
}

/// Makes everything older: what waits, what is in the batch, the count.
fn age(dir: &Path, by: u64) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let Ok(mut value) = serde_json::from_str::<Value>(&text) else { continue };
        let older = |at: &mut Value| *at = json!(at.as_u64().unwrap() - by);
        match &mut value {
            Value::Array(batch) => batch.iter_mut().for_each(|one| older(&mut one["said"]["at"])),
            said if said.get("report").is_some() => older(&mut said["at"]),
            state if state.get("since").is_some() => older(&mut state["since"]),
            _ => continue,
        }
        fs::write(entry.path(), value.to_string()).unwrap();
    }
}

#[test]
fn a_batch_without_an_answer_is_sent_again_with_the_same_bytes_whatever_is_said_or_restarted_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    for n in 1..=3 {
        spool.say(opened(n)).unwrap();
    }
    ca.answers_lost.set(5);
    let first = sent(&spool, &ca);
    assert_eq!(first.len(), 3);
    spool.say(alarm("meanwhile")).unwrap();
    assert_eq!(sent(&spool, &ca), first);
    drop(spool);
    // A restart; one that has another host certificate has the same key.
    let spool = open(dir.path());
    assert_eq!(sent(&spool, &ca), first);
    // Part of it is taken: what stays is the same.
    spool.numbers().taken(1).unwrap();
    drop(spool);
    let spool = open(dir.path());
    assert_eq!(sent(&spool, &ca), first[1..]);
    ca.answers_lost.set(0);
    assert_eq!(drain(&spool, &ca).len(), 4);
}

#[test]
fn a_batch_that_got_other_numbers_is_sent_again_with_the_bytes_of_those() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    ca.before.set(7);
    let spool = open(dir.path());
    spool.say(opened(1)).unwrap();
    ca.before.set(0);
    ca.answers_lost.set(1);
    let first = sent(&spool, &ca);
    // The CA has lost that it has it, and counts on from elsewhere.
    spool.numbers().renumber(8, &[], &voice()).unwrap();
    ca.forgets(7);
    ca.answers_lost.set(3);
    let second = sent(&spool, &ca);
    assert!(second != first && !second.is_empty());
    assert_eq!(sent(&spool, &ca), second);
    drop(spool);
    assert_eq!(sent(&open(dir.path()), &ca), second);
}

#[test]
fn a_host_that_was_set_back_loses_no_report_to_one_that_the_ca_has_under_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    for n in 1..=3 {
        spool.say(opened(n)).unwrap();
    }
    assert_eq!(drain(&spool, &ca).len(), 3);
    drop(spool);
    // An older image of the disk, and four new reports under numbers that are used.
    fs::remove_dir_all(dir.path()).unwrap();
    let spool = open(dir.path());
    let fresh: Vec<Report> = (11..=14).map(opened).collect();
    fresh.iter().for_each(|report| spool.say(report.clone()).unwrap());
    let taken = drain(&spool, &ca);
    assert_eq!(taken[3..7], fresh);
    assert!(matches!(&taken[7..], [Report::Alarmed(reason)] if reason.code == "spool.renumbered"));
}

/// A copy of the folder, as a disk that is set back.
fn image(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn is_renumbered(report: &Report) -> bool {
    matches!(report, Report::Alarmed(reason) if reason.code == "spool.renumbered")
}

#[test]
fn a_host_that_was_set_back_gives_new_numbers_only_to_what_the_ca_does_not_have_word_for_word() {
    // (waiting when the disk was copied, said then that the CA has, said after it was set back)
    for (waiting, lost, fresh) in [(2, 1, 2), (1, 2, 3), (2, 2, 1), (3, 1, 5), (1, 1, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let ca = Rc::new(Counting::default());
        let spool = open(dir.path());
        let what: Vec<Report> = (1..=waiting + lost).map(opened).collect();
        what[..waiting as usize].iter().for_each(|report| spool.say(report.clone()).unwrap());
        let image = image(dir.path());
        what[waiting as usize..].iter().for_each(|report| spool.say(report.clone()).unwrap());
        assert_eq!(drain(&spool, &ca), what);
        drop(spool);

        let spool = open(image.path());
        let new: Vec<Report> = (11..11 + fresh).map(opened).collect();
        new.iter().for_each(|report| spool.say(report.clone()).unwrap());
        // What has no number goes first, and its answer says how far the CA is.
        spool
            .say(Report::Confirmed(Confirmed { version: 9, krl: Hash([9; 32]), in_force_at: 5, ended: 0 }))
            .unwrap();
        let taken = drain(&spool, &ca);
        let (alarms, reports): (Vec<Report>, Vec<Report>) = taken.into_iter().partition(is_renumbered);
        assert_eq!(reports, [what, new].concat(), "{waiting} {lost} {fresh}");
        assert_eq!(alarms.len(), 1);
    }
}

#[test]
fn a_batch_that_the_ca_has_whole_is_done_with_though_the_ca_is_further_and_the_next_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    (1..=2).for_each(|n| spool.say(opened(n)).unwrap());
    ca.away.set(true);
    let _ = sent(&spool, &ca);
    spool.say(opened(3)).unwrap();
    let image = image(dir.path());
    ca.away.set(false);
    assert_eq!(drain(&spool, &ca).len(), 3);
    // One batch of two, and a file: the CA has all three.
    let spool = open(image.path());
    assert_eq!(drain(&spool, &ca), (1..=3).map(opened).collect::<Vec<_>>());
    assert_eq!(spool.filled(), Filled { reports: 0, bytes: 0, lost: 0, taken: 3 });
}

#[test]
fn one_report_that_is_sent_alone_acknowledges_no_other_of_its_batch() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    spool.say(opened(1)).unwrap();
    let image = image(dir.path());
    spool.say(opened(2)).unwrap();
    assert_eq!(drain(&spool, &ca).len(), 2);
    // Set back, with a second of its own; the answer to the first alone names the number of that.
    let spool = open(image.path());
    spool.say(opened(12)).unwrap();
    let mut sender = Sender::new(spool.clone(), ca.clone());
    sender.alone = true;
    assert_eq!(sender.round().unwrap(), Round::Again);
    assert_eq!(drain(&spool, &ca)[2], opened(12));
}

#[test]
fn the_answer_to_news_acknowledges_no_report_that_the_ca_never_compared() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    (1..=3).for_each(|n| spool.say(opened(n)).unwrap());
    assert_eq!(drain(&spool, &ca).len(), 3);
    drop(spool);
    // Set back; three new reports have the numbers of those, and have not been sent when something else is.
    fs::remove_dir_all(dir.path()).unwrap();
    let spool = open(dir.path());
    let fresh: Vec<Report> = (11..=13).map(opened).collect();
    fresh.iter().for_each(|report| spool.say(report.clone()).unwrap());
    ca.away.set(true);
    let _ = sent(&spool, &ca);
    assert_eq!(spool.numbers().there().len(), 3);
    ca.away.set(false);
    let list = Confirmed { version: 9, krl: Hash([9; 32]), in_force_at: 5, ended: 0 };
    spool.say(Report::Confirmed(list)).unwrap();
    let taken = drain(&spool, &ca);
    assert_eq!(ca.news.borrow().len(), 1);
    assert_eq!(taken[3..6], fresh);
}

#[test]
fn a_crash_between_the_two_files_of_a_new_count_drops_nothing() {
    for (new, kept) in [(3, "state.json"), (3, "batch.json"), (20, "state.json"), (20, "batch.json")] {
        let dir = tempfile::tempdir().unwrap();
        let ca = Rc::new(Counting::default());
        ca.before.set(7);
        let spool = open(dir.path());
        spool.say(opened(1)).unwrap();
        // The CA's count is known: the batch has number 8.
        let _ = sent(&spool, &ca);
        ca.away.set(true);
        let _ = sent(&spool, &ca);
        assert_eq!(spool.numbers().there()[0].seq, 8);
        // Only one of the two files is written: what is in the other's place refuses.
        let blocked = dir.path().join(format!(".{kept}.new"));
        fs::create_dir(&blocked).unwrap();
        assert!(spool.numbers().renumber(new, &[], &voice()).is_err());
        drop(spool);
        fs::remove_dir(&blocked).unwrap();
        ca.away.set(false);
        ca.before.set(new - 1);
        let taken = drain(&open(dir.path()), &ca);
        assert!(taken.contains(&opened(1)), "{new} {kept}: {taken:?}");
    }
}

#[test]
fn after_a_new_enrolment_what_was_said_before_is_taken_with_its_own_times_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    // Four are in a batch, two wait.
    for n in 1..=5 {
        spool.say(opened(n)).unwrap();
    }
    spool.say(alarm("of long ago")).unwrap();
    ca.away.set(true);
    let _ = sent(&spool, &ca);
    assert_eq!(spool.numbers().there().len(), 4);
    drop(spool);
    age(dir.path(), 100_000);
    let said = clock::now() - 100_000;
    ca.away.set(false);
    ca.enrolled_at.set(clock::now());
    let spool = Arc::new(Spool::open(dir.path(), voice(), Some(Hash([2; 32]))).unwrap());
    let taken = drain(&spool, &ca);
    assert_eq!(taken[..5], (1..=5).map(opened).collect::<Vec<_>>());
    let Report::Alarmed(reason) = &taken[5] else { panic!("{taken:?}") };
    assert!(reason.sentence.starts_with("of long ago (said at "), "{reason:?}");
    let told: u64 = reason.sentence[21..].trim_end_matches(')').parse().unwrap();
    assert!(told.abs_diff(said) < 600, "{reason:?}");
    assert_eq!(taken.len(), 6);
    assert!(ca.seen.borrow().iter().all(|envelope| at(envelope) >= ca.enrolled_at.get()));
}

#[test]
fn a_host_that_was_enrolled_anew_while_its_daemon_ran_gives_what_waits_the_time_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    for n in 1..=6 {
        spool.say(opened(n)).unwrap();
    }
    drop(spool);
    age(dir.path(), 100_000);
    let spool = open(dir.path());
    ca.enrolled_at.set(clock::now() - 10);
    assert_eq!(drain(&spool, &ca), (1..=6).map(opened).collect::<Vec<_>>());
    // A clock that is behind the CA's: no newer time helps, and the one that is refused stops no other.
    ca.enrolled_at.set(clock::now() + 5000);
    spool.say(opened(7)).unwrap();
    let mut sender = Sender::new(spool.clone(), ca.clone());
    assert_eq!(sender.round().unwrap(), Round::Later);
    assert!(fs::read_dir(dir.path().join("damaged")).unwrap().count() == 1, "not set aside");
}
