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
use sha2::digest::Output;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a SHA-256 hash, and of every secret and MAC of the schedule.
pub(super) const HASH: usize = 32;

/// A hash of the transcript, or a MAC over one.
pub(super) type Hash = [u8; HASH];

/// A secret of the schedule. Wiped when dropped.
pub(super) struct Secret(Zeroizing<Hash>);

impl Secret {
    /// HKDF-Extract.
    fn extract(salt: &Hash, material: &[u8]) -> Self {
        #[cfg(test)]
        WORK.set(WORK.get() + 1);
        let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), material);
        Self(wiping(prk))
    }

    /// HKDF-Expand-Label; `to` is not longer than a hash.
    pub(super) fn expand(&self, label: &str, context: &[u8], to: &mut [u8]) {
        // HkdfLabel: u16 length, "tls13 " + label and context with 8-bit lengths. All labels are
        // ours and short, a context is a hash or empty.
        #[cfg(test)]
        WORK.set(WORK.get() + 1);
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
        wiping(mac.finalize().into_bytes())
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

/// The output of a hash function as a secret, and the original wiped.
fn wiping(mut output: Output<Sha256>) -> Zeroizing<Hash> {
    let hash = Zeroizing::new(output.into());
    output.as_mut_slice().zeroize();
    hash
}

fn empty_hash() -> Hash {
    Sha256::digest([]).into()
}

#[cfg(test)]
std::thread_local! {
    /// How often a secret was made from another: two refusals must not differ in it.
    pub(super) static WORK: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Hash {
        core::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    /// RFC 8448 section 4, a resumption: all the same but for the label of its binder.
    #[test]
    fn a_published_handshake() {
        let early = Early::new(&hex("4ecd0eb6ec3b4d87f5d6028f922ca4c5851a277fd41311c9e62d2c9492e1c4f3"));
        assert_eq!(*early.0.0, hex("9b2188e9b2fc6d64d71dc329900e20bb41915000f678aa839cbb797cb7d8332c"));
        let binder_key = early.0.derive("res binder", &empty_hash());
        assert_eq!(*binder_key.0, hex("69fe131a3bbad5d63c64eebcc30e395b9d8107726a13d074e389dbc8a4e47256"));
        let truncated_hello = hex("63224b2e4573f2d3454ca84b9d009a04f6be9e05711a8396473aefa01e924a14");
        let binder = hex("3add4fb2d8fdf822a0ca3cf7678ef5e88dae990141c5924d57bb6fa31b9e5f9d");
        assert_eq!(*binder_key.finished(&truncated_hello), binder);

        let shared = hex("f44194756ff9ec9d25180635d66ea6824c6ab3bf179977be37f723570e7ccb2e");
        let handshake = early.handshake(&shared);
        assert_eq!(*handshake.0.0, hex("005cb112fd8eb4ccc623bb88a07c64b3ede1605363fc7d0df8c7ce4ff0fb4ae6"));
        let hellos = hex("f736cb34fe25e701551bee6fd24c1cc7102a7daf9405cb15d97aafe16f757d03");
        let client = handshake.client(&hellos);
        assert_eq!(*client.0, hex("2faac08f851d35fea3604fcb4de82dc62c9b164a70974d0462e27f1ab278700f"));
        let server = handshake.server(&hellos);
        assert_eq!(*server.0, hex("fe927ae271312e8bf0275b581c54eef020450dc4ecffaa05a1a35d27518e7803"));
        let (mut key, mut iv) = ([0; 16], [0; 12]);
        server.expand("key", &[], &mut key);
        server.expand("iv", &[], &mut iv);
        assert_eq!(u128::from_be_bytes(key), 0x27c6_bdc0_a3dc_ea39_a473_26d7_9bc9_e4ee);
        assert_eq!(iv, [0x95, 0x69, 0xec, 0xdd, 0x4d, 0x05, 0x36, 0x70, 0x5e, 0x9e, 0xf7, 0x25]);

        let master = handshake.master();
        assert_eq!(*master.0.0, hex("e2d32d4ed66dd37897a0e80c84107503ce58bf8aad4cb55a5002d77ecb890ece"));
        let flight = hex("b0aeffc46a2cfe33114e6fd7d51f9f04b1ca3c497dab08934a774a9d9ad7dbf3");
        let client = master.client(&flight);
        assert_eq!(*client.0, hex("2abbf2b8e381d23dbebe1dd2a7d16a8bf484cb4950d23fb7fb7fa8547062d9a1"));
        let server = master.server(&flight);
        assert_eq!(*server.0, hex("cc21f1bf8feb7dd5fa505bd9c4b468a9984d554a993dc49e6d285598fb672691"));
    }
}
