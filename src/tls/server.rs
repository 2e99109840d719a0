//! One connection: bytes in, bytes out.

use core::fmt;
use core::mem;

use rand_core::CryptoRngCore;
use subtle::ConstantTimeEq;

use crate::trial;

use super::alert::Alert;
use super::failure::{Cause, Failure};
use super::handshake::{Answer, Pending, Retry, answer};
use super::join::{Expected, Joiner, MESSAGE_HEADER};
use super::psk::Psk;
use super::record::{ContentType, HEADER, Header, RECORD_TEXT, Traffic, plain};
use super::reply::KEY_UPDATED;

/// After how many records [`Server::update_keys`] takes new keys: about a third of what AES-GCM
/// allows (RFC 8446 section 5.5).
pub const UPDATE_AFTER: u64 = 1 << 23;

/// How many records without data a connected peer may send in a row: empty application data,
/// KeyUpdate, user_canceled.
const MAX_BARREN: u16 = 256;

/// The server's end of one connection.
///
/// Everything for the peer is appended to the `out` that each call is given, in the order in which
/// it must be sent. Nothing is held back in here, and `out` may already hold unsent bytes.
///
/// After [`Server::receive`] returned a [`Failure`] the alert is in `out`, all secrets are wiped,
/// bytes that still come are ignored, and nothing can be sealed.
pub struct Server {
    /// A record that has not come to its end, from its header on. Grows as bytes arrive; empty, and
    /// without memory, between records.
    record: Vec<u8>,
    handshake: Joiner,
    state: State,
    /// Our traffic, from the moment our flight is out. Apart from `state`, because a transition that
    /// fails must still be able to encrypt its alert.
    write: Option<Box<Traffic>>,
    /// The peer asked for our next keys and has not got them.
    update_owed: bool,
    update_after: u64,
    /// Records without data since the last one with data.
    barren: u16,
    /// close_notify, or an alert, is out: nothing may follow it.
    finished_writing: bool,
    /// The peer's close_notify has come.
    finished_reading: bool,
}

/// What may come next. See the table in the module's header.
enum State {
    ExpectHello,
    ExpectSecondHello(Box<Retry>),
    ExpectFinished(Box<Pending>),
    Connected(Box<Traffic>),
    Failed,
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::ExpectHello => "ExpectHello",
            Self::ExpectSecondHello(_) => "ExpectSecondHello",
            Self::ExpectFinished(_) => "ExpectFinished",
            Self::Connected(_) => "Connected",
            Self::Failed => "Failed",
        }
    }
}

/// What [`Server::receive`] was given besides the bytes.
struct Given<'a> {
    psk: Option<&'a Psk>,
    entropy: &'a mut dyn CryptoRngCore,
    plaintext: &'a mut Vec<u8>,
    out: &'a mut Vec<u8>,
}

impl Server {
    /// A connection that was just accepted.
    pub fn new() -> Self {
        Self::with_update_after(trial::UPDATE_AFTER.unwrap_or(UPDATE_AFTER))
    }

    /// Like [`Server::new`], with other than [`UPDATE_AFTER`] records to a key: a test does not want
    /// to send eight million.
    pub fn with_update_after(records: u64) -> Self {
        Self {
            record: Vec::new(),
            handshake: Joiner::default(),
            state: State::ExpectHello,
            write: None,
            update_owed: false,
            update_after: records,
            barren: 0,
            finished_writing: false,
            finished_reading: false,
        }
    }

