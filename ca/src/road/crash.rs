//! Named points at which a test may end the process as a power cut would.
//!
//! Compiled in only with the feature `crash-points`; otherwise each call is nothing at all. The names
//! are those of the durable steps in docs/ISSUANCE.md.

/// Ends the process with SIGKILL when `FIREAXE_CRASH_AT` names this point.
#[cfg(feature = "crash-points")]
pub(crate) fn point(name: &str) {
    if std::env::var("FIREAXE_CRASH_AT").is_ok_and(|at| at == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}
