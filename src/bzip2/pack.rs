//! Text to a stream, a block at each step.

use super::bits::BitWriter;
use super::huffman::{self, SYMBOLS};
use super::sort;
use super::{BLOCK, END, GROUP, combined, crc};

/// How many bytes a block has at most, after step 1. The smallest there is: it takes the shortest steps, and
/// makes the result 6 % longer than the one that the stock daemon uses.
const BLOCK_LIMIT: usize = 100_000 - 19;

/// How often codes are made to suit the groups that use them.
const ROUNDS: usize = 4;

/// Compresses a text.
#[derive(Debug)]
pub struct Packer {
    /// How much of the text is in blocks.
    at: usize,
    crc: u32,
    /// What the sort made of a block that has not been coded.
    sorted: Option<Vec<u8>>,
    bits: BitWriter,
}

impl Packer {
    /// Nothing is compressed yet.
    pub fn new() -> Self {
        let mut bits = BitWriter::default();
        bits.bytes.extend_from_slice(b"BZh1");
        Self { at: 0, crc: 0, sorted: None, bits }
    }

    /// Does the next half of the work of a block of `text`, which must be the same at each call; whether that was
    /// the end.
    pub fn step(&mut self, text: &[u8]) -> bool {
        if let Some(last) = self.sorted.take() {
            self.code(&last);
            return false;
        }
        let rest = text.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            self.magic(END);
            self.bits.put(32, self.crc);
            self.bits.pad();
            return true;
        }
        let mut block = Vec::with_capacity(BLOCK_LIMIT.min(rest.len() * 5 / 4 + 5));
        let mut sum = u32::MAX;
        for run in rest.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(255)) {
            // A run and its count.
            if block.len() + 5 > BLOCK_LIMIT {
                break;
            }
            self.at += run.len();
            sum = run.iter().fold(sum, |sum, &byte| crc(sum, byte));
            block.extend(run.iter().take(4));
            if let Some(more) = run.len().checked_sub(4) {
                // At most 251.
                block.push(more as u8);
            }
        }
        self.begin(&block, !sum);
        false
    }

    /// How long the result is so far, in bytes.
    pub fn length(&self) -> usize {
        self.bits.bytes.len()
    }

    /// The result.
    pub fn finish(self) -> Vec<u8> {
        self.bits.bytes
    }

    fn magic(&mut self, magic: u64) {
        self.bits.put(24, (magic >> 24) as u32);
        self.bits.put(24, magic as u32 & 0xFF_FFFF);
    }

    fn begin(&mut self, block: &[u8], sum: u32) {
        self.crc = combined(self.crc, sum);
        let (last, origin) = sort::transform(block);
        self.magic(BLOCK);
        self.bits.put(32, sum);
        self.bits.put(1, 0);
        self.bits.put(24, origin);
        self.sorted = Some(last);
    }

    fn code(&mut self, last: &[u8]) {
        let mut occurs = [false; 256];
        for &byte in last {
            occurs[byte as usize] = true;
        }
        let sixteen =
            |bits: &mut dyn Iterator<Item = bool>| bits.fold(0, |word, bit| word << 1 | u32::from(bit));
        self.bits.put(16, sixteen(&mut occurs.chunks(16).map(|part| part.contains(&true))));
        for part in occurs.chunks(16).filter(|part| part.contains(&true)) {
            self.bits.put(16, sixteen(&mut part.iter().copied()));
        }
        self.symbols(&places(last, &occurs));
    }

    fn symbols(&mut self, symbols: &[u16]) {
        // The end is the highest symbol and the last.
        let alphabet = symbols.last().map_or(2, |&end| end as usize + 1);
        let mut codes = first_codes(symbols, alphabet);
        let mut selectors = Vec::new();
        for _ in 0..ROUNDS {
            selectors.clear();
            let mut counts = vec![[0_u32; SYMBOLS]; codes.len()];
            for group in symbols.chunks(GROUP) {
                let cost =
                    |code: &[u8; SYMBOLS]| group.iter().map(|&s| u32::from(code[s as usize])).sum::<u32>();
                let best = (0..codes.len()).min_by_key(|&number| cost(&codes[number])).unwrap_or(0);
                selectors.push(best);
                for &symbol in group {
                    counts[best][symbol as usize] += 1;
                }
            }
            for (code, counts) in codes.iter_mut().zip(&counts) {
                // The alphabet is at most as long as the arrays.
                huffman::lengths(&counts[..alphabet], &mut code[..alphabet]);
            }
        }
        // There are six codes, and 2,001 groups: a block's symbols and the end.
        self.bits.put(3, codes.len() as u32);
        self.bits.put(15, selectors.len() as u32);
        let mut list: Vec<usize> = (0..codes.len()).collect();
        for &selector in &selectors {
            let place = move_to_front(&mut list, selector);
            self.bits.put(place as u32 + 1, (1 << (place + 1)) - 2);
        }
        let mut words = Vec::with_capacity(codes.len());
        for code in &codes {
            let lengths = &code[..alphabet];
            words.push(huffman::codes(lengths));
            let mut length = lengths[0];
            self.bits.put(5, length.into());
            for &next in lengths {
                while length != next {
                    let (step, bits) = if length < next { (length + 1, 0b10) } else { (length - 1, 0b11) };
                    self.bits.put(2, bits);
                    length = step;
                }
                self.bits.put(1, 0);
            }
        }
        for (group, &selector) in symbols.chunks(GROUP).zip(&selectors) {
            for &symbol in group {
                // One word for each symbol of each code.
                self.bits.put(codes[selector][symbol as usize].into(), words[selector][symbol as usize]);
            }
        }
    }
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

