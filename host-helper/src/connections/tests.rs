//! The registry without a daemon around it: what the hook left, what comes of an end.

use std::process::{Child, Command};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::host::{Report, SessionClosed};

use super::record::Waiting;
use super::*;
use crate::clock::Deadline;
use crate::login::judge::tests::{Made, config};
use crate::processes::{Mark, ProcessId};

#[derive(Default)]
struct Heard(Mutex<Vec<Report>>);

impl Reports for Heard {
    fn say(&self, report: Report) -> Result<(), HostError> {
        self.0.lock().unwrap().push(report);
        Ok(())
    }
}

impl Heard {
    #[track_caller]
    fn closed(&self) -> SessionClosed {
        let deadline = Deadline::after(Duration::from_secs(30));
        loop {
            let found = self.0.lock().unwrap().iter().find_map(|report| match report {
                Report::SessionClosed(closed) => Some(closed.clone()),
                _ => None,
            });
            match found {
                Some(closed) => return closed,
                None => assert!(deadline.left().is_some(), "no end was told"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A registry that takes up a login which the hook left, on a host that admits nobody any more.
fn taken_up(mark: Mark) -> (tempfile::TempDir, Arc<Heard>) {
    let (dir, heard) = (tempfile::tempdir().unwrap(), Arc::new(Heard::default()));
    let (run, state) = (dir.path().join("run"), dir.path().join("state"));
    let certificate = STANDARD.encode(Made::good().certificate());
    let (account, from) = ("ops".parse().unwrap(), "192.0.2.7".into());
    record::leave(&run, Nonce([1; 16]), &Waiting { mark, account, from, at: 1_700_000_000, certificate })
        .unwrap();
    let registry = Registry::open(Setup {
        config: Arc::new(crate::config::Config { state, ..config() }),
        reports: heard.clone(),
        run,
        cgroups: Cgroups::none(),
        now: Moment::now,
    });
    let registry = registry.unwrap();
    std::thread::spawn(move || registry.keep());
    (dir, heard)
}

#[test]
fn a_login_that_the_hook_left_and_that_may_not_be_is_ended_with_what_it_started_and_told() {
    let shell = Killed(Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn().unwrap());
    let monitor = Process::read(shell.0.id()).unwrap().id;
    let deadline = Deadline::after(Duration::from_secs(30));
    let child = loop {
        let child = Process::all().into_iter().find(|process| process.parent == monitor.pid);
        match child {
            Some(child) if child.program().as_deref() == Some("sleep") => break child.id,
            _ => assert!(deadline.left().is_some(), "nothing was started"),
        }
    };
    let (_dir, heard) = taken_up(Mark { monitor, session: None, cgroups: Vec::new() });
    let closed = heard.closed();
    assert_eq!((closed.serial, closed.why, closed.swept.left), (2, EndReason::Refused, 0));
    assert!(Process::read(child.pid).is_none_or(|process| process.id != child || process.zombie));
    let Report::SessionOpened(opened) = heard.0.lock().unwrap()[0].clone() else { panic!("not told") };
    assert_eq!((opened.connection, opened.at), (closed.connection, 1_700_000_000));
}

#[test]
fn a_login_that_the_hook_left_and_that_is_over_is_told() {
    let gone = ProcessId { pid: std::process::id(), start: 1 };
    let (dir, heard) = taken_up(Mark { monitor: gone, session: None, cgroups: Vec::new() });
    assert_eq!(heard.closed().why, EndReason::Left);
    assert!(matches!(heard.0.lock().unwrap()[..], [Report::SessionOpened(_), Report::SessionClosed(_)]));
    assert!(!dir.path().join("run").join(format!("{}.waiting", Nonce([1; 16]))).exists());
}
