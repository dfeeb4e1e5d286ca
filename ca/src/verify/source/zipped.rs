//! A zip of a tiles folder, of whoever sent it. Nothing is extracted: what is asked for is read into memory, as
//! far as a tile may be long. Counts, names, sizes and ratio are bounded before anything is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use fireaxe_protocol::limits::{ZIP_FILES, ZIP_LIST, ZIP_RATIO};
use fireaxe_protocol::names::shown;
use zip::ZipArchive;

use super::Place;
use super::folder::bounded;

/// See the file's top.
pub struct Zipped<R> {
    archive: ZipArchive<R>,
    /// By name in the tiles folder: place in the archive.
    files: HashMap<String, usize>,
}

impl Zipped<BufReader<File>> {
    /// The zip at `path`.
    pub fn open(path: &Path) -> Result<Zipped<BufReader<File>>, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        Zipped::read(BufReader::new(file))
    }
}

impl<R: Read + Seek> Zipped<R> {
    /// Reads the list of files, and refuses one that a careful program would not have written. A folder around
    /// all of it is passed over.
    pub fn read(mut from: R) -> Result<Zipped<R>, String> {
        list_is_short(&mut from)?;
        let mut archive =
            ZipArchive::new(from).map_err(|error| format!("no zip: {}", shown(&error.to_string())))?;
        if archive.len() > ZIP_FILES {
            return Err(format!("it has {} files, {ZIP_FILES} are allowed: {UNPACK}", archive.len()));
        }
        if archive.has_duplicate_names() {
            return Err("two of its files have one name".to_owned());
        }
        let mut files = HashMap::new();
        for place in 0..archive.len() {
            let file = archive.by_index_raw(place);
            let file = file.map_err(|error| format!("file {place} of it: {}", shown(&error.to_string())))?;
            let name =
                file.name().map_err(|_| format!("the name of file {place} in it is not text"))?.into_owned();
            may_have(&name)?;
            if file.size() > file.compressed_size().max(1).saturating_mul(ZIP_RATIO) {
                return Err(format!("{} is packed {ZIP_RATIO} times or more", shown(&name)));
            }
            if !file.is_dir() {
                files.insert(name, place);
            }
        }
        let around = around(files.keys().map(String::as_str))?;
        let files = files
            .into_iter()
            .filter_map(|(name, place)| Some((name.strip_prefix(&around)?.to_owned(), place)))
            .collect();
        Ok(Zipped { archive, files })
    }
}

impl<R: Read + Seek + Send> Place for Zipped<R> {
    fn file(&mut self, name: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        let Some(place) = self.files.get(name) else { return Ok(None) };
        let told = |error: &dyn std::fmt::Display| format!("{name}: {}", shown(&error.to_string()));
        let file = self.archive.by_index(*place).map_err(|error| told(&error))?;
        match bounded(file, most).map_err(|error| told(&error))? {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(format!("{name} is longer than the {most} bytes that such a file may have")),
        }
    }
}

/// The list of files at the end is read whole into memory: its length, as the file itself says it, is asked
/// first. What lies there without being said is not read.
fn list_is_short(from: &mut (impl Read + Seek)) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let length = from.seek(std::io::SeekFrom::End(0)).map_err(told)?;
    // The record at the end is 22 bytes and a comment of at most 64 KiB.
    let start = length.saturating_sub(22 + 0xffff);
    from.seek(std::io::SeekFrom::Start(start)).map_err(told)?;
    let mut end = Vec::new();
    from.take(22 + 0xffff).read_to_end(&mut end).map_err(told)?;
    from.rewind().map_err(told)?;
    // Each place that could be that record counts, whichever the library takes.
    for found in end.windows(22).filter(|window| window.starts_with(b"PK\x05\x06")) {
        let listed = found.get(12..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        // Whatever says so has its true numbers elsewhere, and the library makes room for as many as they say.
        let beyond = |at: std::ops::Range<usize>| found.get(at).is_some_and(|b| b.iter().all(|b| *b == 0xff));
        if beyond(8..10) || beyond(10..12) || beyond(12..16) || beyond(16..20) {
            return Err(format!(
                "it is of the kind for more than 4 GiB or 65,535 files, which is not taken: {UNPACK}"
            ));
        }
        if u64::from(listed) > ZIP_LIST {
            return Err(format!("the list of its files has {listed} bytes, {ZIP_LIST} are allowed"));
        }
    }
    Ok(())
}

const UNPACK: &str = "unpack it, and name the folder that has the file checkpoint";

/// A name that leads nowhere but into the folder it is unpacked in, also in other programs.
fn may_have(name: &str) -> Result<(), String> {
    let word = |word: &str| !word.is_empty() && word != "." && word != "..";
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | ':') || c == ' ';
    let good = name.len() <= 256
        && name.chars().all(plain)
        && name.strip_suffix('/').unwrap_or(name).split('/').all(word);
    if good { Ok(()) } else { Err(format!("it names a file {}, which no tile is called", shown(name))) }
}

/// What stands before `checkpoint`: nothing, one folder, or, in the export of a period, two.
fn around<'n>(names: impl Iterator<Item = &'n str>) -> Result<String, String> {
    let mut found = Vec::new();
    for name in names {
        let before = name
            .strip_suffix("checkpoint")
            .filter(|before| before.is_empty() || before.ends_with('/') && before.matches('/').count() <= 2);
        found.extend(before.map(str::to_owned));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err("there is no file checkpoint in it".to_owned()),
        _ => Err("it has more than one file checkpoint".to_owned()),
    }
}
