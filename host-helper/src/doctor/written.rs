//! Files of ours on this host: each whole, changeable by root alone, of this host's CA, and young enough.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fireaxe_protocol::host::RECORDER;
use fireaxe_protocol::keys::Ed25519Key;

use super::{Finding, asks_program};
use crate::apply::{Room, has_pam_exec, host_certificate, only_roots, pam};
use crate::config::{Config, Enrolled};
use crate::drop_in::{DROP_IN, DropIn};
use crate::escape::plain;
use crate::login::witnesses::Witnesses;
use crate::sink::{Limits, Sealing};
use crate::{files, krl};

/// A list older than this has not been confirmed by the CA for too long. Seconds; the feed says something
/// every minute.
pub(super) const LIST_AGE_S: u64 = 600;
/// A host certificate with less than this to go should have been renewed. Seconds: a day of seven.
const CERTIFICATE_LEFT_S: u64 = 86_400;
/// A list of more than this costs every login time (10,000 random serials are 80 KB and 15 ms). Bytes.
const LIST_LARGE: u64 = 80_000;

pub(super) fn findings(config: &Config, drop_in: Option<&DropIn>, now: u64) -> Vec<Finding> {
    let mut found = Vec::new();
    list(config, now, &mut found);
    trusted(config, &mut found);
    match (&config.enrolled, drop_in) {
        (Some(enrolled), drop_in) => {
            certificate(enrolled, drop_in, now, &mut found);
            if let Witnesses::Unreadable(why) = Witnesses::of(config) {
                found.push(Finding::wrong(
                    "host.witnesses",
                    format!("no certificate opens anything: the witness policy {}", plain(&why, 300)),
                    "put the file back as the fleet's owner gave it; only root may take witness_policy out of host.toml",
                ));
            }
            auditors(enrolled, &mut found);
        }
        (None, _) => found.push(Finding::note(
            "host.not_enrolled",
            "this host only fetches lists: it reports nothing and shows no host certificate",
            "fireaxe-host enrol --help",
        )),
    }
    match drop_in {
        None => found.push(Finding::wrong(
            "host.no_drop_in",
            format!(
                "sshd is not told of certificates: our file for sshd, /{DROP_IN}, is missing or not ours"
            ),
            "fireaxe-host apply --account NAME",
        )),
        Some(drop_in) => {
            let text = fs::read_to_string(Path::new("/").join(DROP_IN)).unwrap_or_default();
            // `files` writes the same words without a host certificate.
            if drop_in.text() != text {
                found.push(Finding::wrong(
                    "host.drop_in_changed",
                    format!("our file for sshd, /{DROP_IN}, is not as it was written"),
                    "fireaxe-host apply --account NAME",
                ));
            }
            if let Some(program) = asks_program(drop_in) {
                programs(program, &mut found);
            }
        }
    }
    owners(config, &mut found);
    unfinished(config, &mut found);
    disk(config, &mut found);
    found
}

fn list(config: &Config, now: u64, found: &mut Vec<Finding>) {
    let path = config.revoked_keys.display();
    let keys = files::read_user_ca(&config.user_ca).unwrap_or_default();
    if let Err(error) = krl::installed_for(&config.revoked_keys, &keys) {
        let next = "fireaxe-host krl; until then sshd refuses every key, or revokes nobody";
        found.push(Finding::wrong("host.list_broken", format!("the revocation list {path}: {error}"), next));
        return;
    }
    let state = krl::State::read(&config.state);
    let age = state.map(|state| now.saturating_sub(state.signed_at));
    if age.is_none_or(|age| age > LIST_AGE_S) {
        let age = age.map_or("never".into(), |age| format!("{} min ago", age / 60));
        found.push(Finding::wrong(
            "host.list_old",
            format!("the CA last confirmed the revocation list {age}; tiers with krl_max_age refuse it"),
            "is the daemon running, does it reach the CA? fireaxe-host status",
        ));
    }
    let size = fs::metadata(&config.revoked_keys).map_or(0, |meta| meta.len());
    if size > LIST_LARGE {
        found.push(Finding::note(
            "host.list_large",
            format!("the revocation list has {size} bytes: sshd reads all of it four times a login"),
            "nothing; lists forget serials a day after their end",
        ));
    }
}

fn trusted(config: &Config, found: &mut Vec<Finding>) {
    if let Err(error) = files::read_user_ca(&config.user_ca) {
        found.push(Finding::wrong(
            "host.user_ca",
            format!("no certificate opens anything: {error}"),
            "put the CA's public key there (fireaxe-ca init printed it), or enrol again",
        ));
    }
}

