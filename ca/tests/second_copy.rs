//! The drill: a CA with a second copy is killed, its folder is lost, and yesterday's backup is put back; without the
//! mirror it signs nothing, with it it goes on where it was. And two copies of one folder. With the real program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

mod installed;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use fireaxe_ca::clock::{Clock, SystemClock};
use fireaxe_ca::log::Reader;
use fireaxe_protocol::api::{Join, Reports};
use fireaxe_protocol::host::{JoinToken, Report};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Checkpoint, Event};
use fireaxe_protocol::names::Origin;
use fireaxe_protocol::statement::{
    Declare, Enrol, Envelope, Header, HostReport, Kind, Nonce, Params, Statement, sign_ed25519,
};
use installed::speaking::{DB3, heartbeat, host_key};
use installed::{ANA, init, signed};
use ureq::tls::{TlsConfig, TlsProvider};

fn program(command: &str, data: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"));
    program.arg(command).arg("--data").arg(data);
    program
}

/// A running CA. Ends with SIGKILL.
struct Serving {
    child: Child,
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .disable_verification(true)
        .build();
    let config = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build();
    config.new_agent()
}

/// Starts it, and waits until it listens; or gives what it said when it refused to.
fn serve(data: &Path, mirror: Option<&Path>) -> Result<Serving, Output> {
    serve_in(data, mirror, "before")
}

fn serve_in(data: &Path, mirror: Option<&Path>, mode: &str) -> Result<Serving, Output> {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut program = program("serve", data);
    program.arg("--listen").arg(address.to_string()).stderr(Stdio::piped()).stdout(Stdio::piped());
    if let Some(mirror) = mirror {
        program.arg("--mirror").arg(mirror).args(["--mirror-mode", mode]);
    }
    let mut child = program.spawn().unwrap();
    let mut looks = 0;
    while TcpStream::connect(address).is_err() {
        if child.try_wait().unwrap().is_some() {
            return Err(child.wait_with_output().unwrap());
        }
        looks += 1;
        assert!(looks < 6000, "the CA neither listens nor ends");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Serving { child, address, agent: agent() })
}

