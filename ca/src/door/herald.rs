//! The herald: one thread that sees what the writer published and tells all hosts. A new list goes out at once,
//! its bytes with it while they are few, and the head that covers it beside it; a note that was made anew keeps
//! the list fresh; heads alone go out each ten seconds at most. What follows what is proved once, for all.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fireaxe_protocol::api::{FeedClosing, FeedEvent, FeedHead, FeedList};
use fireaxe_protocol::limits::FEED_LIST;

use super::feed::{Beginning, Frame};
use super::hosts::Made;
use super::{Door, ListenError};
use crate::log::{LogError, Reader};
use crate::road::{Extended, SinceThen};

/// A head alone goes out no more often, milliseconds. It tells a host that the log it was shown goes on, and that
/// can wait: a head a second costs a CA with 10,000 hosts half a core while anything at all is written.
const HEADS_MS: u64 = 10_000;
/// Systems and hosts that one event asks to confirm: each has bytes of its own, up to 60 KiB. Of more, each host
/// is asked by the answer to what it says unasked.
const CLOSED: usize = 16;
/// It looks at the clock at least as often, for notes to be renewed and heads that wait.
const LOOK: Duration = Duration::from_millis(500);

/// What was told last.
struct Herald {
    reader: Reader,
    list: Option<Made>,
    head: Option<(u64, String)>,
    head_at_ms: u64,
    closing: Arc<Vec<FeedClosing>>,
    extended: Arc<Vec<Extended>>,
}

/// Starts it for `door`, whose feed then has something to say before this returns. It ends with the door, or
/// with the writer. `reader` is its own: it never waits for one who reads lists.
pub fn start_herald(door: &Arc<Door>, reader: Reader) -> Result<std::thread::JoinHandle<()>, ListenError> {
    let mut herald = Herald {
        reader,
        list: None,
        head: None,
        head_at_ms: 0,
        closing: Arc::default(),
        extended: Arc::default(),
    };
    let heard = SinceThen::default();
    herald.look(door);
    let door = Arc::downgrade(door);
    std::thread::Builder::new()
        .name("herald".into())
        .spawn(move || herald.run(&door, heard))
        .map_err(ListenError::Thread)
}

impl Herald {
    fn run(&mut self, door: &Weak<Door>, mut heard: SinceThen) {
        loop {
            // Held only while it looks: whoever drops the door ends this.
            let Some(road) = door.upgrade().map(|door| door.road.clone()) else { return };
            heard = road.published().wait(heard, LOOK);
            if road.is_stopped() {
                return;
            }
            let Some(door) = door.upgrade() else { return };
            self.look(&door);
        }
    }

    /// Tells what is new, if something is.
    fn look(&mut self, door: &Door) {
        let now = door.clock.now();
        let mut event = FeedEvent { schema: SCHEMA.into(), ..FeedEvent::default() };
        let list = door.revocation_list.current(door);
        let before = self.list.as_ref();
        let is_new = list.as_ref().is_some_and(|list| before.is_none_or(|told| told.view != list.view));
        let published = door.road.published();
        let mut closed = Vec::new();
        if let Some(list) = &list
            && before.is_none_or(|told| told.note != list.note)
        {
            event.krl = Some(list.on_feed(is_new));
            if is_new {
                door.fleet.list_is(list.view.version, now);
            }
            // Closings of before this run of the CA: whoever says anything is asked then.
            if let Some(told) = before.filter(|_| is_new) {
                closed = published.speakers().closed_since(told.view.version, list.view.version);
            }
        }
        let size = published.health().entries;
        let behind = self.head.as_ref().is_none_or(|(told, _)| size > *told);
        if behind && (is_new || now.tick_ms.saturating_sub(self.head_at_ms) >= HEADS_MS) {
            match self.next_head(size) {
                Ok((size, head)) => {
                    self.head = Some((size, head.checkpoint.clone()));
                    self.head_at_ms = now.tick_ms;
                    event.head = Some(head);
                }
                Err(error) => tracing::error!(event = "feed.no_head", %error),
            }
        }
        let closing = published.countdowns();
        if closing != self.closing {
            self.closing = closing;
            event.closing = Some(self.closing.to_vec());
        }
        let extended = published.extended();
        let fresh: Vec<&Extended> = extended.iter().filter(|one| !self.extended.contains(one)).collect();
        let mut frames: Vec<Frame> = by_scope(&fresh);
        let is_less = extended.len() != self.extended.len();
        self.list = list;
        let something = event.krl.is_some() || event.head.is_some() || event.closing.is_some();
        if something || is_less || !frames.is_empty() {
            self.extended = extended;
            if something && let Some(bytes) = written(&event) {
                let instead = Arc::new(to_confirm(&event, &closed));
                frames.insert(0, Frame { scope: None, bytes, instead });
            }
            door.feed.tell(self.beginning(), frames);
        }
    }

