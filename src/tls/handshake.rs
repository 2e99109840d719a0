//! From a whole hello to the keys.

use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::codec::Malformed;
use super::failure::Cause;
use super::group::Group;
use super::hello::{ClientHello, OfferedPsks};
use super::join::MESSAGE_HEADER;
use super::negotiate::{Choice, Exchange, choose};
use super::psk::Psk;
use super::record::{ContentType, Traffic, plain};
use super::reply;
use super::schedule::{Early, HASH, Hash};
use super::suite::Suite;
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

/// What is kept between a HelloRetryRequest and the second hello.
pub(super) struct Retry {
    /// The stand-in for the first hello, and the HelloRetryRequest (RFC 8446 section 4.4.1).
    transcript: Sha256,
    /// What the second hello must repeat.
    unchanging: Hash,
    /// What it must have a share for.
    group: Group,
    /// See [`Pending::early_data`].
    pub(super) early_data: usize,
    /// See [`Pending::changed_cipher_spec`].
    pub(super) changed_cipher_spec: bool,
}

/// What became of a hello.
pub(super) enum Answer {
    /// Our whole flight is out, ServerHello to Finished: what waits for the client's Finished, and our
    /// application traffic.
    Flight(Box<Pending>, Box<Traffic>),
    /// A HelloRetryRequest is out.
    Retry(Box<Retry>),
}

/// Answers a hello, the second one if it comes with a [`Retry`].
///
/// The order is fixed: form, offers, binder, and only then the key exchange.
pub(super) fn answer(
    message: &[u8],
    retry: Option<&Retry>,
    psk: Option<&Psk>,
    entropy: &mut dyn CryptoRngCore,
    out: &mut Vec<u8>,
) -> Result<Answer, Cause> {
    let body = message.get(MESSAGE_HEADER..).unwrap_or_default();
    let hello = ClientHello::parse(body)?;
    if let Some(retry) = retry {
        retry.repeated_by(&hello)?;
    }
    let Choice { suite, exchange, psks } = choose(&hello, retry.map(|retry| retry.group))?;
    let before = retry.map_or_else(Sha256::new, |retry| retry.transcript.clone());
    let (early, identity, mut transcript) = authenticate(before, message, psks, psk)?;
    let (share, shared) = match exchange {
        Exchange::Retry(group) => return Ok(ask(&hello, suite, group, transcript, out)),
        Exchange::Share(group, share) => {
            let agreement = group.agree(share, entropy)?;
            (Some((group, agreement.public)), agreement.shared)
        }
        Exchange::None => (None, Zeroizing::new(vec![0; HASH])),
    };

    let mut random = [0; 32];
    entropy.fill_bytes(&mut random);
    let mut server_hello = Vec::with_capacity(256);
    let share = share.as_ref().map(|(group, public)| (*group, &**public));
    reply::server_hello(suite, share, identity, hello.session_id, &random, &mut server_hello);
    transcript.update(&server_hello);
    plain(ContentType::Handshake, &server_hello, out);
    // Once, after the first thing that we send.
    if !hello.session_id.is_empty() && retry.is_none() {
        plain(ContentType::ChangeCipherSpec, &[1], out);
    }

    let hellos = transcript.clone().finalize().into();
    let handshake = early.handshake(&shared);
    let (client, server) = (handshake.client(&hellos), handshake.server(&hellos));

    let mut flight = [0; reply::EMPTY_EXTENSIONS.len() + MESSAGE_HEADER + HASH];
    let (extensions, finished) = flight.split_at_mut(reply::EMPTY_EXTENSIONS.len());
    extensions.copy_from_slice(&reply::EMPTY_EXTENSIONS);
    transcript.update(extensions);
    let (finished_header, verify) = finished.split_at_mut(MESSAGE_HEADER);
    finished_header.copy_from_slice(&[reply::FINISHED, 0, 0, HASH as u8]);
    verify.copy_from_slice(&*server.finished(&transcript.clone().finalize().into()));
    transcript.update(finished);
    Traffic::new(suite, server).seal(ContentType::Handshake, &flight, out)?;

    let flight = transcript.finalize().into();
    let master = handshake.master();
    let pending = Pending {
        verify: client.finished(&flight),
        read: Traffic::new(suite, client),
        next_read: Traffic::new(suite, master.client(&flight)),
        early_data: if hello.early_data { MAX_EARLY_DATA } else { 0 },
        changed_cipher_spec: retry.is_some_and(|retry| retry.changed_cipher_spec),
        protected: false,
    };
    Ok(Answer::Flight(Box::new(pending), Traffic::new(suite, master.server(&flight))))
}

