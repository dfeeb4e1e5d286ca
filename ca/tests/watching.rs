//! Who follows an emergency: not one that is not there, not too many at once, and not beyond its end or their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use axum::response::Response;
use http_body_util::BodyExt;
use installed::{ANA, BEN, Installed};

/// What a stream said until it ended.
async fn whole(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn the_stream_of_an_emergency_ends_with_it_and_none_begins_after() {
    let ca = Installed::new();
    let session = ca.login(BEN).await;
    let watch = async |id: &str| {
        let path = format!("/v1/emergencies/{id}/events");
        ca.stream(&path, &ca.proof(&session, "GET", &path)).await
    };
    assert_eq!(watch("EM-1").await.status(), 404);
    let opened = ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    let stream = watch("EM-1").await;
    assert_eq!(stream.status(), 200);
    assert_eq!(ca.close_emergency(ANA, &opened).await.status, 200);
    let said = whole(stream).await;
    let closing = format!("\"entry\":{}}}", ca.size() - 1);
    assert!(said.trim_end().ends_with(&closing), "the closing, then the end: {said}");
    let after = watch("EM-1").await;
    assert_eq!(after.status(), 409);
    assert!(whole(after).await.contains("emergency.closed"));
}

#[tokio::test]
async fn one_person_holds_eight_places_and_gives_them_back() {
    let ca = Installed::new();
    ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    let (bens, anas) = (ca.login(BEN).await, ca.login(ANA).await);
    let path = "/v1/emergencies/EM-1/events";
    let watch = async |session| ca.stream(path, &ca.proof(session, "GET", path)).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(watch(&bens).await);
    }
    assert!(streams.iter().all(|stream| stream.status() == 200));
    let ninth = watch(&bens).await;
    assert_eq!(ninth.status(), 429);
    assert!(whole(ninth).await.contains("reader.too_many"));
    assert_eq!(watch(&anas).await.status(), 200, "others find a place");
    streams.pop();
    assert_eq!(watch(&bens).await.status(), 200, "and so does ben again");
}

#[tokio::test]
async fn the_stream_ends_with_the_session_of_its_reader() {
    let ca = Installed::new();
    ca.open_emergency(ANA, &ca.declare("db-3.payments.prod")).await;
    let session = ca.login(BEN).await;
    let path = "/v1/emergencies/EM-1/events";
    let stream = ca.stream(path, &ca.proof(&session, "GET", path)).await;
    assert_eq!(stream.status(), 200);
    // Past the session's hour by the CA's clock, which nothing else looks at meanwhile.
    ca.clock.pass(3600);
    let said = tokio::time::timeout(std::time::Duration::from_secs(25), whole(stream)).await.unwrap();
    assert!(!said.contains("fireaxe.progress/v1"), "{said}");
}
