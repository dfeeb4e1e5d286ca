//! A case for each signal, at its edge and one past it; and that what is remembered stays bounded.

use fireaxe_protocol::log::Hash;

use super::world::{DAY, HOUR, How, Request, World, hotel, name, signed, usual};
use super::*;

#[test]
fn nobody_can_tell_what_is_usual_before_the_fifth_grant() {
    let mut world = World::new();
    world.days(4, 10);
    let signals = world.signals(&usual());
    assert_eq!((signals.unusual_hour, signals.new_network, signals.unusual_system), (None, None, None));
    world.days(1, 10);
    let signals = world.signals(&usual());
    let no = Some(false);
    assert_eq!((signals.unusual_hour, signals.new_network, signals.unusual_system), (no, no, no));
    assert_eq!(world.signals(&Request { person: "cleo", ..usual() }).unusual_hour, None, "another person");
}

#[test]
fn an_hour_is_usual_up_to_two_from_a_known_one_around_midnight_too() {
    let mut world = World::new();
    world.days(5, 23);
    for (hour, unusual) in
        [(20, true), (21, false), (22, false), (23, false), (24, false), (25, false), (26, true), (35, true)]
    {
        world.now = DAY + 86_400 * 10 + hour * HOUR + 3599;
        assert_eq!(world.signals(&usual()).unusual_hour, Some(unusual), "at {} h", hour % 24);
    }
    let mut world = World::new();
    world.days(5, 0);
    for (hour, unusual) in [(21, true), (22, false), (0, false), (2, false), (3, true)] {
        world.now = DAY + 86_400 * 10 + hour * HOUR;
        assert_eq!(world.signals(&usual()).unusual_hour, Some(unusual), "at {hour} h");
    }
}

#[test]
fn a_network_is_new_unless_something_was_granted_from_it() {
    let mut world = World::new();
    let hotel = Request { network: hotel(), ..usual() };
    world.days(5, 10);
    assert_eq!(world.signals(&hotel).new_network, Some(true));
    assert_eq!(world.signals(&usual()).new_network, Some(false));
    assert_eq!(world.signals(&Request { network: None, ..usual() }).new_network, None, "no network");
    world.declare(&hotel, How::Permit);
    assert_eq!(world.signals(&hotel).new_network, Some(false));
}

#[test]
fn declarations_without_a_network_teach_nothing_of_networks() {
    let mut world = World::new();
    world.days(4, 10);
    world.declare(&Request { network: None, ..usual() }, How::Permit);
    let signals = world.signals(&Request { network: hotel(), ..usual() });
    assert_eq!((signals.new_network, signals.unusual_system), (None, Some(false)), "four had one");
}

#[test]
fn a_system_is_unusual_unless_something_was_granted_for_it() {
    let mut world = World::new();
    let build = Request { system: "build".into(), ..usual() };
    world.days(5, 10);
    assert_eq!(world.signals(&build).unusual_system, Some(true));
    world.declare(&build, How::Permit);
    assert_eq!(world.signals(&build).unusual_system, Some(false));
}

#[test]
fn what_was_not_granted_teaches_nothing() {
    for how in [How::Refuse, How::Wait, How::WaitBare] {
        let mut world = World::new();
        world.days(5, 10);
        let strange = Request { key: 9, system: "build".into(), network: hotel(), ..usual() };
        let told = |world: &World| {
            let s = world.signals(&strange);
            [s.unusual_hour, s.new_network, s.new_key, s.unusual_system]
        };
        world.now += 86_400 + 12 * HOUR;
        let of = world.declare(&strange, how);
        assert_eq!(told(&world), [Some(true); 4], "{how:?}: asked for, not granted");
        // The certificate held meanwhile, for the same request.
        world.issue(of);
        assert_eq!(told(&world), [Some(true); 4], "{how:?}: held meanwhile");
        if how == How::Refuse {
            continue;
        }
        world.approve(6, of, ("ben", 3));
        assert_eq!(told(&world), [Some(true); 4], "{how:?}: one approval is no quorum");
        world.issue(of);
        assert_eq!(told(&world), [Some(false); 4], "{how:?}: granted");
    }
}

