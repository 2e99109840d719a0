//! How large the rings of a session are: both ends compute it (ipc.md section B.2.1).

/// The longest message, header included, that is agreed on with any client: three rings of this
/// size are allocated for a session.
pub const MESSAGE_LIMIT: u32 = 32 * 1024 * 1024;

/// Bytes that libqb adds to the longest message before it rounds up.
const OVERHEAD: u32 = 13;
/// What libqb rounds up to at least where its configuration knows of larger pages.
const LARGE_GRANULE: usize = 16 * 1024;

/// What a ring's size is rounded up to on this machine, whose kernel has pages of `page_size` bytes.
/// Clients compute it, too: with another figure everything works until a chunk wraps.
pub const fn granule(page_size: usize) -> usize {
    let large = cfg!(any(
        target_arch = "arm",
        target_arch = "powerpc",
        target_arch = "powerpc64",
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "mips32r6",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64",
    ));
    if large && page_size < LARGE_GRANULE { LARGE_GRANULE } else { page_size }
}

/// How large a ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    longest: u32,
    words: u32,
}

impl Geometry {
    /// The ring for messages of at most `longest` bytes, 1 to [`MESSAGE_LIMIT`];
    /// `granule` as [`granule()`] gives it.
    pub fn new(longest: u32, granule: usize) -> Self {
        let longest = longest.clamp(1, MESSAGE_LIMIT);
        // Granules are pages, of 16 MiB at most on any machine.
        let granule = u32::try_from(granule).unwrap_or(4096).clamp(4096, 16 << 20);
        Self { longest, words: (longest + OVERHEAD).next_multiple_of(granule) / 4 }
    }

    /// The longest message, in bytes.
    pub const fn longest(self) -> u32 {
        self.longest
    }

    /// Words of the data file.
    pub const fn words(self) -> u32 {
        self.words
    }

    /// Bytes of the data file.
    pub const fn len(self) -> usize {
        // At most `MESSAGE_LIMIT` and one granule.
        self.words as usize * 4
    }

    /// Never: there is room for a chunk.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The index of the chunk after one at `point` with a message of `size` bytes.
    pub fn after(self, point: u32, size: u32) -> u32 {
        // Both are below 2^27.
        (point + 2 + size.div_ceil(4)) % self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of the C server and of clients on 4 KiB and on arm.
    #[test]
    fn sizes_are_those_of_clients() {
        assert_eq!(Geometry::new(131_072, 4096).len(), 135_168);
        assert_eq!(Geometry::new(131_072, 16_384).len(), 147_456);
        assert_eq!(Geometry::new(131_072, 65_536).len(), 196_608);
        assert_eq!(Geometry::new(524_288, 4096).len(), 528_384);
        assert_eq!(Geometry::new(4096 - 13, 4096).len(), 4096);
        assert_eq!(Geometry::new(4096 - 12, 4096).len(), 8192);
        assert_eq!(Geometry::new(131_072, 4096).words() * 4, 135_168);
        assert_eq!(Geometry::new(u32::MAX, 4096).longest(), MESSAGE_LIMIT);
        assert_eq!(Geometry::new(0, 0).longest(), 1);
    }

    #[test]
    fn the_granule_is_the_page_or_more() {
        let coarse = ["arm", "powerpc", "powerpc64", "mips", "mips64", "sparc", "sparc64"];
        let least = if coarse.contains(&std::env::consts::ARCH) { 16_384 } else { 4096 };
        assert_eq!(granule(4096), least);
        assert_eq!(granule(65_536), 65_536);
    }
}
