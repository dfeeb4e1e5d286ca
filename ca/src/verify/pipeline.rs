//! The threads of a reading: one reads the source, as many as there are cores look at pieces by themselves, and
//! whoever called goes over them in order. A few pieces are on their way at once, so memory does not grow with
//! the log. A panic on any of the threads is a finding, and ends the reading.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::source::{Piece, Source, SourceError};

/// What came of one piece: what was made of it, or why there is none.
pub(crate) type Made<T> = Result<T, SourceError>;

/// Reads `source` from its first entry to its end. `look` is made once for each thread; `take` gets what it made,
/// in order, and says whether to go on. The last one is that of the piece without entries.
pub(crate) fn run<T, L>(
    source: &mut dyn Source,
    look: impl Fn() -> L + Sync,
    mut take: impl FnMut(Made<T>) -> bool,
) where
    T: Send,
    L: FnMut(Piece) -> T,
{
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, THREADS);
    std::thread::scope(|scope| {
        let (work, pieces) = sync_channel::<(Piece, Sender<Made<T>>)>(threads);
        let (order, next) = sync_channel::<Receiver<Made<T>>>(2 * threads);
        scope.spawn(move || feed(source, &work, &order));
        let pieces = std::sync::Arc::new(Mutex::new(pieces));
        for _ in 0..threads {
            let (pieces, look) = (pieces.clone(), &look);
            scope.spawn(move || {
                let mut look = look();
                while let Some((piece, reply)) = taken(&pieces) {
                    let from = piece.from;
                    // Nobody waits for it any more: then there is nothing to do.
                    let _ = reply.send(guarded(from, || look(piece)));
                }
            });
        }
        // Ours must go: the feeder has to see that nobody takes pieces any more.
        drop(pieces);
        while let Ok(made) = next.recv() {
            let made = made.recv().unwrap_or_else(|_| Err(fault(0)));
            if !take(made) {
                break;
            }
        }
    });
}

/// Reads until the end, an error, or nobody takes any more.
fn feed<T>(
    source: &mut dyn Source,
    work: &SyncSender<(Piece, Sender<Made<T>>)>,
    order: &SyncSender<Receiver<Made<T>>>,
) {
    let mut from = 0;
    loop {
        let (reply, made) = channel();
        match guarded(from, || Piece::read(source, from)).and_then(|read| read) {
            Ok(piece) => {
                let read = piece.entries.len() as u64;
                from += read;
                if order.send(made).is_err() || work.send((piece, reply)).is_err() || read == 0 {
                    return;
                }
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                let _ = order.send(made);
                return;
            }
        }
    }
}

fn taken<T>(pieces: &Mutex<Receiver<T>>) -> Option<T> {
    pieces.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Runs `what`; a panic in it is a fault at `entry`. What it was at work on must not be used for more than to
/// tell what was found.
pub(crate) fn guarded<T>(entry: u64, what: impl FnOnce() -> T) -> Result<T, SourceError> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|_| fault(entry))
}

/// A panic while what begins at `entry` was read.
fn fault(entry: u64) -> SourceError {
    let what = "fireaxe-ca itself failed at it or at one of the 512 after it: keep the log as it is, and report this";
    SourceError { entry, what: what.to_owned() }
}

/// Threads that look at pieces, at most: with three pieces of a MiB for each on their way, each several times
/// over once it is taken apart, 100 MiB.
const THREADS: usize = 8;

#[cfg(test)]
mod tests {
    use fireaxe_protocol::log::tiles::TilePath;

    use super::*;

    /// As many entries of one byte, in pieces of ten.
    struct Bytes(u64);

    impl Source for Bytes {
        fn size(&self) -> u64 {
            self.0
        }
        fn has_all_heads(&self) -> bool {
            true
        }
        fn owes_tiles(&self) -> bool {
            false
        }
        fn entries(&mut self, from: u64) -> Result<Vec<Vec<u8>>, SourceError> {
            if from == 500 {
                panic!("a source that fails");
            }
            Ok((from..self.0.min(from + 10)).map(|n| vec![(n % 251) as u8]).collect())
        }
        fn heads(&mut self, _: u64, _: u64) -> Result<Vec<(u64, String)>, SourceError> {
            Ok(Vec::new())
        }
        fn tile(&mut self, _: &TilePath) -> Result<Option<Vec<u8>>, SourceError> {
            Ok(None)
        }
    }

    fn told(entries: u64, bad: u8) -> Vec<Made<(u64, usize)>> {
        let mut out = Vec::new();
        let look = || {
            move |piece: Piece| {
                assert!(!piece.entries.iter().any(|entry| entry[0] == bad), "an entry that fails");
                (piece.from, piece.entries.len())
            }
        };
        run(&mut Bytes(entries), look, |made| {
            let goes_on = made.is_ok();
            out.push(made);
            goes_on
        });
        out
    }

    #[test]
    fn pieces_come_in_order_and_the_last_is_the_one_without_entries() {
        let told: Vec<_> = told(95, 255).into_iter().map(Result::unwrap).collect();
        let full = (0..9).map(|n| (n * 10, 10));
        assert_eq!(told, full.chain([(90, 5), (95, 0)]).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_of_any_thread_is_a_finding_at_its_place_and_the_end() {
        let of_a_look = told(400, 77);
        assert_eq!(of_a_look.len(), 8);
        assert_eq!(of_a_look[7].as_ref().unwrap_err().entry, 70);
        let of_the_source = told(600, 255);
        assert_eq!((of_the_source.len(), of_the_source[50].as_ref().unwrap_err().entry), (51, 500));
        assert_eq!(guarded(7, || assert_eq!(1, 2)).unwrap_err().entry, 7);
    }
}