#[test]
fn approvals_of_a_request_that_was_decided_anew_grant_nothing() {
    let mut world = World::new();
    world.days(5, 10);
    let build = Request { system: "build".into(), ..usual() };
    let of = world.declare(&build, How::Wait);
    world.approve(6, of, ("ben", 3));
    let anew = world.redecide(6, &build, How::Wait);
    world.issue(anew);
    world.issue(of);
    assert_eq!(world.signals(&build).unusual_system, Some(true));
    assert_eq!(world.in_a_row("ana", "ben"), 1);
    world.approve(6, anew, ("cleo", 5));
    world.issue(anew);
    assert_eq!(world.signals(&build).unusual_system, Some(false));
    assert_eq!((world.in_a_row("ana", "ben"), world.in_a_row("ana", "cleo")), (1, 2));
}

#[test]
fn a_decision_anew_that_permits_grants_what_was_declared() {
    let mut world = World::new();
    world.days(5, 10);
    let build = Request { system: "build".into(), ..usual() };
    world.declare(&build, How::Wait);
    world.second(6, &build, ("ben", 4), How::Permit);
    assert_eq!(world.signals(&build).unusual_system, Some(false));
    // The key that seconded it is known with it.
    assert_eq!(world.signals(&Request { person: "ben", key: 3, ..usual() }).new_key, Some(true));
    assert_eq!(world.signals(&Request { person: "ben", key: 4, ..usual() }).new_key, Some(false));
}

#[test]
fn a_key_is_new_when_another_of_the_same_person_is_known() {
    let mut world = World::new();
    let other = Request { key: 2, ..usual() };
    assert_eq!(world.signals(&usual()).new_key, Some(false), "there is no other");
    world.declare(&usual(), How::Permit);
    assert_eq!(world.signals(&usual()).new_key, Some(false));
    assert_eq!(world.signals(&other).new_key, Some(true));
    assert_eq!(
        world.signals(&Request { person: "cleo", ..other.clone() }).new_key,
        Some(false),
        "not cleo's"
    );
    // Closing with it, or asking for more time in vain, makes it no better known.
    world.extend(1, &other, How::Wait);
    assert_eq!(world.signals(&other).new_key, Some(true));
    world.extend(1, &other, How::Permit);
    assert_eq!(world.signals(&other).new_key, Some(false));
}

#[test]
fn an_approver_s_key_is_known_once_what_they_approved_was_granted() {
    let mut world = World::new();
    let ben = |key| Request { person: "ben", key, ..usual() };
    world.declare(&ben(3), How::Permit);
    let of = world.declare(&usual(), How::Wait);
    world.approve(2, of, ("ben", 4));
    assert_eq!(world.signals(&ben(4)).new_key, Some(true));
    world.issue(of);
    assert_eq!(world.signals(&ben(4)).new_key, Some(false));
    assert_eq!(world.signals(&ben(7)).new_key, Some(true));
    world.activate(true, Activation::Admins(vec![signed(("ben", 7))]));
    assert_eq!(world.signals(&ben(7)).new_key, Some(false), "signed a bundle that is in force");
}

#[test]
fn the_rate_counts_declarations_of_the_hour_before_the_refused_ones_too() {
    let mut world = World::new();
    assert_eq!(world.signals(&usual()).declared_1h, 0);
    for how in [How::Permit, How::Refuse, How::Wait, How::WaitBare] {
        world.declare(&usual(), how);
    }
    assert_eq!(world.signals(&usual()).declared_1h, 4);
    assert_eq!(world.signals(&Request { person: "ben", ..usual() }).declared_1h, 0);
    world.now += HOUR;
    assert_eq!(world.signals(&usual()).declared_1h, 4, "at the edge");
    world.declare(&usual(), How::Permit);
    world.now += 1;
    assert_eq!(world.signals(&usual()).declared_1h, 1, "one past it");
}

