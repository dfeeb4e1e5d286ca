//! A zip, read where it lies. One folder at its top; plain files under it; nothing before its beginning or after its
//! end, no name twice, no more in it than the file can hold: so every program that unpacks it sees the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fireaxe_protocol::evidence::{Parts, is_name};
use fireaxe_protocol::limits::EVIDENCE_PARTS;
use fireaxe_protocol::names::shown;
use zip::ZipArchive;

use super::pieces;

/// See the file's top.
pub(super) struct Zipped {
    archive: ZipArchive<BufReader<File>>,
    /// Place in the archive, and size.
    names: BTreeMap<String, (usize, u64)>,
}

/// The directory at a zip's end: 200,000 parts of 320 bytes.
const DIRECTORY: u64 = 64 << 20;
/// How many times larger than packed a part of more than [`SMALL`] may be: text that repeats itself reaches 60.
const RATIO: u64 = 200;
const SMALL: u64 = 1 << 20;

impl Zipped {
    pub(super) fn open(path: &Path) -> Result<Zipped, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let count = end(&mut file, length).ok_or("it is no zip, or not one that was written in one go")?;
        let mut archive =
            ZipArchive::new(BufReader::new(file)).map_err(|error| format!("no zip: {error}"))?;
        if archive.offset() != 0 {
            return Err("something stands before the zip's beginning".into());
        }
        // The reader keeps one of each name.
        if archive.len() as u64 != count {
            return Err("a name stands twice in the zip".into());
        }
        let (mut names, mut top, mut folders, mut packed) = (BTreeMap::new(), None, Vec::new(), 0u64);
        for n in 0..archive.len() {
            let entry = archive.by_index_raw(n).map_err(|error| format!("part {n} of the zip: {error}"))?;
            let raw = std::str::from_utf8(entry.name_raw())
                .map_err(|_| "a name in the zip is no text".to_owned())?;
            let is_folder = raw.ends_with('/');
            let whole = raw.strip_suffix('/').unwrap_or(raw);
            if !is_name(whole) {
                return Err(format!("no part is named {}", shown(raw)));
            }
            let regular = if is_folder { 0o040_000 } else { 0o100_000 };
            if entry.encrypted()
                || entry
                    .unix_mode()
                    .is_some_and(|mode| !matches!(mode & 0o170_000, kind if kind == 0 || kind == regular))
            {
                return Err(format!("{} is no plain file", shown(raw)));
            }
            let (size, small) = (entry.size(), entry.compressed_size());
            packed = packed.saturating_add(small);
            if packed > length {
                return Err("parts of the zip lie over each other".into());
            }
            if size > SMALL && size / RATIO > small {
                return Err(format!("{} is packed {RATIO} times and more", shown(raw)));
            }
            let (first, name) = whole.split_once('/').unwrap_or((whole, ""));
            if *top.get_or_insert_with(|| first.to_owned()) != first || (name.is_empty() && !is_folder) {
                return Err(format!("{} lies beside the zip's one folder", shown(raw)));
            }
            if is_folder {
                folders.push(format!("{name}/"));
            } else {
                names.insert(name.to_owned(), (n, size));
            }
        }
        match unused(&folders, &names) {
            Some(folder) => Err(format!("{} is a folder with nothing in it", shown(folder))),
            None => Ok(Zipped { archive, names }),
        }
    }
}

/// A folder, spelled with its last `/`, with no file in it. Names are in order, so the first from the folder's on is
/// in it if any is: a zip may have 400,000 of both together.
fn unused<'f, K: Ord + AsRef<str>, V>(folders: &'f [K], names: &BTreeMap<K, V>) -> Option<&'f K> {
    let is_used = |folder: &K| {
        folder.as_ref() == "/"
            || names
                .range(folder..)
                .next()
                .is_some_and(|(name, _)| name.as_ref().starts_with(folder.as_ref()))
    };
    folders.iter().find(|folder| !is_used(folder))
}

