//! What the spool keeps, sends and forgets, also when it is ended half-way.

mod numbers;
mod shares;

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::Problem;
use fireaxe_protocol::host::{EndReason, SessionClosed, SessionOpened, Swept};
use fireaxe_protocol::limits;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::{Claimed, EnrolledKey, Nonce};
use fireaxe_transport::TransportError;

use super::*;

/// A CA that counts as ours does, and does not trust what it is sent.
#[derive(Debug, Default)]
struct Counting {
    taken: RefCell<Vec<Report>>,
    news: RefCell<Vec<Report>>,
    /// What was sent, in the order it came, taken or not.
    seen: RefCell<Vec<Envelope>>,
    away: Cell<bool>,
    answers_lost: Cell<u32>,
    /// It takes no report whose text holds this.
    dislikes: RefCell<Option<&'static str>>,
    confirm: Cell<Option<u64>>,
    /// Numbers that it has from before.
    before: Cell<u64>,
    /// What it took, as it came.
    words: RefCell<Vec<Envelope>>,
    /// When the host was enrolled, by its own clock; it takes nothing that was said earlier.
    enrolled_at: Cell<u64>,
}

fn lost() -> TransportError {
    TransportError::Lost { addr: "https://127.0.0.1:1".into(), why: "x".into() }
}

fn problem(status: u16, expected: Option<u64>) -> TransportError {
    refusal(status, "x", expected)
}

fn refusal(status: u16, code: &str, expected: Option<u64>) -> TransportError {
    refusal_of(status, code, expected, Vec::new())
}

fn refusal_of(status: u16, code: &str, expected: Option<u64>, logged: Vec<u64>) -> TransportError {
    let json = serde_json::json!({
        "type": "t", "title": "no", "status": status, "code": code,
        "reasons": [{ "code": code, "sentence": "no" }], "expected": expected, "logged": logged
    });
    TransportError::Problem(Box::new(serde_json::from_value::<Problem>(json).unwrap()))
}

impl Counting {
    fn last(&self) -> u64 {
        self.before.get() + self.taken.borrow().len() as u64
    }

    /// It has lost what it had, but for a count.
    fn forgets(&self, before: u64) {
        self.taken.borrow_mut().clear();
        self.words.borrow_mut().clear();
        self.before.set(before);
    }

    /// Whether this is what it has under the number, if that is one of the last four.
    fn has(&self, seq: u64, envelope: &Envelope) -> bool {
        let place = seq.checked_sub(self.before.get() + 1);
        let words = self.words.borrow();
        let there = place.and_then(|place| words.get(place as usize));
        self.is_remembered(seq) && there == Some(envelope)
    }

    fn is_remembered(&self, seq: u64) -> bool {
        seq > 0 && seq <= self.last() && self.last() - seq < Batch::MOST as u64
    }

    fn refuses(&self, reports: &[Envelope], seq: u64) -> TransportError {
        let code = if self.is_remembered(seq) { "report.other_words" } else { "report.gap" };
        let numbers = reports.iter().map(|envelope| (seq_of(envelope), envelope));
        let logged = numbers.filter(|(seq, envelope)| self.has(*seq, envelope)).map(|(seq, _)| seq);
        refusal_of(409, code, Some(self.last() + 1), logged.collect())
    }
}

impl Courier for Rc<Counting> {
    fn carry(&self, reports: Vec<Envelope>) -> Result<ReportsTaken, TransportError> {
        assert!(!reports.is_empty() && reports.len() <= Batch::MOST);
        if self.away.get() {
            return Err(lost());
        }
        for envelope in reports.clone() {
            self.seen.borrow_mut().push(envelope.clone());
            if self.dislikes.borrow().is_some_and(|text| envelope.statement.contains(text)) {
                return Err(problem(422, None));
            }
            let key = EnrolledKey::read(&key().public().to_string()).unwrap();
            let signed = Claimed::read(envelope).unwrap().verify(&key).unwrap();
            let Statement::Report(said) = &signed.statement else { panic!() };
            if said.seq > 0 && said.header.at < self.enrolled_at.get() {
                return Err(refusal(409, "report.before_enrolment", None));
            }
            match said.seq {
                0 => self.news.borrow_mut().push(said.report.clone()),
                seq if seq <= self.last() => {
                    if !self.has(seq, &signed.envelope) {
                        return Err(self.refuses(&reports, seq));
                    }
                }
                seq if seq == self.last() + 1 => {
                    self.taken.borrow_mut().push(said.report.clone());
                    self.words.borrow_mut().push(signed.envelope);
                }
                _ => return Err(problem(409, Some(self.last() + 1))),
            }
        }
        if self.answers_lost.get() > 0 {
            self.answers_lost.set(self.answers_lost.get() - 1);
            return Err(lost());
        }
        let confirm = self.confirm.get();
        Ok(ReportsTaken { schema: "fireaxe.reports-taken/v1".into(), seq: self.last(), confirm })
    }
}

