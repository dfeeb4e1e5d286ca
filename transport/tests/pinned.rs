//! A real TLS server on loopback, and every way in which it is not the CA that was pinned.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its servers too")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fireaxe_protocol::api::{LoggedIn, Problem};
use fireaxe_transport::{Ca, Pin, Timeouts, TransportError};
use rustls::pki_types::PrivateKeyDer;

struct Server {
    address: String,
    pin: Pin,
    connections: Arc<AtomicUsize>,
}

/// Answers each request on each connection with what `answer` makes of its head.
fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let (config, answer) = (Arc::new(config), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let (config, answer) = (config.clone(), answer.clone());
            std::thread::spawn(move || one_connection(stream, config, &*answer));
        }
    });
    Server { address, pin: Pin::of_der(&der), connections }
}

fn one_connection(stream: TcpStream, config: Arc<rustls::ServerConfig>, answer: &dyn Fn(&str) -> Vec<u8>) {
    let tls = rustls::ServerConnection::new(config).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, stream);
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0u8; 4096];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => seen.extend_from_slice(&chunk[..n]),
        }
        let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_lowercase();
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: ").and_then(|v| v.parse::<usize>().ok()))
            .unwrap_or(0);
        if seen.len() < end + 4 + length {
            continue;
        }
        seen.drain(..end + 4 + length);
        let bytes = answer(&head);
        if bytes.is_empty() {
            return;
        }
        // `PAUSE` stands for a while in which nothing is said.
        for (n, part) in String::from_utf8(bytes).unwrap().split(PAUSE).enumerate() {
            if n > 0 {
                std::thread::sleep(Duration::from_millis(1200));
            }
            if stream.write_all(part.as_bytes()).is_err() || stream.flush().is_err() {
                return;
            }
        }
    }
}

const PAUSE: &str = "<pause>";

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn quick() -> Timeouts {
    Timeouts { connect: Duration::from_millis(400), whole: Duration::from_millis(800), ..Timeouts::default() }
}

fn ca(address: &str, pin: Pin, timeouts: Timeouts) -> Ca {
    Ca::new(address.parse().unwrap(), pin, timeouts).unwrap()
}

const SESSION: &str = r#"{"schema":"fireaxe.session/v1","person":"ana","until":7}"#;

#[test]
fn the_pinned_certificate_is_accepted_and_one_connection_serves_several_requests() {
    let server = serve(|head| {
        assert!(head.contains("authorization: fireaxe x"), "{head}");
        http("200 OK", "", SESSION)
    });
    let ca = ca(&server.address, server.pin, Timeouts::default());
    for _ in 0..3 {
        let got: LoggedIn = ca.get("/v1/x", Some("Fireaxe x")).unwrap();
        assert_eq!((got.person.as_str(), got.until), ("ana", 7));
        let got: LoggedIn = ca.post("/v1/x", Some("Fireaxe x"), &"body").unwrap();
        assert_eq!(got.until, 7);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn another_certificate_is_refused_and_both_pins_are_shown() {
    let server = serve(|_| panic!("no request may arrive"));
    let pinned: Pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    match ca(&server.address, pinned, quick()).get::<LoggedIn>("/", None) {
        Err(TransportError::WrongPin { expected, found, .. }) => {
            assert_eq!((expected, found), (pinned, server.pin));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_without_its_key_is_refused_by_the_handshake_signature() {
    // The pinned certificate, shown by somebody who holds another key.
    let pinned = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let thief = rcgen::KeyPair::generate().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key =
        provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(thief.serialize_der().into())).unwrap();
    #[derive(Debug)]
    struct Always(Arc<rustls::sign::CertifiedKey>);
    impl rustls::server::ResolvesServerCert for Always {
        fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
    }
    let certified = rustls::sign::CertifiedKey::new(vec![pinned.cert.der().clone()], key);
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certified))));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        one_connection(stream, Arc::new(config), &|_| http("200 OK", "", SESSION));
    });
    let error = ca(&address, Pin::of_der(pinned.cert.der()), quick()).get::<LoggedIn>("/", None).unwrap_err();
    assert!(matches!(error, TransportError::NotTls { .. }), "{error:?}");
}

#[test]
fn a_plain_http_server_is_not_taken_for_the_ca() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0u8; 1024]);
        let _ = stream.write_all(&http("400 Bad Request", "", "no TLS here"));
    });
    let error = ca(&address, Pin::of_der(b""), quick()).get::<LoggedIn>("/", None).unwrap_err();
    assert!(matches!(error, TransportError::NotTls { .. }), "{error:?}");
}

#[test]
fn nobody_listening_is_told_as_not_running() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("https://{port}");
    let error = ca(&address, Pin::of_der(b""), quick()).get::<LoggedIn>("/", None).unwrap_err();
    assert_eq!(error, TransportError::NotRunning { addr: address });
    assert!(error.is_unavailable() && !error.may_have_arrived());
}