/// How many parts the zip says it has; nothing unless its end is the file's end, and its directory is small enough
/// and stands right before it (APPNOTE 4.3.14 to 4.3.16).
fn end(file: &mut File, length: u64) -> Option<u64> {
    let at = length.checked_sub(22)?;
    let last: [u8; 22] = bytes_at(file, at)?;
    let (signature, rest) = last.split_first_chunk::<4>()?;
    let number = |from: usize, bytes: usize| -> Option<u64> {
        rest.get(from..from + bytes)?.iter().rev().try_fold(0u64, |sum, b| Some(sum << 8 | u64::from(*b)))
    };
    if signature != b"PK\x05\x06" || number(16, 2)? != 0 {
        return None;
    }
    let (mut count, mut size, mut start, mut directory_end) =
        (number(6, 2)?, number(8, 4)?, number(12, 4)?, at);
    if count == 0xffff || size == 0xffff_ffff || start == 0xffff_ffff {
        let locator: [u8; 20] = bytes_at(file, at.checked_sub(20)?)?;
        let (signature, rest) = locator.split_first_chunk::<4>()?;
        if signature != b"PK\x06\x07" {
            return None;
        }
        directory_end = u64::from_le_bytes(*rest.get(4..)?.first_chunk::<8>()?);
        let record: [u8; 56] = bytes_at(file, directory_end)?;
        let (signature, rest) = record.split_first_chunk::<4>()?;
        let long = |from: usize| Some(u64::from_le_bytes(*rest.get(from..)?.first_chunk::<8>()?));
        if signature != b"PK\x06\x06" || directory_end.checked_add(56 + 20)? != at {
            return None;
        }
        (count, size, start) = (long(28)?, long(36)?, long(44)?);
    }
    let fits =
        count <= EVIDENCE_PARTS as u64 * 2 && size <= DIRECTORY && start.checked_add(size)? == directory_end;
    fits.then_some(count)
}

