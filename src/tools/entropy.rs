//! Randomness for tools.

use rand_core::{CryptoRng, Error, RngCore};

/// The kernel's random numbers.
#[derive(Clone, Copy, Debug)]
pub struct Entropy;

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn fill_bytes(&mut self, mut bytes: &mut [u8]) {
        use rustix::rand::{GetRandomFlags, getrandom};
        while !bytes.is_empty() {
            let count = getrandom(&mut *bytes, GetRandomFlags::empty()).unwrap_or(0);
            bytes = bytes.get_mut(count..).unwrap_or_default();
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Entropy {}
