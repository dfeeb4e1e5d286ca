//! A folder of tiles. Only names that a tile can have are opened, so none leads out of it but by a link that
//! whoever made the folder put there; what such a link leads to is read and found to be no tile.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::Place;

/// See the file's top.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at `path`.
    pub fn at(path: &Path) -> Folder {
        Folder { path: path.into() }
    }
}

impl Place for Folder {
    fn file(&mut self, name: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        let path = self.path.join(name);
        let told = |error: std::io::Error| format!("{name}: {error}");
        // Asked before it is opened: a pipe would be waited for without end.
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Err(format!("{name} is no file")),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(told(error)),
        }
        bounded(File::open(&path).map_err(told)?, most).map_err(told)?.map_or_else(
            || Err(format!("{name} is longer than the {most} bytes that such a file may have")),
            |bytes| Ok(Some(bytes)),
        )
    }
}

/// All of it; nothing if it is longer than `most`.
pub(super) fn bounded(file: impl Read, most: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take((most as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= most).then_some(bytes))
}
