//! Files and reports put together: of each recording what is on disk, and what the log says of it.

use std::collections::{BTreeMap, BTreeSet};

use fireaxe_protocol::names::{EmergencyId, shown};
use fireaxe_protocol::recording::Header;

use super::source::Source;
use crate::command::Failed;
use crate::recordings::catalog::{Catalog, Name, Told};
use crate::recordings::{files, opening};

/// A recording that is on disk, was reported, or both.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) told: Told,
    pub(super) header: Option<Header>,
    pub(super) bytes_on_disk: Option<u64>,
}

pub(super) type Shelf = BTreeMap<Name, Known>;

/// What the log says of recordings.
pub(super) fn catalog(source: &Source) -> Result<Catalog, Failed> {
    let mut catalog = Catalog::default();
    source.entries(|index, bytes| catalog.take(index, bytes))?;
    Ok(catalog)
}

/// What there is, of one emergency or of one name; if one of these was asked for, never nothing.
pub(super) fn shelf(source: &Source, which: Option<&str>) -> Result<Shelf, Failed> {
    let catalog = catalog(source)?;
    let on_disk: BTreeMap<Name, _> = files(&source.recordings()).into_iter().collect();
    let names: BTreeSet<&Name> = catalog.names().chain(on_disk.keys()).collect();
    let mut shelf = Shelf::new();
    for name in names {
        let path = on_disk.get(name);
        let header = path.and_then(|path| opening::header_of(path));
        let told = catalog.told(name, header.as_ref().map(|header| header.connection));
        let bytes_on_disk = path.and_then(|path| path.metadata().ok()).map(|known| known.len());
        shelf.insert(name.clone(), Known { told, header, bytes_on_disk });
    }
    if let Some(which) = which {
        let id = which.parse::<EmergencyId>().ok();
        shelf.retain(|(_, name), known| match id {
            Some(id) => known.told.emergency == Some(id),
            None => name.to_string().starts_with(which),
        });
        if shelf.is_empty() {
            return Err(nothing_of(which, source));
        }
    }
    Ok(shelf)
}

/// The one recording on disk that `which` names: itself, or the only one of an emergency. `verb` is asked for.
pub(super) fn one(source: &Source, which: &str, verb: &str) -> Result<Name, Failed> {
    let shelf = shelf(source, Some(which))?;
    let mut there = shelf.iter().filter(|(_, known)| known.bytes_on_disk.is_some());
    let Some((name, _)) = there.next() else {
        let expired = shelf.values().find_map(|known| known.told.expired_at);
        return Err(match expired {
            Some(at) => Failed::error(format!("{} expired by policy on {}", shown(which), day(at)))
                .hint(format!("fireaxe-ca rec ls {}", source.words())),
            None => nothing_of(which, source),
        });
    };
    let more: Vec<String> = there.map(|((_, name), _)| name.to_string()).collect();
    if !more.is_empty() {
        let lines =
            vec![format!("{which} has {} recordings: {}, {}", more.len() + 1, name.1, more.join(", "))];
        let hint = Some(format!("fireaxe-ca rec {verb} NAME {}", source.words()));
        return Err(Failed { code: 2, lines, hint });
    }
    Ok(name.clone())
}

/// Nothing to list, to check or to play is no success when something was asked for.
fn nothing_of(which: &str, source: &Source) -> Failed {
    let of = which.parse().map_or_else(|_| shown(which), |id: EmergencyId| format!("of {id}"));
    Failed::error(format!("there is no recording {of}")).hint(format!("fireaxe-ca rec ls {}", source.words()))
}

/// A day, as people write it: 2026-11-28. Unix seconds.
pub(super) fn day(at: u64) -> String {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(at).map_or_else(|_| at.to_string(), |at| at.date().to_string())
}
