//! A log as C2SP tlog-tiles has it: `checkpoint`, `tile/...`, wherever those files lie. A mirror, an auditor's
//! copy and an export look like that.
//!
//! Entries past the checkpoint are not looked at: a mirror may be ahead of its head for a moment.

use fireaxe_protocol::limits;
use fireaxe_protocol::log::Checkpoint;
use fireaxe_protocol::log::tiles::{TILE_BYTES, TILE_WIDTH, TileKind, TilePath, decode_bundle};

use super::{PIECE_BYTES, Source, SourceError};

/// Files by name.
pub trait Place: Send {
    /// The bytes of a file, if it is there: an error when it cannot be read or is longer than `most`.
    fn file(&mut self, name: &str, most: usize) -> Result<Option<Vec<u8>>, String>;
}

/// See the file's top.
pub struct TilesLog<P> {
    place: P,
    note: String,
    size: u64,
    /// The last bundle, where it is not full. Read at once: a mirror that goes on drops it soon.
    edge: Option<Vec<u8>>,
}

impl<P: Place> TilesLog<P> {
    /// Reads the checkpoint. It is not believed yet.
    pub fn open(mut place: P) -> Result<TilesLog<P>, SourceError> {
        let wrong = |what: String| SourceError { entry: 0, what };
        let bytes = place.file(CHECKPOINT, limits::NOTE).map_err(wrong)?;
        let bytes = bytes.ok_or_else(|| wrong("there is no file checkpoint".to_owned()))?;
        let note = String::from_utf8(bytes).map_err(|_| wrong("the checkpoint is not text".to_owned()))?;
        let says = note.split_once("\n\n").and_then(|(text, _)| Checkpoint::parse(&format!("{text}\n")).ok());
        let says = says.ok_or_else(|| wrong("the checkpoint cannot be read".to_owned()))?;
        let mut log = TilesLog { place, note, size: says.size, edge: None };
        let width = u16::try_from(log.size % u64::from(TILE_WIDTH)).unwrap_or(0);
        if width != 0 {
            // A fault is said where its entries are read.
            log.edge = log.bundle(log.size / u64::from(TILE_WIDTH), width).unwrap_or(None);
        }
        Ok(log)
    }

    /// The bundle that holds the first `width` entries of tile `index`, whole or as far as it goes.
    fn bundle(&mut self, index: u64, width: u16) -> Result<Option<Vec<u8>>, String> {
        // A copy that went on after this head was signed has the longer one, and may have dropped the other.
        let named = |width| TilePath { kind: TileKind::Entries, index, width }.to_string();
        for width in [width, TILE_WIDTH] {
            if let Some(bytes) = self.place.file(&named(width), BUNDLE)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

impl<P: Place> Source for TilesLog<P> {
    fn size(&self) -> u64 {
        self.size
    }

    fn has_all_heads(&self) -> bool {
        false
    }

    fn owes_tiles(&self) -> bool {
        false
    }

    fn entries(&mut self, from: u64) -> Result<Vec<Vec<u8>>, SourceError> {
        if from >= self.size {
            return Ok(Vec::new());
        }
        let wrong = |what: String| SourceError { entry: from, what };
        let (index, first) = (from / u64::from(TILE_WIDTH), from % u64::from(TILE_WIDTH));
        let width = self.size.saturating_sub(from - first).min(TILE_WIDTH.into());
        let narrow = u16::try_from(width).unwrap_or(TILE_WIDTH);
        let name = TilePath { kind: TileKind::Entries, index, width: narrow };
        let edge = self.edge.clone().filter(|_| index == self.size / u64::from(TILE_WIDTH));
        let bytes = edge.map_or_else(|| self.bundle(index, narrow), |edge| Ok(Some(edge))).map_err(wrong)?;
        let bytes = bytes.ok_or_else(|| wrong(format!("there is no file {name}")))?;
        let entries = decode_bundle(&bytes).map_err(|error| wrong(format!("{name}: {error}")))?;
        if (entries.len() as u64) < width {
            let last = from.saturating_add(entries.len() as u64);
            return Err(SourceError { entry: last, what: format!("{name} ends before it") });
        }
        let (first, width) = (usize::try_from(first), usize::try_from(width));
        let part = first.ok().zip(width.ok()).and_then(|(first, width)| entries.get(first..width));
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for entry in part.unwrap_or_default() {
            bytes += entry.len();
            piece.push(entry.to_vec());
            // The rest of a bundle that is made to be as large as it can is read with the next piece.
            if bytes >= PIECE_BYTES {
                break;
            }
        }
        Ok(piece)
    }

    fn heads(&mut self, after: u64, until: u64) -> Result<Vec<(u64, String)>, SourceError> {
        let within = self.size > after && self.size <= until;
        Ok(within.then(|| (self.size, self.note.clone())).into_iter().collect())
    }

    fn tile(&mut self, path: &TilePath) -> Result<Option<Vec<u8>>, SourceError> {
        let entry = path.index.saturating_mul(TILE_WIDTH.into());
        self.place.file(&path.to_string(), TILE_BYTES).map_err(|what| SourceError { entry, what })
    }
}

const CHECKPOINT: &str = "checkpoint";
/// A bundle of 256 entries at their limit, each with its length: 15 MiB.
const BUNDLE: usize = TILE_WIDTH as usize * (2 + limits::ENTRY);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use fireaxe_protocol::log::tiles::encode_bundle;

    use super::*;

    impl Place for HashMap<String, Vec<u8>> {
        fn file(&mut self, name: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
            Ok(self.get(name).inspect(|bytes| assert!(bytes.len() <= most)).cloned())
        }
    }

    fn log(size: u64, bundles: &[(&str, usize)]) -> Result<TilesLog<HashMap<String, Vec<u8>>>, SourceError> {
        let root = "A".repeat(43);
        let note = format!("ca/0123456789abcdef\n{size}\n{root}=\n\n\u{2014} x AAAAAAAA\n");
        let mut files = HashMap::from([("checkpoint".to_owned(), note.into_bytes())]);
        for (name, entries) in bundles {
            let entries: Vec<Vec<u8>> = (0..*entries).map(|n| vec![n as u8; limits::ENTRY]).collect();
            files.insert((*name).to_owned(), encode_bundle(entries).unwrap());
        }
        TilesLog::open(files)
    }

    #[test]
    fn a_bundle_that_is_as_large_as_it_can_is_read_a_piece_at_a_time() {
        let mut log = log(300, &[("tile/entries/000", 256), ("tile/entries/001", 256)]).unwrap();
        let mut read = 0;
        loop {
            let piece = log.entries(read).unwrap();
            assert!(piece.len() <= PIECE_BYTES / limits::ENTRY + 1);
            if piece.is_empty() {
                break;
            }
            for entry in piece {
                assert_eq!(entry[0], (read % 256) as u8);
                read += 1;
            }
        }
        assert_eq!(read, 300, "as far as the head says, though the last bundle goes on");
    }

    #[test]
    fn a_bundle_that_is_short_or_not_there_is_missed_at_its_entry() {
        let mut short = log(300, &[("tile/entries/000", 256), ("tile/entries/001.p/44", 43)]).unwrap();
        assert_eq!(short.entries(256).unwrap_err().entry, 299);
        let mut gone = log(300, &[("tile/entries/000", 256)]).unwrap();
        let error = gone.entries(256).unwrap_err();
        assert_eq!((error.entry, error.what.as_str()), (256, "there is no file tile/entries/001.p/44"));
    }
}