#[test]
fn requests_that_wait_count_as_asked_and_a_decision_anew_does_not() {
    let mut world = World::new();
    world.declare(&usual(), How::Permit);
    world.declare(&usual(), How::Refuse);
    assert_eq!(world.signals(&usual()).asked_1h, 0, "woke nobody");
    world.declare(&usual(), How::Wait);
    world.second(2, &usual(), ("ben", 3), How::WaitBare);
    world.redecide(2, &usual(), How::Wait);
    world.extend(1, &usual(), How::Wait);
    assert_eq!(world.signals(&usual()).asked_1h, 3);
    assert_eq!(world.signals(&Request { person: "ben", ..usual() }).asked_1h, 0, "ana's, not the second's");
    world.now += HOUR;
    assert_eq!(world.signals(&usual()).asked_1h, 3, "at the edge");
    world.now += 1;
    assert_eq!(world.signals(&usual()).asked_1h, 0, "one past it");
}

#[test]
fn a_request_that_is_decided_anew_does_not_count_against_itself() {
    let mut world = World::new();
    world.declare(&usual(), How::Wait);
    world.now += HOUR;
    world.declare(&usual(), How::Wait);
    let counts = |signals: fireaxe_protocol::policy::Signals| (signals.declared_1h, signals.asked_1h);
    assert_eq!(counts(world.signals(&usual())), (2, 2), "a third");
    assert_eq!(counts(world.signals_anew(2, &usual())), (1, 1));
    world.second(2, &usual(), ("ben", 3), How::WaitBare);
    assert_eq!(counts(world.signals_anew(2, &usual())), (1, 1), "nor what its second signature asked");
    world.now += 1;
    assert_eq!(counts(world.signals_anew(1, &usual())), (1, 2), "out of the hour it is not counted anyway");
    world.extend(2, &usual(), How::Wait);
    assert_eq!(counts(world.signals(&usual())), (1, 3));
    assert_eq!(counts(world.signals_anew(2, &usual())), (1, 2), "of an extension only its own asking");
}

#[test]
fn never_used_takes_three_closings_in_a_row_by_the_person_themselves() {
    let mut world = World::new();
    let closes = |world: &mut World, by: &str, uses| {
        world.declare(&usual(), How::Permit);
        world.close(world.declared, by, uses);
        world.signals(&usual()).never_used
    };
    assert_eq!(closes(&mut world, "ana", Some(0)), None);
    assert_eq!(closes(&mut world, "ana", Some(0)), None, "two");
    assert_eq!(closes(&mut world, "ben", Some(0)), None, "closed by somebody else");
    assert_eq!(closes(&mut world, "ana", None), None, "nothing said of uses");
    assert_eq!(closes(&mut world, "ana-2", Some(0)), Some(true), "three, one under another name");
    assert_eq!(closes(&mut world, "ana", None), Some(true), "nothing said changes nothing");
    assert_eq!(closes(&mut world, "ana", Some(1)), Some(false));
    assert_eq!(closes(&mut world, "ana", Some(0)), Some(false));
    assert_eq!(closes(&mut world, "ana", Some(0)), Some(false));
    assert_eq!(closes(&mut world, "ana", Some(0)), Some(true), "three again");
}

#[test]
fn what_could_not_be_used_does_not_count_as_unused() {
    let mut world = World::new();
    for drill in [true, false] {
        for _ in 0..4 {
            world.declare(&Request { drill, ..usual() }, How::WaitBare);
            world.close(world.declared, "ana", Some(0));
        }
    }
    assert_eq!(world.signals(&usual()).never_used, None, "nothing given");
    for (how, drill) in [(How::Permit, true), (How::Wait, false)] {
        world.declare(&Request { drill, ..usual() }, how);
        world.close(world.declared, "ana", Some(0));
    }
    let of = world.declare(&usual(), How::WaitBare);
    world.approve(world.declared, of, ("ben", 3));
    world.issue(of);
    world.close(world.declared, "ana", Some(0));
    assert_eq!(
        world.signals(&usual()).never_used,
        Some(true),
        "given at once in a rehearsal, meanwhile and by approval"
    );
}

