//! `make demo`: the main job, told in words a newcomer follows, against a real sshd. Ends with 0 only if
//! everything was as it says.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed expectation ends the demo"
)]

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use fireaxe_protocol::log::{Entry, Event};
use fireaxe_tests::running::{Running, start, start_on_a_terminal};
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
    say(
        "Each host was invited, enrolled its host key with the token, and let `fireaxe-host apply` set up sshd,\n",
    );
    say(
        "which stays only because a login with a certificate of a minute came in. Its daemon follows the CA.\n",
    );
    let mut scene = Scene::begin_with_helper_and(|setting| {
        // So that there is a forward to be cut: the default policy gives nobody one.
        let fix = "account = \"ops\"\nextensions = [\"pty\"]";
        let forwarding = "account = \"ops\"\nextensions = [\"pty\", \"port-forwarding\"]";
        setting.policy = setting.policy.replacen(fix, forwarding, 1);
    });
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

    step(
        7,
        "It is over while ana still has a root shell open. Ben, who may close anybody's emergency, closes",
    );
    say("   hers: the hosts hear it at once, refuse the certificate, and end what came in with it.\n");
    let mut shell = start_on_a_terminal(&scene.db_3.ssh_command(&login, "root", &["-tt"]));
    shell.types("echo I am still $(id -un)\n");
    shell.shows("I am still root");
    say("   ana's terminal: echo I am still $(id -un)\n     I am still root\n");
    show(&scene.ben.fireaxe(&["close", "EM-1"]));
    let cut = shell.ends_by_itself();
    expect(cut.code != 0, "her live root shell is cut");
    refused("the same certificate, still in ana's agent", &scene.db_3.ssh(&login, "root", "true"));
    proof(&scene, HOST, 1);
    say(
        "   What was on her screen is recorded, in chunks that hang together and are what the host reported:\n",
    );
    let recorded = || scene.ca.cmd(&["rec", "verify", "EM-1"]);
    let there = clock::wait_for(clock::LIMIT, || Some(recorded()).filter(|ran| ran.code == 0));
    show(&there.unwrap_or_else(recorded));

    let forward = approve_and_upgrade(&scene);
    close_and_review(&scene, forward);
    change_the_policy(&scene);

    step(13, "An auditor verifies the whole log: every entry, signature, decision and certificate.");
    show(&scene.ca.cmd(&["log", "verify"]));

    hand_over(&scene);

    let took = began.elapsed().as_secs();
    if std::env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0") {
        keep(&mut scene, signals);
    }
    drop(scene);
    say(&format!("\nSUCCESS: everything was as it should be ({took} s). Nothing is left running.\n"));
}

/// An auditor gets one file, and needs nothing else.
fn hand_over(scene: &Scene) {
    step(
        14,
        "She takes one file home: everything of EM-1. It is verified in an empty folder, on a machine that",
    );
    say("   has no CA, no configuration and no network.\n");
    let desk = scene.world.room("auditor");
    let zip = desk.join("em-1.zip");
    let ran = scene.ca.cmd(&["log", "receipt", "EM-1", "-o", zip.to_str().expect("a path of text")]);
    show_as(&ran, &desk);
    let path = format!("PATH={}:/usr/bin:/bin", scene.world.programs().bin.display());
    let mut command = std::process::Command::new("unshare");
    command.args(["--net", "env", "-i", &path, "fireaxe", "verify", "em-1.zip"]).current_dir(&desk);
    let ran = fireaxe_tests::run(&mut command);
    show(&Ran { command: "fireaxe verify em-1.zip".into(), ..ran });
    say("   VERIFY.txt in it says how the same is done with nothing but sha256sum and ssh-keygen.\n");
}

/// What one person may not have alone: the weaker tier at once, the stronger one when a colleague says yes.
fn approve_and_upgrade(scene: &Scene) -> Running {
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
    let port = free_port();
    let line = format!("{port}:127.0.0.1:{}", scene.db_4.port());
    let options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", &line];
    let forward = start(&mut scene.db_4.ssh_command(&ben.login(), "ops", &options));
    let through = clock::wait_for(clock::LIMIT, || {
        let mut banner = [0; 4];
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.read_exact(&mut banner).ok().filter(|()| &banner == b"SSH-")
    });
    say(&format!("   $ ssh -N -L {line} ops@{OTHER} &\n"));
    expect(through.is_some(), "this tier lets him forward a port; no session goes with it");

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
    forward
}

/// Over, and looked back at by somebody who took no part.
fn close_and_review(scene: &Scene, mut forward: Running) {
    let (ben, cleo) = (&scene.ben, &scene.cleo);
    let login = ben.login();
    step(11, "Ben is done. Every certificate of the emergency is revoked, and a review of it is owed.");
    expect(forward.goes_on(), "his forward from step 8 is still there");
    show(&ben.fireaxe(&["close", "EM-3"]));
    expect(forward.ends_by_itself().code != 0, "now it is cut, too");
    expect(scene.db_4.ssh(&login, "root", "true").code == 255, "he is out");
    proof(scene, OTHER, 2);
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

/// What the CA has of the host's signed word: that the list is in force there, and how sessions ended.
fn proof(scene: &Scene, host: &str, at_least: usize) {
    let by = |entry: &Entry| match &entry.event {
        Event::HostConfirmed { by, .. } if by.host.as_str() == host => Some((entry.index, "host.confirmed")),
        Event::SessionClosed { by, .. } if by.host.as_str() == host => Some((entry.index, "session.closed")),
        _ => None,
    };
    let proved = clock::wait_for(clock::LIMIT, || {
        let found: Vec<_> = scene.ca.entries().iter().filter_map(by).collect();
        let confirmed = found.iter().any(|(_, what)| *what == "host.confirmed");
        (confirmed && found.len() > at_least).then_some(found)
    });
    let proved = proved.expect("the host's signed word in the log");
    say(&format!("   {host} has said so under its own key; the log has it:\n"));
    for (index, what) in proved.iter().rev().take(3).rev() {
        say(&format!("     entry {index}: {what}\n"));
    }
    show(&scene.ca.cmd(&["fleet"]));
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.expect("a free port").port()
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
        say("      then: fireaxe-host status; fireaxe-host doctor\n");
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
