//! Terms: what a tier gives, resolved for one person, one target, one moment.
//!
//! Everything a certificate is made from. A request can only make terms smaller.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::log::Hash;
use crate::names::{AccountName, ActionName, GroupName, NameError, Principal, TierName, shown};

/// What a grant gives. Serialised field by field in this order; [`Terms::hash`] is over those bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The tier these terms come from.
    pub tier: TierName,
    /// What the tier can do, 1 (look) upwards; controls are separate.
    pub power: u8,
    /// Login account.
    pub account: AccountName,
    /// Never empty. Sorted.
    pub principals: Vec<Principal>,
    /// The one command the certificate runs; `None` is a shell or whatever the client asks to run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub force_command: Option<String>,
    /// OpenSSH extensions; sorted, default none.
    pub extensions: Vec<Extension>,
    /// Where from; empty is anywhere. Sorted, host bits clear.
    pub source_address: Vec<Cidr>,
    /// Seconds from the decision to the certificate's end.
    pub lifetime_s: u32,
    /// All of them must be met (AND). Empty: none needed.
    pub approvals: Vec<Approvals>,
    /// What the declaring signature must prove.
    pub presence: Presence,
    /// Whether sessions are recorded.
    pub record: Record,
    /// Hosts whose revocation list is older refuse these terms. Seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub krl_max_age_s: Option<u32>,
    /// How long a live session may go on after the emergency starts closing. Seconds.
    pub grace_s: u32,
    /// Set when the terms are one action's instead of the tier's own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub action: Option<ActionName>,
}

impl Terms {
    /// SHA-256 over the JSON of the terms: what a `certificate.issued` entry refers to.
    pub fn hash(&self) -> Hash {
        Hash::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// A quorum: `count` distinct people out of any of `from`. An empty `from` can never be met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// How many distinct people.
    pub count: u8,
    /// Members of any of these groups may approve. Sorted.
    pub from: Vec<GroupName>,
}

/// What a signature proves about the human: nothing, a touch, or a touch and a PIN or biometric.
/// Ordered: a later one satisfies an earlier one. (PROTOCOL.u2f: flags 0x01 and 0x04.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// A key that answers by itself.
    #[default]
    None,
    /// User presence: somebody touched it.
    Touch,
    /// User verification: PIN or biometric, and the touch.
    Verified,
}

/// Whether sessions under these terms are recorded. Ordered by strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Not recorded.
    #[default]
    None,
    /// Recorded; the session goes on if the recorder fails.
    BestEffort,
    /// Recorded, or no session.
    Required,
}

/// A certificate extension that the policy can give. Never agent forwarding and never user rc.
/// The policy spells the short form, the certificate the OpenSSH name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// `permit-port-forwarding`
    PortForwarding,
    /// `permit-pty`
    Pty,
}

impl Extension {
    /// The name in the certificate (PROTOCOL.certkeys).
    pub fn openssh(self) -> &'static str {
        match self {
            Extension::PortForwarding => "permit-port-forwarding",
            Extension::Pty => "permit-pty",
        }
    }
}

/// An address range in normal form: host bits clear, one spelling. sshd refuses any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network an address is in, as far as one household, office or VPN gateway goes: /24 of IPv4, /48
    /// of IPv6. An IPv4 address that is mapped into IPv6 counts as what it is.
    pub fn network_of(address: IpAddr) -> Cidr {
        match address.to_canonical() {
            IpAddr::V4(a) => Cidr { address: IpAddr::V4((u32::from(a) & !0xff).into()), prefix: 24 },
            IpAddr::V6(a) => Cidr { address: IpAddr::V6((u128::from(a) >> 80 << 80).into()), prefix: 48 },
        }
    }

    /// Whether every address of `other` is one of mine.
    pub fn contains(&self, other: &Cidr) -> bool {
        if other.prefix < self.prefix {
            return false;
        }
        match (self.address, other.address) {
            (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(theirs) & mask == u32::from(mine)
            }
            (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(theirs) & mask == u128::from(mine)
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Cidr, NameError> {
        let wrong = || NameError {
            what: "address range",
            shown: shown(text),
            rule: "an IPv4 or IPv6 address, '/', and a prefix length, host bits clear, e.g. 10.2.0.0/16",
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > bits {
            return Err(wrong());
        }
        let host_bits_clear = match address {
            IpAddr::V4(a) => u32::from(a) & u32::MAX.checked_shr(prefix.into()).unwrap_or(0) == 0,
            IpAddr::V6(a) => u128::from(a) & u128::MAX.checked_shr(prefix.into()).unwrap_or(0) == 0,
        };
        let cidr = Cidr { address, prefix };
        if host_bits_clear && cidr.to_string() == text { Ok(cidr) } else { Err(wrong()) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
