//! Why a connection failed: one cause, one alert, one log line.

use core::fmt;

use super::alert::Alert;
use super::codec::Malformed;
use crate::log::Escaped;

/// The end of a connection. The alert, if there is one, is in the outgoing buffer already; what is
/// left to do is to log the one line that [`fmt::Display`] gives, to send the buffer and to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the peer is told; `None` when it is the peer who gave up, or when we have said
    /// close_notify before.
    pub alert: Option<Alert>,
    /// What happened.
    pub cause: Cause,
}

/// What made a connection fail. [`fmt::Display`] gives the words for the log: short, without
/// secrets, with outside bytes escaped and bounded.
///
/// The peer is the culprit of all of them but [`Cause::NoKey`] and those of [`Server::seal`].
///
/// [`Server::seal`]: super::Server::seal
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sent this fatal alert.
    PeerAlert(Alert),
    /// What came is not TLS: the first byte.
    NotTls(u8),
    /// A record is longer than this many bytes (RFC 8446 sections 5.1, 5.2 and 5.4).
    RecordTooLong(usize),
    /// A record was not encrypted with our keys (RFC 8446 section 5.2).
    Undecryptable,
    /// Something that has no place where it came: what it is.
    Unexpected(&'static str),
    /// A message is not built as it must be: which one.
    Malformed(&'static str),
    /// A field says what it must not say: what it says.
    Illegal(&'static str),
    /// The hello lacks an extension that it must have: its name in RFC 8446 section 4.2.
    MissingExtension(&'static str),
    /// The peer speaks nothing as new as TLS 1.3; the newest version that it offers, as it is
    /// written on the wire: 0x0303 is TLS 1.2.
    OldProtocol(u16),
    /// No cipher suite in common. With a pre-shared key, TLS 1.3 leaves only those with SHA-256.
    NoSuite,
    /// No pre-shared key is offered: a client with certificates, or none at all.
    NoPskOffered,
    /// The peer wants the pre-shared key in no way that RFC 8446 knows.
    NoKeyExchange,
    /// No group in common.
    NoGroup,
    /// The binder does not fit our key: the peer has another key.
    WrongKey,
    /// The peer offers no identity `lrmd`; the first one that it does offer, at most
    /// [`Escaped::LIMIT`] + 1 bytes of it. The peer cannot tell this from [`Cause::WrongKey`].
    UnknownIdentity(Box<[u8]>),
    /// We have no key. The peer cannot tell this from [`Cause::WrongKey`] by what it is sent.
    NoKey,
    /// The peer's Finished does not fit the handshake (RFC 8446 section 4.4.4).
    WrongFinished,
    /// [`Server::seal`] before the handshake is over, or after a failure.
    ///
    /// [`Server::seal`]: super::Server::seal
    NotConnected,
    /// [`Server::seal`] after close_notify.
    ///
    /// [`Server::seal`]: super::Server::seal
    Closed,
    /// [`Server::seal`] with more than fits in one record.
    ///
    /// [`Server::seal`]: super::Server::seal
    TextTooLong,
    /// A key has done all the records it may (RFC 8446 section 5.5).
    KeyUsedUp,
}

impl Cause {
    /// The alert that RFC 8446 names for it.
    pub(super) fn alert(&self) -> Option<Alert> {
        Some(match self {
            Self::PeerAlert(_) | Self::NotConnected | Self::Closed | Self::TextTooLong => return None,
            Self::NotTls(_) | Self::Unexpected(_) => Alert::UNEXPECTED_MESSAGE,
            Self::RecordTooLong(_) => Alert::RECORD_OVERFLOW,
            Self::Undecryptable => Alert::BAD_RECORD_MAC,
            Self::Malformed(_) => Alert::DECODE_ERROR,
            Self::Illegal(_) => Alert::ILLEGAL_PARAMETER,
            Self::MissingExtension(_) => Alert::MISSING_EXTENSION,
            Self::OldProtocol(_) => Alert::PROTOCOL_VERSION,
            Self::NoSuite | Self::NoPskOffered | Self::NoKeyExchange | Self::NoGroup => {
                Alert::HANDSHAKE_FAILURE
            }
            Self::WrongKey | Self::UnknownIdentity(_) | Self::NoKey | Self::WrongFinished => {
                Alert::DECRYPT_ERROR
            }
            Self::KeyUsedUp => Alert::INTERNAL_ERROR,
        })
    }
}

/// Only the hello is read with a `Reader`.
impl From<Malformed> for Cause {
    fn from(_: Malformed) -> Self {
        Self::Malformed("hello")
    }
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
            Self::NotTls(byte) => {
                write!(f, "the peer sent what is not TLS: it begins with \"{}\"", Escaped(&[*byte]))
            }
            Self::RecordTooLong(limit) => write!(f, "a record of the peer is longer than {limit} bytes"),
            Self::Undecryptable => f.write_str("a record of the peer cannot be decrypted"),
            Self::Unexpected(what) | Self::Illegal(what) => write!(f, "the peer sent {what}"),
            Self::Malformed(what) => write!(f, "the peer's {what} is malformed"),
            Self::MissingExtension(name) => write!(f, "the peer's hello lacks the extension {name}"),
            Self::OldProtocol(version) => {
                f.write_str("the peer offers only ")?;
                match version {
                    0x0303 => f.write_str("TLS 1.2")?,
                    0x0302 => f.write_str("TLS 1.1")?,
                    0x0301 => f.write_str("TLS 1.0")?,
                    _ => write!(f, "protocol {version:#06x}")?,
                }
                f.write_str(
                    " and TLS 1.3 is needed: allow it in the peer's PCMK_tls_priorities or crypto policy",
                )
            }
            Self::NoSuite => f.write_str(
                "no common cipher suite: the peer offers neither TLS_CHACHA20_POLY1305_SHA256 nor \
                 TLS_AES_128_GCM_SHA256; allow one in its PCMK_tls_priorities or crypto policy",
            ),
            Self::NoPskOffered => {
                f.write_str("the peer offers no pre-shared key: is it set up for certificates?")
            }
            Self::NoKeyExchange => {
                f.write_str("no common key exchange: allow DHE-PSK or PSK in the peer's PCMK_tls_priorities")
            }
            Self::NoGroup => f.write_str(
                "no common group: the peer offers neither secp256r1, secp384r1 nor x25519; \
                 allow one in its PCMK_tls_priorities or crypto policy",
            ),
            Self::WrongKey => f.write_str("wrong key: the peer's key file differs from ours"),
            Self::UnknownIdentity(identity) => {
                write!(f, "unknown identity: the peer calls itself \"{}\", not \"lrmd\"", Escaped(identity))
            }
            Self::NoKey => f.write_str("we have no key"),
            Self::WrongFinished => f.write_str("the peer's Finished does not fit the handshake"),
            Self::NotConnected => f.write_str("the connection is not established"),
            Self::Closed => f.write_str("the connection is closed"),
            Self::TextTooLong => f.write_str("too long for one record"),
            Self::KeyUsedUp => f.write_str("the record key has been used as often as it may"),
        }
    }
}

impl core::error::Error for Failure {}
