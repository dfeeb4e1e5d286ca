//! What is filled into an action, and what the policy wrote around it, as real shells read it: sshd hands a
//! forced command to `$SHELL -c`, whatever the account's shell is. Those that are installed are asked; `sh`
//! always.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::process::Command as Process;
use std::sync::OnceLock;

use fireaxe_protocol::limits;
use fireaxe_protocol::policy::Command;
use proptest::prelude::*;

/// Program and options before `-c`. zsh also as somebody may have set it up.
const SHELLS: &[&[&str]] = &[
    &["sh"],
    &["dash"],
    &["bash"],
    &["bash", "-O", "extglob", "-o", "histexpand"],
    &["zsh"],
    &["zsh", "-o", "magic_equal_subst", "-o", "extended_glob", "-o", "glob_subst"],
    &["fish"],
    &["csh"],
    &["tcsh"],
    &["ksh"],
    &["mksh"],
    &["busybox", "sh"],
];

fn run(shell: &[&str], command: &str) -> Option<std::process::Output> {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    let home = HOME.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let mut process = Process::new(shell[0]);
    process.args(&shell[1..]).arg("-c").arg(command).env_clear();
    process.env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    match process.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{shell:?}: {error}"),
    }
}

/// The shells that are there, asked once.
fn installed() -> &'static [&'static [&'static str]] {
    static THERE: OnceLock<Vec<&'static [&'static str]>> = OnceLock::new();
    THERE.get_or_init(|| {
        // An option that this version does not know leaves that line of the table out.
        let works = |shell: &[&str]| run(shell, "/usr/bin/printf ok").is_some_and(|o| o.stdout == b"ok");
        let there: Vec<_> = SHELLS.iter().copied().filter(|shell| works(shell)).collect();
        assert!(there.contains(&SHELLS[0]), "no sh");
        println!("shells asked: {there:?}");
        there
    })
}

