//! Waking people. The log says who was asked; a program of the operator's choice carries it to them.
//!
//! Never on the path of a request: pages are handed over after the commit, to a thread of its own with a
//! bounded queue. A page that cannot be handed over is counted and logged; the ladder goes on by its own
//! clock, so the next rung is called all the same.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fireaxe_protocol::names::{EmergencyId, HostName, PersonName, SystemName, TierName};
use serde::Serialize;

/// One person asked about one request. What stands in it is no secret, and nothing can be approved with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Who is asked.
    pub to: PersonName,
    /// About which emergency.
    pub emergency: EmergencyId,
    /// On which rung of the ladder, from 0.
    pub rung: u8,
    /// Who asks.
    pub person: PersonName,
    /// A rehearsal, by their word; what it gives is real.
    pub drill: bool,
    /// For which system.
    pub system: SystemName,
    /// For which host, if one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// Which tier waits.
    pub tier: TierName,
    /// When the request lapses, unix seconds.
    pub until: u64,
    /// What else waits for this person: beside the page, never instead of it.
    pub also: Vec<EmergencyId>,
}

/// Takes pages off the writer's hands.
#[derive(Debug, Clone)]
pub struct Pager {
    queue: Arc<Handed>,
}

/// Pages that wait for the program: a ladder has few people, and one that hangs is ended after [`PATIENCE`].
const QUEUE: usize = 1024;
/// Emergencies that one page names beside its own: more than anybody looks through when woken.
const ALSO: usize = 256;
/// How long the program may take for one page.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether it is done.
const LOOK: Duration = Duration::from_millis(20);

impl Pager {
    /// A pager that gives each page to `deliver`, one after the other, on a thread of its own.
    pub fn start(mut deliver: impl FnMut(&Page) + Send + 'static) -> std::io::Result<Pager> {
        let queue = Arc::new(Queue::default());
        let taken = queue.clone();
        std::thread::Builder::new().name("pager".into()).spawn(move || {
            while let Some(page) = taken.next() {
                deliver(&page);
            }
        })?;
        Ok(Pager { queue: Arc::new(Handed(queue)) })
    }

    /// Hands a page over, or drops it: the log has who was asked.
    pub(super) fn page(&self, page: Page) {
        let (to, emergency) = (page.to.clone(), page.emergency);
        if let Err(why) = self.queue.0.put(page) {
            tracing::error!(event = "page.dropped", %to, %emergency, why);
        }
    }
}

/// The writer's end: once the last of it is gone, the thread ends after what is queued.
#[derive(Debug)]
struct Handed(Arc<Queue>);

impl Drop for Handed {
    fn drop(&mut self) {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.0.more.notify_all();
    }
}

#[derive(Debug, Default)]
struct Queue {
    pages: Mutex<Pages>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Pages {
    queued: VecDeque<Page>,
    ended: bool,
}

impl Queue {
    /// At most one page of the same person for the same person waits: what they ask beside it is named in its
    /// `also`. So nobody's flood pushes out another's page, and the first page of it is never lost. `Err`: why
    /// it is dropped.
    fn put(&self, page: Page) -> Result<(), &'static str> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |queued: &&mut Page| queued.to == page.to && queued.person == page.person;
        if let Some(first) = pages.queued.iter_mut().find(same) {
            if first.emergency == page.emergency || first.also.contains(&page.emergency) {
                return Err("a page that waits names it already");
            }
            if first.also.len() >= ALSO {
                return Err("the page that waits names many already");
            }
            first.also.push(page.emergency);
            return Ok(());
        }
        if pages.queued.len() >= QUEUE {
            return Err("too many pages wait");
        }
        pages.queued.push_back(page);
        self.more.notify_one();
        Ok(())
    }

