//! Waking people: the operator's program is run once for each who is asked, with one JSON object on its standard
//! input; one that hangs or fails delays nobody.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fireaxe_tests::clock;
use fireaxe_tests::scene::Scene;
use serde_json::Value;

const DB_3: &str = "db-3.payments.prod";
const DB_4: &str = "db-4.payments.prod";

/// A CA whose pager is this script. `$dir` is where it notes what it was told.
fn begin(script: &str) -> (Scene, PathBuf) {
    let mut noted = PathBuf::new();
    let scene = Scene::begin_with(|setting| {
        noted = setting.world.room("pager");
        let program = noted.join("pager");
        let text = format!("#!/bin/sh\ndir='{}'\necho $$ >\"$dir/pid.$$\"\n{script}\n", noted.display());
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        setting.ca_environment.push(("FIREAXE_PAGER".into(), program.display().to_string()));
        // Somebody else who is not on call, to ask at the same time.
        setting.also("gil", &["sre"]);
    });
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    // In the same incident a second host would count as the whole system.
    scene.incident("pd:OTHER", 1, "payments-db");
    (scene, noted)
}

/// What the program was told so far: name of the file, object.
fn pages(noted: &PathBuf) -> Vec<Value> {
    let files = fs::read_dir(noted).unwrap().map(|entry| entry.unwrap());
    let told = files.filter(|file| file.file_name().to_string_lossy().starts_with("told."));
    told.map(|file| serde_json::from_str(&fs::read_to_string(file.path()).unwrap()).unwrap()).collect()
}

#[track_caller]
fn wait_for_pages(noted: &PathBuf, count: usize) -> Vec<Value> {
    let enough = clock::wait_for(clock::LIMIT, || Some(pages(noted)).filter(|all| all.len() >= count));
    enough.unwrap_or_else(|| panic!("{count} pages never came: {:?}", pages(noted)))
}

fn to(pages: &[Value], emergency: &str) -> Vec<String> {
    let of = pages.iter().filter(|page| page["emergency"] == emergency);
    let mut to: Vec<String> = of.map(|page| page["to"].as_str().unwrap().to_owned()).collect();
    to.sort();
    to
}

/// Complete before it is seen, so that no half of a page is read.
const NOTES: &str =
    "echo \"$#\" >\"$dir/args.$$\"; cat >\"$dir/half.$$\"; mv \"$dir/half.$$\" \"$dir/told.$$\"";

#[test]
fn each_who_is_asked_is_told_once_what_waits_and_what_else_waits_for_them() {
    let (scene, noted) = begin(NOTES);
    scene.ben.open(&[DB_3, "--incident", "pd:PGR0VU2", "-r", "secret words of ben"]);
    let first = wait_for_pages(&noted, 3);
    assert_eq!(to(&first, "EM-1"), ["ana", "dan", "eve"], "never ben himself: {first:?}");
    let page = &first[0];
    for (field, value) in [
        ("schema", "fireaxe.page/v1"),
        ("person", "ben"),
        ("system", "payments-db"),
        ("host", DB_3),
        ("tier", "root"),
    ] {
        assert_eq!(page[field], value, "{page}");
    }
    assert_eq!((&page["rung"], &page["also"]), (&0.into(), &serde_json::json!([])), "{page}");
    assert!(page["until"].as_u64().unwrap() > clock::unix(), "{page}");
    // What somebody wrote does not go to a service of others; nothing of a page approves anything.
    assert!(!first.iter().any(|page| page.to_string().contains("secret words")), "{first:?}");

    scene.other("gil").open(&[DB_4, "--incident", "pd:OTHER", "-r", "the other one"]);
    let all = wait_for_pages(&noted, 7);
    assert_eq!(to(&all, "EM-2"), ["ana", "ben", "dan", "eve"]);
    let again = |page: &&Value| page["emergency"] == "EM-2" && page["to"] == "ana";
    assert_eq!(all.iter().find(again).unwrap()["also"], serde_json::json!(["EM-1"]));
    // Once each: what comes next would come after it.
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ana.fireaxe(&["approve", "EM-2", "--yes"]).ok();
    scene.ben.fireaxe(&["extend", "EM-1", "-r", "longer"]).ok();
    let all = wait_for_pages(&noted, 10);
    assert_eq!((all.len(), to(&all, "EM-1").len(), to(&all, "EM-2").len()), (10, 6, 4), "{all:?}");
    for args in fs::read_dir(&noted).unwrap().map(|entry| entry.unwrap().path()) {
        if args.file_name().unwrap().to_string_lossy().starts_with("args.") {
            assert_eq!(fs::read_to_string(args).unwrap().trim(), "0");
        }
    }
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_program_that_hangs_delays_nothing_but_the_page_after_it() {
    let (scene, noted) =
        begin(&format!("[ -e \"$dir/hung\" ] || {{ : >\"$dir/hung\"; exec sleep 60; }}\n{NOTES}"));
    scene.ben.open(&[DB_3, "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    let hangs = clock::wait_for(clock::LIMIT, || {
        fs::read_dir(&noted).unwrap().find_map(|entry| {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            name.strip_prefix("pid.").map(|pid| PathBuf::from(format!("/proc/{pid}/cmdline")))
        })
    });
    let hangs = hangs.expect("the program was run");
    let asleep = || fs::read(&hangs).is_ok_and(|line| line.starts_with(b"sleep"));
    assert!(clock::wait_for(clock::LIMIT, || asleep().then_some(())).is_some());
    // Everything goes on while it sleeps.
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ben.comes_to_hold(DB_3, "root");
    scene.other("gil").open(&[DB_4, "--incident", "pd:OTHER", "-r", "the other one"]);
    assert!(asleep(), "it was waited for");
    assert!(pages(&noted).is_empty());
    // It is ended, and the others are told after all.
    assert_eq!(wait_for_pages(&noted, 6).len(), 6);
    assert!(!asleep());
    assert!(scene.ca.serve_log().contains("page.failed"), "{}", scene.ca.serve_log());
}

#[test]
fn a_program_that_fails_or_is_not_there_is_noted_and_the_next_is_run_all_the_same() {
    let (mut scene, noted) = begin(&format!("{NOTES}\nexit 3"));
    scene.ben.open(&[DB_3, "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    wait_for_pages(&noted, 3);
    let failed = |scene: &Scene| scene.ca.serve_log().matches("page.failed").count();
    assert!(clock::wait_for(clock::LIMIT, || (failed(&scene) == 3).then_some(())).is_some());
    scene.ana.fireaxe(&["refuse", "EM-1", "-r", "use the replica"]).ok();

    fs::remove_file(noted.join("pager")).unwrap();
    scene.ca.kill();
    scene.ca.start();
    scene.other("gil").open(&[DB_4, "--incident", "pd:OTHER", "-r", "the other one"]);
    assert!(clock::wait_for(clock::LIMIT, || (failed(&scene) == 7).then_some(())).is_some());
    scene.ana.fireaxe(&["approve", "EM-2", "--yes"]).ok();
    scene.other("gil").comes_to_hold(DB_4, "root");
}
