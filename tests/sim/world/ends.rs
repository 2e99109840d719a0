//! The clients' ends of connections: what they send, and what reaches them.

use std::net::SocketAddr;

use pacelet::daemon::Event;
use pacelet::remote::ConnId;
use rand_core::RngCore;

use super::super::client::{Client, End};
use super::super::link::{Link, Mark, Meaning, Peer};
use super::super::network::{Path, Piece};
use super::super::oracle::{Checked, Rule, violation};
use super::super::random::Random;
use super::super::records;
use super::super::request::Request;
use super::{Cut, Happening, IDENTITY, Notice, World};

impl World {
    /// A client of the cluster connects and begins its handshake; `None` if nobody listens.
    pub fn connect(&mut self, path: Path, key: &[u8], identity: &[u8]) -> Checked<Option<ConnId>> {
        let random = Random::new(self.random.next_u64(), "client");
        let client = Client::new(key, identity, random);
        let is_stranger = key != self.key || identity != IDENTITY;
        let meaning = is_stranger.then_some(Meaning::Doom("it does not know the key"));
        self.open(Peer::Tls(Box::new(client)), path, meaning)
    }

    /// Somebody connects.
    pub fn connect_raw(&mut self) -> Checked<Option<ConnId>> {
        self.open(Peer::Raw { answer: Vec::new(), closed: false }, Path::IDEAL, None)
    }

    fn open(&mut self, peer: Peer, path: Path, meaning: Option<Meaning>) -> Checked<Option<ConnId>> {
        if !self.listens {
            return Ok(None);
        }
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        self.links.insert(conn, Link::new(peer, path, path));
        self.note("accepted", conn.0, b"");
        self.oracle.accepted(conn, self.now);
        let port = 40_000 + (self.last_conn % 20_000) as u16;
        self.handle(Event::Accepted { conn, peer: SocketAddr::from(([192, 0, 2, 7], port)) });
        self.oracle.slow(conn, path.is_slow());
        self.flush(conn, meaning);
        self.pump()?;
        Ok(Some(conn))
    }

