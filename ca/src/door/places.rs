//! Who may hold a connection, and who goes when all places are taken.
//!
//! A connection is *silent* while no whole request of it is there: in its handshake, before its first request,
//! between two, and until the body of one has come. When all places are taken, whoever holds most (an IPv4
//! address, an IPv6 /64) loses the one that was silent longest. If none of them is silent, one with a request
//! under way goes, the longest: when they are a crowd, or when it takes longer than any request may, so that its
//! answer is not being read. So a flood from one address keeps out nobody but itself. A fleet behind one address
//! is let alone while it is being served: then the newcomer is turned away and comes again.
//!
//! Enrolled hosts hold connections of their own beside these, one for the feed and one for what they report:
//! of each host the newest.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fireaxe_protocol::limits::HOST_IDLE_S;
use fireaxe_protocol::names::HostName;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::feed::FEEDS;
use super::networks::{Network, Networks, Next};

/// Descriptors that all of this needs: connections, two of each host, and what the log and its readers have open.
pub const DESCRIPTORS: u64 = (CONNECTIONS + 2 * FEEDS + OTHER_FILES) as u64;
/// What is open beside connections.
const OTHER_FILES: usize = 256;
/// Connections at once, beside those of enrolled hosts: clients, approvers, whoever knocks.
pub(super) const CONNECTIONS: usize = 4096;
/// Who holds more than this part of all places is a crowd: one request of it goes for somebody else's connection
/// however lately it came, or a crowd that comes anew before [`READ`] would keep the door shut.
const CROWD: usize = 32;
/// A host's connection for reports may be silent for so long: the host gives it up before.
const HOST_SILENT: Duration = Duration::from_secs(HOST_IDLE_S + 30);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    /// Connections, and beside them hosts that have one kept.
    most: usize,
    most_hosts: usize,
    held: Mutex<Held>,
    /// A place may be free.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// Connections that hold one of the places.
    taken: usize,
    connections: HashMap<u64, Connection>,
    /// Those that may have to go, by whose they are.
    networks: Networks,
    /// The connection on which a host reports.
    hosts: HashMap<HostName, u64>,
}

#[derive(Debug)]
struct Connection {
    network: Network,
    standing: Standing,
    /// Dropped, it ends the connection.
    _end: oneshot::Sender<Infallible>,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// Its turn among the silent.
    Silent(u64),
    /// Its turn among those with a request under way.
    Busy(u64),
    /// Events go out on it to a reader who was let in as one: it takes a place for as long as it likes.
    Watched,
    /// It has a place elsewhere.
    Aside,
    /// Reports of this host come on it.
    Host(HostName),
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(super) enum Entered {
    /// It has a place until the receiver ends, or this is dropped.
    In(Entry, oneshot::Receiver<Infallible>),
    /// Its own address holds most places, with connections that are being served: it may come again.
    NotNow,
    /// Every place has a request under way, and nobody holds too many.
    Full,
}

/// A connection that has a place; it gives it back when dropped.
#[derive(Debug)]
pub(super) struct Entry(ConnectionPlace);

impl Entry {
    pub(super) fn place(&self) -> &ConnectionPlace {
        &self.0
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.places.leave(self.0.id);
    }
}

/// The place of a connection, for those who serve it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPlace {
    places: Arc<Places>,
    id: u64,
}

impl ConnectionPlace {
    /// A request has come whole, at `now`, and is under way.
    pub(super) fn busy(&self, now: Instant) {
        self.places.held().busy(self.id, now);
    }

    /// The request under way is that of a reader who may watch events, and has one of the places for that: it is
    /// never ended for another.
    pub(super) fn watched(&self) {
        self.places.held().stand(self.id, Standing::Watched);
    }

    /// It waits for a request, from `now` on: gives how long it may, if that is longer than for others.
    pub(super) fn silent(&self, now: Instant) -> Option<Duration> {
        let longer = self.places.held().silent(self.id, now);
        self.places.freed.notify_one();
        longer
    }

    /// It has a place elsewhere: somebody else may have this one.
    pub(super) fn give_back(&self) {
        self.places.held().stand(self.id, Standing::Aside);
        self.places.freed.notify_one();
    }

