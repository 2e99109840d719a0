//! Simulated memory, and the client's side of it written apart from the server's: by libqb's rules
//! as ipc.md section B.2 has them, word by word.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::memory::{Fault, Memory};
use crate::wire::header::Order;
use crate::wire::qb::{Machine, RingHeader};
use crate::wire::ring::Geometry;

pub const MACHINES: [Machine; 4] = [
    Machine { pointer: 8, order: Order::Little },
    Machine { pointer: 8, order: Order::Big },
    Machine { pointer: 4, order: Order::Little },
    Machine { pointer: 4, order: Order::Big },
];

const READY: u32 = 0xA1A1_A1A1;
const WRITING: u32 = 0xA110_CED0;
const CONSUMED: u32 = 0xD0D0_D0D0;

/// One ring's two files. Clones are the same memory.
#[derive(Clone)]
pub struct Sim {
    machine: Machine,
    words: u32,
    header: Rc<RefCell<Vec<u8>>>,
    data: Rc<RefCell<Vec<u8>>>,
    /// Offsets of the words whose waiters were woken.
    pub woken: Rc<RefCell<Vec<usize>>>,
    /// What a hostile client does in the middle of the server's work.
    deed: Rc<Cell<Option<(Moment, Deed)>>>,
}

type Deed = fn(&Sim);

/// When a hostile client acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Right after data was read.
    AfterRead,
    /// After the semaphore was looked at and before it changes.
    BeforeAdd,
}

impl Sim {
    pub fn new(geometry: Geometry, machine: Machine) -> Self {
        let header = RingHeader::of(machine).encode(geometry.words(), b"/h", b"/d");
        Self {
            machine,
            words: geometry.words(),
            header: Rc::new(RefCell::new(header)),
            data: Rc::new(RefCell::new(vec![0; geometry.len()])),
            woken: Rc::default(),
            deed: Rc::default(),
        }
    }

    /// Lets a hostile client do this at the next such moment, once.
    pub fn plan(&self, moment: Moment, deed: Deed) {
        self.deed.set(Some((moment, deed)));
    }

    fn now_is(&self, moment: Moment) {
        if let Some((planned, deed)) = self.deed.get()
            && planned == moment
        {
            self.deed.set(None);
            deed(self);
        }
    }

    /// Makes the data file end after so many bytes.
    pub fn cut(&self, len: usize) {
        self.data.borrow_mut().truncate(len);
    }

    pub fn header_word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.header.borrow()[at..at + 4].try_into().unwrap())
    }

    pub fn set_header_word(&self, at: usize, value: u32) {
        self.header.borrow_mut()[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    pub fn word(&self, index: u32) -> u32 {
        let at = (index % self.words) as usize * 4;
        u32::from_ne_bytes(self.data.borrow()[at..at + 4].try_into().unwrap())
    }

    pub fn set_word(&self, index: u32, value: u32) {
        let at = (index % self.words) as usize * 4;
        self.data.borrow_mut()[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }

    /// Offset and unit of the semaphore's value, from ipc.md's tables and not from `wire::qb`.
    fn semaphore(&self) -> (usize, u32) {
        match (self.machine.pointer, self.machine.order) {
            (8, Order::Little) => (8208, 1),
            (8, Order::Big) => (8212, 1),
            _ => (8208, 2),
        }
    }

    pub fn count(&self) -> u32 {
        let (at, unit) = self.semaphore();
        self.header_word(at) / unit
    }

    /// As a client that waits leaves the word on 32-bit machines.
    pub fn mark_waiting(&self) {
        let (at, unit) = self.semaphore();
        if unit == 2 {
            self.set_header_word(at, self.header_word(at) | 1);
        }
    }

    pub fn is_marked_waiting(&self) -> bool {
        let (at, unit) = self.semaphore();
        unit == 1 || self.header_word(at) & 1 == 1
    }

    pub fn post(&self) {
        let (at, unit) = self.semaphore();
        self.set_header_word(at, self.header_word(at).wrapping_add(unit));
    }

    pub fn take(&self) -> bool {
        let (at, unit) = self.semaphore();
        if self.count() == 0 {
            return false;
        }
        self.set_header_word(at, self.header_word(at) - unit);
        true
    }

    /// The client sends a request, if there is room.
    pub fn send(&self, message: &[u8]) -> bool {
        let (write, read) = (self.header_word(0), self.header_word(4));
        let free = match (write > read, write < read) {
            (true, _) => read + self.words - write - 1,
            (_, true) => read - write - 1,
            _ if self.count() > 0 => 0,
            _ => self.words,
        };
        if (free as usize * 4) < message.len() + 12 {
            return false;
        }
        self.set_word(write, 0);
        self.set_word(write + 1, WRITING);
        let mut index = write + 2;
        for piece in message.chunks(4) {
            let mut word = [0xEE; 4];
            word[..piece.len()].copy_from_slice(piece);
            self.set_word(index, u32::from_ne_bytes(word));
            index += 1;
        }
        self.set_word(write, message.len() as u32);
        self.set_header_word(0, index % self.words);
        self.set_word(write + 1, READY);
        self.post();
        true
    }

    /// The client takes a response or an event, if there is one.
    pub fn receive(&self) -> Option<Vec<u8>> {
        if !self.take() {
            return None;
        }
        let read = self.header_word(4);
        assert_eq!(self.word(read + 1), READY, "chunk at word {read}");
        let size = self.word(read);
        let words = size.div_ceil(4);
        let mut message: Vec<u8> =
            (0..words).flat_map(|index| self.word(read + 2 + index).to_ne_bytes()).collect();
        message.truncate(size as usize);
        self.set_word(read, 0);
        self.set_word(read + 1, CONSUMED);
        self.set_header_word(4, (read + 2 + words) % self.words);
        Some(message)
    }
}

impl Memory for Sim {
    fn load(&self, offset: usize) -> u32 {
        self.header_word(offset)
    }

    fn store(&self, offset: usize, value: u32) {
        self.set_header_word(offset, value);
    }

    fn add(&self, offset: usize, value: u32) {
        self.now_is(Moment::BeforeAdd);
        self.set_header_word(offset, self.header_word(offset).wrapping_add(value));
    }

    fn wake(&self, offset: usize) {
        self.woken.borrow_mut().push(offset);
    }

    fn is_cut(&self) -> bool {
        false
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Fault> {
        match self.data.borrow().get(at..at + into.len()) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => return Err(Fault::Cut),
        }
        self.now_is(Moment::AfterRead);
        Ok(())
    }

    fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        let mut data = self.data.borrow_mut();
        assert!(at + bytes.len() <= self.words as usize * 4, "{} bytes at {at} leave the file", bytes.len());
        let end = (at + bytes.len()).max(data.len());
        data.resize(end, 0);
        data[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
