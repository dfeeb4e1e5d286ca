//! Invitations for many hosts, by the operator's socket: what `fireaxe-ca host invite` asks, without a process
//! for each.

use std::path::Path;

use fireaxe_ca::door::{InvitationRequest, InvitedAnswer};
use tokio::net::UnixStream;

use super::wire::Connection;

/// Name and join token of each.
pub(super) async fn invite(socket: &Path, names: Vec<String>) -> Vec<(String, String)> {
    let mut shares: Vec<Vec<String>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    for (number, name) in names.into_iter().enumerate() {
        shares[number % AT_ONCE].push(name);
    }
    let mut inviting = tokio::task::JoinSet::new();
    for share in shares {
        let socket = socket.to_path_buf();
        inviting.spawn(async move {
            let stream = UnixStream::connect(&socket).await.expect("the operator's socket");
            let mut connection = Connection::over(stream);
            let mut invited = Vec::new();
            for name in share {
                let request =
                    InvitationRequest { host: name.parse().expect("a name"), system: None, for_s: None };
                let body = serde_json::to_vec(&request).expect("json");
                let answer = connection.post("/operator/hosts", &body).await.expect("an answer");
                let told: InvitedAnswer = serde_json::from_slice(&answer.body)
                    .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&answer.body)));
                invited.push((name, told.token));
            }
            invited
        });
    }
    inviting.join_all().await.into_iter().flatten().collect()
}

/// The writer takes so many in one commit.
const AT_ONCE: usize = 32;
