//! A statement's text, read strictly and written once.
//!
//! One pass: every key any kind knows is taken at most once, then the kind says which must be there and
//! which must not. `null` is no way to say "absent". Whitespace is the signer's affair: the bytes are kept
//! as signed and nobody writes them again.

use serde::{Deserialize, Deserializer, Serialize};

use crate::host::Report;
use crate::keys::Ed25519Key;
use crate::limits;
use crate::log::Hash;
use crate::names::{
    ActionName, EmergencyId, HostName, IncidentId, Origin, ReasonText, Severity, TargetName, TierName,
};
use crate::statement::{
    Approve, BundleChange, Close, Declare, Enrol, Extend, Header, HostReport, Kind, Login, Nonce, Params,
    Refuse, Review, Second, Statement, StatementError, Verdict,
};

/// All keys of all kinds, in the order in which they are written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Text {
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    v: Option<u64>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    to: Option<Origin>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    nonce: Option<Nonce>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    of: Option<Hash>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    emergency: Option<EmergencyId>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    target: Option<TargetName>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    incident: Option<IncidentId>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonText>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    want: Option<TierName>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    action: Option<ActionName>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    params: Option<Params>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    for_s: Option<u32>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    drill: Option<bool>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    public_key: Option<Ed25519Key>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    session_key: Option<Ed25519Key>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    shown_s: Option<u32>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    bundle: Option<Hash>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    host: Option<HostName>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    token: Option<Hash>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
}

/// The value itself, never `null`: absent and empty are not the same.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Collects what is missing and what is too much, so that all of it is told.
#[derive(Default)]
struct Keys {
    missing: Vec<&'static str>,
    surplus: Vec<&'static str>,
}

impl Keys {
    fn must<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.missing.push(name);
        }
        value
    }

    fn none<T>(&mut self, name: &'static str, value: Option<T>) {
        if value.is_some() {
            self.surplus.push(name);
        }
    }

    fn wrong(self, kind: Kind) -> StatementError {
        StatementError::Keys { kind: kind.as_str(), missing: self.missing, surplus: self.surplus }
    }

    fn clean(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty()
    }
}

impl Statement {
    /// Reads a statement's text strictly: unknown, repeated, missing and misplaced keys are errors, and so
    /// are values of the wrong type and `null`. At most [`limits::STATEMENT`] bytes.
    pub fn read(text: &str) -> Result<Statement, StatementError> {
        if text.len() > limits::STATEMENT {
            return Err(StatementError::TooLong(text.len()));
        }
        let read: Text = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
        match read.v {
            Some(1) => {}
            Some(other) => return Err(StatementError::Version(other)),
            None => return Err(StatementError::Unreadable("the key v is missing".to_owned())),
        }
        let Some(kind) = read.kind else {
            return Err(StatementError::Unreadable("the key kind is missing".to_owned()));
        };
        read.into_statement(kind)
    }

    /// Writes the text that is then signed: compact JSON, `v` and `kind` first. Done once, by the signer.
    pub fn write(&self) -> String {
        let header = self.header();
        let mut text = Text {
            v: Some(1),
            kind: Some(header.kind),
            to: Some(header.to.clone()),
            nonce: Some(header.nonce),
            at: Some(header.at),
            ..Text::default()
        };
        match self {
            Statement::Declare(s) => {
                text.target = Some(s.target.clone());
                text.severity = s.severity;
                text.incident.clone_from(&s.incident);
                text.reason = Some(s.reason.clone());
                text.want.clone_from(&s.want);
                text.action.clone_from(&s.action);
                text.params = Some(s.params.clone()).filter(|params| !params.is_empty());
                text.for_s = s.for_s;
                text.drill = Some(s.drill);
                text.public_key = Some(s.public_key);
            }
            Statement::Close(s) => {
                (text.of, text.emergency) = (Some(s.of), Some(s.emergency));
                text.uses = s.uses;
            }
            Statement::Second(s) => (text.of, text.emergency) = (Some(s.of), Some(s.emergency)),
            Statement::Approve(s) => {
                (text.of, text.emergency) = (Some(s.of), Some(s.emergency));
                text.shown_s = Some(s.shown_s);
                text.reason.clone_from(&s.reason);
            }
            Statement::Refuse(s) => {
                (text.of, text.emergency) = (Some(s.of), Some(s.emergency));
                text.reason = Some(s.reason.clone());
            }
            Statement::Extend(s) => {
                (text.of, text.emergency) = (Some(s.of), Some(s.emergency));
                text.severity = s.severity;
                text.incident.clone_from(&s.incident);
                text.for_s = s.for_s;
                text.reason.clone_from(&s.reason);
            }
            Statement::Review(s) => {
                (text.of, text.emergency) = (Some(s.of), Some(s.emergency));
                text.verdict = Some(s.verdict);
                text.reason = Some(s.reason.clone());
            }
            Statement::Bundle(s) => (text.of, text.bundle) = (Some(s.of), Some(s.bundle)),
            Statement::Enrol(s) => {
                text.public_key = Some(s.public_key);
                text.host = Some(s.host.clone());
                text.token = Some(s.token);
            }
            Statement::Report(s) => {
                text.host = Some(s.host.clone());
                text.seq = Some(s.seq);
                text.report = Some(s.report.clone());
            }
            Statement::Login(s) => {
                text.for_s = Some(s.for_s);
                text.session_key = Some(s.session_key);
            }
        }
        // Strings and numbers only: nothing here that JSON cannot hold.
        serde_json::to_string(&text).unwrap_or_default()
    }
}

