//! A connection before its session: who connects, and what is agreed on (ipc.md section A.2).
//!
//! | state \ event | fewer than 24 bytes | 24 bytes            | more                 |
//! |---------------|---------------------|---------------------|----------------------|
//! | greeting      | greeting            | asked, or not libqb | not libqb            |
//! | asked         | -                   | -                   | not libqb            |
//!
//! End of stream closes in both states, silently. In `asked` the owner decides, and answers with a
//! [`ConnectResponse`](crate::wire::qb::ConnectResponse) in one call.

use core::fmt;

use super::{MESSAGE_DEFAULT, MESSAGE_LIMIT};
use crate::wire::qb::{ConnectRequest, NotARequest, REQUEST_LEN};

/// How long a client has to ask, in milliseconds: any local user can connect and say nothing. Then its connection is to
/// be closed.
pub const GREETING_LIMIT_MILLIS: u64 = 5_000;

/// Collects a connection request.
#[derive(Debug, Default)]
pub struct Greeting {
    bytes: [u8; REQUEST_LEN],
    filled: usize,
}

impl Greeting {
    /// Takes bytes from the socket; the request once it is complete.
    ///
    /// # Errors
    /// [`NotAClient`]: close the connection, without an answer.
    pub fn received(&mut self, bytes: &[u8]) -> Result<Option<ConnectRequest>, NotAClient> {
        // `filled` never exceeds the length.
        let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
        if bytes.len() > room.len() {
            return Err(NotAClient::TooMuch);
        }
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.filled += bytes.len();
        if self.filled < REQUEST_LEN || bytes.is_empty() {
            return Ok(None);
        }
        ConnectRequest::parse(&self.bytes).map(Some).map_err(NotAClient::Request)
    }
}

/// Who connected does not speak libqb's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAClient {
    /// What it sent is no request.
    Request(NotARequest),
    /// It sent more than a request before it had an answer.
    TooMuch,
}

impl fmt::Display for NotAClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::TooMuch => f.write_str("more than a connection request before the answer"),
        }
    }
}

impl core::error::Error for NotAClient {}

/// The longest message for a session: the larger of what the client asked for and of what the
/// server is configured to (`None`: [`MESSAGE_DEFAULT`]), up to [`MESSAGE_LIMIT`].
pub fn negotiate(asked: u32, configured: Option<u32>) -> u32 {
    asked.max(configured.unwrap_or(MESSAGE_DEFAULT)).min(MESSAGE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_any_pieces() {
        let request = ConnectRequest { longest: 131_072 };
        let bytes = request.encode();
        for cut in 0..REQUEST_LEN {
            let mut greeting = Greeting::default();
            assert_eq!(greeting.received(&bytes[..cut]), Ok(None));
            assert_eq!(greeting.received(&bytes[cut..]), Ok(Some(request)));
        }
        let mut greeting = Greeting::default();
        let told: Vec<_> = bytes.iter().map(|byte| greeting.received(&[*byte])).collect();
        assert!(told[..REQUEST_LEN - 1].iter().all(|told| *told == Ok(None)));
        assert_eq!(told[REQUEST_LEN - 1], Ok(Some(request)));
    }

    #[test]
    fn nothing_may_follow_a_request() {
        let bytes = ConnectRequest { longest: 1 }.encode();
        let mut greeting = Greeting::default();
        assert_eq!(greeting.received(&[&bytes[..], &[0]].concat()), Err(NotAClient::TooMuch));
        let mut greeting = Greeting::default();
        assert!(matches!(greeting.received(&bytes), Ok(Some(_))));
        assert_eq!(greeting.received(&[]), Ok(None));
        assert_eq!(greeting.received(&[0]), Err(NotAClient::TooMuch));
        assert_eq!(Greeting::default().received(&[0; 4096]), Err(NotAClient::TooMuch));
    }

    #[test]
    fn who_speaks_something_else_is_told_apart() {
        let error = Greeting::default().received(&[0; REQUEST_LEN]).unwrap_err();
        assert_eq!(error, NotAClient::Request(NotARequest { id: 0, size: 0 }));
    }

    #[test]
    fn the_larger_figure_counts_up_to_a_limit() {
        assert_eq!(negotiate(12_328, None), MESSAGE_DEFAULT);
        assert_eq!(negotiate(524_288, None), 524_288);
        assert_eq!(negotiate(131_072, Some(1 << 24)), 1 << 24);
        assert_eq!(negotiate(0, Some(12_328)), 12_328);
        assert_eq!(negotiate(u32::MAX, None), MESSAGE_LIMIT);
        assert_eq!(negotiate(0, Some(u32::MAX)), MESSAGE_LIMIT);
    }
}
