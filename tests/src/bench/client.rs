//! The client as a person runs it: whole processes, a software key, the CA on loopback.

use super::summary::quantile;
use crate::clock;
use crate::engineer::Engineer;

/// Median of `fireaxe open` to the certificate in the agent, milliseconds. Each is closed again, outside
/// the measure: with others held for the same host, `open` first asks the CA whether they still live.
pub fn open_ms(engineer: &Engineer, target: &str, times: usize) -> f64 {
    let mut samples = Vec::new();
    for _ in 0..times {
        let start = clock::now();
        engineer.fireaxe(&["open", target, "-s", "2", "-r", "bench"]).ok();
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
        engineer.fireaxe(&["match", host, account]).ok();
        samples.push(start.elapsed().as_secs_f64() * 1e3);
    }
    quantile(&mut samples, 0.5)
}
