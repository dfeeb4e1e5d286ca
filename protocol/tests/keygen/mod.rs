//! The oracle: this machine's `ssh-keygen`, in a directory of its own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) struct Keygen {
    dir: tempfile::TempDir,
}

impl Keygen {
    pub(crate) fn new() -> Keygen {
        Keygen { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.get(name)).unwrap()
    }

    /// Runs `ssh-keygen` with these words, in the directory, with these bytes on stdin.
    pub(crate) fn run(&self, args: &[&str], stdin: &Path) -> Output {
        Command::new("ssh-keygen")
            .args(args)
            .current_dir(self.dir.path())
            .env("TZ", "UTC")
            .stdin(if stdin.as_os_str().is_empty() {
                Stdio::null()
            } else {
                std::fs::File::open(stdin).unwrap().into()
            })
            .output()
            .unwrap()
    }

    /// The same, which must succeed; its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let out = self.run(args, Path::new(""));
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// The exit code of `ssh-keygen -Q -f krl key`: 0 not revoked, 1 revoked, 255 unreadable.
    pub(crate) fn query(&self, krl: &str, key: &str) -> i32 {
        self.run(&["-Q", "-f", krl, key], Path::new("")).status.code().unwrap()
    }

    /// Makes a key pair `name`, `name.pub` and returns the public line without its comment.
    pub(crate) fn make(&self, kind: &str, name: &str) -> String {
        self.ok(&["-q", "-t", kind, "-N", "", "-C", "", "-f", name]);
        self.text(&format!("{name}.pub")).trim_end().to_owned()
    }

    /// The raw Ed25519 key of a private file made by [`Keygen::make`].
    pub(crate) fn signing_key(&self, name: &str) -> ed25519_dalek::SigningKey {
        let private = ssh_key::PrivateKey::from_openssh(self.text(name)).unwrap();
        let pair = private.key_data().ed25519().unwrap();
        ed25519_dalek::SigningKey::from_bytes(&pair.private.to_bytes())
    }
}