    /// The oldest page, once there is one; `None` at the end.
    fn next(&self) -> Option<Page> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(page) = pages.queued.pop_front() {
                return Some(page);
            }
            if pages.ended {
                return None;
            }
            pages = self.more.wait(pages).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs `program` for a page, which it reads as one JSON object (`fireaxe.page/v1`) from its standard input.
/// No shell, no arguments. It has [`PATIENCE`]; then it is killed.
pub fn deliver_by(program: PathBuf) -> impl FnMut(&Page) + Send {
    move |page| {
        if let Err(error) = hand_to(&program, page) {
            tracing::error!(event = "page.failed", to = %page.to, emergency = %page.emergency, %error);
        }
    }
}

fn hand_to(program: &PathBuf, page: &Page) -> std::io::Result<()> {
    #[derive(Serialize)]
    struct Told<'a> {
        schema: &'static str,
        #[serde(flatten)]
        page: &'a Page,
    }
    let text = serde_json::to_vec(&Told { schema: "fireaxe.page/v1", page })?;
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let written = match child.stdin.take() {
        // Smaller than a pipe's buffer: a program that does not read cannot hold this thread.
        Some(mut input) => input.write_all(&text),
        None => Ok(()),
    };
    let tries = PATIENCE.as_millis() / LOOK.as_millis();
    for _ in 0..tries {
        if let Some(status) = child.try_wait()? {
            // One that does not read its input has still been told by being run.
            let unread = written.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
            return match (status.success(), written) {
                (true, Err(error)) if !unread => Err(error),
                (true, _) => Ok(()),
                (false, _) => Err(std::io::Error::other(format!("the program ended with {status}"))),
            };
        }
        std::thread::sleep(LOOK);
    }
    child.kill()?;
    child.wait()?;
    Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the program took too long and was ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(person: &str, to: &str, emergency: u64) -> Page {
        Page {
            to: to.parse().unwrap(),
            emergency: EmergencyId(emergency),
            rung: 0,
            person: person.parse().unwrap(),
            drill: false,
            system: "payments-db".parse().unwrap(),
            host: None,
            tier: "guarded".parse().unwrap(),
            until: 1_795_416_501,
            also: Vec::new(),
        }
    }

    #[test]
    fn one_persons_flood_pushes_out_nobodys_page_and_is_named_in_its_first() {
        let queue = Queue::default();
        for emergency in 1..=2000 {
            let _ = queue.put(page("ana", "ben", emergency));
        }
        assert_eq!(queue.put(page("eve", "ben", 2001)), Ok(()));
        assert_eq!(queue.put(page("ana", "dan", 1)), Ok(()));
        let first = queue.next().unwrap();
        assert_eq!((first.person.as_str(), first.emergency), ("ana", EmergencyId(1)), "the first is kept");
        let also: Vec<EmergencyId> = (2..2 + 256).map(EmergencyId).collect();
        assert_eq!(first.also, also);
        let rest = [queue.next().unwrap(), queue.next().unwrap()];
        assert_eq!(rest, [page("eve", "ben", 2001), page("ana", "dan", 1)]);
        // Once it is handed on, the next is a page again.
        assert_eq!(queue.put(page("ana", "ben", 3)), Ok(()));
        assert_eq!(queue.next(), Some(page("ana", "ben", 3)));
    }

    #[test]
    fn what_a_waiting_page_names_is_not_told_again() {
        let queue = Queue::default();
        queue.put(page("ana", "ben", 1)).unwrap();
        assert!(queue.put(page("ana", "ben", 1)).is_err(), "its next rung");
        queue.put(page("ana", "ben", 2)).unwrap();
        assert!(queue.put(page("ana", "ben", 2)).is_err());
        assert_eq!(queue.next().unwrap().also, [EmergencyId(2)]);
    }

    #[test]
    fn what_is_queued_is_still_told_when_the_writer_ends() {
        let (told, heard) = std::sync::mpsc::channel();
        let pager = Pager::start(move |page| told.send(page.emergency).unwrap()).unwrap();
        (1..=3).for_each(|n| pager.page(page("ana", ["ben", "dan", "eve"][n - 1], n as u64)));
        drop(pager);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [1, 2, 3].map(EmergencyId), "then the thread ends");
    }
}
