//! The structs that libqb's clients and servers exchange and share (ipc.md sections A and B).
//!
//! All numbers are in the machine's own byte order: both ends run on it. What differs from machine
//! to machine is how wide a pointer is, and how glibc lays out a semaphore; [`Machine`] says both,
//! so that each layout can be tested on any host.
//!
//! Connection request, 24 bytes, client to server:
//!
//! | offset | size | field                       | sent | received           |
//! |-------:|-----:|-----------------------------|------|--------------------|
//! |      0 |    4 | id                          | -    | -1                 |
//! |      8 |    4 | size                        | -    | 24                 |
//! |     16 |    4 | longest message it asks for | -    | any, bounded later |
//!
//! Connection response, 12,328 bytes, server to client. On refusal everything after `error` is 0:
//!
//! | offset, 64 bit | 32 bit | size | field               | sent                          |
//! |---------------:|-------:|-----:|---------------------|-------------------------------|
//! |              0 |      0 |    4 | id                  | -1                            |
//! |              8 |      8 |    4 | size                | 12328                         |
//! |             16 |     16 |    4 | error               | 0, or an errno negated        |
//! |             24 |     24 |    4 | transport           | 1: shared memory              |
//! |             28 |     28 |    4 | longest message     | what both sides use from here |
//! |             32 |     32 | 8, 4 | opaque              | any number but 0              |
//! |             40 |     36 | 4096 | request ring, path  | with its NUL                  |
//! |           4136 |   4132 | 4096 | response ring, path | with its NUL                  |
//! |           8232 |   8228 | 4096 | event ring, path    | with its NUL                  |
//!
//! Header file of a ring, shared: [`RingHeader`]. Chunks in its data file: [`chunk`].

use core::fmt;

use super::header::Order;

/// Bytes of a connection request.
pub const REQUEST_LEN: usize = 24;
/// Bytes of a connection response.
pub const RESPONSE_LEN: usize = 12_328;
/// The longest path that libqb keeps of those in a response, without the NUL.
pub const PATH_LIMIT: usize = 254;

/// The place that a struct has for a path.
const PATH_LEN: usize = 4096;
/// The only id used during set-up.
const AUTHENTICATE: i32 = -1;
/// Rings in shared memory; the one transport that all clients can use (ipc.md section 0).
const SHARED_MEMORY: i32 = 1;

/// What the layouts depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of a pointer: 8 or 4.
    pub pointer: usize,
    /// The byte order.
    pub order: Order,
}

impl Machine {
    /// The one this program was built for.
    pub const NATIVE: Self = Self { pointer: size_of::<usize>(), order: Order::NATIVE };

    /// Where the three paths of a connection response begin.
    const fn paths(self) -> usize {
        32 + self.pointer
    }
}

/// A connection request that has passed all checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The longest message the client wants to send and receive: any number.
    pub longest: u32,
}

impl ConnectRequest {
    /// Takes the first 24 bytes that a client sent.
    ///
    /// # Errors
    /// [`NotARequest`]: whatever connected is no libqb client.
    pub fn parse(bytes: &[u8; REQUEST_LEN]) -> Result<Self, NotARequest> {
        let id = signed::<0>(bytes);
        let size = signed::<8>(bytes);
        if id != AUTHENTICATE || size != REQUEST_LEN as i32 {
            return Err(NotARequest { id, size });
        }
        Ok(Self { longest: u32::from_ne_bytes(field::<16>(bytes)) })
    }

    /// The bytes that a client sends.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        put(&mut bytes, 0, &AUTHENTICATE.to_ne_bytes());
        put(&mut bytes, 8, &(REQUEST_LEN as i32).to_ne_bytes());
        put(&mut bytes, 16, &self.longest.to_ne_bytes());
        bytes
    }
}

/// The first bytes on a connection were not a request to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARequest {
    /// What stands in the place of the id.
    pub id: i32,
    /// What stands in the place of the size.
    pub size: i32,
}

impl fmt::Display for NotARequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a libqb connection request: id {} and size {}", self.id, self.size)
    }
}

impl core::error::Error for NotARequest {}

