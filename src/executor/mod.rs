//! Resources and their operations: what runs when, what follows what, and who is told
//! (executor-semantics.md sections 1 to 5 and 8).
//!
//! # Theory of operation
//!
//! A registered resource has at most one *active* operation, a queue of *pending* ones behind it, and
//! the *recurring* ones that have been started at least once. Each resource **name** also has one lane:
//! at most one process runs in it, whatever it belongs to, and operations that are due wait for the lane
//! in order. A removed resource keeps its lane until its last process has been reaped.
//!
//! A process that SIGKILL does not end (it waits in the kernel, for a dead file server or disk) is *left
//! behind*: its operation is reported, and the lane stays taken until the process has been reaped, if ever.
//!
//! # The life of an operation
//!
//! Rows are the phases of an operation, columns what happens. *Turn* is the head of the queue finding
//! nothing active; *lane* is the lane falling free; *deadline* is the one deadline an operation has, 5 s for
//! one that was killed; *examined* is the answer to [`Action::Examine`].
//!
//! ```text
//!            turn         lane         ended            deadline          cancel, stop, unregister
//! Delayed    waits        -            -                -> Queued         reported cancelled, gone
//! Queued     -> Blocked   -            -                -                 reported cancelled, gone
//! Blocked    -            -> Running   -                ¹ reported        recurring: reported cancelled, gone
//!                                                       timed out, then   one-shot: goes on
//!                                                       as if it had run
//! Running    -            -            reported, then   killed:           recurring: killed:
//!                                      recurring: Idle  Killed(TimedOut)  Killed(Cancelled)
//!                                      one-shot: gone                     one-shot: goes on
//! Killed     -            -            reported with    to be examined    recurring: Killed(Cancelled)
//!                                      the cause, then  ² reported with
//!                                      as from Running  the cause, then
//!                                                       as from Running
//! Idle       -            -            -                -> Blocked        reported cancelled, gone
//! ```
//!
//! ¹ Only if a process that was left behind has the lane: the time-out of whoever waits for it counts from
//! then on, because nobody knows whether the lane will ever be free. ² When it has been examined; its process is
//! left behind.
//!
//! An operation that systemd works on is `Asked` in the place of `Running`; so is one whose child found no init script,
//! if there may be a unit of that name. The table of that is in [`mod@unit`].
//!
//! A repeated request for a recurring operation that exists renames it, has its next result told in any
//! case and, if it is `Idle`, makes it due at once (section 3.3).
//!
//! # Order
//!
//! Requests take effect and queue their notifications at once, but nothing starts before
//! [`Executor::dispatch`]: the reply with the call id is on its way before the operation can end.
#![forbid(unsafe_code)]

mod alerts;
mod operation;
mod run;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use crate::agent::{Agent, ChildId, Command, Parameters, Place, Status, Unit, duration};
use crate::line;
use crate::log::{Escaped, Line};
use crate::time::{Instant, Now};
use crate::trial::{self, Mutant};

pub use self::alerts::Alert;
use self::alerts::Flight;
use self::operation::{Operation, OperationId, Phase};

/// For how many actions the queue keeps room while it is empty.
const ACTIONS_KEPT: usize = 8;

/// Who asked: a cluster connection or a local client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Why a request was refused; the number is what the reply says (executor-api.md section 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something the request needs is missing or wrong: `-EINVAL`.
    Invalid = -22,
    /// No such resource: `-ENODEV`.
    NoSuchResource = -19,
    /// Nothing to do it to, or unknown: `-EOPNOTSUPP`.
    NotSupported = -95,
    /// A bound has been reached: `-E2BIG`.
    TooMuch = -7,
    /// Not for this client: `-EACCES`.
    NotPermitted = -13,
}

/// What `lrmd_rsc_exec` asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number by which its results are known; never 0.
    pub call_id: u32,
    /// Who asked.
    pub client: ClientId,
    /// The resource's name.
    pub resource: String,
    /// `start`, `stop`, `monitor`…
    pub action: String,
    /// Milliseconds from the end of one run to the start of the next; 0 for a one-shot.
    pub interval: u32,
    /// Milliseconds a run may take; 0 for no limit.
    pub timeout: u32,
    /// Milliseconds before it may start.
    pub start_delay: u32,
    /// Echoed.
    pub user_data: Option<String>,
    /// Completion is told only to `client`.
    pub notify_requester_only: bool,
    /// Results equal to the one told last are not told again.
    pub notify_changes_only: bool,
    /// Echoed, and handed to the agent.
    pub parameters: Rc<Parameters>,
}

