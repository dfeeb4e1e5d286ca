//! Threads that do not end. One that does, by an error or a panic, is started again; one that ends again and
//! again ends the program, and systemd starts all of it anew.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::clock::Deadline;
use crate::error::HostError;
use crate::journal;

/// So many ends within [`WITHIN`] are one too many.
const ENDS: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);
/// How long after its end a thread is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// The threads of the daemon.
#[derive(Debug)]
pub(super) struct Threads {
    ended: (Sender<&'static str>, Receiver<&'static str>),
}

impl Threads {
    pub(super) fn new() -> Threads {
        Threads { ended: channel() }
    }

    /// Starts one. `work` makes its own state each time that it is called.
    pub(super) fn keep(
        &self,
        name: &'static str,
        work: impl Fn() -> Result<(), HostError> + Send + 'static,
    ) -> Result<(), HostError> {
        let over = self.ended.0.clone();
        let body = move || {
            let mut ends: VecDeque<Deadline> = VecDeque::new();
            while ends.len() < ENDS {
                // What it shared with others is behind locks that outlive a panic, or on the disk.
                match catch_unwind(AssertUnwindSafe(&work)) {
                    Ok(Ok(())) => journal::say(&format!("thread {name} ended; it is started again")),
                    Ok(Err(error)) => journal::say(&format!("thread {name}: {error}; it is started again")),
                    Err(_) => journal::say(&format!("thread {name} panicked; it is started again")),
                }
                ends.push_back(Deadline::after(WITHIN));
                while ends.front().is_some_and(|end| end.left().is_none()) {
                    ends.pop_front();
                }
                std::thread::sleep(AGAIN);
            }
            let _ = over.send(name);
        };
        let started = std::thread::Builder::new().name(name.into()).spawn(body);
        started.map(|_| ()).map_err(|error| HostError::Thread { name, why: error.to_string() })
    }

    /// Waits until one of them has ended too often.
    pub(super) fn wait(&self) -> HostError {
        // This end holds a sender, too: there is always one.
        let name = self.ended.1.recv().unwrap_or("threads");
        HostError::Thread { name, why: format!("it ended {ENDS} times within a minute") }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_thread_that_panics_is_started_again_and_one_that_goes_on_doing_so_ends_the_daemon() {
        let threads = Threads::new();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        threads
            .keep("test", move || match counted.fetch_add(1, Ordering::SeqCst) {
                0 => panic!("once"),
                1 => Ok(()),
                _ => Err(HostError::NoRandomness("x".into())),
            })
            .unwrap();
        assert!(matches!(threads.wait(), HostError::Thread { name: "test", .. }));
        assert_eq!(count.load(Ordering::SeqCst), ENDS);
    }
}