    /// The newest head over what is published, and the proof that it continues the one that was told before it.
    fn next_head(&self, published: u64) -> Result<(u64, FeedHead), LogError> {
        let (size, checkpoint) = self.reader.head_within(published)?;
        let from = self.head.as_ref().map_or(0, |(size, _)| *size);
        let proof = self.reader.consistency(from, size)?;
        Ok((size, FeedHead { checkpoint, from, proof }))
    }

    /// Everything, for one who begins now: the head is the one that the next on the feed continues.
    fn beginning(&self) -> Beginning {
        let head = self.head.as_ref();
        let event = FeedEvent {
            schema: SCHEMA.into(),
            krl: self.list.as_ref().map(|list| list.on_feed(true)),
            head: head.map(|(_, note)| FeedHead { checkpoint: note.clone(), from: 0, proof: Vec::new() }),
            closing: Some(self.closing.to_vec()),
            ..FeedEvent::default()
        };
        let all: Vec<&Extended> = self.extended.iter().collect();
        let scoped = by_scope(&all).into_iter().filter_map(|frame| Some((frame.scope?, frame.bytes)));
        Beginning { all: written(&event), scoped: scoped.collect() }
    }
}

impl Made {
    fn on_feed(&self, whole: bool) -> FeedList {
        let krl = (whole && self.krl.len() <= FEED_LIST).then(|| STANDARD.encode(&self.krl));
        let note = self.note.to_str().unwrap_or_default().to_owned();
        FeedList { version: self.view.version, note, krl }
    }
}

/// One event for each system or host that certificates with more time open.
fn by_scope(extended: &[&Extended]) -> Vec<Frame> {
    let mut scopes: HashMap<&Arc<str>, Vec<String>> = HashMap::new();
    for one in extended {
        scopes.entry(&one.scope).or_default().push(one.certificate.clone());
    }
    let event = |extended| FeedEvent { schema: SCHEMA.into(), extended, ..FeedEvent::default() };
    let frames = scopes.into_iter().filter_map(|(scope, certificates)| {
        let bytes = written(&event(certificates))?;
        Some(Frame { scope: Some(scope.clone()), bytes, instead: Arc::default() })
    });
    frames.collect()
}

/// `event` as those have it whom a closing reached: so each of them says at once, and with a number, that the
/// list is in force, and not twice.
fn to_confirm(event: &FeedEvent, closed: &[(Arc<str>, u64)]) -> HashMap<Arc<str>, (u64, Bytes)> {
    if closed.len() > CLOSED {
        return HashMap::new();
    }
    let told = closed.iter().filter_map(|(scope, entry)| {
        let bytes = written(&FeedEvent { confirm: Some(*entry), ..event.clone() })?;
        Some((scope.clone(), (*entry, bytes)))
    });
    told.collect()
}

fn written(event: &FeedEvent) -> Option<Bytes> {
    let json = serde_json::to_string(event).ok()?;
    Some(Bytes::from(format!("data: {json}\n\n")))
}

const SCHEMA: &str = "fireaxe.feed/v1";
