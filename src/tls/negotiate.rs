//! What of a hello's offers we take (RFC 8446 sections 4.1.1, 4.2 and 9.2), or why none.

use super::codec::Seen;
use super::failure::Cause;
use super::group::Group;
use super::hello::{ClientHello, OfferedPsks};
use super::suite::Suite;

const TLS13: u16 = 0x0304;
const SSL30: u16 = 0x0300;
const PSK_DHE_KE: u8 = 1;

/// What both sides will use.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) suite: Suite,
    pub(super) group: Group,
    /// The client's share for the group.
    pub(super) share: &'a [u8],
    pub(super) psks: OfferedPsks<'a>,
}

/// Chooses in the client's order. The key has no part in it, so nothing about the key can be
/// learnt from how it fails.
pub(super) fn choose<'a>(hello: &ClientHello<'a>) -> Result<Choice<'a>, Cause> {
    version(hello)?;
    if hello.compression != [0] {
        return Err(Cause::Illegal("a compression method"));
    }
    let Some(psks) = hello.psks else {
        return Err(without_psk(hello));
    };
    let modes = hello.modes.ok_or(Cause::MissingExtension("psk_key_exchange_modes"))?;
    let suite = hello.suites.iter().find_map(Suite::from_number).ok_or(Cause::NoSuite)?;
    if !modes.contains(&PSK_DHE_KE) {
        return Err(Cause::NoKeyExchange);
    }
    let (group, share) = share(hello)?;
    Ok(Choice { suite, group, share, psks })
}

/// Only supported_versions counts when it is there (RFC 8446 section 4.2.1), but SSL 3.0 and older
/// in the old field is refused all the same (section D.5).
fn version(hello: &ClientHello<'_>) -> Result<(), Cause> {
    if hello.legacy_version <= SSL30 {
        return Err(Cause::OldProtocol(hello.legacy_version));
    }
    let Some(versions) = hello.versions else {
        // TLS 1.2 is the newest that can be meant without the extension.
        return Err(Cause::OldProtocol(hello.legacy_version.min(TLS13 - 1)));
    };
    if versions.iter().any(|version| version == TLS13) {
        return Ok(());
    }
    // Reserved and draft numbers, and what is newer, do not say what the peer can do.
    let newest = versions.iter().filter(|&version| version < TLS13).max();
    Err(Cause::OldProtocol(newest.unwrap_or(hello.legacy_version)))
}

/// A hello for certificates is in order, only not for us, if it has what section 9.2 demands.
fn without_psk(hello: &ClientHello<'_>) -> Cause {
    if hello.groups.is_none() {
        return Cause::MissingExtension("supported_groups");
    }
    if !hello.signature_algorithms {
        return Cause::MissingExtension("signature_algorithms");
    }
    if hello.shares.is_none() {
        return Cause::MissingExtension("key_share");
    }
    Cause::NoPskOffered
}

/// The first share for a group of ours. All shares, also those for groups that we do not know, must
/// be for different groups out of supported_groups (section 4.2.8).
fn share<'a>(hello: &ClientHello<'a>) -> Result<(Group, &'a [u8]), Cause> {
    let groups = hello.groups.ok_or(Cause::MissingExtension("supported_groups"))?;
    let shares = hello.shares.ok_or(Cause::MissingExtension("key_share"))?;

    let mut supported = Seen::new();
    let mut common = false;
    for number in groups.iter() {
        supported.insert(number);
        common |= Group::from_number(number).is_some();
    }
    let mut shared = Seen::new();
    let mut first = None;
    for (number, share) in shares.iter() {
        if !supported.contains(number) {
            return Err(Cause::Illegal("a key share for a group that it does not list"));
        }
        if !shared.insert(number) {
            return Err(Cause::Illegal("two key shares for one group"));
        }
        if first.is_none() {
            first = Group::from_number(number).map(|group| (group, share));
        }
    }
    first.ok_or(if common { Cause::NoShare } else { Cause::NoGroup })
}
