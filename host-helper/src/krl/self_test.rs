//! The host's own `ssh-keygen` judges the new list before sshd does: they share their reader.
//!
//! Two questions, and only two answers count. A certificate that every list revokes must be revoked (exit
//! exactly 1): a list that sshd would read as empty fails here. The CA's own key must not be (exit exactly
//! 0): a list that would shut everybody out fails here. 255, "cannot be read", is neither.

use std::path::Path;
use std::process::Command;

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::names::shown;

use crate::atomic;
use crate::error::HostError;
use crate::krl::KrlError;

/// Asks `ssh-keygen -Q` about the list at `list`. `scratch` holds the files it needs for that.
pub fn self_test(list: &Path, user_ca: &[Ed25519Key], scratch: &Path) -> Result<(), HostError> {
    atomic::folder(scratch)?;
    let canary = scratch.join("canary-cert.pub");
    atomic::write(&canary, (fireaxe_protocol::krl::canary_certificate() + "\n").as_bytes())?;
    ask(list, &canary, "the canary certificate", &[1])?;
    // A retired key may be revoked on purpose while it is still listed; all of them, that is a mistake.
    let mut alive = 0;
    for key in user_ca {
        let file = scratch.join("user_ca.pub");
        atomic::write(&file, format!("{key}\n").as_bytes())?;
        let allowed: &[i32] = if user_ca.len() > 1 { &[0, 1] } else { &[0] };
        alive += usize::from(ask(list, &file, &format!("the CA key {}", key.fingerprint()), allowed)? == 0);
    }
    if alive == 0 {
        return Err(KrlError::AllRevoked.into());
    }
    Ok(())
}

fn ask(list: &Path, about: &Path, what: &str, expected: &[i32]) -> Result<i32, KrlError> {
    let output = Command::new("ssh-keygen")
        .arg("-Q")
        .arg("-f")
        .arg(list)
        .arg(about)
        .output()
        .map_err(|error| KrlError::NoKeygen(error.to_string()))?;
    let found = output.status.code().unwrap_or(-1);
    if expected.contains(&found) {
        return Ok(found);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = shown(String::from_utf8_lossy(&said).trim());
    Err(KrlError::SelfTest { what: what.into(), found, said })
}