/// A connection response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectResponse<'a> {
    /// The client may go on with the rings at these paths.
    Accepted {
        /// The longest message, in bytes with its header; both sides compute the rings' size from it.
        longest: u32,
        /// The paths of the request, response and event ring, without `-header` and `-data`; of each the first
        /// [`PATH_LIMIT`] bytes are used.
        paths: [&'a [u8]; 3],
    },
    /// The client's attempt to connect fails with this errno (positive).
    Refused(i32),
}

impl ConnectResponse<'_> {
    /// The [`RESPONSE_LEN`] bytes to send, in one call: old clients give up on a part of it.
    pub fn encode(&self, machine: Machine) -> Vec<u8> {
        let mut bytes = vec![0; RESPONSE_LEN];
        put(&mut bytes, 0, &AUTHENTICATE.to_ne_bytes());
        put(&mut bytes, 8, &(RESPONSE_LEN as i32).to_ne_bytes());
        match *self {
            Self::Refused(errno) => put(&mut bytes, 16, &errno.saturating_neg().to_ne_bytes()),
            Self::Accepted { longest, paths } => {
                put(&mut bytes, 24, &SHARED_MEMORY.to_ne_bytes());
                put(&mut bytes, 28, &longest.to_ne_bytes());
                // Every byte of the pointer is set, so its value is not 0 in either byte order.
                put(&mut bytes, 32, [1; 8].get(..machine.pointer).unwrap_or_default());
                for (index, path) in paths.into_iter().enumerate() {
                    put(&mut bytes, machine.paths() + index * PATH_LEN, cut(path));
                }
            }
        }
        bytes
    }
}

/// The header file of a ring: where its words are.
///
/// | offset, 64 bit | 32 bit | size | field       | written by                              |
/// |---------------:|-------:|-----:|-------------|-----------------------------------------|
/// |              0 |      0 |    4 | write point | the side that writes chunks             |
/// |              4 |      4 |    4 | read point  | the side that reads them                |
/// |              8 |      8 |    4 | words       | the server, once                        |
/// |             12 |     12 | 4096 | header path | the server, once                        |
/// |           4108 |   4108 | 4096 | data path   | the server, once                        |
/// |           8204 |   8204 |    4 | references  | 1 at first, the client adds 1           |
/// |           8208 |   8208 |   32 or 16 | semaphore | both, atomically: [`Semaphore`]     |
/// |           8240 |   8224 |    4 | flow control | the server: 1 makes the client wait    |
/// |           8252 |   8236 |      | end          |                                        |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingHeader(Machine);

impl RingHeader {
    /// Offset of the index of the word where the next chunk begins.
    pub const WRITE_POINT: usize = 0;
    /// Offset of the index of the word where the oldest chunk begins.
    pub const READ_POINT: usize = 4;
    /// Offset of the count of 4-byte words in the data file.
    pub const WORDS: usize = 8;
    /// Offset of the count of users: a client sends only while it is 2.
    pub const REFERENCES: usize = DATA_PATH + PATH_LEN;

    /// The header as this machine has it.
    pub const fn of(machine: Machine) -> Self {
        Self(machine)
    }

    /// The semaphore that counts chunks.
    pub const fn semaphore(self) -> Semaphore {
        let start = Self::REFERENCES + 4;
        match (self.0.pointer, self.0.order) {
            (8, Order::Little) => Semaphore { start, value: 0, unit: 1, shared: 8, len: 32 },
            (8, Order::Big) => Semaphore { start, value: 4, unit: 1, shared: 8, len: 32 },
            _ => Semaphore { start, value: 0, unit: 2, shared: 4, len: 16 },
        }
    }

    /// Offset of the word that holds the client back while it is 1.
    pub const fn flow_control(self) -> usize {
        self.semaphore().start + self.semaphore().len
    }

    /// Bytes of the file.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(self) -> usize {
        // The struct is aligned to 8 on every machine, and 4 bytes follow it.
        (self.flow_control() + 4).next_multiple_of(8) + 4
    }

    /// The content of a new file.
    pub fn encode(self, words: u32, header_path: &[u8], data_path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        put(&mut bytes, Self::WORDS, &words.to_ne_bytes());
        put(&mut bytes, HEADER_PATH, cut(header_path));
        put(&mut bytes, DATA_PATH, cut(data_path));
        put(&mut bytes, Self::REFERENCES, &1_u32.to_ne_bytes());
        let semaphore = self.semaphore();
        put(&mut bytes, semaphore.start + semaphore.shared, &Semaphore::SHARED.to_ne_bytes());
        bytes
    }
}

