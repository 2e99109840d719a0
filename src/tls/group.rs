//! Key exchange groups (RFC 8446 section 4.2.8.2).

use p256::elliptic_curve::ecdh::EphemeralSecret;
use p256::elliptic_curve::sec1::{FromEncodedPoint, ModulusSize, ToEncodedPoint};
use p256::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytesSize, PublicKey};
use rand_core::CryptoRngCore;
use subtle::ConstantTimeEq;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519 as ladder};
use zeroize::Zeroizing;

use super::failure::Cause;

/// A group that we serve, by its number in `supported_groups`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Secp256r1 = 0x0017,
    /// What GnuTLS's SECURE192 and SECURE256 leave (tls.md section 1).
    Secp384r1 = 0x0018,
    X25519 = 0x001d,
}

impl Group {
    pub(super) const fn from_number(number: u16) -> Option<Self> {
        match number {
            0x0017 => Some(Self::Secp256r1),
            0x0018 => Some(Self::Secp384r1),
            0x001d => Some(Self::X25519),
            _ => None,
        }
    }

    /// Makes a key pair and agrees with the peer's share on a secret.
    pub(super) fn agree(self, share: &[u8], entropy: &mut dyn CryptoRngCore) -> Result<Agreement, Cause> {
        match self {
            Self::Secp256r1 => on_curve::<p256::NistP256>(share, entropy),
            Self::Secp384r1 => on_curve::<p384::NistP384>(share, entropy),
            Self::X25519 => x25519(share, entropy),
        }
    }
}

/// Our share, and the secret that both sides know.
pub(super) struct Agreement {
    pub(super) public: Box<[u8]>,
    pub(super) shared: Zeroizing<Vec<u8>>,
}

/// Only the uncompressed form is allowed; `from_sec1_bytes` checks that the point is on the curve.
fn on_curve<C>(share: &[u8], mut entropy: &mut dyn CryptoRngCore) -> Result<Agreement, Cause>
where
    C: CurveArithmetic,
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    const BAD: Cause = Cause::Illegal("a key share that is no point of its curve");
    if share.first() != Some(&4) {
        return Err(BAD);
    }
    let theirs = PublicKey::<C>::from_sec1_bytes(share).map_err(|_| BAD)?;
    let ours = EphemeralSecret::<C>::random(&mut entropy);
    let shared = ours.diffie_hellman(&theirs);
    Ok(Agreement {
        public: ours.public_key().to_encoded_point(false).as_bytes().into(),
        shared: Zeroizing::new(shared.raw_secret_bytes().to_vec()),
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
    Ok(Agreement { public: public.into(), shared: Zeroizing::new(shared.to_vec()) })
}
