//! A tool's request on its way in: from messages of its ring to one checked element.
//!
//! | stage     | whole message | compressed one | first part | next part | last part | other part | step                |
//! |-----------|---------------|----------------|------------|-----------|-----------|------------|---------------------|
//! | idle      | checking      | unpacking      | joining    | fault     | fault     | fault      | -                   |
//! | joining   | fault         | -              | fault      | joining   | checking  | fault      | -                   |
//! | unpacking | -             | -              | -          | -         | -         | -          | the same, checking  |
//! | checking  | -             | -              | -          | -         | -         | -          | the same, idle      |
//!
//! A first part can be the last as well. Whatever is wrong with the text leads from unpacking and checking to idle.
//! In these two nothing is taken from the ring. No layout has both compressed messages and parts.

use core::fmt;

use crate::bzip2::{self, Unpacker};
use crate::time::Instant;
use crate::wire::header;
use crate::wire::ipc::{self, Body, Layout, View, flags};
use crate::xml::{self, Check, Document};

/// How many bytes are looked at in one step; but a tag is never cut.
const STEP: usize = 256 * 1024;

/// The longest request: with what is put around it, what a cluster node takes.
pub(super) const REQUEST_LIMIT: usize = header::LIMIT as usize - 64 * 1024;

/// What unpacking takes besides, in bytes, at most: a block, which has 4 for each of 900,000, in a buffer that doubles.
const UNPACKING: usize = 8 * 1024 * 1024;

/// Milliseconds from a request's first part to its last.
const PARTS_TIME: u64 = 60_000;

/// What a request is besides its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: i32,
    pub(super) flags: u32,
}

/// What has come of a session's request.
#[derive(Debug)]
pub(super) struct Incoming {
    layout: Option<Layout>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Joining(Joining),
    Unpacking(Box<Unpacking>),
    Checking(Box<Checking>),
}

#[derive(Debug)]
struct Joining {
    head: Head,
    text: Vec<u8>,
    next: u16,
    since: Instant,
}

#[derive(Debug)]
struct Unpacking {
    head: Head,
    stream: Vec<u8>,
    text: Vec<u8>,
    /// How long the text is to become, with its NUL.
    told: usize,
    unpacker: Unpacker,
}

#[derive(Debug)]
struct Checking {
    head: Head,
    text: String,
    check: Check,
}

impl Incoming {
    pub(super) const fn new() -> Self {
        Self { layout: None, stage: Stage::Idle }
    }

    /// The layout of the tool's messages, once it has sent one.
    pub(super) fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Whether the next message may be taken.
    pub(super) fn is_free(&self) -> bool {
        !self.is_checking()
    }

    /// Whether [`Incoming::step`] has something to do.
    pub(super) fn is_checking(&self) -> bool {
        matches!(self.stage, Stage::Unpacking(_) | Stage::Checking(_))
    }

    /// Bytes that wait for more parts.
    pub(super) fn joined(&self) -> usize {
        match &self.stage {
            Stage::Joining(joining) => joining.text.len(),
            _ => 0,
        }
    }

    /// Bytes that are being checked, and what they may yet become: a few that were compressed can be all that was told.
    pub(super) fn checked(&self) -> usize {
        match &self.stage {
            Stage::Unpacking(unpacking) => unpacking.stream.len() + unpacking.told + UNPACKING,
            _ => self.length(),
        }
    }

    /// Bytes of the request that is being checked, as far as it is there.
    pub(super) fn length(&self) -> usize {
        match &self.stage {
            Stage::Unpacking(unpacking) => unpacking.stream.len() + unpacking.text.len(),
            Stage::Checking(checking) => checking.text.len(),
            Stage::Idle | Stage::Joining(_) => 0,
        }
    }

