//! From a whole hello to the keys.

use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use subtle::{Choice as Bit, ConstantTimeEq};
use zeroize::Zeroizing;

use super::codec::Malformed;
use super::failure::Cause;
use super::hello::{ClientHello, OfferedPsks};
use super::join::MESSAGE_HEADER;
use super::negotiate::choose;
use super::psk::Psk;
use super::record::{ContentType, Traffic, plain};
use super::reply;
use super::schedule::{Early, HASH, Hash};
use crate::log::Escaped;

/// The one identity that nodes use (remote-protocol.md section 5.2).
const IDENTITY: &[u8] = b"lrmd";

/// Encrypted early data that is skipped, in bytes, when the hello announces some (RFC 8446 section
/// 4.2.10).
const MAX_EARLY_DATA: usize = 64 * 1024;

/// What is kept between our Finished and the client's.
pub(super) struct Pending {
    /// The client's handshake traffic.
    pub(super) read: Box<Traffic>,
    /// The client's application traffic.
    pub(super) next_read: Box<Traffic>,
    /// verify_data that the client's Finished must have.
    pub(super) verify: Zeroizing<Hash>,
    /// How much undecryptable early data may still come; 0 after the first good record.
    pub(super) early_data: usize,
    /// Whether the one ChangeCipherSpec that is allowed has come.
    pub(super) changed_cipher_spec: bool,
    /// Whether a record was decrypted: then no unencrypted alert may come any more.
    pub(super) protected: bool,
}

/// Answers a hello with our whole flight, ServerHello to Finished; gives what waits for the client's
/// Finished, and our application traffic.
///
/// The order is fixed: form, offers, binder, and only then the key exchange.
pub(super) fn answer(
    message: &[u8],
    psk: Option<&Psk>,
    entropy: &mut dyn CryptoRngCore,
    out: &mut Vec<u8>,
) -> Result<(Box<Pending>, Box<Traffic>), Cause> {
    let body = message.get(MESSAGE_HEADER..).unwrap_or_default();
    let hello = ClientHello::parse(body)?;
    let choice = choose(&hello)?;
    let (early, identity, mut transcript) = authenticate(message, choice.psks, psk)?;
    let agreement = choice.group.agree(choice.share, entropy)?;

    let mut random = [0; 32];
    entropy.fill_bytes(&mut random);
    let mut server_hello = Vec::with_capacity(192);
    reply::server_hello(&choice, identity, &agreement.public, hello.session_id, &random, &mut server_hello);
    transcript.update(&server_hello);
    plain(ContentType::Handshake, &server_hello, out);
    if !hello.session_id.is_empty() {
        plain(ContentType::ChangeCipherSpec, &[1], out);
    }

    let hellos = transcript.clone().finalize().into();
    let handshake = early.handshake(agreement.shared.bytes());
    let (client, server) = (handshake.client(&hellos), handshake.server(&hellos));

    let mut flight = [0; reply::EMPTY_EXTENSIONS.len() + MESSAGE_HEADER + HASH];
    let (extensions, finished) = flight.split_at_mut(reply::EMPTY_EXTENSIONS.len());
    extensions.copy_from_slice(&reply::EMPTY_EXTENSIONS);
    transcript.update(extensions);
    let (finished_header, verify) = finished.split_at_mut(MESSAGE_HEADER);
    finished_header.copy_from_slice(&[reply::FINISHED, 0, 0, HASH as u8]);
    verify.copy_from_slice(&*server.finished(&transcript.clone().finalize().into()));
    transcript.update(finished);
    Traffic::new(choice.suite, server).seal(ContentType::Handshake, &flight, out)?;

    let flight = transcript.finalize().into();
    let master = handshake.master();
    let pending = Pending {
        verify: client.finished(&flight),
        read: Traffic::new(choice.suite, client),
        next_read: Traffic::new(choice.suite, master.client(&flight)),
        early_data: if hello.early_data { MAX_EARLY_DATA } else { 0 },
        changed_cipher_spec: false,
        protected: false,
    };
    Ok((Box::new(pending), Traffic::new(choice.suite, master.server(&flight))))
}

/// Holds the binder against our key; gives the schedule, the index of the identity, and the hash of
/// the hello.
///
/// With an unknown identity, and without a key, everything is done in the same way and then thrown
/// away: the peer cannot tell which of the two was wrong, neither by the alert nor by the time.
fn authenticate(
    message: &[u8],
    psks: OfferedPsks<'_>,
    psk: Option<&Psk>,
) -> Result<(Early, u16, Sha256), Cause> {
    let offers = || psks.iter().zip(0_u16..);
    let ours = offers().find(|((identity, _), _)| *identity == IDENTITY);
    let known = ours.is_some();
    // The form of the hello guarantees one identity at least.
    let ((identity, binder), index) = ours.or_else(|| offers().next()).ok_or(Malformed)?;

    let covered = message.len().checked_sub(psks.binders_length()).ok_or(Malformed)?;
    let (truncated, binders) = message.split_at_checked(covered).ok_or(Malformed)?;
    let mut transcript = Sha256::new_with_prefix(truncated);
    let early = Early::new(psk.map(Psk::bytes).unwrap_or_default());
    let expected = early.binder(&transcript.clone().finalize().into());
    transcript.update(binders);

    let right = binder.ct_eq(&*expected) & Bit::from(u8::from(known)) & Bit::from(u8::from(psk.is_some()));
    if bool::from(right) {
        return Ok((early, index, transcript));
    }
    Err(match (psk, known) {
        (None, _) => Cause::NoKey,
        (Some(_), true) => Cause::WrongKey,
        (Some(_), false) => {
            Cause::UnknownIdentity(identity.iter().take(Escaped::LIMIT + 1).copied().collect())
        }
    })
}