    /// It ends now, whether its other end reads or not.
    pub(super) fn end(&self) {
        self.places.leave(self.id);
    }

    /// Fresh words of this host came on it, signed: it is kept beside the others, in place of the host's older
    /// one. Not when so many hosts have one already.
    pub(super) fn is_of(&self, host: &HostName) {
        self.places.held().is_of(self.id, host, self.places.most_hosts);
        self.places.freed.notify_one();
    }
}

impl Places {
    /// As many as a process may have that may open so many files: what [`CONNECTIONS`] leave is shared by feeds and
    /// by the other connections of hosts. A host that has none kept makes one when it needs it.
    pub(super) fn within(descriptors: u64) -> Arc<Places> {
        let left = descriptors.saturating_sub((CONNECTIONS + OTHER_FILES) as u64) / 2;
        Places::new(CONNECTIONS, usize::try_from(left).map_or(FEEDS, |left| left.min(FEEDS)))
    }

    pub(super) fn new(most: usize, most_hosts: usize) -> Arc<Places> {
        Arc::new(Places { most, most_hosts, held: Mutex::default(), freed: Notify::new() })
    }

    /// There is room for no connection more: ends the one that would go next.
    pub(super) fn make_room(&self, now: Instant) {
        let mut held = self.held();
        if let Some(Next { id, .. }) = held.networks.next_to_go(self.crowd(), now) {
            held.remove(id);
        }
    }

    fn crowd(&self) -> usize {
        self.most.div_ceil(CROWD)
    }

    /// A connection from this address came.
    pub(super) fn enter(self: &Arc<Places>, address: IpAddr, now: Instant) -> Entered {
        let network = Network::of(address);
        let mut held = self.held();
        if held.taken >= self.most {
            match held.networks.next_to_go(self.crowd(), now) {
                None => return Entered::Full,
                Some(next) if next.network == network && now < next.served => return Entered::NotNow,
                Some(next) => held.remove(next.id),
            }
        }
        let (end, ended) = oneshot::channel();
        let id = held.number();
        held.taken += 1;
        let turn = held.number();
        held.connections.insert(id, Connection { network, standing: Standing::Silent(turn), _end: end });
        held.networks.is_silent(network, turn, id, now);
        Entered::In(Entry(ConnectionPlace { places: self.clone(), id }), ended)
    }

    /// Waits until it is worth entering again.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn leave(&self, id: u64) {
        self.held().remove(id);
        self.freed.notify_one();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn number(&mut self) -> u64 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn busy(&mut self, id: u64, now: Instant) {
        let turn = self.number();
        let Some(one) = self.connections.get(&id) else { return };
        let network = one.network;
        if matches!(one.standing, Standing::Silent(_)) {
            self.stand(id, Standing::Busy(turn));
            self.networks.is_busy(network, turn, id, now);
        }
    }

    fn silent(&mut self, id: u64, now: Instant) -> Option<Duration> {
        let turn = self.number();
        let one = self.connections.get(&id)?;
        let network = one.network;
        match one.standing {
            Standing::Busy(_) | Standing::Watched => {
                self.stand(id, Standing::Silent(turn));
                self.networks.is_silent(network, turn, id, now);
                None
            }
            Standing::Silent(_) | Standing::Aside => None,
            Standing::Host(_) => Some(HOST_SILENT),
        }
    }

    fn is_of(&mut self, id: u64, host: &HostName, most: usize) {
        let before = self.hosts.get(host).copied();
        let full = before.is_none() && self.hosts.len() >= most;
        if before == Some(id) || full || !self.connections.contains_key(&id) {
            return;
        }
        if let Some(before) = before {
            self.remove(before);
        }
        self.stand(id, Standing::Host(host.clone()));
        self.hosts.insert(host.clone(), id);
    }

    /// Takes the connection from where it stood, and counts it where it stands now.
    fn stand(&mut self, id: u64, standing: Standing) {
        let Some(one) = self.connections.get_mut(&id) else { return };
        let network = one.network;
        let is_counted = matches!(standing, Standing::Silent(_) | Standing::Busy(_) | Standing::Watched);
        let before = std::mem::replace(&mut one.standing, standing);
        self.forget(id, network, before);
        self.taken += usize::from(is_counted);
    }

