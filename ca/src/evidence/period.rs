//! The parts of a period: its entries in a row with the proof that they lie in the log, tables of them, and with
//! `all` the whole log as C2SP tiles. Nothing of it is held in memory: each part is made as it is written.

use std::collections::BTreeMap;

use fireaxe_protocol::evidence::manifest::PERIOD;
use fireaxe_protocol::evidence::{CHECKPOINT, ENTRIES, KEY, Line, Made, Manifest, PAGE, Part, RANGE, VERIFY};
use fireaxe_protocol::limits::EVIDENCE_PARTS;
use fireaxe_protocol::log::tiles::{TILE_WIDTH, TileKind, TilePath};
use fireaxe_protocol::log::tree::leaf_hash;
use fireaxe_protocol::log::{Checkpoint, Entry, Evidence};

use super::dossier::each_entry;
use super::draft::{Draft, Fault, Source};
use super::period_page::page;
use super::tables::TABLES;
use crate::log::{LogError, Reader};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodQuery {
    /// The first second.
    pub from: u64,
    /// The second after the last.
    pub to: u64,
    /// The whole log as tiles, too.
    pub all: bool,
}

/// Puts it together under the head that `note` signs.
pub fn period<'s>(
    reader: &'s Reader,
    note: &str,
    query: PeriodQuery,
    made: Made,
) -> Result<Draft<'s>, Fault> {
    let head = Checkpoint::open(note, reader.key(), reader.origin()).map_err(LogError::from)?;
    let range @ (first, end) =
        (first_at(reader, head.size, query.from)?, first_at(reader, head.size, query.to)?);
    let mut parts: BTreeMap<String, Source<'s>> = BTreeMap::new();
    let proof = format!("{first} {end}\n{}", reader.range(first, end, head.size)?);
    parts.insert(RANGE.into(), Source::Bytes(proof.into_bytes()));
    parts.insert(CHECKPOINT.into(), Source::Bytes(note.as_bytes().to_vec()));
    parts.insert(KEY.into(), Source::Bytes(format!("{}\n", reader.key()).into_bytes()));
    parts.insert(ENTRIES.into(), Source::Made(Box::new(move |out| lines(reader, range, out))));
    for table in &TABLES {
        let write = move |out: &mut dyn std::io::Write| {
            table.write(out, |row| {
                each_entry(reader, range, |_, bytes| {
                    if table.kinds.iter().any(|kind| kind.as_bytes() == super::collect::kind(bytes)) {
                        row(&Entry::decode(bytes)?)?;
                    }
                    Ok(())
                })
            })
        };
        parts.insert(table.name.into(), Source::Made(Box::new(write)));
    }
    if query.all {
        tiles(reader, head.size, &mut parts)?;
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    each_entry(reader, range, |_, bytes| {
        let kind = String::from_utf8_lossy(super::collect::kind(bytes));
        match counts.get_mut(&*kind) {
            Some(count) => *count += 1,
            None => drop(counts.insert(kind.into_owned(), 1)),
        }
        Ok(())
    })?;
    let mut manifest = Manifest {
        schema: PERIOD.into(),
        of: Evidence::Period { from: query.from, to: query.to },
        origin: head.origin,
        log_key: reader.key().to_string(),
        size: head.size,
        root: head.root,
        made,
        missing: Vec::new(),
        counts,
        parts: Vec::new(),
    };
    for (name, source) in &parts {
        let (bytes, sha256) = source.measure()?;
        manifest.parts.push(Part { name: name.clone(), bytes, sha256 });
    }
    parts.insert(PAGE.into(), Source::Bytes(page(&query, range, &manifest).into_bytes()));
    parts.insert(
        VERIFY.into(),
        Source::Bytes(fireaxe_protocol::evidence::verify_period(&manifest).into_bytes()),
    );
    Draft::new("period".into(), parts, manifest)
}

/// The index of the first entry that is not older than `at`: times never decrease along the log.
fn first_at(reader: &Reader, size: u64, at: u64) -> Result<u64, LogError> {
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        if reader.entry(middle)?.at < at { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

fn lines(reader: &Reader, range: (u64, u64), out: &mut dyn std::io::Write) -> Result<(), Fault> {
    let mut out = std::io::BufWriter::new(out);
    each_entry(reader, range, |index, bytes| {
        let entry = std::str::from_utf8(bytes).map_err(|_| LogError::Corrupt("an entry that is no text"))?;
        let line = Line { index, leaf: leaf_hash(bytes), entry: entry.into() };
        serde_json::to_writer(&mut out, &line).map_err(std::io::Error::from)?;
        std::io::Write::write_all(&mut out, b"\n")?;
        Ok(())
    })?;
    std::io::Write::flush(&mut out)?;
    Ok(())
}

/// Every tile of a log of this size, and its bundles of entries: what a static server of it would have.
fn tiles<'s>(reader: &'s Reader, size: u64, parts: &mut BTreeMap<String, Source<'s>>) -> Result<(), Fault> {
    let width = u64::from(TILE_WIDTH);
    let mut add = |kind: TileKind, hashes: u64| {
        for index in 0..hashes.div_ceil(width) {
            let there = (hashes - index * width).min(width);
            let path = TilePath { kind, index, width: u16::try_from(there).unwrap_or(TILE_WIDTH) };
            let make = move |out: &mut dyn std::io::Write| Ok(out.write_all(&reader.tile(&path)?)?);
            parts.insert(format!("log/{path}"), Source::Made(Box::new(make)));
        }
    };
    if size / width > EVIDENCE_PARTS as u64 / 4 {
        let most = EVIDENCE_PARTS as u64 / 4 * width;
        return Err(Fault::Nothing(format!(
            "a whole log of more than {most} entries does not go into one file"
        )));
    }
    add(TileKind::Entries, size);
    let (mut level, mut hashes) = (0u8, size);
    while hashes > 0 {
        add(TileKind::Hashes(level), hashes);
        hashes /= width;
        level += 1;
    }
    Ok(())
}