#[test]
fn a_rehearsal_teaches_nothing_but_counts_in_the_hour() {
    let mut world = World::new();
    for _ in 0..6 {
        world.declare(&Request { drill: true, ..usual() }, How::Permit);
    }
    let signals = world.signals(&Request { key: 2, ..usual() });
    assert_eq!((signals.unusual_hour, signals.new_key, signals.declared_1h), (None, Some(false), 6));
    let of = world.declare(&Request { drill: true, ..usual() }, How::Wait);
    world.approve(7, of, ("ben", 3));
    world.issue(of);
    assert_eq!((world.in_a_row("ana", "ben"), world.signals(&usual()).asked_1h), (1, 1));
}

#[test]
fn a_pair_is_the_same_approver_for_granted_requests_in_a_row() {
    let mut world = World::new();
    assert_eq!(world.in_a_row("ana", "ben"), 1, "this one alone");
    world.approved("ana", &[("ben", 3)]);
    world.approved("ana", &[("cleo", 5), ("ben", 3)]);
    assert_eq!((world.in_a_row("ana", "ben"), world.in_a_row("ana", "cleo")), (3, 2));
    assert_eq!(world.in_a_row("cleo", "ben"), 1, "another requester");
    world.days(1, 10);
    assert_eq!(world.in_a_row("ana", "ben"), 3, "what needed nobody does not break the row");
    let of = world.declare(&usual(), How::Wait);
    world.approve(world.declared, of, ("cleo", 5));
    assert_eq!((world.in_a_row("ana", "ben"), world.in_a_row("ana", "cleo")), (3, 2), "no quorum yet");
    world.issue(of);
    assert_eq!((world.in_a_row("ana", "ben"), world.in_a_row("ana", "cleo")), (1, 3));
    for _ in 0..20 {
        world.approved("ana", &[("ben", 3)]);
    }
    assert_eq!(world.in_a_row("ana", "ben"), 17, "as far as it is kept");
}

#[test]
fn an_approver_is_counted_by_what_they_gave_and_how_often_they_were_called() {
    let mut world = World::new();
    let of = world.declare(&usual(), How::Wait);
    world.call(&["ben", "ben-2", "cleo"]);
    world.approve(1, of, ("ben-2", 4));
    let told = |world: &World, who: &str| {
        let (roster, who) = (&world.bundle.roster, name(who));
        let history = &world.history;
        (history.approvals_1h(roster, &who, world.now), history.asked_of_1h(roster, &who, world.now))
    };
    assert_eq!(told(&world, "ben"), (1, 1), "one person, called once under two names");
    assert_eq!(told(&world, "ben-2"), (1, 1));
    assert_eq!(told(&world, "cleo"), (0, 1));
    world.now += HOUR;
    assert_eq!(told(&world, "ben"), (1, 1), "at the edge");
    world.now += 1;
    assert_eq!(told(&world, "ben"), (0, 0), "one past it");
}

#[test]
fn the_last_five_emergencies_newest_first_and_those_before_one() {
    let mut world = World::new();
    let numbers = |recent: Vec<RecentUse>| recent.iter().map(|r| r.emergency.0).collect::<Vec<u64>>();
    for n in 1..=7 {
        let person = if n % 2 == 0 { "ana-2" } else { "ana" };
        world.declare(&Request { person, ..usual() }, How::Permit);
        world.declare(&usual(), How::Refuse);
    }
    let (roster, ana) = (&world.bundle.roster, name("ana"));
    assert_eq!(numbers(world.history.recent(&ana, roster)), [7, 6, 5, 4, 3]);
    let before = world.history.recent_before(EmergencyId(7), &ana, roster);
    assert_eq!(numbers(before.clone()), [6, 5, 4, 3, 2]);
    let first = before.first().unwrap();
    assert_eq!((first.at, first.system.as_str()), (DAY, "payments-db"));
    assert_eq!(first.tier.as_ref().unwrap().as_str(), "look");
    assert!(world.history.recent(&name("cleo"), roster).is_empty());
}

