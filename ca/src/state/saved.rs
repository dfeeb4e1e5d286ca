//! A state as bytes, and back. All of it, by derived code alone: what is added to the state is in its bytes, or
//! this does not compile. CBOR (RFC 8949), because keys of its maps are not texts.
//!
//! The bytes prove nothing: who may believe them is the snapshot's business.

use thiserror::Error;

use super::State;

/// Why bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Not one state in CBOR, or one whose bundle, names or keys are none.
    #[error("the state's bytes cannot be read: {0}")]
    Bytes(String),
    /// Something follows it.
    #[error("{0} bytes follow the state")]
    Surplus(usize),
}

impl State {
    /// The shape of what [`State::save`] writes **and the rules by which entries are folded**. Raise it with
    /// every change of either: what an older program folded must not be taken for what this one would.
    pub const SHAPE: u32 = 2;

    /// All of the state. It grows with people, hosts, incidents, what is open and what is owed, not with the log.
    pub fn save(&self) -> Result<Vec<u8>, Unreadable> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).map_err(|error| Unreadable::Bytes(error.to_string()))?;
        Ok(bytes)
    }

    /// The state that [`State::save`] made these bytes of.
    pub fn load(bytes: &[u8]) -> Result<State, Unreadable> {
        let mut rest = bytes;
        let state: State =
            ciborium::from_reader(&mut rest).map_err(|error| Unreadable::Bytes(error.to_string()))?;
        if rest.is_empty() { Ok(state) } else { Err(Unreadable::Surplus(rest.len())) }
    }
}
