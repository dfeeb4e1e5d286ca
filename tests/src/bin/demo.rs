//! `make demo`: the main job, told in words a newcomer follows, against a real sshd. Ends with 0 only if
//! everything was as it says.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the demo"
)]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use fireaxe_tests::scene::Scene;
use fireaxe_tests::{Ran, clock};

const HOST: &str = "db-3.payments.prod";
const OTHER: &str = "db-4.payments.prod";

fn main() -> ExitCode {
    // A failed expectation or Ctrl-C ends the telling; everything that was started ends with it.
    let (interrupted, signals) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        let _ = interrupted.send(());
    });
    std::panic::set_hook(Box::new(|why| {
        let message = why.payload_as_str().unwrap_or("an expectation failed");
        say(&format!("\nNOT AS EXPECTED: {message}\n"));
    }));
    match catch_unwind(AssertUnwindSafe(|| tell(&signals))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            say("\nThe demo failed.\n");
            ExitCode::FAILURE
        }
    }
}

fn tell(signals: &Receiver<()>) {
    let began = clock::now();
    say("\nFireaxe: from a declared emergency to a shell on a stock OpenSSH host, and shut again.\n\n");
    say(
        "Nothing of this machine is touched: two hosts (db-3 and db-4 of the system payments-db), each with\n",
    );
    say("its own /etc, users and Debian's own sshd, on loopback ports; a certificate authority; and three\n");
    say("people, ana, ben and cleo, each with a home and an SSH key. No key of theirs lies on any host.\n");
    let mut scene = Scene::begin();
    for person in [&scene.ana, &scene.ben] {
        person.knows(&[&scene.db_3, &scene.db_4]);
    }

    step(1, "Something breaks. The operator's word on the incident goes into the log, with its severity.");
    show(&scene.ca.cmd(&["incident", "put", "pd:PGR0VU2", "--severity", "1", "--system", "payments-db"]));
    let before = scene.ana.fireaxe(&["why", HOST]);
    say(&format!("   Before she declares it, ana cannot get in (`fireaxe why {HOST}`):\n"));
    quote(&before);
    before.fails();

    step(2, "Ana declares an emergency for one host. She signs it with her own key; the policy decides what");
    say(
        "   it is worth (severity x what is at stake = the tier), the log keeps it, and a certificate that\n",
    );
    say("   ends by itself goes into her agent's memory. No private key is ever written to a disk.\n");
    let opened =
        scene.ana.fireaxe(&["open", HOST, "--incident", "pd:PGR0VU2", "-r", "primary refuses writes"]);
    show(&opened);

    step(3, "The certificate, as OpenSSH itself reads it. One of its extensions is its receipt, the");
    say("   proof that it is in the log, which anybody can check offline.\n");
    let login = scene.ana.login();
    let socket = scene.ana.socket().expect("ana's agent");
    let held = fireaxe_tests::run(scene.ana.command("ssh-add").arg("-L").env("SSH_AUTH_SOCK", &socket));
    let certificate = scene.ana.home().join("held-cert.pub");
    std::fs::write(&certificate, held.ok().to_owned() + "\n").expect("a file");
    let read = fireaxe_tests::run(scene.ana.command("ssh-keygen").arg("-Lf").arg(&certificate));
    read.ok();
    for line in read.stdout.lines().skip(1) {
        // The receipt is long, and ssh-keygen shows it as hex.
        let cut = if line.len() > 100 {
            format!("{:.64}... ({} bytes)", line, line.len() / 2)
        } else {
            line.into()
        };
        say(&format!("     {}\n", cut.strip_prefix("        ").unwrap_or(&cut)));
    }

    step(
        4,
        "Plain `ssh`, nothing wrapped: ana's ssh configuration asks `fireaxe match` which account to use.",
    );
    let inside = scene.ana.ssh(&[HOST, "echo \"I am $(id -un) on $(cat /etc/hostname)\""]);
    show(&inside);
    expect(inside.stdout.trim() == format!("I am root on {HOST}"), "she is in, as root and nobody else");
    scene.db_3.logs("ID fireaxe/EM-1/ana/");
    say("   The host's own log names the emergency and the person:\n");
    let log = scene.db_3.log();
    let accepted = log.lines().find(|line| line.starts_with("Accepted publickey for root"));
    say(&format!("     {}\n", accepted.expect("the login in sshd's log")));

    step(5, "What the certificate does not open, sshd itself refuses:");
    let refused = |what: &str, ran: &Ran| expect(ran.code != 0, what);
    refused("another account on the same host", &scene.db_3.ssh(&login, "ops", "true"));
    refused("another host of the same system", &scene.db_4.ssh(&login, "root", "true"));
    for host in [&scene.db_3, &scene.db_4] {
        host.logs("Certificate does not contain an authorized principal");
    }
    refused("a tunnel through the host", &scene.db_3.tunnel(&login, "root", scene.db_3.port()));
    refused("a port opened on the host", &scene.db_3.reverse_tunnel(&login, "root"));

    step(6, "A milder incident is worth less. Ben looks at the whole database at severity 3: one fixed");
    say("   command, whatever he asks for, and no terminal.\n");
    scene.ca.cmd(&["incident", "put", "pd:SLOW1", "--severity", "3", "--system", "payments-db"]).ok();
    show(&scene.ben.fireaxe(&["open", "payments-db", "--incident", "pd:SLOW1", "-r", "queries are slow"]));
    let ben = scene.ben.login();
    let looked = scene.db_4.ssh(&ben, "look", "cat /etc/shadow");
    looked.ok();
    say("   $ ssh look@db-4.payments.prod 'cat /etc/shadow'\n");
    for line in looked.stdout.lines().take(3) {
        say(&format!("     {line}\n"));
    }
    expect(
        looked.stdout.contains("load average") && !looked.stdout.contains("root:"),
        "the tier's command ran, not what he asked for",
    );
    let terminal = scene.db_4.ssh_with_terminal(&ben, "look", "tty");
    expect(terminal.stderr.contains("PTY allocation request failed"), "no terminal");
    refused("no other account", &scene.db_4.ssh(&ben, "ops", "true"));

    step(7, "It is over. Ben, who may close anybody's emergency, closes ana's; the hosts fetch the new");
    say("   revocation list (a timer does that), test it, and put it in force.\n");
    show(&scene.ben.fireaxe(&["close", "EM-1"]));
    let fetched = scene.db_3.fireaxe(&["krl"]);
    say("   $ fireaxe-host krl\n");
    quote(&fetched);
    fetched.ok();
    refused("the same certificate, still in ana's agent", &scene.db_3.ssh(&login, "root", "true"));
    scene.db_3.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    expect(true, "sshd says why: revoked by file /etc/ssh/fireaxe_revoked_keys");

    approve_and_upgrade(&scene);
    close_and_review(&scene);
    change_the_policy(&scene);

    step(13, "An auditor verifies the whole log: every entry, signature, decision and certificate.");
    show(&scene.ca.cmd(&["log", "verify"]));

    let took = began.elapsed().as_secs();
    if std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0") {
        keep(&mut scene, signals);
    }
    drop(scene);
    say(&format!("\nSUCCESS: everything was as it should be ({took} s). Nothing is left running.\n"));
}

