//! What systemd resources need of systemd's manager: its methods as requests, their replies, and the
//! signal that ends a job (executor-semantics.md section 7). [`Manager`](super::manager::Manager)
//! makes the requests.

use super::connection::{BUS, BUS_PATH, Connection, ErrorReply};
use super::marshal::{Malformed, Reader};
use super::message::{Call, Message, Serial};
use crate::trial::{self, Mutant};

/// The longest unit name, in bytes: systemd's own limit.
pub const UNIT_NAME_MAX: usize = 255;
/// The longest path of a unit or job that is kept, in bytes: any unit name fits, escaped.
pub const PATH_MAX: usize = 1024;
/// The longest state or result that is kept, in bytes; systemd's have up to 12.
pub const WORD_MAX: usize = 32;
/// How much of a unit's description is kept, in bytes.
pub const DESCRIPTION_MAX: usize = 1024;

const MANAGER: Call<'_> = Call {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
    arguments: &[],
};
const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// What we want to be told of.
pub(super) const MATCH_RULE: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
    interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A request, numbered by who makes it: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The path of a unit that systemd has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitPath(pub(super) Box<str>);

/// What to ask of the manager. Unit names are whole, with their type: 1 to [`UNIT_NAME_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Load a unit's files, if need be, and tell its path; a unit without files has one, too.
    Load(&'a str),
    /// A unit's state.
    ActiveState(&'a UnitPath),
    /// Whether a unit's files could be loaded.
    LoadState(&'a UnitPath),
    /// What people are told of a unit.
    Description(&'a UnitPath),
    /// Read all unit files again. What is asked after this is answered after it.
    Reload,
    /// Start a unit and what it needs; jobs in the way are replaced.
    Start(&'a str),
    /// Stop a unit, in the same way.
    Stop(&'a str),
    /// Stop a unit if it runs, and start it.
    Restart(&'a str),
}

/// What a request that succeeded led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Load`].
    Unit(UnitPath),
    /// To [`Request::ActiveState`].
    ActiveState(ActiveState),
    /// To [`Request::LoadState`].
    LoadState(LoadState),
    /// To [`Request::Description`].
    Description(Box<str>),
    /// To [`Request::Reload`].
    Reloaded,
    /// To [`Request::Start`], [`Stop`](Request::Stop) and [`Restart`](Request::Restart), once the job has ended.
    Job(JobResult),
}

/// A unit's state, as far as the difference matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActiveState {
    /// It runs.
    Active,
    /// It runs and reads its configuration again.
    Reloading,
    /// It is being started.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// `inactive`, `failed`, `maintenance`, or what later versions add.
    Other(Box<str>),
}

/// Whether a unit's files could be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadState {
    /// They could.
    Loaded,
    /// An administrator forbids the unit.
    Masked,
    /// `not-found`, `bad-setting`, `error`, `merged`, `stub`, or what later versions add.
    Other(Box<str>),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// As it should.
    Done,
    /// By its own timeout.
    Timeout,
    /// `canceled`, `failed`, `dependency`, `skipped`, or one of several rare ones.
    Other(Box<str>),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// systemd or the bus answered with this error.
    Error(ErrorReply),
    /// The answer is none to this question.
    Answer(Malformed),
    /// The deadline passed.
    Deadline,
    /// The connection ended.
    Lost,
    /// There were [`REQUESTS_MAX`](super::manager::REQUESTS_MAX) requests already.
    TooMany,
    /// The unit name is empty, too long, or contains a zero byte.
    UnitName,
}

/// A request's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which request.
    pub id: RequestId,
    /// What came of it.
    pub result: Result<Reply, Failure>,
}

/// Asks the bus for [`JobRemoved`](job_removed).
pub(super) fn add_match(connection: &mut Connection) -> Serial {
    let arguments = &[MATCH_RULE];
    connection.call(&Call { destination: BUS, path: BUS_PATH, interface: BUS, member: "AddMatch", arguments })
}

/// Asks the manager to send signals at all.
pub(super) fn subscribe(connection: &mut Connection) -> Serial {
    connection.call(&Call { member: "Subscribe", ..MANAGER })
}

impl<'a> Request<'a> {
    /// Makes the call.
    pub(super) fn call(self, connection: &mut Connection) -> Serial {
        let mut call = |member, arguments: &[&str]| connection.call(&Call { member, arguments, ..MANAGER });
        match self {
            Self::Load(unit) => call("LoadUnit", &[unit]),
            Self::Reload => call("Reload", &[]),
            Self::Start(unit) => call("StartUnit", &[unit, "replace"]),
            Self::Stop(unit) => call("StopUnit", &[unit, "replace"]),
            Self::Restart(unit) => call("RestartUnit", &[unit, "replace"]),
            Self::ActiveState(unit) => property(connection, unit, "ActiveState"),
            Self::LoadState(unit) => property(connection, unit, "LoadState"),
            Self::Description(unit) => property(connection, unit, "Description"),
        }
    }

    /// Whether it queues a job, whose end is waited for.
    pub fn is_job(self) -> bool {
        self.question() == Question::Job
    }

    pub(super) const fn question(self) -> Question {
        match self {
            Self::Load(_) => Question::Load,
            Self::ActiveState(_) => Question::ActiveState,
            Self::LoadState(_) => Question::LoadState,
            Self::Description(_) => Question::Description,
            Self::Reload => Question::Reload,
            Self::Start(_) | Self::Stop(_) | Self::Restart(_) => Question::Job,
        }
    }

    /// Whether the manager may be asked this: it may refuse names for reasons of its own.
    pub(super) fn is_sendable(self) -> bool {
        match self {
            Self::Load(unit) | Self::Start(unit) | Self::Stop(unit) | Self::Restart(unit) => {
                (1..=UNIT_NAME_MAX).contains(&unit.len()) && !unit.contains('\0')
            }
            Self::ActiveState(_) | Self::LoadState(_) | Self::Description(_) | Self::Reload => true,
        }
    }
}

fn property(connection: &mut Connection, unit: &UnitPath, name: &str) -> Serial {
    connection.call(&Call {
        path: &unit.0,
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
        arguments: &[UNIT, name],
        ..MANAGER
    })
}

/// What a reply is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Load,
    ActiveState,
    LoadState,
    Description,
    Reload,
    Job,
}

/// What a reply says.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Reply),
    /// The path of the job that was queued.
    Job(Box<str>),
}

