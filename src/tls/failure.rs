//! Why a connection failed: one cause, one alert, one log line.

use core::fmt;

use super::alert::Alert;
use crate::log::Escaped;

/// The end of a connection. The alert, if there is one, is in the outgoing buffer already; what is
/// left to do is to log [`Failure`]'s one line, send the buffer and close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the peer is told; `None` when it is the peer who gave up.
    pub alert: Option<Alert>,
    /// What happened.
    pub cause: Cause,
}

/// What made a connection fail. [`fmt::Display`] gives the words for the log: short, without
/// secrets, with outside bytes escaped and bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sent this fatal alert.
    PeerAlert(Alert),
    /// The binder does not fit our key: the peer has another key.
    WrongKey,
    /// The peer offers no identity `lrmd`; the first one that it does offer, at most
    /// [`Escaped::LIMIT`] + 1 bytes of it. The peer cannot tell this from [`Cause::WrongKey`].
    UnknownIdentity(Box<[u8]>),
    /// We have no key. The peer cannot tell this from [`Cause::WrongKey`].
    NoKey,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerAlert(alert) => write!(f, "the peer gave up with {alert}"),
            Self::WrongKey => f.write_str("wrong key: the peer's key is not the one in our key file"),
            Self::UnknownIdentity(identity) => {
                write!(f, "unknown identity: the peer says \"{}\", we know only \"lrmd\"", Escaped(identity))
            }
            Self::NoKey => f.write_str("we have no key"),
        }
    }
}

impl core::error::Error for Failure {}
