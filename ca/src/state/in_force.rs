//! The bundle in force, with the texts it was read from: a snapshot holds the texts, and reading it parses
//! them again, so that no second form of a policy has to be kept true.

use std::ops::Deref;
use std::sync::Arc;

use fireaxe_protocol::policy::Bundle;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// See the file's top. Texts of at most [`fireaxe_protocol::limits::BUNDLE`] bytes together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InForce {
    bundle: Arc<Bundle>,
    policy_toml: Arc<str>,
    roster_toml: Arc<str>,
}

impl InForce {
    /// `bundle` is what these texts say.
    pub(super) fn new(bundle: Bundle, policy_toml: String, roster_toml: String) -> InForce {
        InForce { bundle: Arc::new(bundle), policy_toml: policy_toml.into(), roster_toml: roster_toml.into() }
    }
}

impl Deref for InForce {
    type Target = Arc<Bundle>;

    fn deref(&self) -> &Arc<Bundle> {
        &self.bundle
    }
}

impl Serialize for InForce {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let InForce { bundle: _, policy_toml, roster_toml } = self;
        (policy_toml, roster_toml).serialize(to)
    }
}

impl<'de> Deserialize<'de> for InForce {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (policy, roster) = <(String, String)>::deserialize(from)?;
        let unread = |_| serde::de::Error::custom("the bundle in force cannot be read");
        let bundle = Bundle::parse(&policy, &roster).map_err(unread)?;
        Ok(InForce::new(bundle, policy, roster))
    }
}