#[test]
fn aliases_are_one_person_by_the_roster_of_the_moment() {
    let mut world = World::new();
    world.activate(false, Activation::Init);
    let (ben, second) = (Request { person: "ben", ..usual() }, Request { person: "ben-2", ..usual() });
    for _ in 0..3 {
        world.declare(&ben, How::Permit);
        world.declare(&second, How::Permit);
    }
    assert_eq!((world.signals(&ben).declared_1h, world.signals(&ben).unusual_hour), (3, None), "two people");
    world.activate(true, Activation::Init);
    for request in [&ben, &second] {
        let signals = world.signals(request);
        assert_eq!((signals.declared_1h, signals.unusual_hour), (6, Some(false)), "one, found out later");
    }
    world.activate(false, Activation::Init);
    assert_eq!(world.signals(&ben).declared_1h, 3, "and two again");
}

#[test]
fn a_name_that_one_bundle_did_not_have_is_forgotten_at_the_next() {
    let mut world = World::new();
    world.declare(&Request { person: "dan", ..usual() }, How::Permit);
    world.declare(&usual(), How::Permit);
    assert_eq!(world.signals(&Request { person: "dan", ..usual() }).declared_1h, 1);
    world.activate(true, Activation::Init);
    assert_eq!(world.signals(&Request { person: "dan", ..usual() }).declared_1h, 0);
    assert_eq!(world.signals(&usual()).declared_1h, 1);
}

#[test]
fn an_emergency_that_is_over_leaves_nothing_open() {
    let mut world = World::new();
    world.days(9, 10);
    let before = world.history.open_held();
    assert_eq!(before, 0);
    for _ in 0..3 {
        let of = world.declare(&usual(), How::Wait);
        world.approve(world.declared, of, ("ben", 3));
        world.approve(world.declared, Hash::of(b"another request of it"), ("ben", 3));
        world.extend(world.declared, &usual(), How::Wait);
        let of = world.redecide(world.declared, &usual(), How::Wait);
        world.approve(world.declared, of, ("cleo", 5));
        assert!(world.history.open_held() > 0);
        world.expire(world.declared);
        assert_eq!(world.history.open_held(), 0);
        // What comes late is about nothing.
        world.approve(world.declared, of, ("ben", 3));
        world.issue(of);
        world.extend(world.declared, &usual(), How::Permit);
        world.close(world.declared, "ana", Some(0));
        assert_eq!(world.history.open_held(), 0);
    }
    assert_eq!(world.in_a_row("ana", "ben"), 1);
}

#[test]
fn what_is_kept_of_a_person_is_bounded_and_the_oldest_goes() {
    use super::past::{KEYS, NETWORKS, PER_HOUR, RECENT, SYSTEMS};
    let mut world = World::new();
    let most = 1 + KEYS + NETWORKS + SYSTEMS + 4 * PER_HOUR + UNUSED + RECENT + 2 * GRANTED;
    for n in 0u32..1200 {
        let network = Some(format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap());
        let key = u8::try_from(n % 200).unwrap();
        let of =
            world.declare(&Request { system: format!("system-{n}"), network, key, ..usual() }, How::Wait);
        world.approve(world.declared, of, ("ana", 1));
        world.call(&["ana"]);
        world.issue(of);
        world.close(world.declared, "ana", Some(0));
        assert!(world.history.held() <= most, "{} after {n}", world.history.held());
    }
    assert_eq!(world.history.held(), most);
    // What was noted last is still known, the oldest no longer.
    for (n, unusual) in [(1199, false), (1199 - 63, false), (1199 - 64, true)] {
        let system = format!("system-{n}");
        assert_eq!(world.signals(&Request { system, ..usual() }).unusual_system, Some(unusual), "{n}");
    }
    assert_eq!(world.signals(&usual()).declared_1h, u32::try_from(PER_HOUR).unwrap());
}
