//! The client as a person runs it: whole processes, a software key, the CA on loopback.

use std::process::Stdio;

use super::summary::quantile;
use crate::clock;
use crate::engineer::Engineer;

/// Median of `fireaxe open` to the certificate in the agent, milliseconds. Each is closed again, outside
/// the measure: with others held for the same host, `open` first asks the CA whether they still live.
pub fn open_ms(engineer: &Engineer, target: &str, times: usize) -> f64 {
    let mut samples = Vec::new();
    for _ in 0..times {
        let start = clock::now();
        fireaxe(engineer, &["open", target, "-s", "2", "-r", "bench"]);
        samples.push(start.elapsed().as_secs_f64() * 1e3);
        engineer.fireaxe(&["close"]).ok();
    }
    quantile(&mut samples, 0.5)
}

/// Median of `fireaxe match` with a live certificate, milliseconds.
pub fn match_ms(engineer: &Engineer, host: &str, account: &str, times: usize) -> f64 {
    let mut samples = Vec::new();
    for _ in 0..times {
        let start = clock::now();
        fireaxe(engineer, &["match", host, account]);
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    quantile(&mut samples, 0.5)
}

/// As [`Engineer::fireaxe`], but its end is noticed at once: that one looks every 5 ms.
fn fireaxe(engineer: &Engineer, args: &[&str]) {
    let program = engineer.world().programs().ours("fireaxe");
    let done = engineer.command(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).output();
    let done = done.expect("fireaxe");
    assert!(done.status.success(), "fireaxe {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}
