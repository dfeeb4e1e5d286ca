//! Where a connection to the agent comes from: `session-bind@openssh.com` (PROTOCOL.agent), read by hand
//! because host *certificates* arrive in it too.
//!
//! A binding can only narrow what a connection may do, so nothing is gained by forging one. ssh sends
//! it before any request; a forwarded agent shows itself by `is_forwarding` before the far end can say
//! a word, and from then on that connection gets nothing, whatever else it says.

use ed25519_dalek::Verifier;
use fireaxe_protocol::wire::{Reader, Short};
use ssh_key::public::KeyData;
use ssh_key::{Certificate, PublicKey, Signature};

/// One binding, as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionBind<'a> {
    host_key: &'a [u8],
    session: &'a [u8],
    signature: &'a [u8],
    forwarding: bool,
}

impl<'a> SessionBind<'a> {
    /// Reads the four fields after the extension's name.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<SessionBind<'a>, Short> {
        let mut reader = Reader::new(bytes);
        let (host_key, session, signature) = (reader.string()?, reader.string()?, reader.string()?);
        let forwarding = reader.byte()? != 0;
        if reader.is_done() {
            Ok(SessionBind { host_key, session, signature, forwarding })
        } else {
            Err(Short)
        }
    }
}

/// What is known of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Binding {
    /// Nothing: an older ssh, or `ssh-add -l`.
    #[default]
    None,
    /// It serves this session, from this machine.
    Local(Bound),
    /// It is forwarded, or cannot be told from one that is: never listed to, never signed for.
    Remote,
}

/// The session a connection serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    session: Vec<u8>,
    host_key: Vec<u8>,
    /// Names in the host's certificate, if it showed one. Claims of the far end: good for putting the
    /// likeliest key first, for nothing else.
    pub(crate) host_names: Vec<String>,
}

impl Binding {
    /// Takes a binding; `false` when it is refused. Anything unreadable, badly signed or forwarded makes
    /// the connection [`Binding::Remote`] for good.
    pub(crate) fn take(&mut self, bind: Result<SessionBind<'_>, Short>) -> bool {
        let Some((bind, names)) = bind.ok().and_then(|b| host_names(&b).map(|names| (b, names))) else {
            *self = Binding::Remote;
            return false;
        };
        match self {
            _ if bind.forwarding => {
                *self = Binding::Remote;
                true
            }
            Binding::Remote => false,
            Binding::Local(bound) => bound.session == bind.session && bound.host_key == bind.host_key,
            Binding::None => {
                let (session, host_key) = (bind.session.to_vec(), bind.host_key.to_vec());
                *self = Binding::Local(Bound { session, host_key, host_names: names });
                true
            }
        }
    }

    /// Whether a signature for this session (and host key, when the request names one) may be made here.
    pub(crate) fn admits(&self, session: &[u8], host_key: Option<&[u8]>) -> bool {
        match self {
            Binding::None => true,
            Binding::Local(bound) => {
                bound.session == session && host_key.is_none_or(|key| key == bound.host_key)
            }
            Binding::Remote => false,
        }
    }

    /// The host key that the session was begun with: a plain one, or a certificate.
    pub(super) fn host_key(&self) -> Option<&[u8]> {
        match self {
            Binding::Local(bound) => Some(&bound.host_key),
            _ => None,
        }
    }

    /// Names of the host at the far end, as its certificate claims.
    pub(crate) fn host_names(&self) -> &[String] {
        match self {
            Binding::Local(bound) => &bound.host_names,
            _ => &[],
        }
    }
}

