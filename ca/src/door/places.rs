//! Who may hold a connection, and who goes when all places are taken.
//!
//! A connection is *silent* while no request of it is under way: in its handshake, before its first request,
//! between two. When all places are taken, whoever holds most silent ones loses the one that was silent longest;
//! so a flood from one address (an IPv4 address, an IPv6 /64) keeps out nobody but itself. A fleet behind one
//! address is let alone while its handshakes are being made: then the newcomer waits outside and comes again.
//!
//! Enrolled hosts hold connections of their own beside these, one for the feed and one for what they report:
//! of each host the newest.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fireaxe_protocol::limits::HOST_IDLE_S;
use fireaxe_protocol::names::HostName;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::feed::FEEDS;

/// Descriptors that all of this needs: connections, two of each host, and what the log and its readers have open.
pub const DESCRIPTORS: u64 = (CONNECTIONS + 2 * FEEDS + OTHER_FILES) as u64;
/// What is open beside connections.
const OTHER_FILES: usize = 256;
/// Connections at once, beside those of enrolled hosts: clients, approvers, whoever knocks.
pub(super) const CONNECTIONS: usize = 4096;
/// A silent connection makes room for another one of its own address after so long: as long as all places need
/// for their handshakes, 4,096 of a third of a millisecond, and as much again.
const SERVED: Duration = Duration::from_secs(3);
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
    /// Silent ones by whose they are; of one the longest silent first.
    silent: HashMap<Network, BTreeMap<u64, (u64, Instant)>>,
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
    Busy,
    /// It has a place elsewhere.
    Aside,
    /// Reports of this host come on it.
    Host(HostName),
}

/// Who counts as one: an IPv4 address, or the /64 that one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.to_bits()),
            IpAddr::V6(address) => Network::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(super) enum Entered {
    /// It has a place until the receiver ends, or this is dropped.
    In(Entry, oneshot::Receiver<Infallible>),
    /// Its own address holds most places, with connections that are being served: it may come again.
    NotNow,
    /// Every place has a request under way.
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
    /// A request is under way.
    pub(super) fn busy(&self) {
        self.places.held().busy(self.id);
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
    pub(super) fn make_room(&self) {
        let mut held = self.held();
        if let Some((_, id, _)) = held.longest_silent() {
            held.remove(id);
        }
    }

    /// A connection from this address came.
    pub(super) fn enter(self: &Arc<Places>, address: IpAddr, now: Instant) -> Entered {
        let network = Network::of(address);
        let mut held = self.held();
        if held.taken >= self.most {
            match held.longest_silent() {
                None => return Entered::Full,
                Some((whose, _, since)) if whose == network && now < since + SERVED => {
                    return Entered::NotNow;
                }
                Some((_, id, _)) => held.remove(id),
            }
        }
        let (end, ended) = oneshot::channel();
        let id = held.number();
        held.taken += 1;
        held.connections.insert(id, Connection { network, standing: Standing::Busy, _end: end });
        held.silent(id, now);
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

    fn busy(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|one| matches!(one.standing, Standing::Silent(_))) {
            self.stand(id, Standing::Busy);
        }
    }

    fn silent(&mut self, id: u64, now: Instant) -> Option<Duration> {
        let turn = self.number();
        let one = self.connections.get_mut(&id)?;
        match one.standing {
            Standing::Busy => {
                one.standing = Standing::Silent(turn);
                self.silent.entry(one.network).or_default().insert(turn, (id, now));
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
        let (network, is_counted) = (one.network, standing == Standing::Busy);
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
            Standing::Silent(turn) => {
                self.taken = self.taken.saturating_sub(1);
                if let Some(of_one) = self.silent.get_mut(&network) {
                    of_one.remove(&turn);
                    if of_one.is_empty() {
                        self.silent.remove(&network);
                    }
                }
            }
            Standing::Busy => self.taken = self.taken.saturating_sub(1),
            Standing::Aside => {}
            Standing::Host(host) => {
                if self.hosts.get(&host) == Some(&id) {
                    self.hosts.remove(&host);
                }
            }
        }
    }

    /// Of whoever has most silent connections the longest silent, and since when; of several the longest of all.
    fn longest_silent(&self) -> Option<(Network, u64, Instant)> {
        let first = self.silent.iter().filter_map(|(network, of_one)| {
            let (turn, (id, since)) = of_one.first_key_value()?;
            Some(((of_one.len(), std::cmp::Reverse(*turn)), (*network, *id, *since)))
        });
        first.max_by_key(|(rank, _)| *rank).map(|(_, one)| one)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]

    use super::*;

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
    fn one_customers_64_bits_of_addresses_are_one_and_a_mapped_address_is_the_one_it_maps() {
        let of = |text| Network::of(ip(text));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn a_request_under_way_is_never_ended_and_when_all_are_nobody_enters() {
        let (places, now) = (Places::new(2, 2), Instant::now());
        let mut both: Vec<Inside> = (0..2).map(|_| inside(&places, "192.0.2.1", now)).collect();
        both.iter().for_each(|one| one.0.place().busy());
        assert!(matches!(places.enter(ip("192.0.2.2"), now), Entered::Full));
        both[1].0.place().silent(now);
        let _other = inside(&places, "192.0.2.2", now);
        assert!(!has_ended(&mut both[0]) && has_ended(&mut both[1]));
        // A request that comes on one that was ended takes no place.
        both[1].0.place().busy();
        both[1].0.place().silent(now);
        assert_eq!(places.held().taken, 2);
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
        older.0.place().busy();
        older.0.place().is_of(&db_3);
        assert_eq!(older.0.place().silent(now), Some(HOST_SILENT));
        let mut newer = inside(&places, "192.0.2.1", now);
        assert_eq!(newer.0.place().silent(now), None);
        newer.0.place().busy();
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
        third.0.place().busy();
        third.0.place().is_of(&"db-5.payments.prod".parse().unwrap());
        assert_eq!((third.0.place().silent(now), places.held().taken), (None, 1));
        drop((newer, other, third));
        let held = places.held();
        assert_eq!((held.taken, held.hosts.len(), held.silent.len(), held.connections.len()), (0, 0, 0, 0));
    }

    #[test]
    fn where_few_files_may_be_open_fewer_hosts_have_a_connection_kept() {
        let hosts = |descriptors| Places::within(descriptors).most_hosts;
        assert_eq!([0, 1024, 20_000, DESCRIPTORS, u64::MAX].map(hosts), [0, 0, 7824, FEEDS, FEEDS]);
        let (places, now) = (Places::new(4, 2), Instant::now());
        let mut one = inside(&places, "192.0.2.1", now);
        places.make_room();
        places.make_room();
        assert!(has_ended(&mut one) && places.held().taken == 0);
    }

    #[test]
    fn a_connection_that_has_a_place_elsewhere_gives_its_own_back() {
        let (places, now) = (Places::new(1, 2), Instant::now());
        let mut feed = inside(&places, "192.0.2.1", now);
        feed.0.place().busy();
        feed.0.place().give_back();
        let _other = inside(&places, "192.0.2.1", now);
        assert!(!has_ended(&mut feed));
        drop(feed);
        assert_eq!(places.held().taken, 1);
    }
}
