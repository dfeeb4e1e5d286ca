//! Whether a host is one of those an emergency reaches: names, and patterns in which `*` stands for any
//! run of characters within one label, as the policy means them.

use fireaxe_protocol::names::HostName;

/// Whether `pattern` (`db-*.payments.prod`, or a plain name) means `host`.
pub(crate) fn matches(pattern: &str, host: &HostName) -> bool {
    let (mut patterns, mut labels) = (pattern.split('.'), host.as_str().split('.'));
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return true,
            (Some(p), Some(l)) if label_matches(p, l) => {}
            _ => return false,
        }
    }
}

fn label_matches(pattern: &str, label: &str) -> bool {
    let Some((head, mut tail)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut rest) = label.strip_prefix(head) else { return false };
    while let Some((middle, more)) = tail.split_once('*') {
        let Some(at) = rest.find(middle) else { return false };
        rest = rest.get(at + middle.len()..).unwrap_or_default();
        tail = more;
    }
    rest.ends_with(tail)
}

/// Whether a pattern of a CA may be written into a file that ssh reads: labels of `a-z 0-9 - *` only.
pub(crate) fn is_plain_pattern(pattern: &str) -> bool {
    pattern.contains('.')
        && pattern.len() <= fireaxe_protocol::limits::HOST
        && pattern.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'*'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_run_within_one_label() {
        let means = |pattern: &str, host: &str| matches(pattern, &host.parse().unwrap());
        assert!(means("db-*.payments.prod", "db-3.payments.prod"));
        assert!(means("db-3.payments.prod", "db-3.payments.prod"));
        assert!(means("*-db-*.prod", "eu-db-3.prod"));
        assert!(means("a*b*b.prod", "abb.prod"));
        assert!(!means("a*b*b.prod", "ab.prod"));
        assert!(!means("db-*.payments.prod", "db-3.x.payments.prod"));
        assert!(!means("db-*.payments.prod", "db-3.payments.prod.evil"));
        assert!(!means("db-*.payments.prod", "xdb-3.payments.prod"));
        assert!(!means("*.prod", "db-3.payments.prod"));
    }

    #[test]
    fn what_ssh_could_misread_is_no_pattern() {
        for good in ["db-3.payments.prod", "db-*.payments.prod"] {
            assert!(is_plain_pattern(good));
        }
        for bad in
            ["*", "db", "a.b c", "a.\"", "!a.b", "a.b,c.d", "a.b\n", "A.b", "a..b", "-a.b", "a.?", "ü.b"]
        {
            assert!(!is_plain_pattern(bad), "{bad:?}");
        }
    }
}
