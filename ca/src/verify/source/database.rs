//! The CA's own database, read-only; the CA may be at work. What it held when it was opened is read, not what
//! comes meanwhile.

use std::ops::ControlFlow;

use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath};

use super::{PIECE_BYTES, PIECE_ENTRIES, Source, SourceError};
use crate::log::{LogError, Reader};

/// See the file's top.
pub struct Database {
    reader: Reader,
    /// Entries under the newest head, or all there are if those are more.
    size: u64,
    /// Where reading failed, for when it gets there.
    broken: Option<SourceError>,
}

impl Database {
    /// The log that `reader` has open.
    pub fn of(reader: Reader) -> Result<Database, LogError> {
        let size = reader.size()?.max(reader.count()?);
        Ok(Database { reader, size, broken: None })
    }
}

fn failed(entry: u64, error: LogError) -> SourceError {
    SourceError { entry, what: error.to_string() }
}

impl Source for Database {
    fn size(&self) -> u64 {
        self.size
    }

    fn has_all_heads(&self) -> bool {
        true
    }

    fn owes_tiles(&self) -> bool {
        true
    }

    fn entries(&mut self, from: u64) -> Result<Vec<Vec<u8>>, SourceError> {
        let most = self.size.saturating_sub(from).min(PIECE_ENTRIES as u64);
        if let Some(broken) = self.broken.take_if(|broken| broken.entry == from) {
            return Err(broken);
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        if most == 0 {
            return Ok(entries);
        }
        let read = self.reader.entries(from, most, |_, entry| {
            bytes += entry.len();
            entries.push(entry.to_vec());
            if bytes >= PIECE_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match read {
            // What stands before is looked at first. Asked anew, the database might find another way to the rest,
            // and what is broken in it would not be told.
            Err(error) if !entries.is_empty() => {
                self.broken = Some(failed(from.saturating_add(entries.len() as u64), error));
                Ok(entries)
            }
            Err(error) => Err(failed(from, error)),
            Ok(()) => Ok(entries),
        }
    }

    fn heads(&mut self, after: u64, until: u64) -> Result<Vec<(u64, String)>, SourceError> {
        let until = if until == u64::MAX { until } else { until.min(self.size) };
        self.reader.checkpoints(after, until).map_err(|error| failed(after, error))
    }

    fn tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, SourceError> {
        match path.kind {
            // Partial tiles are made from what is there: there is nothing to compare.
            TileKind::Hashes(level) if path.width == TILE_WIDTH => {
                let tile = self.reader.stored_tile(level, path.index);
                tile.map_err(|error| failed(path.index.saturating_mul(TILE_WIDTH.into()), error))
            }
            _ => Ok(None),
        }
    }
}