impl Question {
    pub(super) fn read(self, message: &Message<'_>) -> Result<Answer, Malformed> {
        let mut body = message.body();
        let answer = match (self, message.signature) {
            (Self::Load, "o") => Answer::Reply(Reply::Unit(UnitPath(read_path(&mut body)?))),
            (Self::Job, "o") => Answer::Job(read_path(&mut body)?),
            (Self::Reload, "") => Answer::Reply(Reply::Reloaded),
            (Self::ActiveState, "v") => {
                Answer::Reply(Reply::ActiveState(ActiveState::from_word(read_property(&mut body)?)))
            }
            (Self::LoadState, "v") => {
                Answer::Reply(Reply::LoadState(LoadState::from_word(read_property(&mut body)?)))
            }
            (Self::Description, "v") => {
                Answer::Reply(Reply::Description(cut(read_property(&mut body)?, DESCRIPTION_MAX)))
            }
            _ => return Err(Malformed::Signature),
        };
        body.end()?;
        Ok(answer)
    }
}

/// The end of a job, if the signal tells one: the job's path, and how it ended.
///
/// Anyone on the bus may send us a signal by our name, made to look like this one. But what our
/// match rule asks for the bus delivers only from the manager, and such a broadcast has no
/// destination.
pub(super) fn job_removed(signal: &Message<'_>) -> Option<(Box<str>, JobResult)> {
    let is_this = (signal.path, signal.interface, signal.member, signal.signature)
        == (MANAGER.path, MANAGER.interface, "JobRemoved", "uoss");
    if !is_this || !signal.destination.is_empty() {
        return None;
    }
    // Broken values are not worth the connection: the request whose job this was runs into its deadline.
    read_job_removed(signal).ok()
}

fn read_job_removed(signal: &Message<'_>) -> Result<(Box<str>, JobResult), Malformed> {
    let mut body = signal.body();
    let _number = body.u32()?;
    let path = read_path(&mut body)?;
    let _unit = body.string()?;
    let result = JobResult::from_word(body.string()?);
    body.end()?;
    Ok((path, result))
}

fn read_path(body: &mut Reader<'_>) -> Result<Box<str>, Malformed> {
    let path = body.object_path()?;
    if path.len() <= PATH_MAX { Ok(path.into()) } else { Err(Malformed::Path) }
}

fn read_property<'a>(body: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    if body.variant()? == "s" { body.string() } else { Err(Malformed::Signature) }
}

fn other(word: &str) -> Box<str> {
    cut(word, WORD_MAX)
}

fn cut(text: &str, limit: usize) -> Box<str> {
    text[..text.floor_char_boundary(limit)].into()
}

impl UnitPath {
    /// Any path, which systemd need not know.
    #[cfg(test)]
    pub(crate) fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// As an object path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ActiveState {
    fn from_word(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "reloading" if !trial::is(Mutant::ReloadingIsStopped) => Self::Reloading,
            "activating" => Self::Activating,
            "deactivating" => Self::Deactivating,
            _ => Self::Other(other(word)),
        }
    }

    /// systemd's word for it; bytes from outside.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::Other(word) => word,
        }
    }
}

impl LoadState {
    fn from_word(word: &str) -> Self {
        match word {
            "loaded" => Self::Loaded,
            "masked" => Self::Masked,
            _ => Self::Other(other(word)),
        }
    }
}

impl JobResult {
    fn from_word(word: &str) -> Self {
        match word {
            "done" => Self::Done,
            "timeout" => Self::Timeout,
            _ => Self::Other(other(word)),
        }
    }
}

impl ErrorReply {
    /// Whether systemd says that there is no such unit.
    pub fn is_missing_unit(&self) -> bool {
        let reason = self.name.strip_prefix("org.freedesktop.systemd1.");
        matches!(reason, Some("NoSuchUnit" | "LoadFailed" | "InvalidName"))
    }

    /// Whether systemd left the bus before it replied, as it does when it executes itself anew: worth
    /// another try.
    pub fn is_disconnect(&self) -> bool {
        const WORD: &[u8] = b"disconnected";
        !trial::is(Mutant::ReexecutionIsFailure)
            && &*self.name == "org.freedesktop.DBus.Error.NoReply"
            && self.text.as_bytes().windows(WORD.len()).any(|part| part == WORD)
    }
}
