//! The keys, the certificates over them, and the rules for their use. No I/O; time and randomness are
//! parameters.

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::ReadProof;
use fireaxe_protocol::certificate::{self, Expected, Subject};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::names::{AccountName, EmergencyId, HostName, Origin, PersonName};
use ssh_key::Certificate;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use thiserror::Error;
use zeroize::Zeroizing;

use super::binding::Binding;
use super::bound::{Bound, Entry};
use super::narrowed::Narrowed;
use super::userauth;
use crate::control::{
    Held, Hold, Narrow, Narrowing, NewNarrowed, Pending, Pinned, ReadRequest, Reader, SessionState,
};

/// Certificates of tiers shown to one connection, and of actions beside them: a stock sshd closes after six
/// keys that do not fit.
pub(crate) const OFFERED: usize = 3;
const ACTIONS_OFFERED: usize = 2;
/// A fresh key that got no certificate is dropped after this many seconds: an answer that was lost is
/// asked for again within one minute.
const FRESH_S: u64 = 600;
/// Fresh keys without a certificate at once; and as many emergencies of which everything still waits.
const FRESH: usize = 16;

/// Why the agent does not do something. Never says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    /// The connection is forwarded, or bound to another session or host.
    #[error("this connection may not use keys: it is forwarded or bound to another session")]
    NotHere,
    /// Not a login.
    #[error("only logins are signed")]
    NotALogin,
    /// Not a request of ours.
    #[error("only plain requests are proved")]
    NotARead,
    /// No live certificate like that.
    #[error("no live certificate of that key is held")]
    NotHeld,
    /// The login is for another account.
    #[error("the certificate is for another account")]
    OtherAccount,
    /// The certificate to hold is not one this agent can use.
    #[error("the certificate cannot be held: {0}")]
    Certificate(&'static str),
    /// Too many fresh keys.
    #[error("too many fresh keys without a certificate: at most {FRESH}")]
    TooMany,
    /// There is no session, or it has ended.
    #[error("there is no session for reading")]
    NoSession,
}

struct Fresh {
    key: Box<SigningKey>,
    public: Ed25519Key,
    drop_at: u64,
}

struct Session {
    key: Box<SigningKey>,
    state: SessionState,
}

/// Everything the agent has. Dropping a key wipes it (`ed25519-dalek`, feature `zeroize`).
#[derive(Default)]
pub(crate) struct Keyring {
    fresh: Vec<Fresh>,
    bound: Vec<Bound>,
    session: Option<Session>,
}

impl Keyring {
    /// A new key from 32 random bytes. Only its public half ever leaves.
    pub(crate) fn fresh_key(&mut self, seed: Zeroizing<[u8; 32]>, now: u64) -> Result<Ed25519Key, Refused> {
        self.sweep(now);
        if self.fresh.len() >= FRESH {
            return Err(Refused::TooMany);
        }
        let (key, public) = born(&seed);
        self.fresh.push(Fresh { key, public, drop_at: now.saturating_add(FRESH_S) });
        Ok(public)
    }

    /// Drops a fresh key for which nothing will come, so that refusals never use up what [`FRESH`] allows.
    pub(crate) fn discard(&mut self, public: &Ed25519Key) {
        self.fresh.retain(|fresh| fresh.public != *public);
    }

