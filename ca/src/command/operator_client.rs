//! Speaks to a running CA over its local socket: one request, one answer.

use std::path::Path;
use std::time::Duration;

use fireaxe_protocol::api::Problem;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failed;
use crate::data_dir::DataDir;

/// A local answer that takes longer than this will not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// `POST path` with `body`; the answer, or what the CA says is wrong.
pub(super) fn post<T: DeserializeOwned>(
    dir: &DataDir,
    path: &str,
    body: &impl Serialize,
) -> Result<T, Failed> {
    let body = serde_json::to_vec(body).map_err(Failed::error)?;
    answer(exchange(dir, "POST", path, body)?)
}

/// `GET path`; the answer, or what the CA says is wrong.
pub(super) fn get_json<T: DeserializeOwned>(dir: &DataDir, path: &str) -> Result<T, Failed> {
    answer(get(dir, path)?)
}

fn answer<T: DeserializeOwned>((status, bytes): (hyper::StatusCode, Vec<u8>)) -> Result<T, Failed> {
    if status.is_success() {
        return serde_json::from_slice(&bytes)
            .map_err(|e| Failed::error(format!("the CA's answer cannot be read: {e}")));
    }
    Err(match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => Failed {
            code: if problem.status == 503 { 69 } else { 1 },
            lines: problem.reasons.into_iter().map(|r| format!("{} [{}]", r.sentence, r.code)).collect(),
            hint: problem.next,
        },
        Err(_) => Failed::error(format!("the CA answered {status}")),
    })
}

/// `GET path`; status and body whatever they are.
pub(super) fn get(dir: &DataDir, path: &str) -> Result<(hyper::StatusCode, Vec<u8>), Failed> {
    exchange(dir, "GET", path, Vec::new())
}

fn exchange(
    dir: &DataDir,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<(hyper::StatusCode, Vec<u8>), Failed> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failed::error)?;
    let socket = dir.operator_socket();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, talk(&socket, method, path, body))
            .await
            .unwrap_or_else(|_| Err(Failed::unavailable("the CA does not answer on its local socket")))
    })
}

async fn talk(
    socket: &Path,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<(hyper::StatusCode, Vec<u8>), Failed> {
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|e| {
        let dir = socket.parent().unwrap_or(socket).display();
        match e.kind() {
            std::io::ErrorKind::PermissionDenied => Failed::error(format!("{}: {e}", socket.display()))
                .hint("run it as the CA's own user or as root"),
            _ => Failed::unavailable(format!("no CA is running on {dir} ({e})"))
                .hint(format!("fireaxe-ca serve --data {dir}")),
        }
    })?;
    let broken = |e: hyper::Error| Failed::unavailable(format!("the CA's local socket: {e}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(hyper::body::Bytes::from(body)))
        .map_err(Failed::error)?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), 16 * 1024 * 1024).collect().await;
    let body = body.map_err(|e| Failed::unavailable(format!("the CA's local socket: {e}")))?;
    Ok((status, body.to_bytes().to_vec()))
}