    /// When a request's last part must be there.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Joining(joining) => Some(joining.since.after(PARTS_TIME)),
            _ => None,
        }
    }

    /// Gives the last part its time again.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Stage::Joining(joining) = &mut self.stage {
            joining.since = now;
        }
    }

    /// Takes a message; [`Incoming::step`] is due if it makes a request whole. Only when [`Incoming::is_free`].
    ///
    /// # Errors
    /// [`Refusal::Fault`]: the session must end. [`Refusal::Drop`]: the request is lost, others may follow.
    pub(super) fn take(&mut self, message: &[u8], now: Instant) -> Result<(), Refusal> {
        let view = View::new_checked(message).map_err(|error| Refusal::Fault(Fault::Header(error)))?;
        if *self.layout.get_or_insert(view.layout()) != view.layout() {
            return Err(Refusal::Fault(Fault::Layout));
        }
        let head = Head { id: view.id(), flags: view.flags() };
        let text = match view.body() {
            Body::Text(text) if view.layout() == Layout::Parts && head.flags & flags::PART != 0 => {
                return self.join(head, view.part(), text, now);
            }
            Body::Text(text) => text,
            Body::Compressed { bytes, text_len } => {
                return self.unpack(head, bytes, text_len as usize).map_err(Refusal::Drop);
            }
        };
        if matches!(self.stage, Stage::Joining(_)) {
            return Err(Refusal::Fault(Fault::Part));
        }
        self.check(head, text.to_vec()).map_err(Refusal::Drop)
    }

    fn join(&mut self, head: Head, part: u16, text: &[u8], now: Instant) -> Result<(), Refusal> {
        let mut joining = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle if part == 0 => {
                let flags = head.flags & !(flags::PART | flags::LAST_PART);
                Joining { head: Head { flags, ..head }, text: Vec::new(), next: 0, since: now }
            }
            Stage::Joining(joining) if part == joining.next && head.id == joining.head.id => joining,
            _ => return Err(Refusal::Fault(Fault::Part)),
        };
        if joining.text.len() + text.len() > REQUEST_LIMIT {
            return Err(Refusal::Fault(Fault::TooLong));
        }
        joining.text.extend_from_slice(text);
        // Numbers that come to their end are followed by none that is right.
        joining.next = joining.next.saturating_add(1);
        if head.flags & flags::LAST_PART == 0 {
            self.stage = Stage::Joining(joining);
            return Ok(());
        }
        self.check(joining.head, joining.text).map_err(Refusal::Drop)
    }

    fn unpack(&mut self, head: Head, stream: &[u8], told: usize) -> Result<(), Undecodable> {
        if told > REQUEST_LIMIT {
            return Err(Undecodable::TooLong(told));
        }
        let (stream, unpacker) = (stream.to_vec(), Unpacker::new());
        self.stage = Stage::Unpacking(Box::new(Unpacking { head, stream, text: Vec::new(), told, unpacker }));
        Ok(())
    }

    fn check(&mut self, head: Head, text: Vec<u8>) -> Result<(), Undecodable> {
        if text.len() > REQUEST_LIMIT {
            return Err(Undecodable::TooLong(text.len()));
        }
        let text = String::from_utf8(text).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            Undecodable::Xml(xml::Error { offset, kind: xml::Kind::Utf8 })
        })?;
        self.stage = Stage::Checking(Box::new(Checking { head, text, check: Check::new() }));
        Ok(())
    }

    /// Looks at the next piece of a request, and when it has been seen to its end makes of it what `finish` does.
    ///
    /// # Errors
    /// The request is lost.
    pub(super) fn step<T>(
        &mut self,
        finish: impl FnOnce(Head, &Document<'_>) -> Result<T, Undecodable>,
    ) -> Result<Option<T>, Undecodable> {
        if let Stage::Unpacking(unpacking) = &mut self.stage {
            let result = unpacking.step();
            if matches!(result, Ok(false)) {
                return Ok(None);
            }
            let Stage::Unpacking(unpacking) = std::mem::replace(&mut self.stage, Stage::Idle) else {
                return Ok(None);
            };
            return result.and_then(|_| self.check(unpacking.head, unpacking.text)).map(|()| None);
        }
        let Stage::Checking(checking) = &mut self.stage else { return Ok(None) };
        let result = match checking.check.advance(&checking.text, STEP) {
            Ok(None) => return Ok(None),
            Ok(Some(document)) => finish(checking.head, &document),
            Err(error) => Err(Undecodable::Xml(error)),
        };
        self.stage = Stage::Idle;
        result.map(Some)
    }
}

impl Unpacking {
    /// Whether the text is there, without its NUL.
    fn step(&mut self) -> Result<bool, Undecodable> {
        let done =
            self.unpacker.step(&self.stream, &mut self.text, self.told).map_err(Undecodable::Stream)?;
        if !done {
            return Ok(false);
        }
        if self.text.len() != self.told || self.text.pop() != Some(0) {
            return Err(Undecodable::Short(self.told));
        }
        Ok(true)
    }
}

/// Why a message leads to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The tool cannot be followed any more.
    Fault(Fault),
    /// Only this request is lost: the tool waits for an answer in vain, as with the stock daemon.
    Drop(Undecodable),
}

/// What no Pacemaker tool does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A header that is none.
    Header(ipc::Error),
    /// Another layout than before.
    Layout,
    /// A part that does not follow the one before.
    Part,
    /// More parts than a request can have.
    TooLong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Layout => f.write_str("message with another kind of header than before"),
            Self::Part => f.write_str("part of a request that does not follow the one before"),
            Self::TooLong => write!(f, "request in parts of more than {REQUEST_LIMIT} bytes"),
        }
    }
}

/// Why a request cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    Xml(xml::Error),
    /// It would be too deep inside what goes around it; how deep it is.
    Depth(usize),
    /// Bytes.
    TooLong(usize),
    /// What was compressed.
    Stream(bzip2::Error),
    /// What was compressed is not as long as was told, or ends without a NUL.
    Short(usize),
    /// The executor answers all that it takes.
    WantsNoResponse,
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xml(error) => error.fmt(f),
            Self::Depth(depth) => write!(f, "{depth} elements inside one another, too many to be passed on"),
            Self::TooLong(len) => write!(f, "{len} bytes, at most {REQUEST_LIMIT} can be passed on"),
            Self::Stream(error) => error.fmt(f),
            Self::Short(told) => write!(f, "not the {told} bytes with a NUL that were compressed"),
            Self::WantsNoResponse => f.write_str("no response is asked for"),
        }
    }
}
