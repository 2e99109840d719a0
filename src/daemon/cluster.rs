//! Cluster connections: who comes, who goes, who is told what.

use std::net::SocketAddr;
use std::rc::Rc;

use rand_core::CryptoRngCore;

use crate::executor::{Action, ClientId};
use crate::line;
use crate::log::{Escaped, Level, Line};
use crate::proxy::ToolId;
use crate::remote::{self, ConnId, Connection, Fault, Next, Received};
use crate::time::{Instant, Now};
use crate::trial::{self, Mutant};

use super::core::{Closing, Core, Effect};

/// How many connections may be open that have not proved that they know the key.
const STRANGERS: usize = 1024;
/// How long a stranger is left in peace, in milliseconds: a cluster node's hello comes up to half a second after
/// its connection.
const GRACE: u64 = 1_000;
/// So many bytes of a hello each stranger may have kept for it: clients in use send 3 KiB at most.
const OWN_ROOM: usize = 8 * 1024;
/// What goes beyond is taken from this, which is for all.
const SHARED_ROOM: usize = 1024 * 1024;

impl Core {
    fn strangers(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        let open = self.connections.iter().map(|(&conn, connection)| (conn, &**connection));
        open.filter(|(_, connection)| !connection.is_authenticated())
    }

    /// Until when no connection is to be accepted, if that is so: there are as many strangers as there may be,
    /// and none has been here long enough to give way. Newcomers are better off in the kernel's backlog. To be asked
    /// before each [`Event::Accepted`](super::Event::Accepted).
    pub fn full_until(&self, now: Instant) -> Option<Instant> {
        if self.connections.len() < STRANGERS || self.strangers().count() < STRANGERS {
            return None;
        }
        let (_, oldest) = self.strangers().find(|(_, stranger)| !stranger.has_hello())?;
        Some(oldest.accepted().after(GRACE)).filter(|&at| at > now)
    }

    /// Who gives way to a newcomer: of those who have had their time the oldest silent one, or else the oldest whose
    /// hello is not there. Never one that knows the key: ending its handshake would be a failure that its cluster
    /// node does not get over by itself (remote-protocol.md section 5.3).
    fn who_gives_way(&self, now: Instant) -> Option<ConnId> {
        let old = |stranger: &Connection| !stranger.has_hello() && stranger.accepted().after(GRACE) <= now;
        let silent = self.strangers().find(|&(_, stranger)| old(stranger) && !stranger.spoke());
        Some(silent.or_else(|| self.strangers().find(|&(_, stranger)| old(stranger)))?.0)
    }

