//! A dossier or a period as it lies on this machine: a zip, or the folder that it was unpacked into. Nothing is
//! extracted, nothing is followed; what could be read in two ways is refused.

mod folder;
mod zipped;

use std::io::Read;
use std::path::Path;

use fireaxe_protocol::evidence::Parts;

/// Opens it.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Parts>, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if found.is_dir() {
        return Ok(Box::new(folder::Folder::open(path)?));
    }
    if !found.is_file() {
        return Err("it is neither a file nor a folder".into());
    }
    Ok(Box::new(zipped::Zipped::open(path)?))
}

/// Hands out exactly `bytes` of them, a piece at a time.
fn pieces(mut from: impl Read, bytes: u64, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
    let mut piece = vec![0; 64 * 1024];
    let mut left = bytes;
    loop {
        let got = from.read(&mut piece).map_err(|error| format!("it cannot be read: {error}"))?;
        if got == 0 {
            return if left == 0 { Ok(()) } else { Err("it is shorter than it says".into()) };
        }
        left = left.checked_sub(got as u64).ok_or("it is longer than it says")?;
        each(piece.get(..got).unwrap_or_default());
    }
}
