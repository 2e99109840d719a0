//! The key schedule (RFC 8446 section 7.1), with SHA-256 throughout: an external pre-shared key goes
//! with SHA-256 (section 4.2.11), so no other hash can occur.
//!
//! ```text
//! PSK ──────► Early ── binder_key ─► binder of the hello
//! (EC)DHE ──► Handshake ─► client/server handshake traffic ─► Finished, record keys
//! 0 ────────► Master ────► client/server application traffic ─► record keys ─► next generation
//! ```
//!
//! Each stage is consumed by the step to the next one.

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of a SHA-256 hash, and of every secret and MAC of the schedule.
pub(super) const HASH: usize = 32;

/// A hash of the transcript, or a MAC over one.
pub(super) type Hash = [u8; HASH];

/// A secret of the schedule. Wiped when dropped.
pub(super) struct Secret(Zeroizing<Hash>);

impl Secret {
    /// HKDF-Extract.
    fn extract(salt: &Hash, material: &[u8]) -> Self {
        let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), material);
        Self(Zeroizing::new(prk.into()))
    }

    /// HKDF-Expand-Label; `to` is not longer than a hash.
    pub(super) fn expand(&self, label: &str, context: &[u8], to: &mut [u8]) {
        // HkdfLabel: u16 length, "tls13 " + label and context with 8-bit lengths. All labels are
        // ours and short, a context is a hash or empty.
        let length = (to.len() as u16).to_be_bytes();
        let label_length = [(6 + label.len()) as u8];
        let context_length = [context.len() as u8];
        let info: [&[u8]; 6] =
            [&length, &label_length, b"tls13 ", label.as_bytes(), &context_length, context];
        Hkdf::<Sha256>::from_prk(&*self.0)
            .expect("a secret is exactly as long as a hash, which is enough")
            .expand_multi_info(&info, to)
            .expect("what is asked for is at most one hash long, 255 are allowed");
    }

    /// Derive-Secret, from the transcript's hash.
    fn derive(&self, label: &str, transcript: &Hash) -> Self {
        let mut secret = Zeroizing::new([0; HASH]);
        self.expand(label, transcript, &mut *secret);
        Self(secret)
    }

    /// verify_data of a Finished message, or a binder (RFC 8446 sections 4.4.4 and 4.2.11.2).
    pub(super) fn finished(&self, transcript: &Hash) -> Zeroizing<Hash> {
        let key = self.derive_empty("finished");
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&*key.0).expect("HMAC takes keys of any length");
        mac.update(transcript);
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// The traffic secret after a KeyUpdate (RFC 8446 section 7.2).
    pub(super) fn next_generation(&self) -> Self {
        self.derive_empty("traffic upd")
    }

    /// HKDF-Expand-Label with an empty context, as long as a hash.
    fn derive_empty(&self, label: &str) -> Self {
        let mut secret = Zeroizing::new([0; HASH]);
        self.expand(label, &[], &mut *secret);
        Self(secret)
    }
}

/// The first stage: knows the pre-shared key.
pub(super) struct Early(Secret);

impl Early {
    pub(super) fn new(psk: &[u8]) -> Self {
        Self(Secret::extract(&[0; HASH], psk))
    }

    /// The binder of an external key over a hello that ends before its list of binders.
    pub(super) fn binder(&self, truncated_hello: &Hash) -> Zeroizing<Hash> {
        self.0.derive("ext binder", &empty_hash()).finished(truncated_hello)
    }

    pub(super) fn handshake(self, shared: &[u8]) -> Handshake {
        Handshake(next_stage(&self.0, shared))
    }
}

/// The second stage: knows the key exchange's result too.
pub(super) struct Handshake(Secret);

impl Handshake {
    /// The client's handshake traffic secret; `hellos` is the hash up to ServerHello.
    pub(super) fn client(&self, hellos: &Hash) -> Secret {
        self.0.derive("c hs traffic", hellos)
    }

    /// The server's handshake traffic secret.
    pub(super) fn server(&self, hellos: &Hash) -> Secret {
        self.0.derive("s hs traffic", hellos)
    }

    pub(super) fn master(self) -> Master {
        Master(next_stage(&self.0, &[0; HASH]))
    }
}

/// The last stage.
pub(super) struct Master(Secret);

impl Master {
    /// The client's first application traffic secret; `flight` is the hash up to the server's
    /// Finished.
    pub(super) fn client(&self, flight: &Hash) -> Secret {
        self.0.derive("c ap traffic", flight)
    }

    /// The server's first application traffic secret.
    pub(super) fn server(&self, flight: &Hash) -> Secret {
        self.0.derive("s ap traffic", flight)
    }
}

fn next_stage(secret: &Secret, material: &[u8]) -> Secret {
    let salt = secret.derive("derived", &empty_hash());
    Secret::extract(&salt.0, material)
}

fn empty_hash() -> Hash {
    Sha256::digest([]).into()
}
