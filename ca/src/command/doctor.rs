//! `doctor`: looks at one CA from the outside and says what is wrong and what to type.

use std::os::unix::fs::MetadataExt;

use clap::Args;
use fireaxe_protocol::log::Event;

use super::{Data, Failed, operator_client, tell};
use crate::data_dir::DataDir;
use crate::door::Tls;
use crate::keys::{self, Purpose};
use crate::log::Reader;

/// Look for what is wrong with this CA.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    data: Data,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failed> {
        let dir = DataDir::at(&self.data.dir);
        let mut wrong = 0u32;
        let mut say = |what: &str, result: Result<String, String>| match result {
            Ok(fine) => tell(format_args!("ok    {what}: {fine}")),
            Err(bad) => {
                wrong += 1;
                tell(format_args!("FAIL  {what}: {bad}"));
            }
        };
        say("folder", folder(&dir));
        for purpose in Purpose::ALL {
            let key = keys::load(&dir.keys(), purpose);
            say(
                &format!("key {purpose:?}"),
                key.map(|key| keys::public(&key).fingerprint().to_string()).map_err(|e| e.to_string()),
            );
        }
        let tls = Tls::load(&dir.tls_certificate(), &dir.tls_key());
        say("TLS", tls.map(|tls| format!("pin sha256:{}", tls.pin)).map_err(|e| e.to_string()));
        say("log", log(&dir));
        say("fence", fence(&dir));
        say("running", running(&dir));
        if wrong == 0 {
            return Ok(());
        }
        Err(Failed::error(format!("{wrong} thing(s) are wrong with {}", dir.path().display())))
    }
}

fn folder(dir: &DataDir) -> Result<String, String> {
    let at = dir.path();
    let meta = std::fs::metadata(at).map_err(|e| format!("{}: {e}", at.display()))?;
    let mode = meta.mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(at.display().to_string())
    } else {
        Err(format!("{} is open to others (mode {mode:o}): chmod 700 it", at.display()))
    }
}

fn log(dir: &DataDir) -> Result<String, String> {
    let reader = Reader::open(&dir.log()).map_err(|e| e.to_string())?;
    let size = reader.size().map_err(|e| e.to_string())?;
    if let Event::LogCreated { keys: pinned, .. } = reader.entry(0).map_err(|e| e.to_string())?.event {
        for (purpose, pinned) in [
            (Purpose::UserCa, pinned.user_ca),
            (Purpose::Log, pinned.log),
            (Purpose::Krl, pinned.krl),
            (Purpose::HostCa, pinned.host_ca),
        ] {
            let key = keys::load(&dir.keys(), purpose).map_err(|e| e.to_string())?;
            if keys::public(&key) != pinned {
                return Err(format!("the {purpose:?} key file is not the one that entry 0 pins"));
            }
        }
    }
    Ok(format!("{size} entries; all of it is checked by: fireaxe-ca log verify"))
}

/// What stands in the way of signing, as the folder says: also of a CA that does not run.
fn fence(dir: &DataDir) -> Result<String, String> {
    let reader = Reader::open(&dir.log()).map_err(|e| e.to_string())?;
    match crate::fence::look(dir, &reader).map_err(|e| e.to_string())? {
        None => Ok("open".to_owned()),
        Some(why) => Err(format!("{why}; see docs/OPERATIONS.md, \"The fence\"")),
    }
}

fn running(dir: &DataDir) -> Result<String, String> {
    let (status, body) = operator_client::get(dir, "/healthz").map_err(|failed| failed.lines.join("; "))?;
    let told = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(told) } else { Err(told) }
}
