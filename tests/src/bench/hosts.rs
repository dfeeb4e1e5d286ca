//! What a host costs: logins as a ratio to one with a plain key, how long a revocation takes, and a recording
//! that is flooded. Real ssh to real sshd on loopback, whole processes of client and server; the key exchange is
//! the quick one.

use std::time::Instant;

use fireaxe_protocol::host::Report;
use fireaxe_protocol::log::Event;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::{Claimed, Statement};

use super::recorder::{pour, told};
use super::summary::{Summary, quantile};
use crate::ca::Ca;
use crate::clock;
use crate::holder::Holder;
use crate::host::{Host, Login};
use crate::keys::KeyPair;
use crate::running::start;
use crate::scene::TIER_ACCOUNTS;
use crate::world::World;

/// Three hosts of one CA, set up in three ways.
pub struct Hosts {
    stock: Host,
    principals: Host,
    whole: Host,
    plain: Login,
}

impl Hosts {
    /// Enrols and applies; the CA serves.
    pub fn new(world: &World, ca: &Ca) -> Hosts {
        let [mut stock, mut principals, mut whole] =
            ["db-1.payments.prod", "db-2.payments.prod", "db-3.payments.prod"]
                .map(|name| world.host(name, "payments-db"));
        stock.enrol(ca);
        stock.start();
        stock.apply_with(&TIER_ACCOUNTS, &["--stock", "--no-self-test"]).ok();
        principals.set_up(ca, &TIER_ACCOUNTS);
        whole.set_up(ca, &TIER_ACCOUNTS);
        // The hook alone is taken out: sshd still asks the program.
        let pam = std::fs::read_to_string(principals.file("/etc/pam.d/sshd")).expect("pam.d/sshd");
        let (before, block) = pam.split_once("# fireaxe: begin").expect("a block");
        let (_, after) = block.split_once("# fireaxe: end").expect("its end");
        principals.put("/etc/pam.d/sshd", format!("{before}{after}"));
        let key = KeyPair::generate(&world.room("bench-keys"), "plain");
        stock.put("/home/deploy/.ssh/authorized_keys", key.public_line());
        Hosts { stock, principals, whole, plain: Login::Key(key.path().into()) }
    }

    /// `host.login_ratio.*`: medians of `rounds` logins of each kind, interleaved.
    pub fn logins(&self, figures: &mut Summary, ana: &Holder, ben: &Holder, rounds: usize) {
        let fix = ana.open("payments-db", None, Some(2));
        let root = ben.open("db-3.payments.prod", Some("pd:BENCH"), None);
        let kinds: [(&str, &Host, &Login, &str); 5] = [
            ("plain", &self.stock, &self.plain, "deploy"),
            ("stock", &self.stock, &fix.login, "ops"),
            ("principals", &self.principals, &fix.login, "ops"),
            ("hook", &self.whole, &fix.login, "ops"),
            ("session", &self.whole, &root.login, &root.account),
        ];
        let mut took: [Vec<f64>; 5] = Default::default();
        for round in 0..rounds + 2 {
            for ((_, host, login, account), took) in kinds.iter().zip(&mut took) {
                let began = clock::now();
                host.ssh(login, account, "true").ok();
                // The first rounds warm caches.
                if round >= 2 {
                    took.push(began.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let medians = took.each_mut().map(|took| quantile(took, 0.5));
        figures.put("host.login_ms.plain", medians[0]);
        for ((name, ..), median) in kinds.iter().zip(medians).skip(1) {
            figures.put(&format!("host.login_ratio.{name}"), median / medians[0]);
        }
        ana.close(&fix);
        ben.close(&root);
    }

    /// `host.revoke_list_ms`: from the request that closes to the list that revokes being where sshd reads it at
    /// each login. `host.revoke_dead_ms`: to the end of the client of a live session. `host.revoke_refused_ms`,
    /// in rounds of their own: to the end of the first login that is refused, while one login follows another.
    pub fn revocations(&self, figures: &mut Summary, ana: &Holder, rounds: usize) {
        let (mut list, mut dead, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let held = ana.open("db-3.payments.prod", None, Some(2));
            let mut live =
                start(self.whole.ssh_command(&held.login, "ops", &[]).arg("echo in; exec sleep 9999"));
            live.shows("in");
            let close = ana.sign_close(&held);
            let began = clock::now();
            let (version, since) = std::thread::scope(|scope| {
                let ended = scope.spawn(|| until(began, || !live.goes_on()));
                let version = close();
                let in_force = until(began, || self.whole.list_version().is_some_and(|has| has >= version));
                list.push(in_force);
                (version, ended.join().expect("the session's end"))
            });
            dead.push(since);
            assert_ne!(self.whole.ssh(&held.login, "ops", "true").code, 0, "list {version} does not refuse");
        }
        for _ in 0..rounds {
            let held = ana.open("db-3.payments.prod", None, Some(2));
            let close = ana.sign_close(&held);
            let logs_in = || self.whole.ssh(&held.login, "ops", "true").code == 0;
            assert!(logs_in(), "a good certificate is refused");
            let began = clock::now();
            refused.push(std::thread::scope(|scope| {
                let refused = scope.spawn(|| until(began, || !logs_in()));
                close();
                refused.join().expect("the logins")
            }));
        }
        for (name, samples) in [
            ("host.revoke_list_ms", &mut list),
            ("host.revoke_refused_ms", &mut refused),
            ("host.revoke_dead_ms", &mut dead),
        ] {
            figures.put(&format!("{name}.p50"), quantile(samples, 0.5));
            figures.put(&format!("{name}.p99"), quantile(samples, 0.99));
        }
    }

    /// `recorder.*`: a session that writes as fast as it can, not recorded, then recorded; what the host says of
    /// the recording.
    pub fn flood(&self, figures: &mut Summary, ca: &Ca, ben: &Holder, mib: u64) {
        let bytes = mib * 1024 * 1024;
        let plain = pour(self.stock.ssh_command(&self.plain, "deploy", &[]), bytes);
        figures.put("recorder.flood.unrecorded_mb_per_s", bytes as f64 / 1e6 / plain);
        let held = ben.open("db-3.payments.prod", Some("pd:BENCH"), None);
        let seconds = pour(self.whole.ssh_command(&held.login, &held.account, &[]), bytes);
        let closed = clock::wait_for(clock::LIMIT, || {
            ca.entries().into_iter().rev().find_map(|entry| {
                let Event::SessionClosed { by, .. } = entry.event else { return None };
                match Claimed::read(by.said).ok()?.statement() {
                    Statement::Report(words) => match &words.report {
                        Report::SessionClosed(closed) if closed.serial == held.serial => Some(closed.clone()),
                        _ => None,
                    },
                    _ => None,
                }
            })
        });
        let flood = told(Record::BestEffort, bytes, seconds, &closed.expect("the session's end in the log"));
        figures.put("recorder.flood.mb_per_s", flood.rate());
        figures.put("recorder.flood.ratio", flood.rate() * plain / (bytes as f64 / 1e6));
        figures.put("recorder.flood.recorded_mb", flood.recorded as f64 / 1e6);
        figures.put("recorder.flood.lost_marked_mb", flood.lost as f64 / 1e6);
        ben.close(&held);
    }
}

/// Milliseconds from `began` until `is`.
fn until(began: Instant, mut is: impl FnMut() -> bool) -> f64 {
    let limit = began + clock::LIMIT;
    while !is() {
        assert!(clock::now() < limit, "it never came to that");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    began.elapsed().as_secs_f64() * 1e3
}