#[test]
fn a_server_that_accepts_and_says_nothing_runs_into_the_connect_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let error = ca(&address, Pin::of_der(b""), quick()).get::<LoggedIn>("/", None).unwrap_err();
    assert!(matches!(error, TransportError::Timeout { during: "connecting", .. }), "{error:?}");
    drop(listener);
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout_after_which_the_request_may_have_arrived() {
    let server = serve(|_| {
        std::thread::sleep(Duration::from_secs(5));
        Vec::new()
    });
    let error = ca(&server.address, server.pin, quick()).post::<LoggedIn>("/", None, &1).unwrap_err();
    assert!(matches!(error, TransportError::Timeout { during: "answering", .. }), "{error:?}");
    assert!(error.may_have_arrived());
}

#[test]
fn a_connection_cut_before_the_answer_is_lost_not_refused() {
    let server = serve(|_| Vec::new());
    let error = ca(&server.address, server.pin, quick()).post::<LoggedIn>("/", None, &1).unwrap_err();
    assert!(matches!(error, TransportError::Lost { .. }), "{error:?}");
    assert!(error.may_have_arrived());
}

#[test]
fn an_answer_is_taken_up_to_the_limit_and_not_one_byte_past_it() {
    let server = serve(|_| http("200 OK", "", &"x".repeat(1000)));
    let ca = ca(&server.address, server.pin, Timeouts::default());
    assert_eq!(ca.get_raw("/krl", None, 1000).unwrap().body.len(), 1000);
    let error = ca.get_raw("/krl", None, 999).unwrap_err();
    assert!(matches!(error, TransportError::TooLarge { limit: 999, .. }), "{error:?}");
}

#[test]
fn an_answer_that_is_not_the_json_it_should_be_is_garbage() {
    let server = serve(|head| match head.split(' ').nth(1) {
        Some("/html") => http("200 OK", "", "<html>"),
        Some("/500") => http("500 Internal Server Error", "", "oops"),
        Some("/redirect") => http("302 Found", "location: https://127.0.0.1:1/\r\n", ""),
        _ => b"HTTP/9 nonsense\r\n\r\n".to_vec(),
    });
    for (path, expected) in [("/html", 200), ("/500", 500), ("/redirect", 302), ("/other", 0)] {
        let ca = ca(&server.address, server.pin, quick());
        match ca.get::<LoggedIn>(path, None) {
            Err(TransportError::Garbage { status, .. }) => assert_eq!(status, expected, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn a_problem_document_comes_back_whole() {
    let body = r#"{"type":"https://fireaxe.invalid/problems/policy.denied","title":"refused","status":403,
        "code":"policy.denied","reasons":[{"code":"severity.above_cap","sentence":"too much"}],"next":"x"}"#;
    let server = serve(move |_| http("403 Forbidden", "content-type: application/problem+json\r\n", body));
    let error = ca(&server.address, server.pin, quick()).get::<LoggedIn>("/", None).unwrap_err();
    let expected: Problem = serde_json::from_str(body).unwrap();
    assert_eq!(error, TransportError::Problem(Box::new(expected)));
}

#[test]
fn a_known_etag_gets_304_and_headers_are_readable() {
    let server = serve(|head| {
        if head.contains("if-none-match: \"7\"") {
            http("304 Not Modified", "etag: \"7\"\r\n", "")
        } else {
            http("200 OK", "etag: \"7\"\r\nfireaxe-krl-note: bm90ZQ==\r\n", "SSHKRL")
        }
    });
    let ca = ca(&server.address, server.pin, Timeouts::default());
    let first = ca.get_raw("/v1/krl", None, 100).unwrap();
    assert_eq!((first.status, first.header("fireaxe-krl-note")), (200, Some("bm90ZQ==")));
    let again = ca.get_raw("/v1/krl", first.header("etag"), 100).unwrap();
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn a_stream_of_events_goes_on_past_the_limit_of_a_request() {
    let server = serve(|head| {
        assert!(head.contains("accept: text/event-stream") && head.contains("authorization: fireaxe x"));
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: here\n\ndata: 1\n\n{PAUSE}data: 2\n\n")
            .into_bytes()
    });
    let ca = ca(&server.address, server.pin, quick());
    let mut events = ca.events("/v1/emergencies/EM-1/events", Some("Fireaxe x")).unwrap();
    assert_eq!(events.next_event().unwrap().as_deref(), Some("1"));
    // `quick` gives a whole request 800 ms.
    assert_eq!(events.next_event().unwrap().as_deref(), Some("2"));
}

#[test]
fn what_is_no_stream_of_events_is_a_problem_or_garbage() {
    let server = serve(|head| match head.contains("/refused") {
        true => http(
            "401 x",
            "",
            r#"{"type":"t","title":"no","status":401,"code":"reader.unknown","reasons":[]}"#,
        ),
        false => http("200 OK", "content-type: application/json\r\n", "{}"),
    });
    let ca = ca(&server.address, server.pin, quick());
    let refused = ca.events("/refused", None).unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "reader.unknown");
    assert!(matches!(ca.events("/json", None), Err(TransportError::Garbage { .. })));
}