/// Steps 3 of the room's header: places in the list, runs of the first as numbers, the end.
fn places(bytes: &[u8], occurs: &[bool; 256]) -> Vec<u16> {
    let mut list: Vec<u8> =
        (0..=255).zip(occurs).filter(|(_, occurs)| **occurs).map(|(byte, _)| byte).collect();
    let mut symbols = Vec::with_capacity(bytes.len() + 1);
    let mut run = 0_u32;
    for &byte in bytes {
        let place = if list.first() == Some(&byte) { 0 } else { move_to_front(&mut list, byte) };
        if place == 0 {
            run += 1;
            continue;
        }
        push_run(&mut symbols, run);
        run = 0;
        // At most 255, and one.
        symbols.push(place as u16 + 1);
    }
    push_run(&mut symbols, run);
    symbols.push(list.len() as u16 + 1);
    symbols
}

/// A number in digits of 1 (the symbol 0) and 2 (1), the lowest first.
fn push_run(symbols: &mut Vec<u16>, mut run: u32) {
    while run > 0 {
        let two = run.is_multiple_of(2);
        symbols.push(two.into());
        run = if two { run / 2 - 1 } else { run / 2 };
    }
}

/// Moves what is in a list to its front; where it was.
fn move_to_front<T: Copy + PartialEq>(list: &mut [T], what: T) -> usize {
    let place = list.iter().position(|&other| other == what).unwrap_or(0);
    if let Some(part) = list.get_mut(..=place) {
        part.rotate_right(1);
    }
    place
}

/// Codes to begin with: each suits a range of symbols, and all ranges are equally frequent.
fn first_codes(symbols: &[u16], alphabet: usize) -> Vec<[u8; SYMBOLS]> {
    let number = match symbols.len() {
        0..200 => 2,
        200..600 => 3,
        600..1200 => 4,
        1200..2400 => 5,
        _ => 6,
    };
    let mut counts = [0_usize; SYMBOLS];
    for &symbol in symbols {
        counts[symbol as usize] += 1;
    }
    let mut codes = vec![[15; SYMBOLS]; number];
    let (mut rest, mut next) = (symbols.len(), 0);
    for (before, code) in codes.iter_mut().enumerate() {
        let wanted = rest / (number - before);
        let mut have = 0;
        // At least one, as long as there are some.
        while next < alphabet && (have == 0 || have < wanted) {
            code[next] = 0;
            have += counts[next];
            next += 1;
        }
        rest -= have;
    }
    codes
}
