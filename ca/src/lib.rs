//! The certificate authority: declares, decides, logs, signs.

pub mod log;
