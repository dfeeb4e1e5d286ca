//! What the operator sees when `serve` cannot start or cannot go on: a plain error, the next command, an
//! exit code, never a panic.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fireaxe-ca");

fn data() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = installed::init(dir.path());
    (dir, data)
}

fn serve(data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command
}

/// In a mount namespace of its own, after `script`; the machine's mounts stay as they are.
fn in_mounts(script: &str, data: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = format!("set -e; {script}; exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\"");
    command.args(["--mount", "sh", "-c", &script, PROGRAM]).arg(data);
    command
}

/// Waits with a limit.
#[allow(clippy::disallowed_methods, reason = "a limit on waiting for another process")]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Running(Child);

impl Running {
    fn start(mut command: Command, socket: impl Fn(u32) -> PathBuf) -> Running {
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let socket = socket(child.id());
        let mut running = Running(child);
        wait_for("the operator's socket", || {
            assert!(running.0.try_wait().unwrap().is_none(), "it ended");
            std::os::unix::net::UnixStream::connect(&socket).ok()
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it to its own end, which must come.
fn ended(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("its end", || child.try_wait().unwrap());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn refused(ran: &Output, code: i32, says: &str) {
    let text = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(code), "{text}");
    assert!(text.contains("error: ") && text.contains("next:  "), "{text}");
    assert!(text.contains(says), "{says}: {text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn no_ca_there() {
    let dir = tempfile::tempdir().unwrap();
    refused(&ended(serve(dir.path())), 1, "fireaxe-ca init --data");
    refused(&ended(serve(&dir.path().join("nowhere"))), 1, "fireaxe-ca init --data");
    for command in [["log", "verify"].as_slice(), &["krl"]] {
        let mut other = Command::new(PROGRAM);
        other.args(command).arg("--data").arg(dir.path());
        refused(&ended(other), 1, "there is no CA");
    }
    let mut put = Command::new(PROGRAM);
    put.args(["incident", "put", "pd:X", "-s", "1", "--system", "build", "--data"]).arg(dir.path());
    refused(&ended(put), 69, "no CA is running");
}

#[test]
fn the_port_is_taken() {
    let (_dir, data) = data();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", &taken.local_addr().unwrap().to_string(), "--data"]).arg(&data);
    let ran = ended(command);
    let text = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{text}");
    assert!(text.contains("another program has the port") && text.contains("--listen"), "{text}");
    assert!(!data.join("operator.sock").exists(), "nothing is left behind");
}

#[test]
fn a_second_one_on_the_same_data() {
    let (_dir, data) = data();
    let running = Running::start(serve(&data), |_| data.join("operator.sock"));
    refused(&ended(serve(&data)), 1, "stop the other fireaxe-ca");
    let mut health = Command::new(PROGRAM);
    health.args(["doctor", "--data"]).arg(&data);
    assert!(ended(health).status.success(), "the first goes on, its socket too");
    drop(running);
    // Killed, not stopped: the lock went with it.
    drop(Running::start(serve(&data), |_| data.join("operator.sock")));
}

#[test]
fn a_log_of_another_kind() {
    let says = |make: &dyn Fn(&Path), says: &str| {
        let (_dir, data) = data();
        make(&data.join("log.sqlite"));
        refused(&ended(serve(&data)), 1, says);
    };
    says(&|log| fs::write(log, [0x5a; 8192]).unwrap(), "not a Fireaxe log");
    says(&|log| fs::write(log, b"").unwrap(), "no first entry");
    says(
        &|log| rusqlite::Connection::open(log).unwrap().pragma_update(None, "user_version", 99).unwrap(),
        "schema 99",
    );
    says(
        &|log| {
            let file = fs::OpenOptions::new().write(true).open(log).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        },
        "damaged",
    );
    says(
        &|log| {
            let database = rusqlite::Connection::open(log).unwrap();
            database
                .execute(
                    "UPDATE entry SET bytes = CAST(replace(CAST(bytes AS TEXT), 'init', 'tini') AS BLOB)",
                    [],
                )
                .unwrap();
        },
        "log verify",
    );
    says(
        &|log| {
            let database = rusqlite::Connection::open(log).unwrap();
            database.execute("DELETE FROM entry WHERE idx = (SELECT max(idx) FROM entry)", []).unwrap();
        },
        "damaged",
    );
}

#[test]
fn keys_that_are_not_the_logs_own() {
    for name in ["user-ca", "log", "krl"] {
        let ((_one, data), (_two, other)) = (data(), data());
        fs::copy(other.join("keys").join(name), data.join("keys").join(name)).unwrap();
        refused(&ended(serve(&data)), 78, "entry 0 pins");
        let mut doctor = Command::new(PROGRAM);
        doctor.args(["doctor", "--data"]).arg(&data);
        let ran = ended(doctor);
        assert!(String::from_utf8_lossy(&ran.stderr).contains("entry 0 pins"), "{name}");
    }
}

#[test]
fn keys_that_are_gone_broken_or_exposed() {
    for name in ["user-ca", "log", "krl", "tls"] {
        let (_dir, data) = data();
        let key = data.join("keys").join(name);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        refused(&ended(serve(&data)), 78, "may be read by others");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, b"no key").unwrap();
        refused(&ended(serve(&data)), 78, name);
        fs::remove_file(&key).unwrap();
        refused(&ended(serve(&data)), 78, name);
    }
}

#[test]
fn a_read_only_disk() {
    let (_dir, data) = data();
    let script = "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"";
    refused(&ended(in_mounts(script, &data)), 1, "cannot be written");
}

#[test]
fn a_full_disk_is_refused_until_there_is_room_again() {
    let (_dir, data) = data();
    let script =
        "cp -a \"$1\" \"$1.copy\"; mount -t tmpfs -o size=1m none \"$1\"; cp -a \"$1.copy/.\" \"$1\"";
    let inside = |id: u32| PathBuf::from(format!("/proc/{id}/root{}", data.display()));
    let running = Running::start(in_mounts(script, &data), |id| inside(id).join("operator.sock"));
    let inside = inside(running.0.id());
    let put = || {
        let mut command = Command::new(PROGRAM);
        command.args(["incident", "put", "pd:X", "-s", "1", "--system", "build", "--data"]).arg(&inside);
        ended(command)
    };
    assert!(put().status.success());
    let filler = inside.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|n| n > 0) {}

    let mut kept = 1;
    let full = loop {
        let ran = put();
        if !ran.status.success() {
            break ran;
        }
        kept += 1;
        assert!(kept < 500, "a full disk stops it some time");
    };
    refused(&full, 69, "log.unavailable");
    drop(file);
    fs::remove_file(&filler).unwrap();
    wait_for("room", || put().status.success().then_some(()));
    // From within: SQLite resolves a path through /proc to what lies there outside.
    let mut verify = Command::new("nsenter");
    if !rustix::process::getuid().is_root() {
        verify.args(["--user", "--preserve-credentials"]);
    }
    verify.args(["--mount", "--target", &running.0.id().to_string(), PROGRAM]);
    verify.args(["log", "verify", "--json", "--data"]).arg(&data);
    let ran = ended(verify);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    // log.created, two blobs, bundle.activated; then what was acknowledged and nothing else.
    assert_eq!(told["entries"], 4 + kept + 1, "{told}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let (dir, data) = data();
    for args in [vec!["log", "verify", "--json", "--data"], vec!["krl", "--data"], vec!["policy", "check"]] {
        let last = if args[0] == "policy" { dir.path().join("bundle") } else { data.clone() };
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = Command::new(PROGRAM).args(&args).arg(last).stdout(full).output().unwrap();
        let text = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{args:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}
