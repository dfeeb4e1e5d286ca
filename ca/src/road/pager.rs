//! Waking people. The log says who was asked; a program of the operator's choice carries it to them.
//!
//! Never on the path of a request: pages are handed over after the commit, to a thread of its own with a
//! bounded queue. A page that cannot be handed over is counted and logged; the ladder goes on by its own
//! clock, so the next rung is called all the same.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
    queue: SyncSender<Page>,
}

/// Pages that wait for the program: a ladder has few people, and one that hangs is ended after [`PATIENCE`].
const QUEUE: usize = 1024;
/// How long the program may take for one page.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether it is done.
const LOOK: Duration = Duration::from_millis(20);

impl Pager {
    /// A pager that gives each page to `deliver`, one after the other, on a thread of its own.
    pub fn start(deliver: impl FnMut(&Page) + Send + 'static) -> std::io::Result<Pager> {
        let (queue, pages) = sync_channel(QUEUE);
        std::thread::Builder::new().name("pager".into()).spawn(move || run(&pages, deliver))?;
        Ok(Pager { queue })
    }

    /// Hands a page over, or drops it: the log has who was asked.
    pub(super) fn page(&self, page: Page) {
        if let Err(error) = self.queue.try_send(page) {
            tracing::error!(event = "page.dropped", %error);
        }
    }
}

fn run(pages: &Receiver<Page>, mut deliver: impl FnMut(&Page)) {
    while let Ok(page) = pages.recv() {
        deliver(&page);
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
