//! `policy simulate`: every request that a log holds, decided again under another bundle. Reads only, also
//! while the CA serves. Says whether the bundle is sound, what changes for whom, and stops at what becomes
//! looser until somebody says that they have seen it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::log::{Entry, Event, Hash};
use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::{Bundle, Change, ChangeVerdict, Decision, Facts, Target, simulate};

use super::super::bundle_files::BundleFiles;
use super::super::{Failed, print, tell};
use super::in_force::InForce;
use super::{Folder, unsound};
use crate::data_dir::DataDir;
use crate::log::{LogError, Reader};

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    folder: Folder,
    /// The CA's data folder, or a log.sqlite
    #[arg(long, value_name = "DATA_OR_LOG", env = "FIREAXE_CA_DATA")]
    against: PathBuf,
    /// Only what was decided from that emergency on
    #[arg(long, value_name = "EM-N")]
    since: Option<EmergencyId>,
    /// Succeed although something becomes looser
    #[arg(long)]
    acknowledge_looser: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A decision that would come out otherwise.
struct Changed {
    entry: u64,
    at: u64,
    /// `None`: a declaration that was refused.
    emergency: Option<EmergencyId>,
    person: String,
    target: String,
    change: Change,
}

#[derive(Default)]
struct Counts {
    same: u64,
    tighter: u64,
    looser: u64,
    denied: u64,
}

impl Simulate {
    pub(super) fn run(&self) -> Result<(), Failed> {
        let bundle = BundleFiles::read(&self.folder.bundle)?.bundle;
        let reader = open(&self.against)?;
        let unsound = unsound(&bundle);
        for line in &unsound {
            tell(line);
        }
        tell(match unsound.is_empty() {
            true => "the bundle is sound and passes its own tests".to_owned(),
            false => format!("the bundle could not be put in force: {} finding(s)", unsound.len()),
        });
        let (counts, changes) = self.replay(&reader, &bundle).map_err(|e| log_failed(&self.against, e))?;
        if self.json {
            self.print_json(&reader, &bundle, &unsound, &counts, &changes)?;
        } else {
            for changed in &changes {
                print(format_args!("{}\n", in_words(changed)))?;
            }
        }
        let Counts { same, tighter, looser, denied } = counts;
        let all = same + tighter + looser + denied;
        tell(format_args!(
            "{all} decisions: {same} the same, {tighter} tighter, {looser} looser, {denied} denied"
        ));
        let mut lines = unsound;
        let unseen = looser > 0 && !self.acknowledge_looser;
        if unseen {
            lines.push(format!("{looser} decision(s) would be looser"));
        }
        match (lines.is_empty(), unseen) {
            (true, _) => Ok(()),
            (false, true) if lines.len() == 1 => Err(Failed { code: 77, lines, hint: None }
                .hint("look at them; if they are meant, the same command with --acknowledge-looser")),
            (false, _) => Err(Failed::config(lines)
                .hint(format!("fireaxe-ca policy check {}", self.folder.bundle.display()))),
        }
    }

    fn replay(&self, reader: &Reader, bundle: &Bundle) -> Result<(Counts, Vec<Changed>), LogError> {
        let (size, shown) = (reader.size()?, std::io::stderr().is_terminal());
        let (mut counts, mut changes) = (Counts::default(), Vec::new());
        let (mut in_force, mut begun) = (InForce::default(), self.since.is_none());
        reader.replay(|index, entry, leaf| {
            if shown && size > LARGE && index.is_multiple_of(4096) {
                eprint!("\r{index} of {size} entries");
            }
            in_force.see(&entry.event, leaf);
            let Some((emergency, hash, facts, decision)) = decided(&entry) else { return };
            let from = self.since.unwrap_or(EmergencyId(0));
            begun |= emergency.is_some_and(|id| id >= from);
            if !begun || emergency.is_some_and(|id| id < from) {
                return;
            }
            let policy = in_force.of(&hash).map(|bundle| &bundle.policy);
            let change = simulate(bundle, policy, facts, decision);
            let count = match change.verdict {
                ChangeVerdict::Same => &mut counts.same,
                ChangeVerdict::Tighter => &mut counts.tighter,
                ChangeVerdict::Looser => &mut counts.looser,
                ChangeVerdict::Denied => &mut counts.denied,
            };
            *count += 1;
            if change.verdict != ChangeVerdict::Same {
                let (person, target) = (facts.person.to_string(), target(&facts.target));
                changes.push(Changed { entry: index, at: entry.at, emergency, person, target, change });
            }
        })?;
        if shown && size > LARGE {
            tell("");
        }
        Ok((counts, changes))
    }

    fn print_json(
        &self,
        reader: &Reader,
        bundle: &Bundle,
        unsound: &[String],
        counts: &Counts,
        changes: &[Changed],
    ) -> Result<(), Failed> {
        let changes: Vec<_> = changes
            .iter()
            .map(|changed| {
                serde_json::json!({
                    "entry": changed.entry,
                    "at": changed.at,
                    "emergency": changed.emergency,
                    "person": changed.person,
                    "target": changed.target,
                    "verdict": changed.change.verdict,
                    "what": changed.change.what,
                })
            })
            .collect();
        let told = serde_json::json!({
            "schema": "fireaxe.policy_simulate/v1",
            "origin": reader.origin(),
            "bundle": bundle.hash,
            "sound": unsound.is_empty(),
            "findings": unsound,
            "same": counts.same,
            "tighter": counts.tighter,
            "looser": counts.looser,
            "denied": counts.denied,
            "changes": changes,
        });
        print(format_args!("{told}\n"))
    }
}

/// Logs of more entries show how far they are read.
const LARGE: u64 = 10_000;

/// What an entry decided, about which emergency, and the bundle that did.
fn decided(entry: &Entry) -> Option<(Option<EmergencyId>, Hash, &Facts, &Decision)> {
    match &entry.event {
        Event::DeclarationRefused { bundle, facts, decision, .. } => Some((None, *bundle, facts, decision)),
        Event::ExtensionRefused { emergency, bundle, facts, decision, .. } => {
            Some((Some(*emergency), *bundle, facts, decision))
        }
        event => event.decided().map(|d| (Some(d.emergency), d.bundle, d.facts, d.decision)),
    }
}

fn target(target: &Target) -> String {
    target.host.as_ref().map_or_else(|| target.system.to_string(), ToString::to_string)
}

fn in_words(changed: &Changed) -> String {
    let Changed { entry, at: _, emergency, person, target, change } = changed;
    let emergency = emergency.map_or("refused".to_owned(), |id| id.to_string());
    let what = change.what.join("; ");
    format!("{:<7} {emergency} {person} {target} (entry {entry}): {what}", change.verdict.as_str())
}

/// The log of a data folder, or of a file.
pub(super) fn open(path: &Path) -> Result<Reader, Failed> {
    let file = if path.is_file() { path.to_owned() } else { DataDir::at(path).log() };
    Reader::open(&file).map_err(|e| log_failed(path, e))
}

pub(super) fn log_failed(path: &Path, error: LogError) -> Failed {
    match path.is_file() {
        true => Failed::error(format!("{}: {error}", path.display()))
            .hint("a log.sqlite with its -wal and -shm beside it, or the folder that holds it"),
        false => Failed::log(&DataDir::at(path), error),
    }
}