impl Text {
    /// Every kind takes what is its own; whatever is left over then does not belong there.
    fn into_statement(mut self, kind: Kind) -> Result<Statement, StatementError> {
        let mut keys = Keys::default();
        let to = keys.must("to", self.to.take());
        let nonce = keys.must("nonce", self.nonce.take());
        let at = keys.must("at", self.at.take());
        let header = match (to, nonce, at) {
            (Some(to), Some(nonce), Some(at)) => Some(Header { kind, to, nonce, at }),
            _ => None,
        };
        let statement = match kind {
            Kind::Declare => self.declare(header, &mut keys),
            Kind::Login => self.login(header, &mut keys),
            Kind::Bundle => self.bundle_change(header, &mut keys),
            Kind::Enrol => self.enrol(header, &mut keys),
            Kind::Report => self.report(header, &mut keys),
            Kind::Close | Kind::Second | Kind::Approve | Kind::Refuse | Kind::Extend | Kind::Review => {
                self.about_an_emergency(kind, header, &mut keys)
            }
        };
        self.leave_nothing(&mut keys);
        match statement {
            Some(statement) if keys.clean() => {
                match &statement {
                    Statement::Declare(s) => usable("public_key", s.public_key)?,
                    Statement::Login(s) => usable("session_key", s.session_key)?,
                    Statement::Enrol(s) => usable("public_key", s.public_key)?,
                    _ => {}
                }
                Ok(statement)
            }
            _ => Err(keys.wrong(kind)),
        }
    }

    fn declare(&mut self, header: Option<Header>, keys: &mut Keys) -> Option<Statement> {
        let target = keys.must("target", self.target.take());
        let reason = keys.must("reason", self.reason.take());
        let drill = keys.must("drill", self.drill.take());
        let public_key = keys.must("public_key", self.public_key.take());
        let (want, action) = (self.want.take(), self.action.take());
        if want.is_some() && action.is_some() {
            keys.surplus.push("want beside action");
        }
        if action.is_none() {
            keys.none("params", self.params.as_ref());
        }
        let params = self.params.take().unwrap_or_default();
        let (severity, incident, for_s) = (self.severity.take(), self.incident.take(), self.for_s.take());
        Some(Statement::Declare(Declare {
            header: header?,
            target: target?,
            severity,
            incident,
            reason: reason?,
            want,
            action,
            params,
            for_s,
            drill: drill?,
            public_key: public_key?,
        }))
    }

    fn login(&mut self, header: Option<Header>, keys: &mut Keys) -> Option<Statement> {
        let session_key = keys.must("session_key", self.session_key.take());
        let for_s = keys.must("for_s", self.for_s.take());
        Some(Statement::Login(Login { header: header?, session_key: session_key?, for_s: for_s? }))
    }

    fn bundle_change(&mut self, header: Option<Header>, keys: &mut Keys) -> Option<Statement> {
        let of = keys.must("of", self.of.take());
        let bundle = keys.must("bundle", self.bundle.take());
        Some(Statement::Bundle(BundleChange { header: header?, of: of?, bundle: bundle? }))
    }

