//! A stream to its text, a part at each step.

use core::fmt;

use super::bits::BitReader;
use super::huffman::{Decoder, READ};
use super::{BLOCK, END, GROUP, combined, crc};

/// How many bytes of text come of a step, or about.
const STEP: usize = 256 * 1024;

/// Symbols of a block: more selectors than these have groups are read past.
const SELECTORS: usize = 18_002;

/// Decompresses a stream.
#[derive(Debug)]
pub struct Unpacker {
    bits: BitReader,
    /// How many bytes a block may have.
    limit: usize,
    crc: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// Before a block or the end.
    Between,
    /// A block was read; where it stands, and its CRC.
    Read {
        last: Vec<u32>,
        origin: usize,
        sum: u32,
    },
    /// A block is written to the text.
    Writing(Writing),
}

#[derive(Debug)]
struct Writing {
    /// Of each byte of the block where the next is, and the byte.
    links: Vec<u32>,
    at: u32,
    left: usize,
    /// The byte before, and how many times it came.
    run: (u8, u8),
    told: u32,
    sum: u32,
}

/// Why there is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a stream.
    Malformed,
    /// It is damaged.
    Checksum,
    /// There would be more text than was told.
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not compressed by bzip2",
            Self::Checksum => "damaged on the way",
            Self::TooLong => "more text than it claims to have",
        })
    }
}

impl core::error::Error for Error {}

impl Unpacker {
    /// Nothing is decompressed yet.
    pub fn new() -> Self {
        Self { bits: BitReader::default(), limit: 0, crc: 0, stage: Stage::Begin }
    }

    /// Appends to `text` what comes of the next part of `stream`, which must be the same at each call; whether that
    /// was the end. The text does not become longer than `longest`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn step(&mut self, stream: &[u8], text: &mut Vec<u8>, longest: usize) -> Result<bool, Error> {
        match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Begin => {
                let begin = self.bits.take(stream, 24).zip(self.bits.take(stream, 8));
                let Some((0x42_5A_68, digit @ 0x31..=0x39)) = begin else { return Err(Error::Malformed) };
                self.limit = (digit as usize - 0x30) * 100_000;
                Ok(false)
            }
            Stage::Between => {
                let magic = self.bits.take(stream, 24).zip(self.bits.take(stream, 24));
                let (high, low) = magic.ok_or(Error::Malformed)?;
                let told = self.bits.take(stream, 32).ok_or(Error::Malformed)?;
                match u64::from(high) << 24 | u64::from(low) {
                    BLOCK => {
                        let (last, origin) = self.block(stream).ok_or(Error::Malformed)?;
                        self.stage = Stage::Read { last, origin, sum: told };
                        Ok(false)
                    }
                    END if told != self.crc => Err(Error::Checksum),
                    END if self.bits.is_at_end(stream) => Ok(true),
                    _ => Err(Error::Malformed),
                }
            }
            Stage::Read { last, origin, sum } => {
                self.stage = Stage::Writing(Writing::new(last, origin, sum).ok_or(Error::Malformed)?);
                Ok(false)
            }
            Stage::Writing(mut writing) => {
                let stop = text.len() + STEP;
                while writing.left > 0 && text.len() < stop {
                    writing.next(text, longest).ok_or(Error::TooLong)?;
                }
                if writing.left > 0 {
                    self.stage = Stage::Writing(writing);
                } else if writing.told == !writing.sum {
                    self.crc = combined(self.crc, writing.told);
                } else {
                    return Err(Error::Checksum);
                }
                Ok(false)
            }
        }
    }

    /// Reads a block as far as step 2 of the room's header.
    fn block(&mut self, stream: &[u8]) -> Option<(Vec<u32>, usize)> {
        let bits = &mut self.bits;
        // A way to hide bytes from the sort, which no program uses any more.
        if bits.bit(stream)? {
            return None;
        }
        let origin = bits.take(stream, 24)? as usize;
        let sixteens = bits.take(stream, 16)?;
        let mut list: Vec<u8> = Vec::with_capacity(256);
        for sixteen in (0..16).filter(|sixteen| sixteens >> (15 - sixteen) & 1 == 1) {
            let bytes = bits.take(stream, 16)?;
            list.extend(
                (0..16).filter(|byte| bytes >> (15 - byte) & 1 == 1).map(|byte: u8| sixteen * 16 + byte),
            );
        }
        let end = list.len() as u16 + 1;
        let (codes, selectors) = self.codes(stream, list.len() + 2)?;
        let mut last = Vec::new();
        let mut run = (0_usize, 0);
        for selector in selectors {
            let code = codes.get(selector)?;
            for _ in 0..GROUP {
                let symbol = code.next(&mut self.bits, stream)?;
                if symbol < 2 {
                    // Each digit counts twice the one before.
                    run = (run.0 + ((symbol as usize + 1) << run.1), run.1 + 1);
                    if run.0 > self.limit {
                        return None;
                    }
                    continue;
                }
                let front = *list.first()?;
                if last.len() + run.0 > self.limit {
                    return None;
                }
                last.resize(last.len() + run.0, front.into());
                run = (0, 0);
                if symbol == end {
                    return (origin < last.len()).then_some((last, origin));
                }
                list.get_mut(..symbol as usize)?.rotate_right(1);
                last.push((*list.first()?).into());
            }
        }
        None
    }

    /// The codes and which group uses which.
    fn codes(&mut self, stream: &[u8], alphabet: usize) -> Option<(Vec<Decoder>, Vec<usize>)> {
        let bits = &mut self.bits;
        let number = bits.take(stream, 3).filter(|number| (2..=6).contains(number))? as usize;
        let count = bits.take(stream, 15)? as usize;
        let mut list: Vec<usize> = (0..number).collect();
        let mut selectors = Vec::new();
        for _ in 0..count {
            let mut place = 0;
            while bits.bit(stream)? {
                place += 1;
                // Or one step would go through all there is.
                if place == number {
                    return None;
                }
            }
            list.get_mut(..=place)?.rotate_right(1);
            if selectors.len() < SELECTORS {
                selectors.push(*list.first()?);
            }
        }
        let mut codes = Vec::with_capacity(number);
        for _ in 0..number {
            let mut length = bits.take(stream, 5)? as usize;
            let mut lengths = Vec::with_capacity(alphabet);
            for _ in 0..alphabet {
                // Nobody goes up and down.
                let mut steps = 0;
                loop {
                    if !(1..=READ).contains(&length) || steps == READ {
                        return None;
                    }
                    if !bits.bit(stream)? {
                        break;
                    }
                    length = if bits.bit(stream)? { length - 1 } else { length + 1 };
                    steps += 1;
                }
                lengths.push(length as u8);
            }
            codes.push(Decoder::new(&lengths));
        }
        Some((codes, selectors))
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Self::new()
    }
}

