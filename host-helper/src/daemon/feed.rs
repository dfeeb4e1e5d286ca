//! The thread that follows the CA's feed, and the one that asks for the list when the feed does not bring it.
//!
//! Ten thousand hosts follow one CA: when it comes back they do so too, each at a moment of its own within
//! two seconds, and later and later when it does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::{FeedEvent, FeedHead};
use fireaxe_protocol::host::Report;
use fireaxe_transport::TransportError;

use super::heartbeat::Beat;
use super::lists::Lists;
use super::rooms::Connections;
use super::witness::{Witness, Witnessed};
use crate::authority::Authority;
use crate::clock::{self, Deadline};
use crate::error::HostError;
use crate::reports::Reports;
use crate::spool::Spool;
use crate::{journal, randomness};

/// The first pause after the feed is lost: any moment within it. Each further one may be twice as long.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause, and how often the list is asked for instead.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Since when the feed is followed, unix seconds; nothing: it is not.
#[derive(Debug, Default)]
pub(super) struct Following(Mutex<Option<u64>>);

impl Following {
    pub(super) fn since(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// What the feed is followed with.
pub(super) struct Feed {
    pub(super) authority: Authority,
    pub(super) lists: Arc<Lists>,
    pub(super) connections: Arc<dyn Connections>,
    pub(super) witness: Arc<Mutex<Witness>>,
    pub(super) spool: Arc<Spool>,
    pub(super) following: Arc<Following>,
    pub(super) beat: Arc<Beat>,
}

impl Feed {
    /// Follows for ever.
    pub(super) fn run(&self) -> Result<(), HostError> {
        let mut pause = FIRST;
        loop {
            let steady = Deadline::after(MINUTE);
            let lost = self.follow();
            self.following.set(None);
            if steady.left().is_none() {
                // It was there for a while: this is news, and it may be back at once.
                pause = FIRST;
            }
            match lost {
                Ok(()) => journal::say("feed: the CA ended it; it is followed again"),
                Err(error) => journal::say(&format!("feed: {error}; it is followed again")),
            }
            std::thread::sleep(randomness::jitter(pause));
            pause = (pause * 2).min(MINUTE);
        }
    }

    fn follow(&self) -> Result<(), TransportError> {
        let mut events = self.authority.feed()?;
        self.following.set(Some(clock::now()));
        self.spool.poke();
        while let Some(text) = events.next_event()? {
            match serde_json::from_str::<FeedEvent>(&text) {
                Ok(event) => self.event(event),
                // Not the words of a CA that this program knows: what else it says counts for nothing.
                Err(error) => {
                    return Err(TransportError::Garbage {
                        addr: "the feed".into(),
                        status: 200,
                        why: error.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Revocation first: the head may need a question of its own.
    fn event(&self, event: FeedEvent) {
        // What is owed before what pays it: then it is said once.
        if let Some(version) = event.confirm
            && let Err(error) = self.spool.owed(version)
        {
            journal::say(&format!("the spool cannot be kept: {error}"));
        }
        if let Some(list) = &event.krl {
            self.lists.came(list);
        }
        let extended: Vec<Vec<u8>> =
            event.extended.iter().filter_map(|text| STANDARD.decode(text).ok()).collect();
        if !extended.is_empty() {
            self.connections.extended(&extended);
        }
        if let Some(closing) = event.closing {
            self.connections.closing(closing);
        }
        if let Some(head) = &event.head {
            self.head(head);
        }
    }

    fn head(&self, head: &FeedHead) {
        let ask = |from, to| self.authority.consistency(from, to).map(|answer| answer.proof);
        let looked = {
            let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
            let before = witness.ahead();
            let looked = witness.look(head, ask);
            if witness.ahead() != before {
                // A CA that has lost entries must hear of it before it signs others in their place.
                self.beat.now();
            }
            looked
        };
        match looked {
            Ok(Witnessed::Consistent | Witnessed::Forked(None)) => {}
            Ok(Witnessed::Unknown(why)) => journal::say(&format!("the log's head stays unproved: {why}")),
            Ok(Witnessed::Forked(Some(alarm))) => {
                // Not kept: the journal and the evidence are there.
                let _ = self.spool.say(Report::Alarmed(alarm));
            }
            Err(error) => journal::say(&format!("the log's head cannot be kept: {error}")),
        }
    }
}

/// Asks for the list once a minute, unless somebody has confirmed it within that time.
pub(super) fn poll(lists: &Lists) -> Result<(), HostError> {
    loop {
        std::thread::sleep(MINUTE / 2 + randomness::jitter(MINUTE / 2));
        lists.poll(MINUTE.as_secs());
    }
}