    fn enrol(&mut self, header: Option<Header>, keys: &mut Keys) -> Option<Statement> {
        let host = keys.must("host", self.host.take());
        let token = keys.must("token", self.token.take());
        let public_key = keys.must("public_key", self.public_key.take());
        let (header, host, token, public_key) = (header?, host?, token?, public_key?);
        Some(Statement::Enrol(Enrol { header, host, token, public_key }))
    }

    fn report(&mut self, header: Option<Header>, keys: &mut Keys) -> Option<Statement> {
        let host = keys.must("host", self.host.take());
        let seq = keys.must("seq", self.seq.take());
        let report = keys.must("report", self.report.take());
        let (header, host, seq, report) = (header?, host?, seq?, report?);
        Some(Statement::Report(Box::new(HostReport { header, host, seq, report })))
    }

    fn about_an_emergency(
        &mut self,
        kind: Kind,
        header: Option<Header>,
        keys: &mut Keys,
    ) -> Option<Statement> {
        let of = keys.must("of", self.of.take());
        let emergency = keys.must("emergency", self.emergency.take());
        let statement = match kind {
            Kind::Close => {
                let uses = self.uses.take();
                Statement::Close(Close { header: header?, of: of?, emergency: emergency?, uses })
            }
            Kind::Approve => {
                let shown_s = keys.must("shown_s", self.shown_s.take());
                let reason = self.reason.take();
                let (header, of, emergency) = (header?, of?, emergency?);
                Statement::Approve(Approve { header, of, emergency, shown_s: shown_s?, reason })
            }
            Kind::Refuse => {
                let reason = keys.must("reason", self.reason.take());
                Statement::Refuse(Refuse { header: header?, of: of?, emergency: emergency?, reason: reason? })
            }
            Kind::Extend => {
                let (severity, incident) = (self.severity.take(), self.incident.take());
                let (for_s, reason) = (self.for_s.take(), self.reason.take());
                let (header, of, emergency) = (header?, of?, emergency?);
                Statement::Extend(Extend { header, of, emergency, severity, incident, for_s, reason })
            }
            Kind::Review => {
                let verdict = keys.must("verdict", self.verdict.take());
                let reason = keys.must("reason", self.reason.take());
                let (header, of, emergency) = (header?, of?, emergency?);
                Statement::Review(Review { header, of, emergency, verdict: verdict?, reason: reason? })
            }
            _ => Statement::Second(Second { header: header?, of: of?, emergency: emergency? }),
        };
        Some(statement)
    }

    /// What no kind took is too much.
    fn leave_nothing(&self, keys: &mut Keys) {
        keys.none("of", self.of);
        keys.none("emergency", self.emergency);
        keys.none("target", self.target.as_ref());
        keys.none("severity", self.severity);
        keys.none("incident", self.incident.as_ref());
        keys.none("reason", self.reason.as_ref());
        keys.none("want", self.want.as_ref());
        keys.none("action", self.action.as_ref());
        keys.none("params", self.params.as_ref());
        keys.none("for_s", self.for_s);
        keys.none("drill", self.drill);
        keys.none("public_key", self.public_key);
        keys.none("session_key", self.session_key);
        keys.none("uses", self.uses);
        keys.none("shown_s", self.shown_s);
        keys.none("verdict", self.verdict);
        keys.none("bundle", self.bundle);
        keys.none("host", self.host.as_ref());
        keys.none("token", self.token);
        keys.none("seq", self.seq);
        keys.none("report", self.report.as_ref());
    }
}

fn usable(what: &'static str, key: Ed25519Key) -> Result<(), StatementError> {
    key.verifying().map(drop).ok_or(StatementError::WeakKey(what))
}

/// A statement of another version is called that, whatever else it holds.
fn unreadable(text: &str, error: &serde_json::Error) -> StatementError {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    match serde_json::from_str::<Version>(text) {
        Ok(Version { v }) if v != 1 => StatementError::Version(v),
        _ => StatementError::Unreadable(escaped(&error.to_string())),
    }
}

