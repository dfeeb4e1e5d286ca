//! What every history that a test makes must show of snapshots: a state that was saved on the way and read back
//! takes the rest of the log as the one that was never saved, and is the same in all it holds.

use std::ops::ControlFlow;
use std::path::Path;

use fireaxe_ca::data_dir::DataDir;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::Reader;
use fireaxe_ca::snapshot::{Maker, fold, latest};
use fireaxe_ca::state::State;
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Entry, NoteSigner, SnapshotNote};

/// Makes snapshots for the CA there, as `serve` does.
pub fn maker(data: &DataDir) -> Maker {
    let reader = Reader::open(&data.log()).unwrap();
    let name = SnapshotNote::key_name(reader.origin());
    let signer = NoteSigner::new(&name, keys::load(&data.keys(), Purpose::Log).unwrap()).unwrap();
    Maker { reader, path: data.snapshot(), signer }
}

/// A start from the snapshot that is there comes to the state of the whole log.
pub fn starts_alike(data: &DataDir) {
    let reader = Reader::open(&data.log()).unwrap();
    let whole = fold(&reader).unwrap().state;
    assert!(latest(&reader, Some(&data.snapshot())).unwrap() == whole, "the snapshot makes another state");
}

/// Folds all entries; at so many places on the way, evenly, and at the end, saves the state and goes on with what
/// is read back beside it. A log that cannot be folded is another test's matter.
pub fn agree(log: &Path, places: u64) {
    let reader = Reader::open(log).unwrap();
    let Ok(size) = reader.size() else { return };
    if fold(&reader).is_err() {
        return;
    }
    let mut all: Vec<(u64, State)> = Vec::new();
    let mut reached = 0;
    reader
        .entries(0, size, |index, bytes| {
            let (entry, leaf) = (Entry::decode(bytes).unwrap(), leaf_hash(bytes));
            if index == 0 {
                all.push((0, State::begin(&entry).unwrap()));
            } else {
                for (_, state) in &mut all {
                    state.apply(index, entry.at, &entry.event, entry.body.as_deref(), leaf).unwrap();
                }
            }
            reached = index + 1;
            let is_place = (1..=places).any(|n| size * n / (places + 1) == reached) || reached == size;
            if is_place {
                let bytes = all[0].1.save().unwrap();
                let again = State::load(&bytes).unwrap();
                assert!(again == all[0].1, "saved after entry {index} and read back, it is another state");
                all.push((reached, again));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(reached, size);
    let (never, saved) = all.split_first().unwrap();
    for (at, state) in saved {
        assert!(*state == never.1, "saved at {at} of {size} entries, it ends as another state");
    }
}