/// Asks for a share of a group with a HelloRetryRequest; `transcript` has the hello.
fn ask(hello: &ClientHello<'_>, suite: Suite, group: Group, transcript: Sha256, out: &mut Vec<u8>) -> Answer {
    let mut request = Vec::with_capacity(128);
    reply::hello_retry_request(suite, group, hello.session_id, &mut request);
    plain(ContentType::Handshake, &request, out);
    if !hello.session_id.is_empty() {
        plain(ContentType::ChangeCipherSpec, &[1], out);
    }
    let mut stand_in = Sha256::new_with_prefix([reply::MESSAGE_HASH, 0, 0, HASH as u8]);
    stand_in.update(transcript.finalize());
    stand_in.update(&request);
    Answer::Retry(Box::new(Retry {
        transcript: stand_in,
        unchanging: hello.unchanging(),
        group,
        early_data: if hello.early_data { MAX_EARLY_DATA } else { 0 },
        changed_cipher_spec: false,
    }))
}

impl Retry {
    /// Whether a second hello is the first one again, as RFC 8446 section 4.1.2 wants it.
    fn repeated_by(&self, hello: &ClientHello<'_>) -> Result<(), Cause> {
        if hello.early_data {
            return Err(Cause::Illegal("early data with its second hello"));
        }
        if hello.psks.is_none() || hello.unchanging() != self.unchanging {
            return Err(Cause::Illegal("a second hello that differs from the first"));
        }
        Ok(())
    }
}

/// Holds the binder against our key; gives the schedule, the index of the identity, and the transcript with
/// the hello.
///
/// With an unknown identity, and without a key, everything is done in the same way and then thrown
/// away: the peer cannot tell which of the two was wrong, neither by the alert nor by the time.
fn authenticate(
    mut transcript: Sha256,
    message: &[u8],
    psks: OfferedPsks<'_>,
    psk: Option<&Psk>,
) -> Result<(Early, u16, Sha256), Cause> {
    let (mut chosen, mut known) = (None, false);
    for (offer, index) in psks.iter().zip(0_u16..) {
        let is_ours = offer.0 == IDENTITY;
        if chosen.is_none() || (is_ours && !known) {
            chosen = Some((offer, index));
        }
        known |= is_ours;
    }
    // The form of the hello guarantees one identity at least.
    let ((identity, binder), index) = chosen.ok_or(Malformed)?;

    let covered = message.len().checked_sub(psks.binders_length()).ok_or(Malformed)?;
    let (truncated, binders) = message.split_at_checked(covered).ok_or(Malformed)?;
    transcript.update(truncated);
    let early = Early::new(psk.map(Psk::bytes).unwrap_or_default());
    let expected = early.binder(&transcript.clone().finalize().into());
    transcript.update(binders);

    // Copied in any case: what is done for one of two refusals is done for the other.
    let called = Box::from(identity.get(..Escaped::LIMIT + 1).unwrap_or(identity));

    let right = binder.ct_eq(&*expected)
        & subtle::Choice::from(u8::from(known))
        & subtle::Choice::from(u8::from(psk.is_some()));
    if bool::from(right) {
        return Ok((early, index, transcript));
    }
    Err(match (psk, known) {
        (None, _) => Cause::NoKey,
        (Some(_), true) => Cause::WrongKey,
        (Some(_), false) => Cause::UnknownIdentity(called),
    })
}
