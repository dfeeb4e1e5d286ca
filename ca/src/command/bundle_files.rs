//! A bundle's two files, read from a folder: bounded, and with all findings in words.

use std::fs;
use std::io::Read;
use std::path::Path;

use fireaxe_protocol::limits;
use fireaxe_protocol::policy::{Bundle, Finding};

use super::Failed;

/// The texts and what they mean.
pub(super) struct BundleFiles {
    pub(super) policy: String,
    pub(super) roster: String,
    pub(super) bundle: Bundle,
}

impl BundleFiles {
    /// Reads and parses `policy.toml` and `roster.toml` in `folder`. Parsing is not checking.
    pub(super) fn read(folder: &Path) -> Result<BundleFiles, Failed> {
        BundleFiles::parse(folder)?.map_err(|findings| refused(&findings))
    }

    /// The same, with what is wrong as values.
    pub(super) fn parse(folder: &Path) -> Result<Result<BundleFiles, Vec<Finding>>, Failed> {
        let policy = text(&folder.join("policy.toml"))?;
        let roster = text(&folder.join("roster.toml"))?;
        let parsed = Bundle::parse(&policy, &roster);
        Ok(parsed.map(|bundle| BundleFiles { policy, roster, bundle }))
    }
}

/// Findings as an error that shows all of them.
pub(super) fn refused(findings: &[Finding]) -> Failed {
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.push(format!("the bundle has {} finding(s); nothing was changed", findings.len()));
    Failed::config(lines).hint("mend the lines given; then fireaxe-ca policy check DIR")
}

fn text(path: &Path) -> Result<String, Failed> {
    let failed = |said: String| {
        Failed::config(vec![format!("{}: {said}", path.display())])
            .hint("a bundle is a folder with policy.toml and roster.toml")
    };
    let file = fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    let mut text = String::new();
    let limit = limits::BUNDLE as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(|e| failed(e.to_string()))?;
    if text.len() > limits::BUNDLE {
        return Err(failed(format!("longer than {} bytes", limits::BUNDLE)));
    }
    Ok(text)
}
