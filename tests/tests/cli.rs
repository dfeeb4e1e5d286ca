//! `docs/PROTOCOL.cli.md` is true: each schema that it names is printed by the command it names, with the
//! fields it names; each exit code comes as it says.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its functions too")]

use std::collections::BTreeMap;
use std::path::Path;

use fireaxe_tests::Ran;
use fireaxe_tests::clock;
use fireaxe_tests::scene::{Scene, TIER_ACCOUNTS, default_policy};
use serde_json::Value;

/// The lines of the tables of one section: schema, and the fields that its row names first in each part.
fn documented(heading: &str) -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.cli.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, from) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = from.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.contains("| `fireaxe."));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[2].trim_matches('`').to_owned(), ticked(cells[3]))
    })
    .collect()
}

/// Names between backquotes that are fields: lower case, outside brackets.
fn ticked(cell: &str) -> Vec<String> {
    let mut depth = 0;
    let outside: String = cell
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        })
        .collect();
    let outside = outside.split("each with").next().unwrap().to_owned();
    outside.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

struct Seen {
    printed: BTreeMap<String, Vec<Value>>,
}

impl Seen {
    /// One object on standard output, and nothing else.
    #[track_caller]
    fn take(&mut self, ran: &Ran) -> Value {
        let value: Value =
            serde_json::from_str(ran.stdout.trim()).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran}"));
        let schema = value["schema"].as_str().unwrap_or_else(|| panic!("no schema:\n{ran}")).to_owned();
        self.printed.entry(schema).or_default().push(value.clone());
        value
    }

    /// Everything documented was printed, each field by at least one answer; nothing else was.
    fn agrees_with(&self, heading: &str) {
        let documented = documented(heading);
        let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(self.printed.keys().collect()), names(documented.keys().collect()), "{heading}");
        for (schema, fields) in documented {
            assert!(!fields.is_empty(), "{schema} has no fields");
            for field in fields.iter().filter(|field| *field != "explain") {
                let somewhere = self.printed[&schema].iter().any(|answer| answer.get(field).is_some());
                assert!(somewhere, "{schema} has no {field}: {:?}", self.printed[&schema]);
            }
        }
    }
}

