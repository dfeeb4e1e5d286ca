//! `fireaxe-ca policy ...` as an operator runs it: the real binary, folders on disk, a log that a CA wrote.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

mod installed;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fireaxe_protocol::log::{Event, Hash};
use fireaxe_protocol::policy::{Bundle, Presence};
use fireaxe_protocol::statement::{Claimed, EnrolledKey, Envelope, Statement};
use installed::{ANA, BEN, Installed, signed};
use serde_json::Value;

const POLICY: &str = include_str!("../../policies/default/policy.toml");
const ROSTER: &str = include_str!("../../policies/default/roster.toml");

/// What a command did.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn policy(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fireaxe-ca"));
    ran(command.arg("policy").args(args).env_remove("FIREAXE_CA_DATA").stdin(Stdio::null()).output().unwrap())
}

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self, schema: &str) -> Value {
        let value: Value = serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out));
        assert_eq!(value["schema"], schema);
        value
    }
}

/// A folder with a bundle: the default policy with texts replaced, each of which must be there.
fn folder(dir: &Path, name: &str, edits: &[(&str, &str)], roster: &str) -> String {
    let mut text = POLICY.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from:?}");
        text = text.replacen(from, to, 1);
    }
    let path = dir.join(name);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("policy.toml"), text).unwrap();
    std::fs::write(path.join("roster.toml"), roster).unwrap();
    path.display().to_string()
}

const LONGER: (&str, &str) = ("ttl = \"45m\"\n", "ttl = \"1h\"\n");
const ITS_TEST: (&str, &str) = ("ttl = \"45m\" }", "ttl = \"1h\" }");

#[test]
fn diff_says_what_changes_in_words_and_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) =
        (folder(dir.path(), "old", &[], ROSTER), folder(dir.path(), "new", &[LONGER, ITS_TEST], ROSTER));
    let said = policy(&["diff", &old, &new]).exits(0);
    assert!(said.out.contains("\n  tier root: lifetime: 45m -> 1h\n"), "{}", said.out);
    assert!(said.out.contains("\n  looser  payments-db; one host alone; severity 1;"), "{}", said.out);
    assert!(!said.out.contains("denied"), "{}", said.out);
    let told = policy(&["diff", &old, &new, "--json"]).exits(0).json("fireaxe.policy_diff/v1");
    assert_eq!((&told["looser"], &told["parts"][0]["name"]), (&true.into(), &"root".into()));
    assert_eq!(told["cells"][0]["change"]["what"][0], "lifetime: 45m -> 1h");
    let back = policy(&["diff", &new, &old, "--json"]).exits(0).json("fireaxe.policy_diff/v1");
    assert_eq!(back["looser"], false);
    // As git does.
    policy(&["diff", &old, &new, "--exit-code"]).exits(1);
    assert_eq!(policy(&["diff", &old, &old, "--exit-code"]).exits(0).out.lines().count(), 1);
    // What is wrong with both is told at once.
    let broken = [("power = 1\n", "pwoer = 1\n")];
    let (a, b) = (folder(dir.path(), "a", &broken, ROSTER), folder(dir.path(), "b", &broken, ROSTER));
    let failed = policy(&["diff", &a, &b]).exits(78);
    assert_eq!(failed.err.matches("did you mean `power`?").count(), 2, "{}", failed.err);
}

#[test]
fn check_prints_its_findings_as_json_whether_or_not_the_bundle_parses() {
    let dir = tempfile::tempdir().unwrap();
    let good = folder(dir.path(), "good", &[], ROSTER);
    let told = policy(&["check", &good, "--json"]).exits(0).json("fireaxe.policy_check/v1");
    assert_eq!((&told["ok"], &told["findings"]), (&true.into(), &Value::Array(vec![])));
    assert!(told["table"].as_str().unwrap().contains("payments-db"));
    let falls = [("\"fix\",  \"guarded\"", "\"guarded\",  \"fix\"")];
    let unsound = folder(dir.path(), "unsound", &falls, ROSTER);
    let told = policy(&["check", &unsound, "--json"]).exits(78).json("fireaxe.policy_check/v1");
    assert_eq!((&told["ok"], &told["findings"][0]["code"]), (&false.into(), &"row.not_monotone".into()));
    assert!(told["findings"][0]["line"].as_u64().unwrap() > 1 && told["bundle"].is_string());
    let broken = folder(dir.path(), "broken", &[("power = 1\n", "pwoer = 1\n")], ROSTER);
    let told = policy(&["check", &broken, "--json"]).exits(78).json("fireaxe.policy_check/v1");
    let findings = told["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["help"] == "did you mean `power`?"), "{told}");
    assert!(told["bundle"].is_null());
}

/// The text between two marks, unescaped: as much XML as a test's result has.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Vec<String> {
    let unescape = |text: &'t str| {
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        text.replace("&apos;", "'").replace("&#10;", "\n").replace("&amp;", "&")
    };
    text.split(before).skip(1).map(|rest| unescape(rest.split(after).next().unwrap())).collect()
}

