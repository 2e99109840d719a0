//! One connection: bytes in, bytes out.

use rand_core::CryptoRngCore;

use super::{Failure, Psk};

/// The longest plaintext of one record (RFC 8446 section 5.1).
pub const RECORD_TEXT: usize = 1 << 14;
/// What [`Server::seal`] adds to the plaintext of one record: header, content type and tag.
pub const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// The server's end of one connection.
///
/// Everything for the peer is appended to the `out` that each call is given, in the order in which
/// it must be sent. Nothing is held back in here, and `out` may already hold unsent bytes.
///
/// After a call returned [`Failure`] the alert is in `out`, all secrets are wiped, and every later
/// call does nothing.
#[derive(Debug, Default)]
pub struct Server {
    _state: (),
}

impl Server {
    /// A connection that was just accepted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the socket, in portions of any size. Application data is appended to
    /// `plaintext`; answers of the handshake, alerts and close_notify are appended to `out`.
    ///
    /// `psk` is looked at only when a whole ClientHello has come; so a key may appear, or change,
    /// while the connection waits. `entropy` is used for that hello only.
    ///
    /// `plaintext` is also where records are decrypted: what a record that turned out to be bad left
    /// there is cut off again before the call returns.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        psk: Option<&Psk>,
        entropy: &mut dyn CryptoRngCore,
        plaintext: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let _ = (bytes, psk, entropy, plaintext, out);
        Ok(())
    }

    /// Whether the handshake is over: the peer has proved that it has the key, and application data
    /// may flow. Stays true after [`Server::is_closed`], and is false after a failure.
    pub fn is_connected(&self) -> bool {
        false
    }

    /// Whether the peer's close_notify has come; ours is in `out` then. What the peer sends after it
    /// is ignored.
    pub fn is_closed(&self) -> bool {
        false
    }

    /// Appends exactly one record with `plaintext`, at most [`RECORD_TEXT`] bytes, to `out`:
    /// [`RECORD_OVERHEAD`] more than the plaintext. If the peer asked for new keys, the KeyUpdate
    /// that RFC 8446 section 4.6.3 wants first goes before it.
    ///
    /// Fails, without output, when the connection is not connected, is closed, when the text is too
    /// long, or when the key has encrypted as much as it may (see [`Server::update_keys`]).
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let _ = (plaintext, out);
        Ok(())
    }

    /// To be called before the first record of a message: appends a KeyUpdate to `out` if one is due,
    /// because the key has done its share of records or the peer asked for it. Never at another
    /// moment, so that a peer's socket does not become readable without data to follow
    /// (remote-protocol.md section 3, rule R5).
    pub fn update_keys(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends our close_notify to `out`, once; nothing can be sealed afterwards. Data from the peer
    /// can still be received.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }
}