fn seq_of(envelope: &Envelope) -> u64 {
    serde_json::from_str::<serde_json::Value>(&envelope.statement).unwrap()["seq"].as_u64().unwrap()
}

fn key() -> HostKey {
    HostKey::of(SigningKey::from_bytes(&[4; 32]))
}

fn voice() -> Voice {
    Voice {
        key: Arc::new(key()),
        origin: "ca.example/0123456789abcdef".parse().unwrap(),
        host: "db-3.payments.prod".parse().unwrap(),
    }
}

fn opened(n: u64) -> Report {
    Report::SessionOpened(SessionOpened {
        connection: Nonce([0; 16]),
        serial: n,
        account: "ops".parse().unwrap(),
        from: "192.0.2.1".parse().unwrap(),
        at: 1,
        record: Record::None,
    })
}

fn closed(n: u64) -> Report {
    Report::SessionClosed(SessionClosed {
        connection: Nonce([0; 16]),
        serial: n,
        at: 1,
        why: EndReason::Left,
        swept: Swept::default(),
        recordings: Vec::new(),
        planted: Vec::new(),
        more: 0,
    })
}

fn alarm(text: &str) -> Report {
    Report::Alarmed(Reason::new("test.alarm", text))
}

fn open(dir: &Path) -> Arc<Spool> {
    Arc::new(Spool::open(dir, voice(), Some(Hash([1; 32]))).unwrap())
}

fn drain(spool: &Arc<Spool>, ca: &Rc<Counting>) -> Vec<Report> {
    let mut sender = Sender::new(spool.clone(), ca.clone());
    for _ in 0..10_000 {
        if sender.round().unwrap() == Round::Idle {
            break;
        }
    }
    ca.taken.borrow().clone()
}

#[test]
fn what_was_said_in_an_outage_arrives_in_order_and_once_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    ca.away.set(true);
    for n in 1..=7 {
        spool.say(opened(n)).unwrap();
        assert_eq!(Sender::new(spool.clone(), ca.clone()).round().unwrap(), Round::Later);
    }
    drop(spool);
    let spool = open(dir.path());
    spool.say(opened(8)).unwrap();
    ca.away.set(false);
    let expected: Vec<Report> = (1..=8).map(opened).collect();
    assert_eq!(drain(&spool, &ca), expected);
    drop(spool);
    assert_eq!(drain(&open(dir.path()), &ca), expected);
    assert_eq!(open(dir.path()).filled(), Filled { reports: 0, bytes: 0, lost: 0, taken: 8 });
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    spool.say(opened(1)).unwrap();
    ca.answers_lost.set(1);
    assert_eq!(Sender::new(spool.clone(), ca.clone()).round().unwrap(), Round::Later);
    spool.say(opened(2)).unwrap();
    drop(spool);
    assert_eq!(drain(&open(dir.path()), &ca), [opened(1), opened(2)]);
    let seen = ca.seen.borrow();
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_crash_between_any_two_steps_of_a_batch_loses_nothing_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    spool.say(opened(1)).unwrap();
    let file = dir.path().join("00000000000000000001.json");
    let kept = fs::read(&file).unwrap();
    ca.away.set(true);
    Sender::new(spool.clone(), ca.clone()).round().unwrap();
    // The batch is written, the file not removed yet.
    assert!(!file.exists());
    fs::write(&file, &kept).unwrap();
    let batch = fs::read(dir.path().join("batch.json")).unwrap();
    let spool = open(dir.path());
    assert!(!file.exists());
    ca.away.set(false);
    assert_eq!(drain(&spool, &ca), [opened(1)]);
    // The state is written, the batch not removed yet, and the file's removal was not on the disk.
    fs::write(dir.path().join("batch.json"), &batch).unwrap();
    fs::write(&file, &kept).unwrap();
    let spool = open(dir.path());
    spool.say(opened(2)).unwrap();
    assert_eq!(drain(&spool, &ca), [opened(1), opened(2)]);
    assert_eq!(ca.seen.borrow().len(), 2);
}

