//! The 40 bytes before each message between cluster and remote node (remote-protocol.md section 2).
//!
//! | offset | size | field                | sent                 | received                     |
//! |-------:|-----:|----------------------|----------------------|------------------------------|
//! |      0 |    4 | endian               | `0xBADADBBD`         | tells the byte order         |
//! |      4 |    4 | version              | 1                    | any                          |
//! |      8 |    8 | id                   | a counter from 1     | any                          |
//! |     16 |    8 | flags                | 0                    | any                          |
//! |     24 |    4 | size_total           | 40 + payload         | the same, up to a limit      |
//! |     28 |    4 | payload_offset       | 40                   | 40                           |
//! |     32 |    4 | payload_compressed   | 0                    | 0                            |
//! |     36 |    4 | payload_uncompressed | payload with its NUL | at least 1                   |

use core::fmt;

/// How long a header is.
pub const LEN: usize = 40;

/// The longest message taken, header included: what Pacemaker takes itself since 2.1.11. Nor may one
/// be sent that is longer: it would freeze the cluster's controller.
pub const LIMIT: u32 = 20 * 1024 * 1024;

/// The longest message taken before its sender has registered.
pub const LIMIT_UNREGISTERED: u32 = 64 * 1024;

const MAGIC: u32 = 0xBADA_DBBD;
const VERSION: u32 = 1;

/// The order of the bytes in a header's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// This host's own, which is what Pacemaker sends: every receiver takes both, but only a foreign
    /// one has its swapping tested.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };
}

/// A header in a buffer that has passed all checks.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8; LEN],
    order: Order,
}

impl<'a> View<'a> {
    /// Looks at a header of a message that may be up to `limit` bytes long, itself included.
    pub fn new_checked(bytes: &'a [u8; LEN], limit: u32) -> Result<Self, Error> {
        let mut view = Self { bytes, order: Order::Little };
        if view.u32::<0>() != MAGIC {
            view.order = Order::Big;
        }
        let magic = view.u32::<0>();
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        if view.offset() != LEN as u32 {
            return Err(Error::Offset(view.offset()));
        }
        if view.compressed() != 0 {
            return Err(Error::Compressed(view.compressed()));
        }
        let (total, payload) = (view.total(), view.payload());
        if payload.checked_add(LEN as u32) != Some(total) {
            return Err(Error::Sizes { total, payload });
        }
        if payload == 0 {
            return Err(Error::Empty);
        }
        if total > limit {
            return Err(Error::TooLong { total, limit });
        }
        Ok(view)
    }

    /// Which byte order the sender has.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The protocol version: 1 so far, and no reason to refuse a message if it is not.
    pub fn version(&self) -> u32 {
        self.u32::<4>()
    }

    /// The sender's number for the message.
    pub fn id(&self) -> u64 {
        self.u64::<8>()
    }

    /// Reserved.
    pub fn flags(&self) -> u64 {
        self.u64::<16>()
    }

    /// How many bytes follow the header, the final NUL included: 1 to the limit.
    pub fn payload(&self) -> u32 {
        self.u32::<36>()
    }

    fn total(&self) -> u32 {
        self.u32::<24>()
    }

    fn offset(&self) -> u32 {
        self.u32::<28>()
    }

    fn compressed(&self) -> u32 {
        self.u32::<32>()
    }

    fn u32<const AT: usize>(&self) -> u32 {
        let bytes = self.field::<AT, 4>();
        match self.order {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }

    fn u64<const AT: usize>(&self) -> u64 {
        let bytes = self.field::<AT, 8>();
        match self.order {
            Order::Little => u64::from_le_bytes(bytes),
            Order::Big => u64::from_be_bytes(bytes),
        }
    }

    fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LEN) };
        let mut field = [0; N];
        // In bounds by the assertion.
        field.copy_from_slice(&self.bytes[AT..AT + N]);
        field
    }
}