    /// Takes bytes from the socket, in portions of any size. Application data is appended to
    /// `plaintext`; answers of the handshake, alerts and close_notify are appended to `out`.
    ///
    /// `psk` is looked at only when a whole hello has come; so a key may appear, or change, while
    /// the connection waits. `entropy` is used for that hello only.
    ///
    /// `plaintext` is also where records are decrypted: what a record that turned out to be bad left
    /// there is cut off again before the call returns. What good records before it left there stays.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        psk: Option<&Psk>,
        entropy: &mut dyn CryptoRngCore,
        plaintext: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let mut given = Given { psk, entropy, plaintext, out };
        self.records(bytes, &mut given).map_err(|cause| self.fail(cause, given.out))
    }

    /// Whether the handshake is over: the peer has proved that it has the key, and application data
    /// may flow. Stays true after [`Server::is_closed`], and is false after a failure.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// Whether a hello has come that was made by somebody who knows the key: by the peer, or by who it overheard.
    pub fn has_hello(&self) -> bool {
        matches!(self.state, State::ExpectSecondHello(_) | State::ExpectFinished(_) | State::Connected(_))
    }

    /// Bytes that wait for the rest of their record or message.
    pub fn held(&self) -> usize {
        self.record.capacity() + self.handshake.capacity()
    }

    /// Whether the peer's close_notify has come; ours is in `out` then. What the peer sends after it
    /// is ignored, and nothing can be sealed any more.
    pub fn is_closed(&self) -> bool {
        self.finished_reading
    }

    /// Appends exactly one record with `plaintext`, at most [`RECORD_TEXT`] bytes, to `out`:
    /// [`RECORD_OVERHEAD`](super::RECORD_OVERHEAD) bytes more than the plaintext. No plaintext, no
    /// record.
    ///
    /// If the peer asked for our next keys, and the caller has not called [`Server::update_keys`]
    /// since, the KeyUpdate that RFC 8446 section 4.6.3 wants before any data goes first.
    ///
    /// Fails, without output, before the handshake is over, after close_notify, for a text that is
    /// too long, and when the key has encrypted all it may. The connection stays as it is.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let refused = |cause| Failure { alert: None, cause };
        if !self.is_connected() {
            return Err(refused(Cause::NotConnected));
        }
        if self.finished_writing {
            return Err(refused(Cause::Closed));
        }
        if plaintext.len() > RECORD_TEXT {
            return Err(refused(Cause::TextTooLong));
        }
        if plaintext.is_empty() {
            return Ok(());
        }
        if self.update_owed {
            self.update_write_keys(out);
        }
        let write = self.write.as_mut().ok_or_else(|| refused(Cause::NotConnected))?;
        write.seal(ContentType::ApplicationData, plaintext, out).map_err(refused)
    }

    /// To be called before the first record of a message: appends a KeyUpdate to `out` if one is
    /// due, because the key has done its share of records or the peer asked for it. Never at another
    /// moment, so that a peer's socket does not become readable without data to follow
    /// (remote-protocol.md section 3, rule R5).
    pub fn update_keys(&mut self, out: &mut Vec<u8>) {
        let worn = self.write.as_ref().is_some_and(|write| write.records() >= self.update_after);
        if self.is_connected() && !self.finished_writing && (worn || self.update_owed) {
            self.update_write_keys(out);
        }
    }

    /// Appends our close_notify to `out`, once; nothing can be sealed afterwards. Data from the peer
    /// can still be received.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.alert(Alert::CLOSE_NOTIFY, out);
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        let read = match &self.state {
            State::ExpectHello | State::Failed => 0,
            State::ExpectSecondHello(_) => size_of::<Retry>(),
            State::ExpectFinished(_) => size_of::<Pending>() + 2 * size_of::<Traffic>(),
            State::Connected(_) => size_of::<Traffic>(),
        };
        let write = self.write.as_ref().map_or(0, |_| size_of::<Traffic>());
        self.held() + read + write
    }

    /// Whether bytes from the peer still mean something.
    fn is_reading(&self) -> bool {
        match self.state {
            State::ExpectHello | State::ExpectSecondHello(_) | State::ExpectFinished(_) => {
                !self.finished_reading && !self.finished_writing
            }
            State::Connected(_) => !self.finished_reading,
            State::Failed => false,
        }
    }

    /// Cuts records out of the bytes.
    fn records(&mut self, mut bytes: &[u8], given: &mut Given<'_>) -> Result<(), Cause> {
        while !bytes.is_empty() && self.is_reading() {
            // A record that is whole in `bytes` is read where it is.
            if self.record.is_empty()
                && let Some((header, rest)) = bytes.split_first_chunk()
            {
                let header = Header::parse(header)?;
                if let Some((body, rest)) = rest.split_at_checked(header.length) {
                    self.on_record(header.kind, body, given)?;
                    bytes = rest;
                    continue;
                }
            }
            let missing = match self.record.first_chunk() {
                // The length was checked when the header was complete, and bounds this buffer.
                Some(header) => HEADER + Header::parse(header)?.length - self.record.len(),
                None => HEADER - self.record.len(),
            };
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.record.extend_from_slice(taken);
            bytes = rest;
            if let Some(header) = self.record.first_chunk() {
                let header = Header::parse(header)?;
                if self.record.len() == HEADER + header.length {
                    let record = mem::take(&mut self.record);
                    self.on_record(header.kind, record.get(HEADER..).unwrap_or_default(), given)?;
                }
            }
        }
        Ok(())
    }

    /// One record: the rows and columns of the first table.
    fn on_record(&mut self, kind: ContentType, body: &[u8], given: &mut Given<'_>) -> Result<(), Cause> {
        trial::reach("records", self.state.name(), kind.name());
        let state = mem::replace(&mut self.state, State::Failed);
        self.state = match (state, kind) {
            (State::ExpectHello, ContentType::Handshake) => self.on_hello(None, body, given)?,
            (State::ExpectSecondHello(retry), ContentType::Handshake) => {
                self.on_hello(Some(retry), body, given)?
            }
            (State::ExpectSecondHello(mut retry), ContentType::ChangeCipherSpec) => {
                self.on_change_cipher_spec(&mut retry.changed_cipher_spec, body)?;
                State::ExpectSecondHello(retry)
            }
            (State::ExpectFinished(mut pending), ContentType::ChangeCipherSpec) => {
                self.on_change_cipher_spec(&mut pending.changed_cipher_spec, body)?;
                State::ExpectFinished(pending)
            }
            (State::ExpectSecondHello(mut retry), ContentType::ApplicationData)
                if HEADER + body.len() <= retry.early_data && !self.handshake.is_amid() =>
            {
                retry.early_data -= HEADER + body.len();
                State::ExpectSecondHello(retry)
            }
            (state @ (State::ExpectHello | State::ExpectSecondHello(_)), ContentType::Alert) => {
                self.on_alert(body, given.out)?;
                state
            }
            (State::ExpectFinished(pending), ContentType::Alert) if !pending.protected => {
                self.on_alert(body, given.out)?;
                State::ExpectFinished(pending)
            }
            (State::ExpectFinished(pending), ContentType::ApplicationData) => {
                self.on_handshake_ciphertext(pending, body, given)?
            }
            (State::Connected(read), ContentType::ApplicationData) => {
                self.on_ciphertext(read, body, given)?
            }
            (State::Failed, _) => State::Failed,
            (State::ExpectHello, _) => return Err(Cause::Unexpected("a record before its hello")),
            (State::ExpectSecondHello(_), _) => {
                return Err(Cause::Unexpected("a record before its second hello"));
            }
            (_, ContentType::ChangeCipherSpec) => {
                return Err(Cause::Unexpected("a ChangeCipherSpec out of place"));
            }
            (_, _) => return Err(Cause::Unexpected("an unencrypted record")),
        };
        Ok(())
    }

    fn on_hello(
        &mut self,
        retry: Option<Box<Retry>>,
        body: &[u8],
        given: &mut Given<'_>,
    ) -> Result<State, Cause> {
        let Some(hello) = self.handshake.push(body, Expected::CLIENT_HELLO)? else {
            return Ok(retry.map_or(State::ExpectHello, State::ExpectSecondHello));
        };
        Ok(match answer(&hello, retry.as_deref(), given.psk, given.entropy, given.out)? {
            Answer::Retry(retry) => State::ExpectSecondHello(retry),
            Answer::Flight(pending, write) => {
                self.write = Some(write);
                State::ExpectFinished(pending)
            }
        })
    }

    /// Dropped, once, if it is what middleboxes want to see (RFC 8446 section D.4).
    fn on_change_cipher_spec(&mut self, came: &mut bool, body: &[u8]) -> Result<(), Cause> {
        if body != [1] || mem::replace(came, true) || self.handshake.is_amid() {
            return Err(Cause::Unexpected("a ChangeCipherSpec out of place"));
        }
        Ok(())
    }

    fn on_handshake_ciphertext(
        &mut self,
        mut pending: Box<Pending>,
        body: &[u8],
        given: &mut Given<'_>,
    ) -> Result<State, Cause> {
        let start = given.plaintext.len();
        let kind = match pending.read.open(body, given.plaintext) {
            Err(Cause::Undecryptable) if HEADER + body.len() <= pending.early_data => {
                pending.early_data -= HEADER + body.len();
                return Ok(State::ExpectFinished(pending));
            }
            opened => opened?,
        };
        trial::reach("opened records", "ExpectFinished", kind.name());
        pending.protected = true;
        pending.early_data = 0;
        let content = given.plaintext.split_off(start);
        match kind {
            ContentType::Handshake => {
                let Some(message) = self.handshake.push(&content, Expected::FINISHED)? else {
                    return Ok(State::ExpectFinished(pending));
                };
                let verify = message.get(MESSAGE_HEADER..).unwrap_or_default();
                if !bool::from(verify.ct_eq(&*pending.verify)) {
                    return Err(Cause::WrongFinished);
                }
                Ok(State::Connected(pending.next_read))
            }
            ContentType::Alert => {
                self.on_alert(&content, given.out)?;
                Ok(State::ExpectFinished(pending))
            }
            ContentType::ApplicationData => Err(Cause::Unexpected("data before its Finished")),
            ContentType::ChangeCipherSpec => Err(Cause::Unexpected("an encrypted ChangeCipherSpec")),
        }
    }

    fn on_ciphertext(
        &mut self,
        mut read: Box<Traffic>,
        body: &[u8],
        given: &mut Given<'_>,
    ) -> Result<State, Cause> {
        let start = given.plaintext.len();
        let kind = read.open(body, given.plaintext)?;
        trial::reach("opened records", "Connected", kind.name());
        if kind == ContentType::ApplicationData && !self.handshake.is_amid() {
            if given.plaintext.len() > start {
                self.barren = 0;
            } else {
                self.on_barren()?;
            }
            return Ok(State::Connected(read));
        }
        let content = given.plaintext.split_off(start);
        match kind {
            ContentType::Handshake => {
                let Some(message) = self.handshake.push(&content, Expected::KEY_UPDATE)? else {
                    return Ok(State::Connected(read));
                };
                self.on_barren()?;
                match message.get(MESSAGE_HEADER) {
                    Some(0) => {}
                    Some(1) => self.update_owed = true,
                    _ => return Err(Cause::Illegal("a KeyUpdate that says neither yes nor no")),
                }
                read.update();
                Ok(State::Connected(read))
            }
            ContentType::Alert => {
                self.on_alert(&content, given.out)?;
                Ok(State::Connected(read))
            }
            ContentType::ApplicationData => Err(Cause::Unexpected("data amid a handshake message")),
            ContentType::ChangeCipherSpec => Err(Cause::Unexpected("an encrypted ChangeCipherSpec")),
        }
    }

    /// All alerts but two end the connection, whatever level they claim (RFC 8446 section 6).
    fn on_alert(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), Cause> {
        let alert = match content {
            &[_level, description] => Alert(description),
            [] => return Err(Cause::Unexpected("an empty alert")),
            _ => return Err(Cause::Malformed("alert")),
        };
        match alert {
            Alert::CLOSE_NOTIFY => {
                self.finished_reading = true;
                self.close(out);
                Ok(())
            }
            Alert::USER_CANCELED => self.on_barren(),
            alert => Err(Cause::PeerAlert(alert)),
        }
    }

    fn on_barren(&mut self) -> Result<(), Cause> {
        self.barren += 1;
        if self.barren > MAX_BARREN {
            return Err(Cause::Unexpected("too many records without data"));
        }
        Ok(())
    }

    /// Our next keys, told to the peer under the present ones.
    fn update_write_keys(&mut self, out: &mut Vec<u8>) {
        let Some(write) = &mut self.write else { return };
        // Fails only when the key is used up; then `seal` says so.
        if write.seal(ContentType::Handshake, &KEY_UPDATED, out).is_ok() {
            write.update();
            self.update_owed = false;
        }
    }

    /// Appends an alert, unless something final has been said before.
    fn alert(&mut self, alert: Alert, out: &mut Vec<u8>) -> bool {
        if mem::replace(&mut self.finished_writing, true) {
            return false;
        }
        // close_notify has the level "warning", all others are fatal (RFC 8446 section 6).
        let level = if alert == Alert::CLOSE_NOTIFY { 1 } else { 2 };
        match &mut self.write {
            Some(write) => write.seal(ContentType::Alert, &[level, alert.0], out).is_ok(),
            None => {
                plain(ContentType::Alert, &[level, alert.0], out);
                true
            }
        }
    }

    fn fail(&mut self, cause: Cause, out: &mut Vec<u8>) -> Failure {
        let alert = cause.alert().filter(|&alert| self.alert(alert, out));
        self.state = State::Failed;
        self.write = None;
        self.record = Vec::new();
        self.handshake = Joiner::default();
        self.finished_writing = true;
        Failure { alert, cause }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("state", &self.state.name()).finish_non_exhaustive()
    }
}
