//! An established session: three rings and what their notices on the socket owe.
//!
//! | event on \ state       | open                                         |
//! |------------------------|----------------------------------------------|
//! | bytes on the socket    | [`Session::next_request`] until there is none |
//! | response to send       | [`Session::respond`]; no notice              |
//! | event to send          | [`Session::notify`]; one byte is owed        |
//! | socket takes bytes     | send [`Session::owed`], then [`Session::paid`] |
//! | end of the socket      | drop                                         |
//! | [`Trouble`]            | drop, close the socket                       |

use super::memory::Memory;
use super::ring::{Reader, Trouble, Writer, Written};
use crate::wire::qb::Machine;
use crate::wire::ring::Geometry;

/// One client's session, from the response to its connection request on.
#[derive(Debug)]
pub struct Session<M: Memory> {
    requests: Reader<M>,
    responses: Writer<M>,
    events: Writer<M>,
    /// Events in the ring that the client was not told of: it reads none that it got no byte for.
    owed: usize,
}

impl<M: Memory> Session<M> {
    /// A session whose rings (request, response, event) are new, as
    /// [`RingHeader::encode`](crate::wire::qb::RingHeader::encode) makes them.
    pub fn new([requests, responses, events]: [M; 3], geometry: Geometry, machine: Machine) -> Self {
        Self {
            requests: Reader::new(requests, geometry, machine),
            responses: Writer::new(responses, geometry, machine),
            events: Writer::new(events, geometry, machine),
            owed: 0,
        }
    }

    /// Takes the next request into `message`, whose content is replaced; `false` when there is none.
    ///
    /// A client sends a byte after each request, but nobody has to count them: a byte only says that
    /// it is time to look, and a request found early makes its byte a needless look.
    ///
    /// # Errors
    /// See [`Trouble`]: the session is over.
    pub fn next_request(&mut self, message: &mut Vec<u8>) -> Result<bool, Trouble> {
        self.requests.next(message)
    }

    /// Whether [`Session::next_request`] has one, for a server that left some for later: no byte
    /// will tell of them again.
    pub fn has_request(&self) -> bool {
        self.requests.has_more()
    }

    /// Sends a response, given in pieces, as one message.
    ///
    /// # Errors
    /// See [`Trouble`]: the session is over.
    pub fn respond(&mut self, pieces: &[&[u8]]) -> Result<Written, Trouble> {
        self.responses.write(pieces)
    }

    /// Sends an event, given in pieces, as one message. One more byte is owed then.
    ///
    /// # Errors
    /// See [`Trouble`]: the session is over.
    pub fn notify(&mut self, pieces: &[&[u8]]) -> Result<Written, Trouble> {
        let written = self.events.write(pieces)?;
        if written == Written::Done {
            // Bounded by the ring's size, or by a client that lies about what it read: it never wraps.
            self.owed = self.owed.saturating_add(1);
        }
        Ok(written)
    }

    /// How many bytes, of any value, are to be sent on the socket. All at once if there are many: the
    /// kernel keeps a small socket full of single bytes.
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// The socket took `count` of the bytes owed.
    pub fn paid(&mut self, count: usize) {
        self.owed = self.owed.saturating_sub(count);
    }

    /// Tells the client to wait before it sends more, or to go on.
    pub fn hold(&self, hold: bool) {
        self.requests.hold(hold);
    }
}

impl<M: Memory> Drop for Session<M> {
    fn drop(&mut self) {
        self.requests.abandon();
        self.responses.abandon();
        self.events.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipc::sim::{MACHINES, Sim};
    use crate::wire::qb::RingHeader;

    fn session(machine: Machine) -> (Session<Sim>, [Sim; 3]) {
        let geometry = Geometry::new(1000, 4096);
        let rings = [(); 3].map(|()| Sim::new(geometry, machine));
        (Session::new(rings.clone(), geometry, machine), rings)
    }

    #[test]
    fn each_ring_has_its_direction() {
        for machine in MACHINES {
            let (mut session, [requests, responses, events]) = session(machine);
            assert!(requests.send(b"ask") && session.has_request());
            let mut message = Vec::new();
            assert_eq!(session.next_request(&mut message), Ok(true));
            assert_eq!(message, b"ask");
            assert!(!session.has_request());
            assert_eq!(session.respond(&[b"ans", b"wer"]), Ok(Written::Done));
            assert_eq!(session.notify(&[b"ev", b"ent"]), Ok(Written::Done));
            assert_eq!(responses.receive().as_deref(), Some(&b"answer"[..]));
            assert_eq!(events.receive().as_deref(), Some(&b"event"[..]));
            assert_eq!((responses.receive(), events.receive()), (None, None));
        }
    }

    #[test]
    fn a_byte_is_owed_for_each_event_in_the_ring_and_for_nothing_else() {
        let (mut session, [_, responses, events]) = session(Machine::NATIVE);
        assert_eq!(session.respond(&[b"r"]), Ok(Written::Done));
        assert_eq!(session.owed(), 0);
        let mut count = 0;
        while session.notify(&[&[0; 200]]) == Ok(Written::Done) {
            count += 1;
        }
        assert_eq!(session.notify(&[&[0; 2000]]), Ok(Written::TooLong));
        assert!(count > 10);
        assert_eq!((session.owed(), events.count()), (count, count as u32));
        assert_eq!(responses.count(), 1);
        session.paid(3);
        assert_eq!(session.owed(), count - 3);
        // A client that reads on without a byte does not change what is owed.
        assert!(events.receive().is_some());
        assert_eq!(session.owed(), count - 3);
        session.paid(count - 3);
        assert_eq!(session.owed(), 0);
    }

    #[test]
    fn the_end_is_told_in_all_rings() {
        for machine in MACHINES {
            let (session, rings) = session(machine);
            assert!(rings.iter().all(|ring| ring.header_word(RingHeader::REFERENCES) == 1));
            drop(session);
            assert!(rings.iter().all(|ring| ring.header_word(RingHeader::REFERENCES) == 0));
        }
    }

    #[test]
    fn trouble_in_any_ring_is_told() {
        use crate::ipc::{Breach, Trouble};
        let (mut session, [requests, responses, events]) = session(Machine::NATIVE);
        requests.post();
        responses.set_header_word(RingHeader::READ_POINT, 9999);
        events.set_header_word(RingHeader::READ_POINT, 9999);
        assert_eq!(session.next_request(&mut Vec::new()), Err(Trouble::Peer(Breach::Magic(0))));
        assert_eq!(session.respond(&[]), Err(Trouble::Peer(Breach::ReadPoint(9999))));
        assert_eq!(session.notify(&[]), Err(Trouble::Peer(Breach::ReadPoint(9999))));
        assert_eq!(session.owed(), 0);
    }
}