const HEADER_PATH: usize = 12;
const DATA_PATH: usize = HEADER_PATH + PATH_LEN;

/// A semaphore of glibc that two processes share.
///
/// | machine        | word 0              | word 1       | word 2 | word 3  |
/// |----------------|---------------------|--------------|--------|---------|
/// | 64 bit, little | value               | waiters      | shared | -       |
/// | 64 bit, big    | waiters             | value        | shared | -       |
/// | 32 bit         | 2 x value + waiting | shared       | -      | waiters |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semaphore {
    start: usize,
    value: usize,
    unit: u32,
    shared: usize,
    len: usize,
}

impl Semaphore {
    /// What makes a client wait on a futex that another process can wake.
    const SHARED: u32 = 0x80;

    /// Offset, in the header file, of the word that holds the value; also the futex to wake.
    pub const fn word(self) -> usize {
        self.start + self.value
    }

    /// What that word changes by when the value changes by 1.
    pub const fn unit(self) -> u32 {
        self.unit
    }

    /// The value that is in that word.
    pub const fn value(self, word: u32) -> u32 {
        word / self.unit
    }
}

/// A chunk in the data file: two words, then the bytes of one message, each index modulo the ring's
/// words.
pub mod chunk {
    /// Bytes before the message.
    pub const HEADER_LEN: usize = 8;
    /// Bytes that must be free beyond the message for it to be written.
    pub const MARGIN: usize = 12;
    /// Second word of a chunk that can be read.
    pub const READY: u32 = 0xA1A1_A1A1;
    /// Second word of a chunk that was read.
    pub const CONSUMED: u32 = 0xD0D0_D0D0;

    /// The first two words of a chunk.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Header {
        /// Bytes of the message.
        pub size: u32,
        /// [`READY`], [`CONSUMED`], or what a hostile client wrote.
        pub magic: u32,
    }

    impl Header {
        /// The words in shared memory.
        pub fn parse(bytes: [u8; HEADER_LEN]) -> Self {
            let [a, b, c, d, e, f, g, h] = bytes;
            Self { size: u32::from_ne_bytes([a, b, c, d]), magic: u32::from_ne_bytes([e, f, g, h]) }
        }

        /// The words for shared memory.
        pub fn encode(self) -> [u8; HEADER_LEN] {
            let [a, b, c, d] = self.size.to_ne_bytes();
            let [e, f, g, h] = self.magic.to_ne_bytes();
            [a, b, c, d, e, f, g, h]
        }
    }
}

