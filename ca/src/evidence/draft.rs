//! Parts that are known and not yet written. Each is made anew whenever it is needed, and must then be the same
//! bytes: once for the manifest, which the log signs before anything is handed out, and once for the zip. What was
//! changed in between ends the writing; memory is bounded however large a part is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use fireaxe_protocol::evidence::{MANIFEST, MANIFEST_ENTRY, MANIFEST_PROOF, SUMS};
use fireaxe_protocol::evidence::{Manifest, Part, manifest};
use fireaxe_protocol::log::{EntryError, Hash};
use fireaxe_protocol::recording::Cast;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::log::LogError;
use crate::recordings;

/// Why a file could not be put together.
#[derive(Debug, Error)]
pub enum Fault {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry that is none.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A file, or the way out.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The zip.
    #[error("the zip: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// A part came out otherwise the second time.
    #[error("{0} changed while it was read; try again")]
    Changed(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    Nothing(String),
}

/// Writes a part, the same bytes each time.
type Make<'s> = dyn Fn(&mut dyn Write) -> Result<(), Fault> + 's;

/// Where a part's bytes come from.
pub(super) enum Source<'s> {
    /// They are here.
    Bytes(Vec<u8>),
    /// The first bytes of a file, so many.
    File(PathBuf, u64),
    /// The picture of a recording.
    Cast(PathBuf),
    /// They are made as they are written.
    Made(Box<Make<'s>>),
}

impl Source<'_> {
    pub(super) fn write(&self, out: &mut dyn Write) -> Result<(), Fault> {
        match self {
            Source::Bytes(bytes) => out.write_all(bytes)?,
            Source::File(path, bytes) => {
                let copied = io::copy(&mut File::open(path)?.take(*bytes), out)?;
                if copied != *bytes {
                    return Err(Fault::Changed(path.display().to_string()));
                }
            }
            Source::Cast(path) => {
                let (mut cast, mut text, mut done) = (Cast::default(), String::new(), Ok(()));
                recordings::read(path, |chunk| {
                    cast.chunk(chunk, &mut text);
                    if done.is_ok() {
                        done = out.write_all(text.as_bytes());
                    }
                    text.clear();
                })?;
                done?;
            }
            Source::Made(make) => make(out)?,
        }
        Ok(())
    }

    /// Its size and hash.
    pub(super) fn measure(&self) -> Result<(u64, Hash), Fault> {
        let mut measured = Measured { sha: Sha256::new(), bytes: 0, out: io::sink() };
        self.write(&mut measured)?;
        Ok((measured.bytes, Hash(measured.sha.finalize().into())))
    }

    /// What gains nothing by being packed, and what would be refused as too well packed.
    fn is_stored(&self) -> bool {
        matches!(self, Source::File(..) | Source::Cast(_))
    }
}

/// The entry by which the log signs the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its bytes.
    pub entry: Vec<u8>,
    /// Its C2SP tlog-proof.
    pub proof: Vec<u8>,
}

/// See the file's top.
pub struct Draft<'s> {
    /// The folder in the zip.
    pub(super) folder: String,
    pub(super) parts: BTreeMap<String, Source<'s>>,
    pub(super) manifest: Manifest,
}

impl<'s> Draft<'s> {
    /// Measures the parts that `manifest` does not list yet.
    pub(super) fn new(
        folder: String,
        parts: BTreeMap<String, Source<'s>>,
        manifest: Manifest,
    ) -> Result<Draft<'s>, Fault> {
        let mut draft = Draft { folder, parts, manifest };
        let known: BTreeSet<String> = draft.manifest.parts.iter().map(|part| part.name.clone()).collect();
        for (name, source) in draft.parts.iter().filter(|(name, _)| !known.contains(*name)) {
            let (bytes, sha256) = source.measure()?;
            draft.manifest.parts.push(Part { name: name.clone(), bytes, sha256 });
        }
        draft.manifest.parts.sort();
        Ok(draft)
    }

    /// The manifest: its hash is what the log has to say was exported.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Writes the zip. `logged` is the entry that names the manifest, unless the manifest says that there is none.
    pub fn write(&self, out: impl Write, logged: Option<&Logged>) -> Result<(), Fault> {
        let mut zip = ZipWriter::new_stream(out);
        for (part, (name, source)) in self.manifest.parts.iter().zip(&self.parts) {
            begin(&mut zip, &self.folder, name, source.is_stored())?;
            let mut measured = Measured { sha: Sha256::new(), bytes: 0, out: &mut zip };
            source.write(&mut measured)?;
            if (measured.bytes, Hash(measured.sha.finalize().into())) != (part.bytes, part.sha256) {
                return Err(Fault::Changed(name.clone()));
            }
        }
        let mut last = vec![(MANIFEST, self.manifest.encode().into_bytes())];
        if let Some(logged) = logged {
            last.push((MANIFEST_ENTRY, logged.entry.clone()));
            last.push((MANIFEST_PROOF, logged.proof.clone()));
        }
        let outside: Vec<(&str, Hash)> = last.iter().map(|(name, bytes)| (*name, Hash::of(bytes))).collect();
        last.push((SUMS, manifest::sums(&self.manifest, &outside).into_bytes()));
        for (name, bytes) in last {
            begin(&mut zip, &self.folder, name, false)?;
            zip.write_all(&bytes)?;
        }
        zip.finish()?;
        Ok(())
    }
}

fn begin<W: Write + io::Seek>(
    zip: &mut ZipWriter<W>,
    folder: &str,
    name: &str,
    stored: bool,
) -> Result<(), Fault> {
    let method = if stored { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    let options =
        SimpleFileOptions::default().compression_method(method).large_file(true).unix_permissions(0o600);
    zip.start_file(format!("{folder}/{name}"), options)?;
    Ok(())
}

struct Measured<W> {
    sha: Sha256,
    bytes: u64,
    out: W,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