fn bytes_at<const N: usize>(file: &mut File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

impl Parts for Zipped {
    fn list(&self) -> Vec<(String, u64)> {
        self.names.iter().map(|(name, (_, bytes))| (name.clone(), *bytes)).collect()
    }

    fn pieces(&mut self, name: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let (n, bytes) = *self.names.get(name).ok_or("it is missing")?;
        let entry = self.archive.by_index(n).map_err(|error| format!("it cannot be unpacked: {error}"))?;
        pieces(entry, bytes, each)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// A zip with these names, each with its own name as bytes; a name that ends with `/` is a folder.
    fn zipped(names: &[&str]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for name in names {
            if name.ends_with('/') {
                zip.add_directory(*name, options).unwrap();
            } else {
                zip.start_file(*name, options).unwrap();
                zip.write_all(name.as_bytes()).unwrap();
            }
        }
        zip.finish().unwrap().into_inner()
    }

    fn opened(bytes: &[u8]) -> Result<Zipped, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        std::fs::write(&path, bytes).unwrap();
        Zipped::open(&path)
    }

    #[track_caller]
    fn refused(bytes: &[u8], why: &str) {
        let error = opened(bytes).err().unwrap_or_default();
        assert!(error.contains(why), "{why}: {error}");
        assert!(error.chars().all(|c| c == '…' || c == ' ' || c.is_ascii_graphic()), "{error:?}");
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let places: Vec<usize> =
            (0..=out.len() - from.len()).filter(|at| out[*at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| out[at..at + to.len()].copy_from_slice(to));
        out
    }

    #[test]
    fn a_zip_of_one_folder_is_read_where_it_lies() {
        for names in [&["EM-1/a", "EM-1/b/c"][..], &["EM-1/", "EM-1/a", "EM-1/b/", "EM-1/b/c"]] {
            let mut zip = opened(&zipped(names)).unwrap();
            assert_eq!(zip.list(), [("a".to_owned(), 6), ("b/c".to_owned(), 8)]);
            let mut bytes = Vec::new();
            zip.pieces("b/c", &mut |piece| bytes.extend_from_slice(piece)).unwrap();
            assert_eq!(bytes, b"EM-1/b/c");
            assert!(zip.pieces("d", &mut |_| ()).is_err());
        }
    }

    #[test]
    fn names_that_lead_elsewhere_stand_twice_or_drive_a_terminal_are_refused() {
        let plain = zipped(&["d/aaaa", "d/bbbb"]);
        for bad in [
            b"../bbb",
            b"/bbbbb",
            b"d/../b",
            b"d//bbb",
            b"d\\bbbb",
            b"d/b\x1b[2",
            b"d/b bb",
            b"d/-bbb",
            b"d/./bb",
            b"C:bbbb",
        ] {
            refused(&replaced(&plain, b"d/bbbb", bad), "no part is named");
        }
        refused(&replaced(&plain, b"d/bbbb", b"d/aaaa"), "twice");
        refused(&replaced(&plain, b"d/bbbb", b"e/bbbb"), "beside the zip's one folder");
        refused(&zipped(&["d/a", "b"]), "beside the zip's one folder");
        refused(&zipped(&["d/a", "d/b/"]), "nothing in it");
    }

    thread_local! {
        static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// A name that counts how often it is looked at.
    #[derive(PartialEq, Eq)]
    struct Counted(String);

    impl AsRef<str> for Counted {
        fn as_ref(&self) -> &str {
            LOOKS.with(|looks| looks.set(looks.get() + 1));
            &self.0
        }
    }

    impl Ord for Counted {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.as_ref().cmp(&other.0)
        }
    }

    impl PartialOrd for Counted {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn many_folders_among_many_names_are_looked_through_in_few_steps() {
        let names = (0..20_000).map(|n| (Counted(format!("a{n:05}/b")), ())).collect();
        let mut folders: Vec<Counted> = (0..20_000).map(|n| Counted(format!("a{n:05}/"))).collect();
        folders.push(Counted("/".into()));
        LOOKS.set(0);
        assert!(unused(&folders, &names).is_none());
        let looks = LOOKS.get();
        // A tree's node holds eleven names: some sixty looks for each of 20,000, and not 20,000 for each.
        assert!(looks < 20_000 * 200, "{looks}");
        for empty in ["a", "a0000", "a0000700", "z", "A"] {
            folders.push(Counted(format!("{empty}/")));
            assert_eq!(unused(&folders, &names).map(|one| one.0.clone()), Some(format!("{empty}/")));
            folders.pop();
        }
    }

    #[test]
    fn links_are_refused() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.add_symlink("d/a", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        refused(&zip.finish().unwrap().into_inner(), "no plain file");
    }

    #[test]
    fn what_two_programs_could_read_in_two_ways_is_refused() {
        let plain = zipped(&["d/a"]);
        refused(&[b"MZ", &plain[..]].concat(), "no zip");
        refused(&[&plain[..], b"\0"].concat(), "no zip");
        refused(&[&plain[..], &plain[..]].concat(), "no zip");
        refused(b"", "no zip");
        refused(&vec![0; 100_000], "no zip");
    }

    #[test]
    fn a_bomb_is_refused_unread() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("d/a", SimpleFileOptions::default()).unwrap();
        zip.write_all(&vec![0; 30 << 20]).unwrap();
        refused(&zip.finish().unwrap().into_inner(), "packed 200 times");
    }

    #[test]
    fn cut_anywhere_or_with_any_byte_changed_it_is_refused_or_read_and_never_more() {
        let plain = zipped(&["d/a", "d/b"]);
        for at in 0..plain.len() {
            assert!(opened(&plain[..at]).is_err(), "cut at {at}");
            for bit in [0x01, 0x80] {
                let mut changed = plain.clone();
                changed[at] ^= bit;
                let Ok(mut zip) = opened(&changed) else { continue };
                for (name, size) in zip.list() {
                    let mut bytes = 0;
                    let read = zip.pieces(&name, &mut |piece| bytes += piece.len() as u64);
                    assert!(bytes <= size && (read.is_err() || bytes == size), "{at} {bit}: {name}");
                }
            }
        }
    }
}