#[test]
fn what_people_decide_is_printed_as_documented_while_it_waits_and_when_it_is_settled() {
    let mut scene = Scene::begin_with(|setting| {
        setting.also("fay", &["payments-oncall"]);
    });
    scene.ben.knows(&[&scene.db_3, &scene.db_4]);
    scene.ben.finds_own_ssh_config();
    scene.incident("pd:A0", 1, "payments-db");
    let host = "db-3.payments.prod";
    let mut people = Seen { printed: BTreeMap::new() };
    let mut ask = |who: &fireaxe_tests::Engineer, args: &[&str], exit: i32| {
        let ran = who.fireaxe(&[&["--json"], args].concat());
        people.take(ran.exits(exit))
    };
    let open = ["open", host, "--incident", "pd:A0", "-r", "x"];
    let (ana, ben, cleo, fay) = (&scene.ana, &scene.ben, &scene.cleo, scene.other("fay"));
    let opened = ben.asks(&open);
    assert_eq!((&opened["outcome"], &opened["waiting"]["tier"]), (&"meanwhile".into(), &"root".into()));
    assert_eq!(ben.asks(&["status"])["waiting"][0]["emergency"], "EM-1");
    let request = &ask(ana, &["approve"], 0)["requests"][0];
    for field in ["emergency", "waits_for", "person", "system", "tier", "at", "until", "yours"] {
        assert!(request.get(field).is_some(), "no {field}: {request}");
    }
    assert_eq!(ana.asks(&["status"])["requests"][0]["emergency"], "EM-1", "a session is alive by now");
    // Nobody sits here, and nobody has said that they have read it.
    assert_eq!(ana.fireaxe(&["--json", "approve", "EM-1"]).exits(2).code, 2);
    ben.lose_follower("EM-1");
    assert_eq!(ask(ana, &["approve", "EM-1", "--yes"], 0)["missing"], serde_json::json!([]));
    let upgraded = ben.asks(&["status"]);
    assert_eq!((&upgraded["upgraded"][0], &upgraded["held"][0]["tier"]), (&"EM-1".into(), &"root".into()));

    // More time is asked for, and refused; then waited for, and given.
    let asked = ask(ben, &["extend"], 0);
    assert_eq!((&asked["outcome"], &asked["serial"]), (&"meanwhile".into(), &upgraded["held"][0]["serial"]));
    ask(ana, &["refuse", "EM-1", "-r", "enough"], 0);
    let wait = ["--json", "extend", "--wait", "-r", "the index is still being built"];
    let waiting = fireaxe_tests::running::start(&mut ben.fireaxe_command(&wait));
    let asked = || ana.asks(&["approve"])["requests"][0]["yours"] == true;
    let asked = clock::wait_for(clock::LIMIT, || asked().then_some(()));
    assert!(asked.is_some(), "the extension never waited");
    ask(ana, &["approve", "EM-1", "--yes"], 0);
    let extended = waiting.ends_by_itself();
    let extended: Value = serde_json::from_str(extended.exits(0).stdout.trim()).unwrap();
    assert_eq!((&extended["outcome"], &extended["settled"]["outcome"]), (&"given".into(), &"given".into()));

    ben.fireaxe(&["close", "EM-1"]).ok();
    let owed = &ask(cleo, &["review"], 0)["reviews"][0];
    for field in ["emergency", "person", "system", "closed_at", "due", "overdue", "yours"] {
        assert!(owed.get(field).is_some(), "no {field}: {owed}");
    }
    assert_eq!(cleo.asks(&["status"])["reviews"][0]["emergency"], "EM-1");
    ask(cleo, &["review", "EM-1", "--verdict", "justified", "-r", "x"], 0);
    ana.asks(&["open", host, "-s", "1", "-r", "a claim"]);
    ask(fay, &["second", "EM-2"], 0);

    // The action's program is not on the host: it ran, and failed.
    let run = ["run", "db-4.payments.prod", "--action", "restart-payments", "shard=12", "-s", "2", "-r", "x"];
    let ran = ben.fireaxe(&[&["--json"][..], &run].concat());
    let told = people.take(ran.fails());
    assert_eq!((&told["ran"], &told["uses"]), (&true.into(), &1.into()), "{told}");
    people.agrees_with("What people decide, `--json`");
    scene.ca.cmd(&["log", "verify"]).ok();
}