    pub(super) fn accepted(&mut self, conn: ConnId, peer: SocketAddr, now: Now) {
        if self.connections.len() >= STRANGERS && self.strangers().count() >= STRANGERS {
            match self.who_gives_way(now.mono) {
                Some(oldest) => {
                    self.log(line!(Debug, "Too many strangers: the oldest gives way to {peer}"));
                    self.close(oldest, now);
                }
                None => {
                    self.log(line!(Debug, "Too many strangers: turned away {peer}"));
                    self.effects.push_back(Effect::Close(conn));
                    return;
                }
            }
        }
        self.log(line!(Debug, "Accepted new remote client connection from {peer}"));
        self.connections.insert(conn, Box::new(Connection::new(peer, now.mono)));
        if trial::is(Mutant::StrangersAnnounced) {
            self.broadcast(remote::new_client(), now);
        }
    }

    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], now: Now, entropy: &mut dyn CryptoRngCore) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let idle = connection.outgoing().is_empty();
        let received = connection.receive(bytes, self.key.as_ref(), entropy, now.mono);
        if idle && !connection.outgoing().is_empty() {
            self.effects.push_back(Effect::Transmit(conn));
        }
        match received {
            Ok(Received::Authenticated) => self.authenticated(conn, now),
            Ok(Received::Bytes) if self.is_crowded(conn) => return self.fail(conn, Fault::Crowded, now),
            Ok(Received::Bytes) => {}
            Err(fault) => return self.fail(conn, fault, now),
        }
        self.messages(conn, now, entropy);
    }

    /// Handles what has come whole. A big message takes steps, between which there are other events.
    pub(super) fn messages(&mut self, conn: ConnId, now: Now, entropy: &mut dyn CryptoRngCore) {
        // A request may end its own connection.
        while let Some(connection) = self.connections.get_mut(&conn) {
            match connection.message() {
                Ok(Next::Message(message)) => {
                    self.message(conn, message, now, entropy);
                    self.executor.dispatch(now);
                    self.carry_out(now);
                }
                Ok(Next::Later) => return,
                Ok(Next::Nothing) => break,
                Err(fault) => return self.fail(conn, fault, now),
            }
        }
        if let Some(connection) = self.connections.get(&conn).filter(|connection| connection.is_closed()) {
            let line = end_line(connection, false, "it said goodbye");
            self.log(line);
            self.close(conn, now);
        }
    }

    /// Whether a stranger's hello takes more than there is room for.
    fn is_crowded(&self, conn: ConnId) -> bool {
        let beyond = |connection: &Connection| connection.held().saturating_sub(OWN_ROOM);
        let Some(connection) = self.connections.get(&conn) else { return false };
        !connection.is_authenticated()
            && beyond(connection) > 0
            && self.strangers().map(|(_, stranger)| beyond(stranger)).sum::<usize>() > SHARED_ROOM
    }

    /// The edge found the connection ended.
    pub(super) fn lost(
        &mut self,
        conn: ConnId,
        errno: Option<i32>,
        now: Now,
        entropy: &mut dyn CryptoRngCore,
    ) {
        // What came whole counts.
        while self.connections.get(&conn).is_some_and(|connection| connection.is_reading()) {
            self.messages(conn, now, entropy);
        }
        let Some(connection) = self.connections.remove(&conn) else { return };
        let why = match errno {
            Some(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
            None => "end of stream".to_owned(),
        };
        self.log(end_line(&connection, false, &why));
        self.forget(conn, &connection, now);
    }

    /// Ends a connection for a fault of its own.
    pub(super) fn fail(&mut self, conn: ConnId, fault: Fault, now: Now) {
        let Some(connection) = self.connections.get(&conn) else { return };
        if !connection.is_authenticated() {
            return self.close_for(conn, Some(fault), now);
        }
        let line = end_line(connection, true, &fault.to_string());
        self.log(line);
        self.close(conn, now);
    }

    /// Writes what can be written at once, then closes.
    fn close(&mut self, conn: ConnId, now: Now) {
        self.close_for(conn, None, now);
    }

    fn close_for(&mut self, conn: ConnId, fault: Option<Fault>, now: Now) {
        let Some(mut connection) = self.connections.remove(&conn) else { return };
        connection.close();
        self.effects.push_back(Effect::Close(conn));
        self.forget(conn, &connection, now);
        self.closing.insert(conn, Box::new(Closing { connection, fault }));
    }

    /// A connection is gone. With the last client recurring operations end, with the last provider a daemon that
    /// drains.
    fn forget(&mut self, conn: ConnId, connection: &Connection, now: Now) {
        connection.end();
        if !connection.is_authenticated() {
            return;
        }
        let was_provider = self.providers.contains(&conn);
        self.providers.retain(|&provider| provider != conn);
        if !self.connections.values().any(|other| other.is_authenticated()) {
            self.executor.clients_gone(None, now);
        }
        if was_provider {
            self.proxy.provider_gone(conn);
            self.provider_gone(conn, now);
        }
    }

    /// A client has proved that it knows the key: the others are told, exactly once. It has no name yet, and so
    /// is not told itself.
    fn authenticated(&mut self, conn: ConnId, now: Now) {
        let Some(connection) = self.connections.get(&conn) else { return };
        let peer = connection.peer();
        self.log(line!(Notice, "Remote client connection accepted from {peer}"));
        self.broadcast(remote::new_client(), now);
    }

    /// Carries out what the executor wants done, and hands on what systemd has done for it.
    pub(super) fn carry_out(&mut self, now: Now) {
        loop {
            self.act(now);
            self.effects.append(self.units.effects());
            let Some((child, outcome, output)) = self.units.poll() else { return };
            self.executor.answered(child, outcome, output.as_bytes(), now);
            if !self.is_leaving() {
                self.executor.dispatch(now);
            }
        }
    }

    fn act(&mut self, now: Now) {
        while let Some(action) = self.executor.poll() {
            match action {
                Action::Spawn(child, command) => self.effects.push_back(Effect::Spawn(child, command)),
                Action::Ask { child, unit, timeout } => self.units.ask(child, unit, timeout, now.mono),
                Action::Forget(child) => self.units.forget(child),
                Action::Kill { child, group } => self.effects.push_back(Effect::Kill { child, group }),
                Action::Examine(child) => self.effects.push_back(Effect::Examine(child)),
                Action::Log(line) => self.effects.push_back(Effect::Log(line)),
                Action::Notify(completion) => {
                    let message = remote::completion(&completion);
                    match completion.only {
                        // Nobody, if the requester is gone.
                        Some(ClientId(number)) if self.locals.contains(&ToolId(number)) => {
                            self.proxy.notify(ToolId(number), message, now.mono);
                        }
                        Some(ClientId(number)) => self.send(ConnId(number), message, now),
                        None => self.broadcast(message, now),
                    }
                }
            }
        }
    }

    /// Sends a message to every named client.
    pub(super) fn broadcast(&mut self, message: Vec<u8>, now: Now) {
        let locals: Vec<_> = self.locals.iter().copied().collect();
        for tool in locals {
            self.proxy.notify(tool, message.clone(), now.mono);
        }
        let payload = terminated(message);
        let named = self.connections.iter().filter(|(_, connection)| connection.name().is_some());
        let clients: Vec<_> = named.map(|(&conn, _)| conn).collect();
        for conn in clients {
            self.send_payload(conn, payload.clone(), now);
        }
    }

    pub(super) fn send(&mut self, conn: ConnId, message: Vec<u8>, now: Now) {
        self.send_payload(conn, terminated(message), now);
    }

    fn send_payload(&mut self, conn: ConnId, payload: Rc<[u8]>, now: Now) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        self.last_message += 1;
        let idle = connection.outgoing().is_empty();
        match connection.send(self.last_message, payload, now.mono) {
            Ok(()) => {
                if idle {
                    self.effects.push_back(Effect::Transmit(conn));
                }
                self.weigh(conn);
            }
            Err(Fault::Header(error)) => {
                let client = label(connection);
                self.log(line!(Error, "Could not tell {client} a result: {error}: please report this"));
            }
            Err(fault) => self.fail(conn, fault, now),
        }
    }
}

