//! What of a hello's offers we take (RFC 8446 sections 4.1.1, 4.2 and 9.2), or why none.

use super::codec::{Seen, U16s};
use super::failure::Cause;
use super::group::Group;
use super::hello::{ClientHello, OfferedPsks, Shares};
use super::suite::Suite;

const TLS13: u16 = 0x0304;
const SSL30: u16 = 0x0300;
const PSK_KE: u8 = 0;
const PSK_DHE_KE: u8 = 1;

/// What both sides will use.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    pub(super) suite: Suite,
    pub(super) exchange: Exchange<'a>,
    pub(super) psks: OfferedPsks<'a>,
}

/// What goes into the key schedule beside the pre-shared key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange<'a> {
    /// `psk_dhe_ke`: the group, and the client's share for it.
    Share(Group, &'a [u8]),
    /// `psk_dhe_ke`, but the share is to be asked for.
    Retry(Group),
    /// `psk_ke`: nothing.
    None,
}

/// Chooses in the client's order. The key has no part in it, so nothing about the key can be
/// learnt from how it fails.
///
/// `asked` is the group that a HelloRetryRequest has asked for a share of, if one has gone out.
pub(super) fn choose<'a>(hello: &ClientHello<'a>, asked: Option<Group>) -> Result<Choice<'a>, Cause> {
    version(hello)?;
    if hello.compression != [0] {
        return Err(Cause::Illegal("a compression method"));
    }
    let Some(psks) = hello.psks else {
        return Err(without_psk(hello));
    };
    let modes = hello.modes.ok_or(Cause::MissingExtension("psk_key_exchange_modes"))?;
    let suite = hello.suites.iter().find_map(Suite::from_number).ok_or(Cause::NoSuite)?;
    let exchange = exchange(hello, modes)?;
    let exchange = match (asked, exchange) {
        (None, exchange) => exchange,
        (Some(asked), Exchange::Share(group, _)) if asked == group && is_alone(hello) => exchange,
        (Some(_), _) => {
            return Err(Cause::Illegal("a second hello with other key shares than the one asked for"));
        }
    };
    Ok(Choice { suite, exchange, psks })
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

/// A key exchange, with the first share for a group of ours, or with the first group of ours if there is no
/// share for any; only if there is no such group, or the client does not want it, none.
fn exchange<'a>(hello: &ClientHello<'a>, modes: &[u8]) -> Result<Exchange<'a>, Cause> {
    let alone = modes.contains(&PSK_KE);
    let exchange = match (hello.groups, hello.shares) {
        (Some(groups), Some(shares)) => share(groups, shares)?,
        // Neither is needed for a key that stands alone, but none goes without the other (section 9.2).
        (None, None) if alone => None,
        (None, _) => return Err(Cause::MissingExtension("supported_groups")),
        (_, None) => return Err(Cause::MissingExtension("key_share")),
    };
    match exchange {
        Some(exchange) if modes.contains(&PSK_DHE_KE) => Ok(exchange),
        _ if alone => Ok(Exchange::None),
        Some(_) => Err(Cause::NoKeyExchange),
        None => Err(Cause::NoGroup),
    }
}

/// All shares, also those for groups that we do not know, must be for different groups out of
/// supported_groups (section 4.2.8).
fn share<'a>(groups: U16s<'a>, shares: Shares<'a>) -> Result<Option<Exchange<'a>>, Cause> {
    let mut supported = Seen::new();
    let mut common = None;
    for number in groups.iter() {
        supported.insert(number);
        common = common.or_else(|| Group::from_number(number));
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
            first = Group::from_number(number).map(|group| Exchange::Share(group, share));
        }
    }
    Ok(first.or(common.map(Exchange::Retry)))
}

/// Whether there is one key share and no more.
fn is_alone(hello: &ClientHello<'_>) -> bool {
    hello.shares.is_some_and(|shares| shares.iter().count() == 1)
}