    /// Takes a certificate for one of the fresh keys. The client has compared it with its terms; here
    /// only what the agent's own rules rest on is read again from the bytes.
    pub(crate) fn hold(&mut self, hold: Hold, now: u64) -> Result<Held, Refused> {
        self.sweep(now);
        if hold.certificate.len() > limits::CERTIFICATE * 2 {
            return Err(Refused::Certificate("it is too long"));
        }
        let certificate = Certificate::from_openssh(&hold.certificate)
            .map_err(|_| Refused::Certificate("it is not an OpenSSH certificate"))?;
        let KeyData::Ed25519(public) = certificate.public_key() else {
            return Err(Refused::Certificate("its key is not Ed25519"));
        };
        let public = Ed25519Key(public.0);
        if certificate.cert_type() != CertType::User {
            return Err(Refused::Certificate("it is not a user certificate"));
        }
        if certificate.valid_before() <= now {
            return Err(Refused::Certificate("it has ended"));
        }
        let prefix = format!("{}:", hold.terms.account);
        let principals = certificate.valid_principals();
        if principals.is_empty() || !principals.iter().all(|p| p.starts_with(&prefix)) {
            return Err(Refused::Certificate("its principals are not those of the account"));
        }
        let blob = certificate.to_bytes().map_err(|_| Refused::Certificate("it cannot be written"))?;
        let held = Held {
            emergency: hold.emergency,
            declaration: hold.declaration,
            origin: hold.origin.clone(),
            system: hold.system,
            host: hold.host,
            hosts: hold.hosts,
            tier: hold.terms.tier.clone(),
            power: hold.terms.power,
            account: hold.terms.account.clone(),
            drill: hold.drill,
            serial: certificate.serial(),
            action: hold.terms.action.clone(),
            public_key: public,
            fingerprint: public.fingerprint(),
            uses: 0,
            valid_before: certificate.valid_before(),
        };
        let entry = Entry { blob, held, terms: hold.terms, pinned: hold.pinned };
        Ok(self.bind(public, hold.emergency, &hold.origin)?.hold(entry))
    }

    /// Remembers that something of an emergency waits. Its key lives until then, with or without a
    /// certificate.
    pub(crate) fn remember(&mut self, mut pending: Pending, now: u64) -> Result<(), Refused> {
        self.sweep(now);
        let known = self.bound.iter().any(|b| b.is_of(pending.emergency, &pending.origin));
        if !known && self.bound.iter().filter(|b| b.entries.is_empty()).count() >= FRESH {
            return Err(Refused::TooMany);
        }
        pending.until = pending.until.min(now.saturating_add(limits::WAIT_MAX_S));
        let bound = self.bind(pending.public_key, pending.emergency, &pending.origin)?;
        bound.pending = Some(pending);
        Ok(())
    }

    /// Nothing of an emergency waits any more.
    pub(crate) fn forget(&mut self, emergency: EmergencyId) {
        self.bound.iter_mut().filter(|b| b.emergency() == emergency).for_each(|b| b.pending = None);
        self.bound.retain(|b| b.pending.is_some() || !b.entries.is_empty());
    }

    /// What waits, in order of emergency.
    pub(crate) fn pending(&mut self, now: u64) -> Vec<Pending> {
        self.sweep(now);
        let mut all: Vec<Pending> = self.bound.iter().filter_map(|b| b.pending.clone()).collect();
        all.sort_by_key(|p| p.emergency);
        all
    }

    /// The key with this public half as this emergency's: a fresh one becomes its own; one that belongs to
    /// another emergency is refused.
    fn bind(
        &mut self,
        public: Ed25519Key,
        emergency: EmergencyId,
        origin: &Origin,
    ) -> Result<&mut Bound, Refused> {
        let at = match self.bound.iter().position(|b| b.public == public) {
            Some(at) => at,
            None => {
                let fresh = self.fresh.iter().position(|f| f.public == public);
                let Some(fresh) = fresh.map(|at| self.fresh.swap_remove(at)) else {
                    return Err(Refused::Certificate(
                        "its key was not born in this agent, or waited too long",
                    ));
                };
                self.bound.push(Bound::new(fresh.key, emergency, origin.clone()));
                self.bound.len().saturating_sub(1)
            }
        };
        match self.bound.get_mut(at) {
            Some(bound) if bound.is_of(emergency, origin) => Ok(bound),
            _ => Err(Refused::Certificate("its key belongs to another emergency")),
        }
    }

    /// What is held and alive, the most powerful first, then the one that lasts longest.
    pub(crate) fn list(&mut self, now: u64) -> Vec<Held> {
        self.sweep(now);
        let mut all: Vec<Held> = self.bound.iter().flat_map(Bound::held).collect();
        all.sort_by_key(Held::rank);
        all
    }

