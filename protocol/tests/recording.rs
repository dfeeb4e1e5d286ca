//! Recordings: whatever is cut, changed, left out, put in or put elsewhere is found; a picture of one holds
//! what was shown, and nothing that an auditor's terminal would obey.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use fireaxe_protocol::host::Recorded;
use fireaxe_protocol::limits;
use fireaxe_protocol::recording::{
    Body, Chain, Chunk, Ended, Event, Header, RecordingError, SessionKind, Size, Stream, Writer, cast,
};
use fireaxe_protocol::statement::Nonce;
use proptest::prelude::*;

fn header() -> Header {
    Header {
        v: 1,
        recording: Nonce([7; 16]),
        connection: Nonce([8; 16]),
        serial: 1234,
        host: "db-3.payments.prod".parse().unwrap(),
        account: "root".parse().unwrap(),
        from: Some("192.0.2.7".parse().unwrap()),
        began_us: 1_790_000_000_000_000,
        kind: SessionKind::Shell,
        command: None,
        asked: None,
        terminal: Some(Size { term: "xterm".into(), columns: 80, rows: 24 }),
        sealed: Vec::new(),
    }
}

fn event(offset_us: u64, stream: Stream, bytes: &[u8]) -> Event {
    Event { offset_us, stream, bytes: bytes.to_vec() }
}

/// The chunks of a recording with these events, each list a chunk.
fn recorded(data: &[Vec<Event>]) -> (Vec<Vec<u8>>, Recorded) {
    let (mut writer, first) = Writer::begin(header());
    let mut chunks = vec![first];
    chunks.extend(data.iter().map(|events| writer.data(events.clone())));
    let (last, recorded) = writer.end(Ended::Exited(0), 9_000_000);
    chunks.push(last);
    (chunks, recorded)
}

fn some() -> (Vec<Vec<u8>>, Recorded) {
    recorded(&[
        vec![event(10, Stream::Output, b"$ "), event(500, Stream::Output, b"id\r\n")],
        vec![Event::resize(1000, 100, 30), event(1500, Stream::Notice, b"ends in 5 min")],
        vec![Event::lost(2000, 77), event(2500, Stream::Error, b"no\n"), event(2600, Stream::Input, b"data")],
    ])
}

fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let streams = prop_oneof![Just(Stream::Output), Just(Stream::Error), Just(Stream::Input)];
    let event = (0..9_000_000u64, streams, proptest::collection::vec(any::<u8>(), 1..200))
        .prop_map(|(offset_us, stream, bytes)| Event { offset_us, stream, bytes });
    proptest::collection::vec(proptest::collection::vec(event, 1..5), 0..6)
}

#[test]
fn a_recording_is_read_back_and_comes_to_what_its_writer_said() {
    let (chunks, expected) = some();
    let mut chain = Chain::default();
    let read = chain.all(&chunks.concat()).unwrap();
    assert_eq!(read.len(), 5);
    assert_eq!(chain.recorded(), Some(expected.clone()));
    assert_eq!(chain.header(), Some(&header()));
    assert_eq!(chain.end().unwrap().how, Ended::Exited(0));
    assert_eq!((expected.chunks, expected.bytes, expected.lost), (5, 2 + 4 + 3 + 4, 77));
    assert_eq!(expected.head, Chunk::hash(&chunks[4]));
}

#[test]
fn a_chunk_left_out_doubled_or_moved_is_refused_and_changes_nothing() {
    let (chunks, expected) = some();
    let mut chain = Chain::default();
    chain.all(&chunks[..2].concat()).unwrap();
    let before = chain.clone();
    assert_eq!(chain.next(&chunks[3]), Err(RecordingError::Seq { expected: 2, found: 3 }));
    assert_eq!(chain.next(&chunks[1]), Err(RecordingError::Seq { expected: 2, found: 1 }));
    assert_eq!(
        chain.all(&[&chunks[2][..], &chunks[4]].concat()),
        Err(RecordingError::Seq { expected: 3, found: 4 })
    );
    assert_eq!(chain.all(&chunks[2][..chunks[2].len() - 1]), Err(RecordingError::Cut));
    assert_eq!(chain, before, "what is refused leaves no trace");
    chain.all(&chunks[2..].concat()).unwrap();
    assert_eq!(chain.recorded(), Some(expected));
    assert_eq!(chain.next(&chunks[4]), Err(RecordingError::AfterEnd));
}

#[test]
fn a_chunk_of_another_recording_does_not_continue_this_one() {
    let (chunks, _) = some();
    let (others, _) =
        recorded(&[vec![event(10, Stream::Output, b"other")], vec![event(11, Stream::Output, b"more")]]);
    let mut chain = Chain::default();
    chain.all(&chunks[..2].concat()).unwrap();
    let other = Chunk::read(&others[2]).unwrap().unwrap().0;
    assert_eq!((other.seq, chain.next(&others[2])), (2, Err(RecordingError::Before(2))));
    assert_eq!(Chain::default().next(&chunks[1]), Err(RecordingError::Seq { expected: 0, found: 1 }));
    let data = Body::Data(vec![event(1, Stream::Output, b"x")]);
    let headless = Chunk { seq: 0, before: fireaxe_protocol::log::Hash([0; 32]), body: data };
    assert_eq!(Chain::default().next(&headless.write()), Err(RecordingError::Order(0)));
}

