//! What one person can take of what all who are recorded share.

use super::*;
use crate::sink::places::Place;

/// A session of this person, on a connection that has no other.
fn of(person: &str, n: u16, record: Record) -> (Begun, Sender<Notice>) {
    let (mut begun, say) = begun(0, record);
    let mut name = [0; 16];
    name[..2].copy_from_slice(&n.to_be_bytes());
    (begun.connection, begun.run.recording) = (Nonce(name), Nonce(name));
    begun.person = Some(person.parse().unwrap());
    (begun, say)
}

/// All places that they can get.
fn all_places(scene: &Scene, person: &str, from: u16) -> (Vec<Place>, Reason) {
    let mut places = Vec::new();
    loop {
        let n = from + u16::try_from(places.len()).unwrap();
        match scene.sink.inner.place(&of(person, n, Record::Required).0) {
            Ok(place) => places.push(place),
            Err(reason) => return (places, reason),
        }
    }
}

fn alarms(scene: &Scene) -> Vec<Reason> {
    let said = std::mem::take(&mut *scene.heard.0.lock().unwrap());
    let alarm = |report| match report {
        Report::Alarmed(reason) => reason,
        other => panic!("{other:?}"),
    };
    said.into_iter().map(alarm).collect()
}

#[test]
fn one_person_takes_half_of_the_places_however_many_connections_they_have_and_others_are_recorded() {
    let scene = scene(plenty());
    let (mut anas, reason) = all_places(&scene, "ana", 0);
    assert_eq!((anas.len(), reason.code.as_str()), (AT_ONCE / 2, "recording.too_many"));
    assert!(reason.sentence.contains("end some"), "{}", reason.sentence);
    // In no tier: whoever fills their own places would go on unrecorded.
    for record in [Record::Required, Record::BestEffort] {
        let (begun, say) = of("ana", 1000, record);
        let (_, answer) = scene.asks_as(begun, say, None);
        assert!(matches!(answer, Answer::Refused(reason) if reason.code == "recording.too_many"));
    }
    let (begun, say) = of("ben", 1001, Record::Required);
    let (recorder, answer) = scene.asks_as(begun, say, None);
    assert!(matches!(answer, Answer::Run(_)));
    recorder.killed();
    anas.pop();
    assert!(scene.sink.inner.place(&of("ana", 1002, Record::Required).0).is_ok());
    assert_eq!(alarms(&scene), []);
}

#[test]
fn a_session_that_others_leave_no_place_is_refused_or_told_with_its_connection() {
    let scene = scene(plenty());
    let mut taken = Vec::new();
    for person in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        taken.extend(all_places(&scene, person, u16::try_from(taken.len()).unwrap()).0);
    }
    assert_eq!(taken.len(), AT_ONCE);
    alarms(&scene);
    for (n, record) in [(1000, Record::BestEffort), (1000, Record::BestEffort), (1000, Record::Required)] {
        let (begun, say) = of("ben", n, record);
        let (recorder, answer) = scene.asks_as(begun, say, None);
        match answer {
            Answer::Run(run) => assert_eq!((record, run.record), (Record::BestEffort, Record::None)),
            Answer::Refused(reason) => {
                assert_eq!((record, reason.code.as_str()), (Record::Required, "recording.no_place"));
            }
            other => panic!("{other:?}"),
        }
        recorder.killed();
    }
    let said = alarms(&scene);
    let [alarm] = &said[..] else { panic!("{said:?}") };
    assert!(alarm.sentence.contains(&of("ben", 1000, Record::None).0.connection.to_string()), "{alarm:?}");
    // Another that finds none is told, too; each once.
    let place = |n| scene.sink.inner.place(&of("ben", n, Record::Required).0).map_err(|reason| reason.code);
    assert_eq!([place(1001).err(), place(1001).err()], [(); 2].map(|()| Some("recording.no_place".into())));
    assert_eq!(alarms(&scene).len(), 1);
    taken.pop();
    assert!(place(1001).is_ok());
}

