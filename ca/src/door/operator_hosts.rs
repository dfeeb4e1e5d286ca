//! The operator's local socket, about hosts: invite, retire, list. As trusted as `operator.rs` says: whoever
//! can open it can let a host in, which then can speak for that one name and for no other.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use fireaxe_protocol::host::JoinToken;
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits::{INVITATION_MAX_S, INVITATION_S, LIFETIME_MIN_S};
use fireaxe_protocol::names::{HostName, SystemName};
use serde::{Deserialize, Serialize};

use super::emergencies::{Bytes, body};
use super::enrolment::{Host, named};
use super::problem::{Answer, Told};
use super::{Door, Peer};
use crate::road::{HostInvitation, InvitedHost, ListedHost};

/// Whom to invite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitationRequest {
    /// The host.
    pub host: HostName,
    /// The system that it must belong to; the policy says which it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system: Option<SystemName>,
    /// How long the token is good, seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub for_s: Option<u64>,
}

/// The token, here and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedAnswer {
    /// `fireaxe.host-invited/v1`
    pub schema: String,
    /// The host.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// `fxj_...`: a secret.
    pub token: String,
    /// Until when it is good, unix seconds.
    pub until: u64,
    /// Index of the `host.invited` entry.
    pub index: u64,
    /// Where the CA is, and the pin of its TLS certificate.
    #[serde(flatten)]
    pub ca: Reached,
}

/// How hosts reach this CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// `https://ca.internal:8443`
    pub addr: String,
    /// `sha256:...`
    pub pin: String,
}

/// A host that is ours no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredAnswer {
    /// `fireaxe.host-retired/v1`
    pub schema: String,
    /// The host.
    pub host: HostName,
    /// Index of the `host.retired` entry.
    pub index: u64,
    /// When its last certificate ends by itself, unix seconds.
    pub certificate_until: Option<u64>,
}

/// Every host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsAnswer {
    /// `fireaxe.hosts/v1`
    pub schema: String,
    /// The CA's time, unix seconds.
    pub now: u64,
    /// Enrolled, by name.
    pub enrolled: Vec<EnrolledOne>,
    /// Invited and not joined, by name.
    pub invited: Vec<InvitedOne>,
}

/// One that is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledOne {
    /// Its name.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// Its host key.
    pub key: Ed25519Key,
    /// Since when, unix seconds.
    pub enrolled_at: u64,
    /// When its newest certificate ends, unix seconds.
    pub certificate_until: Option<u64>,
}

/// One that is invited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedOne {
    /// Its name.
    pub host: HostName,
    /// Its system.
    pub system: SystemName,
    /// Until when, unix seconds; may have passed.
    pub until: u64,
}

/// Not by derive: the token is no thing to print.
impl std::fmt::Debug for InvitedAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InvitedAnswer({} until {})", self.host, self.until)
    }
}

/// `POST /operator/hosts`
pub(super) async fn invite(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    Extension(ca): Extension<Reached>,
    bytes: Bytes,
) -> Answer<Json<InvitedAnswer>> {
    let InvitationRequest { host, system, for_s } = body(bytes)?;
    let for_s = for_s.unwrap_or(INVITATION_S);
    if !(LIFETIME_MIN_S..=INVITATION_MAX_S).contains(&for_s) {
        let said = format!(
            "an invitation is good for {LIFETIME_MIN_S} s to {} days; {for_s} s were asked for",
            INVITATION_MAX_S / 86_400
        );
        return Err(Told::new(StatusCode::BAD_REQUEST, "invitation.time", said)
            .next(format!("fireaxe-ca host invite {host} --for 1h")));
    }
    let invited = door.road.invite(HostInvitation { host, system, for_s, by: peer.name() }).await?;
    Ok(Json(InvitedAnswer {
        schema: "fireaxe.host-invited/v1".into(),
        host: invited.host,
        system: invited.system,
        token: JoinToken::reveal(&invited.token).to_owned(),
        until: invited.until,
        index: invited.entry.index,
        ca,
    }))
}

/// `POST /operator/hosts/{host}/retirement`
pub(super) async fn retire(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    host: Host,
) -> Answer<Json<RetiredAnswer>> {
    let retired = door.road.retire(named(host)?, peer.name()).await?;
    Ok(Json(RetiredAnswer {
        schema: "fireaxe.host-retired/v1".into(),
        host: retired.host,
        index: retired.entry.index,
        certificate_until: retired.certificate_until,
    }))
}

/// `GET /operator/hosts`
pub(super) async fn list(State(door): State<Arc<Door>>) -> Answer<Json<HostsAnswer>> {
    let listed = door.road.hosts().await?;
    let enrolled = listed.enrolled.into_iter().map(|one| {
        let ListedHost { host, system, key, enrolled_at, certificate_until } = one;
        EnrolledOne { host, system, key, enrolled_at, certificate_until }
    });
    let invited = listed.invited.into_iter().map(|InvitedHost { host, system, until }| InvitedOne {
        host,
        system,
        until,
    });
    Ok(Json(HostsAnswer {
        schema: "fireaxe.hosts/v1".into(),
        now: door.clock.now().wall_s,
        enrolled: enrolled.collect(),
        invited: invited.collect(),
    }))
}
