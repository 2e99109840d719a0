//! One direction of a session: chunks in a ring, counted by a semaphore (ipc.md section B.2).
//!
//! Words are 4 bytes, and every index is modulo the ring's words. A chunk is written at the write
//! point and read at the read point; the side that moves a point keeps its own copy of it.

use core::fmt;

use super::memory::{Fault, Memory};
use crate::wire::qb::chunk::{self, CONSUMED, Header, READY};
use crate::wire::qb::{Machine, RingHeader};
use crate::wire::ring::Geometry;

/// What the client did that no client does, or that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The client broke the rules: the session is over.
    Peer(Breach),
    /// The system failed us: the session is over, and the operator should know.
    Sys(crate::sys::Errno),
}

/// What a client can break in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A chunk was announced where none is; what stands there instead of [`READY`].
    Magic(u32),
    /// A chunk with a message of so many bytes, which is more than was agreed on.
    Size(u32),
    /// A read point beyond the ring.
    ReadPoint(u32),
    /// A file was cut short.
    Cut,
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Cut => Self::Peer(Breach::Cut),
            Fault::Sys(errno) => Self::Sys(errno),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(Breach::Magic(magic)) => {
                write!(f, "it announced a message that is not there ({magic:08x})")
            }
            Self::Peer(Breach::Size(size)) => {
                write!(f, "it sent a message of {size} bytes, more than agreed on")
            }
            Self::Peer(Breach::ReadPoint(point)) => {
                write!(f, "it claims to have read up to word {point}, outside the ring")
            }
            Self::Peer(Breach::Cut) => f.write_str("it cut a file of shared memory short"),
            Self::Sys(errno) => write!(f, "cannot use its shared memory: {}", std::io::Error::from(*errno)),
        }
    }
}

impl core::error::Error for Trouble {}

/// The ring's files and what is the same for both directions.
#[derive(Debug)]
struct Ring<M> {
    memory: M,
    header: RingHeader,
    geometry: Geometry,
}

impl<M: Memory> Ring<M> {
    /// How many chunks the semaphore counts.
    fn count(&self) -> u32 {
        let semaphore = self.header.semaphore();
        semaphore.value(self.memory.load(semaphore.word()))
    }

    /// To be asked after the last access to the header, before its words are believed.
    fn whole(&self) -> Result<(), Trouble> {
        if self.memory.is_cut() { Err(Trouble::Peer(Breach::Cut)) } else { Ok(()) }
    }

    /// Reads from byte `skip` of the chunk at `point`, around the ring's end.
    fn read(&self, point: u32, skip: usize, into: &mut [u8]) -> Result<(), Fault> {
        let (at, left) = self.place(point, skip);
        let (first, second) = into.split_at_mut(left.min(into.len()));
        self.memory.read(at, first)?;
        if second.is_empty() { Ok(()) } else { self.memory.read(0, second) }
    }

    /// Writes from byte `skip` of the chunk at `point`, around the ring's end.
    fn write(&self, point: u32, skip: usize, bytes: &[u8]) -> Result<(), Fault> {
        let (at, left) = self.place(point, skip);
        let (first, second) = bytes.split_at(left.min(bytes.len()));
        self.memory.write(at, first)?;
        if second.is_empty() { Ok(()) } else { self.memory.write(0, second) }
    }

    /// Byte `skip` of the chunk at `point`: its offset in the file, and how many bytes follow up to
    /// the file's end.
    fn place(&self, point: u32, skip: usize) -> (usize, usize) {
        let len = self.geometry.len();
        let at = (point as usize * 4 + skip) % len;
        (at, len - at)
    }
}

/// The server's side of the ring that clients write.
#[derive(Debug)]
pub struct Reader<M> {
    ring: Ring<M>,
    point: u32,
}

impl<M: Memory> Reader<M> {
    /// The reader of a new ring.
    pub fn new(memory: M, geometry: Geometry, machine: Machine) -> Self {
        Self { ring: Ring { memory, header: RingHeader::of(machine), geometry }, point: 0 }
    }

