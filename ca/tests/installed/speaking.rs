//! Hosts of an installed CA, and what they say: invited, joined and speaking with keys that follow from their names.

use axum::body::Body;
use ed25519_dalek::SigningKey;
use fireaxe_ca::door::InvitedAnswer;
use fireaxe_protocol::api::{FeedEvent, Join, Reports, ReportsTaken};
use fireaxe_protocol::host::{
    Confirmed, EndReason, JoinToken, Mode, Report, SessionClosed, SessionOpened, Swept,
};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::Hash;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::{Enrol, Envelope, HostReport, Kind, Nonce, Statement, sign_ed25519};
use http_body_util::BodyExt;

use super::{Installed, Told};

pub const DB3: &str = "db-3.payments.prod";
pub const DB4: &str = "db-4.payments.prod";

/// The host key of a host.
pub fn host_key(host: &str) -> SigningKey {
    SigningKey::from_bytes(&Hash::of(host.as_bytes()).0)
}

/// A CA that these hosts have joined, each of the system that the policy gives it to.
pub async fn with_hosts(hosts: &[&str]) -> Installed {
    let ca = Installed::new();
    for host in hosts {
        ca.joins(host).await;
    }
    ca
}

impl Installed {
    /// A host is invited and joins; one that has joined before joins anew.
    pub async fn joins(&self, host: &str) {
        let body = serde_json::json!({ "host": host });
        let invited: InvitedAnswer = self.operator("POST", "/operator/hosts", body).await.json();
        let key = host_key(host);
        let token: JoinToken = invited.token.parse().unwrap();
        let words = Enrol {
            header: self.header(Kind::Enrol),
            host: host.parse().unwrap(),
            token: token.hash(),
            public_key: Ed25519Key::from(&key),
        };
        let enrol = sign_ed25519(&key, Kind::Enrol, &Statement::Enrol(words).write());
        let told = self.post("/v1/hosts", &Join { enrol, token: invited.token.clone() }).await;
        assert_eq!(told.status, 200, "{}", told.text());
    }

    /// It is ours no more.
    pub async fn retires(&self, host: &str) {
        let path = format!("/operator/hosts/{host}/retirement");
        assert_eq!(self.operator("POST", &path, serde_json::json!({})).await.status, 200);
    }

    /// What a host says, signed with its key.
    pub fn host_says(&self, host: &str, seq: u64, report: Report) -> Envelope {
        let header = self.header(Kind::Report);
        let words = HostReport { header, host: host.parse().unwrap(), seq, report };
        sign_ed25519(&host_key(host), Kind::Report, &Statement::Report(Box::new(words)).write())
    }

    /// Sends reports of a host.
    pub async fn report(&self, host: &str, reports: Vec<Envelope>) -> Told {
        self.post(&format!("/v1/hosts/{host}/reports"), &Reports { reports }).await
    }

    /// Sends one report and expects that it is taken.
    #[track_caller]
    pub fn reported(
        &self,
        host: &str,
        seq: u64,
        report: Report,
    ) -> impl std::future::Future<Output = ReportsTaken> + '_ {
        let (host, envelope) = (host.to_owned(), self.host_says(host, seq, report));
        async move {
            let told = self.report(&host, vec![envelope]).await;
            assert_eq!(told.status, 200, "{}", told.text());
            told.json()
        }
    }

    /// A host's feed.
    pub async fn feed(&self, host: &str) -> Followed {
        let proof = self.proof(&host_key(host), "GET", "/v1/feed");
        let response = self.stream("/v1/feed", &proof).await;
        assert_eq!(response.status(), 200);
        Followed { body: response.into_body(), left: String::new() }
    }
}

/// A feed that is being read.
pub struct Followed {
    body: Body,
    left: String,
}

impl Followed {
    /// The next event; none once it has ended. Comments are passed over, and not waited for without end.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        tokio::time::timeout(std::time::Duration::from_secs(30), self.read()).await.unwrap()
    }

    async fn read(&mut self) -> Option<FeedEvent> {
        loop {
            while let Some((event, rest)) = self.left.split_once("\n\n") {
                let data = event.strip_prefix("data: ").map(|json| serde_json::from_str(json).unwrap());
                self.left = rest.to_owned();
                if data.is_some() {
                    return data;
                }
            }
            let frame = self.body.frame().await?.unwrap();
            self.left.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }

    /// The next event that has what is asked for.
    pub async fn until(&mut self, has: impl Fn(&FeedEvent) -> bool) -> FeedEvent {
        loop {
            let event = self.next().await.unwrap();
            if has(&event) {
                return event;
            }
        }
    }
}

pub fn opened(connection: u8, serial: u64, account: &str, at: u64) -> Report {
    Report::SessionOpened(SessionOpened {
        connection: Nonce([connection; 16]),
        serial,
        account: account.parse().unwrap(),
        from: "192.0.2.7".parse().unwrap(),
        at,
        record: Record::None,
    })
}

pub fn closed(connection: u8, serial: u64, at: u64) -> Report {
    Report::SessionClosed(SessionClosed {
        connection: Nonce([connection; 16]),
        serial,
        at,
        why: EndReason::Revoked,
        swept: Swept::default(),
        recordings: Vec::new(),
        planted: Vec::new(),
        more: 0,
    })
}

pub fn confirmed(version: u64, at: u64) -> Report {
    Report::Confirmed(Confirmed { version, krl: Hash::of(b"list"), in_force_at: at, ended: 1 })
}

pub fn heartbeat(version: u64) -> Report {
    Report::Heartbeat(fireaxe_protocol::host::Heartbeat {
        krl_version: version,
        krl_age_s: 3,
        head: None,
        ahead: None,
        mode: Mode::Helper,
        helper: "0.1.0".into(),
        openssh: "OpenSSH_9.2p1".into(),
        sessions: 0,
        spooled: 0,
        drift: Vec::new(),
        strays: Vec::new(),
        more: 0,
    })
}