/// What a completion notification says (executor-api.md section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// To whom: `None` for every registered client.
    pub only: Option<ClientId>,
    /// Of the request that asked for it last.
    pub call_id: u32,
    /// The resource's name.
    pub resource: Rc<str>,
    /// As requested.
    pub action: String,
    /// As requested, in milliseconds.
    pub interval: u32,
    /// As requested, in milliseconds.
    pub timeout: u32,
    /// As requested, in milliseconds.
    pub start_delay: u32,
    /// As requested.
    pub user_data: Option<String>,
    /// The result code.
    pub rc: u8,
    /// The execution status.
    pub status: Status,
    /// Whether the resource is not registered any more.
    pub deleted: bool,
    /// Seconds since 1970 when it became active; 0 for later runs and what never started.
    pub run_time: u64,
    /// Seconds since 1970 when the result last changed.
    pub change_time: u64,
    /// Milliseconds from becoming active to now; 0 for later runs and what never started.
    pub exec_time: u64,
    /// Milliseconds from the request to becoming active; 0 for later runs and what never started.
    pub queue_time: u64,
    /// Why, for people.
    pub reason: Option<String>,
    /// Standard error if there was any, else standard output, else `None`.
    pub output: Option<Vec<u8>>,
    /// Exactly as requested.
    pub parameters: Rc<Parameters>,
}

/// What the executor wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Run a child; its end comes back by [`Executor::ended`].
    Spawn(ChildId, Command),
    /// Have systemd do something; what comes of it is told by [`Executor::answered`].
    Ask {
        /// Its number.
        child: ChildId,
        /// What.
        unit: Box<Unit>,
        /// How long it may take, in milliseconds; 0 for no limit.
        timeout: u32,
    },
    /// What comes of [`Action::Ask`] is not wanted any more.
    Forget(ChildId),
    /// Kill a child.
    Kill {
        /// Its number.
        child: ChildId,
        /// Its whole process group, or only the process.
        group: bool,
    },
    /// Find out what keeps a child that was killed; [`Executor::examined`] waits for the answer, unless the
    /// child has ended.
    Examine(ChildId),
    /// Tell clients of a result.
    Notify(Box<Completion>),
    /// For the log.
    Log(Line),
}

/// A resource's name: what is registered under it, and its lane.
#[derive(Debug)]
struct Resource {
    name: Rc<str>,
    /// `None` once it is unregistered and only its lane is left.
    registration: Option<Registration>,
    /// The process that has the lane.
    running: Option<ChildId>,
    /// Operations that are due and wait for the lane, in order.
    waiting: VecDeque<OperationId>,
    /// It stands in [`Executor::ready`].
    ready: bool,
}

#[derive(Debug)]
struct Registration {
    agent: Rc<Agent>,
    /// Recurring operations end with the last cluster connection.
    drop_recurring: bool,
    active: Option<OperationId>,
    pending: VecDeque<OperationId>,
    recurring: Vec<OperationId>,
}

/// All resources and operations.
#[derive(Debug)]
pub struct Executor {
    place: Place,
    resources: BTreeMap<Rc<str>, Box<Resource>>,
    operations: BTreeMap<OperationId, Box<Operation>>,
    children: BTreeMap<ChildId, OperationId>,
    alerts: Vec<Flight>,
    /// The processes that were left behind, and whose lanes they have: at most one of each resource.
    left_behind: BTreeMap<ChildId, Rc<str>>,
    deadlines: BTreeSet<(Instant, OperationId)>,
    /// Resources that may have a turn or a lane to give: those whose flag says so.
    ready: VecDeque<Rc<str>>,
    actions: VecDeque<Action>,
    last_operation: u64,
    last_child: u64,
    last_alert: u64,
}

impl Executor {
    /// How many resources may be registered at once.
    pub const RESOURCES: usize = 100_000;

    /// How many operations may exist at once; a request beyond is refused.
    pub const OPERATIONS: usize = 200_000;

