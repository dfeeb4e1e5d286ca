//! Certificates and witnesses: what a receipt carries, when it does, and what stops the CA. The witnesses are the
//! test's own; the real ones are in `ca/src/witness/` and `tests/tests/hostile_ca.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's own steps may fail it")]

mod installed;

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use fireaxe_ca::fence::{Fence, Source};
use fireaxe_ca::log::Relation;
use fireaxe_ca::road::{Ahead, Cosigners};
use fireaxe_protocol::api::Opened;
use fireaxe_protocol::certificate::cut_receipt;
use fireaxe_protocol::log::cosignature::cosigned;
use fireaxe_protocol::log::{Checkpoint, Cosigner, Hash, Receipt};
use fireaxe_protocol::statement::{Declare, Statement};
use installed::{ANA, BEN, Installed, signed};

/// Witnesses as the test wants them.
#[derive(Default)]
struct Said {
    /// Whether they answer those who wait.
    answers: bool,
    /// What comes beside the road.
    beside: Vec<String>,
    ahead: Option<Ahead>,
    /// A fence that is raised while they are asked.
    raises: Option<Arc<Fence>>,
    /// Heads that nobody waited for, and those that somebody did.
    heads: (Vec<u64>, Vec<u64>),
    newest: String,
}

const OTHER: &str = "ca.payments/0123456789abcdef";

#[derive(Clone, Default)]
struct Site(Arc<Mutex<Said>>);

fn witness() -> Cosigner {
    Cosigner::new("witness.example/w1", SigningKey::from_bytes(&[7; 32])).unwrap()
}

fn with_line(note: &str) -> String {
    let (head, _) = note.split_once("\n\n").unwrap();
    note.to_owned() + &witness().cosign(&format!("{head}\n"), 7)
}

impl Cosigners for Site {
    fn committed(&self, size: u64, note: &str) {
        let mut said = self.0.lock().unwrap();
        said.heads.0.push(size);
        said.newest = note.to_owned();
    }

    fn cosign(&self, size: u64, note: &str) -> Option<String> {
        let mut said = self.0.lock().unwrap();
        said.heads.1.push(size);
        said.newest = note.to_owned();
        if let Some(fence) = said.raises.take() {
            let head = Checkpoint { origin: OTHER.parse().unwrap(), size: size + 9, root: Hash([9; 32]) };
            fence.raise(Source::Mirror, "a note", &head, Relation::Beyond, size).unwrap();
        }
        said.answers.then(|| with_line(note))
    }

    fn arrived(&self) -> Option<String> {
        self.0.lock().unwrap().beside.pop()
    }

    fn ahead(&self) -> Option<Ahead> {
        self.0.lock().unwrap().ahead.clone()
    }
}

/// The body of a certificate, and how many witnesses its receipt has.
fn parts(certificate: &str) -> (Vec<u8>, usize) {
    use base64::Engine;
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(certificate.split(' ').nth(1).unwrap()).unwrap();
    let cut = cut_receipt(&bytes).unwrap();
    let receipt = Receipt::decode(cut.receipt.as_bytes()).unwrap();
    (cut.body.as_bytes().to_vec(), cosigned(&receipt.checkpoint, [witness().key()]).unwrap().len())
}

/// The same statement once more.
async fn again(ca: &Installed, words: &Declare) -> String {
    let told = ca.send(&signed(ANA, &Statement::Declare(words.clone()))).await;
    assert_eq!(told.status, 200, "{}", told.text());
    told.json::<Opened>().certificate.unwrap()
}

