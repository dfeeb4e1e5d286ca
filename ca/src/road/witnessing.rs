//! What the road knows of witnesses: that somebody cosigns heads, and may say that this log is behind. How they
//! are asked is left to whoever does.

use std::fmt;

/// A witness has cosigned what this log does not have: the log is behind (a copy of an earlier day), or it is
/// another past (a fork). Nothing may be signed on top of it. Takes effect in `Conductor::batch`, and where a batch
/// waited for witnesses (`Turn::commit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Its name.
    pub witness: String,
    /// How many entries the head had that it cosigned last.
    pub size: u64,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ahead { witness, size } = self;
        write!(f, "the witness {witness} has cosigned a head of {size} entries that this log does not have")
    }
}

/// Whoever cosigns heads.
pub trait Cosigners: Send {
    /// A head was committed and nobody waits for it.
    fn committed(&self, size: u64, note: &str);

    /// A head was committed over certificates that are not signed yet: its note with enough cosignatures. Waits for
    /// them, two seconds at most, and not at all for those who failed lately. Nothing: it goes on without.
    fn cosign(&self, size: u64, note: &str) -> Option<String>;

    /// A note that came to have enough cosignatures since, each once.
    fn arrived(&self) -> Option<String>;

    /// Whether one of them knows more of this log than it has.
    fn ahead(&self) -> Option<Ahead>;
}