    /// Drops the certificates and the key of an emergency; how many certificates there were.
    pub(crate) fn drop_emergency(&mut self, emergency: EmergencyId) -> usize {
        let gone = self.bound.extract_if(.., |b| b.emergency() == emergency);
        gone.map(|b| b.entries.len()).sum()
    }

    /// The live certificate of highest power that reaches `host`. `ssh host` takes its account.
    pub(crate) fn best_for(&mut self, host: &HostName, now: u64) -> Option<Held> {
        self.list(now).into_iter().find(|held| held.reaches(host))
    }

    /// Whether `ssh host` should log in as `account` with what is held.
    pub(crate) fn matches(&mut self, host: &HostName, account: &AccountName, now: u64) -> bool {
        self.best_for(host, now).is_some_and(|held| held.account == *account)
    }

    /// What one connection is shown: nothing if forwarded; the certificates for the host that the far
    /// end claims to be, if it claims one; else the most powerful. At most [`OFFERED`].
    pub(crate) fn offer(&mut self, binding: &Binding, now: u64) -> Vec<(Vec<u8>, String)> {
        self.sweep(now);
        if *binding == Binding::Remote {
            return Vec::new();
        }
        let claimed: Vec<HostName> = binding.host_names().iter().filter_map(|n| n.parse().ok()).collect();
        // By what each was made of: one for a host alone stands where its wide one would.
        type Shown<'a> = (&'a Held, &'a Entry);
        let fits = |(wide, _): &Shown<'_>| claimed.iter().any(|h| wide.reaches(h));
        let mut entries: Vec<Shown<'_>> = self.bound.iter().flat_map(|b| b.shown(binding, now)).collect();
        if entries.iter().any(fits) {
            entries.retain(fits);
        }
        let (mut actions, mut tiers): (Vec<Shown<'_>>, Vec<Shown<'_>>) =
            entries.into_iter().partition(|(wide, _)| wide.action.is_some());
        tiers.sort_by_key(|(wide, _)| wide.rank());
        // The newest: it is the one that is being run.
        actions.sort_by_key(|(wide, _)| std::cmp::Reverse(wide.serial));
        tiers.truncate(OFFERED);
        tiers.extend(actions.into_iter().take(ACTIONS_OFFERED));
        tiers.sort_by_key(|(wide, _)| wide.rank());
        tiers.iter().map(|(_, e)| (e.blob.clone(), e.held.comment())).collect()
    }

    /// For which emergencies a certificate for the host at the far end should be asked for, before anything is
    /// shown to this connection: at most [`OFFERED`], the most powerful first.
    pub(crate) fn wanted(&mut self, binding: &Binding, now: u64) -> Vec<Narrow> {
        self.sweep(now);
        let mut wanted: Vec<_> = self
            .bound
            .iter()
            .filter_map(|b| Some((b.strongest()?.held.rank(), b.narrow(b.wants(binding, now)?))))
            .collect();
        wanted.sort_by_key(|(rank, _)| *rank);
        wanted.into_iter().take(OFFERED).map(|(_, narrow)| narrow).collect()
    }

    /// What a certificate for that host must be made of.
    pub(crate) fn narrowing(&mut self, narrow: &Narrow, now: u64) -> Result<Narrowing, Refused> {
        self.sweep(now);
        let (_, wide, pinned) = self.wide(narrow)?;
        let (public_key, terms) = (wide.held.public_key, wide.terms.clone());
        Ok(Narrowing { public_key, terms, of: pinned.of, within: wide.within() })
    }