    /// Takes the oldest message out, into `message`, whose content is replaced. `false`: there is none.
    ///
    /// # Errors
    /// See [`Trouble`]; the ring cannot be used any more.
    pub fn next(&mut self, message: &mut Vec<u8>) -> Result<bool, Trouble> {
        message.clear();
        if self.ring.count() == 0 {
            return self.ring.whole().map(|()| false);
        }
        // Nobody but this side takes. A client that does so all the same turns the count to nonsense,
        // and gets to the check of the magic.
        let semaphore = self.ring.header.semaphore();
        self.ring.memory.add(semaphore.word(), semaphore.unit().wrapping_neg());

        let mut words = [0; chunk::HEADER_LEN];
        self.ring.read(self.point, 0, &mut words)?;
        let Header { size, magic } = Header::parse(words);
        if magic != READY {
            return Err(Trouble::Peer(Breach::Magic(magic)));
        }
        if size > self.ring.geometry.longest() {
            return Err(Trouble::Peer(Breach::Size(size)));
        }
        // At most `longest`, which was allocated for the ring three times over.
        message.resize(size as usize, 0);
        self.ring.read(self.point, chunk::HEADER_LEN, message)?;

        // From here on the client may write there again.
        self.ring.write(self.point, 0, &Header { size: 0, magic: CONSUMED }.encode())?;
        self.point = self.ring.geometry.after(self.point, size);
        self.ring.memory.store(RingHeader::READ_POINT, self.point);
        self.ring.whole().map(|()| true)
    }

    /// Whether there is a message.
    pub fn has_more(&self) -> bool {
        self.ring.count() > 0
    }

    /// Tells the client to wait before it sends more, or to go on.
    pub fn hold(&self, hold: bool) {
        self.ring.memory.store(self.ring.header.flow_control(), hold.into());
    }

    /// Tells the client that nobody uses the ring any more.
    pub fn abandon(&self) {
        self.ring.memory.store(RingHeader::REFERENCES, 0);
    }
}

/// What became of a message to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It is in the ring, and the client was woken.
    Done,
    /// There is no room for it now; nothing was changed.
    Full,
    /// It is longer than was agreed on, so there will never be room; nothing was changed.
    TooLong,
}

/// The server's side of a ring that clients read.
#[derive(Debug)]
pub struct Writer<M> {
    ring: Ring<M>,
    point: u32,
}

impl<M: Memory> Writer<M> {
    /// The writer of a new ring.
    pub fn new(memory: M, geometry: Geometry, machine: Machine) -> Self {
        Self { ring: Ring { memory, header: RingHeader::of(machine), geometry }, point: 0 }
    }

    /// Puts a message, given in pieces, into the ring.
    ///
    /// # Errors
    /// See [`Trouble`]; the ring cannot be used any more.
    pub fn write(&mut self, pieces: &[&[u8]]) -> Result<Written, Trouble> {
        let size = pieces.iter().fold(0_usize, |size, piece| size.saturating_add(piece.len()));
        let size = match u32::try_from(size) {
            Ok(size) if size <= self.ring.geometry.longest() => size,
            _ => return Ok(Written::TooLong),
        };
        if self.free()? < size as usize + chunk::MARGIN {
            return Ok(Written::Full);
        }
        // The order among these does not matter, since the client looks at nothing of a chunk before the
        // semaphore counts it.
        self.ring.write(self.point, 0, &Header { size, magic: READY }.encode())?;
        let mut at = chunk::HEADER_LEN;
        for piece in pieces {
            self.ring.write(self.point, at, piece)?;
            at += piece.len();
        }
        self.point = self.ring.geometry.after(self.point, size);
        self.ring.memory.store(RingHeader::WRITE_POINT, self.point);

        let semaphore = self.ring.header.semaphore();
        self.ring.memory.add(semaphore.word(), semaphore.unit());
        self.ring.memory.wake(semaphore.word());
        self.ring.whole().map(|()| Written::Done)
    }

    /// Bytes that are free, as libqb counts them.
    fn free(&self) -> Result<usize, Trouble> {
        let words = self.ring.geometry.words();
        let read = self.ring.memory.load(RingHeader::READ_POINT);
        if read >= words {
            return Err(Trouble::Peer(Breach::ReadPoint(read)));
        }
        let free = match read.cmp(&self.point) {
            core::cmp::Ordering::Less => words - (self.point - read) - 1,
            core::cmp::Ordering::Greater => read - self.point - 1,
            core::cmp::Ordering::Equal if self.ring.count() > 0 => 0,
            core::cmp::Ordering::Equal => words,
        };
        Ok(free as usize * 4)
    }

    /// Tells the client that nobody uses the ring any more.
    pub fn abandon(&self) {
        self.ring.memory.store(RingHeader::REFERENCES, 0);
    }
}

#[cfg(test)]
mod tests;
