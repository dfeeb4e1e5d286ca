//! Logs that somebody with the CA's keys wrote by hand, and what `verify` finds in them.

use fireaxe_ca::keys::{self, Purpose};
use fireaxe_ca::log::{Log, Reader};
use fireaxe_ca::verify::verify;
use fireaxe_protocol::log::{Entry, Event, NoteSigner};

use super::Installed;

pub fn entries(ca: &Installed) -> Vec<Entry> {
    (0..ca.size()).map(|index| ca.reader().entry(index).unwrap()).collect()
}

/// A log of these entries under the CA's keys, one head over all; what is found in it.
pub fn found(ca: &Installed, entries: &[Entry]) -> Vec<(u64, String)> {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log.sqlite");
    let signer =
        NoteSigner::new(ca.origin.as_str(), keys::load(&ca.data().keys(), Purpose::Log).unwrap()).unwrap();
    let Event::LogCreated { origin, keys, .. } = entries[0].event.clone() else { unreachable!() };
    let mut log = Log::create(&path, origin, keys, entries[0].at, &signer).unwrap();
    let mut batch = log.batch().unwrap();
    for entry in &entries[1..] {
        let _ = batch.append(entry.at, &entry.event, entry.body.as_deref(), ()).unwrap();
    }
    batch.commit(&signer).unwrap();
    drop(log);
    let (_, found) = verify(&Reader::open(&path).unwrap(), &mut |_| {}).unwrap();
    found.into_iter().map(|found| (found.entry, found.what)).collect()
}

/// That is found at this entry, and nothing else anywhere: the head over it may only repeat it.
#[track_caller]
pub fn only(found: &[(u64, String)], entry: usize, says: &str) {
    let first = found.first().is_some_and(|(at, _)| *at == entry as u64);
    assert!(first && found.iter().all(|(_, what)| what.contains(says)), "entry {entry}, {says}: {found:?}");
}

pub fn place(entries: &[Entry], is: impl Fn(&Event) -> bool) -> usize {
    entries.iter().rposition(|entry| is(&entry.event)).unwrap()
}
