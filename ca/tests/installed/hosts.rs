//! Hosts of the installed CA: invited, joining, renewing, testing.

use ed25519_dalek::SigningKey;
use fireaxe_protocol::api::{HostCertificate, Join, Joined, SelfTestCertificate};
use fireaxe_protocol::certificate::{AcceptedHost, ExpectedHost, compare_host};
use fireaxe_protocol::host::{JoinToken, Report, SelfTest};
use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::statement::{Enrol, HostReport, Kind, Statement, sign_ed25519};

use super::{Installed, Told, key};

pub const DB1: &str = "db-1.payments.prod";
pub const DB2: &str = "db-2.payments.prod";

/// The host key of a test's host.
pub fn host_key(seed: u8) -> SigningKey {
    key(seed.wrapping_add(200))
}

pub fn public(key: &SigningKey) -> Ed25519Key {
    Ed25519Key(key.verifying_key().to_bytes())
}

impl Installed {
    /// The operator invites; gives the token.
    pub async fn invite(&self, host: &str) -> JoinToken {
        let told = self.operator("POST", "/operator/hosts", serde_json::json!({ "host": host })).await;
        assert_eq!(told.status, 200, "{}", told.text());
        let answer: serde_json::Value = told.json();
        answer["token"].as_str().unwrap().parse().unwrap()
    }

    pub fn enrolling(&self, host: &str, token: &JoinToken, key: &SigningKey) -> Enrol {
        Enrol {
            header: self.header(Kind::Enrol),
            host: host.parse().unwrap(),
            token: token.hash(),
            public_key: public(key),
        }
    }

    /// What a host sends to join.
    pub fn joining(&self, host: &str, token: &JoinToken, key: &SigningKey) -> Join {
        let words = Statement::Enrol(self.enrolling(host, token, key));
        Join { enrol: sign_ed25519(key, Kind::Enrol, &words.write()), token: token.reveal().to_owned() }
    }

    pub async fn join(&self, join: &Join) -> Told {
        self.post("/v1/hosts", join).await
    }

    /// Invited and joined.
    pub async fn enrol_host(&self, host: &str, key: &SigningKey) -> Joined {
        let token = self.invite(host).await;
        let told = self.join(&self.joining(host, &token, key)).await;
        assert_eq!(told.status, 200, "{}", told.text());
        told.json()
    }

    /// `POST /v1/hosts/{host}/certificate` with a proof by `key`.
    pub async fn renew(&self, host: &str, key: &SigningKey) -> Told {
        let path = format!("/v1/hosts/{host}/certificate");
        let proof = self.proof(key, "POST", &path);
        self.post_proved(&path, &proof).await
    }

    /// What [`Installed::renew`] gives, if it does.
    pub async fn renewed(&self, host: &str, key: &SigningKey) -> HostCertificate {
        let told = self.renew(host, key).await;
        assert_eq!(told.status, 200, "{}", told.text());
        told.json()
    }

    /// A report that asks for a self-test.
    pub fn testing(&self, host: &str, account: &str, fresh: &SigningKey) -> HostReport {
        HostReport {
            header: self.header(Kind::Report),
            host: host.parse().unwrap(),
            seq: 0,
            report: Report::SelfTest(SelfTest {
                account: account.parse().unwrap(),
                public_key: public(fresh),
            }),
        }
    }

    pub async fn self_test(&self, words: &HostReport, key: &SigningKey) -> Told {
        let path = format!("/v1/hosts/{}/self-tests", words.host);
        let words = Statement::Report(Box::new(words.clone()));
        self.post(&path, &sign_ed25519(key, Kind::Report, &words.write())).await
    }

    pub async fn self_tested(&self, words: &HostReport, key: &SigningKey) -> SelfTestCertificate {
        let told = self.self_test(words, key).await;
        assert_eq!(told.status, 200, "{}", told.text());
        told.json()
    }

    /// The certificate is what a host expects.
    #[track_caller]
    pub fn accepts(&self, certificate: &str, host: &str, key: &SigningKey) -> AcceptedHost {
        let host = host.parse().unwrap();
        let ca_key = self.road.published().keys().host_ca;
        let expected = ExpectedHost { public_key: public(key), ca_key, host: &host, now: self.clock.wall() };
        compare_host(certificate, &expected).unwrap()
    }
}