    /// Takes a certificate for one host. Whoever hands it in is not believed: it must be what is held already,
    /// narrowed to that host, field by field, signed by the CA that was pinned when the emergency was opened, end no
    /// later, and let sessions go on until the very end of the one that is held and no longer than that is good.
    pub(crate) fn narrow(&mut self, narrow: &Narrow, new: &NewNarrowed, now: u64) -> Result<(), Refused> {
        self.sweep(now);
        let (at, wide, pinned) = self.wide(narrow)?;
        if !wide.held.reaches(&narrow.host) || !new.terms.are_narrowed_from(&wide.terms, &narrow.host) {
            return Err(Refused::Certificate("its terms are not what is held, for that host"));
        }
        let expected = Expected {
            public_key: wide.held.public_key,
            terms: &new.terms,
            ca_key: pinned.user_ca,
            subject: Subject::Person(narrow.emergency, &pinned.person),
            within: Some(wide.within()),
            now,
        };
        let accepted = certificate::compare(&new.certificate, &expected)
            .map_err(|_| Refused::Certificate("it is not what its terms say"))?;
        if accepted.valid_before <= now || accepted.valid_before > wide.held.valid_before {
            return Err(Refused::Certificate("it has ended, or ends later than what is held"));
        }
        let blob = certificate::from_openssh(&new.certificate)
            .map_err(|_| Refused::Certificate("it is not an OpenSSH certificate"))?;
        let held = Held {
            host: Some(narrow.host.clone()),
            hosts: vec![narrow.host.to_string()],
            serial: accepted.serial,
            valid_before: accepted.valid_before,
            ..wide.held.clone()
        };
        let base = wide.held.serial;
        let entry = Entry { blob, held, terms: new.terms.clone(), pinned: None };
        let host = narrow.host.clone();
        if let Some(bound) = self.bound.get_mut(at) {
            bound.narrowed.take(Narrowed { host, base, entry });
        }
        Ok(())
    }

    /// None came for that host. `away`: its CA did not answer at all, so nothing is asked of it for a while.
    pub(crate) fn none_came(&mut self, narrow: &Narrow, away: bool, now: u64) {
        let same_ca = |b: &&mut Bound| {
            if away { b.is_from(&narrow.origin) } else { b.is_of(narrow.emergency, &narrow.origin) }
        };
        self.bound.iter_mut().filter(same_ca).for_each(|b| b.narrowed.none_came(&narrow.host, away, now));
    }

    #[cfg(test)]
    pub(super) fn narrowed(&self) -> Vec<u64> {
        self.bound.iter().flat_map(|b| b.narrowed.serials()).collect()
    }

    /// The wide certificate that would be narrowed, and what that is held against.
    fn wide(&self, narrow: &Narrow) -> Result<(usize, &Entry, &Pinned), Refused> {
        let at = self.bound.iter().position(|b| b.is_of(narrow.emergency, &narrow.origin));
        let wide = at.and_then(|at| Some((at, self.bound.get(at)?.strongest()?)));
        let (at, wide) = wide.ok_or(Refused::NotHeld)?;
        Ok((at, wide, wide.pinned.as_ref().ok_or(Refused::NotHeld)?))
    }

    /// Signs a login with a held certificate's key, if every rule allows it.
    pub(crate) fn sign(
        &mut self,
        binding: &Binding,
        key: &[u8],
        data: &[u8],
        now: u64,
    ) -> Result<[u8; 64], Refused> {
        self.sweep(now);
        if *binding == Binding::Remote {
            return Err(Refused::NotHere);
        }
        let login = userauth::parse(data).map_err(|_| Refused::NotALogin)?;
        if !binding.admits(login.session, login.host_key) {
            return Err(Refused::NotHere);
        }
        let found = self.bound.iter_mut().find_map(|b| {
            let wide = b.entries.iter().find(|e| e.blob == key);
            // One for a host alone is used on a connection to that host alone.
            let here = |narrow: &&Narrowed| b.host(binding, now).as_ref() == Some(&narrow.host);
            let narrow = b.narrowed.find(key).filter(here).map(|narrow| &narrow.entry);
            let account = wide.or(narrow)?.held.account.clone();
            Some((b, account))
        });
        let (bound, account) = found.ok_or(Refused::NotHeld)?;
        if login.key != key {
            return Err(Refused::NotHeld);
        }
        if login.user != account.as_str() {
            return Err(Refused::OtherAccount);
        }
        Ok(bound.sign_login(data))
    }

