//! Every check of a dossier. Believes nothing in it: not the manifest, not the page, not that the CA was honest;
//! only the log's key, which the caller compares with what it has from elsewhere.
//!
//! | file | what it asks |
//! |---|---|
//! | `parts` | that the parts are those of the manifest, bit for bit; recordings as they pass by |
//! | `tree` | that the log's key signed the head, that each entry is under it, and the manifest's entry too |
//! | `signed` | that each statement was signed by whom it says, for this log, in time |
//! | `decided` | that each decision comes out again, that enough people agreed, that certificates are what was given |
//! | `refers` | that what entries refer to is here |

mod decided;
pub(super) mod parts;
mod refers;
mod signed;
pub(super) mod tree;

use crate::log::{Evidence, NoteKey};
use crate::names::{Origin, shown};

use super::dossier::derived;
use super::html::plain;
use super::manifest::{DOSSIER, Manifest};
use super::{Parts, whole};
use super::{layout, period};
use crate::limits;

/// What the caller knows of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust<'t> {
    /// The log's key, from elsewhere. None: the file's own is believed, and must be compared.
    pub key: Option<&'t NoteKey>,
    /// Whether that key is for this very file: another log's is then wrong. Else a key of another log is none.
    pub must: bool,
    /// The version of this program: words made by another are not compared.
    pub version: &'t str,
}

/// Something wrong, and where. Harmless to show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The part.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Everything that is wrong, at most [`FINDINGS`].
    pub found: Vec<Finding>,
    /// What is not wrong and should be known.
    pub remarks: Vec<String>,
    /// What the file is of: `EM-42`, or a period.
    pub of: String,
    /// The log.
    pub origin: Option<Origin>,
    /// The key under which everything was checked.
    pub key: Option<NoteKey>,
    /// Size and root of the head.
    pub head: Option<(u64, crate::log::Hash)>,
    /// Whether that key is the one that the caller has.
    pub anchored: bool,
    /// Whether the log says that this file was made.
    pub logged: bool,
    /// Entries under the head.
    pub entries: u64,
    /// Statements signed by whom they say.
    pub statements: u64,
    /// Decisions that came out the same again.
    pub decisions: u64,
    /// Certificates that are what was given.
    pub certificates: u64,
    /// Recordings that are what a host reported.
    pub recordings: u64,
}

/// At most this many findings: what is wrong throughout says so early.
pub(super) const FINDINGS: usize = 100;

impl Told {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn note(&mut self, place: impl AsRef<str>, what: impl AsRef<str>) {
        if self.found.len() < FINDINGS {
            self.found.push(Finding { place: plain(place.as_ref()), what: plain(what.as_ref()) });
        }
    }

    pub(super) fn remark(&mut self, what: impl AsRef<str>) {
        if self.remarks.len() < FINDINGS {
            self.remarks.push(plain(what.as_ref()));
        }
    }
}

/// Checks a dossier or a period, whichever it is.
pub fn check(parts: &mut dyn Parts, trust: Trust<'_>) -> Told {
    let mut told = Told::default();
    let bytes = match whole(parts, layout::MANIFEST, limits::EVIDENCE_MANIFEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            told.note(layout::MANIFEST, format!("{error}: this is no dossier and no period"));
            return told;
        }
    };
    let manifest = match Manifest::decode(&bytes) {
        Ok(manifest) => manifest,
        Err(error) => {
            told.note(layout::MANIFEST, error);
            return told;
        }
    };
    told.origin = Some(manifest.origin.clone());
    told.logged = manifest.made.logged;
    told.head = Some((manifest.size, manifest.root));
    let Some(key) = key(&manifest, trust, &mut told) else { return told };
    if !manifest.made.logged {
        told.remark(
            "the log does not know that this file was made: sums only show that its parts fit each other",
        );
    }
    match &manifest.of {
        Evidence::Emergency(id) if manifest.schema == DOSSIER => {
            told.of = id.to_string();
            dossier(parts, &manifest, &key, trust, &mut told);
        }
        Evidence::Period { from, to } => {
            told.of = format!("{} to {}", super::utc(*from), super::utc(*to));
            period::check(parts, &manifest, &key, &mut told);
        }
        _ => told.note(layout::MANIFEST, "it says of nothing that is known here what it is of"),
    }
    told
}

/// The key under which everything is checked: the caller's, or the file's own.
fn key(manifest: &Manifest, trust: Trust<'_>, told: &mut Told) -> Option<NoteKey> {
    let own = manifest.log_key.parse::<NoteKey>().ok();
    let Some(own) = own.filter(|own| own.name() == manifest.origin.as_str()) else {
        told.note(layout::MANIFEST, "the log key that it names is none, or another log's");
        return None;
    };
    told.key = Some(own.clone());
    let key = trust.key.filter(|key| trust.must || key.name() == own.name());
    told.anchored = key == Some(&own);
    if key.is_some() && !told.anchored {
        let theirs = shown(manifest.origin.as_str());
        told.note(
            layout::KEY,
            format!("it is of another log, {theirs}: its key is not the one that you have"),
        );
    }
    Some(own)
}

fn dossier(parts: &mut dyn Parts, manifest: &Manifest, key: &NoteKey, trust: Trust<'_>, told: &mut Told) {
    let Some(held) = parts::read(parts, manifest, told) else { return };
    let Some(dossier) = tree::dossier(&held, manifest, key, told) else { return };
    tree::manifest_entry(&held, manifest, key, told);
    let wanted = derived(&dossier);
    let same_version = manifest.made.version == trust.version;
    if !same_version {
        told.remark(format!(
            "the page and the timeline were made by version {} and are not compared: their hashes are as the manifest says",
            shown(&manifest.made.version)
        ));
    }
    for (name, bytes) in wanted.exact.iter().chain(wanted.words.iter().filter(|_| same_version)) {
        match held.bytes.get(name) {
            Some(found) if found == bytes => {}
            Some(_) => told.note(name, "it is not what the entries say"),
            None => told.note(name, "it is missing"),
        }
    }
    let known = |name: &str| {
        wanted.exact.contains_key(name) || wanted.words.contains_key(name) || tree::is_known(name, &dossier)
    };
    for part in manifest.parts.iter().filter(|part| !known(&part.name)) {
        told.note(&part.name, "a dossier has no such part");
    }
    let bundles = signed::bundles(&dossier, told);
    signed::statements(&dossier, &bundles, told);
    decided::check(&dossier, &bundles, &held, key, told);
    refers::check(&dossier, &held, told);
}
