//! Random bytes from the kernel.
#![forbid(unsafe_code)]

use rand_core::{CryptoRng, RngCore};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroize;

use super::Errno;

/// How many bytes are taken at once: one handshake's worth. Not more, because what is not used yet lies in memory.
const BUFFER: usize = 64;

/// Whether the kernel has gathered enough: soon after boot it may not have, and asking it for bytes
/// would wait.
///
/// # Errors
/// ENOSYS on a kernel before 3.17, which has no `getrandom`.
pub fn is_ready() -> Result<bool, Errno> {
    let mut byte = [0];
    match getrandom(&mut byte, GetRandomFlags::NONBLOCK) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The kernel's generator, asked for a few bytes in advance.
#[derive(Debug)]
pub struct Entropy {
    buffer: [u8; BUFFER],
    /// How many bytes at the buffer's end were not given out.
    left: usize,
}

impl Entropy {
    /// To be made when [`is_ready`] says so; from then on nothing here can wait.
    pub const fn new() -> Self {
        Self { buffer: [0; BUFFER], left: 0 }
    }
}

impl Default for Entropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl CryptoRng for Entropy {}

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

    fn fill_bytes(&mut self, wanted: &mut [u8]) {
        if wanted.len() > BUFFER {
            return fill(wanted);
        }
        if wanted.len() > self.left {
            fill(&mut self.buffer);
            self.left = BUFFER;
        }
        // `left` is never more than BUFFER, and by now not less than what is wanted.
        let start = BUFFER - self.left;
        if let Some(bytes) = self.buffer.get_mut(start..start + wanted.len()) {
            wanted.copy_from_slice(bytes);
            bytes.zeroize();
            self.left -= wanted.len();
        }
    }

    fn try_fill_bytes(&mut self, wanted: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(wanted);
        Ok(())
    }
}

fn fill(mut wanted: &mut [u8]) {
    while !wanted.is_empty() {
        match getrandom(&mut *wanted, GetRandomFlags::empty()) {
            Ok(count) => wanted = wanted.get_mut(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // It worked in `is_ready`, and it has no other errors. To go on with predictable bytes
            // would be worse than to end.
            Err(error) => panic!("getrandom: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_not_given_twice() {
        assert_eq!(is_ready(), Ok(true));
        let mut entropy = Entropy::new();
        let mut seen = std::collections::HashSet::new();
        for length in [1_usize, 31, 32, 33, 64, 65, 1000].into_iter().cycle().take(70) {
            let mut bytes = vec![0; length];
            entropy.fill_bytes(&mut bytes);
            for piece in bytes.chunks_exact(16) {
                assert!(seen.insert(piece.to_vec()));
            }
        }
    }

    #[test]
    fn given_bytes_are_forgotten() {
        let mut entropy = Entropy::new();
        let mut bytes = [0; 40];
        entropy.fill_bytes(&mut bytes);
        assert_eq!(entropy.buffer[..40], [0; 40]);
        assert_eq!(entropy.left, BUFFER - 40);
        assert_ne!(bytes, [0; 40]);
    }
}
