//! Sorts the rotations of a block in linear time, whatever is in it.
//!
//! Suffixes are sorted by induction (Nong, Zhang and Chan, *Two efficient algorithms for linear time suffix array
//! construction*, 2011). Rotations are in the same order as the suffixes of the least rotation: where one suffix is
//! the beginning of another, what follows it in its rotation is the least that can follow.

/// The last byte of each rotation of `block` in their order, and where the block itself stands. It is not empty,
/// and shorter than 2^31.
pub(super) fn transform(block: &[u8]) -> (Vec<u8>, u32) {
    let least = least_rotation(block);
    let (end, start) = block.split_at(least);
    let text: Vec<u32> = start.iter().chain(end).map(|&byte| byte.into()).collect();
    let own = if least == 0 { 0 } else { block.len() - least };
    let mut origin = 0;
    let order = suffixes(&text, 256);
    let last = order.iter().zip(0..).map(|(&start, place)| {
        let start = start as usize;
        if start == own {
            origin = place;
        }
        // Bytes, and starts are places in the text.
        text[if start == 0 { text.len() - 1 } else { start - 1 }] as u8
    });
    (last.collect(), origin)
}

/// Where the rotation begins that comes before all others.
fn least_rotation(block: &[u8]) -> usize {
    let length = block.len();
    let at = |start: usize, offset: usize| {
        let place = start + offset;
        // Both are below the length.
        block[if place < length { place } else { place - length }]
    };
    // Two candidates, which are equal for `same` bytes.
    let (mut one, mut two, mut same) = (0, 1, 0);
    while one < length && two < length && same < length {
        let (a, b) = (at(one, same), at(two, same));
        if a == b {
            same += 1;
            continue;
        }
        // No rotation that begins in what was compared comes before the better one.
        if a > b {
            one += same + 1;
        } else {
            two += same + 1;
        }
        if one == two {
            two += 1;
        }
        same = 0;
    }
    one.min(two)
}

const NONE: u32 = u32::MAX;

/// Where the suffixes begin, in their order. All of `text` is below `letters`.
///
/// A suffix is *small* if it comes before the one that begins after it, else *large*; *leftmost* if it is small
/// and the one before it is large. Each index below is a place in the text, or a letter, of which the tables have
/// one more than there are.
fn suffixes(text: &[u32], letters: usize) -> Vec<u32> {
    let length = text.len();
    if length < 2 {
        return (0..length as u32).collect();
    }
    let mut small = vec![false; length];
    for place in (0..length - 1).rev() {
        let (this, next) = (text[place], text[place + 1]);
        small[place] = if this == next { small[place + 1] } else { this < next };
    }
    // Of each letter the large suffixes come first, then the small ones: where these and those begin.
    let mut large_from = vec![0_u32; letters + 1];
    let mut small_from = vec![0_u32; letters + 1];
    for (&letter, &is_small) in text.iter().zip(&small) {
        let counts =
            if is_small { &mut large_from[letter as usize + 1] } else { &mut small_from[letter as usize] };
        *counts += 1;
    }
    for letter in 0..letters {
        small_from[letter] += large_from[letter];
        large_from[letter + 1] += small_from[letter];
    }
    let buckets = Buckets { text, small: &small, large_from, small_from };
    let leftmost: Vec<u32> =
        (1..length).filter(|&place| small[place] && !small[place - 1]).map(|place| place as u32).collect();
    let mut order = vec![NONE; length];
    buckets.induce(&leftmost, &mut order);
    if leftmost.len() < 2 {
        return order;
    }
    // Now those pieces of the text are in order that go from one leftmost place to the next. Numbered in that
    // order they make a shorter text, whose suffixes are in the order of the leftmost ones.
    let mut number_of = vec![NONE; length];
    for (number, &place) in leftmost.iter().enumerate() {
        number_of[place as usize] = number as u32;
    }
    let sorted: Vec<u32> =
        order.iter().map(|&place| number_of[place as usize]).filter(|&n| n != NONE).collect();
    let piece = |number: u32| {
        let number = number as usize;
        let end = leftmost.get(number + 1).map_or(length, |&next| next as usize + 1);
        &text[leftmost[number] as usize..end]
    };
    let last = leftmost.len() as u32 - 1;
    let mut shorter = vec![0; leftmost.len()];
    let mut different = 0;
    for pair in sorted.windows(2) {
        let &[before, this] = pair else { continue };
        // The last piece ends with the text, before any letter.
        if before == last || this == last || piece(before) != piece(this) {
            different += 1;
        }
        shorter[this as usize] = different;
    }
    let sorted = suffixes(&shorter, different as usize + 1);
    let sorted: Vec<u32> = sorted.iter().map(|&number| leftmost[number as usize]).collect();
    buckets.induce(&sorted, &mut order);
    order
}

struct Buckets<'a> {
    text: &'a [u32],
    small: &'a [bool],
    large_from: Vec<u32>,
    small_from: Vec<u32>,
}

impl Buckets<'_> {
    /// Sorts all suffixes by what is known of the leftmost ones.
    fn induce(&self, leftmost: &[u32], order: &mut [u32]) {
        let Self { text, small, .. } = self;
        order.fill(NONE);
        let mut next = self.small_from.clone();
        for &place in leftmost {
            put(order, &mut next[text[place as usize] as usize], place);
        }
        // Large ones follow from what comes before them, from the front.
        let mut next = self.large_from.clone();
        let last = text.len() - 1;
        put(order, &mut next[text[last] as usize], last as u32);
        for at in 0..order.len() {
            let Some(place) = before(order[at]).filter(|&place| !small[place]) else { continue };
            put(order, &mut next[text[place] as usize], place as u32);
        }
        // Small ones from what comes after them, from the back.
        let mut next = self.large_from.clone();
        for at in (0..order.len()).rev() {
            let Some(place) = before(order[at]).filter(|&place| small[place]) else { continue };
            let end = &mut next[text[place] as usize + 1];
            *end -= 1;
            order[*end as usize] = place as u32;
        }
    }
}

fn put(order: &mut [u32], next: &mut u32, place: u32) {
    order[*next as usize] = place;
    *next += 1;
}

/// The place before one that is known.
fn before(place: u32) -> Option<usize> {
    if place == NONE { None } else { (place as usize).checked_sub(1) }
}