/// As much of a path as libqb keeps.
fn cut(path: &[u8]) -> &[u8] {
    path.get(..PATH_LIMIT).unwrap_or(path)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    // All callers' offsets are of this file's layouts and lie inside; `layouts` tests it.
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn field<const AT: usize>(bytes: &[u8; REQUEST_LEN]) -> [u8; 4] {
    const { assert!(AT + 4 <= REQUEST_LEN) };
    let mut field = [0; 4];
    // In bounds by the assertion.
    field.copy_from_slice(&bytes[AT..AT + 4]);
    field
}

fn signed<const AT: usize>(bytes: &[u8; REQUEST_LEN]) -> i32 {
    i32::from_ne_bytes(field::<AT>(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINES: [Machine; 4] = [
        Machine { pointer: 8, order: Order::Little },
        Machine { pointer: 8, order: Order::Big },
        Machine { pointer: 4, order: Order::Little },
        Machine { pointer: 4, order: Order::Big },
    ];

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn text(bytes: &[u8], at: usize) -> &[u8] {
        let bytes = &bytes[at..at + PATH_LEN];
        &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap()]
    }

    /// What real clients send: ipc.md section A.2, on little and big endian.
    #[test]
    fn requests_of_real_clients() {
        let little = [255, 255, 255, 255, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        let big = [255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0];
        let native = if Order::NATIVE == Order::Little { little } else { big };
        assert_eq!(ConnectRequest::parse(&native), Ok(ConnectRequest { longest: 524_288 }));
        assert_eq!(ConnectRequest { longest: 524_288 }.encode(), native);
        let foreign = if Order::NATIVE == Order::Little { big } else { little };
        assert_eq!(ConnectRequest::parse(&foreign), Err(NotARequest { id: -1, size: 24 << 24 }));
    }

    #[test]
    fn padding_is_not_looked_at() {
        let mut bytes = ConnectRequest { longest: u32::MAX }.encode();
        for at in [4, 12, 20] {
            bytes[at..at + 4].fill(0xEE);
        }
        assert_eq!(ConnectRequest::parse(&bytes), Ok(ConnectRequest { longest: u32::MAX }));
    }

    #[test]
    fn anything_else_is_no_request() {
        for (id, size) in [(0, 24), (-3, 24), (-1, 23), (-1, 0), (-1, i32::MIN)] {
            let mut bytes = ConnectRequest { longest: 1 }.encode();
            put(&mut bytes, 0, &i32::to_ne_bytes(id));
            put(&mut bytes, 8, &i32::to_ne_bytes(size));
            assert_eq!(ConnectRequest::parse(&bytes), Err(NotARequest { id, size }));
        }
        assert!(ConnectRequest::parse(b"GET / HTTP/1.1\r\nHost: ::").is_err());
    }

    #[test]
    fn layouts() {
        for (machine, paths) in MACHINES.into_iter().zip([40, 40, 36, 36]) {
            let path = [b'p'; 300];
            let response = ConnectResponse::Accepted { longest: 131_072, paths: [b"/r/q", b"/r/a", &path] };
            let bytes = response.encode(machine);
            assert_eq!(bytes.len(), RESPONSE_LEN);
            assert_eq!([0, 8, 16, 24, 28].map(|at| word(&bytes, at)), [u32::MAX, 12_328, 0, 1, 131_072]);
            assert_ne!(word(&bytes, 32), 0);
            assert_eq!(text(&bytes, paths), b"/r/q");
            assert_eq!(text(&bytes, paths + 4096), b"/r/a");
            assert_eq!(text(&bytes, paths + 8192), &path[..PATH_LIMIT]);

            let header = RingHeader::of(machine);
            let bytes = header.encode(33_792, b"/r/q-header", &path);
            assert_eq!([0, 4, 8, 8204].map(|at| word(&bytes, at)), [0, 0, 33_792, 1]);
            assert_eq!(text(&bytes, 12), b"/r/q-header");
            assert_eq!(text(&bytes, 4108), &path[..PATH_LIMIT]);
        }
    }

    /// Offsets and figures seen with real clients on x86_64, s390x, i386 and arm.
    #[test]
    fn semaphores() {
        for (machine, value, shared, flow, len) in [
            (MACHINES[0], 8208, 8216, 8240, 8252),
            (MACHINES[1], 8212, 8216, 8240, 8252),
            (MACHINES[2], 8208, 8212, 8224, 8236),
            (MACHINES[3], 8208, 8212, 8224, 8236),
        ] {
            let header = RingHeader::of(machine);
            let bytes = header.encode(1, b"", b"");
            assert_eq!(header.semaphore().word(), value, "{machine:?}");
            assert_eq!(header.flow_control(), flow, "{machine:?}");
            assert_eq!((header.len(), bytes.len()), (len, len), "{machine:?}");
            let words: Vec<_> = (8208..len).step_by(4).filter(|&at| word(&bytes, at) != 0).collect();
            assert_eq!(words, [shared], "{machine:?}");
            assert_eq!(word(&bytes, shared), 0x80);
        }
        let narrow = RingHeader::of(MACHINES[2]).semaphore();
        assert_eq!((narrow.unit(), narrow.value(7), narrow.value(1)), (2, 3, 0));
        let wide = RingHeader::of(MACHINES[0]).semaphore();
        assert_eq!((wide.unit(), wide.value(7), wide.value(1)), (1, 7, 1));
    }

    #[test]
    fn a_refusal_says_only_why() {
        let bytes = ConnectResponse::Refused(121).encode(Machine::NATIVE);
        assert_eq!(bytes.len(), RESPONSE_LEN);
        assert_eq!([0, 8, 16].map(|at| word(&bytes, at) as i32), [-1, 12_328, -121]);
        assert!(bytes[20..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn chunk_headers() {
        let header = chunk::Header { size: 5, magic: chunk::READY };
        assert_eq!(chunk::Header::parse(header.encode()), header);
        assert_eq!(header.encode()[..4], 5_u32.to_ne_bytes());
    }
}