#[tokio::test]
async fn a_certificate_carries_what_witnesses_said_in_time_and_is_the_same_ever_after() {
    let site = Site::default();
    site.0.lock().unwrap().answers = true;
    let ca = Installed::witnessed(Box::new(site.clone()));
    let words = ca.declare("payments-db");
    let first = ca.open_emergency(ANA, &words).await.certificate.unwrap();
    assert_eq!(parts(&first).1, 1);
    let second = again(&ca, &words).await;
    assert_eq!(second, first, "the same bytes");
    // One head was waited for, with the certificate; what signs nothing waits for nobody.
    let waited = site.0.lock().unwrap().heads.1.len();
    assert_eq!(waited, 1);
    ca.incident("pd:A", 1, "open", "payments-db").await;
    {
        let said = site.0.lock().unwrap();
        assert_eq!((said.heads.1.len(), said.heads.0.last().copied()), (1, Some(ca.size())));
    }
    assert!(
        !ca.get("/log/checkpoint", None).await.text().contains("witness.example"),
        "the newest is not seen yet"
    );
    ca.verifies();
}

#[tokio::test]
async fn without_a_quorum_a_certificate_comes_and_a_retry_has_the_same_body_with_witnesses() {
    let site = Site::default();
    let ca = Installed::witnessed(Box::new(site.clone()));
    let words = ca.declare("payments-db");
    let plain = ca.open_emergency(ANA, &words).await.certificate.unwrap();
    let (body, by) = parts(&plain);
    assert_eq!(by, 0);
    assert_eq!(again(&ca, &words).await, plain, "as long as nobody saw it");
    // They come back, and cosign the newest head beside the road.
    {
        let mut said = site.0.lock().unwrap();
        let note = with_line(&said.newest);
        said.beside.push(note);
    }
    let with = again(&ca, &words).await;
    assert_eq!(parts(&with), (body, 1));
    assert!(ca.get("/log/checkpoint", None).await.text().contains("witness.example/w1"));
    assert_eq!(again(&ca, &words).await, with, "for ever");
    let ca = ca.restart();
    assert_eq!(again(&ca, &words).await, with, "and without witnesses too");
    ca.verifies();
}

#[tokio::test]
async fn a_witness_that_is_ahead_stops_everything_and_health_says_so() {
    let site = Site::default();
    site.0.lock().unwrap().answers = true;
    let ca = Installed::witnessed(Box::new(site.clone()));
    let opened = ca.open_emergency(ANA, &ca.declare("payments-db")).await;
    let size = ca.size();
    site.0.lock().unwrap().ahead = Some(Ahead { witness: "witness.example/w1".into(), size: 999 });
    let told = ca.send(&signed(BEN, &Statement::Declare(ca.declare("payments-db")))).await;
    let problem = told.problem(503, "witness.ahead");
    assert!(problem.title.contains("999"), "{problem:?}");
    ca.close_emergency(ANA, &opened).await.problem(503, "witness.ahead");
    assert_eq!(ca.size(), size, "an entry on top of another past");
    // What is read goes on, as behind any fence.
    let (session, path) = (ca.login(BEN).await, "/v1/requests");
    assert_eq!(ca.get(path, Some(&ca.proof(&session, "GET", path))).await.status, 200);
    let health = ca.operator("GET", "/healthz", serde_json::Value::Null).await;
    assert!(health.status == 503 && health.text().contains("ahead of this log"), "{}", health.text());
    // It was a mistake: it goes on by itself.
    site.0.lock().unwrap().ahead = None;
    assert_eq!(ca.close_emergency(ANA, &opened).await.status, 200);
    ca.verifies();
}

#[tokio::test]
async fn a_fence_that_is_raised_during_a_commit_keeps_what_was_committed_unsigned() {
    let site = Site::default();
    site.0.lock().unwrap().answers = true;
    let ca = Installed::witnessed(Box::new(site.clone()));
    let before = ca.size();
    site.0.lock().unwrap().raises = Some(ca.road.published().fence().clone());
    let words = signed(ANA, &Statement::Declare(ca.declare("payments-db")));
    ca.send(&words).await.problem(503, "ca.fenced");
    assert!(ca.size() > before, "it is in the log");
    ca.send(&words).await.problem(503, "ca.fenced");
}
