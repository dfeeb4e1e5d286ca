//! A cell of a table that no spreadsheet takes for a formula (OWASP, "CSV injection"): what begins like one gets an
//! apostrophe in front, which a spreadsheet does not show and a program can take off.

use std::borrow::Cow;

/// The cell.
pub(super) fn cell(text: &str) -> Cow<'_, str> {
    let begins_one = |c| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠');
    // A blank in front does not keep every program from it.
    if text.trim_start_matches(' ').starts_with(begins_one) || text.starts_with('\'') {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn nothing_begins_like_a_formula() {
        for bad in ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "'=1"]
        {
            assert_eq!(cell(bad), format!("'{bad}"), "{bad:?}");
        }
        for good in ["", "a=b", "db-3.payments.prod", "2026-11-28T05:43:38Z", "EM-1", "7"] {
            assert_eq!(cell(good), good);
        }
    }
}
