//! What a ring needs of the memory it lives in.

use crate::sys::Errno;

/// One ring's two files: a header of 32-bit words that both sides change, and the data.
///
/// Offsets in the header are those of [`RingHeader`](crate::wire::qb::RingHeader): multiples of 4,
/// inside it. Loads of words and data see what the client wrote before it raised the semaphore, and
/// the client sees what was written before [`Memory::add`].
pub trait Memory {
    /// Reads a word, with acquire order.
    fn load(&self, offset: usize) -> u32;

    /// Writes a word, with release order.
    fn store(&self, offset: usize, value: u32);

    /// Adds to a word, wrapping, in one step that acquires and releases.
    fn add(&self, offset: usize, value: u32);

    /// Wakes one process that waits for this word to change.
    fn wake(&self, offset: usize);

    /// Whether the client cut the header short: then what was loaded since is without meaning.
    fn is_cut(&self) -> bool;

    /// Copies data out, from byte `at` on.
    ///
    /// # Errors
    /// See [`Fault`].
    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Fault>;

    /// Copies data in, from byte `at` on.
    ///
    /// # Errors
    /// See [`Fault`].
    fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Fault>;
}

/// Why data could not be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client cut the file short.
    Cut,
    /// The kernel refused: no memory, no space.
    Sys(Errno),
}