    pub fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.links.get_mut(&conn)
    }

    /// Sends what the client has written; it means this.
    fn flush(&mut self, conn: ConnId, meaning: Option<Meaning>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(client) = link.client() else { return };
        let bytes = client.outgoing();
        self.send_bytes(conn, &bytes, meaning);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, conn: ConnId, bytes: &[u8], meaning: Option<Meaning>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let start = link.up.sent;
        link.up.send(bytes, self.now.mono, &mut self.random);
        let certain = match bytes {
            [_, _, _, high, low, ..] => start + 5 + u64::from(u16::from_be_bytes([*high, *low])),
            // Nobody can tell how long its record is going to be.
            _ => u64::MAX,
        };
        if let Some(meaning) = meaning {
            link.marks.push_back(Mark { start, certain, end: link.up.sent, meaning });
        }
    }

    /// Sends a request, as Pacemaker does in a record for the header and others for the payload, or as it might.
    pub fn request(&mut self, conn: ConnId, request: Request) {
        let text = request.text();
        self.message(conn, request.id as u64, &text, Meaning::Request(Box::new(request)));
    }

    /// Sends any message.
    pub fn message(&mut self, conn: ConnId, id: u64, text: &[u8], meaning: Meaning) {
        let payload = [text, b"\0"].concat();
        let is_foreign = self.random.once_in(10);
        let header = if is_foreign { records::foreign_header } else { records::header }(id, payload.len());
        let both = [&*header, &*payload].concat();
        let cut = self.random.between(1, both.len() as u64 - 1) as usize;
        let style = self.random.below(12);
        let Some(client) = self.links.get_mut(&conn).and_then(Link::client) else { return };
        match style {
            0 => client.send(&[&both]),
            1 => client.send(&[&both[..cut], &both[cut..]]),
            _ => client.send(&[&header, &payload]),
        }
        self.flush(conn, Some(meaning));
    }

    /// Sends plaintext, each slice in a record of its own.
    pub fn plaintext(&mut self, conn: ConnId, records: &[&[u8]], meaning: Meaning) {
        let Some(client) = self.links.get_mut(&conn).and_then(Link::client) else { return };
        client.send(records);
        self.flush(conn, Some(meaning));
    }

    /// Sends a request of which one bit is turned over on the way.
    pub fn spoilt_request(&mut self, conn: ConnId, request: &Request) {
        let payload = [&*request.text(), b"\0"].concat();
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.is_spoilt = true;
        let Some(client) = link.client() else { return };
        client.send(&[&payload]);
        let mut bytes = client.outgoing();
        let at = self.random.between(5, bytes.len() as u64 - 1) as usize;
        bytes[at] ^= 1 << self.random.below(8);
        self.send_bytes(conn, &bytes, Some(Meaning::Doom("a record is corrupt")));
    }

    /// Sends only the beginning of a request.
    pub fn part_of_request(&mut self, conn: ConnId, request: Request) {
        let payload = [&*request.text(), b"\0"].concat();
        let header = records::header(request.id as u64, payload.len());
        let Some(client) = self.links.get_mut(&conn).and_then(Link::client) else { return };
        client.send(&[&header, &payload]);
        let bytes = client.outgoing();
        let cut = self.random.between(1, bytes.len() as u64 - 1);
        self.send_bytes(conn, &bytes[..cut as usize], Some(Meaning::Request(Box::new(request))));
        if let Some(mark) = self.links.get_mut(&conn).and_then(|link| link.marks.back_mut()) {
            mark.end = u64::MAX;
        }
    }

    /// A client says goodbye, if it has got so far, and closes.
    pub fn close(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let Some(client) = link.client() else { return };
        let goodbye = client.is_open().then_some(Meaning::Doom("the client has said goodbye"));
        client.close();
        self.flush(conn, goodbye);
        self.end(conn, None);
    }

    /// A client's host ends the connection; what still comes from the daemon is read, and lost.
    fn end(&mut self, conn: ConnId, errno: Option<i32>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.peer = Peer::Gone;
        link.up.end(errno, self.now.mono, &mut self.random);
        self.oracle.client_gone(conn);
    }

    pub fn cut(&mut self, conn: ConnId, how: Cut) {
        self.note("cut", conn.0, format!("{how:?}").as_bytes());
        match how {
            Cut::Fin => self.end(conn, None),
            Cut::Reset => self.end(conn, Some(104)),
            Cut::Vanish(after) => {
                let Some(link) = self.links.get_mut(&conn) else { return };
                link.peer = Peer::Gone;
                link.reads = false;
                // What it had sent may be beyond what has failed.
                if self.random.percent(50) {
                    link.up.lose();
                }
                self.oracle.client_gone(conn);
                self.plan(self.now.mono.after(after), Happening::Timeout(conn));
                // Then the link is of no use, and what it holds can go.
                self.plan(self.now.mono.after(after), Happening::Read(conn));
            }
        }
    }

    /// The client does not read for so many milliseconds.
    pub fn pause(&mut self, conn: ConnId, millis: u64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.reads = false;
        self.oracle.slow(conn, true);
        self.plan(self.now.mono.after(millis), Happening::Read(conn));
    }

    pub(super) fn deliver_down(&mut self, conn: ConnId) -> Checked {
        let Some(link) = self.links.get_mut(&conn) else { return Ok(()) };
        let piece = link.down.take(self.now.mono, true, u64::MAX);
        let was_open = link.is_open();
        match (&mut link.peer, piece) {
            (_, None) => {}
            (Peer::Tls(client), Some(Piece::Bytes(bytes))) => {
                client.feed(&bytes);
                let opened = !was_open && client.is_open();
                let is_spoilt = link.is_spoilt;
                self.note("down", conn.0, &bytes);
                self.flush(conn, opened.then_some(Meaning::Authenticated));
                if opened {
                    self.notices.push_back(Notice::Opened(conn));
                }
                self.read(conn, is_spoilt)?;
            }
            (Peer::Raw { answer, .. }, Some(Piece::Bytes(bytes))) => answer.extend(bytes),
            (Peer::Raw { closed, .. }, Some(Piece::End(_))) => *closed = true,
            (Peer::Gone, Some(Piece::Bytes(_))) => {}
            (Peer::Tls(_) | Peer::Gone, Some(Piece::End(_))) => {
                if let Peer::Tls(client) = &mut link.peer {
                    client.ended();
                }
                self.links.remove(&conn);
                self.oracle.client_gone(conn);
                self.notices.push_back(Notice::Gone(conn));
            }
        }
        Ok(())
    }

    fn read(&mut self, conn: ConnId, is_spoilt: bool) -> Checked {
        while let Some(client) = self.links.get_mut(&conn).and_then(Link::client) {
            let message = match client.message() {
                Ok(message) => message,
                Err(breach) => return violation(Rule::Sender, breach),
            };
            if let Some(message) = message {
                // What was decrypted is in the digest already.
                let shown = if self.trace.is_shown { message.to_string() } else { String::new() };
                self.note("told", conn.0, shown.as_bytes());
                self.oracle.received(conn, &message, self.now)?;
                self.notices.push_back(Notice::Message(conn, message));
                continue;
            }
            let end = client.end().cloned();
            return match end {
                Some(End::Failed(error)) if is_spoilt => {
                    self.note("gives up", conn.0, error.as_bytes());
                    self.end(conn, Some(104));
                    Ok(())
                }
                Some(End::Failed(error)) if client.is_open() => {
                    violation(Rule::Sender, format!("connection {}: {error}", conn.0))
                }
                _ => Ok(()),
            };
        }
        Ok(())
    }
}