#[test]
fn time_does_not_go_back_and_totals_must_be_true() {
    let (mut writer, first) = Writer::begin(header());
    let data = writer.data(vec![event(50, Stream::Output, b"a"), event(20, Stream::Output, b"b")]);
    let Body::Data(read) = Chunk::read(&data).unwrap().unwrap().0.body else { panic!("data") };
    assert_eq!(read[1].offset_us, 50, "the writer dates what is late like the last");
    let mut chain = Chain::default();
    chain.all(&[&first[..], &data].concat()).unwrap();
    let forged = |body| Chunk { seq: 2, before: chain.recorded().unwrap().head, body }.write();
    let early = forged(Body::Data(vec![event(49, Stream::Output, b"c")]));
    assert_eq!(chain.clone().next(&early), Err(RecordingError::Time(2)));
    let (last, _) = writer.end(Ended::Signalled(9), 60);
    let Body::End(mut end) = Chunk::read(&last).unwrap().unwrap().0.body else { panic!("end") };
    end.totals.output += 1;
    assert_eq!(chain.clone().next(&forged(Body::End(end))), Err(RecordingError::Totals));
    assert!(chain.next(&last).unwrap().is_some());
}

#[test]
fn a_recording_that_stopped_can_be_closed_where_it_stopped() {
    let (chunks, _) = some();
    let mut chain = Chain::default();
    chain.all(&chunks[..3].concat()).unwrap();
    let (last, recorded) = chain.resume().unwrap().end(Ended::Restarted, 0);
    chain.all(&last).unwrap();
    assert_eq!(chain.recorded(), Some(recorded));
    assert_eq!(chain.end().unwrap().how, Ended::Restarted);
    assert!(chain.resume().is_none());
    assert!(Chain::default().resume().is_none());
}

#[test]
fn a_chunk_at_its_limit_is_taken_and_one_past_it_is_not() {
    let full = |bytes: usize| {
        let (mut writer, first) = Writer::begin(header());
        let most = limits::RECORDING_EVENT;
        let mut events = Vec::new();
        let mut left = bytes;
        while left > 0 {
            let size = (left - Event::OVERHEAD).min(most);
            events.push(event(0, Stream::Output, &vec![b'x'; size]));
            left -= size + Event::OVERHEAD;
        }
        Chain::default().all(&[first, writer.data(events)].concat())
    };
    assert!(full(Chunk::EVENTS).is_ok());
    assert_eq!(full(Chunk::EVENTS + 1), Err(RecordingError::Length(limits::RECORDING_CHUNK - 3)));
    assert_eq!(Chunk::read(&[0, 0, 0, 41]), Err(RecordingError::Length(41)));
}

#[test]
fn the_longest_header_fits_and_longer_texts_are_cut_at_a_character() {
    let long = Header {
        host: ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".").parse().unwrap(),
        command: Some("\"".repeat(limits::FORCE_COMMAND)),
        asked: Some("\u{1}".repeat(limits::RECORDING_ASKED - 1) + "é"),
        terminal: Some(Size { term: "\u{1}".repeat(100), columns: 1, rows: 1 }),
        ..header()
    };
    let (_, first) = Writer::begin(long);
    let mut chain = Chain::default();
    chain.all(&first).unwrap();
    assert_eq!(chain.header().unwrap().asked.as_ref().unwrap().len(), limits::RECORDING_ASKED - 1);
    assert_eq!(chain.header().unwrap().terminal.as_ref().unwrap().term.len(), limits::RECORDING_TERM);
}

#[test]
fn a_header_has_one_spelling_and_nothing_unknown() {
    let (_, first) = Writer::begin(header());
    let text = String::from_utf8(first[Chunk::OVERHEAD..].to_vec()).unwrap();
    let read = |text: &str| {
        let mut bytes = first[..Chunk::OVERHEAD].to_vec();
        bytes.extend_from_slice(text.as_bytes());
        let length = u32::try_from(bytes.len() - 4).unwrap().to_be_bytes();
        bytes[..4].copy_from_slice(&length);
        Chunk::read(&bytes)
    };
    assert!(read(&text).is_ok());
    for other in [
        text.replace("\"v\":1", "\"v\":2"),
        text.replace("\"v\":1", "\"v\": 1"),
        text.replace("\"v\":1", "\"v\":1,\"w\":1"),
        text.replace("\"shell\"", "\"x11\""),
        text.replace("\"xterm\"", &format!("\"{}\"", "x".repeat(limits::RECORDING_TERM + 1))),
        text.clone() + " ",
    ] {
        assert!(matches!(read(&other), Err(RecordingError::Header(_))), "{other}");
    }
}

