//! Step 2: know the caller. Signed words in, a known person out.
//!
//! Runs on the request's own task, many at once: the signature check is the dearest part of the road.
//! A stranger is refused by the name of their key before any signature is checked.

use std::sync::Arc;

use fireaxe_protocol::limits::STATEMENT_WINDOW_S;
use fireaxe_protocol::log::SignedBy;
use fireaxe_protocol::names::{Origin, PersonName};
use fireaxe_protocol::policy::{Bundle, Cidr};
use fireaxe_protocol::statement::{Claimed, Envelope, Kind, Signed};

use super::Refusal;

/// A statement whose signer is a person of the roster. Made only by [`Gate::know`]:
///
/// ```compile_fail,E0451
/// use fireaxe_ca::road::Known;
/// let anybody = Known { signed: todo!(), person: "ana".parse().unwrap(), network: None };
/// ```
///
/// One statement is one request:
///
/// ```compile_fail,E0382
/// use fireaxe_ca::road::{Known, Road};
/// fn twice(road: Road, known: Known) {
///     let first = road.declare(known);
///     let second = road.declare(known);
/// }
/// ```
///
/// And what was only sent is not known:
///
/// ```compile_fail,E0308
/// use fireaxe_ca::road::Road;
/// use fireaxe_protocol::statement::Envelope;
/// fn unknown(road: Road, sent: Envelope) {
///     let opening = road.declare(sent);
/// }
/// ```
#[derive(Debug)]
pub struct Known {
    signed: Signed,
    person: PersonName,
    network: Option<Cidr>,
}

impl Known {
    /// The same, come from this network, as the socket says; never what a header says.
    #[must_use]
    pub fn from_network(mut self, network: Option<Cidr>) -> Known {
        self.network = network;
        self
    }

    /// Where it came from, when that is known.
    pub fn network(&self) -> Option<&Cidr> {
        self.network.as_ref()
    }

    /// What an entry keeps of it.
    pub(super) fn signed_by(&self) -> SignedBy {
        SignedBy {
            person: self.person.clone(),
            said: self.signed.envelope.clone(),
            key: self.signed.fingerprint,
            presence: self.signed.presence,
            counter: self.signed.counter,
        }
    }

    /// The statement and what its signature proves.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// Who signed.
    pub fn person(&self) -> &PersonName {
        &self.person
    }

    /// Takes it apart.
    pub(super) fn into_parts(self) -> (Signed, PersonName, Option<Cidr>) {
        (self.signed, self.person, self.network)
    }
}

/// What is needed to know a caller.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The log that statements must be for.
    pub origin: Origin,
    /// The bundle in force.
    pub bundle: Arc<Bundle>,
}

impl Gate {
    /// Checks in order of cost: shape, kind, log, roster, signature. The time is the writer's to check,
    /// after it has looked for the statement among those answered already.
    pub fn know(&self, envelope: Envelope, expected: Kind) -> Result<Known, Refusal> {
        let claimed = Claimed::read(envelope)?;
        let header = claimed.statement().header();
        if header.kind != expected {
            return Err(Refusal::WrongKind { expected, found: header.kind });
        }
        if header.to != self.origin {
            return Err(Refusal::WrongLog { found: header.to.clone(), ours: self.origin.clone() });
        }
        let (person, key) = self.bundle.roster.by_key(claimed.fingerprint()).ok_or(Refusal::Stranger)?;
        let person = person.name.clone();
        let signed = claimed.verify(key)?;
        Ok(Known { signed, person, network: None })
    }
}

/// Whether a statement's time is near enough to `now`.
pub(crate) fn fresh(at: u64, now: u64) -> Result<(), Refusal> {
    if now.abs_diff(at) <= STATEMENT_WINDOW_S {
        return Ok(());
    }
    let skew = i64::try_from(now.abs_diff(at)).unwrap_or(i64::MAX);
    Err(Refusal::Stale { skew_s: if at <= now { skew } else { -skew } })
}

/// [`fresh`], for doors that answer without the writer.
pub(crate) fn check_time(known: &Known, now: u64) -> Result<(), Refusal> {
    fresh(known.signed.statement.header().at, now)
}
