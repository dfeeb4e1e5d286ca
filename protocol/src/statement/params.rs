//! Parameters of an action, as they stand in a statement: names and texts, each name once. What a text may
//! be is the policy's question; here only its size is bounded.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;
use crate::names::shown;

/// Names and values, sorted by name. At most [`limits::PARAMS`] of them, names of
/// [`limits::NAME`] and values of [`limits::PARAM`] bytes; values are never empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, String>);

impl Params {
    /// Puts one in. Says why not: an empty, repeated or too long one, or too many.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), String> {
        let spelled = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if name.is_empty() || name.len() > limits::NAME || !spelled {
            return Err(format!("{} is no parameter's name: [a-z0-9_], at most 32", shown(name)));
        }
        if value.is_empty() || value.len() > limits::PARAM {
            return Err(format!(
                "parameter {name} has {} bytes; 1 to {} are taken",
                value.len(),
                limits::PARAM
            ));
        }
        if self.0.len() >= limits::PARAMS {
            return Err(format!("more than {} parameters", limits::PARAMS));
        }
        match self.0.insert(name.to_owned(), value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(format!("parameter {name} is given twice")),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Strict;
        impl<'de> Visitor<'de> for Strict {
            type Value = Params;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
                let mut params = Params::default();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    params.insert(&name, &value).map_err(A::Error::custom)?;
                }
                Ok(params)
            }
        }
        from.deserialize_map(Strict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_and_sizes_are_bounded() {
        let read = |text: &str| serde_json::from_str::<Params>(text);
        assert_eq!(
            read(r#"{"b":"2","a":"1"}"#).unwrap().iter().collect::<Vec<_>>(),
            [("a", "1"), ("b", "2")]
        );
        for wrong in
            [r#"{"a":"1","a":"1"}"#, r#"{"a":""}"#, r#"{"":"1"}"#, r#"{"A":"1"}"#, r#"{"a":1}"#, "[]"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let at = |n: usize| read(&format!(r#"{{"a":"{}"}}"#, "x".repeat(n)));
        assert!(at(limits::PARAM).is_ok() && at(limits::PARAM + 1).is_err());
        let many = |n: usize| {
            let each: Vec<String> = (0..n).map(|i| format!(r#""p{i}":"x""#)).collect();
            read(&format!("{{{}}}", each.join(",")))
        };
        assert!(many(limits::PARAMS).is_ok() && many(limits::PARAMS + 1).is_err());
    }
}