    fn remove(&mut self, id: u64) {
        if let Some(Connection { network, standing, .. }) = self.connections.remove(&id) {
            self.forget(id, network, standing);
        }
    }

    fn forget(&mut self, id: u64, network: Network, standing: Standing) {
        match standing {
            Standing::Silent(turn) | Standing::Busy(turn) => {
                self.taken = self.taken.saturating_sub(1);
                self.networks.forget(network, turn);
            }
            Standing::Watched => self.taken = self.taken.saturating_sub(1),
            Standing::Aside => {}
            Standing::Host(host) => {
                if self.hosts.get(&host) == Some(&id) {
                    self.hosts.remove(&host);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

    use super::*;

    use crate::door::networks::{READ, SERVED};

    type Inside = (Entry, oneshot::Receiver<Infallible>);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn inside(places: &Arc<Places>, address: &str, now: Instant) -> Inside {
        match places.enter(ip(address), now) {
            Entered::In(entry, ended) => (entry, ended),
            other => panic!("{other:?}"),
        }
    }

    fn has_ended(one: &mut Inside) -> bool {
        one.1.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn whoever_holds_most_makes_room_with_the_longest_silent_and_no_other() {
        let (places, now) = (Places::new(4, 2), Instant::now());
        let mut one = inside(&places, "192.0.2.1", now);
        let mut flood: Vec<Inside> = (0..3).map(|_| inside(&places, "192.0.2.2", now)).collect();
        let mut other = inside(&places, "192.0.2.3", now);
        assert!(has_ended(&mut flood[0]));
        assert!(![&mut one, &mut other].into_iter().chain(&mut flood[1..]).any(has_ended));
        // Its end changes nothing for who came in its place.
        drop(flood.remove(0));
        assert_eq!(places.held().taken, 4);
        let _another = inside(&places, "192.0.2.4", now);
        assert!(has_ended(&mut flood[0]) && !has_ended(&mut one));
    }

    #[test]
    fn a_request_under_way_is_not_ended_for_another_and_when_all_are_nobody_enters() {
        let (places, now) = (Places::new(2, 2), Instant::now());
        let mut both = ["192.0.2.1", "192.0.2.2"].map(|address| inside(&places, address, now));
        both.iter().for_each(|one| one.0.place().busy(now));
        assert!(matches!(places.enter(ip("192.0.2.3"), now), Entered::Full));
        both[1].0.place().silent(now);
        let _other = inside(&places, "192.0.2.3", now);
        assert!(!has_ended(&mut both[0]) && has_ended(&mut both[1]));
        // A request that comes on one that was ended takes no place.
        both[1].0.place().busy(now);
        both[1].0.place().silent(now);
        assert_eq!(places.held().taken, 2);
    }

    #[test]
    fn whoever_does_not_read_an_answer_makes_room_and_who_watches_events_does_not() {
        let (places, now) = (Places::new(3, 2), Instant::now());
        let mut all = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| inside(&places, address, now));
        all.iter().for_each(|one| one.0.place().busy(now));
        all[0].0.place().watched();
        assert!(matches!(places.enter(ip("192.0.2.4"), now + READ - SERVED), Entered::Full));
        let other = inside(&places, "192.0.2.4", now + READ);
        other.0.place().busy(now + READ);
        assert!(has_ended(&mut all[1]) && !has_ended(&mut all[0]) && !has_ended(&mut all[2]));
        let another = inside(&places, "192.0.2.4", now + READ);
        another.0.place().watched();
        assert!(has_ended(&mut all[2]));
        assert!(matches!(places.enter(ip("192.0.2.5"), now + READ), Entered::Full));
        // When its events are over, it is like any other.
        all[0].0.place().silent(now + READ);
        let _last = inside(&places, "192.0.2.5", now + READ);
        assert!(has_ended(&mut all[0]));
    }

    #[test]
    fn a_crowd_with_requests_under_way_makes_room_at_once_but_not_for_more_of_itself() {
        let (places, now) = (Places::new(8, 2), Instant::now());
        let mut crowd: Vec<Inside> = (0..7).map(|_| inside(&places, "192.0.2.2", now)).collect();
        crowd.iter().for_each(|one| one.0.place().busy(now));
        // In its handshake: not what the crowd pushes out, nor the next one.
        let mut one = inside(&places, "192.0.2.1", now);
        assert!(matches!(places.enter(ip("192.0.2.2"), now), Entered::NotNow));
        let mut other = inside(&places, "192.0.2.3", now);
        assert!(has_ended(&mut crowd[0]) && !crowd[1..].iter_mut().any(has_ended));
        assert!(!has_ended(&mut one) && !has_ended(&mut other));
        // One that is silent goes before those.
        crowd[6].0.place().silent(now);
        let _another = inside(&places, "192.0.2.3", now);
        assert!(has_ended(&mut crowd[6]) && !crowd[1..6].iter_mut().any(has_ended));
    }

    #[test]
    fn a_fleet_behind_one_address_is_served_before_more_of_it_enter() {
        let (places, now) = (Places::new(2, 2), Instant::now());
        let mut both: Vec<Inside> = (0..2).map(|_| inside(&places, "192.0.2.1", now)).collect();
        assert!(matches!(places.enter(ip("192.0.2.1"), now + SERVED / 2), Entered::NotNow));
        assert!(!both.iter_mut().any(has_ended));
        // Those that say nothing for long were no fleet.
        let _third = inside(&places, "192.0.2.1", now + SERVED);
        assert!(has_ended(&mut both[0]) && !has_ended(&mut both[1]));
    }

    #[test]
    fn a_hosts_newest_connection_is_kept_beside_the_others_for_longer() {
        let (places, now) = (Places::new(1, 2), Instant::now());
        let (db_3, db_4): (HostName, HostName) =
            ("db-3.payments.prod".parse().unwrap(), "db-4.payments.prod".parse().unwrap());
        let mut older = inside(&places, "192.0.2.1", now);
        older.0.place().busy(now);
        older.0.place().is_of(&db_3);
        assert_eq!(older.0.place().silent(now), Some(HOST_SILENT));
        let mut newer = inside(&places, "192.0.2.1", now);
        assert_eq!(newer.0.place().silent(now), None);
        newer.0.place().busy(now);
        newer.0.place().is_of(&db_3);
        assert!(has_ended(&mut older) && !has_ended(&mut newer));
        let mut other = inside(&places, "192.0.2.1", now);
        other.0.place().is_of(&db_4);
        drop(older);
        assert!(![&mut newer, &mut other].into_iter().any(has_ended));
        let counts = |places: &Places| {
            let held = places.held();
            (held.hosts.len(), held.taken)
        };
        assert_eq!(counts(&places), (2, 0));
        // One host more than may be kept stays among the others.
        let third = inside(&places, "192.0.2.1", now);
        third.0.place().busy(now);
        third.0.place().is_of(&"db-5.payments.prod".parse().unwrap());
        assert_eq!((third.0.place().silent(now), places.held().taken), (None, 1));
        drop((newer, other, third));
        let held = places.held();
        assert_eq!(
            (held.taken, held.hosts.len(), held.networks.many(), held.connections.len()),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn where_few_files_may_be_open_fewer_hosts_have_a_connection_kept() {
        let hosts = |descriptors| Places::within(descriptors).most_hosts;
        assert_eq!([0, 1024, 20_000, DESCRIPTORS, u64::MAX].map(hosts), [0, 0, 7824, FEEDS, FEEDS]);
        let (places, now) = (Places::new(4, 2), Instant::now());
        let mut one = inside(&places, "192.0.2.1", now);
        places.make_room(now);
        places.make_room(now);
        assert!(has_ended(&mut one) && places.held().taken == 0);
    }

    #[test]
    fn a_connection_that_has_a_place_elsewhere_gives_its_own_back() {
        let (places, now) = (Places::new(1, 2), Instant::now());
        let mut feed = inside(&places, "192.0.2.1", now);
        feed.0.place().busy(now);
        feed.0.place().give_back();
        let _other = inside(&places, "192.0.2.1", now);
        assert!(!has_ended(&mut feed));
        drop(feed);
        assert_eq!(places.held().taken, 1);
    }
}
