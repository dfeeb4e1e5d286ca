//! A log as a folder of tiles, and as a zip of one: what a mirror, an auditor or an export makes.

use std::io::{Cursor, Write};
use std::path::Path;

use fireaxe_ca::log::Reader;
use fireaxe_protocol::log::tiles::{TileKind, TilePath};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Every file of it: the checkpoint, and each tile and bundle, full and partial.
pub fn files(reader: &Reader) -> Vec<(String, Vec<u8>)> {
    let size = reader.size().unwrap();
    let mut files = vec![("checkpoint".to_owned(), reader.latest_checkpoint().unwrap().into_bytes())];
    let mut put = |kind, hashes: u64| {
        for index in 0..hashes.div_ceil(256) {
            let width = (hashes - index * 256).min(256) as u16;
            let path = TilePath { kind, index, width };
            files.push((path.to_string(), reader.tile(&path).unwrap()));
        }
    };
    put(TileKind::Entries, size);
    (0..8).for_each(|level| put(TileKind::Hashes(level), size >> (8 * u32::from(level))));
    files
}

pub fn write(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

pub fn zipped(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
