//! The edge's connection to the system bus, and the files that mark units.

use std::collections::BTreeSet;

use pacelet::agent::{ChildId, DropIn};
use pacelet::daemon::{BusEffect, BusEvent, Event};

use super::super::bus::wire::{Reader, Said};
use super::super::bus::{Access, Arrival, Bus};
use super::super::oracle::{Checked, Rule, violation};
use super::{Happening, World};

/// What waits for the bus is a few calls, each with a name.
const WAITING: usize = 64 * 1024;

/// The bus, and what the edge knows of it.
#[derive(Debug)]
pub struct Socket {
    pub bus: Bus,
    /// Reads what waits for the socket as soon as it is there.
    reader: Reader,
    /// How much of that it has seen.
    seen: usize,
    transmits: bool,
    /// The files that mark units.
    files: BTreeSet<String>,
    /// How many calls there were.
    pub calls: u64,
}

impl Socket {
    pub fn new(seed: u64) -> Self {
        Self {
            bus: Bus::new(seed),
            reader: Reader::default(),
            seen: 0,
            transmits: false,
            files: BTreeSet::new(),
            calls: 0,
        }
    }

    fn reset(&mut self) {
        (self.reader, self.seen, self.transmits) = (Reader::default(), 0, false);
    }
}

impl World {
    pub(super) fn perform_bus(&mut self, effect: BusEffect) -> Checked {
        match effect {
            BusEffect::Open => {
                self.note("bus opens", 0, b"");
                self.oracle.bus_opens(self.now)?;
                if self.random.percent(70) {
                    self.open_bus(true);
                } else {
                    let at = self.now.mono.after(self.random.between(0, 50));
                    self.plan(at, Happening::BusOpens);
                }
            }
            BusEffect::Transmit => {
                self.socket.transmits = true;
                if self.is_eager {
                    self.transmit_to_bus()?;
                }
            }
            BusEffect::Close => {
                self.note("bus closed", 0, b"");
                self.oracle.bus_closed(self.now)?;
                self.socket.bus.close();
                self.socket.reset();
            }
            BusEffect::Mark(child, file) => self.mark(child, &file)?,
        }
        Ok(())
    }

    pub(super) fn open_bus(&mut self, at_once: bool) {
        if self.socket.bus.connect() {
            self.socket.reset();
            self.note("bus opened", 0, b"");
            self.oracle.bus_opened(at_once, self.now);
            return self.handle(Event::Bus(BusEvent::Opened(0)));
        }
        self.note("bus refused", 0, b"");
        let is_absent = self.socket.bus.access == Access::Absent;
        self.oracle.bus_refused(is_absent, at_once, self.now);
        let reason = "/run/dbus/system_bus_socket: connect: Connection refused".into();
        self.handle(Event::Bus(BusEvent::Refused { reason, is_absent }));
    }

    /// Writes what the socket takes; whether that was something.
    pub(super) fn transmit_to_bus(&mut self) -> Checked<bool> {
        self.watch_bus()?;
        let outgoing = self.core.bus_outgoing();
        self.socket.transmits &= !outgoing.is_empty();
        let count = outgoing.len().min(self.socket.bus.room());
        if !self.socket.transmits || count == 0 {
            return Ok(false);
        }
        self.socket.bus.send(&outgoing[..count], self.now.mono);
        self.socket.seen -= count;
        self.handle(Event::Bus(BusEvent::Sent(count)));
        Ok(true)
    }

    /// Looks at what waits for the socket.
    pub(super) fn watch_bus(&mut self) -> Checked {
        let outgoing = self.core.bus_outgoing();
        let socket = &mut self.socket;
        if outgoing.len() > WAITING {
            return violation(Rule::Bus, format!("{} bytes wait for the bus", outgoing.len()));
        }
        socket.reader.feed(&outgoing[socket.seen..]);
        socket.seen = outgoing.len();
        loop {
            match self.socket.reader.next() {
                Ok(Some(Said::Call(call))) => {
                    self.socket.calls += 1;
                    let text = format!("{} {} {:?}", call.member, call.path, call.arguments);
                    self.note("call", call.serial.into(), text.as_bytes());
                    self.oracle.bus_called(&call, self.now)?;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(why) => return violation(Rule::Bus, why),
            }
        }
    }

    /// Nothing may be held back.
    pub(super) fn check_bus(&mut self) -> Checked {
        self.watch_bus()?;
        if !self.core.bus_outgoing().is_empty() && !self.socket.transmits {
            return violation(Rule::Edge, "bytes wait for the bus, and no Transmit");
        }
        Ok(())
    }

    /// Something happens at the bus.
    pub(super) fn step_bus(&mut self) -> Checked {
        match self.socket.bus.step(self.now.mono) {
            Err(why) => return violation(Rule::Bus, why),
            Ok(None) => {}
            Ok(Some(Arrival::Bytes(bytes, meanings))) => {
                self.note("bus says", 0, format!("{meanings:?}").as_bytes());
                self.oracle.bus_told(&meanings, self.now);
                self.handle(Event::Bus(BusEvent::Received(&bytes)));
            }
            Ok(Some(Arrival::End(errno))) => {
                self.note("bus lost", 0, b"");
                self.socket.reset();
                self.oracle.bus_lost(self.now);
                self.handle(Event::Bus(BusEvent::Lost(errno)));
            }
        }
        Ok(())
    }

    fn mark(&mut self, child: ChildId, file: &DropIn) -> Checked {
        let path = file.path.to_string_lossy().into_owned();
        let result = match (self.random.below(60), &file.text) {
            (0, _) => Err(*self.random.pick(&[13, 28, 30])),
            (_, Some(_)) => Ok(self.socket.files.insert(path)),
            (_, None) => Ok(self.socket.files.remove(&path)),
        };
        self.note("marked", child.0, format!("{:?} {result:?}", file.path).as_bytes());
        self.oracle.marked(file, result, self.now)?;
        self.handle(Event::Bus(BusEvent::Marked(child, result)));
        Ok(())
    }
}