#[test]
fn the_picture_of_a_terminal_is_this_asciicast() {
    let (chunks, _) = recorded(&[
        vec![
            event(248_848, Stream::Output, b"\x1b[1mna\xc3"),
            event(300_000, Stream::Output, b"\xafve\xff \xe2"),
        ],
        vec![
            event(1_300_001, Stream::Output, b"\x82\xac\r\n"),
            Event::resize(1_300_001, 90, 30),
            event(2_000_000, Stream::Notice, b"ends in 5 min"),
        ],
        vec![
            Event::lost(2_000_000, 5000),
            event(3_000_000, Stream::Output, "\u{9b}31m \u{202e}\u{7f}\"\\\0 ok".as_bytes()),
            event(4_000_000, Stream::Output, b"\xf0\x9f"),
        ],
    ]);
    let chunks = Chain::default().all(&chunks.concat()).unwrap();
    let expected = concat!(
        r#"{"version":3,"term":{"cols":80,"rows":24,"type":"xterm"},"timestamp":1790000000,"#,
        r#""title":"root on db-3.payments.prod, serial 1234, 07070707070707070707070707070707"}"#,
        "\n",
        r#"[0.248848, "o", "\u001b[1mna"]"#,
        "\n",
        r#"[0.051152, "o", "ïve� "]"#,
        "\n",
        r#"[1.000001, "o", "€\r\n"]"#,
        "\n",
        r#"[0.000000, "r", "90x30"]"#,
        "\n",
        r#"[0.699999, "m", "ends in 5 min"]"#,
        "\n",
        r#"[0.000000, "m", "5000 bytes are not recorded here"]"#,
        "\n",
        r#"[1.000000, "o", "\u009b31m \u202e\u007f\"\\\u0000 ok"]"#,
        "\n",
        r#"[6.000000, "o", "�"]"#,
        "\n",
        r#"[0.000000, "x", "0"]"#,
        "\n",
    );
    assert_eq!(cast(&chunks), expected);
}

#[test]
fn the_picture_of_a_command_has_its_output_and_never_its_input() {
    let (mut writer, first) = Writer::begin(Header {
        terminal: None,
        kind: SessionKind::Exec,
        asked: Some("cat > f".into()),
        ..header()
    });
    let data = writer.data(vec![
        event(1, Stream::Input, b"secret"),
        event(2, Stream::Output, b"a\nb\n"),
        event(3, Stream::Error, b"\xc3"),
        event(4, Stream::Output, b"\xa9"),
        event(5, Stream::Error, b"\xa9"),
    ]);
    let (last, _) = writer.end(Ended::Signalled(15), 6);
    let text = cast(&Chain::default().all(&[first, data, last].concat()).unwrap());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(r#","command":"cat > f"}"#), "{}", lines[0]);
    assert_eq!(lines[1], r#"[0.000002, "o", "a\r\nb\r\n"]"#);
    assert_eq!(lines[2], r#"[0.000002, "o", "�"]"#, "streams do not lend each other bytes");
    assert_eq!(lines[3], r#"[0.000001, "o", "é"]"#);
    assert_eq!(lines[4], r#"[0.000001, "x", "143"]"#);
    assert!(!text.contains("secret"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_may_come_in_any_pieces(data in events(), cuts in proptest::collection::vec(1usize..400, 1..60)) {
        let (chunks, expected) = recorded(&data);
        let bytes = chunks.concat();
        let (mut chain, mut have, mut at) = (Chain::default(), Vec::new(), 0);
        let mut cuts = cuts.into_iter().cycle();
        while at < bytes.len() {
            let to = (at + cuts.next().unwrap()).min(bytes.len());
            have.extend_from_slice(&bytes[at..to]);
            at = to;
            while let Some((_, taken)) = chain.next(&have).unwrap() {
                have.drain(..taken);
            }
        }
        prop_assert!(have.is_empty());
        prop_assert_eq!(chain.recorded(), Some(expected));
    }

    #[test]
    fn a_cut_anywhere_is_found(data in events(), at in any::<prop::sample::Index>()) {
        let (chunks, expected) = recorded(&data);
        let bytes = chunks.concat();
        let mut chain = Chain::default();
        let read = chain.all(&bytes[..at.index(bytes.len())]);
        prop_assert!(read.is_err() || (chain.end().is_none() && chain.recorded() != Some(expected)));
    }

    #[test]
    fn a_byte_changed_anywhere_is_found(data in events(), at in any::<prop::sample::Index>(), with in 1u8..) {
        let (chunks, expected) = recorded(&data);
        let mut bytes = chunks.concat();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        let mut chain = Chain::default();
        // In the last chunk nothing follows that names its hash: then the head that was reported tells.
        prop_assert!(chain.all(&bytes).is_err() || chain.recorded() != Some(expected));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Chain::default().all(&bytes);
        let _ = Event::read(&bytes);
        let framed = [&[0, 0, 1, 0][..], &bytes].concat();
        let _ = Chunk::read(&framed);
    }

    #[test]
    fn a_picture_is_json_of_printable_characters(data in events()) {
        let (chunks, _) = recorded(&data);
        let text = cast(&Chain::default().all(&chunks.concat()).unwrap());
        for line in text.lines() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{}", line);
            prop_assert!(!line.contains(char::is_control));
        }
    }
}