/// A header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's number for the message; one counter for all connections, from 1.
    pub id: u64,
    /// How many bytes follow, the final NUL included.
    pub payload: u32,
}

impl Header {
    /// Takes a header of a message that may be up to `limit` bytes long, itself included:
    /// [`LIMIT_UNREGISTERED`] or [`LIMIT`].
    pub fn parse(bytes: &[u8; LEN], limit: u32) -> Result<Self, Error> {
        let view = View::new_checked(bytes, limit)?;
        Ok(Self { id: view.id(), payload: view.payload() })
    }

    /// The header of a payload of so many bytes, the final NUL included.
    pub fn new(id: u64, payload: usize) -> Result<Self, Error> {
        if payload == 0 {
            return Err(Error::Empty);
        }
        match u32::try_from(payload) {
            Ok(payload) if payload <= LIMIT - LEN as u32 => Ok(Self { id, payload }),
            _ => {
                let total = u32::try_from(payload.saturating_add(LEN)).unwrap_or(u32::MAX);
                Err(Error::TooLong { total, limit: LIMIT })
            }
        }
    }

    /// The bytes to send, in this host's order.
    pub fn encode(&self) -> [u8; LEN] {
        self.encode_in(Order::NATIVE)
    }

    /// The bytes that a host of another order sends.
    pub fn encode_in(&self, order: Order) -> [u8; LEN] {
        let four = |value: u32| match order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        };
        let eight = |value: u64| match order {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        };
        let mut bytes = [0; LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &four(MAGIC));
        put(4, &four(VERSION));
        put(8, &eight(self.id));
        put(24, &four(self.payload.saturating_add(LEN as u32)));
        put(28, &four(LEN as u32));
        put(36, &four(self.payload));
        bytes
    }
}

