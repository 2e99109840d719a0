//! The edge: turns what the daemon wants into what happens, as the contract in `daemon::core` has it.

use pacelet::agent::{ChildId, Command, Ending};
use pacelet::daemon::{Effect, Event};
use pacelet::log::{Level, Line};
use pacelet::proxy::Errand;
use pacelet::remote::ConnId;

use super::super::link::Meaning;
use super::super::memory::inside;
use super::super::network::Piece;
use super::super::oracle::{Checked, Rule, violation};
use super::{Happening, SECRET, World};

/// What a connection that is closed may still have to send, a record more than a mebibyte: sealing takes time.
const LAST_WORDS: usize = (1 << 20) + (1 << 15);

impl World {
    pub(super) fn handle(&mut self, event: Event<'_>) {
        if self.exited.is_none() {
            inside(|| self.core.handle(event, self.now, &mut self.entropy));
        }
    }

    /// Does all that the daemon wants done, and lets sockets take what they can.
    pub(super) fn pump(&mut self) -> Checked {
        loop {
            while let Some(effect) = inside(|| self.core.poll()) {
                if self.exited.is_some() {
                    return violation(Rule::Edge, format!("{effect:?} after the daemon's end"));
                }
                self.perform(effect)?;
            }
            let transmitting = self.links.iter().filter(|(_, link)| link.transmits);
            let conns: Vec<_> = transmitting.map(|(&conn, _)| conn).collect();
            // Each gets its turn.
            if conns.into_iter().filter(|&conn| self.transmit(conn)).count() > 0 {
                continue;
            }
            if self.transmit_to_bus()? {
                continue;
            }
            // Here nothing comes between the steps in which a big message is looked at.
            if self.exited.is_some() || !self.core.is_reading() {
                break;
            }
            self.handle(Event::Resume);
        }
        self.check_bus()?;
        let timers = self.core.deadline().is_none_or(|at| at > self.now.mono);
        self.oracle.settled(self.now, timers)?;
        self.check_links()
    }