fn certificate(enrolled: &Enrolled, drop_in: Option<&DropIn>, now: u64, found: &mut Vec<Finding>) {
    let path = host_certificate(enrolled);
    let wrong = |why: String, next| {
        Finding::wrong("host.certificate", format!("the host certificate {}: {why}", path.display()), next)
    };
    let again = "the daemon renews it; by hand: fireaxe-host enrol";
    let read = match read_certificate(&path) {
        Ok(read) => read,
        Err(why) => return found.push(wrong(why, again)),
    };
    if !read.cert_type().is_host() || *read.signature_key() != enrolled.host_ca.key_data() {
        found.push(wrong("it is not a host certificate of our CA".into(), again));
    }
    let mut public = enrolled.host_key.clone().into_os_string();
    public.push(".pub");
    let key = fs::read_to_string(public).ok().and_then(|text| ssh_key::PublicKey::from_openssh(&text).ok());
    if key.is_some_and(|key| key.key_data() != read.public_key()) {
        found.push(wrong(
            "it is for another host key than sshd's: clients will not know this host".into(),
            again,
        ));
    }
    match read.valid_before().checked_sub(now) {
        None => found.push(wrong("it has ended: clients refuse this host".into(), again)),
        Some(left) if left < CERTIFICATE_LEFT_S => {
            found.push(wrong(format!("it ends in {} h and was not renewed", left / 3600), again));
        }
        Some(_) => {}
    }
    if drop_in.is_some_and(|drop_in| drop_in.host_certificate.as_ref() != Some(&path)) {
        found.push(wrong("sshd is not told to show it".into(), "fireaxe-host apply --account NAME"));
    }
}

fn read_certificate(path: &Path) -> Result<ssh_key::Certificate, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    ssh_key::Certificate::from_openssh(text.trim()).map_err(|error| error.to_string())
}

/// Whether the file is a host certificate signed by this CA.
pub(crate) fn is_host_certificate_of(path: &Path, ca: &Ed25519Key) -> bool {
    read_certificate(path)
        .is_ok_and(|read| read.cert_type().is_host() && *read.signature_key() == ca.key_data())
}

fn programs(program: &Path, found: &mut Vec<Finding>) {
    if let Err(error) = only_roots(program) {
        let next = "mend owner and mode; sshd refuses every certificate until then";
        found.push(Finding::wrong("host.program", error.to_string(), next));
    }
    if fs::read_link(RECORDER).is_ok_and(|to| to == program) {
        if let Err(error) = only_roots(Path::new(RECORDER)) {
            found.push(Finding::wrong("host.recorder", error.to_string(), "mend owner and mode"));
        }
    } else {
        let sentence = format!("{RECORDER} is not this program: recorded tiers are refused");
        found.push(Finding::wrong("host.recorder", sentence, "fireaxe-host apply --account NAME"));
    }
    let text = fs::read_to_string(pam::PAM).unwrap_or_default();
    if !pam::has_block(&text, program) {
        found.push(Finding::wrong(
            "host.hook_missing",
            format!("{} does not tell the daemon of connections: they have no deadline", pam::PAM),
            "fireaxe-host apply --account NAME",
        ));
    } else if !has_pam_exec() {
        let sentence = "PAM's pam_exec.so is gone: connections have no deadline";
        found.push(Finding::wrong("host.hook_missing", sentence, "install libpam-modules"));
    }
}

/// Files that sshd and this program believe: root's alone, up to the root of the file system.
fn owners(config: &Config, found: &mut Vec<Finding>) {
    let mut paths = vec![&*config.user_ca, &*config.revoked_keys, &*config.state];
    let drop_in = Path::new("/").join(DROP_IN);
    paths.push(&drop_in);
    paths.extend(config.enrolled.as_ref().and_then(|enrolled| enrolled.auditors.as_deref()));
    paths.push(Path::new(pam::PAM));
    paths.extend(config.enrolled.as_ref().and_then(|enrolled| enrolled.witness_policy.as_deref()));
    for path in paths {
        // The file and every folder above it: whoever may rename a folder may replace what is in it.
        for part in path.ancestors() {
            let Ok(meta) = fs::metadata(part) else { continue };
            let shared = part != path && meta.mode() & 0o1000 != 0;
            if meta.uid() != 0 || (meta.mode() & 0o022 != 0 && !shared) {
                let sentence = format!("{} can be changed by others than root", part.display());
                let mut finding = Finding::wrong("host.owner", sentence, "chown root and chmod go-w");
                finding.owner = Some(meta.uid());
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
}

fn unfinished(config: &Config, found: &mut Vec<Finding>) {
    let room = Room::of(config);
    if let Some(last) = room.last() {
        let sentence = format!("the last apply was taken back: {}", plain(&last, 300));
        found.push(Finding::wrong(
            "host.taken_back",
            sentence,
            "mend that, then fireaxe-host apply --account NAME",
        ));
    }
    if room.is_open() && room.lock().is_ok() {
        let sentence = "an apply has not come to its end, and nobody is working on it";
        found.push(Finding::wrong(
            "host.unfinished",
            sentence,
            "fireaxe-host apply --account NAME; it puts back first",
        ));
    }
}

/// Keys to seal recordings to, which are there when the configuration says so.
fn auditors(enrolled: &Enrolled, found: &mut Vec<Finding>) {
    if let Err(error) = Sealing::to(enrolled.auditors.as_deref()).read() {
        found.push(Finding::wrong(
            "host.auditors",
            format!(
                "nothing is recorded, for nobody is known to seal it to: {}",
                plain(&error.to_string(), 600)
            ),
            "one age1... key a line in that file, which root alone can change",
        ));
    }
}

fn disk(config: &Config, found: &mut Vec<Finding>) {
    let Ok(room) = rustix::fs::statvfs(&config.state) else { return };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    // The rule by which the sink refuses to record.
    let size = room.f_blocks.saturating_mul(room.f_frsize);
    if free < Limits::default().reserve.min(size / 20) {
        found.push(Finding::wrong(
            "host.disk",
            format!("{} has {} MiB left: nothing is recorded", config.state.display(), free >> 20),
            "make room; tiers that must be recorded are refused without it",
        ));
    }
}