    /// The session key for reading: the one there is, or a new one from `seed` when there is none, it
    /// has ended, it is another person's, or `renew` asks for one.
    pub(crate) fn session(
        &mut self,
        person: &PersonName,
        renew: bool,
        seed: Zeroizing<[u8; 32]>,
        now: u64,
    ) -> SessionState {
        self.sweep(now);
        if let Some(session) = &self.session
            && session.state.person == *person
            && !renew
        {
            return session.state.clone();
        }
        let (key, public_key) = born(&seed);
        let state = SessionState { public_key, person: person.clone(), until: None };
        self.session = Some(Session { key, state: state.clone() });
        state
    }

    /// The CA has taken the session key until then.
    pub(crate) fn logged_in(&mut self, public_key: &Ed25519Key, until: u64) -> Result<(), Refused> {
        match &mut self.session {
            Some(session) if session.state.public_key == *public_key => {
                session.state.until = Some(until);
                Ok(())
            }
            _ => Err(Refused::NoSession),
        }
    }

    /// The proof of a reader: the agent itself composes the bytes, so nothing else can be had signed.
    pub(crate) fn read_proof(&mut self, ask: &ReadRequest, now: u64) -> Result<ReadProof, Refused> {
        self.sweep(now);
        let key: &SigningKey = match ask.reader {
            Reader::Session => {
                let session = self.session.as_ref().ok_or(Refused::NoSession)?;
                session.state.until.ok_or(Refused::NoSession)?;
                &session.key
            }
            Reader::Emergency(id) => {
                self.bound.iter().find(|b| b.is_of(id, &ask.origin)).ok_or(Refused::NotHeld)?.key()
            }
        };
        // Method and path stand each on its own line of what is signed, so neither may hold another.
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_graphic());
        if !plain(&ask.method) || !plain(&ask.path) || !ask.path.starts_with('/') {
            return Err(Refused::NotARead);
        }
        Ok(ReadProof::sign(key, &ask.origin, &ask.method, &ask.path, now))
    }

    /// Drops what has ended. When the next one ends, unix seconds.
    pub(crate) fn sweep(&mut self, now: u64) -> Option<u64> {
        self.fresh.retain(|f| f.drop_at > now);
        let mut ends: Vec<u64> = Vec::new();
        self.bound.retain_mut(|b| match b.sweep(now) {
            Some(at) => {
                ends.push(at);
                true
            }
            None => false,
        });
        if self.session.as_ref().is_some_and(|s| s.state.until.is_some_and(|until| until <= now)) {
            self.session = None;
        }
        let ends = ends.into_iter().chain(self.fresh.iter().map(|f| f.drop_at));
        ends.chain(self.session.iter().filter_map(|s| s.state.until)).min()
    }
}

