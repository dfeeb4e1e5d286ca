//! What this machine can do at all, measured in the same run: the figures to hold ours against.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};

use super::summary::{Summary, quantile};
use crate::clock;

/// Measures for about this long each.
const WINDOW: Duration = Duration::from_millis(800);

/// Records all `limit.*` figures that need no server. `folder` is on the disk that the log is on.
pub fn measure(summary: &mut Summary, folder: &Path) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [42u8; 512];
    let signature = key.sign(&message);
    let verifying = key.verifying_key();
    let per_s = rate(|| {
        assert!(verifying.verify_strict(&message, &signature).is_ok());
        std::hint::black_box(key.sign(&message));
    });
    summary.put("limit.verify_sign.per_s", per_s);

    let mut file = File::create(folder.join("fdatasync")).expect("file");
    let mut syncs = Vec::new();
    for _ in 0..400 {
        let start = clock::now();
        file.write_all(&message).expect("write");
        file.sync_data().expect("fdatasync");
        syncs.push(start.elapsed().as_secs_f64() * 1e6);
    }
    summary.put("limit.fdatasync_us.p50", quantile(&mut syncs, 0.5));

    for (rows, name) in [(1, "limit.sqlite_commit.per_s"), (64, "limit.sqlite_rows64.per_s")] {
        let path = folder.join(format!("commit-{rows}.sqlite"));
        let database = rusqlite::Connection::open(path).expect("database");
        database
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE row (id INTEGER PRIMARY KEY, bytes BLOB);",
            )
            .expect("schema");
        let per_s = rate(|| {
            database.execute_batch("BEGIN IMMEDIATE").expect("begin");
            for _ in 0..rows {
                let mut insert = database.prepare_cached("INSERT INTO row (bytes) VALUES (?1)").expect("sql");
                insert.execute([&message[..]]).expect("insert");
            }
            database.execute_batch("COMMIT").expect("commit");
        });
        summary.put(name, per_s * f64::from(rows));
    }
}

fn rate(mut work: impl FnMut()) -> f64 {
    let start = clock::now();
    let mut done = 0u32;
    while start.elapsed() < WINDOW {
        work();
        done += 1;
    }
    f64::from(done) / start.elapsed().as_secs_f64()
}