#[test]
fn one_person_takes_half_of_the_disk_that_others_leave_until_the_ca_has_it() {
    let scene = scene(plenty());
    let free = scene.sink.inner.room().unwrap().bytes;
    let begins = |person: &str, n| {
        let (begun, say) = of(person, n, Record::Required);
        let (mut recorder, answer) = scene.asks_as(begun, say, None);
        if matches!(answer, Answer::Run(_)) {
            recorder.stream.get_mut().write_all(&BEGUN).unwrap();
        }
        (recorder, answer)
    };
    let (recorder, _) = begins("ana", 1);
    let ended = recorder.over(Over::Exited(0)).recorded.unwrap().recording;
    let (mut runs, _) = begins("ana", 2);
    let (mut bens, _) = begins("ben", 3);
    // As if it had as much as is left: no disk of a test is filled for that.
    let person = Some("ana".parse().unwrap());
    scene.sink.inner.places.lock().unwrap().keep(ended, person, free * 2);
    let (_, answer) = begins("ana", 4);
    let Answer::Refused(reason) = answer else { panic!("{answer:?}") };
    assert_eq!(reason.code, "recording.too_much");
    assert!(reason.sentence.contains("wait until the CA"), "{}", reason.sentence);
    // One that runs is told, and the other's goes on.
    for recorder in [&mut runs, &mut bens] {
        for _ in 0..75 {
            recorder.says(0, Stream::Output, &[b'x'; 20_000]);
        }
    }
    let Some(Notice::Ends { why, .. }) = runs.line() else { panic!("no notice") };
    assert!(why.contains("of this person"), "{why}");
    let recorded = runs.over(Over::Exited(0)).recorded.unwrap();
    assert_eq!((recorded.bytes + recorded.lost, recorded.lost > 0), (1_500_000, true));
    assert_eq!(bens.over(Over::Exited(0)).recorded.unwrap().lost, 0);
    assert_eq!(alarms(&scene), []);
    scene.sink.shelf().remove(ended).unwrap();
    let (recorder, answer) = begins("ana", 5);
    assert!(matches!(answer, Answer::Run(_)), "what the CA has is nobody's any more");
    recorder.killed();
}

#[test]
fn many_small_recordings_of_one_person_leave_files_for_others() {
    let mut places = Places::default();
    let free = Free { bytes: u64::MAX / 4, files: Some(2000) };
    let (ana, ben) = ("ana".parse().unwrap(), "ben".parse().unwrap());
    /// One that is to begin.
    const NEW: Nonce = Nonce([255; 16]);
    let mut n = 0u128;
    while places.disk(NEW, Some(&ana), &free).is_ok() {
        places.keep(Nonce(n.to_be_bytes()), Some(ana.clone()), 0);
        n += 1;
        assert!(n < 5000);
    }
    // Two files each: as many are left as these are.
    assert_eq!(n, 999);
    let reason = places.disk(NEW, Some(&ana), &free).unwrap_err();
    assert_eq!(reason.code, "recording.too_many_kept");
    assert_eq!(places.disk(NEW, Some(&ben), &free), Ok(()));
    assert_eq!(places.disk(NEW, None, &free), Ok(()));
    // However many inodes there are.
    let free = Free { files: None, ..free };
    assert_eq!(places.disk(NEW, Some(&ana), &free), Ok(()));
    for n in 0..KEPT / 2 {
        places.keep(Nonce((n as u128).to_be_bytes()), Some(ana.clone()), 0);
    }
    assert!(places.disk(NEW, Some(&ana), &free).is_err() && places.disk(NEW, Some(&ben), &free).is_ok());
    // One that runs takes no file more.
    assert_eq!(places.disk(Nonce(1u128.to_be_bytes()), Some(&ana), &free), Ok(()));
}
