//! What is made of the log for those who look at it from outside: whether something is missing, and a stream of
//! events. Reads only; nothing here decides, and the service never waits for it.

pub mod reconcile;
pub mod stream;
