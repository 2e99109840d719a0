//! Key exchange groups (RFC 8446 section 4.2.8.2).

use p256::EncodedPoint;
use rand_core::CryptoRngCore;
use subtle::ConstantTimeEq;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519 as ladder};
use zeroize::Zeroizing;

use super::failure::Cause;

/// A group that we serve, by its number in `supported_groups`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Secp256r1 = 0x0017,
    X25519 = 0x001d,
}

impl Group {
    pub(super) const fn from_number(number: u16) -> Option<Self> {
        match number {
            0x0017 => Some(Self::Secp256r1),
            0x001d => Some(Self::X25519),
            _ => None,
        }
    }

    /// Makes a key pair and agrees with the peer's share on a secret.
    pub(super) fn agree(self, share: &[u8], entropy: &mut dyn CryptoRngCore) -> Result<Agreement, Cause> {
        match self {
            Self::Secp256r1 => secp256r1(share, entropy),
            Self::X25519 => x25519(share, entropy),
        }
    }
}

/// Our share, and the secret that both sides know.
pub(super) struct Agreement {
    pub(super) public: Public,
    pub(super) shared: Shared,
}

pub(super) enum Public {
    Secp256r1(EncodedPoint),
    X25519([u8; 32]),
}

impl Public {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Secp256r1(point) => point.as_bytes(),
            Self::X25519(key) => key,
        }
    }
}

/// Both wipe themselves when dropped.
pub(super) enum Shared {
    Secp256r1(p256::ecdh::SharedSecret),
    X25519(Zeroizing<[u8; 32]>),
}

impl Shared {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Secp256r1(shared) => shared.raw_secret_bytes(),
            Self::X25519(shared) => &**shared,
        }
    }
}

/// Only the uncompressed form is allowed; `from_sec1_bytes` checks that the point is on the curve.
fn secp256r1(share: &[u8], mut entropy: &mut dyn CryptoRngCore) -> Result<Agreement, Cause> {
    const BAD: Cause = Cause::Illegal("a secp256r1 key share that is no point of the curve");
    if share.len() != 65 {
        return Err(BAD);
    }
    let theirs = p256::PublicKey::from_sec1_bytes(share).map_err(|_| BAD)?;
    let ours = p256::ecdh::EphemeralSecret::random(&mut entropy);
    Ok(Agreement {
        public: Public::Secp256r1(EncodedPoint::from(ours.public_key())),
        shared: Shared::Secp256r1(ours.diffie_hellman(&theirs)),
    })
}

/// A share of small order gives an all-zero secret, which RFC 8446 section 7.4.2 wants refused.
///
/// Both multiplications are the Montgomery ladder of RFC 7748: the crate's types would compute our share on
/// the Edwards curve, which is 12 kB of code for 50 µs of a handshake.
fn x25519(share: &[u8], entropy: &mut dyn CryptoRngCore) -> Result<Agreement, Cause> {
    let theirs: [u8; 32] =
        share.try_into().map_err(|_| Cause::Illegal("an x25519 key share that is not 32 bytes long"))?;
    let mut ours = Zeroizing::new([0; 32]);
    entropy.fill_bytes(&mut *ours);
    let shared = Zeroizing::new(ladder(*ours, theirs));
    if bool::from(shared.ct_eq(&[0; 32])) {
        return Err(Cause::Illegal("an x25519 key share of small order"));
    }
    let public = ladder(*ours, X25519_BASEPOINT_BYTES);
    Ok(Agreement { public: Public::X25519(public), shared: Shared::X25519(shared) })
}
