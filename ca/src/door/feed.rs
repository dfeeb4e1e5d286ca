//! What hosts follow: server-sent events (WHATWG HTML, 9.2) with the newest revocation list, head of the log,
//! countdowns, and certificates that were given more time. What goes into an event is `herald.rs`'s.
//!
//! An event is serialised once and shared by all: 10,000 followers cost 10,000 writes of the same bytes. One
//! that falls behind is told everything anew. A host has one feed: its newest.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::HostName;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

use super::places::ConnectionPlace;
use super::problem::{Answer, Told};
use super::{Door, reading};
use crate::road::KnownHost;

/// Hosts that follow at once, beside all other connections: twice the fleet that is aimed at, and some. An
/// idle one takes about 30 KiB, most of it TLS buffers.
pub(super) const FEEDS: usize = 24_576;
/// Events that one may be behind. A list, a head each ten seconds: a host that is some minutes behind
/// begins anew.
const BEHIND: usize = 64;
/// A comment after so long without an event, on both sides of which it is asked whether the host is still ours.
const ALIVE: Duration = Duration::from_secs(10);

/// Bytes on the feed, and for whom.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The name of a system or of a host; nothing: for all.
    pub(super) scope: Option<Arc<str>>,
    pub(super) bytes: Bytes,
    /// What these are told instead, by the name of a system or of a host, with a closing that reached them: of
    /// two the later.
    pub(super) instead: Arc<HashMap<Arc<str>, (u64, Bytes)>>,
}

/// What a host is told that begins to follow now.
#[derive(Debug, Clone, Default)]
pub(super) struct Beginning {
    /// For all.
    pub(super) all: Option<Bytes>,
    /// Beside it, by the name of a system or of a host.
    pub(super) scoped: HashMap<Arc<str>, Bytes>,
}

/// All who follow.
#[derive(Debug)]
pub struct Feed {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    beginning: Beginning,
    frames: broadcast::Sender<Frame>,
    followers: HashMap<HostName, Follower>,
    numbers: u64,
}

#[derive(Debug)]
struct Follower {
    number: u64,
    /// What its stream goes out on; nothing: it came in by no listener that keeps places.
    connection: Option<ConnectionPlace>,
    /// Dropped, it ends the stream, when that is next asked for something.
    _end: oneshot::Sender<Infallible>,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed::new(FEEDS)
    }
}

impl Feed {
    fn new(most: usize) -> Feed {
        let held = Held {
            beginning: Beginning::default(),
            frames: broadcast::Sender::new(BEHIND),
            followers: HashMap::new(),
            numbers: 0,
        };
        Feed { most, held: Mutex::new(held) }
    }

    /// Sends `frames`, in order, to all who follow; whoever begins from now on is told `beginning` instead.
    pub(super) fn tell(&self, beginning: Beginning, frames: Vec<Frame>) {
        let mut held = self.held();
        held.beginning = beginning;
        for frame in frames {
            // Nobody follows: then nobody needs to know.
            let _ = held.frames.send(frame);
        }
    }

    /// How many follow.
    pub fn following(&self) -> usize {
        self.held().followers.len()
    }

    /// Whether a host follows.
    pub fn is_following(&self, host: &HostName) -> bool {
        self.held().followers.contains_key(host)
    }

    /// What it is told at first, and all that comes after that: nothing in between is lost.
    fn begin(&self, host: &KnownHost) -> (Vec<Bytes>, broadcast::Receiver<Frame>) {
        let held = self.held();
        let Beginning { all, scoped } = &held.beginning;
        let scopes = [host.system.as_str(), host.host.as_str()];
        let own = scopes.iter().filter_map(|scope| scoped.get(*scope));
        let first = all.iter().chain(own).rev().cloned().collect();
        (first, held.frames.subscribe())
    }

    /// It follows from now on, in the place of an older feed of it, whose connection ends at once: a host that does
    /// not read would never ask for the end of its stream. Nothing: all places are others'.
    fn enter(
        &self,
        host: &HostName,
        connection: Option<ConnectionPlace>,
    ) -> Option<(u64, oneshot::Receiver<Infallible>)> {
        let (end, ended) = oneshot::channel();
        let mut held = self.held();
        if held.followers.len() >= self.most && !held.followers.contains_key(host) {
            return None;
        }
        held.numbers = held.numbers.wrapping_add(1);
        let number = held.numbers;
        let older = held.followers.insert(host.clone(), Follower { number, connection, _end: end });
        drop(held);
        if let Some(connection) = older.and_then(|older| older.connection) {
            connection.end();
        }
        Some((number, ended))
    }

