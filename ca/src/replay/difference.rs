//! Where two decisions differ, field by field, as an auditor reads them.

use fireaxe_protocol::names::EmergencyId;
use fireaxe_protocol::policy::Decision;
use serde::Serialize;
use serde_json::Value;

/// One field that came out otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The entry that decided.
    pub entry: u64,
    /// Its emergency; none for a declaration that was refused.
    pub emergency: Option<EmergencyId>,
    /// Which: `outcome.permit.lifetime_s`.
    pub field: String,
    /// What the log has, as JSON; `absent` if it has nothing there.
    pub recorded: String,
    /// What comes out.
    pub derived: String,
}

impl Difference {
    pub(super) fn new<T: Serialize>(
        (entry, emergency): (u64, Option<EmergencyId>),
        field: &str,
        recorded: &T,
        derived: &T,
    ) -> Difference {
        let text = |value: &T| serde_json::to_string(value).unwrap_or_default();
        Difference { entry, emergency, field: field.into(), recorded: text(recorded), derived: text(derived) }
    }

    /// Every field in which these two differ.
    pub(super) fn between(
        place: (u64, Option<EmergencyId>),
        recorded: &Decision,
        derived: &Decision,
    ) -> Vec<Difference> {
        let value = |decision| serde_json::to_value(decision).unwrap_or(Value::Null);
        let mut out = Vec::new();
        walk("", Some(&value(recorded)), Some(&value(derived)), &mut |field, recorded, derived| {
            let (entry, emergency) = place;
            out.push(Difference { entry, emergency, field: field.to_owned(), recorded, derived });
        });
        out
    }
}

fn walk(
    field: &str,
    recorded: Option<&Value>,
    derived: Option<&Value>,
    each: &mut dyn FnMut(&str, String, String),
) {
    let within = |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    match (recorded, derived) {
        (recorded, derived) if recorded == derived => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            for name in one.keys().chain(other.keys().filter(|name| !one.contains_key(*name))) {
                walk(&within(name), one.get(name), other.get(name), each);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            for place in 0..one.len().max(other.len()) {
                walk(&within(&place.to_string()), one.get(place), other.get(place), each);
            }
        }
        (recorded, derived) => {
            let text = |value: Option<&Value>| value.map_or("absent".to_owned(), ToString::to_string);
            each(field, text(recorded), text(derived));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_differs_is_named_once() {
        let one = json!({"a": 1, "b": {"c": [1, 2, 3], "d": "x"}, "e": null});
        let other = json!({"a": 1, "b": {"c": [1, 9], "d": "x"}, "f": true});
        let mut found = Vec::new();
        walk("", Some(&one), Some(&other), &mut |field, recorded, derived| {
            found.push(format!("{field}: {recorded} -> {derived}"));
        });
        assert_eq!(found, ["b.c.1: 2 -> 9", "b.c.2: 3 -> absent", "e: null -> absent", "f: absent -> true"]);
    }
}