    /// An executor that knows no resources.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            resources: BTreeMap::new(),
            operations: BTreeMap::new(),
            children: BTreeMap::new(),
            alerts: Vec::new(),
            left_behind: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            ready: VecDeque::new(),
            actions: VecDeque::new(),
            last_operation: 0,
            last_child: 0,
            last_alert: 0,
        }
    }

    /// Registers a resource. Registering it again with the same agent changes nothing; with another
    /// agent it replaces it (executor-api.md section 3.1).
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for an empty name or agent, [`Refusal::TooMuch`] at [`Executor::RESOURCES`].
    pub fn register(
        &mut self,
        name: &str,
        agent: Agent,
        drop_recurring: bool,
        now: Now,
    ) -> Result<(), Refusal> {
        if name.is_empty() || agent.class.is_empty() || agent.kind.is_empty() {
            return Err(Refusal::Invalid);
        }
        match self.registration(name) {
            Some(registration)
                if registration.agent.same(&agent) && !trial::is(Mutant::RegistrationWipes) =>
            {
                return Ok(());
            }
            Some(_) => {}
            None if self.resources.len() >= Self::RESOURCES => return Err(Refusal::TooMuch),
            None => {}
        }
        let old = self.take_registration(name, now);
        let registration = Registration {
            agent: Rc::new(agent),
            drop_recurring,
            active: None,
            pending: VecDeque::new(),
            recurring: Vec::new(),
        };
        match self.resources.get_mut(name) {
            Some(resource) => resource.registration = Some(registration),
            None => {
                let name: Rc<str> = name.into();
                let resource = Resource {
                    name: name.clone(),
                    registration: Some(registration),
                    running: None,
                    waiting: VecDeque::new(),
                    ready: false,
                };
                self.resources.insert(name, Box::new(resource));
            }
        }
        if let Some(old) = old {
            self.log(line!(
                Warning,
                "Resource {} is registered again with another agent: the old one's operations are cancelled",
                Escaped(name.as_bytes())
            ));
            // Only now, so that their notifications do not call the resource deleted.
            self.cancel_all(&old.recurring, now);
        }
        Ok(())
    }

    /// Unregisters a resource: what has not started is cancelled, recurring operations too. Returns
    /// whether an operation of it was active (executor-api.md section 3.3). An unknown one is fine.
    pub fn unregister(&mut self, name: &str, now: Now) -> bool {
        let Some(old) = self.take_registration(name, now) else { return false };
        if !trial::is(Mutant::UnregisterKeepsMonitors) {
            self.cancel_all(&old.recurring, now);
        }
        self.forget_empty(name);
        old.active.is_some()
    }

    /// The agent a resource was registered with.
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.registration(name).map(|registration| &*registration.agent)
    }

    /// Queues an operation (executor-semantics.md section 2), or merges it with the recurring one that
    /// exists (section 3.3).
    ///
    /// # Errors
    /// [`Refusal::Invalid`] without an action, [`Refusal::NoSuchResource`], [`Refusal::TooMuch`] at
    /// [`Executor::OPERATIONS`].
    pub fn execute(&mut self, request: Request, now: Now) -> Result<(), Refusal> {
        if request.resource.is_empty() || request.action.is_empty() {
            return Err(Refusal::Invalid);
        }
        if self.registration(&request.resource).is_none() {
            return Err(Refusal::NoSuchResource);
        }
        if request.interval > 0
            && let Some(id) = self.find(&request.resource, &request.action, request.interval)
        {
            self.merge(id, request, now);
            return Ok(());
        }
        if self.operations.len() >= Self::OPERATIONS {
            return Err(Refusal::TooMuch);
        }
        if trial::is(Mutant::SecretsLogged) {
            self.log(line!(Debug, "{:?}", request.parameters));
        }
        if request.action.eq_ignore_ascii_case("stop") && !trial::is(Mutant::StopKeepsMonitors) {
            self.cancel_recurring(&request.resource, None, now);
        }
        let Some(resource) = self.resources.get_mut(&*request.resource) else {
            return Err(Refusal::NoSuchResource);
        };
        let Some(registration) = resource.registration.as_mut() else { return Err(Refusal::NoSuchResource) };
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        registration.pending.push_back(id);
        let delay = request.start_delay;
        let name = resource.name.clone();
        let operation = Operation::new(request, name.clone(), registration.agent.clone(), now.mono);
        self.operations.insert(id, Box::new(operation));
        self.make_ready(&name);
        if delay > 0 {
            self.set_deadline(id, Some(now.mono.after(delay.into())));
        }
        Ok(())
    }

    /// Cancels the operation with this action and interval (executor-semantics.md section 3.4).
    ///
    /// # Errors
    /// [`Refusal::NoSuchResource`], and [`Refusal::NotSupported`] if nothing can be cancelled: a one-shot
    /// that runs cannot.
    pub fn cancel(&mut self, name: &str, action: &str, interval: u32, now: Now) -> Result<(), Refusal> {
        if self.registration(name).is_none() {
            return Err(Refusal::NoSuchResource);
        }
        let id = self.find(name, action, interval).ok_or(Refusal::NotSupported)?;
        self.cancel_all(&[id], now);
        Ok(())
    }

    /// Every registered resource with its recurring operations' action, interval and timeout
    /// (executor-api.md section 6.1). What has been cancelled and is being killed is none any more.
    pub fn recurring(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (&str, u32, u32)>)> {
        self.resources.values().filter_map(|resource| {
            let registration = resource.registration.as_ref()?;
            let operations = registration.recurring.iter().filter_map(|id| self.operations.get(id));
            let described = operations
                .filter(|operation| !operation.is_being_cancelled())
                .map(|operation| &operation.request)
                .map(|request| (&*request.action, request.interval, request.timeout));
            Some((&*resource.name, described))
        })
    }

    /// The last cluster connection is gone: recurring operations of resources that were registered so end
    /// (executor-semantics.md section 8). Or a local client is: then those it asked for.
    pub fn clients_gone(&mut self, local: Option<ClientId>, now: Now) {
        let drops = |resource: &&Resource| resource.registration.as_ref().is_some_and(|r| r.drop_recurring);
        let names: Vec<_> = self
            .resources
            .values()
            .map(Box::as_ref)
            .filter(drops)
            .map(|resource| resource.name.clone())
            .collect();
        for name in names {
            self.cancel_recurring(&name, local, now);
        }
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.actions.shrink_to(ACTIONS_KEPT);
        }
        action
    }

    /// When to call [`Executor::wake`].
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at).into_iter().chain(self.alert_deadline()).min()
    }

    fn registration(&self, name: &str) -> Option<&Registration> {
        self.resources.get(name)?.registration.as_ref()
    }

    /// The operation with this action and interval: among the pending ones first, then the recurring ones.
    fn find(&self, name: &str, action: &str, interval: u32) -> Option<OperationId> {
        let registration = self.registration(name)?;
        registration.pending.iter().chain(&registration.recurring).copied().find(|id| {
            self.operations.get(id).is_some_and(|operation| {
                operation.request.interval == interval
                    && operation.request.action.eq_ignore_ascii_case(action)
                    && !operation.is_being_cancelled()
            })
        })
    }

    /// A repeated request for a recurring operation.
    fn merge(&mut self, id: OperationId, request: Request, now: Now) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let warning = line!(
            Warning,
            "Recurring {} of {} every {} exists as call {}: it becomes call {}",
            Escaped(request.action.as_bytes()),
            Escaped(request.resource.as_bytes()),
            duration(request.interval),
            operation.request.call_id,
            request.call_id
        );
        operation.request.call_id = request.call_id;
        operation.request.user_data = request.user_data;
        operation.told = None;
        if operation.phase == Phase::Idle {
            self.make_due(id, now);
        }
        if trial::is(Mutant::RepeatedMonitorLeaks) {
            std::mem::forget(request.parameters);
        }
        self.log(warning);
    }

    /// Takes a registration away and reports what it had pending; its recurring operations are the
    /// caller's to cancel, and what is active goes on.
    fn take_registration(&mut self, name: &str, now: Now) -> Option<Registration> {
        let mut registration = self.resources.get_mut(name)?.registration.take()?;
        self.cancel_all(registration.pending.make_contiguous(), now);
        Some(registration)
    }

    /// Ends all recurring operations of a resource, those that have started first.
    /// Of all clients, or of one.
    fn cancel_recurring(&mut self, name: &str, only: Option<ClientId>, now: Now) {
        let Some(registration) = self.registration(name) else { return };
        let is_meant = |operation: &Operation| only.is_none_or(|client| operation.request.client == client);
        let is_recurring = |id: &OperationId| {
            let operation = self.operations.get(id).filter(|operation| operation.is_recurring());
            operation.is_some_and(|operation| is_meant(operation))
        };
        let all: Vec<_> = registration
            .recurring
            .iter()
            .chain(&registration.pending)
            .copied()
            .filter(is_recurring)
            .collect();
        self.cancel_all(&all, now);
    }

    fn log(&mut self, line: Line) {
        self.actions.push_back(Action::Log(line));
    }
}