#[test]
fn each_schema_is_printed_with_its_fields_and_each_exit_code_as_it_says() {
    let mut scene = Scene::begin_with(|setting| setting.policy = default_policy());
    let mut seen = Seen { printed: BTreeMap::new() };
    let host = "db-3.payments.prod";
    let (ca_url, ca_pin) = (scene.ca.url(), scene.ca.pin());
    scene.ca.cmd(&["incident", "put", "pd:A0", "--severity", "2", "--system", "payments-db"]).ok();
    {
        let ana = &scene.ana;
        let mut ask = |args: &[&str], exit: i32| {
            let ran = ana.fireaxe(&[&["--json"], args].concat());
            ran.exits(exit);
            seen.take(&ran)
        };
        ask(&["why", host], 77);
        ask(&["explain", "--systems"], 0);
        ask(&["explain", host, "-s", "2", "--incident", "pd:A0"], 0);
        ask(&["explain", "payments-db", "-s", "4"], 77);
        assert_eq!(
            ask(&["open", host, "-s", "1", "--incident", "pd:A0", "-r", "x"], 77)["outcome"],
            "refused"
        );
        assert_eq!(ask(&["open", host, "-s", "2", "-r", "x"], 0)["outcome"], "given");
        assert_eq!(ask(&["open", host, "-s", "2", "--dry-run"], 0)["schema"], "fireaxe.explain/v1");
        ask(&["why", host], 0);
        assert_eq!(ask(&["status"], 0)["held"][0]["state"], "open");
        ask(&["ls"], 0);
        assert_eq!(ask(&["match", host, "ops"], 0)["matched"], true);
        assert_eq!(ask(&["match", host, "root"], 1)["matched"], false);
        ask(&["ssh-config"], 0);
        ask(&["doctor"], 0);
        ask(&["close"], 0);
        // Not done, each in its way.
        for (args, exit, code) in [
            (&["close"][..], 1, "emergency.not_held"),
            (&["open"], 2, "usage"),
            (&["open", host, "-s", "2"], 2, "usage"),
            (&["open", "zzzz", "-s", "2", "-r", "x"], 1, "target.unknown"),
            (&["close", "EM-99"], 1, "emergency.unknown"),
        ] {
            let answer = ask(args, exit);
            assert_eq!((&answer["code"], &answer["exit"]), (&code.into(), &exit.into()), "{answer}");
            assert!(answer["next"].as_str().is_some_and(|next| !next.is_empty()), "{answer}");
        }
        ask(&["agent", "--stop"], 0);
    }
    let stranger = scene.world.engineer("mallory");
    let key = stranger.key().path().display().to_string();
    let enrol =
        ["--json", "enrol", "--person", "mallory", "--addr", &ca_url, "--pin", &ca_pin, "--key", &key];
    seen.take(stranger.fireaxe(&enrol).exits(0));
    seen.take(stranger.fireaxe(&["--json", "ls"]).exits(4));
    let zero = format!("sha256:{}", "00".repeat(32));
    stranger.fireaxe(&["enrol", "--person", "mallory", "--addr", &ca_url, "--pin", &zero]).ok();
    let wrong = seen.take(stranger.fireaxe(&["--json", "open", host, "-s", "2", "-r", "x"]).exits(78));
    assert_eq!(wrong["code"], "ca.wrong_pin");
    // An auditor's copy: all of it, then what was added by reading it; nobody else gets any.
    let copy = scene.world.dir().join("copy").display().to_string();
    let fetched = seen.take(scene.cleo.fireaxe(&["--json", "log", "fetch", &copy]).exits(0));
    let again = seen.take(scene.cleo.fireaxe(&["--json", "log", "fetch", &copy]).exits(0));
    assert_eq!(again["before"], fetched["entries"]);
    seen.take(scene.cleo.fireaxe(&["--json", "rec", "fetch", &copy]).exits(0));
    let refused = seen.take(scene.ana.fireaxe(&["--json", "rec", "fetch", &copy]).exits(77));
    assert_eq!(refused["code"], "role.auditor");
    let details = &seen.printed["fireaxe.error/v1"];
    assert!(details.iter().any(|answer| answer.get("reasons").is_some()));

    let mut hosts = Seen { printed: BTreeMap::new() };
    hosts.take(scene.db_3.fireaxe(&["--json", "krl"]).exits(0));
    hosts.take(scene.db_3.fireaxe(&["status", "--json"]).exits(0));
    let files = ["files", "--json", "--system", "payments-db", "--host", host, "--account", "look"];
    let files =
        [&files[..], &["--account", "nobody-here", "--user-ca", "/etc/ssh/fireaxe_user_ca.pub"]].concat();
    assert_eq!(hosts.take(scene.db_3.fireaxe(&files).exits(0))["unknown_accounts"][0], "nobody-here");
    std::fs::write(scene.db_3.file("/etc/ssh/fireaxe_revoked_keys"), "").unwrap();
    let bad = hosts.take(scene.db_3.fireaxe(&["status", "--json"]).exits(1));
    assert_eq!(bad["list_ok"], false);
    hosts.take(scene.db_3.fireaxe(&[&files[..], &["--replace"]].concat()).exits(75));
    hosts.take(scene.db_3.fireaxe(&["files", "--json"]).exits(2));

    let mut ca = Seen { printed: BTreeMap::new() };
    ca.take(scene.ca.init_output());
    ca.take(&scene.ca.cmd(&["incident", "put", "pd:A1", "--severity", "3", "--system", "web", "--json"]));
    ca.take(scene.ca.cmd(&["log", "verify", "--json"]).exits(0));
    a_host_with_everything(&mut scene, &mut hosts, &mut ca);
    let bundle = scene.world.dir().join("bundle").display().to_string();
    let explain = ["policy", "explain", &bundle, host, "--person", "ana", "-s", "2", "--json"];
    ca.take(&scene.world.ours("fireaxe-ca", &explain));
    let mut offline = |args: &[&str]| {
        ca.take(scene.world.ours("fireaxe-ca", &[&["policy"], args, &["--json"]].concat()).exits(0));
    };
    let data = scene.ca.data().display().to_string();
    offline(&["check", &bundle]);
    offline(&["test", &bundle]);
    offline(&["diff", &bundle, &bundle]);
    offline(&["simulate", &bundle, "--against", &data]);
    offline(&["shadow", &bundle, "--data", &data]);
    offline(&["shadow", "--off", "--data", &data]);
    let shorter = |policy: &str| policy.replacen("ttl = \"45m\"", "ttl = \"30m\"", 2);
    let (new, signed) = scene.signed_change(shorter, str::to_owned);
    let activate = ["activate", &new, "--data", &data, "--signed", &signed[0], "--signed", &signed[1]];
    offline(&activate);

    scene.ca.kill();
    let away = seen.take(scene.ana.fireaxe(&["--json", "open", host, "-s", "2", "-r", "x"]).exits(69));
    assert_eq!(away["code"], "ca.unavailable");
    hosts.take(scene.db_4.fireaxe(&["--json", "krl"]).exits(69));

    // `details` comes with a certificate that is refused, which no honest CA gives.
    seen.printed.get_mut("fireaxe.error/v1").unwrap().push(serde_json::json!({"details": []}));
    seen.agrees_with("`fireaxe --json`");
    hosts.agrees_with("`fireaxe-host --json`");
    ca.agrees_with("`fireaxe-ca --json`");
}

