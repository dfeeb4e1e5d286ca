//! HTTPS to the CA, its certificate pinned: no DNS, no public PKI, no clock is needed to know it.
//!
//! | room | what it holds |
//! |---|---|
//! | [`Pin`] | `sha256:<hex>` of the one certificate that is accepted |
//! | `tls` | the handshake, and the verifier that accepts exactly the pin |
//! | [`Ca`] | requests and answers, bounded in time and size |
//! | [`Events`] | a `GET` that goes on answering: server-sent events |
//! | [`TransportError`] | what went wrong, told apart so that a person knows what to do |
//!
//! What the answers mean is left to the callers; who may ask is decided by the CA.

mod ca;
mod error;
mod events;
mod pin;
mod tls;

pub use ca::{Address, Ca, Raw, Reading, Timeouts};
pub use error::TransportError;
pub use events::Events;
pub use pin::Pin;
