//! One emergency's key: the certificates over it, what it waits for, how often it signed a login. It lives
//! as long as one of the certificates or the waiting does, and belongs to that emergency alone.

use ed25519_dalek::{Signer, SigningKey};
use fireaxe_protocol::certificate::Within;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::{EmergencyId, HostName, Origin};
use fireaxe_protocol::policy::Terms;

use super::binding::Binding;
use super::narrowed::{NarrowedCertificates, certified};
use crate::control::{Held, Narrow, Pending, Pinned};

/// Certificates of one emergency at once: a tier's, a weaker one that lasts longer, and no heap of them.
const CERTIFICATES: usize = 4;
/// How long a request is remembered after it has lapsed, so that its end can still be told, seconds.
const AFTERWARDS_S: u64 = 600;

/// One certificate.
pub(super) struct Entry {
    pub(super) blob: Vec<u8>,
    pub(super) held: Held,
    pub(super) terms: Terms,
    /// What its narrowed ones are held against; nothing: none are taken.
    pub(super) pinned: Option<Pinned>,
}

impl Entry {
    /// What a certificate that is made of it must say of it.
    pub(super) fn within(&self) -> Within {
        Within { serial: self.held.serial, until: self.held.valid_before }
    }
}

/// The key of one emergency.
pub(super) struct Bound {
    key: Box<SigningKey>,
    pub(super) public: Ed25519Key,
    emergency: EmergencyId,
    origin: Origin,
    pub(super) entries: Vec<Entry>,
    pub(super) pending: Option<Pending>,
    pub(super) narrowed: NarrowedCertificates,
    uses: u32,
}

impl Bound {
    /// A key that belongs to this emergency from now on.
    pub(super) fn new(key: Box<SigningKey>, emergency: EmergencyId, origin: Origin) -> Bound {
        let public = Ed25519Key(key.verifying_key().to_bytes());
        let narrowed = NarrowedCertificates::default();
        Bound { key, public, emergency, origin, entries: Vec::new(), pending: None, narrowed, uses: 0 }
    }

    /// Whether it is this emergency's.
    pub(super) fn is_of(&self, emergency: EmergencyId, origin: &Origin) -> bool {
        self.emergency == emergency && self.origin == *origin
    }

    /// Whether it is of that CA.
    pub(super) fn is_from(&self, origin: &Origin) -> bool {
        self.origin == *origin
    }

    /// The question for a certificate of its own for one host.
    pub(super) fn narrow(&self, host: HostName) -> Narrow {
        Narrow { emergency: self.emergency, origin: self.origin.clone(), host }
    }

    /// Its number.
    pub(super) fn emergency(&self) -> EmergencyId {
        self.emergency
    }

    /// The key, for the proof of a reader.
    pub(super) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Takes a certificate over this key. It replaces every older one that can do no more: after an
    /// upgrade only the stronger is left, after an extension only the one that lasts longer. An old one
    /// that comes late never replaces a newer. What is held of the two.
    pub(super) fn hold(&mut self, new: Entry) -> Held {
        let held = &new.held;
        let stays = |e: &&Entry| {
            e.held.serial == held.serial || e.held.serial > held.serial && e.held.power >= held.power
        };
        if let Some(there) = self.entries.iter().find(stays) {
            return self.counted(&there.held);
        }
        let replaced = |old: &Held| {
            old.serial < held.serial
                && (old.power < held.power
                    || old.power == held.power && old.valid_before <= held.valid_before)
        };
        self.entries.retain(|e| !replaced(&e.held));
        if self.entries.len() >= CERTIFICATES {
            self.entries.remove(0);
        }
        let answer = self.counted(held);
        self.entries.push(new);
        answer
    }

