//! A dossier from a real emergency with a real recording, verified by an auditor who has nothing: an empty folder, no
//! network, no configuration, no CA; and, by the commands of its own VERIFY.txt, by stock tools alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fireaxe_tests::scene::Scene;
use fireaxe_tests::{Ran, clock, run};
use serde_json::Value;

const HOST: &str = "db-3.payments.prod";

/// Without interfaces, in `folder`, with an environment that says nothing but where programs are.
fn alone(folder: &Path, bin: &Path, line: &str) -> Ran {
    let mut command = Command::new("unshare");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    command.args(["--net", "env", "-i", &format!("PATH={path}"), "sh", "-ec", line]).current_dir(folder);
    run(&mut command)
}

fn unpack(zip: &Path, into: &Path) {
    zip::ZipArchive::new(fs::File::open(zip).unwrap()).unwrap().extract(into).unwrap();
}

/// The commands of a VERIFY.txt: lines with four blanks in front.
fn commands(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("VERIFY.txt")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// An emergency that is over, with a session that was recorded, the recording at the CA and reported.
fn an_emergency_is_over() -> Scene {
    let scene = Scene::begin_with_helper();
    for person in [&scene.ana, &scene.ben] {
        person.knows(&[&scene.db_3, &scene.db_4]);
    }
    scene.incident("pd:A0", 1, "payments-db");
    scene.ana.fireaxe(&["open", HOST, "--incident", "pd:A0", "-r", "primary refuses writes"]).ok();
    let inside = scene.ana.ssh(&[HOST, "echo recorded by $(id -un)"]);
    assert_eq!(inside.ok(), "recorded by root");
    scene.ana.fireaxe(&["close", "EM-1"]).ok();
    let there = || {
        Some(scene.ca.cmd(&["rec", "verify", "EM-1"]))
            .filter(|ran| ran.code == 0 && ran.stderr.contains("1 verified"))
    };
    assert!(clock::wait_for(clock::LIMIT, there).is_some(), "{}", scene.ca.cmd(&["rec", "verify", "EM-1"]));
    scene
}

#[test]
fn a_dossier_is_verified_by_somebody_who_has_nothing_but_the_file() {
    let scene = an_emergency_is_over();
    let bin: PathBuf = scene.world.programs().bin.clone();
    let desk = scene.world.room("auditor");
    let zip = desk.join("em-1.zip");
    scene.ca.cmd(&["log", "receipt", "EM-1", "-o", zip.to_str().unwrap()]).ok();
    let refused = scene.ca.cmd(&["log", "receipt", "EM-99", "-o", desk.join("none.zip").to_str().unwrap()]);
    refused.exits(1).says("the log has no EM-99");

    let told = alone(&desk, &bin, "fireaxe --json verify em-1.zip");
    let told: Value = serde_json::from_str(told.exits(0).stdout.trim()).unwrap();
    assert_eq!(
        (&told["ok"], &told["anchored"], &told["logged"]),
        (&true.into(), &false.into(), &true.into())
    );
    assert_eq!((&told["of"], &told["recordings"]), (&"EM-1".into(), &1.into()), "{told}");
    let key = told["key"].as_str().unwrap();
    let told = alone(&desk, &bin, &format!("fireaxe --json verify em-1.zip --key '{key}'"));
    assert!(told.exits(0).stdout.contains("\"anchored\":true"), "{told}");
    alone(&desk, &bin, "fireaxe verify em-1.zip").exits(0).says("COMPARE IT");
    // Ana's own client knows the log.
    let known = scene.ana.fireaxe(&["--json", "verify", zip.to_str().unwrap()]);
    assert!(known.exits(0).stdout.contains("\"anchored\":true"), "{known}");

    unpack(&zip, &desk);
    let folder = desk.join("EM-1");
    let lines = commands(&folder);
    for tool in ["sha256sum -c", "ssh-keygen -Y verify", "fireaxe verify ."] {
        assert!(lines.iter().any(|line| line.starts_with(tool)), "{tool}: {lines:#?}");
    }
    for kind in ["declare.v1@fireaxe", "close.v1@fireaxe", "report.v1@fireaxe", "enrol.v1@fireaxe"] {
        assert!(lines.iter().any(|line| line.contains(kind)), "{kind}: {lines:#?}");
    }
    for line in &lines {
        alone(&folder, &bin, line).exits(0);
    }
    let cast = fs::read_dir(folder.join("recordings").join(HOST)).unwrap().flatten();
    let cast = cast.map(|one| one.path()).find(|path| path.extension().is_some_and(|e| e == "cast")).unwrap();
    assert!(fs::read_to_string(cast).unwrap().contains("recorded by root"));

    // One word of one statement is another: each tool says so by itself.
    let statement = lines.iter().find(|line| line.contains("declare.v1@fireaxe")).unwrap();
    let file = folder.join(statement.rsplit(' ').next().unwrap());
    let changed = fs::read_to_string(&file).unwrap().replace("refuses", "accepts");
    fs::write(&file, changed).unwrap();
    for line in [statement.as_str(), "sha256sum -c SHA256SUMS", "fireaxe verify ."] {
        alone(&folder, &bin, line).fails();
    }
    scene.ca.verifies();
}

#[test]
fn a_period_is_verified_the_same_way() {
    let scene = an_emergency_is_over();
    let bin: PathBuf = scene.world.programs().bin.clone();
    let desk = scene.world.room("auditor");
    let zip = desk.join("period.zip");
    let words =
        ["log", "export", "--from", "2020-01-01", "--to", "2100-01-01", "--all", "-o", zip.to_str().unwrap()];
    scene.ca.cmd(&words).ok();
    let told = alone(&desk, &bin, "fireaxe --json verify period.zip");
    assert!(told.exits(0).stdout.contains("\"ok\":true"), "{told}");
    // The whole log is in it, as a copy that the CA's own program verifies.
    let told = alone(&desk, &bin, "fireaxe-ca log verify --tiles period.zip");
    assert!(told.exits(0).stderr.contains("the log holds together"), "{told}");
    unpack(&zip, &desk);
    for line in commands(&desk.join("period")) {
        alone(&desk.join("period"), &bin, &line).exits(0);
    }
}
