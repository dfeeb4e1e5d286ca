//! `policy statement`: the exact words that policy admins sign to put a bundle in force. To stdout, or into
//! a file, without a newline at the end: what `ssh-keygen -Y sign` signs is the file, byte for byte.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::{Bundle, Role, diff, own_gains};
use fireaxe_protocol::statement::{BundleChange, Header, Kind, Nonce, Statement};

use super::super::bundle_files::BundleFiles;
use super::super::{Failed, print, tell};
use super::in_force::InForce;
use super::simulate::{log_failed, open};
use super::{Folder, unsound};
use crate::clock::{Clock, SystemClock};
use crate::randomness::{Randomness, SystemRandomness};

/// Print the words that policy admins sign to put a bundle in force.
#[derive(Debug, Args)]
pub(crate) struct Change {
    #[command(flatten)]
    folder: Folder,
    /// The CA's data folder, or its log.sqlite: says which bundle is replaced, and what changes
    #[arg(long, value_name = "DATA", env = "FIREAXE_CA_DATA", required_unless_present = "of")]
    data: Option<PathBuf>,
    /// Away from the CA: leaf of the bundle.activated entry that is replaced
    #[arg(long, value_name = "HASH", requires = "to")]
    of: Option<Hash>,
    /// Away from the CA: the log's name
    #[arg(long, value_name = "ORIGIN", requires = "of")]
    to: Option<Origin>,
    /// Write the words into FILE, which must be new
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What is replaced.
struct Replaced {
    of: Hash,
    to: Origin,
    bundle: Option<Bundle>,
}

impl Change {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let bundle = BundleFiles::read(&self.folder.bundle)?.bundle;
        let folder = self.folder.bundle.display();
        let unsound = unsound(&bundle);
        if !unsound.is_empty() {
            return Err(Failed::config(unsound).hint(format!("fireaxe-ca policy check {folder}")));
        }
        let replaced = self.replaced(&bundle)?;
        let nonce = SystemRandomness.bytes32().map_err(Failed::error)?;
        let words = Statement::Bundle(BundleChange {
            header: Header {
                kind: Kind::Bundle,
                to: replaced.to.clone(),
                nonce: Nonce(*nonce.first_chunk().unwrap_or(&[0; 16])),
                at: SystemClock.now().wall_s,
            },
            of: replaced.of,
            bundle: bundle.hash,
        })
        .write();
        match &self.output {
            // Never over another one: somebody may have signed that.
            Some(path) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .and_then(|mut file| file.write_all(words.as_bytes()))
                .map_err(|e| Failed::error(format!("{}: {e}", path.display())).hint("-o with a new name"))?,
            None => print(&words)?,
        }
        self.say(&replaced, &bundle);
        Ok(())
    }

    fn replaced(&self, bundle: &Bundle) -> Result<Replaced, Failed> {
        if let (Some(of), Some(to)) = (self.of, self.to.clone()) {
            return Ok(Replaced { of, to, bundle: None });
        }
        let data = self.data.as_deref().ok_or_else(|| Failed::error("--data, or --of and --to"))?;
        let reader = open(data)?;
        let mut in_force = InForce::default();
        reader.replay(|_, entry, leaf| in_force.see(&entry.event, leaf)).map_err(|e| log_failed(data, e))?;
        let newest = in_force.newest().ok_or_else(|| {
            Failed::error("the log has no bundle in force").hint("fireaxe-ca log verify --data DIR")
        })?;
        if newest.hash == bundle.hash {
            return Err(Failed::error(format!(
                "{} is the bundle in force already",
                self.folder.bundle.display()
            ))
            .hint("name the folder of the new bundle"));
        }
        Ok(Replaced { of: newest.leaf, to: reader.origin().clone(), bundle: newest.bundle.clone() })
    }

    /// What it changes, who gains by it, and what to type next.
    fn say(&self, replaced: &Replaced, bundle: &Bundle) {
        match &replaced.bundle {
            Some(before) => {
                tell(diff(before, bundle).to_string().trim_end());
                tell(admins(before, bundle));
            }
            None => tell("what it changes cannot be said here: the bundle in force is not at hand"),
        }
        let file = self.output.as_ref().map_or("FILE".to_owned(), |path| path.display().to_string());
        if self.output.is_none() {
            tell("note:  into a file with -o FILE; it must be signed without a newline at its end");
        }
        let (folder, namespace) = (self.folder.bundle.display(), Kind::Bundle.namespace());
        let data = self.data.as_ref().map_or("DATA".to_owned(), |path| path.display().to_string());
        tell(format_args!("next:  ssh-keygen -Y sign -n {namespace} -f KEY {file}"));
        tell(format_args!(
            "       fireaxe-ca policy activate {folder} --data {data} --signed {file} --signed COPY ...   (each admin signs a copy)"
        ));
    }
}

/// Who must sign, by the bundle in force, and what each of them gains.
fn admins(before: &Bundle, after: &Bundle) -> String {
    let Some(holders) = before.roster.role(Role::PolicyAdmin) else {
        return "nobody may sign it: the bundle in force has no policy_admin".to_owned();
    };
    let group = &holders.group.value;
    let mut lines =
        vec![format!("{} of group {group} must sign, with {:?} at least", holders.quorum, holders.presence)];
    for person in before.roster.distinct_members(std::slice::from_ref(group)) {
        let gains = own_gains(before, after, person);
        if let Some(first) = gains.first() {
            let more =
                if gains.len() > 1 { format!(" (and {} more)", gains.len() - 1) } else { String::new() };
            lines.push(format!("  {person} gains by it beside what all gain: {first}{more}"));
        }
    }
    lines.join("\n")
}
