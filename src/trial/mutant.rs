//! Bugs that releases of Pacemaker had, each as small a change of our code as shows what it did to a cluster.
//!
//! The numbers are those of the list of pitfalls in versions.md section 5.

/// A historical bug; each is looked for by name where the code has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// 1: header and payload share a record: clusters freeze for up to 60 s.
    SharedRecord,
    /// 2, until 3.0.0: a message that does not go on is waited for.
    PartialMessageKept,
    /// 3, until 1.1.15: who has not proved anything is announced as a new client.
    StrangersAnnounced,
    /// 4, in all releases: a client of the executor on the node itself is announced as a new client.
    LocalsAnnounced,
    /// 5, until 1.1.19: the oldest connection serves as provider, although it may be half dead.
    OldestProvider,
    /// 6, until 1.1.16: a client that takes nothing is never given up.
    DeafClientKept,
    /// 7, until 1.1.16: the time that is left is counted anew with each portion.
    TimeStartsOver,
    /// 8: without a key connections are accepted, and then closed.
    AcceptsWithoutKey,
    /// 10: control characters in what agents write, as they are.
    RawOutput,
    /// 13, until 1.1.14 and 2.1.8: what tools ask is not given back when it has been passed on.
    ProxiedRequestLeaks,
    /// 13, until 2.0.2: a repeated request for a monitor leaks.
    RepeatedMonitorLeaks,
    /// 15, 2.1.5: the closed listener is taken for the loss of the cluster: the daemon ends at once.
    ListenerIsProvider,
    /// 16: clusters before 1.1.15 never acknowledge, and are waited for.
    AckAwaitedForever,
    /// 16, until 1.1.17: nobody understands that nothing will be stopped.
    NackIgnored,
    /// 24, until 1.1.14: a monitor runs beside a start or stop of the same resource.
    MonitorCollides,
    /// 25, until 1.1.12: monitors go on when their resource is stopped.
    StopKeepsMonitors,
    /// 26, until 1.1.19: a monitor that is cancelled while it runs has failed.
    CancelIsFailure,
    /// 27, until 1.1.17: what was cancelled is still in the list of what waits.
    CancelledStillWaits,
    /// 27, until 2.0.1: what is cancelled while systemd works on it is still asked for.
    CancelledUnitGoesOn,
    /// 28, until 1.1.14: monitors of a resource that is not registered any more go on.
    UnregisterKeepsMonitors,
    /// 29, until 2.1.9 and 3.0.0: a unit is started as soon as the job for it is queued.
    QueuedJobIsDone,
    /// 29: a job whose end is told before its name is waited for in vain.
    EarlyEndDropped,
    /// 29: the end of some job is taken for that of ours.
    AnyJobEnds,
    /// 30, until 3.0.0: a unit that is being started when it is probed has failed.
    ActivatingIsFailure,
    /// 30, until 1.1.16: a unit that reads its configuration again is stopped.
    ReloadingIsStopped,
    /// 30, until 3.0.0: what is asked while systemd executes itself anew has failed.
    ReexecutionIsFailure,
    /// 30, until 1.1.13: nobody is told of what was asked when the bus ended.
    LostBusForgets,
    /// 30: a unit that never settles is asked for for ever.
    EndlessFollowUp,
    /// 31, until 2.1.9 and 3.0.0: what marks a unit that is no service is where systemd does not look.
    OverrideOfService,
    /// 32, until 1.1.12: the time that is left is told as the operation's limit.
    FollowUpsTimeTold,
    /// 33, until 2.0.3: times are measured by the clock on the wall.
    WallClockTimes,
    /// 34: an agent that is not there is an error like others.
    MissingAgentIsError,
    /// 35, in all releases: a monitor that could not be prepared never runs again, and cannot be cancelled.
    ZombieMonitor,
    /// 36: parameters whose names are no XML names are not echoed.
    InexactEcho,
    /// 37: values of parameters in the log.
    SecretsLogged,
    /// 38: registering a resource again makes it forget what runs.
    RegistrationWipes,
}

impl Mutant {
    /// All of them, and the number of the pitfall of each.
    pub const ALL: [(Self, u8); 36] = [
        (Self::SharedRecord, 1),
        (Self::PartialMessageKept, 2),
        (Self::StrangersAnnounced, 3),
        (Self::LocalsAnnounced, 4),
        (Self::OldestProvider, 5),
        (Self::DeafClientKept, 6),
        (Self::TimeStartsOver, 7),
        (Self::AcceptsWithoutKey, 8),
        (Self::RawOutput, 10),
        (Self::ProxiedRequestLeaks, 13),
        (Self::RepeatedMonitorLeaks, 13),
        (Self::ListenerIsProvider, 15),
        (Self::AckAwaitedForever, 16),
        (Self::NackIgnored, 16),
        (Self::MonitorCollides, 24),
        (Self::StopKeepsMonitors, 25),
        (Self::CancelIsFailure, 26),
        (Self::CancelledStillWaits, 27),
        (Self::CancelledUnitGoesOn, 27),
        (Self::UnregisterKeepsMonitors, 28),
        (Self::QueuedJobIsDone, 29),
        (Self::EarlyEndDropped, 29),
        (Self::AnyJobEnds, 29),
        (Self::ActivatingIsFailure, 30),
        (Self::ReloadingIsStopped, 30),
        (Self::ReexecutionIsFailure, 30),
        (Self::LostBusForgets, 30),
        (Self::EndlessFollowUp, 30),
        (Self::OverrideOfService, 31),
        (Self::FollowUpsTimeTold, 32),
        (Self::WallClockTimes, 33),
        (Self::MissingAgentIsError, 34),
        (Self::ZombieMonitor, 35),
        (Self::InexactEcho, 36),
        (Self::SecretsLogged, 37),
        (Self::RegistrationWipes, 38),
    ];
}