#[test]
fn files_that_cannot_be_read_are_set_aside_with_an_alarm_and_stop_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    for n in 1..=3 {
        spool.say(opened(n)).unwrap();
    }
    drop(spool);
    // Cut in the middle, as a crash while it was written leaves it.
    let second = dir.path().join("00000000000000000002.json");
    let text = fs::read(&second).unwrap();
    fs::write(&second, &text[..text.len() / 2]).unwrap();
    fs::write(dir.path().join("state.json"), "{").unwrap();
    fs::write(dir.path().join("batch.json"), b"\xff\0").unwrap();
    fs::write(dir.path().join("lost.json"), "x").unwrap();
    let taken = drain(&open(dir.path()), &ca);
    assert_eq!(taken[..2], [opened(1), opened(3)]);
    assert_eq!(taken.len(), 6, "{taken:?}");
    assert!(taken[2..].iter().all(|r| matches!(r, Report::Alarmed(r) if r.code == "spool.damaged")));
    assert_eq!(fs::read_dir(dir.path().join("damaged")).unwrap().count(), 4);
}

#[test]
fn nobody_but_root_enters_the_folder_also_one_that_was_open_before() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path());
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_disk_that_takes_nothing_keeps_the_spool_from_being_opened_no_more_than_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.say(opened(1)).unwrap();
    drop(spool);
    // One cannot be read nor set aside, the count of another enrolment cannot be written: as root only what
    // is in the place of a file, or of a folder, refuses.
    fs::create_dir(dir.path().join("batch.json")).unwrap();
    fs::write(dir.path().join("damaged"), "").unwrap();
    fs::write(dir.path().join("state.json"), r#"{"enrolment":null,"next":1,"done":0}"#).unwrap();
    fs::create_dir(dir.path().join(".state.json.new")).unwrap();
    let spool = Spool::open(dir.path(), voice(), Some(Hash([7; 32]))).unwrap();
    // The report and the alarm.
    assert_eq!(spool.filled().reports, 2);
}

#[test]
fn a_new_enrolment_counts_from_one_also_what_had_a_number_by_the_old_count() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    spool.say(opened(1)).unwrap();
    drain(&spool, &ca);
    spool.say(opened(2)).unwrap();
    ca.away.set(true);
    Sender::new(spool.clone(), ca).round().unwrap();
    drop(spool);
    let again = Rc::new(Counting::default());
    let spool = Arc::new(Spool::open(dir.path(), voice(), Some(Hash([2; 32]))).unwrap());
    spool.say(opened(3)).unwrap();
    assert_eq!(drain(&spool, &again), [opened(2), opened(3)]);
}

#[test]
fn a_count_that_was_set_back_goes_on_where_the_ca_is_and_says_so() {
    // Here: the state is lost, and the CA has seven.
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    ca.before.set(7);
    let spool = open(dir.path());
    for n in 1..=3 {
        spool.say(opened(n)).unwrap();
    }
    let renumbered = |report: &Report| matches!(report, Report::Alarmed(r) if r.code == "spool.renumbered");
    let taken = drain(&spool, &ca);
    assert_eq!(taken[..3], [opened(1), opened(2), opened(3)]);
    assert!(renumbered(&taken[3]) && taken.len() == 4);

    // There: the CA has lost what it had.
    ca.forgets(2);
    spool.say(opened(4)).unwrap();
    let taken = drain(&spool, &ca);
    assert_eq!(taken[0], opened(4));
    assert!(renumbered(&taken[1]) && taken.len() == 2);
}