/// Why a message must not be taken or sent. After a bad header nothing on the connection can be
/// understood any more: it has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a message header in either byte order; the first four bytes, most significant first.
    Magic(u32),
    /// The payload does not start right after the header, but at this offset.
    Offset(u32),
    /// The payload is compressed, to so many bytes.
    Compressed(u32),
    /// The lengths contradict each other.
    Sizes {
        /// What the header gives as the message's length.
        total: u32,
        /// What it gives as the payload's length.
        payload: u32,
    },
    /// There is no payload.
    Empty,
    /// The message is longer than allowed.
    TooLong {
        /// The message's length.
        total: u32,
        /// What is allowed at this point.
        limit: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(first) => {
                write!(f, "not a Pacemaker Remote message: it begins with {first:08x}")
            }
            Self::Offset(offset) => {
                write!(f, "message header of another kind: payload at {offset} instead of {LEN}")
            }
            Self::Compressed(size) => {
                write!(f, "compressed message ({size} bytes): no Pacemaker release sends these")
            }
            Self::Sizes { total, payload } => write!(
                f,
                "message header contradicts itself: {total} bytes in all, but {LEN} of header and {payload} of payload"
            ),
            Self::Empty => f.write_str("message without payload"),
            Self::TooLong { total, limit } => {
                write!(f, "message of {total} bytes, where at most {limit} are allowed")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first message of a real cluster (Pacemaker 3.0, little endian): size 246, id 2.
    const REAL: [u8; LEN] = [
        0xBD, 0xDB, 0xDA, 0xBA, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 246, 0, 0, 0, 40,
        0, 0, 0, 0, 0, 0, 0, 206, 0, 0, 0,
    ];

    /// A good header with the field at `at` set to `value`.
    fn with(order: Order, at: usize, value: u32) -> [u8; LEN] {
        let mut bytes = Header { id: 7, payload: 100 }.encode_in(order);
        let field = if order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() };
        bytes[at..at + 4].copy_from_slice(&field);
        bytes
    }

    #[test]
    fn a_header_of_a_real_cluster() {
        let view = View::new_checked(&REAL, LIMIT_UNREGISTERED).unwrap();
        assert_eq!((view.order(), view.version(), view.id(), view.flags()), (Order::Little, 1, 2, 0));
        assert_eq!(view.payload(), 206);
        assert_eq!(Header { id: 2, payload: 206 }.encode_in(Order::Little), REAL);
    }

    #[test]
    fn the_same_of_a_big_endian_host() {
        let mut bytes = [0; LEN];
        for (from, to) in [(0, 4), (4, 8), (8, 16), (16, 24), (24, 28), (28, 32), (32, 36), (36, 40)] {
            bytes[from..to].copy_from_slice(&REAL[from..to]);
            bytes[from..to].reverse();
        }
        let view = View::new_checked(&bytes, LIMIT_UNREGISTERED).unwrap();
        assert_eq!((view.order(), view.version(), view.id(), view.flags()), (Order::Big, 1, 2, 0));
        assert_eq!(view.payload(), 206);
        assert_eq!(Header { id: 2, payload: 206 }.encode_in(Order::Big), bytes);
    }

    #[test]
    fn values_survive_in_both_orders() {
        for order in [Order::Little, Order::Big] {
            for (id, payload) in
                [(1, 1), (u64::MAX, LIMIT - LEN as u32), (0x0102_0304_0506_0708, 0x0001_0203)]
            {
                let header = Header { id, payload };
                assert_eq!(Header::parse(&header.encode_in(order), LIMIT), Ok(header));
            }
        }
        let native = Header { id: 1, payload: 1 }.encode();
        assert_eq!(native[..4], MAGIC.to_ne_bytes());
    }

    #[test]
    fn each_check() {
        for order in [Order::Little, Order::Big] {
            let parse = |at, value| Header::parse(&with(order, at, value), LIMIT);
            assert_eq!(parse(28, 41), Err(Error::Offset(41)));
            assert_eq!(parse(28, 0), Err(Error::Offset(0)));
            assert_eq!(parse(32, 9), Err(Error::Compressed(9)));
            assert_eq!(parse(24, 139), Err(Error::Sizes { total: 139, payload: 100 }));
            assert_eq!(parse(36, 99), Err(Error::Sizes { total: 140, payload: 99 }));
            // 40 + payload wraps to the total.
            let mut bytes = with(order, 24, 39);
            bytes[36..].copy_from_slice(&[0xFF; 4]);
            assert_eq!(Header::parse(&bytes, u32::MAX), Err(Error::Sizes { total: 39, payload: u32::MAX }));
            // What nobody uses is not looked at.
            assert!(parse(4, 2).is_ok() && parse(16, 1).is_ok());
        }
        assert_eq!(
            Header::parse(
                b"GET / HTTP/1.1\r\nHost: 127.0.0.1:3121\r\n\r\n"[..LEN].try_into().unwrap(),
                LIMIT
            ),
            Err(Error::Magic(0x4745_5420))
        );
        assert!(matches!(Header::parse(&[0; LEN], LIMIT), Err(Error::Magic(0))));
        let empty = Header { id: 1, payload: 0 };
        assert_eq!(Header::parse(&empty.encode(), LIMIT), Err(Error::Empty));
    }

    #[test]
    fn limits_count_the_header() {
        let at = |limit: u32| Header { id: 1, payload: limit - LEN as u32 }.encode();
        for limit in [LIMIT, LIMIT_UNREGISTERED] {
            assert!(Header::parse(&at(limit), limit).is_ok());
            let error = Header::parse(&at(limit + 1), limit).unwrap_err();
            assert_eq!(error, Error::TooLong { total: limit + 1, limit });
        }
        assert!(Header::new(1, LIMIT as usize - LEN).is_ok());
        assert!(matches!(Header::new(1, LIMIT as usize - LEN + 1), Err(Error::TooLong { .. })));
        assert!(matches!(Header::new(1, usize::MAX), Err(Error::TooLong { .. })));
        assert_eq!(Header::new(1, 0), Err(Error::Empty));
    }
}
