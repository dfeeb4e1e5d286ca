//! The host's own `ssh-keygen` judges the new list before sshd does: they share their reader.
//!
//! Two questions, and only two answers count. A certificate that every list revokes must be revoked (exit
//! exactly 1): a list that sshd would read as empty fails here. The CA's own key must not be (exit exactly
//! 0): a list that would shut everybody out fails here. 255, "cannot be read", is neither.
//!
//! What is asked about lies in memory: a disk that is full must not make a good list be refused.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::shown;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::error::HostError;
use crate::krl::KrlError;

/// Asks `ssh-keygen -Q` about the list at `list`.
pub fn self_test(list: &Path, user_ca: &[Ed25519Key]) -> Result<(), HostError> {
    ask(list, &fireaxe_protocol::krl::canary_certificate(), "the canary certificate", &[1])?;
    // A retired key may be revoked on purpose while it is still listed; all of them, that is a mistake.
    let mut alive = 0;
    for key in user_ca {
        let allowed: &[i32] = if user_ca.len() > 1 { &[0, 1] } else { &[0] };
        let what = format!("the CA key {}", key.fingerprint());
        alive += usize::from(ask(list, &key.to_string(), &what, allowed)? == 0);
    }
    if alive == 0 {
        return Err(KrlError::AllRevoked.into());
    }
    Ok(())
}

fn ask(list: &Path, about: &str, what: &str, expected: &[i32]) -> Result<i32, KrlError> {
    let failed = |error: std::io::Error| KrlError::NoKeygen(error.to_string());
    let memory = memfd_create("about.pub", MemfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut memory = File::from(memory);
    memory.write_all(format!("{about}\n").as_bytes()).map_err(failed)?;
    // Opened anew by that name, and from its beginning.
    let about = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let output =
        Command::new("ssh-keygen").arg("-Q").arg("-f").arg(list).arg(about).output().map_err(failed)?;
    let found = output.status.code().unwrap_or(-1);
    if expected.contains(&found) {
        return Ok(found);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = shown(String::from_utf8_lossy(&said).trim());
    Err(KrlError::SelfTest { what: what.into(), found, said })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use fireaxe_protocol::krl::Krl;

    use super::*;

    fn ca(seed: u8) -> Ed25519Key {
        Ed25519Key(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
    }

    /// Asks the `ssh-keygen` of this machine.
    #[test]
    fn a_good_list_is_good_with_several_ca_keys_and_one_that_revokes_nothing_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        let mut krl = Krl::new(7, 1_700_000_000, ca(1));
        krl.revoke(ca(1), 42).unwrap();
        std::fs::write(&list, krl.write()).unwrap();
        self_test(&list, &[ca(1), ca(2), ca(3)]).unwrap();
        self_test(&list, &[ca(1)]).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(&list, []).unwrap();
        let error = self_test(&list, &[ca(1), ca(2)]).unwrap_err();
        assert!(error.to_string().contains("canary"), "{error}");
    }
}
