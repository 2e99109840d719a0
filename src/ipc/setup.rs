//! A connection before its session: who connects, and what it asks for (ipc.md section A.2).
//!
//! | state \ event | fewer than 24 bytes | 24 bytes            | more                 |
//! |---------------|---------------------|---------------------|----------------------|
//! | greeting      | greeting            | asked, or not libqb | not libqb            |
//! | asked         | -                   | -                   | not libqb            |
//!
//! End of stream closes in both states, silently. In `asked` the owner decides, and answers with a
//! [`ConnectResponse`](crate::wire::qb::ConnectResponse) in one call.

use core::fmt;

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
}
