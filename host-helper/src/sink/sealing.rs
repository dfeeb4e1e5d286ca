//! To whom recordings are sealed: reads the auditors' keys, and makes the age files.
//!
//! `[enrolled] auditors = "/etc/fireaxe/auditors"` in `host.toml` says that recordings are sealed. Then nothing is
//! recorded in clear: with a file that is missing, damaged, another account's than root's or the daemon's, or writable for others there is no
//! recording at all. The file is read for each recording: a change counts from the next one on. Neither the
//! CA nor its policy is asked (docs/decisions/0030).

use std::io::Write;
use std::path::{Path, PathBuf};

use age::x25519::Recipient;
use fireaxe_protocol::limits;
use fireaxe_protocol::recording::AuditorKey;

use crate::error::HostError;
use crate::guarded::{self, Unread};

/// Where the auditors' keys are, if recordings are sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sealing {
    file: Option<PathBuf>,
}

/// The keys, read and checked.
pub struct Seal {
    keys: Vec<AuditorKey>,
    recipients: Vec<Recipient>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Seal").field(&self.keys).finish()
    }
}

/// What a file of keys may have, bytes: sixteen keys with a comment of 4,000 bytes each.
const FILE: u64 = 64 * 1024;

impl Sealing {
    /// Sealed to who is named in this file; nothing: in clear.
    pub fn to(file: Option<&Path>) -> Sealing {
        Sealing { file: file.map(Path::to_owned) }
    }

    /// The keys as they are now; nothing: recordings are in clear. Every error names its line.
    pub fn read(&self) -> Result<Option<Seal>, HostError> {
        let Some(path) = &self.file else { return Ok(None) };
        let wrong = |lines: Vec<String>| HostError::Auditors { path: path.clone(), lines };
        let bytes = guarded::kept(path, FILE + 1).map_err(|unread| match unread {
            Unread::System(error) => HostError::read(path, &error),
            Unread::Wrong(why) => wrong(vec![why.into()]),
        })?;
        if bytes.len() as u64 > FILE {
            return Err(wrong(vec!["it is longer than 64 KiB".into()]));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong(vec!["it is no text".into()]))?;
        parse(&text).map(Some).map_err(wrong)
    }
}

impl Seal {
    /// Whose keys.
    pub fn keys(&self) -> &[AuditorKey] {
        &self.keys
    }

    /// An age file of `plain` for each of them. age has its own randomness, the kernel's.
    pub(super) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, HostError> {
        let failed = |why: String| HostError::NotSealed(why);
        let all = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(all).map_err(|error| failed(error.to_string()))?;
        let mut out = Vec::with_capacity(plain.len() + limits::RECORDING_SEALING);
        let sealed = || {
            let mut writer = encryptor.wrap_output(&mut out)?;
            writer.write_all(plain)?;
            writer.finish().map(|_| ())
        };
        sealed().map_err(|error: std::io::Error| failed(error.to_string()))?;
        match out.len() <= plain.len() + limits::RECORDING_SEALING - 64 {
            true => Ok(out),
            // Never read back by anybody: better lost, and counted, than a chunk that ends the recording.
            false => Err(failed("the age file is longer than its place".into())),
        }
    }
}

/// One key a line, `#` begins a comment line, nothing else. All that is wrong, with its line.
fn parse(text: &str) -> Result<Seal, Vec<String>> {
    let (mut keys, mut recipients, mut wrong) = (Vec::<AuditorKey>::new(), Vec::new(), Vec::new());
    for (n, line) in text.lines().enumerate() {
        let n = n + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = AuditorKey::try_from(line.to_owned());
        match key.map_err(str::to_owned).and_then(|key| Ok((line.parse::<Recipient>()?, key))) {
            Ok((_, key)) if keys.contains(&key) => {
                wrong.push(format!("line {n}: this key stands there twice"))
            }
            Ok((recipient, key)) => {
                keys.push(key);
                recipients.push(recipient);
            }
            Err(why) => wrong.push(format!("line {n}: {why}")),
        }
    }
    if keys.len() > limits::RECORDING_AUDITORS {
        let (there, most) = (keys.len(), limits::RECORDING_AUDITORS);
        wrong.push(format!("it has {there} keys, and {most} are the most"));
    }
    if keys.is_empty() && wrong.is_empty() {
        wrong.push("it has no key: one age1... a line".into());
    }
    if wrong.is_empty() { Ok(Seal { keys, recipients }) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use age::x25519::Identity;

    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, Sealing) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auditors");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let sealing = Sealing::to(Some(&path));
        (dir, sealing)
    }

    #[test]
    fn each_line_that_is_wrong_is_named_and_none_is_passed_over() {
        let good = Identity::generate().to_public().to_string();
        let mut typo = good.clone();
        let last = typo.pop().unwrap();
        typo.push(if last == 'q' { 'p' } else { 'q' });
        let text = format!("# ana\n{good}\n\n{typo}\n{good}\nssh-ed25519 AAAA\n {good}\n");
        let (_dir, sealing) = written(&text, 0o644);
        let Err(HostError::Auditors { lines, .. }) = sealing.read() else { panic!("taken") };
        let named: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(named, ["line 4", "line 5", "line 6", "line 7"], "{lines:?}");
    }

    #[test]
    fn without_a_good_file_there_is_no_seal_and_no_clear_recording() {
        let good = Identity::generate().to_public().to_string();
        let (dir, sealing) = written(&good, 0o644);
        assert!(sealing.read().unwrap().is_some());
        drop(dir);
        assert!(matches!(sealing.read(), Err(HostError::Read { .. })), "missing");
        for (text, mode) in [("", 0o644), ("# nobody\n", 0o644), (&*good, 0o664), (&*good, 0o646)] {
            let (_dir, sealing) = written(text, mode);
            assert!(matches!(sealing.read(), Err(HostError::Auditors { .. })), "{text:?} {mode:o}");
        }
        let (dir, sealing) = written(&good, 0o644);
        // Root alone can give a file to another account.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path().join("auditors"), Some(65_534), None).unwrap();
            assert!(matches!(sealing.read(), Err(HostError::Auditors { .. })), "another account's");
        }
        let many = |n: usize| -> String {
            (0..n).map(|_| Identity::generate().to_public().to_string() + "\n").collect()
        };
        let (_dir, sealing) = written(&many(limits::RECORDING_AUDITORS), 0o600);
        assert_eq!(sealing.read().unwrap().unwrap().keys().len(), limits::RECORDING_AUDITORS);
        assert!(written(&many(limits::RECORDING_AUDITORS + 1), 0o600).1.read().is_err());
        assert!(Sealing::to(None).read().unwrap().is_none());
    }

    #[test]
    fn a_full_chunk_to_all_auditors_keeps_its_place() {
        let text: String = (0..limits::RECORDING_AUDITORS)
            .map(|_| Identity::generate().to_public().to_string() + "\n")
            .collect();
        let (_dir, sealing) = written(&text, 0o600);
        let seal = sealing.read().unwrap().unwrap();
        let plain = vec![7; fireaxe_protocol::recording::Chunk::SEALED_EVENTS + 24];
        // age adds a stanza of random length to each.
        for _ in 0..20 {
            assert!(seal.seal(&plain).unwrap().len() <= plain.len() + limits::RECORDING_SEALING - 64);
        }
    }
}
