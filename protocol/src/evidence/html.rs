//! A page without scripts, links or anything from elsewhere: it reads, and prints, the same years later. All text
//! goes through [`text`].

use std::fmt::Write;

/// Text for a page: markup escaped, and whatever controls a screen or turns the direction of text spelled out.
pub fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_harmful(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The same for a line of plain text: one line whatever is in it.
pub fn plain(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        if is_harmful(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Controls, and characters that reorder or hide text (Unicode TR 36).
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A page that is being written.
#[derive(Debug)]
pub struct Page(String);

impl Page {
    /// Begins one.
    pub fn new(title: &str) -> Page {
        let title = text(title);
        Page(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\n\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        ))
    }

    /// A heading.
    pub fn heading(&mut self, words: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", text(words));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, words: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", text(words));
    }

    /// A list of lines; nothing when there are none.
    pub fn list<S: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = S>) {
        let items: String =
            lines.into_iter().map(|line| format!("<li>{}</li>\n", text(line.as_ref()))).collect();
        if !items.is_empty() {
            let _ = writeln!(self.0, "<ul>\n{items}</ul>");
        }
    }

    /// What is what, a line each; lines without a value are left out.
    pub fn facts<'a>(&mut self, facts: impl IntoIterator<Item = (&'a str, String)>) {
        self.0.push_str("<table class=\"facts\">\n");
        for (what, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = writeln!(self.0, "<tr><th>{}</th><td>{}</td></tr>", text(what), text(&value));
        }
        self.0.push_str("</table>\n");
    }

    /// A table; in words when it is empty.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>], none: &str) {
        if rows.is_empty() {
            return self.paragraph(none);
        }
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
            cells.map(|cell| format!("<{tag}>{}</{tag}>", text(cell))).collect()
        };
        let _ =
            writeln!(self.0, "<table>\n<thead><tr>{}</tr></thead>", cells("th", &mut head.iter().copied()));
        for row in rows {
            let _ = writeln!(self.0, "<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str)));
        }
        self.0.push_str("</table>\n");
    }

    /// The whole page.
    pub fn end(self) -> String {
        self.0 + "</body></html>\n"
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #8888}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;\
border-bottom:1px solid #8884;overflow-wrap:anywhere}thead th{white-space:nowrap}.facts th{width:12rem}\
@media print{body{font-size:10pt;margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup_and_none_drives_a_screen() {
        let hostile = "<script>alert(1)</script>&\"'\u{1b}]52;c;eA==\u{7}\u{202e}\u{85}\r\n";
        let mut page = Page::new(hostile);
        page.heading(hostile);
        page.paragraph(hostile);
        page.list([hostile]);
        page.facts([("what", hostile.to_owned()), ("left out", String::new())]);
        page.table(&[hostile], &[vec![hostile.to_owned()]], "");
        let page = page.end();
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("left out"));
        assert!(page.chars().all(|c| c == '\n' || !is_harmful(c)), "{page:?}");
        assert!(plain(hostile).chars().all(|c| !is_harmful(c)));
        assert_eq!(plain("Störung <b>"), "Störung <b>");
    }
}
