//! What another process used: CPU time and resident memory, from `/proc` (proc_pid_stat(5)).

use std::fs;
use std::time::Duration;

/// CPU time of all threads of `pid` so far, user and system.
pub fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold blanks; the fields after it do not. utime and stime are fields 14 and 15.
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux that Rust's standard library supports.
    Duration::from_millis(ticks * 10)
}

/// `VmRSS` (now) or `VmHWM` (peak) of `pid`, MiB.
pub fn memory(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib: f64 = line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}