/// The names in the host's certificate; `None` when key or signature is wrong. Signatures of types this
/// program has no arithmetic for (RSA and the larger curves) are not checked.
fn host_names(bind: &SessionBind<'_>) -> Option<Vec<String>> {
    let (key, names) = match Certificate::from_bytes(bind.host_key) {
        Ok(certificate) => (certificate.public_key().clone(), certificate.valid_principals().to_vec()),
        Err(_) => (PublicKey::from_bytes(bind.host_key).ok()?.key_data().clone(), Vec::new()),
    };
    let checkable = match &key {
        KeyData::Ed25519(_) => true,
        KeyData::Ecdsa(ecdsa) => ecdsa.curve() == ssh_key::EcdsaCurve::NistP256,
        _ => false,
    };
    if checkable {
        let signature = Signature::try_from(bind.signature).ok()?;
        key.verify(bind.session, &signature).ok()?;
    }
    Some(names)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use fireaxe_protocol::keys::Ed25519Key;
    use fireaxe_protocol::wire::put_string;

    pub(crate) fn host_key(seed: u8) -> (SigningKey, Vec<u8>) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = PublicKey::from(Ed25519Key(key.verifying_key().to_bytes()).key_data());
        (key, public.to_bytes().unwrap())
    }

    pub(crate) fn bind_bytes(key: &SigningKey, blob: &[u8], session: &[u8], forwarding: bool) -> Vec<u8> {
        let mut signature = Vec::new();
        put_string(&mut signature, b"ssh-ed25519");
        put_string(&mut signature, &key.sign(session).to_bytes());
        let mut out = Vec::new();
        put_string(&mut out, blob);
        put_string(&mut out, session);
        put_string(&mut out, &signature);
        out.push(forwarding.into());
        out
    }

    fn take(binding: &mut Binding, bytes: &[u8]) -> bool {
        binding.take(SessionBind::parse(bytes))
    }

    #[test]
    fn once_forwarded_a_connection_stays_forwarded_whatever_it_says_later() {
        let (key, blob) = host_key(1);
        let mut binding = Binding::default();
        assert!(take(&mut binding, &bind_bytes(&key, &blob, &[7; 32], true)));
        assert_eq!(binding, Binding::Remote);
        assert!(!take(&mut binding, &bind_bytes(&key, &blob, &[8; 32], false)));
        assert_eq!(binding, Binding::Remote);
        assert!(!binding.admits(&[8; 32], None));
    }

    #[test]
    fn a_local_binding_turns_forwarded_too() {
        let (key, blob) = host_key(1);
        let mut binding = Binding::default();
        assert!(take(&mut binding, &bind_bytes(&key, &blob, &[7; 32], false)));
        assert!(take(&mut binding, &bind_bytes(&key, &blob, &[9; 32], true)));
        assert_eq!(binding, Binding::Remote);
    }

    #[test]
    fn a_bound_connection_signs_for_its_own_session_and_host_key_only() {
        let (key, blob) = host_key(1);
        let mut binding = Binding::default();
        assert!(take(&mut binding, &bind_bytes(&key, &blob, &[7; 32], false)));
        assert!(binding.admits(&[7; 32], None) && binding.admits(&[7; 32], Some(&blob)));
        assert!(!binding.admits(&[8; 32], None));
        assert!(!binding.admits(&[7; 32], Some(&host_key(2).1)));
        assert!(!take(&mut binding, &bind_bytes(&key, &blob, &[8; 32], false)), "a second session was bound");
        assert!(binding.admits(&[7; 32], None));
    }

    #[test]
    fn what_cannot_be_read_or_is_signed_by_another_key_counts_as_forwarded() {
        let ((key, blob), (other, _)) = (host_key(1), host_key(2));
        let good = bind_bytes(&key, &blob, &[7; 32], false);
        for bad in [
            &good[..good.len() - 1],
            &[good.as_slice(), &[0]].concat(),
            &bind_bytes(&other, &blob, &[7; 32], false),
            &bind_bytes(&key, b"no key", &[7; 32], false),
        ] {
            let mut binding = Binding::default();
            assert!(!take(&mut binding, bad));
            assert_eq!(binding, Binding::Remote);
        }
    }

    #[test]
    fn a_host_certificate_is_read_with_its_names() {
        let (key, _) = host_key(1);
        let ca = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[9; 32]));
        let subject = Ed25519Key(key.verifying_key().to_bytes()).key_data();
        let mut builder = ssh_key::certificate::Builder::new(vec![1; 16], subject, 1, 4_000_000_000).unwrap();
        builder.cert_type(ssh_key::certificate::CertType::Host).unwrap();
        builder.key_id("host").unwrap();
        builder.valid_principal("db-3.payments.prod").unwrap();
        let blob = builder.sign(&ca).unwrap().to_bytes().unwrap();
        let mut binding = Binding::default();
        assert!(take(&mut binding, &bind_bytes(&key, &blob, &[7; 32], false)));
        assert_eq!(binding.host_names(), ["db-3.payments.prod"]);
    }
}
