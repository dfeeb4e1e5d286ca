//! What the policy would say, and what it names.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use fireaxe_protocol::api::{ActionSurface, ExplainRequest, Explained, PolicySurface, SystemSurface};

use super::emergencies::{Bytes, body};
use super::problem::Answer;
use super::{Door, reading};

/// `POST /v1/policy/explain`
pub(super) async fn explain(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    uri: Uri,
    bytes: Bytes,
) -> Answer<Json<Explained>> {
    let scope = reading::who(&door, &headers, "POST", &uri).await?;
    let request: ExplainRequest = body(bytes)?;
    Ok(Json(*door.road.explain(scope.person().clone(), request).await?))
}

/// `GET /v1/policy`
pub(super) async fn surface(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer<Json<PolicySurface>> {
    reading::who(&door, &headers, "GET", &uri).await?;
    let bundle = door.road.published().gate().bundle;
    let systems = bundle.policy.systems().map(|system| SystemSurface {
        system: system.name.clone(),
        hosts: system.hosts.iter().map(|host| host.value.to_string()).collect(),
    });
    let actions = bundle.policy.actions().map(|action| ActionSurface {
        action: action.name.clone(),
        systems: action.systems.iter().map(|system| system.value.clone()).collect(),
        command: action.force_command.clone(),
        params: action.params.clone(),
    });
    Ok(Json(PolicySurface {
        schema: "fireaxe.policy/v1".into(),
        bundle: bundle.hash,
        systems: systems.collect(),
        accounts: bundle.policy.accounts(),
        actions: actions.collect(),
    }))
}