fn born(seed: &Zeroizing<[u8; 32]>) -> (Box<SigningKey>, Ed25519Key) {
    let key = Box::new(SigningKey::from_bytes(seed));
    let public = Ed25519Key(key.verifying_key().to_bytes());
    (key, public)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::binding::SessionBind;
    use super::super::binding::tests::{bind_bytes, host_key};
    use super::super::userauth::tests::request;
    use super::*;
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};
    use fireaxe_protocol::log::Hash;
    use fireaxe_protocol::policy::{Presence, Record, Terms};
    use proptest::prelude::*;

    pub(crate) const NOW: u64 = 1_800_000_000;

    pub(crate) fn terms(account: &str, power: u8) -> Terms {
        Terms {
            tier: "root".parse().unwrap(),
            power,
            account: account.parse().unwrap(),
            principals: vec![format!("{account}:db-3.payments.prod").parse().unwrap()],
            force_command: None,
            extensions: Vec::new(),
            source_address: Vec::new(),
            lifetime_s: 600,
            approvals: Vec::new(),
            presence: Presence::None,
            record: Record::None,
            krl_max_age_s: None,
            grace_s: 0,
            action: None,
        }
    }

    pub(crate) fn certificate(public: &Ed25519Key, principal: &str, serial: u64, ends: u64) -> String {
        let ca = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[9; 32]));
        let mut builder =
            ssh_key::certificate::Builder::new(vec![1; 16], public.key_data(), NOW - 120, ends).unwrap();
        builder.serial(serial).unwrap();
        builder.cert_type(CertType::User).unwrap();
        builder.key_id("fireaxe/EM-42/ana/7").unwrap();
        builder.valid_principal(principal).unwrap();
        builder.sign(&ca).unwrap().to_openssh().unwrap()
    }

    pub(crate) fn hold_of(ring: &mut Keyring, em: u64, account: &str, power: u8, host: &str) -> Held {
        let seed = Zeroizing::new([em as u8; 32]);
        let public = ring.fresh_key(seed, NOW).unwrap();
        let principal = format!("{account}:{}", host.replace('*', "1"));
        let certificate = certificate(&public, &principal, em, NOW + 600);
        let hold = Hold {
            certificate,
            emergency: EmergencyId(em),
            declaration: Hash([3; 32]),
            origin: "fireaxe.prod/0123456789abcdef".parse().unwrap(),
            system: "payments-db".parse().unwrap(),
            host: None,
            hosts: vec![host.to_owned()],
            terms: terms(account, power),
            drill: false,
            pinned: None,
        };
        ring.hold(hold, NOW).unwrap()
    }

    fn one() -> (Keyring, Held, Vec<u8>) {
        let mut ring = Keyring::default();
        let held = hold_of(&mut ring, 42, "root", 3, "db-3.payments.prod");
        let blob = ring.bound[0].entries[0].blob.clone();
        (ring, held, blob)
    }

    fn bound(forwarding: bool, session: u8) -> Binding {
        let (key, blob) = host_key(1);
        let bytes = bind_bytes(&key, &blob, &[session; 32], forwarding);
        let mut binding = Binding::default();
        binding.take(SessionBind::parse(&bytes));
        binding
    }

    #[test]
    fn a_login_with_the_certificates_own_account_is_signed_by_its_key() {
        let (mut ring, _, blob) = one();
        let data = request(&[7; 32], "root", &blob, None);
        for binding in [Binding::None, bound(false, 7)] {
            let signature = ring.sign(&binding, &blob, &data, NOW).unwrap();
            let public = ring.bound[0].key().verifying_key().to_bytes();
            let public = VerifyingKey::from_bytes(&public).unwrap();
            public.verify(&data, &Signature::from_bytes(&signature)).unwrap();
        }
    }

    #[test]
    fn a_forwarded_connection_is_shown_nothing_and_gets_no_signature() {
        let (mut ring, _, blob) = one();
        let mut binding = bound(true, 7);
        let (key, host) = host_key(1);
        binding.take(SessionBind::parse(&bind_bytes(&key, &host, &[8; 32], false)));
        assert!(ring.offer(&binding, NOW).is_empty());
        let data = request(&[8; 32], "root", &blob, None);
        assert_eq!(ring.sign(&binding, &blob, &data, NOW), Err(Refused::NotHere));
    }

    #[test]
    fn another_account_another_session_and_other_data_are_not_signed() {
        let (mut ring, _, blob) = one();
        let sign = |ring: &mut Keyring, b: &Binding, d: &[u8]| ring.sign(b, &blob, d, NOW).map(|_| ());
        let none = Binding::None;
        let other = request(&[7; 32], "ops", &blob, None);
        assert_eq!(sign(&mut ring, &none, &other), Err(Refused::OtherAccount));
        let elsewhere = request(&[8; 32], "root", &blob, None);
        assert_eq!(sign(&mut ring, &bound(false, 7), &elsewhere), Err(Refused::NotHere));
        let wrong_host = request(&[7; 32], "root", &blob, Some(b"another host key"));
        assert_eq!(sign(&mut ring, &bound(false, 7), &wrong_host), Err(Refused::NotHere));
        for data in [&b"SSHSIG\0\0\0\x01x"[..], b"", b"hello", &[0; 64]] {
            assert_eq!(sign(&mut ring, &none, data), Err(Refused::NotALogin));
        }
        let inner = request(&[7; 32], "root", b"another certificate", None);
        assert_eq!(sign(&mut ring, &none, &inner), Err(Refused::NotHeld));
    }

    #[test]
    fn the_plain_key_is_neither_shown_nor_used() {
        let (mut ring, _, blob) = one();
        let public = Ed25519Key(ring.bound[0].key().verifying_key().to_bytes());
        let plain = ssh_key::PublicKey::from(public.key_data()).to_bytes().unwrap();
        assert!(ring.offer(&Binding::None, NOW).iter().all(|(b, _)| *b == blob));
        let data = request(&[7; 32], "root", &plain, None);
        assert_eq!(ring.sign(&Binding::None, &plain, &data, NOW), Err(Refused::NotHeld));
    }

    #[test]
    fn a_certificate_lasts_to_its_end_and_not_one_second_longer() {
        let (mut ring, held, blob) = one();
        let data = request(&[7; 32], "root", &blob, None);
        assert_eq!(ring.sweep(held.valid_before - 1), Some(held.valid_before));
        assert!(ring.sign(&Binding::None, &blob, &data, held.valid_before - 1).is_ok());
        assert_eq!(ring.sign(&Binding::None, &blob, &data, held.valid_before), Err(Refused::NotHeld));
        assert!(ring.bound.is_empty(), "the key is still there after the end");
        assert_eq!(ring.sweep(held.valid_before), None);
    }

    #[test]
    fn a_fresh_key_without_a_certificate_is_dropped_and_their_number_is_bounded() {
        let mut ring = Keyring::default();
        for n in 0..FRESH {
            ring.fresh_key(Zeroizing::new([n as u8 + 1; 32]), NOW).unwrap();
        }
        let more = ring.fresh_key(Zeroizing::new([99; 32]), NOW);
        assert_eq!(more, Err(Refused::TooMany));
        let refused = ring.fresh[3].public;
        ring.discard(&refused);
        assert!(ring.fresh_key(Zeroizing::new([98; 32]), NOW).is_ok());
        assert!(ring.fresh_key(Zeroizing::new([99; 32]), NOW + FRESH_S).is_ok());
        assert_eq!(ring.fresh.len(), 1);
    }

    #[test]
    fn only_a_live_user_certificate_for_a_fresh_key_and_the_account_is_held() {
        let mut ring = Keyring::default();
        let public = ring.fresh_key(Zeroizing::new([1; 32]), NOW).unwrap();
        let stranger = Ed25519Key(SigningKey::from_bytes(&[2; 32]).verifying_key().to_bytes());
        let hold = |certificate: String| Hold {
            certificate,
            emergency: EmergencyId(1),
            declaration: Hash([3; 32]),
            origin: "fireaxe.prod/0123456789abcdef".parse().unwrap(),
            system: "payments-db".parse().unwrap(),
            host: None,
            hosts: vec!["db-3.payments.prod".into()],
            terms: terms("root", 3),
            drill: false,
            pinned: None,
        };
        for bad in [
            "no certificate".to_owned(),
            certificate(&stranger, "root:db-3.payments.prod", 7, NOW + 60),
            certificate(&public, "root:db-3.payments.prod", 7, NOW),
            certificate(&public, "rooty:db-3.payments.prod", 7, NOW + 60),
            "x".repeat(limits::CERTIFICATE * 2 + 1),
        ] {
            assert!(matches!(ring.hold(hold(bad), NOW), Err(Refused::Certificate(_))));
        }
        let good = certificate(&public, "root:db-3.payments.prod", 7, NOW + 60);
        assert_eq!(ring.hold(hold(good), NOW).unwrap().serial, 7);
    }

    #[test]
    fn the_certificate_of_highest_power_decides_the_account_of_a_host() {
        let mut ring = Keyring::default();
        hold_of(&mut ring, 1, "look", 1, "db-*.payments.prod");
        hold_of(&mut ring, 2, "root", 3, "db-3.payments.prod");
        let host = |h: &str| h.parse::<HostName>().unwrap();
        let account = |a: &str| a.parse::<AccountName>().unwrap();
        assert!(ring.matches(&host("db-3.payments.prod"), &account("root"), NOW));
        assert!(!ring.matches(&host("db-3.payments.prod"), &account("look"), NOW));
        assert!(ring.matches(&host("db-4.payments.prod"), &account("look"), NOW));
        assert!(!ring.matches(&host("db-4.payments.prod"), &account("root"), NOW));
        assert!(!ring.matches(&host("web-1.shop.prod"), &account("root"), NOW));
        assert_eq!(ring.drop_emergency(EmergencyId(2)), 1);
        assert!(ring.matches(&host("db-3.payments.prod"), &account("look"), NOW));
    }

    #[test]
    fn few_certificates_are_offered_the_most_fitting_first() {
        let mut ring = Keyring::default();
        for n in 1..=6 {
            hold_of(&mut ring, n, "root", n as u8, &format!("db-{n}.payments.prod"));
        }
        let offered = ring.offer(&Binding::None, NOW);
        assert_eq!(offered.len(), OFFERED);
        assert!(offered[0].1.contains("EM-6"), "{}", offered[0].1);
        let (key, _) = host_key(1);
        let ca = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[9; 32]));
        let subject = Ed25519Key(key.verifying_key().to_bytes()).key_data();
        let mut builder = ssh_key::certificate::Builder::new(vec![1; 16], subject, 1, NOW * 2).unwrap();
        builder.cert_type(CertType::Host).unwrap();
        builder.valid_principal("db-2.payments.prod").unwrap();
        let blob = builder.sign(&ca).unwrap().to_bytes().unwrap();
        let mut binding = Binding::default();
        assert!(binding.take(SessionBind::parse(&bind_bytes(&key, &blob, &[7; 32], false))));
        let offered = ring.offer(&binding, NOW);
        assert_eq!(offered.len(), 1);
        assert!(offered[0].1.contains("EM-2"), "{}", offered[0].1);
    }

    #[test]
    fn a_reader_is_proved_by_the_session_key_or_the_emergencys_own_and_only_for_reading() {
        let (mut ring, held, _) = one();
        let origin: Origin = "fireaxe.prod/0123456789abcdef".parse().unwrap();
        let ask = |reader, path: &str| ReadRequest {
            reader,
            origin: origin.clone(),
            method: "GET".into(),
            path: path.into(),
        };
        assert_eq!(ring.read_proof(&ask(Reader::Session, "/v1/x"), NOW), Err(Refused::NoSession));
        let ana: PersonName = "ana".parse().unwrap();
        let state = ring.session(&ana, false, Zeroizing::new([5; 32]), NOW);
        assert_eq!(ring.read_proof(&ask(Reader::Session, "/v1/x"), NOW), Err(Refused::NoSession));
        ring.logged_in(&state.public_key, NOW + 100).unwrap();
        let proof = ring.read_proof(&ask(Reader::Session, "/v1/x"), NOW).unwrap();
        assert_eq!(proof.key, state.public_key.fingerprint());
        proof.verify(&state.public_key, &origin, "GET", "/v1/x").unwrap();
        let of = Reader::Emergency(held.emergency);
        assert_eq!(ring.read_proof(&ask(of, "/v1/x"), NOW).unwrap().key, held.fingerprint);
        assert!(ring.read_proof(&ask(Reader::Session, "/v1/x\n/v1/y"), NOW).is_err());
        assert_eq!(ring.session(&ana, false, Zeroizing::new([6; 32]), NOW).public_key, state.public_key);
        assert_ne!(ring.session(&ana, true, Zeroizing::new([6; 32]), NOW).public_key, state.public_key);
        ring.logged_in(&state.public_key, NOW).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_data_but_a_login_is_ever_signed(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut ring, _, blob) = one();
            prop_assert!(ring.sign(&Binding::None, &blob, &data, NOW).is_err());
        }
    }
}