#[test]
fn test_writes_what_failed_for_a_build_server() {
    let dir = tempfile::tempdir().unwrap();
    let xml = dir.path().join("tests.xml");
    let junit = xml.display().to_string();
    let name = ("\"one database host at its worst: root\"", "'a<b> & \"c\"'");
    let failing = folder(dir.path(), "failing", &[LONGER, name], ROSTER);
    let tests = POLICY.lines().filter(|line| *line == "[[test]]").count();
    assert!(tests > 1);
    let said = policy(&["test", &failing, "--junit", &junit]).exits(78);
    assert!(said.out.contains("FAIL policy.toml:"), "{}", said.out);
    assert!(said.err.contains(&format!("{tests} tests, 1 failed")), "{}", said.err);
    let text = std::fs::read_to_string(&xml).unwrap();
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite "), "{text}");
    assert_eq!(between(&text, " tests=\"", "\""), [tests.to_string()]);
    assert_eq!(between(&text, " failures=\"", "\""), ["1"]);
    let names = between(&text, "<testcase classname=\"policy.toml\" name=\"", "\"");
    assert_eq!((names.len(), names[1].as_str()), (tests, "a<b> & \"c\""));
    let failures = between(&text, "<failure message=\"", "\"");
    assert_eq!(failures, ["ttl: 2700 s is expected, 3600 s came out"]);
    let line: usize = between(&text, " line=\"", "\"")[1].parse().unwrap();
    let policy_text = std::fs::read_to_string(Path::new(&failing).join("policy.toml")).unwrap();
    let at = policy_text.lines().nth(line - 1).unwrap();
    assert_eq!(at, "given = { host = \"db-3.payments.prod\", severity = 1 }");
    let told = policy(&["test", &failing, "--json"]).exits(78).json("fireaxe.policy_test/v1");
    assert_eq!((&told["failed"], &told["tests"][1]["passed"]), (&1.into(), &false.into()));
    let good = folder(dir.path(), "good", &[], ROSTER);
    policy(&["test", &good, "--junit", &junit]).exits(0);
    assert!(!std::fs::read_to_string(&xml).unwrap().contains("<failure"));
}

#[test]
fn explain_takes_the_facts_that_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let rules = r#"
[[rule]]
id = "outsider"
when = { on_call = false }
add = { ttl = "10m" }
why = "x"
"#;
    let bundle = folder(dir.path(), "b", &[], ROSTER);
    let file = Path::new(&bundle).join("policy.toml");
    std::fs::write(&file, format!("{POLICY}{rules}")).unwrap();
    let decided = |more: &[&str]| {
        let args = [&["explain", &bundle, "db-3.payments.prod", "--person", "ana", "-s", "2"], more].concat();
        let told = policy(&[&args[..], &["--json"]].concat()).exits(0).json("fireaxe.decision/v1");
        (told["decision"].clone(), told["facts"].clone())
    };
    let lifetime = |more: &[&str]| decided(more).0["outcome"]["permit"]["lifetime_s"].clone();
    assert_eq!(lifetime(&[]), 1800);
    assert_eq!(lifetime(&["--on-call", "yes"]), 1800);
    assert_eq!(lifetime(&["--on-call", "no"]), 600);
    // What nobody can tell counts as the tighter.
    assert_eq!(lifetime(&["--on-call", "unknown"]), 600);
    assert_eq!(lifetime(&["--signal", "off-call"]), 600);
    assert_eq!(
        (&decided(&[]).0["band"], &decided(&["--host-open"]).0["band"]),
        (&"medium".into(), &"high".into())
    );
    let (_, facts) = decided(&["--signal", "new-key", "--extension", "2"]);
    assert_eq!(
        (&facts["signals"]["new_key"], &facts["signals"]["new_network"]),
        (&true.into(), &false.into())
    );
    assert_eq!(facts["extension"], 2);
    let (_, facts) = decided(&["shard=12", "force=no", "--action", "restart-payments"]);
    let params = serde_json::json!({"action": ["restart-payments", [["force", "no"], ["shard", "12"]]]});
    assert_eq!(facts["want"], params);
    // In words: each step with its line, sums and all.
    let words =
        policy(&["explain", &bundle, "db-3.payments.prod", "--person", "ana", "-s", "2"]).exits(0).out;
    assert!(words.contains("sensitivity 4 x blast 2 = 8, row medium   (policy.toml:"), "{words}");
    let wrong = policy(&["explain", &bundle, "db-3.payment.prod", "--person", "anna"]).exits(1);
    assert!(wrong.err.contains("no anna") && wrong.err.contains("db-*.payments.prod"), "{}", wrong.err);
    let wrong = policy(&["explain", &bundle, "web", "--person", "ana", "--signal", "nwe-key"]).exits(2);
    assert!(wrong.err.contains("unusual-hour"), "{}", wrong.err);
}

