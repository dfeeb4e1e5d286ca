//! Values that are tied to an entry: not yet durable ([`Pending`]), durable ([`Logged`]).

use std::sync::Arc;

use fireaxe_protocol::log::{Hash, Receipt};

use super::error::LogError;
use super::writer::Done;

/// Something whose entry is in a batch that has not been committed. Good for nothing but its index and
/// leaf, until [`super::Committed::settle`].
#[derive(Debug)]
#[must_use = "without `settle` the thing never leaves"]
pub struct Pending<T> {
    pub(super) batch: u64,
    pub(super) index: u64,
    pub(super) leaf: Hash,
    pub(super) thing: T,
}

impl<T> Pending<T> {
    /// The index its entry will have.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The leaf hash its entry will have: what later entries of the batch refer to it by.
    pub fn leaf(&self) -> Hash {
        self.leaf
    }

    /// The thing itself: durable or not cannot be known yet.
    pub fn thing(&self) -> &T {
        &self.thing
    }
}

/// Something whose entry is durable, under a signed checkpoint. Only the log makes one:
///
/// ```compile_fail,E0451
/// use fireaxe_ca::log::Logged;
/// let forged = Logged { index: 1, leaf: todo!(), thing: "certificate", proof: todo!() };
/// ```
///
/// It is not copied, so a step that consumes it happens once:
///
/// ```compile_fail,E0599
/// fn twice<T>(logged: fireaxe_ca::log::Logged<T>) {
///     let again = logged.clone();
/// }
/// ```
///
/// And what is pending settles once:
///
/// ```compile_fail,E0382
/// use fireaxe_ca::log::{Committed, Pending};
/// fn twice<T>(committed: Committed, pending: Pending<T>) {
///     let first = committed.settle(pending);
///     let second = committed.settle(pending);
/// }
/// ```
///
/// Nothing is logged before its batch is committed:
///
/// ```compile_fail,E0599
/// use fireaxe_ca::log::{Batch, Logged, Pending};
/// fn early<T>(batch: Batch<'_>, pending: Pending<T>) {
///     let logged = batch.settle(pending);
/// }
/// ```
#[derive(Debug)]
#[must_use = "what is logged and not answered is lost to the caller"]
pub struct Logged<T> {
    pub(super) index: u64,
    pub(super) leaf: Hash,
    pub(super) thing: T,
    pub(super) proof: Proof,
}

/// Where line 1 and the receipt come from.
#[derive(Debug)]
pub(super) enum Proof {
    /// The batch just committed.
    Batch(Arc<Done>),
    /// The file, read back.
    Stored { line1: Vec<u8>, receipt: Box<Receipt> },
}

impl<T> Logged<T> {
    /// The entry's index. Of a `certificate.issued`: the serial.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The entry's leaf hash.
    pub fn leaf(&self) -> Hash {
        self.leaf
    }

    /// Line 1 of the entry.
    pub fn line1(&self) -> &[u8] {
        match &self.proof {
            Proof::Batch(done) => done.line1(self.index),
            Proof::Stored { line1, .. } => line1,
        }
    }

    /// The receipt: the same bytes whenever and from wherever it is made, but that one made before enough
    /// witnesses cosigned a head over the entry carries the plain head.
    pub fn receipt(&self) -> Result<Receipt, LogError> {
        match &self.proof {
            Proof::Batch(done) => done.receipt(self.index),
            Proof::Stored { receipt, .. } => Ok(Receipt::clone(receipt)),
        }
    }

    /// The thing itself.
    pub fn thing(&self) -> &T {
        &self.thing
    }

    /// Gives the thing up to the next step; the proof that it was logged ends here.
    pub fn into_thing(self) -> T {
        self.thing
    }
}