#[test]
fn a_report_that_the_ca_never_takes_gives_its_number_to_an_alarm_and_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    for report in [opened(1), closed(2), opened(3)] {
        spool.say(report).unwrap();
    }
    *ca.dislikes.borrow_mut() = Some("session_closed");
    let taken = drain(&spool, &ca);
    assert_eq!((&taken[0], &taken[2]), (&opened(1), &opened(3)));
    assert!(matches!(&taken[1], Report::Alarmed(r) if r.code == "spool.refused"), "{:?}", taken[1]);
    assert_eq!(taken.len(), 3);
}

#[test]
fn alarms_past_the_bound_have_no_number_and_only_the_newest_heartbeat_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    for n in 0..ALARMS_PER_HOUR + 2 {
        spool.say(alarm(&n.to_string())).unwrap();
    }
    let beat = |sessions| {
        Report::Heartbeat(Heartbeat {
            krl_version: 1,
            krl_age_s: 1,
            head: None,
            ahead: None,
            mode: fireaxe_protocol::host::Mode::Stock,
            helper: "0".into(),
            openssh: "x".into(),
            sessions,
            spooled: 0,
            drift: Vec::new(),
            strays: Vec::new(),
            more: 0,
        })
    };
    spool.say(beat(1)).unwrap();
    spool.say(beat(2)).unwrap();
    assert_eq!(drain(&spool, &ca).len(), ALARMS_PER_HOUR);
    assert_eq!(ca.news.borrow().len(), 3);
    assert_eq!(ca.news.borrow()[0], beat(2));
}

#[test]
fn a_confirmation_is_news_at_once_and_has_a_number_when_the_ca_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    let confirmed =
        |version| Report::Confirmed(Confirmed { version, krl: Hash([0; 32]), in_force_at: 1, ended: 0 });
    ca.confirm.set(Some(9));
    spool.say(confirmed(8)).unwrap();
    ca.away.set(true);
    assert_eq!(Sender::new(spool.clone(), ca.clone()).round().unwrap(), Round::Later);
    ca.away.set(false);
    assert!(drain(&spool, &ca).is_empty());
    spool.say(confirmed(9)).unwrap();
    assert_eq!(drain(&spool, &ca), [confirmed(9)]);
    assert_eq!(*ca.news.borrow(), [confirmed(8)], "what has a number is not said without one too");
    // It goes on asking until it has read the log: it gets no second one.
    spool.say(opened(1)).unwrap();
    assert_eq!(drain(&spool, &ca), [confirmed(9), opened(1)]);
}

#[test]
fn a_confirmation_that_was_asked_for_before_is_said_once_and_with_a_number() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    let confirmed =
        |version| Report::Confirmed(Confirmed { version, krl: Hash([0; 32]), in_force_at: 1, ended: 0 });
    // The feed asks for 9 while 8 is in force.
    spool.owed(9).unwrap();
    spool.say(confirmed(8)).unwrap();
    spool.say(confirmed(9)).unwrap();
    assert_eq!(drain(&spool, &ca), [confirmed(9)]);
    assert!(ca.news.borrow().is_empty(), "{:?}", ca.news);
    // Nobody asked for what comes next.
    spool.say(confirmed(10)).unwrap();
    assert_eq!(drain(&spool, &ca), [confirmed(9)]);
    assert_eq!(*ca.news.borrow(), [confirmed(10)]);
}

#[test]
fn a_report_is_cut_to_a_statements_length_and_says_how_much_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Rc::new(Counting::default());
    let spool = open(dir.path());
    let Report::SessionClosed(mut long) = closed(1) else { panic!() };
    long.planted = (0..60)
        .map(|n| fireaxe_protocol::host::Planted {
            kind: fireaxe_protocol::host::PlantedKind::Setuid,
            path: format!("/{n}{}", "x".repeat(250)),
            change: fireaxe_protocol::host::Change::Appeared,
            owner: None,
        })
        .collect();
    spool.say(Report::SessionClosed(long)).unwrap();
    spool.say(alarm(&"é".repeat(5000))).unwrap();
    let taken = drain(&spool, &ca);
    let Report::SessionClosed(closed) = &taken[0] else { panic!() };
    assert_eq!(closed.planted.len() + closed.more as usize, 60);
    assert!(closed.planted.len() > 15);
    assert!(ca.seen.borrow().iter().all(|envelope| envelope.statement.len() <= limits::STATEMENT));
}
