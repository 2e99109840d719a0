//! What waits for a tool: responses and events, each kind in its order, so that a ring full of events does not
//! hold back the response that the tool waits for.
//!
//! The front of one of the two queues is *on offer*: it is what [`Outbox::current`] shows until
//! [`Outbox::delivered`] says what became of it. A message that goes in parts stays on offer until its last: the tool
//! joins parts of both kinds in one buffer. One that a tool takes only when it is compressed is not on offer until that
//! has been done, in steps; the other queue goes on meanwhile.

use std::collections::VecDeque;
use std::ops::Range;

use crate::bzip2::Packer;
use crate::time::Instant;
use crate::wire::ipc::{Header, LEN, Layout, flags};

use super::{Delivery, Outgoing, Ring};

/// No tool with [`Layout::Parts`] takes a longer message, whatever was agreed on (ipc.md section C.3).
const PART_LIMIT: u32 = 128 * 1024;

/// Milliseconds from one try to put something into a full ring to the next, at most: of a tool that reads, and
/// of one that does not.
const PAUSES: [u64; 2] = [20, 250];

/// Milliseconds after which a tool that took nothing is not thought to read.
const PATIENCE: u64 = 3_000;

/// How many events may wait before the tool is watched, as with the stock daemon.
const BACKLOG: usize = 500;

/// Milliseconds between two looks at a tool that is watched.
const LOOK: u64 = 1_500;

/// For how many messages an empty queue keeps room.
const KEPT: usize = 4;

const RINGS: [Ring; 2] = [Ring::Response, Ring::Event];

/// A session's two queues.
#[derive(Debug)]
pub(super) struct Outbox {
    longest: u32,
    /// As the tool's own messages are: until it has sent one, nothing can be sent to it.
    layout: Option<Layout>,
    /// By [`Ring`].
    queues: [VecDeque<Message>; 2],
    /// Bytes of the buffers of all messages.
    held: usize,
    offer: Option<Ring>,
    /// By [`Ring`]: there was no room, and no sign since that there is.
    full: [bool; 2],
    retry: Option<Instant>,
    pause: u64,
    /// When the tool was last known to read, or to have nothing to read.
    progress: Instant,
    /// More than [`BACKLOG`] events wait.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    next: Instant,
    /// How many events waited at the last look.
    waiting: usize,
    /// How many were taken since.
    taken: usize,
}

/// What a look at the events says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many wait, and they do not become more, or they have just become too many.
    Crowded(usize),
    /// So many wait, and the tool does not read them.
    Deaf(usize),
}

#[derive(Debug)]
struct Message {
    id: i32,
    /// The buffer that it came in, or what was compressed.
    text: Vec<u8>,
    /// Where in that it is.
    range: Range<usize>,
    form: Form,
    sent: usize,
    part: u16,
}

#[derive(Debug)]
enum Form {
    Plain,
    Packing(Box<Packer>),
    /// Compressed; how many bytes of text, without the NUL.
    Packed(usize),
    /// Not even compressed it fits.
    Hopeless,
}

/// A message that cannot be made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) ring: Ring,
    /// Bytes of its text.
    pub(super) len: usize,
    /// Bytes that it would need.
    pub(super) needed: usize,
}

impl Outbox {
    pub(super) fn new(longest: u32, now: Instant) -> Self {
        Self {
            longest,
            layout: None,
            queues: [VecDeque::new(), VecDeque::new()],
            held: 0,
            offer: None,
            full: [false; 2],
            retry: None,
            pause: 0,
            progress: now,
            watch: None,
        }
    }

    /// Bytes that wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// When the tool was last known to read, or had nothing to read.
    pub(super) fn progress(&self) -> Instant {
        self.progress
    }

    /// The longest message that was agreed on.
    pub(super) fn longest(&self) -> u32 {
        self.longest
    }

    /// The tool's layout is known.
    pub(super) fn set_layout(&mut self, layout: Layout) {
        self.layout = Some(layout);
    }

    /// Adds a message: what is at `range` in `text`.
    pub(super) fn push(&mut self, ring: Ring, id: i32, mut text: Vec<u8>, range: Range<usize>, now: Instant) {
        if self.queues.iter().all(VecDeque::is_empty) {
            self.progress = now;
        }
        // What it was read into may be much larger.
        text.shrink_to_fit();
        self.held += text.len();
        let message = Message { id, text, range, form: Form::Plain, sent: 0, part: 0 };
        self.queue_mut(ring).push_back(message);
    }

