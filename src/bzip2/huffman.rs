//! Codes: how long each symbol's is, and which symbol bits mean.

use super::bits::BitReader;

/// The longest that is written.
const WRITTEN: u8 = 17;
/// The longest that is read.
pub(super) const READ: usize = 20;
/// Symbols: 256 places less one, two digits, the end.
pub(super) const SYMBOLS: usize = 258;

/// The lengths of a code for symbols that occur so often; each has one. `lengths` is as long as `counts`: 3 to
/// [`SYMBOLS`].
pub(super) fn lengths(counts: &[u32], lengths: &mut [u8]) {
    let mut weights: Vec<u32> = counts.iter().map(|&count| count.max(1)).collect();
    let leaves = weights.len();
    loop {
        // Nodes made of two come after the leaves, the root last.
        let mut nodes = weights.clone();
        let mut parents = vec![0; leaves * 2 - 1];
        let mut open: Vec<usize> = (0..leaves).collect();
        while open.len() > 1 {
            let (first, second) = (lightest(&mut open, &nodes), lightest(&mut open, &nodes));
            // Those in `open` are numbers of nodes.
            (parents[first], parents[second]) = (nodes.len(), nodes.len());
            open.push(nodes.len());
            nodes.push(nodes[first] + nodes[second]);
        }
        let mut depths = vec![0_u8; parents.len()];
        for node in (0..parents.len() - 1).rev() {
            // A parent comes after its children. No tree of fewer than 2^9 leaves is deeper than 2^9: it saturates.
            depths[node] = depths[parents[node]].saturating_add(1);
        }
        for (length, depth) in lengths.iter_mut().zip(&depths) {
            *length = *depth;
        }
        if lengths.iter().all(|&length| length <= WRITTEN) {
            return;
        }
        // Flatter until it fits: at last all are the same.
        for weight in &mut weights {
            *weight = *weight / 2 + 1;
        }
    }
}

fn lightest(open: &mut Vec<usize>, nodes: &[u32]) -> usize {
    let weights = open.iter().map(|&node| nodes.get(node).copied());
    let place = weights.enumerate().min_by_key(|&(_, weight)| weight).map_or(0, |(place, _)| place);
    // Never called with none.
    open.swap_remove(place)
}

/// The codes that go with lengths: shorter first, and of the same length in the symbols' order.
pub(super) fn codes(lengths: &[u8]) -> Vec<u32> {
    let mut codes = vec![0; lengths.len()];
    let mut next = 0;
    for length in 1..=WRITTEN {
        for (code, _) in codes.iter_mut().zip(lengths).filter(|(_, own)| **own == length) {
            *code = next;
            next += 1;
        }
        next <<= 1;
    }
    codes
}

/// A code to read with.
#[derive(Debug)]
pub(super) struct Decoder {
    /// How many codes there are of each length.
    counts: [u16; READ + 1],
    /// Symbols in the order of their codes.
    symbols: Vec<u16>,
}

impl Decoder {
    /// For lengths from 1 to [`READ`].
    pub(super) fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; READ + 1];
        let mut symbols = Vec::with_capacity(lengths.len());
        for (length, count) in counts.iter_mut().enumerate() {
            let own = lengths.iter().zip(0..).filter(|&(&own, _)| usize::from(own) == length);
            symbols.extend(own.map(|(_, symbol)| symbol));
            *count = lengths.iter().filter(|&&own| usize::from(own) == length).count() as u16;
        }
        Self { counts, symbols }
    }

    /// The next symbol; `None` if no code fits or the bytes end.
    pub(super) fn next(&self, bits: &mut BitReader, bytes: &[u8]) -> Option<u16> {
        let (mut code, mut first, mut before) = (0_u32, 0_u32, 0_u32);
        for &count in self.counts.get(1..)? {
            code = code << 1 | u32::from(bits.bit(bytes)?);
            let count = u32::from(count);
            if let Some(place) = code.checked_sub(first).filter(|&place| place < count) {
                return self.symbols.get((before + place) as usize).copied();
            }
            before += count;
            first = (first + count) << 1;
        }
        None
    }
}
