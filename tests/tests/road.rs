//! The road: from an incident to a shell on a stock host, and shut again; every login by a real ssh at a
//! real sshd.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use fireaxe_tests::scene::Scene;

#[test]
fn an_incident_opens_one_host_as_one_account_and_closing_shuts_it() {
    let scene = Scene::begin();
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    let opened =
        scene.ana.open(&["db-3.payments.prod", "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    assert_eq!(opened["terms"]["account"], "root");
    assert_eq!(opened["emergency"], "EM-1");
    let login = scene.ana.login();

    // Under exactly that account, with a terminal as the tier says.
    assert_eq!(scene.db_3.ssh(&login, "root", "id -un").ok(), "root");
    scene.db_3.logs("ID fireaxe/EM-1/ana/");
    let terminal = scene.db_3.ssh_with_terminal(&login, "root", "tty");
    assert!(terminal.ok().contains("/dev/pts/"), "{terminal}");

    // Nothing else: no other account, no other host, no tunnel either way.
    for other in ["look", "ops", "deploy"] {
        scene.db_3.ssh(&login, other, "true").exits(255);
    }
    scene.db_4.ssh(&login, "root", "true").exits(255);
    for host in [&scene.db_3, &scene.db_4] {
        host.logs("Certificate does not contain an authorized principal");
    }
    let port = scene.db_3.port();
    scene.db_3.tunnel(&login, "root", port).fails().says("administratively prohibited");
    scene.db_3.reverse_tunnel(&login, "root").fails();

    // Somebody who may closes it elsewhere: the certificate is still in ana's agent, and worth nothing.
    scene.ben.fireaxe(&["close", "EM-1"]).ok();
    scene.db_3.fireaxe(&["krl"]).ok();
    scene.db_3.ssh(&login, "root", "true").exits(255);
    scene.db_3.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn the_look_tier_runs_its_command_whatever_is_asked_and_gives_no_terminal() {
    let scene = Scene::begin();
    scene.incident("pd:SLOW1", 3, "payments-db");
    let opened = scene.ana.open(&["payments-db", "--incident", "pd:SLOW1", "-r", "queries are slow"]);
    assert_eq!(opened["terms"]["account"], "look");
    let login = scene.ana.login();
    for host in [&scene.db_3, &scene.db_4] {
        let ran = host.ssh(&login, "look", "echo as-asked");
        assert!(ran.ok().contains("load average") && !ran.stdout.contains("as-asked"), "{ran}");
    }
    let terminal = scene.db_3.ssh_with_terminal(&login, "look", "tty");
    terminal.says("PTY allocation request failed");
    scene.db_3.tunnel(&login, "look", scene.db_3.port()).fails().says("administratively prohibited");
    for other in ["ops", "root"] {
        scene.db_3.ssh(&login, other, "true").exits(255);
    }
}

#[test]
fn plain_ssh_finds_its_way_and_falls_through_when_nothing_is_held() {
    let scene = Scene::begin();
    scene.ana.knows(&[&scene.db_3, &scene.db_4]);
    scene.ana.ssh(&["db-3.payments.prod", "true"]).exits(255);
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    scene.ana.open(&["db-3.payments.prod", "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    assert_eq!(scene.ana.ssh(&["db-3.payments.prod", "id -un"]).ok(), "root");
    scene.ana.ssh(&["db-4.payments.prod", "true"]).exits(255);
    scene.ana.fireaxe(&["close"]).ok();
    scene.ana.ssh(&["db-3.payments.prod", "true"]).exits(255);
}

#[test]
fn what_is_open_stays_open_while_the_ca_is_away_and_is_closed_when_it_is_back() {
    let mut scene = Scene::begin();
    scene.incident("pd:PGR0VU2", 1, "payments-db");
    scene.ana.open(&["db-3.payments.prod", "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    let login = scene.ana.login();
    scene.ca.kill();
    assert_eq!(scene.db_3.ssh(&login, "root", "id -un").ok(), "root");
    scene.db_3.fireaxe(&["krl"]).exits(69).says("not running");
    scene.ana.fireaxe(&["close"]).exits(69);
    scene.ca.start();
    scene.ben.fireaxe(&["close", "EM-1"]).ok();
    scene.db_3.fireaxe(&["krl"]).ok();
    scene.db_3.ssh(&login, "root", "true").exits(255);
    scene.db_3.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_bare_claim_of_severity_1_is_worth_severity_2_and_says_who_can_make_it_1() {
    let scene = Scene::begin();
    let claimed = scene.ana.fireaxe(&["open", "payments-db", "-s", "1", "-r", "a bare claim"]);
    claimed.says("severity 2, claimed").says("tier fix");
    claimed.says("severity 1 counts once another person of payments-oncall types   fireaxe second EM-1").ok();
    let login = scene.ana.login();
    assert_eq!(scene.db_3.ssh(&login, "ops", "id -un").ok(), "ops");
    scene.db_3.ssh(&login, "root", "true").exits(255);
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn a_refusal_says_why_and_what_would_be_granted_and_opens_nothing() {
    let scene = Scene::begin();
    let refused =
        scene.ana.fireaxe(&["open", "payments-db", "-s", "2", "--want", "root", "-r", "give me all"]);
    refused.exits(77).says("[want.").says("fix").says("next: fireaxe open payments-db");
    assert!(scene.ana.certificates().is_empty());
    let trifle = scene.ana.fireaxe(&["open", "payments-db", "-s", "4", "-r", "a trifle"]);
    trifle.exits(77).says("[risk.denied]");
    scene.incident("pd:SLOW1", 2, "payments-db");
    let worse = ["open", "payments-db", "-s", "1", "--incident", "pd:SLOW1", "-r", "worse than they say"];
    let refused = scene.ana.fireaxe(&worse);
    refused.exits(77).says("fix").says("fireaxe open");
    let stranger = scene.world.engineer("mallory");
    stranger.enrol(&scene.ca);
    stranger.fireaxe(&["open", "payments-db", "-s", "2", "-r", "let me in"]).exits(4);
    scene.ana.fireaxe(&["open", "db-99.payment.prod", "-s", "2", "-r", "typo"]).fails();
    scene.ca.cmd(&["log", "verify"]).ok();
}