    /// Puts something on offer if nothing is; whether that is so.
    pub(super) fn offer(&mut self) -> bool {
        if self.offer.is_some() {
            return false;
        }
        self.offer = self.choose();
        self.offer.is_some()
    }

    fn choose(&self) -> Option<Ring> {
        let layout = self.layout?;
        let begun = RINGS.into_iter().find(|&ring| self.front(ring).is_some_and(|message| message.sent > 0));
        RINGS.into_iter().find(|&ring| {
            begun.is_none_or(|begun| begun == ring)
                && !self.full[ring as usize]
                && self.front(ring).is_some_and(|message| message.fits(layout, self.longest))
        })
    }

    /// What is on offer.
    pub(super) fn current(&self) -> Option<Outgoing<'_>> {
        let ring = self.offer?;
        let layout = self.layout?;
        let message = self.front(ring)?;
        let piece = message.piece(layout, self.longest);
        let mut flags = flags::SERVER;
        if ring == Ring::Event {
            flags |= flags::EVENT;
        }
        if layout == Layout::Parts && message.is_long(self.longest) {
            flags |= flags::PART;
            if message.sent + piece.len() == message.range.len() {
                flags |= flags::LAST_PART;
            }
        }
        let packed = if let Form::Packed(text_len) = message.form { Some(text_len) } else { None };
        if packed.is_some() {
            flags |= flags::COMPRESSED;
        }
        let header = Header { layout, id: message.id, flags, part: message.part };
        let header = match packed {
            Some(text_len) => header.encode_compressed(text_len, piece.len()),
            None => header.encode(piece.len()),
        };
        // No message is so long that it fails: the cluster's own are shorter.
        Some(Outgoing { ring, header: header.ok()?, body: message.text.get(piece)?, nul: packed.is_none() })
    }

    /// What became of [`Outbox::current`]. Whether something is on offer that the other end has not been told of.
    pub(super) fn delivered(&mut self, delivery: Delivery, now: Instant) -> bool {
        let Some(ring) = self.offer.take() else { return false };
        match delivery {
            Delivery::Full => self.full[ring as usize] = true,
            Delivery::Done => {
                (self.progress, self.pause) = (now, 0);
                self.advance(ring);
            }
        }
        let is_offered = self.offer();
        if !is_offered && self.full.contains(&true) {
            let limit = PAUSES[usize::from(now.since(self.progress) > PATIENCE)];
            self.pause = (self.pause * 2).clamp(1, limit);
            self.retry = Some(now.after(self.pause));
        }
        is_offered && delivery == Delivery::Full
    }

    fn advance(&mut self, ring: Ring) {
        let (longest, layout) = (self.longest, self.layout);
        let Some(message) = self.queue_mut(ring).front_mut() else { return };
        message.sent += layout.map_or(0, |layout| message.piece(layout, longest).len());
        message.part = message.part.saturating_add(1);
        if message.sent >= message.range.len() {
            self.pop(ring);
        }
        if ring == Ring::Event
            && let Some(watch) = &mut self.watch
        {
            watch.taken += 1;
        }
    }

    fn pop(&mut self, ring: Ring) {
        let queue = self.queue_mut(ring);
        let Some(message) = queue.pop_front() else { return };
        if queue.is_empty() {
            queue.shrink_to(KEPT);
        }
        self.held -= message.text.len();
    }

    /// The ring whose front must be compressed.
    fn packs(&self) -> Option<Ring> {
        let (layout, longest) = (self.layout?, self.longest);
        RINGS.into_iter().find(|&ring| {
            self.front(ring).is_some_and(|message| match message.form {
                Form::Plain => !message.fits(layout, longest),
                Form::Packing(_) => true,
                Form::Packed(_) | Form::Hopeless => false,
            })
        })
    }

    /// Whether [`Outbox::pack`] has something to do.
    pub(super) fn is_packing(&self) -> bool {
        self.packs().is_some()
    }

    /// Does the next step of compressing a message. As [`Outbox::offer`].
    pub(super) fn pack(&mut self) -> bool {
        let Some(ring) = self.packs() else { return false };
        let limit = (self.longest as usize).saturating_sub(LEN);
        let Some(message) = self.queue_mut(ring).front_mut() else { return false };
        let before = message.text.len();
        message.pack(limit);
        self.held = self.held - before + self.front(ring).map_or(0, |message| message.text.len());
        self.offer()
    }

    /// Takes out a message that cannot be sent.
    pub(super) fn misfit(&mut self) -> Option<Misfit> {
        for ring in RINGS {
            if let Some(message) = self.front(ring).filter(|message| matches!(message.form, Form::Hopeless)) {
                let len = message.range.len();
                self.pop(ring);
                return Some(Misfit { ring, len, needed: len + LEN + 2 });
            }
        }
        None
    }

    /// The tool gave a sign of life: there may be room again. As [`Outbox::offer`].
    pub(super) fn nudge(&mut self) -> bool {
        self.full = [false; 2];
        self.retry = None;
        self.offer()
    }

    /// The first moment at which [`Outbox::wake`] or [`Outbox::look`] have something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry.into_iter().chain(self.watch.as_ref().map(|watch| watch.next)).min()
    }

    /// As [`Outbox::offer`], if it is time to try again.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        self.retry.is_some_and(|at| at <= now) && self.nudge()
    }

    /// Whether the events become too many (ipc.md section C.5). The stock daemon ends a session when it looks for the
    /// second time and they have not become fewer. It hands over 100 at most between two looks; a tool that
    /// took more than [`BACKLOG`] from this one is left in peace.
    pub(super) fn look(&mut self, now: Instant) -> Option<Verdict> {
        let waiting = self.queues[Ring::Event as usize].len();
        if waiting <= BACKLOG {
            self.watch = None;
            return None;
        }
        let mut verdict = Some(Verdict::Crowded(waiting));
        if let Some(watch) = &self.watch {
            if now < watch.next {
                return None;
            }
            if waiting >= watch.waiting {
                if watch.taken < BACKLOG {
                    return Some(Verdict::Deaf(waiting));
                }
                verdict = None;
            }
        }
        self.watch = Some(Watch { next: now.after(LOOK), waiting, taken: 0 });
        verdict
    }

    fn front(&self, ring: Ring) -> Option<&Message> {
        self.queues[ring as usize].front()
    }

    fn queue_mut(&mut self, ring: Ring) -> &mut VecDeque<Message> {
        &mut self.queues[ring as usize]
    }
}