impl Writing {
    /// Undoes step 2. All of `last` are bytes, fewer than 2^24.
    fn new(mut last: Vec<u32>, origin: usize, told: u32) -> Option<Self> {
        let mut from = [0_u32; 256];
        for &byte in &last {
            from[byte as usize & 255] += 1;
        }
        let mut before = 0;
        for count in &mut from {
            before += std::mem::replace(count, before);
        }
        for place in 0..last.len() {
            let next = &mut from[last[place] as usize & 255];
            // As many places are given to each byte as it occurs.
            last[*next as usize] |= (place as u32) << 8;
            *next += 1;
        }
        let at = last.get(origin)? >> 8;
        Some(Self { left: last.len(), links: last, at, run: (0, 0), told, sum: u32::MAX })
    }

    /// Writes what comes of the next byte.
    fn next(&mut self, text: &mut Vec<u8>, longest: usize) -> Option<()> {
        let link = *self.links.get(self.at as usize)?;
        self.at = link >> 8;
        self.left -= 1;
        let byte = link as u8;
        let (before, times) = self.run;
        let (byte, count) = if times == 4 { (before, byte.into()) } else { (byte, 1) };
        self.run = match (times, byte == before) {
            (4, _) => (byte, 0),
            (_, true) => (byte, times + 1),
            (_, false) => (byte, 1),
        };
        if text.len() + count > longest {
            return None;
        }
        text.resize(text.len() + count, byte);
        self.sum = (0..count).fold(self.sum, |sum, _| crc(sum, byte));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::BitWriter;
    use super::*;

    /// Whether a stream that goes on as it begins is given up before its end.
    fn is_given_up(begin: impl Fn(&mut BitWriter)) -> bool {
        let mut bits = BitWriter::default();
        bits.bytes.extend_from_slice(b"BZh9\x31\x41\x59\x26\x53\x59");
        bits.put(32, 0);
        bits.put(25, 0);
        // One byte occurs.
        bits.put(16, 1);
        bits.put(16, 1);
        bits.put(3, 6);
        bits.put(15, 1);
        begin(&mut bits);
        let (mut unpacker, mut text) = (Unpacker::new(), Vec::new());
        assert_eq!(unpacker.step(&bits.bytes, &mut text, 1000), Ok(false));
        assert_eq!(unpacker.step(&bits.bytes, &mut text, 1000), Err(Error::Malformed));
        !unpacker.bits.is_at_end(&bits.bytes)
    }

    #[test]
    fn no_step_goes_through_the_whole_stream() {
        let selectors = is_given_up(|bits| (0..100_000).for_each(|_| bits.put(32, u32::MAX)));
        let lengths = is_given_up(|bits| {
            bits.put(1, 0);
            bits.put(5, 10);
            // Up, down, up, down…
            (0..100_000).for_each(|_| bits.put(32, 0xBBBB_BBBB));
        });
        assert!(selectors && lengths);
    }
}
