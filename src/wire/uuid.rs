//! Random UUIDs, by which the cluster knows sessions and registrations.

use rand_core::CryptoRngCore;

/// A random UUID (RFC 9562 section 5.4) in its 36-character form.
pub fn random(entropy: &mut dyn CryptoRngCore) -> String {
    let mut bytes = [0; 16];
    entropy.fill_bytes(&mut bytes);
    let value = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{value:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use rand_core::{CryptoRng, RngCore};

    use super::*;

    struct Ones;

    impl CryptoRng for Ones {}

    impl RngCore for Ones {
        fn next_u32(&mut self) -> u32 {
            u32::MAX
        }
        fn next_u64(&mut self) -> u64 {
            u64::MAX
        }
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
            self.fill_bytes(bytes);
            Ok(())
        }
    }

    #[test]
    fn version_and_variant_are_set() {
        assert_eq!(random(&mut Ones), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
