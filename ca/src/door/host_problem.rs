//! What is told of a refusal about a host: as `problem.rs`, whose part this is.

use axum::http::StatusCode;

use super::problem::Told;
use crate::road::HostRefusal;

pub(super) fn told(refusal: &HostRefusal) -> Told {
    let said = refusal.to_string();
    match refusal {
        HostRefusal::NotInPolicy { nearest, .. } => {
            let said = if nearest.is_empty() { said } else { format!("{said}; near it: {}", nearest.join(", ")) };
            Told::new(StatusCode::NOT_FOUND, "host.not_in_policy", said)
                .next("fireaxe-ca policy check DIR   (lists the systems and their host patterns)")
        }
        HostRefusal::OtherSystem { is, host, .. } => {
            Told::new(StatusCode::CONFLICT, "host.other_system", said)
                .next(format!("fireaxe-ca host invite {host} --system {is}"))
        }
        HostRefusal::Moved { host, .. } => Told::new(StatusCode::CONFLICT, "host.moved", said)
            .next(format!("the operator: fireaxe-ca host invite {host}   (then enrol it again)")),
        HostRefusal::NotInvited(host) => Told::new(StatusCode::FORBIDDEN, "host.not_invited", said)
            .next(format!("the operator: fireaxe-ca host invite {host}")),
        HostRefusal::InvitationOver { host, .. } => {
            Told::new(StatusCode::FORBIDDEN, "host.invitation_over", said)
                .next(format!("the operator: fireaxe-ca host invite {host} --for 1h"))
        }
        HostRefusal::OtherKey => Told::new(StatusCode::BAD_REQUEST, "host_key.other", said)
            .next("fireaxe-host enrol   (signs with the host's ed25519 key)"),
        HostRefusal::KeyInUse(_) => Told::new(StatusCode::CONFLICT, "host_key.in_use", said)
            .next("give this host a key of its own: ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"),
        HostRefusal::NotEnrolled(host) => Told::new(StatusCode::UNAUTHORIZED, "host.not_enrolled", said)
            .next(format!("the operator: fireaxe-ca host invite {host}   (then fireaxe-host enrol)")),
        HostRefusal::OtherReport(_) => Told::new(StatusCode::BAD_REQUEST, "report.other", said),
        HostRefusal::OtherAccount { .. } => {
            Told::new(StatusCode::UNPROCESSABLE_ENTITY, "self_test.account", said)
                .next("fireaxe-host apply --account NAME   (one that the policy uses)")
        }
        HostRefusal::KeyNotFresh => Told::new(StatusCode::BAD_REQUEST, "public_key.not_fresh", said)
            .next("run the command again: it makes a fresh key"),
        HostRefusal::TooManySelfTests { .. } => {
            Told::new(StatusCode::TOO_MANY_REQUESTS, "self_test.too_many", said)
                .next("wait some minutes; fireaxe-host doctor says what is wrong without a login")
        }
    }
}
