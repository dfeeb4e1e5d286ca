//! A witness's HTTP: `POST /add-checkpoint`, and nothing else. No TLS of its own: what it answers is signed, what it
//! is asked is signed, and neither is secret; a proxy in front adds TLS where the way to it is not trusted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::memory::{BODY, Memory, Verdict};
use super::places::{Place, Places};
use crate::clock::Clock;

/// A client that has not sent its request's head by then is cut off; also ends idle ones.
const HEAD: Duration = Duration::from_secs(30);
/// The same of a body.
const WHOLE: Duration = Duration::from_secs(10);

/// What answers.
pub struct Site {
    /// What it remembers.
    pub memory: Memory,
    /// Time, which its cosignatures carry.
    pub clock: Arc<dyn Clock>,
}

/// Answers on `listener` until the future is dropped.
pub async fn serve(site: Arc<Site>, listener: TcpListener) {
    let places = Arc::new(Places::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match places.enter(peer.ip()) {
                Some((place, end)) => {
                    tokio::spawn(connection(site.clone(), stream, peer, place, end));
                }
                None => tracing::debug!(event = "witness.no_place", %peer),
            },
            Err(error) => {
                tracing::warn!(event = "witness.accept", %error);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    site: Arc<Site>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    place: Place,
    end: oneshot::Receiver<Infallible>,
) {
    let _ = stream.set_nodelay(true);
    let place = Arc::new(place);
    let service = service_fn(move |request| {
        let (site, place) = (site.clone(), place.clone());
        async move {
            place.asked();
            let answered = answer(site, request).await;
            place.answered();
            answered
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_headers(32);
    let served = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(event = "witness.connection", %peer, %error);
        },
        _ = end => tracing::debug!(event = "witness.made_room", %peer),
    }
}

async fn answer(site: Arc<Site>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/add-checkpoint" {
        return Ok(said(StatusCode::NOT_FOUND, "there is nothing here but POST /add-checkpoint\n".into()));
    }
    if request.method() != Method::POST {
        return Ok(said(StatusCode::METHOD_NOT_ALLOWED, "POST it\n".into()));
    }
    let body = Limited::new(request.into_body(), BODY).collect();
    let body = match tokio::time::timeout(WHOLE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(said(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long\n".into())),
        Err(_) => return Ok(said(StatusCode::REQUEST_TIMEOUT, "the request did not come whole\n".into())),
    };
    // It waits for the disk.
    let now = site.clock.now().wall_s;
    let verdict = tokio::task::spawn_blocking(move || site.memory.add(&body, now)).await;
    Ok(told(verdict.unwrap_or(Verdict::NotKept)))
}

fn told(verdict: Verdict) -> Response<Full<Bytes>> {
    match verdict {
        Verdict::Cosigned(lines) => said(StatusCode::OK, lines),
        Verdict::Malformed => said(StatusCode::BAD_REQUEST, "this is no add-checkpoint request\n".into()),
        Verdict::NotSigned => said(StatusCode::FORBIDDEN, "the log's key did not sign that head\n".into()),
        Verdict::UnknownLog => said(StatusCode::NOT_FOUND, "that log is not witnessed here\n".into()),
        Verdict::NoProof => {
            said(StatusCode::UNPROCESSABLE_ENTITY, "the proof does not lead to that head\n".into())
        }
        Verdict::NotKept => {
            said(StatusCode::INTERNAL_SERVER_ERROR, "the head could not be remembered\n".into())
        }
        Verdict::Has(size) => {
            let mut response = said(StatusCode::CONFLICT, format!("{size}\n"));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/x.tlog.size"));
            response
        }
    }
}

fn said(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
