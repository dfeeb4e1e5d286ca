//! `init`: keys, log, first bundle. All or nothing: it is made beside the target and moved there whole.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Checkpoint, Event, Hash, KrlNote, NoteSigner, PinnedKeys, Succeeded};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::check;

use super::bundle_files::{BundleFiles, refused};
use super::folders::{beside, move_whole};
use super::{Data, Failed, print, tell};
use crate::clock::{Clock, SystemClock};
use crate::data_dir::DataDir;
use crate::door::Tls;
use crate::keys::{self, Purpose};
use crate::log::{Log, LogError};
use crate::randomness::{Randomness, SystemRandomness};

/// Make a new CA.
#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    data: Data,
    /// Folder with policy.toml and roster.toml
    #[arg(long, value_name = "DIR")]
    bundle: PathBuf,
    /// Name of the installation, e.g. payments.example; a random id is added to it
    #[arg(long, default_value = "fireaxe")]
    name: String,
    /// Names and addresses in the TLS certificate (clients pin it, they do not check names)
    #[arg(long = "tls-name", value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
    tls_names: Vec<String>,
    /// The newest checkpoint known of a log that is lost or given up: recorded, so that an auditor finds the way
    #[arg(long, value_name = "FILE")]
    succeeds: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<(), Failed> {
        let files = BundleFiles::read(&self.bundle)?;
        let report = check(&files.bundle);
        if !report.findings.is_empty() {
            return Err(refused(&report.findings));
        }
        let mut random = SystemRandomness;
        let id: String =
            random.bytes32().map_err(Failed::error)?.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let origin: Origin = format!("{}/{id}", self.name)
            .parse()
            .map_err(|e| Failed::config(vec![format!("--name: {e}")]))?;

        let succeeds = self.succeeds.as_deref().map(succeeded).transpose()?;
        let target = &self.data.dir;
        let beside = beside(target, "init")?;
        let made = self.make(&DataDir::at(&beside), &files, &origin, succeeds, &mut random);
        let made = made.and_then(|made| {
            // Dying before this line: nothing. After it: a whole CA.
            move_whole(&beside, target).map(|()| made)
        });
        match made {
            Ok(made) => self.say(&origin, &made),
            Err(failed) => {
                let _ = fs::remove_dir_all(&beside);
                Err(failed)
            }
        }
    }

    fn make(
        &self,
        dir: &DataDir,
        files: &BundleFiles,
        origin: &Origin,
        succeeds: Option<Succeeded>,
        random: &mut SystemRandomness,
    ) -> Result<Made, Failed> {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(dir.path())
            .map_err(|e| Failed::error(format!("{}: {e}", dir.path().display())))?;
        keys::create(&dir.keys(), random).map_err(|e| Failed::key(&e))?;
        let load = |purpose| keys::load(&dir.keys(), purpose).map_err(|e| Failed::key(&e));
        let (user_ca, log_key, krl_key) = (load(Purpose::UserCa)?, load(Purpose::Log)?, load(Purpose::Krl)?);
        let host_ca = load(Purpose::HostCa)?;
        let pinned = PinnedKeys {
            user_ca: keys::public(&user_ca),
            log: keys::public(&log_key),
            krl: keys::public(&krl_key),
            host_ca: keys::public(&host_ca),
        };
        Tls::create(&dir.tls_certificate(), &dir.tls_key(), self.tls_names.clone()).map_err(Failed::error)?;
        let tls = Tls::load(&dir.tls_certificate(), &dir.tls_key()).map_err(Failed::error)?;

        let signer = NoteSigner::new(origin.as_str(), log_key).map_err(Failed::error)?;
        let krl_key = NoteSigner::new(&KrlNote::key_name(origin), krl_key).map_err(Failed::error)?;
        let now = SystemClock.now().wall_s;
        let (path, origin, pinned_now) = (dir.log(), origin.clone(), pinned.clone());
        let mut log = match succeeds {
            Some(before) => Log::create_after(&path, origin, pinned_now, before, now, &signer),
            None => Log::create(&path, origin, pinned_now, now, &signer),
        }
        .map_err(Failed::error)?;
        activate(&mut log, files, now, &signer).map_err(Failed::error)?;
        Ok(Made {
            pinned,
            log_key: signer.key().to_string(),
            krl_key: krl_key.key().to_string(),
            pin: tls.pin,
            bundle: files.bundle.hash,
        })
    }

    fn say(&self, origin: &Origin, made: &Made) -> Result<(), Failed> {
        let Made { log_key: log, krl_key: krl, .. } = made;
        if self.json {
            let told = serde_json::json!({
                "schema": "fireaxe.init/v1",
                "origin": origin,
                "pin": format!("sha256:{}", made.pin),
                "user_ca": made.pinned.user_ca,
                "host_ca": made.pinned.host_ca,
                "log_key": log,
                "krl_key": krl,
                "bundle": made.bundle,
            });
            print(format_args!("{told}\n"))?;
        }
        tell(format_args!("a new CA in {}", self.data.dir.display()));
        tell(format_args!("  log       {origin}"));
        tell(format_args!("  user CA   {}   (one line for TrustedUserCAKeys)", made.pinned.user_ca));
        tell(format_args!("  host CA   {}   (one line for @cert-authority)", made.pinned.host_ca));
        tell(format_args!("  log key   {log}"));
        tell(format_args!("  KRL key   {krl}"));
        tell(format_args!("  TLS pin   sha256:{}", made.pin));
        tell(format_args!("  bundle    {}", made.bundle));
        tell(format_args!("next:  fireaxe-ca serve --data {}", self.data.dir.display()));
        tell(format_args!(
            "       fireaxe enrol --person NAME --addr https://HOST:8443 --pin sha256:{}",
            made.pin
        ));
        Ok(())
    }
}