/// Payloads end with a NUL, which counts (remote-protocol.md section 2.5).
fn terminated(mut message: Vec<u8>) -> Rc<[u8]> {
    message.push(0);
    message.into()
}

/// The one line for the end of a connection, which may be our doing.
pub(super) fn end_line(connection: &Connection, is_ours: bool, why: &str) -> Line {
    let label = label(connection);
    let (level, what) = match (connection.is_authenticated(), connection.spoke(), is_ours) {
        (true, _, true) => (Level::Error, format!("Disconnecting remote client {label}")),
        (true, _, false) => (Level::Notice, format!("Cleaning up after remote client {label} disconnected")),
        (false, true, true) => (Level::Error, format!("Refused remote client connection from {label}")),
        (false, true, false) => {
            (Level::Notice, format!("Connection from {label} ended during its TLS handshake"))
        }
        (false, false, _) => {
            let kind = "as of a port scan or health check";
            (Level::Info, format!("Connection from {label} ended before anything came, {kind}"))
        }
    };
    Line { level, text: format!("{what}: {why}") }
}

/// How a client is called in the log.
pub(super) fn label(connection: &Connection) -> String {
    match connection.name() {
        Some(name) => format!("{} ({})", Escaped(name.as_bytes()), connection.peer()),
        None => connection.peer().to_string(),
    }
}