/// What one person may not have alone: the weaker tier at once, the stronger one when a colleague says yes.
fn approve_and_upgrade(scene: &Scene) {
    let (ana, ben) = (&scene.ana, &scene.ben);
    // One host alone is worth less than its system, but not to somebody who has the whole system open.
    ben.fireaxe(&["close", "EM-2"]).ok();

    step(8, "Ben is not on call for this database. He gets what is harmless at once; to be root, somebody");
    say("   who knows it must agree. The CA says whom it has asked, and he works meanwhile.\n");
    let opened =
        ben.fireaxe(&["open", OTHER, "--incident", "pd:PGR0VU2", "-r", "replica is stuck, ana is busy"]);
    show(&opened);
    expect(
        opened.stderr.contains("tier root waits for 1 of"),
        "root waits, and those who may agree were asked",
    );
    let meanwhile = ben.ssh(&[OTHER, "id -un"]);
    show(&meanwhile);
    expect(meanwhile.stdout.trim() == "ops", "he is in meanwhile, as ops");
    expect(ben.fireaxe(&["approve", "EM-3", "--yes"]).code == 77, "he cannot approve it himself");

    step(9, "Ana sees one screen, made by her own program from the very bytes in the log, and signs yes.");
    show(&ana.fireaxe(&["approve", "EM-3", "-r", "go ahead", "--yes"]));
    say("   Ben types nothing: the certificate in his running agent is swapped.\n");
    ben.comes_to_hold(OTHER, "root");
    show(&ben.fireaxe(&["status"]));
    let root = ben.ssh(&[OTHER, "id -un"]);
    show(&root);
    expect(root.stdout.trim() == "root", "the same plain `ssh` is root now");

    step(10, "It takes longer. More time is decided anew, by today's policy, and asks somebody again.");
    let before = ben.asks(&["status"])["held"][0]["serial"].clone();
    show(&ben.fireaxe(&["extend", "-r", "the index is still being built"]));
    expect(ben.ssh(&[OTHER, "id -un"]).stdout.trim() == "root", "what he holds goes on meanwhile");
    ana.fireaxe(&["approve", "EM-3", "--yes"]).ok();
    let longer = clock::wait_for(clock::LIMIT, || {
        let held = ben.asks(&["status"])["held"][0].clone();
        (held["account"] == "root" && held["serial"] != before).then_some(())
    });
    expect(longer.is_some(), "ana agrees once more: he has root for longer, and nothing was cut");
}

