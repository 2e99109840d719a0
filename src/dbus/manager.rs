//! Requests to systemd's manager, and jobs followed to their ends.
//!
//! Starting, stopping and restarting only queue a job; its end is told by the signal `JobRemoved`,
//! which names the job by its path. The life of a request:
//!
//! | request           | reply                                         | error | `JobRemoved`       | deadline | forgotten | connection ends |
//! |-------------------|-----------------------------------------------|-------|--------------------|----------|-----------|-----------------|
//! | `Asked`           | told                                          | told  | -                  | told     | dropped   | told            |
//! | `Asked`, of a job | end seen before: told; else `Running` the job | told  | remembered by path | told     | dropped   | told            |
//! | `Running` a job   | -                                             | -     | its path: told     | told     | dropped   | told            |
//!
//! Every request is told about once, unless it is forgotten. Two requests may run the same job:
//! systemd merges them.
//!
//! So that no end is missed, the match rule is the first call of a connection and `Subscribe`
//! precedes the first job: bus and manager handle one sender's calls in their order. The end of a
//! job may still overtake the reply that names the job, so ends are remembered while such a reply is
//! due.

use std::collections::VecDeque;

use super::connection::{Connection, Error, ErrorReply, Incoming};
use super::message::{Message, Serial};
use super::systemd::{self, Answer, Done, Failure, JobResult, Question, Reply, Request, RequestId};
use crate::time::Instant;
use crate::trial::{self, Mutant};

/// How many requests there may be at a time.
pub const REQUESTS_MAX: usize = 4096;
/// How many ends of jobs are remembered while the reply that names a job is due. The oldest are
/// dropped: who waits for one of them waits until the deadline.
pub const ENDS_MAX: usize = 256;

/// systemd's manager at the other end of a connection to the system bus. Sans-IO: after each call
/// that changes it, write [`outgoing`](Self::outgoing) and take all that [`poll`](Self::poll) gives.
///
/// After an error all requests have failed, which is told as for any other: close the connection and
/// drop this once `poll` gives nothing more.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    /// By when the match rule must be there.
    usable_by: Instant,
    requests: Requests,
}

#[derive(Debug)]
struct Requests {
    /// In the order in which they were made.
    running: Vec<Running>,
    done: VecDeque<Done>,
    /// Ends of jobs that no request runs, the oldest first.
    ends: VecDeque<(Box<str>, JobResult)>,
    /// `None` once it is there.
    match_rule: Option<Serial>,
    subscription: Subscription,
}

#[derive(Debug)]
struct Running {
    id: RequestId,
    question: Question,
    stage: Stage,
    deadline: Instant,
}

#[derive(Debug)]
enum Stage {
    Asked(Serial),
    Running(Box<str>),
}

#[derive(Debug)]
enum Subscription {
    Missing,
    Asked(Serial),
    There,
}

impl Manager {
    /// Over a socket that was just connected, as user `uid`: the one the kernel takes us for. Until
    /// `usable_by` the bus must have let us in.
    pub fn new(uid: u32, usable_by: Instant) -> Self {
        let mut connection = Connection::new(uid);
        let requests = Requests {
            running: Vec::new(),
            done: VecDeque::new(),
            ends: VecDeque::new(),
            match_rule: Some(systemd::add_match(&mut connection)),
            subscription: Subscription::Missing,
        };
        Self { connection, usable_by, requests }
    }

    /// Whether the bus has let us in, and is to tell us of jobs.
    pub const fn is_usable(&self) -> bool {
        self.requests.match_rule.is_none()
    }

    /// Makes a request that fails if it is not done by `deadline`.
    pub fn ask(&mut self, id: RequestId, request: Request<'_>, deadline: Instant) {
        if self.requests.running.len() >= REQUESTS_MAX {
            return self.requests.tell(id, Err(Failure::TooMany));
        }
        if !request.is_sendable() {
            return self.requests.tell(id, Err(Failure::UnitName));
        }
        let question = request.question();
        if let (Question::Job, Subscription::Missing) = (question, &self.requests.subscription) {
            self.requests.subscription = Subscription::Asked(systemd::subscribe(&mut self.connection));
        }
        let stage = Stage::Asked(request.call(&mut self.connection));
        self.requests.running.push(Running { id, question, stage, deadline });
    }

    /// Says that nobody waits for this request any more; what it began goes on.
    pub fn forget(&mut self, id: RequestId) {
        if let Some(running) = self.requests.remove(id)
            && let Stage::Asked(serial) = running.stage
        {
            self.connection.forget(serial);
        }
    }

    /// The next request that is done.
    pub fn poll(&mut self) -> Option<Done> {
        self.requests.done.pop_front()
    }

    /// The bytes that wait for the socket.
    pub fn outgoing(&self) -> &[u8] {
        self.connection.outgoing()
    }

