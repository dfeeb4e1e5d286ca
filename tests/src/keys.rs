//! Key pairs and certificates made by `ssh-keygen`: what the rest of the world would make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Ran, run};
use crate::world::World;

/// An Ed25519 key pair in two files, as OpenSSH keeps it.
#[derive(Debug, Clone)]
pub struct KeyPair {
    path: PathBuf,
}

impl KeyPair {
    /// Makes `<dir>/<name>` and `<dir>/<name>.pub`.
    pub fn generate(dir: &Path, name: &str) -> KeyPair {
        let path = dir.join(name);
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path))
            .ok();
        KeyPair { path }
    }

    /// One that is there already: `path` and `path.pub`.
    pub(crate) fn at(path: PathBuf) -> KeyPair {
        KeyPair { path }
    }

    /// The private key's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public key's file.
    pub fn public_path(&self) -> PathBuf {
        self.path.with_extension("pub")
    }

    /// `ssh-ed25519 AAAA... name`
    pub fn public_line(&self) -> String {
        fs::read_to_string(self.public_path()).expect("public key").trim_end().to_owned()
    }

    /// The certificate's file, where `ssh` looks for it by itself.
    pub fn certificate_path(&self) -> PathBuf {
        PathBuf::from(format!("{}-cert.pub", self.path.display()))
    }
}

/// A CA as anybody can make one: a key pair and `ssh-keygen -s`.
pub struct Authority {
    /// Its key.
    pub key: KeyPair,
}

/// What a certificate of [`Authority`] says.
#[derive(Debug, Clone)]
pub struct Says {
    /// `-n`, comma-separated; empty for none.
    pub principals: String,
    /// `-z`
    pub serial: u64,
    /// `-V`
    pub validity: String,
    /// `-O`, each.
    pub options: Vec<String>,
}

impl Says {
    /// This principal, valid now, no extension, serial 7.
    pub fn principal(principal: &str) -> Says {
        Says {
            principals: principal.into(),
            serial: 7,
            validity: "-2m:+10m".into(),
            options: vec!["clear".into()],
        }
    }

    /// With one more option of `ssh-keygen -O`.
    pub fn with(mut self, option: &str) -> Says {
        self.options.push(option.into());
        self
    }

    /// With another serial.
    pub fn serial(mut self, serial: u64) -> Says {
        self.serial = serial;
        self
    }
}

impl Authority {
    /// A new one, in `ca.<name>` of the world.
    pub fn new(world: &World, name: &str) -> Authority {
        Authority { key: KeyPair::generate(&world.room("authorities"), name) }
    }

    /// Signs the key's certificate beside it.
    pub fn certify(&self, key: &KeyPair, says: &Says) -> Ran {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-I", "fireaxe/test"]).arg("-s").arg(self.key.path());
        command.args(["-z", &says.serial.to_string(), "-V", &says.validity]);
        if !says.principals.is_empty() {
            command.args(["-n", &says.principals]);
        }
        for option in &says.options {
            command.args(["-O", option]);
        }
        let ran = run(command.arg(key.public_path()));
        ran.ok();
        ran
    }

    /// `ssh-keygen -k`: a KRL that revokes these serials of this CA.
    pub fn krl(&self, to: &Path, serials: &[u64]) {
        let spec = to.with_extension("spec");
        fs::write(&spec, serials.iter().map(|s| format!("serial: {s}\n")).collect::<String>()).expect("spec");
        let mut command = Command::new("ssh-keygen");
        run(command.arg("-kqf").arg(to).arg("-s").arg(self.key.public_path()).arg(&spec)).ok();
        let _ = fs::remove_file(spec);
    }
}