impl Message {
    /// Whether it goes in one piece only if it is made shorter.
    fn is_long(&self, longest: u32) -> bool {
        LEN + self.range.len() + 1 >= longest.min(PART_LIMIT) as usize
    }

    fn fits(&self, layout: Layout, longest: u32) -> bool {
        match self.form {
            Form::Plain => layout == Layout::Parts || LEN + self.range.len() + 1 < longest as usize,
            Form::Packed(_) => true,
            Form::Packing(_) | Form::Hopeless => false,
        }
    }

    /// Does the next step towards fewer than `limit` bytes.
    fn pack(&mut self, limit: usize) {
        if let Form::Plain = self.form {
            // The NUL is compressed, too.
            self.text.truncate(self.range.end);
            self.text.push(0);
            self.form = Form::Packing(Box::default());
        }
        let Form::Packing(packer) = &mut self.form else { return };
        let done = packer.step(self.text.get(self.range.start..).unwrap_or_default());
        if packer.length() >= limit {
            self.form = Form::Hopeless;
        } else if done {
            let text_len = self.range.len();
            self.text = std::mem::take(packer).finish();
            self.range = 0..self.text.len();
            self.form = Form::Packed(text_len);
        }
    }

    /// Where in the buffer the next piece is.
    fn piece(&self, layout: Layout, longest: u32) -> Range<usize> {
        let start = self.range.start + self.sent;
        let rest = self.range.end.saturating_sub(start);
        let limit = match layout {
            Layout::Classic => rest,
            // What is agreed on is more than a header.
            Layout::Parts => longest.min(PART_LIMIT) as usize - LEN - 1,
        };
        start..start + rest.min(limit)
    }
}
