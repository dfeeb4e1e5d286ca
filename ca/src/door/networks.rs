//! Which connection goes when all places are taken: whose they are, and who was silent or busy longest. See
//! `places.rs` for when that is asked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::WHOLE;

/// A silent connection makes room for another one of its own address after so long: as long as all places need
/// for their handshakes, 4,096 of a third of a millisecond, and as much again.
pub(super) const SERVED: Duration = Duration::from_secs(3);
/// A request under way for so long makes room: what its handler may take, and some seconds in which the answer
/// could have been read.
pub(super) const READ: Duration = Duration::from_secs(WHOLE.as_secs() + 10);

/// Who counts as one: an IPv4 address, or the /64 that one customer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.to_bits()),
            IpAddr::V6(address) => Network::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Connections that may have to go, by whose they are.
#[derive(Debug, Default)]
pub(super) struct Networks(HashMap<Network, Holding>);

/// What one network holds, each by its turn: the first has been so longest.
#[derive(Debug, Default)]
struct Holding {
    silent: BTreeMap<u64, Since>,
    busy: BTreeMap<u64, Since>,
}

/// A connection, and since when it is silent or busy.
#[derive(Debug, Clone, Copy)]
struct Since {
    id: u64,
    at: Instant,
}

impl Holding {
    fn many(&self) -> usize {
        self.silent.len() + self.busy.len()
    }
}

/// The one that goes when all places are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) network: Network,
    pub(super) id: u64,
    /// Until then no newcomer of its own network takes its place.
    pub(super) served: Instant,
}

impl Networks {
    pub(super) fn is_silent(&mut self, network: Network, turn: u64, id: u64, at: Instant) {
        self.0.entry(network).or_default().silent.insert(turn, Since { id, at });
    }

    pub(super) fn is_busy(&mut self, network: Network, turn: u64, id: u64, at: Instant) {
        self.0.entry(network).or_default().busy.insert(turn, Since { id, at });
    }

    /// The one whose turn this was is neither any more.
    pub(super) fn forget(&mut self, network: Network, turn: u64) {
        if let Some(holding) = self.0.get_mut(&network) {
            holding.silent.remove(&turn);
            holding.busy.remove(&turn);
            if holding.many() == 0 {
                self.0.remove(&network);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn many(&self) -> usize {
        self.0.len()
    }

    /// Of whoever holds most the longest silent one, or one with a request under way when they are more than
    /// `crowd` or when it is too long; where neither is so, the longest silent one of whoever has most silent.
    pub(super) fn next_to_go(&self, crowd: usize, now: Instant) -> Option<Next> {
        let of_most = self.0.iter().filter_map(|(network, holding)| {
            let silent = holding.silent.first_key_value();
            let (turn, since) = silent.or_else(|| holding.busy.first_key_value())?;
            let rank = (holding.many(), silent.is_some(), Reverse(*turn));
            let served = since.at + if silent.is_some() { SERVED } else { READ };
            let may_go = silent.is_some() || holding.many() > crowd || now >= served;
            Some((rank, may_go.then_some(Next { network: *network, id: since.id, served })))
        });
        let of_most = of_most.max_by_key(|(rank, _)| *rank).and_then(|(_, next)| next);
        of_most.or_else(|| {
            let silent = self.0.iter().filter_map(|(network, holding)| {
                let (turn, Since { id, at }) = holding.silent.first_key_value()?;
                let next = Next { network: *network, id: *id, served: *at + SERVED };
                Some(((holding.silent.len(), Reverse(*turn)), next))
            });
            silent.max_by_key(|(rank, _)| *rank).map(|(_, next)| next)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customers_64_bits_of_addresses_are_one_and_a_mapped_address_is_the_one_it_maps() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