/// A CA in which ana opened something of each system, was refused once, and ben opened something too.
async fn history() -> Installed {
    let ca = Installed::new();
    for (by, target, severity) in
        [(ANA, "payments-db", 3), (ANA, "payments-db", 2), (BEN, "web", 2), (ANA, "build", 2)]
    {
        let mut words = ca.declare(target);
        words.severity = Some(severity.try_into().unwrap());
        ca.open_emergency(by, &words).await;
    }
    let mut words = ca.declare("payments-db");
    words.severity = Some(4.try_into().unwrap());
    let refused = ca.send(&signed(ANA, &Statement::Declare(words))).await;
    refused.problem(403, "policy.denied");
    ca
}

/// The bundle of that CA with other lifetimes, and no web for anybody.
fn candidate(ca: &Installed) -> String {
    let roster = std::fs::read_to_string(ca.folder().join("bundle/roster.toml")).unwrap();
    let path = folder(ca.folder(), "candidate", &[LONGER, ITS_TEST], &roster);
    let file = Path::new(&path).join("policy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (text, tests) = text.split_at(text.find("# --- Worked examples").unwrap());
    let fix = "extensions = [\"pty\"]\nttl = \"30m\"";
    assert!(text.contains(fix));
    let rule =
        "[[rule]]\nid = \"frozen\"\nwhen = { systems = [\"web\"] }\nadd = { deny = true }\nwhy = \"x\"\n\n";
    let text = text.replacen(fix, "extensions = [\"pty\"]\nttl = \"20m\"", 1);
    std::fs::write(&file, format!("{text}{rule}{tests}")).unwrap();
    path
}

#[tokio::test]
async fn simulate_decides_a_history_again_while_the_ca_runs() {
    let ca = history().await;
    let data = ca.data().path().display().to_string();
    let candidate = candidate(&ca);
    let said = policy(&["simulate", &candidate, "--against", &data]).exits(77);
    assert_eq!(
        said.out.lines().collect::<Vec<_>>(),
        [
            "tighter EM-2 ana payments-db (entry 6): lifetime: 30m -> 20m",
            "denied  EM-3 ben web (entry 8): tier fix -> refused (rule.denied)",
            "looser  EM-4 ana build (entry 10): lifetime: 45m -> 1h",
        ],
        "{}",
        said.err
    );
    assert!(said.err.starts_with("the bundle is sound and passes its own tests\n"), "{}", said.err);
    let sums = "5 decisions: 2 the same, 1 tighter, 1 looser, 1 denied";
    assert!(said.err.contains(sums) && said.err.contains("--acknowledge-looser"), "{}", said.err);
    // Seen and meant; as data; from a file; from later on.
    let again = ["simulate", &candidate, "--against", &data, "--acknowledge-looser"];
    policy(&again).exits(0);
    let log = ca.data().log().display().to_string();
    let told = policy(&["simulate", &candidate, "--against", &log, "--json"]).exits(77);
    let told = told.json("fireaxe.policy_simulate/v1");
    let counts = ["same", "tighter", "looser", "denied"].map(|key| told[key].as_u64().unwrap());
    assert_eq!((counts, &told["sound"]), ([2, 1, 1, 1], &true.into()));
    assert_eq!(told["changes"][1]["verdict"], "denied");
    let later = policy(&["simulate", &candidate, "--against", &data, "--since", "EM-3"]).exits(77);
    assert_eq!(later.out.lines().count(), 2, "{}", later.out);
    assert!(later.err.contains("3 decisions"), "{}", later.err);
    // A milder tier is tighter because the policy that decided, which the log holds, ranks it lower.
    let roster = std::fs::read_to_string(ca.folder().join("bundle/roster.toml")).unwrap();
    let cell = ("high   = [\"deny\", \"look\", \"fix\"", "high   = [\"deny\", \"look\", \"look\"");
    let meanwhile = ("meanwhile = \"fix\"", "meanwhile = \"look\"");
    let milder = folder(ca.folder(), "milder", &[cell, meanwhile], &roster);
    let file = Path::new(&milder).join("policy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.split("# --- Worked examples").next().unwrap()).unwrap();
    let said = policy(&["simulate", &milder, "--against", &data]).exits(0);
    let first = "tighter EM-2 ana payments-db (entry 6): tier: fix (power 2) -> look (power 1); account";
    assert!(said.out.starts_with(first) && said.out.lines().count() == 1, "{}", said.out);
    // The bundle in force changes nothing.
    let own = ca.folder().join("bundle").display().to_string();
    let same = policy(&["simulate", &own, "--against", &data]).exits(0);
    assert_eq!(same.out, "");
    assert!(same.err.contains("5 decisions: 5 the same"), "{}", same.err);
}

#[tokio::test]
async fn simulate_does_not_pass_what_could_not_be_put_in_force() {
    let ca = history().await;
    let data = ca.data().path().display().to_string();
    let roster = std::fs::read_to_string(ca.folder().join("bundle/roster.toml")).unwrap();
    // Its own test fails, and it is looser: both are said, and acknowledging one is not enough.
    let failing = folder(ca.folder(), "failing", &[LONGER], &roster);
    let said = policy(&["simulate", &failing, "--against", &data]).exits(78);
    assert!(said.err.contains("test fails") && said.err.contains("would be looser"), "{}", said.err);
    policy(&["simulate", &failing, "--against", &data, "--acknowledge-looser"]).exits(78);
    // A person who is gone, and a log that is not there.
    let gone = folder(ca.folder(), "gone", &[], &roster.replace("[person.ben]", "[person.bert]"));
    let said = policy(&["simulate", &gone, "--against", &data]).exits(0);
    assert!(said.out.contains("denied  EM-3 ben web"), "{}", said.out);
    assert!(said.out.contains("the roster has no ben"), "{}", said.out);
    let nowhere = ca.folder().join("nowhere").display().to_string();
    assert!(policy(&["simulate", &gone, "--against", &nowhere]).exits(1).err.contains("there is no CA"));
}

fn keygen(args: &[&str], input: Option<&Path>) -> Output {
    let stdin = input.map_or(Stdio::null(), |path| std::fs::File::open(path).unwrap().into());
    Command::new("ssh-keygen").args(args).stdin(stdin).output().unwrap()
}

/// The leaf of the activation, and the bundle's hash.
fn in_force(ca: &Installed) -> (Hash, Hash) {
    let mut found = None;
    let each = |_: u64, entry: fireaxe_protocol::log::Entry, leaf| {
        if let Event::BundleActivated { bundle, .. } = entry.event {
            found = Some((leaf, bundle));
        }
    };
    ca.reader().replay(each).unwrap();
    found.unwrap()
}

fn hash_of(folder: &str) -> Hash {
    let read = |name: &str| std::fs::read_to_string(Path::new(folder).join(name)).unwrap();
    Bundle::parse(&read("policy.toml"), &read("roster.toml")).unwrap().hash
}

#[tokio::test]
async fn a_statement_is_what_ssh_keygen_signs_and_the_ca_will_read() {
    let ca = history().await;
    let (data, candidate) = (ca.data().path().display().to_string(), candidate(&ca));
    let file: PathBuf = ca.folder().join("change.json");
    let path = file.display().to_string();
    let said = policy(&["statement", &candidate, "--data", &data, "-o", &path]).exits(0);
    assert_eq!(said.out, "");
    assert!(said.err.contains("tier root: lifetime: 45m -> 1h"), "{}", said.err);
    assert!(
        said.err.contains(&format!("ssh-keygen -Y sign -n bundle.v1@fireaxe -f KEY {path}")),
        "{}",
        said.err
    );
    assert!(said.err.contains(&format!("policy activate {candidate} --data {data} --signed {path}")));
    let signers = said.err.contains("2 of group security must sign") && !said.err.contains("gains by it");
    assert!(signers, "{}", said.err);
    let text = std::fs::read_to_string(&file).unwrap();
    // Not a byte behind it: a newline would be signed too.
    assert!(text.ends_with('}'), "{text:?}");
    let Ok(Statement::Bundle(words)) = Statement::read(&text) else { panic!("{text}") };
    assert_eq!((words.of, words.bundle), (in_force(&ca).0, hash_of(&candidate)));
    assert_eq!(words.header.to, ca.origin);

    // Signed by OpenSSH, verified by OpenSSH and by us.
    let key = ca.folder().join("key").display().to_string();
    assert!(keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "ben", "-f", &key], None).status.success());
    let signing = keygen(&["-Y", "sign", "-n", "bundle.v1@fireaxe", "-f", &key, &path], None);
    assert!(signing.status.success(), "{}", String::from_utf8_lossy(&signing.stderr));
    let public = std::fs::read_to_string(format!("{key}.pub")).unwrap();
    let allowed = ca.folder().join("allowed").display().to_string();
    std::fs::write(&allowed, format!("ben {public}")).unwrap();
    let verify = |namespace| {
        let signature = format!("{path}.sig");
        let args = ["-Y", "verify", "-f", &allowed, "-I", "ben", "-n", namespace, "-s", &signature];
        keygen(&args, Some(&file)).status.success()
    };
    assert!(verify("bundle.v1@fireaxe") && !verify("close.v1@fireaxe"));
    let signature = std::fs::read_to_string(format!("{path}.sig")).unwrap();
    let claimed = Claimed::read(Envelope { statement: text.clone(), signature }).unwrap();
    let proved = claimed.verify(&EnrolledKey::read(public.trim_end()).unwrap()).unwrap();
    assert_eq!(proved.presence, Presence::None);

    // A file that may be signed already is not written over; to stdout the same words, with another nonce.
    let taken = policy(&["statement", &candidate, "--data", &data, "-o", &path]).exits(1);
    assert!(taken.err.contains("next:"), "{}", taken.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let out = policy(&["statement", &candidate, "--data", &data]).exits(0).out;
    assert!(out.ends_with('}'), "{out:?}");
    let Ok(Statement::Bundle(other)) = Statement::read(&out) else { panic!("{out}") };
    assert_eq!((other.of, other.bundle), (words.of, words.bundle));
    assert_ne!(other.header.nonce, words.header.nonce);
    // Away from the CA.
    let (of, to) = (words.of.to_string(), ca.origin.to_string());
    let away = policy(&["statement", &candidate, "--of", &of, "--to", &to]).exits(0).out;
    let Ok(Statement::Bundle(away)) = Statement::read(&away) else { panic!("{away}") };
    assert_eq!((away.of, away.bundle, away.header.to), (words.of, words.bundle, words.header.to));
}

#[tokio::test]
async fn there_are_no_words_for_what_could_not_be_put_in_force() {
    let ca = Installed::new();
    let data = ca.data().path().display().to_string();
    let roster = std::fs::read_to_string(ca.folder().join("bundle/roster.toml")).unwrap();
    let falls = [("\"fix\",  \"guarded\"", "\"guarded\",  \"fix\""), LONGER];
    let unsound = folder(ca.folder(), "unsound", &falls, &roster);
    let refused = policy(&["statement", &unsound, "--data", &data]).exits(78);
    assert_eq!(refused.out, "");
    assert!(
        refused.err.contains("row.not_monotone") && refused.err.contains("test fails"),
        "{}",
        refused.err
    );
    let own = ca.folder().join("bundle").display().to_string();
    let refused = policy(&["statement", &own, "--data", &data]).exits(1);
    assert!(refused.out.is_empty() && refused.err.contains("in force already"), "{}", refused.err);
    policy(&["statement", &own]).exits(2);
    // Who signs for their own good is named.
    let alone = folder(ca.folder(), "alone", &[], &roster.replace("quorum = 2", "quorum = 1"));
    let said = policy(&["statement", &alone, "--data", &data]).exits(0);
    assert!(said.err.contains("cleo gains by it beside what all gain: role policy_admin"), "{}", said.err);
    policy(&["statement", &own, "--of", &in_force(&ca).0.to_string()]).exits(2);
}
