//! Who may know whom. A broken edge here is a decision to be written down, not a line to be changed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crate folder, and which of ours it may depend on.
const MAY_KNOW: [(&str, &[&str]); 5] = [
    ("protocol", &[]),
    ("transport", &["fireaxe-protocol"]),
    ("ca", &["fireaxe-protocol"]),
    ("agent-helper", &["fireaxe-protocol", "fireaxe-transport"]),
    ("host-helper", &["fireaxe-protocol", "fireaxe-transport"]),
];

/// Loaded by OpenSSH in a test, so a C interface: the one crate with `unsafe`.
const SK_PROVIDER: &str = "tests/sk-provider";

/// What `protocol` may be built on: formats and arithmetic; no I/O, no clock, no randomness, no async.
const PROTOCOL_MAY_USE: [&str; 10] = [
    "base64",
    "ed25519-dalek",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "ssh-key",
    "strsim",
    "thiserror",
    "toml",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let table = manifest["dependencies"].as_table().unwrap();
    table.keys().cloned().collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's text without comments and without its unit tests, which stand at its foot.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn crates_know_only_whom_they_may() {
    for (folder, may) in MAY_KNOW {
        let ours: Vec<String> =
            dependencies(folder).into_iter().filter(|name| name.starts_with("fireaxe")).collect();
        for name in &ours {
            assert!(may.contains(&name.as_str()), "{folder} depends on {name}");
        }
    }
}

#[test]
fn every_member_of_the_workspace_is_one_of_these() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let members: BTreeSet<&str> =
        manifest["workspace"]["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    let known: BTreeSet<&str> =
        MAY_KNOW.iter().map(|(folder, _)| *folder).chain(["tests", SK_PROVIDER]).collect();
    assert_eq!(members, known);
}

#[test]
fn every_crate_takes_the_workspace_lints_and_one_of_the_tests_needs_unsafe() {
    for (folder, _) in MAY_KNOW.iter().chain([&("tests", &[][..])]) {
        let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{folder}");
        assert!(!dependencies(folder).contains("fireaxe-test-sk-provider"), "{folder} takes a test's key");
    }
    let text = fs::read_to_string(root().join(SK_PROVIDER).join("Cargo.toml")).unwrap();
    assert!(text.contains("unsafe_code = \"deny\""), "{SK_PROVIDER}");
    for file in rust_files(&root().join(SK_PROVIDER)) {
        let api = file.file_name().is_some_and(|name| name == "api.rs");
        assert!(api || !code(&file).contains("unsafe"), "{} is unsafe", file.display());
    }
}

#[test]
fn the_protocol_is_built_on_formats_and_arithmetic_only() {
    for name in dependencies("protocol") {
        assert!(PROTOCOL_MAY_USE.contains(&name.as_str()), "protocol depends on {name}");
    }
    for file in rust_files(&root().join("protocol/src")) {
        let code = code(&file);
        for what in [
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "ToSocketAddrs",
            "std::process",
            "std::env",
            "std::thread",
            "std::time",
            "std::io",
            "async fn",
        ] {
            assert!(!code.contains(what), "{} uses {what}", file.display());
        }
    }
}

#[test]
fn clock_and_randomness_have_one_file_in_each_crate() {
    // clippy's disallowed_methods refuses the calls; here: that its exceptions stay where they belong.
    let mut exceptions: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (folder, _) in MAY_KNOW.iter().chain([&("tests", &[][..])]) {
        for file in rust_files(&root().join(folder).join("src")) {
            let text = code(&file);
            if text.contains("clippy::disallowed_methods") {
                exceptions.entry((*folder).into()).or_default().push(file.clone());
                let name = file.file_name().unwrap().to_str().unwrap();
                assert!(["clock.rs", "randomness.rs"].contains(&name), "{} has an exception", file.display());
            }
        }
    }
    for (folder, files) in exceptions {
        assert!(folder != "protocol", "protocol has neither clock nor randomness");
        assert!(files.len() <= 2, "{folder}: {files:?}");
    }
}

#[test]
fn the_pure_rooms_do_not_reach_into_each_other_backwards() {
    // Specification below, service above: policy knows no log and no certificate.
    for file in rust_files(&root().join("protocol/src/policy")) {
        let code = code(&file);
        for above in ["crate::certificate", "crate::krl", "crate::api"] {
            assert!(!code.contains(above), "{} uses {above}", file.display());
        }
    }
    for file in rust_files(&root().join("protocol/src/certificate")) {
        assert!(!code(&file).contains("crate::api"), "{}", file.display());
    }
}

/// The rooms of the CA, and which of its other rooms each may know. State and log know nobody: they are
/// what everything else stands on.
const ROOMS: &[(&str, &[&str])] = &[
    ("state", &[]),
    ("log", &[]),
    ("views", &["log"]),
    ("evidence", &["recordings"]),
    ("road", &["clock", "keys", "log", "randomness", "state"]),
    ("door", &["clock", "log", "metrics", "recordings", "road", "views"]),
];

#[test]
fn the_rooms_of_the_ca_know_only_what_is_below_them() {
    for (room, may) in ROOMS {
        let files = rust_files(&root().join("ca/src").join(room));
        assert!(!files.is_empty(), "there is no room {room}");
        for file in files {
            let code = code(&file);
            for known in code.split("crate::").skip(1) {
                let name: String = known.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(name == *room || may.contains(&name.as_str()), "{}: knows {name}", file.display());
            }
        }
    }
}

#[test]
fn the_stages_of_the_road_know_nothing_of_each_other() {
    let stages = ["caller", "facts", "issue", "clockwork"];
    for stage in stages {
        let code = code(&root().join("ca/src/road").join(stage).with_extension("rs"));
        for other in stages.iter().filter(|other| **other != stage) {
            assert!(!code.contains(&format!("super::{other}")), "{stage} knows {other}");
        }
        for conductor in ["turn", "conductor", "declare", "close"] {
            assert!(!code.contains(&format!("super::{conductor}")), "{stage} knows {conductor}");
        }
    }
}

#[test]
fn every_file_begins_with_what_it_is() {
    for (folder, _) in MAY_KNOW.iter().chain([&("tests", &[][..]), &(SK_PROVIDER, &[][..])]) {
        for part in ["src", "tests", "benches"] {
            for file in rust_files(&root().join(folder).join(part)) {
                let text = fs::read_to_string(&file).unwrap();
                let fixture = file.components().any(|c| c.as_os_str() == "compile_fail");
                assert!(text.starts_with("//!") || fixture, "{} does not say what it does", file.display());
            }
        }
    }
}
