//! Three hosts with addresses of their own. One is cut off from the CA while something is revoked: the others
//! refuse it at once and say so, that one refuses what needs a fresh list once its own is too old, and catches up
//! when it is back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::time::Duration;

use fireaxe_protocol::api::Reach;
use fireaxe_tests::holder::{Held, Holder};
use fireaxe_tests::scene::{COLLEAGUES, TIER_ACCOUNTS, default_policy};
use fireaxe_tests::{Ca, Host, World, clock};

/// The shortest that a policy can set.
const FRESH: &str = "krl_max_age = \"60s\"";

/// The default policy, its tier fix refused by a host that has not heard of revocations for a minute.
fn policy() -> String {
    let fix = "account = \"ops\"\nextensions = [\"pty\"]\nttl = \"30m\"\n";
    let policy = default_policy();
    assert!(policy.contains(fix), "{policy}");
    policy.replacen(fix, &format!("{fix}{FRESH}\n"), 1)
}

fn opens(host: &Host, held: &Held) -> bool {
    host.ssh(&held.login, &held.account, "true").code == 0
}

#[track_caller]
fn reach(ca: &Ca, is: impl Fn(&Reach) -> bool) {
    let seen = clock::wait_for(clock::LIMIT, || ca.fleet().revocation.filter(|reach| is(reach)));
    assert!(seen.is_some(), "{:?}", ca.fleet());
}

#[test]
fn a_host_that_is_cut_off_refuses_what_needs_a_fresh_list_and_catches_up_when_it_is_back() {
    let world = World::new();
    let network = world.network();
    let (ana, ben) = (world.engineer("ana"), world.engineer("ben"));
    let people: [(&_, &[&str]); 2] =
        [(&ana, &["payments", "payments-oncall", "sre"]), (&ben, &["sre", "sre-leads", "security", "audit"])];
    let mut ca = world.ca(&world.bundle(&policy(), &people, COLLEAGUES));
    ca.start();
    ana.enrol(&ca);
    ben.enrol(&ca);
    let [db_3, db_4, db_5] = ["db-3.payments.prod", "db-4.payments.prod", "db-5.payments.prod"].map(|name| {
        let mut host = network.host(name, "payments-db");
        host.set_up(&ca, &TIER_ACCOUNTS);
        host
    });
    let all = [&db_3, &db_4, &db_5];

    // Everybody is there.
    let fix = Holder::new(&ana, &ca).open("payments-db", None, Some(2));
    let look = Holder::new(&ben, &ca).open("payments-db", None, Some(3));
    assert_eq!((fix.account.as_str(), look.account.as_str()), ("ops", "look"));
    for host in all {
        assert!(opens(host, &fix) && opens(host, &look), "{}", host.name());
    }
    let view = ca.fleet();
    assert!(view.hosts.len() == 3 && view.hosts.iter().all(|host| host.following), "{view:?}");

    // One is cut off from the CA, not from people; then fix is revoked.
    db_5.cut_off_from_the_ca();
    let version = Holder::new(&ana, &ca).close(&fix);
    for host in [&db_3, &db_4] {
        host.comes_to_have_list(version);
        assert!(!opens(host, &fix) && opens(host, &look), "{}", host.name());
    }
    reach(&ca, |reach| {
        reach.confirmed == 2 && reach.stale.iter().map(|host| host.as_str()).eq(["db-5.payments.prod"])
    });
    // It cannot know. What bounds this is the age of its list.
    assert!(db_5.list_version().is_some_and(|has| has < version));
    let refused = clock::wait_for(Duration::from_secs(150), || {
        std::thread::sleep(Duration::from_secs(1));
        (!opens(&db_5, &fix)).then_some(())
    });
    assert!(refused.is_some(), "a list that is too old still opens fix:\n{}", db_5.syslog());
    assert!(db_5.syslog().contains("login.stale_list"), "{}", db_5.syslog());
    // Look does not need a fresh list.
    assert!(opens(&db_5, &look));

    // It is back.
    db_5.reconnect();
    db_5.comes_to_have_list(version);
    assert!(!opens(&db_5, &fix) && opens(&db_5, &look));
    db_5.logs("revoked by file /etc/ssh/fireaxe_revoked_keys");
    reach(&ca, |reach| (reach.hosts, reach.confirmed, reach.stale.len()) == (3, 3, 0));
    ca.verifies();
    drop((db_3, db_4, db_5, ca, network));
}