/// A message that may repeat hostile bytes, made fit for a terminal and a log line.
fn escaped(message: &str) -> String {
    let mut out = String::new();
    for c in message.chars().take(200) {
        if c.is_ascii_graphic() || c == ' ' || c == '…' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

    fn close() -> String {
        format!(
            r#"{{"v":1,"kind":"close","to":"ca.example/0123456789abcdef","nonce":"{}","at":5,"of":"{}","emergency":"EM-42"}}"#,
            "0".repeat(32),
            "a".repeat(64)
        )
    }

    fn declare(extra: &str) -> String {
        format!(
            r#"{{"v":1,"kind":"declare","to":"ca.example/0123456789abcdef","nonce":"{}","at":5,"target":"payments-db","reason":"r","drill":false,"public_key":"{KEY}"{extra}}}"#,
            "0".repeat(32),
        )
    }

    #[test]
    fn writes_what_it_read_in_the_fixed_order() {
        for text in [close(), declare("")] {
            assert_eq!(Statement::read(&text).unwrap().write(), text);
        }
    }

    #[test]
    fn refuses_repeated_and_unknown_keys() {
        for extra in [r#","at":5"#, r#","v":1"#, r#","root":true"#, r#","":1"#] {
            let error = Statement::read(&declare(extra)).unwrap_err();
            assert!(matches!(error, StatementError::Unreadable(_)), "{extra}: {error:?}");
        }
    }

    #[test]
    fn refuses_null_and_wrong_types() {
        for extra in [
            r#","severity":null"#,
            r#","severity":"1""#,
            r#","severity":0"#,
            r#","severity":5"#,
            r#","severity":1.0"#,
            r#","for_s":-1"#,
            r#","for_s":4294967296"#,
            r#","incident":"pd:*""#,
            r#","want":["root"]"#,
        ] {
            assert!(Statement::read(&declare(extra)).is_err(), "{extra}");
        }
        assert!(Statement::read(&declare(r#","severity":1,"for_s":60"#)).is_ok());
    }

    #[test]
    fn tells_all_missing_and_misplaced_keys_at_once() {
        let text = r#"{"v":1,"kind":"close","at":5,"target":"payments-db","for_s":3}"#;
        let StatementError::Keys { kind, missing, surplus } = Statement::read(text).unwrap_err() else {
            panic!()
        };
        assert_eq!(kind, "close");
        assert_eq!(missing, ["to", "nonce", "of", "emergency"]);
        assert_eq!(surplus, ["target", "for_s"]);
    }

    #[test]
    fn a_later_version_is_called_so_even_with_keys_unknown_here() {
        let text = r#"{"v":2,"kind":"declare","anew":1}"#;
        assert_eq!(Statement::read(text), Err(StatementError::Version(2)));
    }

    #[test]
    fn an_emergency_has_one_spelling() {
        assert!(Statement::read(&close().replace("EM-42", "42")).is_err());
        assert!(Statement::read(&close().replace("EM-42", "EM-042")).is_err());
    }

    #[test]
    fn takes_the_size_limit_and_not_one_byte_more() {
        let text = close();
        let padded = |n: usize| format!("{text}{}", " ".repeat(n - text.len()));
        assert!(Statement::read(&padded(limits::STATEMENT)).is_ok());
        assert_eq!(
            Statement::read(&padded(limits::STATEMENT + 1)),
            Err(StatementError::TooLong(limits::STATEMENT + 1))
        );
    }

    #[test]
    fn hostile_bytes_never_reach_the_message_raw() {
        for extra in [",\"\\u001b[2J\":1", ",\"\u{202e}x\":1", ",\"want\":\"\\u0007\""] {
            let shown = Statement::read(&declare(extra)).unwrap_err().to_string();
            assert!(shown.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '…'), "{shown:?}");
        }
    }

    #[test]
    fn refuses_a_key_that_anyone_could_sign_for() {
        // The identity point: every signature equation with it can be met without a private key.
        let mut identity = [0u8; 32];
        identity[0] = 1;
        let text = declare("").replace(KEY, &Ed25519Key(identity).to_string());
        assert_eq!(Statement::read(&text), Err(StatementError::WeakKey("public_key")));
    }

    #[test]
    fn refuses_anything_after_the_object() {
        assert!(Statement::read(&format!("{}{}", close(), close())).is_err());
        assert!(Statement::read("").is_err());
        assert!(Statement::read("[]").is_err());
        assert!(Statement::read(&"[".repeat(8000)).is_err());
    }
}
