//! bzip2, as far as messages between tools and daemons need it: both directions over a text that is there
//! whole, in steps, so that others have their turn meanwhile.
//!
//! A stream is `BZh`, a digit, blocks, and an end; all in bits, the highest first. A block is made so:
//!
//! 1. Runs of 4 to 255 equal bytes become four of them and a byte that says how many follow.
//! 2. The block's rotations are sorted; what goes on is the last byte of each, and where the block itself came
//!    to stand.
//! 3. Each byte becomes its place in a list of the bytes that occur, in which it then moves to the front. Runs of
//!    the first place are written as numbers of two digits (1 and 2), all others one higher, and an end follows.
//! 4. Two to six Huffman codes: for each fifty symbols the one that suits best.
//!
//! ```text
//! magic 48 | CRC-32 of the block 32 | 0 1 | where it stands 24 | bytes that occur 16, 16 x 16 | codes 3
//! | selectors 15, each in unary | per code: length 5, then steps | the symbols
//! ```
//!
//! Nothing is allocated for what a stream claims, and no input takes more than linear time.
#![forbid(unsafe_code)]

mod bits;
mod huffman;
mod pack;
mod sort;
mod unpack;

pub use self::pack::Packer;
pub use self::unpack::{Error, Unpacker};

/// Begins a block: the first digits of pi.
const BLOCK: u64 = 0x3141_5926_5359;
/// Begins the end: those of its square root.
const END: u64 = 0x1772_4538_5090;

/// How many symbols use the same code.
const GROUP: usize = 50;

/// The CRC of bytes so far, begun with all ones and inverted at the end.
fn crc(sum: u32, byte: u8) -> u32 {
    const TABLE: [u32; 256] = table();
    // The index is a byte.
    (sum << 8) ^ TABLE[((sum >> 24) as u8 ^ byte) as usize]
}

/// CRC-32 with the highest bit first.
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum >> 31 == 1 { (sum << 1) ^ 0x04C1_1DB7 } else { sum << 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

/// The CRC of a stream after another block.
fn combined(sum: u32, block: u32) -> u32 {
    sum.rotate_left(1) ^ block
}

#[cfg(test)]
mod tests;
