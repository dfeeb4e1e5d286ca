//! Certificates for single hosts: what a host must show for one to be asked for, which of an emergency's stands
//! in for its wide certificate and for how long, and whom not to ask again for a while. Asks nobody itself: who
//! does hands back what is held against the terms here.

use fireaxe_protocol::keys::Ed25519Key;
use fireaxe_protocol::limits;
use fireaxe_protocol::names::HostName;
use ssh_key::Certificate;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;

use super::bound::Entry;

/// Hosts of one emergency that are remembered as not to be asked for, at once: the oldest makes room.
const REFUSED: usize = 32;
/// How long a CA that did not answer, or a host for which it made none, is not asked about again, seconds.
const ASK_AGAIN_S: u64 = 30;

/// One certificate for one host.
pub(super) struct Narrowed {
    pub(super) host: HostName,
    /// Serial of the wide certificate for which it stands in.
    pub(super) base: u64,
    pub(super) entry: Entry,
}

/// What one emergency holds for single hosts.
#[derive(Default)]
pub(super) struct NarrowedCertificates {
    held: Vec<Narrowed>,
    refused: Vec<(HostName, u64)>,
    away_until: u64,
}

impl NarrowedCertificates {
    /// The one that stands in for `base` on `host`: not near its end, unless that is the end of `base`, too.
    pub(super) fn stands_in(&self, base: &Entry, host: &HostName, now: u64) -> Option<&Entry> {
        let fresh = |one: &&Narrowed| {
            let ends = one.entry.held.valid_before;
            one.base == base.held.serial
                && one.host == *host
                && ends > now
                && (ends >= now.saturating_add(limits::NARROWED_FRESH_S) || ends == base.held.valid_before)
        };
        self.held.iter().find(fresh).map(|one| &one.entry)
    }

    /// Whether one should be asked for.
    pub(super) fn is_wanted(&self, base: &Entry, host: &HostName, now: u64) -> bool {
        let left = base.held.valid_before.saturating_sub(now);
        let refused = |(refused, until): &(HostName, u64)| refused == host && *until > now;
        self.stands_in(base, host, now).is_none()
            && self.away_until <= now
            && !self.refused.iter().any(refused)
            && base.terms.narrowed(host, left).is_ok()
    }

    /// Takes one in the place of an older one for that host.
    pub(super) fn take(&mut self, new: Narrowed) {
        self.refused.retain(|(host, _)| *host != new.host);
        self.held.retain(|one| one.host != new.host);
        if self.held.len() >= limits::NARROWED {
            let ends = |at: &usize| self.held.get(*at).map(|one| one.entry.held.valid_before);
            if let Some(first) = (0..self.held.len()).min_by_key(ends) {
                self.held.remove(first);
            }
        }
        self.held.push(new);
    }

    /// None came: the CA makes none for that host, or it is away altogether.
    pub(super) fn none_came(&mut self, host: &HostName, away: bool, now: u64) {
        let until = now.saturating_add(ASK_AGAIN_S);
        if away {
            self.away_until = until;
            return;
        }
        self.refused.retain(|(other, until)| other != host && *until > now);
        if self.refused.len() >= REFUSED {
            self.refused.remove(0);
        }
        self.refused.push((host.clone(), until));
    }

    /// By its blob, with its host.
    pub(super) fn find(&self, blob: &[u8]) -> Option<&Narrowed> {
        self.held.iter().find(|one| one.entry.blob == blob)
    }

    /// Drops what has ended, and what stood in for a certificate that is not held any more.
    pub(super) fn sweep(&mut self, wide: &[Entry], now: u64) {
        self.held.retain(|one| {
            one.entry.held.valid_before > now && wide.iter().any(|e| e.held.serial == one.base)
        });
    }

    #[cfg(test)]
    pub(super) fn serials(&self) -> Vec<u64> {
        self.held.iter().map(|one| one.entry.held.serial).collect()
    }
}

/// The names in a host's certificate, if `host_ca` signed it for a host and it is valid now. What is wrong with
/// it is nobody's error here: it is a host for which none is asked.
pub(super) fn certified(host_key: &[u8], host_ca: &Ed25519Key, now: u64) -> Vec<HostName> {
    let Ok(certificate) = Certificate::from_bytes(host_key) else { return Vec::new() };
    let by = matches!(certificate.signature_key(), KeyData::Ed25519(key) if key.0 == host_ca.0);
    let trusted = certificate.signature_key().fingerprint(ssh_key::HashAlg::Sha256);
    let good = by
        && certificate.cert_type() == CertType::Host
        && certificate.critical_options().is_empty()
        && certificate.validate_at(now, [&trusted]).is_ok();
    let names = certificate.valid_principals().iter().filter_map(|name| name.parse().ok());
    if good { names.collect() } else { Vec::new() }
}
