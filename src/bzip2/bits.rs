//! Bits in and out, the highest first.

/// Collects bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    pub(super) bytes: Vec<u8>,
    rest: u64,
    /// How many of `rest` count: fewer than 8 between calls.
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits, 32 at most, of a value that has no others.
    pub(super) fn put(&mut self, count: u32, value: u32) {
        self.rest = self.rest << count | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.rest >> self.count) as u8);
        }
    }

    /// Appends zeros up to a whole byte.
    pub(super) fn pad(&mut self) {
        self.put((8 - self.count) % 8, 0);
    }
}

/// Takes bits out of bytes, which are handed in each time.
#[derive(Debug, Default)]
pub(super) struct BitReader {
    at: usize,
    rest: u64,
    count: u32,
}

impl BitReader {
    /// The next `count` bits, 32 at most; `None` at the end.
    pub(super) fn take(&mut self, bytes: &[u8], count: u32) -> Option<u32> {
        while self.count < count {
            self.rest = self.rest << 8 | u64::from(*bytes.get(self.at)?);
            self.at += 1;
            self.count += 8;
        }
        self.count -= count;
        let value = (self.rest >> self.count) & ((1 << count) - 1);
        // At most 32 bits.
        Some(value as u32)
    }

    pub(super) fn bit(&mut self, bytes: &[u8]) -> Option<bool> {
        self.take(bytes, 1).map(|bit| bit == 1)
    }

    /// Whether no whole byte is left.
    pub(super) fn is_at_end(&self, bytes: &[u8]) -> bool {
        self.at >= bytes.len() && self.count < 8
    }
}