    fn perform(&mut self, effect: Effect) -> Checked {
        match effect {
            Effect::Listen => {
                self.listens = true;
                self.handle(Event::Listening);
            }
            Effect::Unlisten => self.listens = false,
            Effect::Transmit(conn) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.transmits = true;
                }
                if self.is_eager {
                    self.transmit(conn);
                }
            }
            Effect::Close(conn) => {
                self.note("closed", conn.0, b"");
                self.oracle.closed(conn, self.now)?;
                let Some(link) = self.links.get_mut(&conn).filter(|link| link.is_held) else {
                    return violation(Rule::Edge, format!("connection {} is closed twice", conn.0));
                };
                link.is_held = false;
                let outgoing = self.core.outgoing(conn);
                if outgoing.len() > LAST_WORDS {
                    let text = format!("{} bytes are sealed for a connection that is closed", outgoing.len());
                    return violation(Rule::Edge, text);
                }
                let last = &outgoing[..outgoing.len().min(link.down.room())];
                link.down.send(last, self.now.mono, &mut self.random);
                link.down.end(None, self.now.mono, &mut self.random);
            }
            Effect::Spawn(child, command) => self.spawn(child, &command)?,
            Effect::Kill { child, group } => {
                self.note("kill", child.0, b"");
                self.oracle.killed(child, group, self.now)?;
                if let Some(script) = self.children.get(&child) {
                    let at = self.now.mono.after(script.outlives);
                    self.plan(at, Happening::End(child, Ending::Signalled(9)));
                }
            }
            Effect::Examine(child) => {
                self.note("examine", child.0, b"");
                self.oracle.examine(child, self.now)?;
                if self.is_eager {
                    self.examined(child);
                } else {
                    self.plan(self.now.mono, Happening::Examined(child));
                }
            }
            Effect::Bus(effect) => self.perform_bus(effect)?,
            Effect::Serve(name) => self.handle(Event::Serving(name)),
            Effect::Tool(errand) => match errand {
                Errand::Admit { tool, .. } => self.admit(tool)?,
                Errand::Refuse { tool, errno } => self.refuse(tool, errno)?,
                Errand::Deliver(tool) => self.deliver(tool)?,
                Errand::Take(tool) => self.take(tool),
                Errand::Dismiss(tool) => self.dismiss(tool)?,
            },
            // No cluster of the simulation counts on one.
            Effect::FindSbd => self.handle(Event::SbdFound(true)),
            Effect::Log(line) => self.log(line)?,
            Effect::Exit(code) => {
                self.note("exit", code as u64, b"");
                self.exited = Some(code);
                self.oracle.exited(code)?;
                for link in self.links.values_mut().filter(|link| link.is_held) {
                    link.is_held = false;
                    link.down.end(Some(104), self.now.mono, &mut self.random);
                }
            }
        }
        Ok(())
    }

    fn spawn(&mut self, child: ChildId, command: &Command) -> Checked {
        self.note("spawn", child.0, format!("{:?}", command.arguments).as_bytes());
        self.oracle.spawned(child, command, self.now)?;
        let script = (self.acting)(&mut self.random, command);
        for (which, (after, ..)) in script.output.iter().enumerate() {
            self.plan(self.now.mono.after(*after), Happening::Output(child, which));
        }
        let (after, ending) = script.end;
        self.children.insert(child, script);
        if self.is_eager && after == 0 && matches!(ending, Ending::NotRun(..)) {
            self.ended(child, ending);
        } else {
            self.plan(self.now.mono.after(after), Happening::End(child, ending));
        }
        Ok(())
    }

    fn log(&mut self, line: Line) -> Checked {
        self.note(line.level.name(), 0, line.text.as_bytes());
        let text = &line.text;
        if text.contains(char::is_control) || text.contains(SECRET) || text.contains("please report") {
            return violation(Rule::Log, text.clone());
        }
        if line.level <= Level::Info {
            // A copy: what the daemon allocated is not kept.
            self.lines.push(line.clone());
        }
        Ok(())
    }

    /// Writes what a socket takes; whether that was something.
    fn transmit(&mut self, conn: ConnId) -> bool {
        let Some(link) = self.links.get_mut(&conn) else { return false };
        let outgoing = self.core.outgoing(conn);
        link.transmits = link.is_held && !outgoing.is_empty();
        if !link.transmits {
            return false;
        }
        let mut taken = outgoing[..outgoing.len().min(link.down.room())].to_vec();
        let count = taken.len();
        if count > 0 {
            if link.spoils {
                taken[count - 1] ^= 1;
            }
            link.down.send(&taken, self.now.mono, &mut self.random);
            self.handle(Event::Sent { conn, count });
        }
        let waits = !self.core.outgoing(conn).is_empty();
        self.oracle.waiting(conn, waits, count > 0, self.now);
        count > 0
    }

    /// Nothing may be held back, and nothing half sent.
    fn check_links(&mut self) -> Checked {
        for (conn, link) in self.links.iter_mut().filter(|(_, link)| link.is_held) {
            let waits = !self.core.outgoing(*conn).is_empty();
            if waits && !link.transmits {
                return violation(Rule::Edge, format!("connection {} has bytes, and no Transmit", conn.0));
            }
            let is_read = link.down.next().is_none() && !waits && link.is_open() && !link.is_spoilt;
            if is_read && link.client().is_some_and(|client| client.is_in_message()) {
                return violation(Rule::Sender, format!("R3: connection {} got half a message", conn.0));
            }
        }
        Ok(())
    }

    /// The edge finds a connection ended, and closes its own end.
    pub(super) fn lose(&mut self, conn: ConnId, errno: Option<i32>) {
        let Some(link) = self.links.get_mut(&conn).filter(|link| link.is_held) else { return };
        link.is_held = false;
        link.down.end(errno, self.now.mono, &mut self.random);
        self.note("lost", conn.0, b"");
        self.oracle.lost(conn, self.now);
        self.handle(Event::Lost { conn, errno });
    }

    pub(super) fn deliver_up(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let whole = self.random.percent(50);
        match link.up.take(self.now.mono, whole, link.limit()) {
            Some(Piece::End(errno)) => self.lose(conn, errno),
            Some(Piece::Bytes(bytes)) if link.is_held => {
                self.note("up", conn.0, &bytes);
                self.tell_arrivals(conn);
                self.handle(Event::Received { conn, bytes: &bytes });
            }
            Some(Piece::Bytes(_)) | None => {}
        }
    }

    fn tell_arrivals(&mut self, conn: ConnId) {
        while let Some(link) = self.links.get_mut(&conn) {
            match link.arrived() {
                Some(Meaning::Authenticated) => self.oracle.authenticated(conn, self.now),
                Some(Meaning::Request(request)) => self.oracle.arrived(conn, &request, self.now),
                Some(Meaning::Nonsense) => {}
                Some(Meaning::Doom(why)) => {
                    // What follows in the same bytes is not even looked at.
                    link.marks.clear();
                    self.oracle.doomed(conn, why);
                }
                None => {
                    let partial = link.partial();
                    self.oracle.heard(conn, partial, self.now);
                    return;
                }
            }
        }
    }
}
