//! Events as lines: to a file that grows, flushed to the disk, or to standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::Item;

/// See the file's top.
#[derive(Debug)]
pub enum Lines {
    /// Standard output: arrived is what the pipe took.
    Stdout,
    /// A file: arrived is what the disk has.
    File(File),
}

impl Lines {
    /// The file at `path`, made if it is not there, readable to its owner. A line that an end in the middle of a
    /// batch left behind is ended first: its event comes again, whole.
    pub fn to_file(path: &Path) -> Result<Lines, io::Error> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Lines::File(file))
    }

    /// Writes a batch; when it returns, the batch has arrived.
    pub fn deliver(&mut self, items: &[Item]) -> Result<(), io::Error> {
        let mut out = String::new();
        for item in items {
            out.push_str(&item.text);
            out.push('\n');
        }
        match self {
            Lines::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush())
            }
            Lines::File(file) => file.write_all(out.as_bytes()).and_then(|()| file.sync_data()),
        }
    }
}