impl Serving {
    fn post<T: serde::Serialize>(&self, path: &str, body: &T) -> (u16, serde_json::Value) {
        let url = format!("https://{}{path}", self.address);
        let body = serde_json::to_vec(body).unwrap();
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut told = request.send(&body[..]).unwrap();
        let text = told.body_mut().read_to_string().unwrap();
        (told.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    fn checkpoint(&self) -> String {
        let url = format!("https://{}/log/checkpoint", self.address);
        self.agent.get(&url).call().unwrap().body_mut().read_to_string().unwrap()
    }

    #[track_caller]
    fn opens(&self, words: &Envelope) -> serde_json::Value {
        let (status, told) = self.post("/v1/emergencies", words);
        assert!(matches!(status, 200 | 201), "{status} {told}");
        assert!(told["certificate"].is_string(), "{told}");
        told
    }
}

fn header(origin: &Origin, kind: Kind, number: u8) -> Header {
    Header { kind, to: origin.clone(), nonce: Nonce([number; 16]), at: SystemClock.now().wall_s }
}

fn declares(origin: &Origin, number: u8) -> Envelope {
    let words = Declare {
        header: header(origin, Kind::Declare, number),
        target: format!("db-{number}.payments.prod").parse().unwrap(),
        severity: Some(2.try_into().unwrap()),
        incident: None,
        reason: "primary refuses writes".parse().unwrap(),
        want: None,
        action: None,
        params: Params::default(),
        for_s: None,
        drill: false,
        public_key: Ed25519Key::from(&SigningKey::from_bytes(&[100 + number; 32])),
    };
    signed(ANA, &Statement::Declare(words))
}

/// The host joins by the front door.
fn joins(ca: &Serving, data: &Path, origin: &Origin) {
    let mut invite = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"));
    let invited = ran(invite.args(["host", "invite", DB3]).arg("--data").arg(data));
    let token: JoinToken = String::from_utf8(invited.stdout).unwrap().trim().parse().unwrap();
    let words = Enrol {
        header: header(origin, Kind::Enrol, 50),
        host: DB3.parse().unwrap(),
        token: token.hash(),
        public_key: Ed25519Key::from(&host_key(DB3)),
    };
    let enrol = sign_ed25519(&host_key(DB3), Kind::Enrol, &Statement::Enrol(words).write());
    let (status, told) = ca.post("/v1/hosts", &Join { enrol, token: token.reveal().to_owned() });
    assert_eq!(status, 200, "{told}");
}

/// It says that this CA does not show what it has seen.
fn knows_more(ca: &Serving, origin: &Origin, note: &str) {
    let Report::Heartbeat(mut beat) = heartbeat(0) else { unreachable!() };
    beat.ahead = Some(note.to_owned());
    let words = HostReport {
        header: header(origin, Kind::Report, 51),
        host: DB3.parse().unwrap(),
        seq: 0,
        report: Report::Heartbeat(beat),
    };
    let said = sign_ed25519(&host_key(DB3), Kind::Report, &Statement::Report(Box::new(words)).write());
    let (status, told) = ca.post(&format!("/v1/hosts/{DB3}/reports"), &Reports { reports: vec![said] });
    assert_eq!(status, 200, "{told}");
}

#[track_caller]
fn ran(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[track_caller]
fn refused(output: Output, code: i32, says: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for word in says {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(told.contains("next:"), "{told}");
}

fn size(data: &Path) -> u64 {
    Reader::open(&data.join("log.sqlite")).unwrap().size().unwrap()
}

fn verifies(data: &Path) {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"));
    ran(verify.args(["log", "verify"]).arg("--data").arg(data));
}

fn copy(from: &Path, to: &Path) {
    ran(Command::new("cp").arg("-r").arg(from).arg(to));
}

/// A restored folder, from these.
fn restored(room: &Path, name: &str, from: Option<&Path>, mirror: Option<&Path>) -> PathBuf {
    let data = room.join(name);
    let mut restore = program("restore", &data);
    for (flag, path) in [("--from", from), ("--mirror", mirror)] {
        restore.args(path.map(|path| [Path::new(flag).to_owned(), path.to_owned()]).into_iter().flatten());
    }
    ran(&mut restore);
    data
}

#[test]
fn the_disk_is_lost_and_yesterdays_backup_signs_nothing_alone_and_goes_on_with_the_mirror() {
    let room = tempfile::tempdir().unwrap();
    let data = init(room.path());
    let (mirror, backup) = (room.path().join("mirror"), room.path().join("backup"));
    std::fs::create_dir(&mirror).unwrap();
    let ca = serve(&data, Some(&mirror)).unwrap_or_else(|told| panic!("{told:?}"));
    let origin = Reader::open(&data.join("log.sqlite")).unwrap().origin().clone();
    joins(&ca, &data, &origin);
    let words: Vec<Envelope> = (1..=4).map(|number| declares(&origin, number)).collect();
    let first = ca.opens(&words[0]);
    ran(program("backup", &data).arg("--with-keys").arg("--to").arg(&backup));
    let second = ca.opens(&words[1]);
    let newest = ca.checkpoint();
    let before = size(&data);
    // Power is cut, and the disk with it.
    drop(ca);
    std::fs::remove_dir_all(&data).unwrap();
    assert!(size(&backup) < before);

    // Yesterday's backup alone: fenced from the start; the host's note is kept.
    let alone = restored(room.path(), "alone", Some(&backup), None);
    let ca = serve(&alone, None).unwrap_or_else(|told| panic!("{told:?}"));
    let (status, told) = ca.post("/v1/emergencies", &words[2]);
    assert_eq!((status, told["code"].as_str()), (503, Some("ca.fenced")), "{told}");
    // Not even what it has is signed again.
    assert_eq!(ca.post("/v1/emergencies", &words[0]).0, 503);
    knows_more(&ca, &origin, &newest);
    assert_eq!(size(&alone), size(&backup));
    drop(ca);
    assert_eq!(std::fs::read_to_string(alone.join("fence.note")).unwrap(), newest);
    let doctor = program("doctor", &alone).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stderr).contains("FAIL  fence"));
    // Restored again, it still lacks that head, which is said at once: both sizes.
    let (theirs, ours) = (format!("a head of {before} entries"), format!("this log has {}", size(&backup)));
    let restores = |name: &str, mirror: Option<&Path>| {
        let mut restore = program("restore", &room.path().join(name));
        restore.arg("--from").arg(&alone);
        mirror.map(|mirror| restore.arg("--mirror").arg(mirror));
        let told = ran(&mut restore);
        String::from_utf8([told.stdout, told.stderr].concat()).unwrap()
    };
    let told = restores("alone-2", None);
    assert!(told.contains(&theirs) && told.contains(&ours), "{told}");
    let told = restores("whole-2", Some(&mirror));
    assert!(!told.contains("signs nothing"), "{told}");
    // With the mirror it does not even start: both sizes are named.
    let told = serve(&alone, Some(&mirror)).err().unwrap();
    let (theirs, ours) = (format!("{before} entries"), format!("this log {}", size(&backup)));
    refused(told, 78, &[&theirs, &ours, "fireaxe-ca restore --from"]);

    // The backup and the mirror: the CA that was lost.
    let whole = restored(room.path(), "whole", Some(&backup), Some(&mirror));
    assert_eq!(size(&whole), before);
    let ca = serve(&whole, Some(&mirror)).unwrap_or_else(|told| panic!("{told:?}"));
    for (words, was) in words.iter().zip([&first, &second]) {
        assert_eq!(ca.opens(words)["certificate"], was["certificate"], "an old retry gets the same bytes");
    }
    let third = ca.opens(&words[2]);
    assert_eq!(third["emergency"], "EM-3");
    verifies(&whole);

    // Two copies of one folder side by side with one mirror: the second is refused.
    let clone = room.path().join("clone");
    copy(&whole, &clone);
    let _ = std::fs::remove_file(clone.join("operator.sock"));
    refused(serve(&clone, Some(&mirror)).err().unwrap(), 78, &["another CA writes this mirror"]);
    // Nor does a mirror that it would begin itself confirm it, however often it is started.
    let empty = room.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for _ in 0..2 {
        let copied = serve(&clone, Some(&empty)).unwrap_or_else(|told| panic!("{told:?}"));
        assert_eq!(copied.post("/v1/emergencies", &words[3]).1["code"], "ca.fenced");
    }
    // Without the mirror it runs, and signs nothing: it is a copy.
    let copied = serve(&clone, None).unwrap_or_else(|told| panic!("{told:?}"));
    assert_eq!(copied.post("/v1/emergencies", &words[3]).1["code"], "ca.fenced");
    drop(copied);
    ca.opens(&words[3]);
    drop(ca);

    // No backup at all: the log from the mirror, the keys from where they are kept.
    let anew = restored(room.path(), "anew", None, Some(&mirror));
    for name in ["keys", "tls.crt"] {
        copy(&backup.join(name), &anew.join(name));
    }
    verifies(&anew);
    assert_eq!(size(&anew), size(&whole));
    let ca = serve(&anew, Some(&mirror)).unwrap_or_else(|told| panic!("{told:?}"));
    assert_eq!(ca.opens(&words[2])["certificate"], third["certificate"]);
}

#[test]
fn a_log_that_was_made_from_a_mirror_that_no_answer_waited_for_is_not_confirmed_by_it() {
    let room = tempfile::tempdir().unwrap();
    let data = init(room.path());
    let mirror = room.path().join("mirror");
    std::fs::create_dir(&mirror).unwrap();
    let ca = serve_in(&data, Some(&mirror), "after").unwrap_or_else(|told| panic!("{told:?}"));
    let origin = Reader::open(&data.join("log.sqlite")).unwrap().origin().clone();
    assert!(!mirror.join("mode").exists());
    let words: Vec<Envelope> = (1..=2).map(|number| declares(&origin, number)).collect();
    ca.opens(&words[0]);
    let here = size(&data);
    let head = || std::fs::read_to_string(mirror.join("checkpoint")).unwrap_or_default();
    let mut looks = 0;
    while head().lines().nth(1) != Some(&here.to_string()) {
        looks += 1;
        assert!(looks < 6000, "the mirror never follows");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(ca);
    let made = restored(room.path(), "made", Some(&data), Some(&mirror));
    // However it is served and however often: what the mirror says stays as it is.
    for mode in ["before", "after", "before"] {
        let ca = serve_in(&made, Some(&mirror), mode).unwrap_or_else(|told| panic!("{told:?}"));
        assert_eq!(ca.post("/v1/emergencies", &words[1]).1["code"], "ca.fenced");
    }
    // From the folder alone it is compared with what it did not come from.
    let whole = restored(room.path(), "whole", Some(&data), None);
    let ca = serve(&whole, Some(&mirror)).unwrap_or_else(|told| panic!("{told:?}"));
    ca.opens(&words[1]);
    drop(ca);
    assert_eq!(std::fs::read_to_string(mirror.join("mode")).unwrap(), "before\n");
    // Before anything is answered that it may lack it says so.
    drop(serve_in(&whole, Some(&mirror), "after").unwrap_or_else(|told| panic!("{told:?}")));
    assert_eq!(std::fs::read_to_string(mirror.join("mode")).unwrap(), "after\n");
}

#[test]
fn nothing_is_written_half_or_over_something_and_bad_sources_are_named() {
    let room = tempfile::tempdir().unwrap();
    let data = init(room.path());
    let (mirror, backup) = (room.path().join("mirror"), room.path().join("backup"));
    refused(serve(&data, Some(&mirror)).err().unwrap(), 78, &["there is no such folder", "mkdir -m 700"]);
    std::fs::create_dir(&mirror).unwrap();
    drop(serve(&data, Some(&mirror)).unwrap_or_else(|told| panic!("{told:?}")));
    ran(program("backup", &data).arg("--to").arg(&backup));
    assert!(!backup.join("keys").exists());
    let again = program("backup", &data).arg("--to").arg(&backup).output().unwrap();
    refused(again, 1, &["is not empty"]);

    let nothing = || {
        let names = std::fs::read_dir(room.path()).unwrap().map(|e| e.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name.contains("new")).collect::<Vec<_>>()
    };
    let new = room.path().join("new");
    let restore = |from: &Path, mirror: Option<&Path>| {
        let mut restore = program("restore", &new);
        restore.arg("--from").arg(from);
        if let Some(mirror) = mirror {
            restore.arg("--mirror").arg(mirror);
        }
        restore.output().unwrap()
    };
    refused(restore(room.path(), None), 1, &["there is no log here"]);
    let bytes = std::fs::read(backup.join("log.sqlite")).unwrap();
    for (name, cut) in [("short", bytes.len() / 2), ("empty", 0)] {
        let bad = room.path().join(name);
        std::fs::create_dir(&bad).unwrap();
        std::fs::write(bad.join("log.sqlite"), &bytes[..cut]).unwrap();
        refused(restore(&bad, None), 1, &["log.sqlite"]);
    }
    std::fs::write(mirror.join("checkpoint"), "garbage").unwrap();
    refused(restore(&backup, Some(&mirror)), 78, &["checkpoint is not signed by this log's key"]);
    assert_eq!(nothing(), Vec::<String>::new());
}

#[test]
fn a_new_log_says_which_one_it_goes_on_from() {
    let room = tempfile::tempdir().unwrap();
    let data = init(room.path());
    let old = Reader::open(&data.join("log.sqlite")).unwrap();
    let note = room.path().join("head.note");
    std::fs::write(&note, old.latest_checkpoint().unwrap()).unwrap();
    let anew = |name: &str, note: &Path| {
        let mut init = program("init", &room.path().join(name));
        init.arg("--bundle").arg(room.path().join("bundle")).arg("--succeeds").arg(note).output().unwrap()
    };
    assert!(anew("anew", &note).status.success());
    let new = Reader::open(&room.path().join("anew/log.sqlite")).unwrap();
    let Event::LogCreated { succeeds: Some(before), origin, .. } = new.entry(0).unwrap().event else {
        panic!()
    };
    assert_ne!(&origin, old.origin());
    assert_eq!((&before.origin, before.note.as_str()), (old.origin(), &*old.latest_checkpoint().unwrap()));
    // An auditor who has the old log's key opens it.
    assert!(Checkpoint::open(&before.note, old.key(), old.origin()).is_ok());
    verifies(&room.path().join("anew"));
    for garbage in ["", "x\n1\n\n", "ca/0123456789abcdef\n1\nAAAA\n\n"] {
        std::fs::write(&note, garbage).unwrap();
        refused(anew("garbage", &note), 78, &["--succeeds"]);
    }
    assert!(!room.path().join("garbage").exists());
}
