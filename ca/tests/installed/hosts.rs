//! Hosts of an installed CA: enrolled by entries of their own, speaking with keys that follow from their names.

use axum::body::Body;
use ed25519_dalek::SigningKey;
use fireaxe_ca::clock::{Clock, SystemClock};
use fireaxe_ca::data_dir::DataDir;
use fireaxe_ca::keys::{self, Purpose};
use fireaxe_protocol::api::{FeedEvent, Reports, ReportsTaken};
use fireaxe_protocol::host::{Confirmed, EndReason, Mode, Report, SessionClosed, SessionOpened, Swept};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::log::{Event, Hash, NoteSigner};
use fireaxe_protocol::names::HostName;
use fireaxe_protocol::policy::Record;
use fireaxe_protocol::statement::{
    Enrol, Envelope, Header, HostReport, Kind, Nonce, Statement, sign_ed25519,
};
use http_body_util::BodyExt;

use super::{Installed, Told, init, unlocked};

pub const DB3: &str = "db-3.payments.prod";
pub const DB4: &str = "db-4.payments.prod";

/// The host key of a host.
pub fn host_key(host: &str) -> SigningKey {
    SigningKey::from_bytes(&Hash::of(host.as_bytes()).0)
}

/// A CA whose log has these hosts, of payments-db.
pub fn with_hosts(hosts: &[&str]) -> Installed {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::at(&init(dir.path()));
    let mut log = unlocked(&data);
    let at = SystemClock.now().wall_s;
    let signer =
        NoteSigner::new(log.origin().as_str(), keys::load(&data.keys(), Purpose::Log).unwrap()).unwrap();
    let origin = log.origin().clone();
    let mut batch = log.batch().unwrap();
    for host in hosts {
        let (name, key): (HostName, _) = (host.parse().unwrap(), host_key(host));
        let (token, system) = (Hash::of(b"token"), "payments-db".parse().unwrap());
        let invited = Event::HostInvited {
            host: name.clone(),
            system,
            token,
            until: at + 3600,
            by: "operator uid 0".into(),
        };
        let of = batch.append(at, &invited, None, ()).unwrap().leaf();
        let public_key = Ed25519Key::from(&key);
        let nonce = Nonce(Hash::of(format!("enrol {host}").as_bytes()).0[..16].try_into().unwrap());
        let header = Header { kind: Kind::Enrol, to: origin.clone(), nonce, at };
        let words = Enrol { header, host: name.clone(), token, public_key };
        let said = sign_ed25519(&key, Kind::Enrol, &Statement::Enrol(words).write());
        let system = "payments-db".parse().unwrap();
        let _ = batch.append(
            at,
            &Event::HostEnrolled { of, host: name, system, key: public_key, said },
            None,
            (),
        );
    }
    batch.commit(&signer).unwrap();
    drop(log);
    Installed::begin(dir)
}

impl Installed {
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
    /// The next event; none once it has ended. Comments are passed over.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        loop {
            while let Some((event, rest)) = self.left.split_once("\n\n") {
                let data = event.strip_prefix("data: ").map(|json| serde_json::from_str(json).unwrap());
                self.left = rest.to_owned();
                if data.is_some() {
                    return data;
                }
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(30), self.body.frame());
            let frame = frame.await.unwrap()?.unwrap();
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