/// Over, and looked back at by somebody who took no part.
fn close_and_review(scene: &Scene) {
    let (ben, cleo) = (&scene.ben, &scene.cleo);
    let login = ben.login();
    step(11, "Ben is done. Every certificate of the emergency is revoked, and a review of it is owed.");
    show(&ben.fireaxe(&["close", "EM-3"]));
    scene.db_4.fireaxe(&["krl"]).ok();
    expect(scene.db_4.ssh(&login, "root", "true").code == 255, "he is out");
    say("   Cleo took no part. She reads what happened and signs what she found.\n");
    let found = ["review", "EM-3", "--verdict", "justified", "-r", "replica rebuilt, nothing else touched"];
    show(&cleo.fireaxe(&found));
    show(&cleo.fireaxe(&["ls"]));
}

/// The rules change only by the quorum that the rules before name.
fn change_the_policy(scene: &Scene) {
    step(12, "The rules change too: root for 30 minutes instead of 45. First it is said in words what that");
    say("   means, and every decision of this log is tried again under the new rules.\n");
    // The lifetime of root, and the worked example that says what it is.
    let shorter = |policy: &str| policy.replacen("ttl = \"45m\"", "ttl = \"30m\"", 2);
    let (bundle, signed) = scene.signed_change(shorter, str::to_owned);
    let (world, data) = (scene.world.dir(), scene.ca.data().display().to_string());
    let old = world.join("bundle").display().to_string();
    let policy = |words: &[&str]| scene.world.ours("fireaxe-ca", &[&["policy"], words].concat());
    show_as(&policy(&["diff", &old, &bundle]), world);
    show_as(&policy(&["simulate", &bundle, "--against", &data]), world);
    say(
        "   `fireaxe-ca policy statement` writes the words that two people of security sign, ben and cleo,\n",
    );
    say("   each with nothing but `ssh-keygen -Y sign -n bundle.v1@fireaxe`:\n");
    say(&format!("     {}\n", std::fs::read_to_string(&signed[0]).expect("the words")));
    let activate = |signed: &[String]| {
        let signed = signed.iter().flat_map(|file| ["--signed", file.as_str()]);
        let words = ["activate", bundle.as_str()].into_iter().chain(signed).chain(["--data", data.as_str()]);
        policy(&words.collect::<Vec<_>>())
    };
    expect(activate(&signed[..1]).code != 0, "one signature is not enough");
    show_as(&activate(&signed), world);
}

/// Leaves the world as it is until Ctrl-C.
fn keep(scene: &mut Scene, signals: &Receiver<()>) {
    let home = scene.ana.home().display();
    let bin = scene.world.programs().bin.display();
    let data = scene.ca.data().display();
    say("\nKEEP=1: the world stays until Ctrl-C. To play on, in another terminal (as root):\n\n");
    say(&format!("  export HOME={home} XDG_RUNTIME_DIR={home}/run XDG_CONFIG_HOME={home}/.config \\\n"));
    say(&format!("    XDG_STATE_HOME={home}/.local/state PATH={bin}:$PATH\n"));
    say(&format!("  fireaxe open {HOST} --incident pd:PGR0VU2 -r \"trying it out\"\n"));
    say(&format!("  ssh -F {home}/.ssh/config {HOST}\n"));
    say("  fireaxe status; fireaxe ls; fireaxe close EM-4\n");
    say(&format!("  fireaxe-ca log verify --data {data}\n"));
    for host in [&scene.db_3, &scene.db_4] {
        say(&format!("  {}   # {}\n", host.enter_line(), host.name()));
        say("      then: /run/world/bin/fireaxe-host krl\n");
    }
    say("\n");
    let _ = signals.recv();
    say("\ncleaning up ...\n");
}

fn step(number: u8, text: &str) {
    say(&format!("\n{number}. {text}\n"));
}

/// [`show`] with the paths of this world cut down to their names.
fn show_as(ran: &Ran, world: &std::path::Path) {
    let short = |text: &str| text.replace(&format!("{}/", world.display()), "");
    show(&Ran {
        command: short(&ran.command),
        stderr: short(&ran.stderr),
        stdout: short(&ran.stdout),
        code: ran.code,
    });
}

/// Shows a command of ours and what it said; it must have succeeded.
fn show(ran: &Ran) {
    let words: Vec<&str> = ran.command.splitn(2, ' ').collect();
    let program = words[0].rsplit('/').next().unwrap_or_default();
    let rest = words.get(1).copied().unwrap_or_default();
    // Where the demo's CA keeps its data and ana her configuration says nothing to a reader.
    let rest = rest.split(" --data ").next().unwrap_or_default();
    let rest = if rest.starts_with("-F ") { rest.splitn(3, ' ').nth(2).unwrap_or_default() } else { rest };
    say(&format!("   $ {program} {rest}\n"));
    quote(ran);
    ran.ok();
}

fn quote(ran: &Ran) {
    for line in ran.stderr.lines().chain(ran.stdout.lines()) {
        say(&format!("     {line}\n"));
    }
}

fn expect(as_expected: bool, what: &str) {
    assert!(as_expected, "{what}");
    say(&format!("   ok: {what}\n"));
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
