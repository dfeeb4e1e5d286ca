//! JUnit XML, as build servers read it: one suite, a case a test, its place in the file.

use std::fmt::Write;

use fireaxe_protocol::policy::TestOutcome;

/// The results as a document.
pub(super) fn xml(outcomes: &[TestOutcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuite name=\"policy\" tests=\"{}\" failures=\"{failed}\">", outcomes.len());
    for TestOutcome { line, name, decision: _, failures } in outcomes {
        let name = escaped(name);
        let _ = write!(
            out,
            "  <testcase classname=\"policy.toml\" name=\"{name}\" file=\"policy.toml\" line=\"{line}\""
        );
        if failures.is_empty() {
            out.push_str("/>\n");
        } else {
            let first = failures.first().map_or(String::new(), |text| escaped(text));
            let all = escaped(&format!("policy.toml:{line}\n{}", failures.join("\n")));
            let _ = writeln!(out, ">\n    <failure message=\"{first}\">{all}</failure>\n  </testcase>");
        }
    }
    out.push_str("</testsuite>\n");
    out
}

/// Text that an XML 1.0 parser reads back as it was; what XML cannot hold at all is shown as `\u{1b}`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // As they are, a parser would make spaces of them in an attribute.
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_an_attribute_or_an_element_and_controls_are_shown() {
        let text = "a<b>&\"c'\u{1b}[2J\u{0}\n]]>\u{fffe}ü";
        assert_eq!(escaped(text), "a&lt;b&gt;&amp;&quot;c&apos;\\u{1b}[2J\\u{0}&#10;]]&gt;\\u{fffe}ü");
    }
}