    fn leave(&self, host: &HostName, number: u64) {
        let mut held = self.held();
        if held.followers.get(host).is_some_and(|follower| follower.number == number) {
            held.followers.remove(host);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /v1/feed`
pub(super) async fn follow(
    State(door): State<Arc<Door>>,
    connection: Option<Extension<ConnectionPlace>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Response> {
    let host = reading::host(&door, &headers, "GET", &uri)?;
    let connection = connection.map(|Extension(connection)| connection);
    let entered = door.feed.enter(&host.host, connection.clone());
    let (number, replaced) = entered.ok_or_else(|| {
        Told::new(StatusCode::SERVICE_UNAVAILABLE, "ca.busy", "too many hosts are following already")
            .next("ask again in a while; until then: GET /v1/krl")
    })?;
    let (first, frames) = door.feed.begin(&host);
    let mut alive = tokio::time::interval(ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive.reset();
    let following = Following {
        enrolment: host.enrolment,
        host: host.host.clone(),
        scopes: [host.system.as_str().into(), host.host.as_str().into()],
        door,
        number,
        first,
        frames,
        replaced,
        alive,
    };
    if let Some(connection) = connection {
        connection.give_back();
    }
    let stream = futures_util::stream::unfold(following, |mut following| async move {
        let bytes = following.next().await?;
        Some((Ok::<_, Infallible>(bytes), following))
    });
    let mut response = Body::from_stream(stream).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // It gave its place among all connections back: it carries no second request.
        (header::CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// One host's feed.
struct Following {
    door: Arc<Door>,
    host: HostName,
    enrolment: Hash,
    scopes: [Box<str>; 2],
    number: u64,
    /// What it is told at first, the last on top.
    first: Vec<Bytes>,
    frames: broadcast::Receiver<Frame>,
    replaced: oneshot::Receiver<Infallible>,
    alive: Interval,
}

impl Following {
    /// What comes next. It ends when the host is ours no more, is enrolled anew or follows anew.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.first.pop() {
                return Some(bytes);
            }
            let frame = tokio::select! {
                biased;
                _ = &mut self.replaced => return None,
                frame = self.frames.recv() => Some(frame),
                _ = self.alive.tick() => None,
            };
            let known = self.door.road.published().speakers().get(&self.host);
            let known = known.filter(|known| known.enrolment == self.enrolment)?;
            match frame {
                Some(Ok(frame)) => {
                    let mine = |scope: &Arc<str>| self.scopes.iter().any(|own| **own == **scope);
                    if frame.scope.as_ref().is_none_or(mine) {
                        self.alive.reset();
                        let instead = self.scopes.iter().filter_map(|own| frame.instead.get(&**own));
                        let instead = instead.max_by_key(|(closed, _)| *closed);
                        return Some(instead.map_or(frame.bytes, |(_, bytes)| bytes.clone()));
                    }
                }
                Some(Err(RecvError::Lagged(_))) => {
                    (self.first, self.frames) = self.door.feed.begin(&known);
                }
                Some(Err(RecvError::Closed)) => return None,
                None => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.door.feed.leave(&self.host, self.number);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test's own steps may fail it")]

    use tokio::sync::oneshot::error::TryRecvError;
    use tokio::time::Instant;

    use super::*;
    use crate::door::places::{Entered, Places};

    #[test]
    fn a_host_that_connects_anew_has_the_place_of_its_older_feed_whose_connection_ends_though_nobody_reads_it()
     {
        let (feed, places) = (Feed::new(1), Places::new(4, 2));
        let [db_3, db_4] = ["db-3.payments.prod", "db-4.payments.prod"].map(|name| name.parse().unwrap());
        let connects = || match places.enter("192.0.2.1".parse().unwrap(), Instant::now()) {
            Entered::In(entry, ended) => (entry, ended),
            other => panic!("{other:?}"),
        };
        let ((older, mut older_ends), (newer, mut newer_ends)) = (connects(), connects());
        let (first, _stream) = feed.enter(&db_3, Some(older.place().clone())).unwrap();
        older.place().give_back();
        // All places are taken, and its own is its own: nothing of the older stream was asked for meanwhile.
        assert!(feed.enter(&db_4, None).is_none());
        let (second, _stream) = feed.enter(&db_3, Some(newer.place().clone())).unwrap();
        assert_eq!(older_ends.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(newer_ends.try_recv(), Err(TryRecvError::Empty));
        // The end of the older, later, is not that of the newer.
        feed.leave(&db_3, first);
        assert!(feed.is_following(&db_3) && feed.enter(&db_4, None).is_none());
        feed.leave(&db_3, second);
        assert!(feed.enter(&db_4, None).is_some());
    }
}
