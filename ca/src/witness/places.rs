//! Who may hold a connection to a witness. One address (an IPv6 /64) has a few of the places, so that nobody alone
//! keeps the logs out that it is there for; when all are taken, whoever has been idle longest goes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Connections at once: a witness is asked by a handful of logs, each over one.
const CONNECTIONS: usize = 256;
/// Connections of one address: 32 addresses fill all places, and a proxy in front has enough for a handful of logs.
const OF_ONE: usize = 8;

/// All places.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    turn: u64,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    network: u128,
    /// The turn since which no request of it is being answered.
    idle_since: Option<u64>,
    /// Dropped, it ends the connection.
    _end: oneshot::Sender<Infallible>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Places {
    /// A place for one who comes from there, and what ends it early: the one that was idle longest makes room, of
    /// the same address when that one has all that it may. Nothing: none of them is idle.
    pub(super) fn enter(self: &Arc<Places>, from: IpAddr) -> Option<(Place, oneshot::Receiver<Infallible>)> {
        let network = network(from);
        let mut held = self.held();
        let of_it = held.connections.values().filter(|one| one.network == network).count();
        if of_it >= OF_ONE {
            held.cut(|one| one.network == network)?;
        } else if held.connections.len() >= CONNECTIONS {
            held.cut(|_| true)?;
        }
        let id = held.next();
        let (end, ended) = oneshot::channel();
        held.connections.insert(id, Connection { network, idle_since: Some(id), _end: end });
        Some((Place { places: self.clone(), id }, ended))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn next(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Ends the one of these that was idle longest.
    fn cut(&mut self, of: impl Fn(&Connection) -> bool) -> Option<()> {
        let idle = self.connections.iter().filter(|(_, one)| of(one));
        let (_, id) = idle.filter_map(|(id, one)| Some((one.idle_since?, *id))).min()?;
        self.connections.remove(&id).map(drop)
    }
}

impl Place {
    /// A request of it is being answered.
    pub(super) fn asked(&self) {
        if let Some(one) = self.places.held().connections.get_mut(&self.id) {
            one.idle_since = None;
        }
    }

    /// It was answered.
    pub(super) fn answered(&self) {
        let mut held = self.places.held();
        let turn = held.next();
        if let Some(one) = held.connections.get_mut(&self.id) {
            one.idle_since = Some(turn);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().connections.remove(&self.id);
    }
}

/// Who counts as one: an IPv4 address, or the /64 that one customer has.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(places: &Arc<Places>, from: &str) -> Option<(Place, oneshot::Receiver<Infallible>)> {
        places.enter(from.parse().unwrap())
    }

    fn is_cut(end: &mut oneshot::Receiver<Infallible>) -> bool {
        matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Closed))
    }

    #[test]
    fn one_address_has_eight_places_and_its_longest_idle_one_goes() {
        let places = Arc::new(Places::default());
        let (_other, mut others) = enter(&places, "192.0.2.2").unwrap();
        let mut held: Vec<_> =
            (0..OF_ONE).map(|n| enter(&places, &format!("2001:db8::{n}")).unwrap()).collect();
        // The first has asked something, the second is asking.
        held[0].0.asked();
        held[0].0.answered();
        held[1].0.asked();
        held.push(enter(&places, "2001:db8::ffff").unwrap());
        let cut: Vec<usize> = (0..held.len()).filter(|n| is_cut(&mut held[*n].1)).collect();
        assert_eq!(cut, [2]);
        assert!(!is_cut(&mut others));
        held.iter().for_each(|(place, _)| place.asked());
        assert!(enter(&places, "2001:db8::1").is_none(), "none of them is idle");
        assert!(enter(&places, "2001:db8:0:1::1").is_some(), "another one's");
        drop(held);
        assert!(enter(&places, "2001:db8::1").is_some());
    }

    #[test]
    fn when_all_places_are_taken_the_longest_idle_one_goes() {
        let places = Arc::new(Places::default());
        let from = |n: usize| format!("192.0.2.{}", n / OF_ONE);
        let mut held: Vec<_> = (0..CONNECTIONS).map(|n| enter(&places, &from(n)).unwrap()).collect();
        held[0].0.asked();
        let newcomer = enter(&places, "198.51.100.1").unwrap();
        let cut: Vec<usize> = (0..held.len()).filter(|n| is_cut(&mut held[*n].1)).collect();
        assert_eq!((cut, places.held().connections.len()), (vec![1], CONNECTIONS));
        newcomer.0.asked();
        held.iter().for_each(|(place, _)| place.asked());
        assert!(enter(&places, "198.51.100.2").is_none());
    }
}