    /// The socket took the first `count` bytes of [`outgoing`](Self::outgoing).
    pub fn sent(&mut self, count: usize) {
        self.connection.sent(count);
    }

    /// Bytes came from the socket.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let received = match self.connection.receive(&mut bytes) {
                Ok(Some(Incoming::Reply(serial, reply))) => self.requests.reply(serial, reply),
                Ok(Some(Incoming::Signal(signal))) => {
                    self.requests.signal(&signal);
                    Ok(())
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if received.is_err() {
                self.lost();
                return received;
            }
        }
        Ok(())
    }

    /// The socket was closed: all requests fail.
    pub fn lost(&mut self) {
        for running in std::mem::take(&mut self.requests.running) {
            self.requests.tell(running.id, Err(Failure::Lost));
        }
    }

    /// When to call [`wake`](Self::wake), if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let usable = self.requests.match_rule.map(|_| self.usable_by);
        self.requests.running.iter().map(|running| running.deadline).chain(usable).min()
    }

    /// A deadline has come.
    pub fn wake(&mut self, now: Instant) -> Result<(), Error> {
        let late: Vec<_> = self.requests.running.iter().filter(|r| r.deadline <= now).map(|r| r.id).collect();
        for id in late {
            self.forget(id);
            self.requests.tell(id, Err(Failure::Deadline));
        }
        if self.requests.match_rule.is_some() && self.usable_by <= now {
            self.lost();
            return Err(Error::Late);
        }
        Ok(())
    }
}

impl Requests {
    fn reply(&mut self, serial: Serial, reply: Result<Message<'_>, ErrorReply>) -> Result<(), Error> {
        if self.match_rule == Some(serial) {
            reply.map_err(Error::SetUp)?;
            self.match_rule = None;
            return Ok(());
        }
        if let Subscription::Asked(asked) = self.subscription
            && asked == serial
        {
            // What kept us from subscribing will mostly keep the job from being queued, too.
            self.subscription = if reply.is_ok() { Subscription::There } else { Subscription::Missing };
            return Ok(());
        }
        let is_this = |running: &Running| matches!(running.stage, Stage::Asked(asked) if asked == serial);
        let Some(running) = self.running.iter_mut().find(|running| is_this(running)) else {
            return Ok(());
        };
        let id = running.id;
        let answer = match reply {
            Ok(message) => running.question.read(&message).map_err(Failure::Answer),
            Err(error) => Err(Failure::Error(error)),
        };
        let result = match answer {
            Ok(Answer::Reply(reply)) => Ok(reply),
            Ok(Answer::Job(_)) if trial::is(Mutant::QueuedJobIsDone) => Ok(Reply::Job(JobResult::Done)),
            Ok(Answer::Job(path)) => match self.ends.iter().find(|(ended, _)| **ended == *path) {
                Some((_, result)) => Ok(Reply::Job(result.clone())),
                None => {
                    running.stage = Stage::Running(path);
                    self.drop_ends();
                    return Ok(());
                }
            },
            Err(failure) => Err(failure),
        };
        self.end(id, result);
        Ok(())
    }

    fn signal(&mut self, signal: &Message<'_>) {
        let Some((path, result)) = systemd::job_removed(signal) else { return };
        let is_same = |job: &str| *job == *path || trial::is(Mutant::AnyJobEnds);
        let is_this = |running: &Running| matches!(&running.stage, Stage::Running(job) if is_same(job));
        let ended: Vec<_> =
            self.running.iter().filter(|running| is_this(running)).map(|running| running.id).collect();
        for id in ended {
            self.end(id, Ok(Reply::Job(result.clone())));
        }
        if self.awaits_job() && !trial::is(Mutant::EarlyEndDropped) {
            if self.ends.len() == ENDS_MAX {
                self.ends.pop_front();
            }
            self.ends.push_back((path, result));
        }
    }

    fn end(&mut self, id: RequestId, result: Result<Reply, Failure>) {
        self.remove(id);
        self.tell(id, result);
    }

    fn tell(&mut self, id: RequestId, result: Result<Reply, Failure>) {
        self.done.push_back(Done { id, result });
    }

    fn remove(&mut self, id: RequestId) -> Option<Running> {
        let place = self.running.iter().position(|running| running.id == id);
        let removed = place.map(|place| self.running.remove(place));
        self.drop_ends();
        removed
    }

    fn drop_ends(&mut self) {
        if !self.ends.is_empty() && !self.awaits_job() {
            self.ends = VecDeque::new();
        }
    }

    /// Whether a reply is due that names a job.
    fn awaits_job(&self) -> bool {
        let due = |running: &Running| matches!(running.stage, Stage::Asked(_));
        self.running.iter().any(|running| running.question == Question::Job && due(running))
    }
}

#[cfg(test)]
mod tests;
