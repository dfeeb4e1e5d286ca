//! `docs/PROTOCOL.cli.md`, "What people decide", is true: each schema is printed by the command it names, with
//! the fields it names.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test; its helpers too")]

mod world;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use world::people::everything;
use world::waiting::home;
use world::{err, out};

/// Command, schema and the fields of each row: names between backquotes, outside brackets, before "each with".
fn documented() -> Vec<(String, String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.cli.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, from) = text.split_once("## What people decide, `--json`").unwrap();
    let section = from.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.contains("| `fireaxe."));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let mut depth = 0;
        let outside: String = cells[3]
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            })
            .collect();
        let fields = outside.split("; ").flat_map(|part| {
            part.split("each with")
                .next()
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        (cells[1].to_owned(), cells[2].trim_matches('`').to_owned(), fields.collect())
    })
    .collect()
}

#[test]
fn each_schema_is_printed_by_its_command_with_its_fields() {
    let rows = documented();
    let expected = [
        (&["approve", "EM-42", "--yes"][..], "fireaxe.approve/v1"),
        (&["refuse", "EM-42", "-r", "no"], "fireaxe.refuse/v1"),
        (&["second", "EM-43"], "fireaxe.second/v1"),
        (&["review", "EM-42", "--verdict", "justified", "-r", "x"], "fireaxe.review/v1"),
        (&["approve"], "fireaxe.requests/v1"),
        (&["review"], "fireaxe.requests/v1"),
        (&["extend"], "fireaxe.extend/v1"),
        (&["run", "db-3.payments.prod", "--action", "restart-payments", "-r", "x"], "fireaxe.run/v1"),
    ];
    let named: BTreeSet<&str> = rows.iter().map(|(_, schema, _)| schema.as_str()).collect();
    assert_eq!(named, expected.iter().map(|(_, schema)| *schema).collect());
    let ca = everything();
    let home = home(&ca);
    assert!(home.run(&["open", "db-3.payments.prod", "-r", "x"]).status.success());
    // `run` calls ssh; nobody answers by that name here.
    let bin = home.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/bin/true", bin.join("ssh")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for (words, schema) in expected {
        let ran = home.fireaxe(&[&["--json"], words].concat()).env("PATH", &path).output().unwrap();
        let answer: Value =
            serde_json::from_str(&out(&ran)).unwrap_or_else(|e| panic!("{words:?}: {e}: {}", err(&ran)));
        assert_eq!(answer["schema"], schema, "{words:?}: {answer}");
        let (command, _, fields) = rows.iter().find(|(_, found, _)| found == schema).unwrap();
        assert!(command.contains(&format!("`{}", words[0])), "{schema} is not of {command}");
        assert!(!fields.is_empty(), "{schema} has no fields");
        for field in fields {
            assert!(answer.get(field).is_some(), "{schema} has no {field}: {answer}");
        }
    }
}
