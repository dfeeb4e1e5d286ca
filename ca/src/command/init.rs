//! `init`: keys, log, first bundle. All or nothing: it is made beside the target and moved there whole.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use fireaxe_protocol::limits;
use fireaxe_protocol::log::{Event, Hash, KrlNote, NoteSigner, PinnedKeys};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::policy::check;

use super::bundle_files::{BundleFiles, refused};
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

        let target = &self.data.dir;
        if target.exists() {
            let empty = fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
            if !empty {
                return Err(Failed::error(format!("{} exists and is not empty", target.display()))
                    .hint("a CA is made once; for another one choose another --data folder"));
            }
        }
        let beside = beside(target)?;
        let made = self.make(&DataDir::at(&beside), &files, &origin, &mut random);
        let made = made.and_then(|made| {
            // Dying before this line: a folder beside the target that nobody uses. After it: a whole CA.
            // Its name is durable once the folder around it is.
            fs::rename(&beside, target)
                .and_then(|()| fs::File::open(beside.parent().unwrap_or(target))?.sync_all())
                .map_err(|e| Failed::error(format!("{}: {e}", target.display())))
                .map(|()| made)
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
        let mut log =
            Log::create(&dir.log(), origin.clone(), pinned.clone(), now, &signer).map_err(Failed::error)?;
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

fn beside(target: &Path) -> Result<PathBuf, Failed> {
    let name = target.file_name().ok_or_else(|| Failed::error("--data must name a folder"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".init-{}", std::process::id()));
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|e| Failed::error(format!("{}: {e}", parent.display())))?;
    Ok(parent.join(hidden))
}