fn command(words: &[&str], pattern: &str) -> Command {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let named = |name: &str| words.iter().any(|word| word.contains(&format!("{{{name}}}")));
    let params: BTreeMap<String, String> = ["a", "b"]
        .into_iter()
        .filter(|name| named(name))
        .map(|name| (name.to_owned(), pattern.to_owned()))
        .collect();
    Command::parse("show".parse().unwrap(), &words, &params).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn given(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Every installed shell runs `command` and its program receives exactly `words`.
fn all_shells_read(command: &str, words: &[String]) {
    let expected: String = words.iter().map(|word| format!("[{word}]\n")).collect();
    for shell in installed() {
        let output = run(shell, command).unwrap();
        let came = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(came, expected, "{shell:?} -c {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

const PRINTF: [&str; 2] = ["/usr/bin/printf", "[%s]\\n"];

/// What no value may ever carry to a shell, in whatever word.
const HOSTILE: &[&str] = &[
    "'",
    "\"",
    "a'b",
    "a\"b",
    "'; reboot; '",
    "a b",
    " ",
    "\t",
    "a\tb",
    "\n",
    "12\n",
    "\n12",
    "12\nreboot",
    "\r",
    "\0",
    "12\0",
    "$(reboot)",
    "$x",
    "${x}",
    "$((1))",
    "`reboot`",
    ";",
    "12; reboot",
    "12;reboot",
    "|",
    "a|b",
    "&",
    "&&",
    "a&&b",
    "||",
    "(a)",
    "<(a)",
    ">x",
    "<x",
    "2>x",
    "#",
    "a#b",
    "~",
    "~root",
    "a~",
    "a=~",
    "a:~",
    "%1",
    "%",
    "a%b",
    "{a,b}",
    "{1..9}",
    "{}",
    "*",
    "a*",
    "?",
    "[x]",
    "[a-z]",
    "!!",
    "!",
    "a!b",
    "^a^b",
    "^",
    "\\",
    "a\\",
    "\\n",
    "a\\ b",
    "é",
    "１２",
    "а",
    "\u{37e}",
    "\u{2215}etc",
    "\u{2010}v",
    "\u{ff0d}v",
    "\u{202e}21",
    "12\u{200b}",
    "\u{feff}12",
    "\u{a0}",
    "\u{2028}",
    "\u{85}",
    "\u{7f}",
    "\u{1b}[2J",
    "\u{1f600}",
    "\u{e0041}",
];

/// What may stand within a word, and never begin one.
const HOSTILE_FIRST: &[&str] = &["-", "-v", "--", "--help", "-12", "=", "=cmd", "=ls", "==", "=-", "=1"];

#[test]
fn no_hostile_value_reaches_a_shell_though_the_pattern_takes_everything() {
    let long = "a".repeat(4096);
    for pattern in [".*", "(?s).*", r"(?s)[\x00-\xff]*", r"(?is)(a|.|\n|\s|\W)*"] {
        for word in ["{a}", "x{a}", "{a}x", "x{a}y", "--o={a}", "-{a}", "a,{a}:/@", "{a}{a}"] {
            let command = command(&[PRINTF[0], PRINTF[1], word], pattern);
            let refused = |value: &str| {
                let reasons = command.fill(&given(&[("a", value)])).expect_err(value);
                assert!(!reasons.is_empty());
                assert!(reasons.iter().any(|r| r.code == "param.invalid" || r.code == "param.unsafe"));
                for reason in reasons {
                    // Nor does the refusal itself carry it to a terminal.
                    let printable = |c: char| c.is_ascii_graphic() || c == ' ' || c == '…';
                    assert!(reason.sentence.chars().all(printable), "{reason:?}");
                }
            };
            HOSTILE.iter().chain([&""]).for_each(|value| refused(value));
            refused(&long);
            refused(&"a".repeat(limits::PARAM + 1));
            if word.starts_with("{a}") {
                HOSTILE_FIRST.iter().for_each(|value| refused(value));
            }
        }
    }
    // The corpus is hostile because of what it is, not because everything is refused.
    let command = command(&[PRINTF[0], PRINTF[1], "{a}"], "(?s).*");
    let harmless = "AZaz09._:/@+=,-";
    let rendered = command.fill(&given(&[("a", harmless)])).unwrap();
    all_shells_read(&rendered, &[harmless.to_owned()]);
}

#[test]
fn a_policys_own_dash_may_stand_first() {
    let command = command(&["/usr/bin/printf", "[%s]\\n", "-{a}", "--shard={a}"], "[0-9]+");
    let rendered = command.fill(&given(&[("a", "12")])).unwrap();
    assert_eq!(rendered, r"/usr/bin/printf '[%s]\n' -12 '--shard=12'");
    all_shells_read(&rendered, &["-12".into(), "--shard=12".into()]);
}

#[test]
fn words_that_shells_have_a_name_for_are_read_as_themselves() {
    for value in [
        "if", "do", "done", "then", "end", "time", "exec", "set", "alias", "true", "0", "1", "2", "...",
        "..", ".", "/", "@", "@x", ":", "+", "+x", ",", "_", "a=b", "PATH=/x", "a==ls", "a:=ls", "a=b=c",
        "x@y:z",
    ] {
        let command = command(&[PRINTF[0], PRINTF[1], "{a}", "x{a}", "{a}"], ".*");
        let rendered = command.fill(&given(&[("a", value)])).unwrap();
        all_shells_read(&rendered, &[value.into(), format!("x{value}"), value.into()]);
    }
}

#[test]
fn what_the_policy_wrote_is_read_as_it_stands() {
    let words = [
        "",
        " ",
        "a b",
        "it's",
        "''",
        "'",
        "\"",
        "\\",
        "\\\\",
        "a\\",
        "\\'",
        "'\\",
        "\\n",
        "\\!",
        "!",
        "!!",
        "a!b",
        "'!'",
        "!\\",
        "$(id)",
        "$HOME",
        "`id`",
        "a;b",
        "*",
        "?",
        "[a]",
        "~",
        "~root",
        "#",
        "%1",
        "^",
        "=ls",
        "-v",
        "--sort=-pcpu",
        "<",
        ">",
        "|",
        "&",
        "(",
        ")",
        "{{a,b}}",
        "{{}}",
    ];
    let all: Vec<&str> = PRINTF.iter().chain(&words).copied().collect();
    let rendered = command(&all, "a").fill(&[]).unwrap();
    let expected: Vec<String> = words.iter().map(|w| w.replace("{{", "{").replace("}}", "}")).collect();
    all_shells_read(&rendered, &expected);
}

/// What the rule says, said once more.
fn is_harmless(value: &str) -> bool {
    let taken =
        |c: char| "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/@+=,-".contains(c);
    !value.is_empty()
        && value.len() <= limits::PARAM
        && value.chars().all(taken)
        && !value.starts_with('-')
        && !value.starts_with('=')
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shell_reads_back_what_was_filled_in_and_what_was_written(
        a in "[A-Za-z0-9._:/@+,][A-Za-z0-9._:/@+=,-]{0,40}",
        b in "[A-Za-z0-9._:/@+=,-]{1,253}",
        written in "[ -~]{0,24}",
    ) {
        let literal = written.replace('{', "{{").replace('}', "}}");
        let all = [PRINTF[0], PRINTF[1], &literal, "{a}", "k={b}", "{a}:{b}", &literal];
        let rendered = command(&all, "(?s).*").fill(&given(&[("a", &a), ("b", &b)])).unwrap();
        let words = [written.clone(), a.clone(), format!("k={b}"), format!("{a}:{b}"), written];
        all_shells_read(&rendered, &words);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_is_harmless_and_what_is_harmless_is_taken(
        value in prop_oneof![
            any::<String>(),
            "[ -~\\n\\t]{0,6}",
            "[A-Za-z0-9._:/@+=,-]{0,6}",
            "[0-9]{1,3}[;\\n ]?(reboot)?",
        ]
    ) {
        let command = command(&[PRINTF[0], PRINTF[1], "{a}"], "(?s).*");
        let filled = command.fill(&given(&[("a", &value)]));
        prop_assert_eq!(filled.is_ok(), is_harmless(&value), "{:?}", value);
    }
}
