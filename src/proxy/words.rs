//! What the log is told of sessions: who, how much, why, and what would help.

use crate::line;
use crate::log::Line;

use super::budget::Over;
use super::incoming::Fault;
use super::outgoing::Misfit;
use super::session::{Session, Who};
use super::{ALL_LIMIT, Asked, JOINED_LIMIT, Ring, TOOL_LIMIT};

/// Why a session ends that its tool has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The tool broke the rules.
    Fault(Fault),
    /// A request's last part did not come.
    Unfinished,
    /// So many bytes of a request wait for its last part, and others' need the room.
    Joined(usize),
    /// So many events wait, and the tool does not read them.
    Deaf(usize),
    /// So many bytes wait for the tool.
    Held(usize),
    /// The cluster ended it.
    Destroyed,
}

/// That a session ends.
pub(super) fn ending(session: &Session, why: End) -> Line {
    match why {
        End::Fault(fault) => line!(Warning, "Ended {session}: {fault}"),
        End::Unfinished => line!(Warning, "Ended {session}: a request began and did not go on"),
        End::Joined(bytes) => line!(
            Warning,
            "Ended {session}: {bytes} bytes of a request wait for the rest, those of all tools exceed {JOINED_LIMIT}"
        ),
        End::Deaf(events) => {
            line!(Warning, "Ended {session}: it does not read, {events} events wait for it")
        }
        End::Held(bytes) => line!(
            Warning,
            "Ended {session}: it does not read, {bytes} bytes wait for it; {TOOL_LIMIT} may for one tool and {ALL_LIMIT} for all"
        ),
        End::Destroyed => line!(Info, "Ended {session}: the cluster says so"),
    }
}

/// That a tool gets no session.
pub(super) fn refusal(asked: &Asked<'_>, memory: u64, over: Over) -> Line {
    let who = Who(asked.name, asked.client);
    let kib = memory / 1024;
    match over {
        Over::Sessions(limit) => {
            line!(Warning, "Refused {who}: {limit} sessions of tools are open, as many as there may be")
        }
        Over::OwnSessions(limit) => {
            line!(Warning, "Refused {who}: this user has {limit} sessions open, as many as one may have")
        }
        Over::Memory(limit) => line!(
            Warning,
            "Refused {who}: it needs {kib} KiB of shared memory, and all tools may have {} KiB (PACELET_tools_memory). Is PCMK_ipc_buffer larger than needed?",
            limit / 1024
        ),
        Over::OwnMemory(limit) => line!(
            Warning,
            "Refused {who}: it needs {kib} KiB of shared memory, and one user may have {} KiB (half of PACELET_tools_memory). Is PCMK_ipc_buffer larger than needed?",
            limit / 1024
        ),
    }
}

/// That a message is lost.
pub(super) fn too_long(session: &Session, misfit: Misfit) -> Line {
    let what = if misfit.ring == Ring::Event { "an event" } else { "a response" };
    line!(
        Error,
        "Lost {what} of {} bytes for {session}: it takes {} at most. Set PCMK_ipc_buffer to {} or more, for this daemon and for the tool",
        misfit.len,
        session.outbox.longest(),
        misfit.needed
    )
}
