//! People who are asked: who may answer, what comes of it in the agent that runs and on a real sshd, and that
//! nothing of it is lost when a program or the CA ends in between.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::fs;
use std::process::Command;

use fireaxe_tests::running::{start, start_on_a_terminal};
use fireaxe_tests::scene::{Scene, policy_without_examples};
use fireaxe_tests::{Engineer, Ran, clock, run};
use serde_json::Value;

const DB_3: &str = "db-3.payments.prod";
/// Ben is not on call for it: root waits for somebody who is, or a lead; he has fix meanwhile.
const OPEN: [&str; 5] = [DB_3, "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"];

fn with_incident(scene: Scene) -> Scene {
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    for person in [&scene.ana, &scene.ben] {
        person.knows(&[&scene.db_3, &scene.db_4]);
    }
    scene
}

fn begin() -> Scene {
    with_incident(Scene::begin())
}

fn open(extra: &[&'static str]) -> Vec<&'static str> {
    [&["open"], &OPEN[..], extra].concat()
}

/// Opened, root waits, nobody sits there: the meanwhile is held.
fn waits(scene: &Scene) -> Value {
    let opened = scene.ben.open(&OPEN);
    assert_eq!((&opened["outcome"], &opened["terms"]["account"]), (&"meanwhile".into(), &"ops".into()));
    opened
}

fn account(person: &Engineer) -> String {
    person.ssh(&[DB_3, "id -un"]).ok().to_owned()
}

#[track_caller]
fn has_code(ran: &Ran, code: &str) {
    let value: Value = serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|e| panic!("{e}\n{ran}"));
    let reasons = value["reasons"].as_array().cloned().unwrap_or_default();
    let found = value["code"] == code || reasons.iter().any(|reason| reason["code"] == code);
    assert!(found, "expected {code}:\n{ran}");
}

#[test]
fn a_colleague_says_yes_and_the_running_agent_has_root_without_retyping() {
    let scene = begin();
    let opened = waits(&scene);
    let asked = opened["waiting"]["called"][0]["people"].as_array().unwrap();
    assert!(asked.contains(&"ana".into()) && !asked.contains(&"ben".into()), "{opened}");
    assert_eq!(account(&scene.ben), "ops");
    let agent = scene.ben.agent_pid();

    // One screen: nothing of what is asked is hidden from who signs.
    let approved = scene.ana.fireaxe(&["approve", "EM-1", "--yes"]);
    for said in ["tier root on db-3.payments.prod", "primary refuses writes", "cannot:", "not on call"] {
        approved.says(said);
    }
    approved.says("ben has it now").ok();
    scene.ben.comes_to_hold(DB_3, "root");
    assert_eq!(account(&scene.ben), "root");
    scene.db_3.logs("ID fireaxe/EM-1/ben/");
    assert_eq!(scene.ben.agent_pid(), agent);
    // The stronger one took the place of the weaker.
    assert_eq!(scene.ben.certificates().len(), 1);
    scene.db_4.ssh(&scene.ben.login(), "root", "true").exits(255);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn who_waits_at_the_terminal_is_told_by_whom_it_is_decided_and_the_exit_code_says_it_too() {
    let scene = begin();
    // Yes: 0.
    let waiting = start(&mut scene.ben.fireaxe_command(&open(&["--wait"])));
    waiting.shows("tier root waits for 1 of payments-oncall or sre-leads; asked: ana, dan, eve");
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    let ran = waiting.ends_by_itself();
    ran.exits(0).says("upgraded to tier root").says("next: ssh db-3.payments.prod");
    assert_eq!(account(&scene.ben), "root");
    scene.ben.fireaxe(&["close"]).ok();

    // No: 77, with the reason; the meanwhile stays.
    let waiting = start(&mut scene.ben.fireaxe_command(&open(&["--wait"])));
    waiting.shows("tier root waits");
    scene.ana.fireaxe(&["refuse", "EM-2", "-r", "use the replica"]).says("ben keeps tier fix").ok();
    let ran = waiting.ends_by_itself();
    ran.exits(77).says("refused by ana: use the replica").says("still held: tier fix");
    assert_eq!(account(&scene.ben), "ops");
    has_code(scene.ana.fireaxe(&["--json", "approve", "EM-2", "--yes"]).fails(), "request.none");
    scene.ben.fireaxe(&["close"]).ok();

    // Nobody waits: 0, since something is held.
    scene.ben.fireaxe(&open(&["--no-wait"])).exits(0).says("tier root waits");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn where_nothing_is_given_meanwhile_the_exit_code_says_that_it_waits() {
    let scene = with_incident(Scene::begin_with(|setting| {
        // Without the examples: they say what the default policy gives meanwhile.
        let policy = policy_without_examples();
        setting.policy = policy.replacen("tiers = [\"root\"]", "tiers = [\"root\", \"fix\", \"look\"]", 1);
        assert_ne!(setting.policy, policy);
    }));
    let pending = scene.ben.fireaxe(&open(&["--no-wait"]));
    pending.exits(75).says("nothing can be given before it is approved").says("next: fireaxe status");
    assert!(scene.ben.certificates().is_empty());
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ben.comes_to_hold(DB_3, "root");
    assert_eq!(account(&scene.ben), "root");
}

#[test]
fn an_open_that_is_killed_while_it_waits_loses_nothing() {
    let scene = begin();
    let waiting = start(&mut scene.ben.fireaxe_command(&open(&["--wait"])));
    // Said once everything is in the agent and somebody stays behind.
    waiting.shows("asked: ana, dan, eve");
    waiting.interrupt();
    waiting.ends_by_itself().fails();
    assert_eq!(account(&scene.ben), "ops");
    let status = scene.ben.asks(&["status"]);
    assert_eq!(status["waiting"][0]["waiting"]["tier"], "root", "{status}");
    // What it left behind takes it up.
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ben.comes_to_hold(DB_3, "root");
    assert_eq!(account(&scene.ben), "root");
}

#[test]
fn ctrl_c_at_the_terminal_ends_the_waiting_and_nothing_else_and_status_takes_it_up() {
    let scene = begin();
    let mut waiting = start_on_a_terminal(&scene.ben.fireaxe_command(&open(&[])));
    waiting.shows("tier root waits");
    waiting.types("\u{3}");
    let ran = waiting.ends_by_itself();
    assert!(ran.exits(0).stdout.contains("the request goes on"), "{ran}");
    assert!(ran.stdout.contains("fireaxe status"), "{ran}");
    // Also without the process that was left behind: only then is it `status` that does it.
    scene.ben.lose_follower("EM-1");
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    assert_eq!(account(&scene.ben), "ops", "nobody has asked yet");
    scene.ben.fireaxe(&["status"]).says("EM-1  upgraded to tier root").ok();
    assert_eq!(account(&scene.ben), "root");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn the_ca_may_end_between_rungs_and_between_a_yes_and_its_fetching() {
    let mut scene = with_incident(Scene::begin_with(|setting| {
        // Tier root as guarded is: those on call are asked at once, the leads two seconds later.
        let policy = policy_without_examples();
        let root = "[tier.root]\npower = 3\n";
        let asks = "approvals = { count = 1, from = [\"payments-oncall\", \"sre-leads\"] }\nmeanwhile = \"fix\"\n\
                    escalate = [\"2s sre-leads\"]\n";
        setting.policy = policy.replacen(root, &format!("{root}{asks}"), 1);
        assert_ne!(setting.policy, policy);
    }));
    waits(&scene);
    let called = |scene: &Scene| scene.ben.asks(&["status"])["waiting"][0]["waiting"]["called"].clone();
    assert_eq!(called(&scene)[0]["groups"], serde_json::json!(["payments-oncall"]));
    let asked = called(&scene)[0]["at"].as_u64().unwrap();
    scene.ca.kill();
    // The rung falls due while nobody is there to call it.
    assert!(clock::wait_for(clock::LIMIT, || (clock::unix() > asked + 2).then_some(())).is_some());
    scene.ca.start();
    let both = clock::wait_for(clock::LIMIT, || Some(called(&scene)).filter(|all| all[1].is_object()));
    let both = both.expect("the second rung is called after the restart");
    assert_eq!(both[1]["groups"], serde_json::json!(["sre-leads"]));
    assert_eq!(both.as_array().unwrap().len(), 2, "each once: {both}");

    // Approved, and the CA ends before anybody has fetched it.
    scene.ben.lose_follower("EM-1");
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ca.kill();
    assert_eq!(account(&scene.ben), "ops");
    scene.ben.fireaxe(&["status"]).says("the CA is not running").ok();
    scene.ca.start();
    scene.ben.fireaxe(&["status"]).says("upgraded to tier root").ok();
    assert_eq!(account(&scene.ben), "root");
    assert_eq!(scene.ben.asks(&["status"])["waiting"], serde_json::json!([]));
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn the_follower_outlives_a_restart_of_the_ca() {
    let mut scene = begin();
    waits(&scene);
    scene.ca.kill();
    scene.ca.start();
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ben.comes_to_hold(DB_3, "root");
    assert_eq!(account(&scene.ben), "root");
}

#[test]
fn more_time_does_not_cut_an_open_session_and_closing_revokes_all_of_it() {
    let scene = begin();
    waits(&scene);
    let mut certificates = scene.ben.certificates();
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ben.comes_to_hold(DB_3, "root");
    certificates.extend(scene.ben.certificates());

    let login = scene.ben.login();
    let mut session = start(scene.db_3.ssh_command(&login, "root", &[]).arg("cat"));
    session.types("before\n");
    session.shows("before");
    let before = scene.ben.asks(&["status"])["held"][0]["serial"].clone();
    let extended = scene.ben.fireaxe(&["extend", "EM-1", "-r", "the index is still being built"]);
    extended
        .exits(0)
        .says("more time waits for approval; held: tier root until")
        .says("2 further extensions");
    assert_eq!(account(&scene.ben), "root", "what is held goes on while more time waits");
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).says("more time").ok();
    let longer = clock::wait_for(clock::LIMIT, || {
        let held = scene.ben.asks(&["status"])["held"][0].clone();
        (held["account"] == "root" && held["serial"] != before).then_some(())
    });
    assert!(longer.is_some(), "the extension never came");
    certificates.extend(scene.ben.certificates());
    scene.db_3.fireaxe(&["krl"]).ok();
    session.types("after\n");
    session.shows("after");
    assert!(session.goes_on());
    assert_eq!(account(&scene.ben), "root");

    // The lists on the host have every certificate that was ever given for it, by OpenSSH's own word.
    let closed = scene.ana.fireaxe(&["close", "EM-1"]);
    closed.exits(77).says("EM-1 is not ana's to close or extend");
    let closed = scene.ben.asks(&["close", "EM-1"]);
    assert!(closed["revoked"].as_array().unwrap().len() >= 3, "fix, root, root for longer: {closed}");
    scene.db_3.fireaxe(&["krl"]).ok();
    let list = scene.db_3.file("/etc/ssh/fireaxe_revoked_keys");
    certificates.sort();
    certificates.dedup();
    assert!(certificates.len() >= 3, "{certificates:?}");
    for certificate in &certificates {
        let file = scene.ben.home().join("held-cert.pub");
        fs::write(&file, format!("{certificate}\n")).unwrap();
        let asked = run(Command::new("ssh-keygen").arg("-Qf").arg(&list).arg(&file));
        assert!(asked.fails().stdout.contains("REVOKED"), "{asked}");
    }
    scene.db_3.ssh(&login, "root", "true").exits(255);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn what_was_upgraded_is_refused_by_the_host_when_somebody_else_closes_it() {
    let scene = begin();
    // Ana is on call: root for her at once; an incident commander closes it.
    let opened = scene.ana.open(&OPEN);
    assert_eq!(opened["terms"]["account"], "root");
    let login = scene.ana.login();
    scene.db_3.ssh(&login, "root", "true").ok();
    scene.ana.asks(&["extend", "-r", "still at it"]);
    scene.db_3.ssh(&login, "root", "true").ok();
    scene.ben.fireaxe(&["close", "EM-1"]).ok();
    scene.db_3.fireaxe(&["krl"]).ok();
    scene.db_3.ssh(&login, "root", "true").exits(255);
    scene.db_3.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
}

#[test]
fn nobody_approves_for_themselves_with_another_key_or_under_another_name() {
    let scene = with_incident(Scene::begin_with(|setting| {
        let alias = setting.world.engineer("ben-admin");
        let lines = alias.roster(&["payments-oncall", "sre-leads"]);
        setting.with_roster(&format!("\n{lines}\nsame_as = \"ben\"\n"));
        let spare = setting.world.engineer("ben-spare");
        setting.ben.has_also(spare.key());
        setting.kept.extend([alias, spare]);
    }));
    waits(&scene);
    let (alias, spare) = (&scene.kept[0], &scene.kept[1]);
    alias.enrol(&scene.ca);
    spare.enrol_as("ben", &scene.ca);
    for who in [&scene.ben, alias, spare] {
        let ran = who.fireaxe(&["--json", "approve", "EM-1", "--yes"]);
        has_code(ran.exits(77), "approval.own");
    }
    // In no group that is asked: not theirs either.
    has_code(scene.cleo.fireaxe(&["--json", "approve", "EM-1", "--yes"]).exits(77), "approval.not_asked");
    assert_eq!(account(&scene.ben), "ops");
    assert!(scene.ben.asks(&["status"])["waiting"][0].is_object());
    // With a program that leaves the check to others it is refused all the same: see `ca/tests/approvals.rs`.
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).ok();
    scene.ben.comes_to_hold(DB_3, "root");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_second_signature_makes_a_bare_claim_severity_1_and_whoever_gave_it_is_a_requester() {
    let scene = Scene::begin_with(|setting| {
        setting.also("fay", &["payments-oncall", "sre-leads"]);
    });
    scene.ana.knows(&[&scene.db_3, &scene.db_4]);
    let fay = scene.other("fay");
    let claim = scene.ana.fireaxe(&["open", DB_3, "-s", "1", "-r", "primary refuses writes"]);
    claim.says("tier fix").says("fireaxe second EM-1").exits(0);
    assert_eq!(account(&scene.ana), "ops");
    scene.ana.fireaxe(&["second", "EM-1"]).exits(77);
    scene.ben.fireaxe(&["second", "EM-1"]).exits(77).says("not on call");
    assert_eq!(account(&scene.ana), "ops");

    fay.fireaxe(&["second", "EM-1"]).says("together with ana").ok();
    scene.ana.comes_to_hold(DB_3, "root");
    assert_eq!(account(&scene.ana), "root");
    scene.ana.fireaxe(&["close"]).ok();
    let review = ["--json", "review", "EM-1", "--verdict", "justified", "-r", "as it was"];
    fay.fireaxe(&review).exits(77);
    scene.ana.fireaxe(&review).exits(77);
    scene.cleo.fireaxe(&review).ok();
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn an_approval_of_what_has_changed_meanwhile_counts_for_nothing_and_says_what_changed() {
    let scene = begin();
    waits(&scene);
    // Ana reads, and while she does root comes to last half an hour.
    let mut reading = start_on_a_terminal(&scene.ana.fireaxe_command(&["approve", "EM-1"]));
    reading.shows("approve? [y/N]");
    let shorter = |policy: &str| policy.replacen("ttl = \"45m\"", "ttl = \"30m\"", 2);
    let (bundle, signed) = scene.signed_change(shorter, str::to_owned);
    let activate = |signed: &[String]| {
        let signed = signed.iter().flat_map(|file| ["--signed", file.as_str()]);
        scene.ca.cmd(&[&["policy", "activate", &bundle][..], &signed.collect::<Vec<_>>()].concat())
    };
    activate(&signed[..1]).fails();
    activate(&signed).says("EM-1 waits by the new bundle: its approvals so far are void").ok();
    reading.types("y\n");
    let ran = reading.ends_by_itself();
    ran.fails();
    assert!(ran.stdout.contains("45m") && ran.stdout.contains("30m"), "what changed is not said: {ran}");
    assert_eq!(account(&scene.ben), "ops");
    // Read anew it can be approved, and is what was read.
    scene.ana.fireaxe(&["approve", "EM-1", "--yes"]).says("30 min").ok();
    scene.ben.comes_to_hold(DB_3, "root");
    assert_eq!(account(&scene.ben), "root");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn whoever_leaves_the_roster_neither_approves_nor_keeps_what_they_have() {
    let scene = with_incident(Scene::begin_with(|setting| {
        setting.also("fay", &["payments-oncall"]);
    }));
    let fay = scene.other("fay");
    waits(&scene);
    fay.open(&["db-4.payments.prod", "-s", "2", "-r", "the other one"]);
    let login = fay.login();
    scene.db_4.ssh(&login, "ops", "true").ok();
    let without_fay = |roster: &str| {
        let (before, fay) = roster.split_once("[person.fay]").unwrap();
        let (_, after) = fay.split_once("\n[").unwrap();
        format!("{before}[{after}")
    };
    let (bundle, signed) = scene.signed_change(str::to_owned, without_fay);
    let words = ["policy", "activate", &bundle, "--signed", &signed[0], "--signed", &signed[1]];
    scene.ca.cmd(&words).says("EM-2 is closed: who declared it is no longer in the roster").ok();
    fay.fireaxe(&["approve", "EM-1", "--yes"]).exits(4);
    scene.db_4.fireaxe(&["krl"]).ok();
    scene.db_4.ssh(&login, "ops", "true").exits(255);
    scene.db_4.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    assert_eq!(account(&scene.ben), "ops");
    scene.ca.cmd(&["log", "verify"]).ok();
}