    /// What is held, each with the number of logins so far.
    pub(super) fn held(&self) -> impl Iterator<Item = Held> + '_ {
        self.entries.iter().map(|e| self.counted(&e.held))
    }

    fn counted(&self, held: &Held) -> Held {
        Held { uses: self.uses, ..held.clone() }
    }

    /// The most powerful certificate, by which `ssh` takes the account.
    pub(super) fn strongest(&self) -> Option<&Entry> {
        self.entries.iter().min_by_key(|e| e.held.rank())
    }

    /// The one host at the far end that the strongest certificate reaches, as a certificate of its host CA says.
    /// A host of several such names is none: which of them it goes by is not known here.
    pub(super) fn host(&self, binding: &Binding, now: u64) -> Option<HostName> {
        let strongest = self.strongest()?;
        let names = certified(binding.host_key()?, &strongest.pinned.as_ref()?.host_ca, now);
        let mut reached = names.into_iter().filter(|name| strongest.held.reaches(name));
        let host = reached.next()?;
        reached.next().is_none().then_some(host)
    }

    /// The host for which a certificate should be asked for, for this connection.
    pub(super) fn wants(&self, binding: &Binding, now: u64) -> Option<HostName> {
        let host = self.host(binding, now)?;
        self.narrowed.is_wanted(self.strongest()?, &host, now).then_some(host)
    }

    /// What this emergency shows to a connection: each certificate; but one for that host alone instead of the
    /// wide ones for which it stands in, those of its account. The rank is the wide one's.
    pub(super) fn shown(&self, binding: &Binding, now: u64) -> Vec<(&Held, &Entry)> {
        let strongest = self.strongest();
        let host = self.host(binding, now);
        let stands_in = strongest.zip(host).and_then(|(wide, host)| {
            self.narrowed.stands_in(wide, &host, now).map(|narrow| (&wide.held, narrow))
        });
        let account = stands_in.map(|(wide, _)| &wide.account);
        let others = self.entries.iter().filter(|e| Some(&e.held.account) != account);
        stands_in.into_iter().chain(others.map(|e| (&e.held, e))).collect()
    }

    /// Signs a login, and counts it.
    pub(super) fn sign_login(&mut self, data: &[u8]) -> [u8; 64] {
        self.uses = self.uses.saturating_add(1);
        self.key.sign(data).to_bytes()
    }

    /// Drops what has ended. When the next part of it ends, unix seconds; `None`: nothing is left.
    pub(super) fn sweep(&mut self, now: u64) -> Option<u64> {
        self.entries.retain(|e| e.held.valid_before > now);
        self.narrowed.sweep(&self.entries, now);
        self.pending.take_if(|p| p.until.saturating_add(AFTERWARDS_S) <= now);
        let waits = self.pending.as_ref().map(|p| p.until.saturating_add(AFTERWARDS_S));
        self.entries.iter().map(|e| e.held.valid_before).chain(waits).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::binding::Binding;
    use super::super::keyring::tests::{NOW, certificate, hold_of, terms};
    use super::super::keyring::{Keyring, Refused};
    use super::super::userauth::tests::request;
    use crate::control::{Asked, Held, Hold, Pending, ReadRequest, Reader};
    use fireaxe_protocol::keys::Ed25519Key;
    use fireaxe_protocol::limits;
    use fireaxe_protocol::log::Hash;
    use fireaxe_protocol::names::{EmergencyId, Origin};
    use zeroize::Zeroizing;

    fn origin() -> Origin {
        "fireaxe.prod/0123456789abcdef".parse().unwrap()
    }

    fn hold(public: &Ed25519Key, em: u64, tier: (&str, u8), serial: u64, ends: u64) -> Hold {
        let (account, power) = tier;
        Hold {
            certificate: certificate(public, &format!("{account}:db-3.payments.prod"), serial, ends),
            emergency: EmergencyId(em),
            declaration: Hash([3; 32]),
            origin: origin(),
            system: "payments-db".parse().unwrap(),
            host: None,
            hosts: vec!["db-3.payments.prod".into()],
            terms: terms(account, power),
            drill: false,
            pinned: None,
        }
    }

    fn pending(public: Ed25519Key, em: u64, until: u64) -> Pending {
        Pending {
            emergency: EmergencyId(em),
            declaration: Hash([3; 32]),
            origin: origin(),
            public_key: public,
            system: "payments-db".parse().unwrap(),
            host: None,
            drill: false,
            asked: Asked::default(),
            tier: None,
            until,
        }
    }

    fn fresh(ring: &mut Keyring, seed: u8) -> Ed25519Key {
        ring.fresh_key(Zeroizing::new([seed; 32]), NOW).unwrap()
    }

    fn serials(ring: &mut Keyring) -> Vec<u64> {
        ring.list(NOW).iter().map(|h| h.serial).collect()
    }

    #[test]
    fn after_an_upgrade_only_the_stronger_one_is_held_and_a_late_weaker_one_does_not_return() {
        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        ring.hold(hold(&key, 42, ("look", 1), 7, NOW + 600), NOW).unwrap();
        let root = ring.hold(hold(&key, 42, ("root", 3), 9, NOW + 300), NOW).unwrap();
        assert_eq!((root.serial, serials(&mut ring)), (9, vec![9]));
        let late = ring.hold(hold(&key, 42, ("look", 1), 7, NOW + 600), NOW).unwrap();
        assert_eq!((late.serial, serials(&mut ring)), (9, vec![9]), "the weaker one came back");
        let again = ring.hold(hold(&key, 42, ("root", 3), 9, NOW + 300), NOW).unwrap();
        assert_eq!((again, serials(&mut ring)), (root, vec![9]), "the same one is held twice");
    }

    #[test]
    fn after_an_extension_only_the_one_that_lasts_longer_is_held_and_nothing_stronger_is_lost() {
        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        ring.hold(hold(&key, 42, ("root", 3), 7, NOW + 300), NOW).unwrap();
        ring.hold(hold(&key, 42, ("root", 3), 8, NOW + 600), NOW).unwrap();
        assert_eq!(serials(&mut ring), [8]);
        ring.hold(hold(&key, 42, ("look", 1), 9, NOW + 900), NOW).unwrap();
        assert_eq!(serials(&mut ring), [8, 9], "the stronger one goes on to its end beside the longer");
        ring.hold(hold(&key, 42, ("root", 3), 10, NOW + 60), NOW).unwrap();
        assert_eq!(serials(&mut ring), [8, 10], "a shorter one took the place of a longer");
    }

    #[test]
    fn a_key_belongs_to_one_emergency_for_good() {
        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        ring.hold(hold(&key, 42, ("root", 3), 7, NOW + 300), NOW).unwrap();
        let other = ring.hold(hold(&key, 43, ("root", 3), 8, NOW + 300), NOW);
        assert_eq!(other, Err(Refused::Certificate("its key belongs to another emergency")));
        assert!(ring.remember(pending(key, 43, NOW + 60), NOW).is_err());
        assert_eq!(serials(&mut ring), [7]);
        ring.drop_emergency(EmergencyId(42));
        assert!(
            ring.hold(hold(&key, 42, ("root", 3), 9, NOW + 300), NOW).is_err(),
            "the key was still there"
        );
    }

    #[test]
    fn what_waits_is_remembered_with_its_key_until_it_has_lapsed() {
        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        let until = NOW + 7200;
        ring.remember(pending(key, 42, until), NOW).unwrap();
        let ask = ReadRequest {
            reader: Reader::Emergency(EmergencyId(42)),
            origin: origin(),
            method: "GET".into(),
            path: "/v1/emergencies/EM-42/grant".into(),
        };
        // Long after a key that nobody waits for would have been dropped.
        assert_eq!(ring.read_proof(&ask, until).unwrap().key, key.fingerprint());
        assert_eq!(ring.pending(until).len(), 1);
        assert!(ring.offer(&Binding::None, until).is_empty(), "a key without a certificate was shown");
        let held = ring.hold(hold(&key, 42, ("root", 3), 7, until + 5000), until).unwrap();
        assert_eq!(held.public_key, key);
        ring.forget(EmergencyId(42));
        assert!(ring.pending(until).is_empty());
        assert_eq!(ring.list(until).len(), 1, "forgetting the request dropped what is held");

        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        ring.remember(pending(key, 42, u64::MAX), NOW).unwrap();
        let latest = NOW + limits::WAIT_MAX_S + super::AFTERWARDS_S;
        assert_eq!(ring.sweep(latest - 1), Some(latest));
        assert_eq!(ring.sweep(latest), None);
        assert_eq!(ring.read_proof(&ask, latest), Err(Refused::NotHeld));
    }

    #[test]
    fn logins_are_counted_for_the_emergency_across_its_certificates() {
        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        ring.hold(hold(&key, 42, ("look", 1), 7, NOW + 600), NOW).unwrap();
        let login = |ring: &mut Keyring, account: &str| {
            let blob = ring.offer(&Binding::None, NOW)[0].0.clone();
            ring.sign(&Binding::None, &blob, &request(&[7; 32], account, &blob, None), NOW)
        };
        login(&mut ring, "look").unwrap();
        assert_eq!(login(&mut ring, "root"), Err(Refused::OtherAccount));
        ring.hold(hold(&key, 42, ("root", 3), 8, NOW + 600), NOW).unwrap();
        login(&mut ring, "root").unwrap();
        assert_eq!(ring.list(NOW)[0].uses, 2, "a login that was not signed counts for nothing");
        hold_of(&mut ring, 50, "look", 1, "db-3.payments.prod");
        let uses = |h: &Held| (h.emergency.0, h.uses);
        assert_eq!(ring.list(NOW).iter().map(uses).collect::<Vec<_>>(), [(42, 2), (50, 0)]);
    }

    #[test]
    fn an_action_never_stands_in_front_of_a_tier_of_the_same_power() {
        let mut ring = Keyring::default();
        let key = fresh(&mut ring, 1);
        let mut action = hold(&key, 42, ("ops", 3), 90, NOW + 6000);
        action.terms.action = Some("restart-payments".parse().unwrap());
        ring.hold(action, NOW).unwrap();
        let host = "db-3.payments.prod".parse().unwrap();
        assert!(ring.matches(&host, &"ops".parse().unwrap(), NOW));
        for em in 2..=5 {
            hold_of(&mut ring, em, "root", 3, "db-3.payments.prod");
        }
        assert!(ring.matches(&host, &"root".parse().unwrap(), NOW));
        assert!(!ring.matches(&host, &"ops".parse().unwrap(), NOW));
        let offered = ring.offer(&Binding::None, NOW);
        assert_eq!(offered.len(), super::super::keyring::OFFERED + 1, "the action has no place of its own");
        assert!(offered[3].1.contains("EM-42 ops"), "{offered:?}");
    }
}