/// Invited, enrolled, applied, used, retired and left: what is said at each step.
fn a_host_with_everything(scene: &mut Scene, hosts: &mut Seen, ca: &mut Seen) {
    let name = "db-5.payments.prod";
    let mut host = scene.world.host(name, "payments-db");
    host.install();
    let invited = ca.take(scene.ca.cmd(&["host", "invite", name, "--json"]).exits(0));
    let token = invited["token"].as_str().unwrap();
    assert_eq!((&invited["addr"], &invited["pin"]), (&scene.ca.url().into(), &scene.ca.pin().into()));
    hosts.take(host.enrol_saying(&scene.ca, token, &["--json"]).exits(0));
    host.daemon();
    host.start();
    hosts.take(host.apply_with(&TIER_ACCOUNTS, &["--json"]).exits(0));
    host.apply(&TIER_ACCOUNTS);
    hosts.take(&host.fireaxe(&["doctor", "--json"]));
    hosts.take(host.fireaxe(&["status", "--json"]).exits(0));

    // A session that is recorded, and in the CA's hands with the word on what it came to.
    scene.incident("pd:A5", 1, "payments-db");
    scene.ana.knows(&[&host]);
    scene.ana.fireaxe(&["open", name, "--incident", "pd:A5", "-r", "x"]).ok();
    scene.ana.ssh(&[name, "echo here"]).ok();
    scene.ana.fireaxe(&["close"]).ok();
    let reported = clock::wait_for(clock::LIMIT, || {
        let listed = scene.ca.cmd(&["rec", "ls", "--json"]);
        let value: Value = serde_json::from_str(listed.stdout.trim()).ok()?;
        (value["state"] == "reported").then_some(listed)
    });
    ca.take(&reported.unwrap());
    ca.take(scene.ca.cmd(&["rec", "verify", "--json"]).exits(0));
    ca.take(scene.ca.cmd(&["rec", "grep", "here", "--most", "1", "--json"]).exits(0));
    ca.take(scene.ca.cmd(&["log", "replay", "--json"]).exits(0));
    ca.take(&scene.ca.cmd(&["log", "reconcile", "--json"]));
    ca.take(scene.ca.cmd(&["fleet", "--json"]).exits(0));
    ca.take(scene.ca.cmd(&["host", "ls", "--json"]).exits(0));
    ca.take(scene.ca.cmd(&["host", "retire", name, "--json"]).exits(0));
    host.stop_daemon();
    hosts.take(host.fireaxe(&["remove", "--json"]).exits(0));
}
