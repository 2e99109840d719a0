//! TCP in memory: bytes arrive in order, in pieces of any size, some time later.

use std::collections::VecDeque;

use pacelet::time::Instant;

use super::random::Random;

/// How a path treats bytes.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Milliseconds from one end to the other, at least and at most.
    pub delay: (u64, u64),
    /// Bytes in one piece, at least and at most.
    pub piece: (u64, u64),
    /// Bytes that the sending socket holds until they are read.
    pub buffer: usize,
}

impl Path {
    /// At once, whole.
    pub const IDEAL: Self = Self { delay: (0, 0), piece: (1 << 20, 1 << 20), buffer: 1 << 20 };

    /// By chance: a good network, a slow one, one that tears everything apart.
    pub fn random(random: &mut Random) -> Self {
        let delay = *random.pick(&[(0, 0), (0, 2), (1, 30), (20, 200)]);
        let piece = match random.below(30) {
            0 => (1, 3),
            1..4 => (1, 100),
            4..15 => (1, 1460),
            _ => (60_000, 65_536),
        };
        let buffer = *random.pick(&[300, 2_500, 16_384, 87_380, 200_000]);
        Self { delay, piece, buffer }
    }

    /// Whether a long message may take its time: a small window on a long way.
    pub fn is_slow(&self) -> bool {
        self.buffer < 1000 * self.delay.1 as usize
    }
}

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Vec<u8>),
    /// The other end has ended the connection: in order (`None`), or with this errno.
    End(Option<i32>),
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Pipe {
    path: Path,
    under_way: VecDeque<(Instant, Piece)>,
    last: Instant,
    /// How many bytes have been put in, and taken out.
    pub sent: u64,
    pub delivered: u64,
}

impl Pipe {
    pub fn new(path: Path) -> Self {
        Self { path, under_way: VecDeque::new(), last: Instant::default(), sent: 0, delivered: 0 }
    }

    /// How many more bytes the sending socket takes.
    pub fn room(&self) -> usize {
        // Never more delivered than sent.
        self.path.buffer.saturating_sub((self.sent - self.delivered) as usize)
    }

    /// Puts bytes in.
    pub fn send(&mut self, mut bytes: &[u8], now: Instant, random: &mut Random) {
        while !bytes.is_empty() {
            let count = random.between(self.path.piece.0, self.path.piece.1).min(bytes.len() as u64);
            let (piece, rest) = bytes.split_at(count as usize);
            self.put(Piece::Bytes(piece.to_vec()), now, random);
            self.sent += count;
            bytes = rest;
        }
    }

    /// The sending end is done.
    pub fn end(&mut self, errno: Option<i32>, now: Instant, random: &mut Random) {
        self.put(Piece::End(errno), now, random);
    }

    fn put(&mut self, piece: Piece, now: Instant, random: &mut Random) {
        let at = now.after(random.between(self.path.delay.0, self.path.delay.1));
        self.last = self.last.max(at);
        self.under_way.push_back((self.last, piece));
    }

    /// What is under way will never arrive.
    pub fn lose(&mut self) {
        self.under_way.clear();
        self.delivered = self.sent;
    }

    /// When something arrives next.
    pub fn next(&self) -> Option<Instant> {
        self.under_way.front().map(|(at, _)| *at)
    }

    /// What has arrived: one piece, or with `whole` as many as there are, up to `limit` bytes of the stream.
    pub fn take(&mut self, now: Instant, whole: bool, limit: u64) -> Option<Piece> {
        let mut bytes = Vec::new();
        while let Some((at, piece)) = self.under_way.front_mut() {
            let room = limit.saturating_sub(self.delivered) as usize;
            match piece {
                _ if *at > now => break,
                Piece::End(errno) if bytes.is_empty() => {
                    let errno = *errno;
                    self.under_way.pop_front();
                    return Some(Piece::End(errno));
                }
                Piece::End(_) => break,
                Piece::Bytes(piece) if piece.len() <= room => {
                    self.delivered += piece.len() as u64;
                    bytes.append(piece);
                    self.under_way.pop_front();
                }
                Piece::Bytes(piece) => {
                    self.delivered += room as u64;
                    bytes.extend(piece.drain(..room));
                    break;
                }
            }
            if !whole {
                break;
            }
        }
        (!bytes.is_empty()).then_some(Piece::Bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_whatever_the_pieces() {
        for seed in 0..50 {
            let mut random = Random::new(seed, "pipe");
            let mut pipe = Pipe::new(Path { delay: (0, 50), piece: (1, 9), buffer: 100 });
            let text: Vec<u8> = (0..90).collect();
            pipe.send(&text[..40], Instant::from_millis(5), &mut random);
            pipe.send(&text[40..], Instant::from_millis(6), &mut random);
            pipe.end(None, Instant::from_millis(6), &mut random);
            assert_eq!(pipe.room(), 10);
            let mut got = Vec::new();
            let whole = random.percent(50);
            loop {
                let now = pipe.next().unwrap();
                // Nothing beyond byte 60 may be mixed with what comes before it.
                let limit = if got.len() < 60 { 60 } else { u64::MAX };
                match pipe.take(now, whole, limit) {
                    Some(Piece::Bytes(bytes)) => {
                        assert!(got.len() >= 60 || got.len() + bytes.len() <= 60);
                        got.extend(bytes);
                    }
                    end => break assert_eq!(end, Some(Piece::End(None))),
                }
            }
            assert_eq!((got, pipe.room(), pipe.next()), (text, 100, None));
        }
    }
}