struct Made {
    pinned: PinnedKeys,
    log_key: String,
    krl_key: String,
    pin: Hash,
    bundle: Hash,
}

/// The bundle's bytes and `bundle.activated`, in one batch. The folder is moved into place after it, so
/// nobody ever sees a log without a bundle.
fn activate(log: &mut Log, files: &BundleFiles, now: u64, signer: &NoteSigner) -> Result<(), LogError> {
    use base64::Engine;
    let mut batch = log.batch()?;
    let mut leaves = [Vec::new(), Vec::new()];
    for (text, leaves) in [&files.policy, &files.roster].into_iter().zip(&mut leaves) {
        for chunk in text.as_bytes().chunks(limits::BLOB_CHUNK) {
            let base64 = base64::engine::general_purpose::STANDARD.encode(chunk);
            leaves.push(batch.append(now, &Event::BlobStored { base64 }, None, ())?.leaf());
        }
    }
    let [policy, roster] = leaves;
    let activated = Event::BundleActivated {
        bundle: files.bundle.hash,
        policy,
        roster,
        by: fireaxe_protocol::log::Activation::Init,
    };
    let _activated = batch.append(now, &activated, None, ())?;
    batch.commit(signer)?;
    Ok(())
}

/// A checkpoint as it was kept: a signed note of another log. Whether the signature holds cannot be known here,
/// where that log's key is not; whoever audits both has it.
fn succeeded(path: &Path) -> Result<Succeeded, Failed> {
    use std::io::Read;
    let failed = |why: String| {
        Failed::config(vec![format!("--succeeds {}: {why}", path.display())]).hint(
            "the newest of: checkpoint in the mirror, /var/lib/fireaxe/head.note of a host, a witness's",
        )
    };
    let mut note = String::new();
    let file = fs::File::open(path).map_err(|e| failed(e.to_string()))?;
    file.take(limits::NOTE as u64 + 1).read_to_string(&mut note).map_err(|e| failed(e.to_string()))?;
    let text = note.rfind("\n\n").and_then(|end| note.get(..end + 1)).unwrap_or_default();
    let head = Checkpoint::parse(text).map_err(|e| failed(e.to_string()))?;
    let signed = note.contains(&format!("\n\u{2014} {} ", head.origin));
    if note.len() > limits::NOTE || !signed {
        return Err(failed("it is not a checkpoint with its log's signature".to_owned()));
    }
    Ok(Succeeded { origin: head.origin, note })
}
