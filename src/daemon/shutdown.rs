//! The end of the daemon (daemon-lifecycle.md section 6).
//!
//! ```text
//!            SIGTERM                   ack      nack     a provider gone     20 s, if the cluster
//!                                                                            speaks less than 1.1
//! Running    a provider: ask it,       nothing  nothing  nothing             -
//!            close the port
//!            -> Draining; none: exit
//! Draining   only logs                 noted    exit     none left: exit     exit
//!                                                        the one asked: ask
//!                                                        the next
//! ```
//!
//! While draining everything works as before: the cluster takes the resources away by ordinary requests
//! and then disconnects. There is no limit of our own; what manages services has one.

use crate::line;
use crate::remote::{ConnId, Version, shutdown_request};
use crate::time::{Instant, Now};
use crate::trial::{self, Mutant};

use super::core::{Core, Effect, ExitCode};

/// How long clusters that do not know the request are waited for, in milliseconds.
const UNANSWERED: u64 = 20_000;

/// How far the daemon's end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shutdown {
    #[default]
    Running,
    /// The cluster was asked by way of a provider; `until` if it may not know how to answer.
    Draining { asked: ConnId, until: Option<Instant> },
}

impl Shutdown {
    /// What happens, a column of the table.
    fn meets(self, event: &'static str) {
        trial::reach("shutdown", if self.has_begun() { "Draining" } else { "Running" }, event);
    }

    pub(super) fn has_begun(self) -> bool {
        self != Self::Running
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Running => None,
            Self::Draining { until, .. } => until,
        }
    }
}

impl Core {
    /// SIGTERM.
    pub(super) fn terminate(&mut self, now: Now) {
        self.shutdown.meets("SIGTERM");
        if self.shutdown.has_begun() {
            self.log(line!(Notice, "Waiting for cluster to stop resources before exiting"));
            return;
        }
        self.effects.push_back(Effect::Unlisten);
        if trial::is(Mutant::ListenerIsProvider) {
            return self.exit(ExitCode::Ok);
        }
        match self.providers.front().copied() {
            Some(provider) => self.ask_to_drain(provider, now),
            None => self.exit(ExitCode::Ok),
        }
    }

    fn ask_to_drain(&mut self, provider: ConnId, now: Now) {
        let Some(connection) = self.connections.get(&provider) else { return };
        let answers = connection.version() >= Version::KNOWS_SHUTDOWN;
        let until = (!answers && !trial::is(Mutant::AckAwaitedForever)).then(|| now.mono.after(UNANSWERED));
        self.shutdown = Shutdown::Draining { asked: provider, until };
        self.log(line!(Notice, "Sending shutdown request to cluster"));
        self.send(provider, shutdown_request(), now);
    }

    pub(super) fn shutdown_acknowledged(&mut self) {
        self.shutdown.meets("ack");
        if let Shutdown::Draining { until, .. } = &mut self.shutdown {
            *until = None;
            self.log(line!(Info, "IPC proxy provider acknowledged shutdown request"));
        }
    }

    pub(super) fn shutdown_refused(&mut self) {
        self.shutdown.meets("nack");
        if self.shutdown.has_begun() && !trial::is(Mutant::NackIgnored) {
            self.log(line!(
                Info,
                "Exiting immediately after IPC proxy provider indicated no resources will be stopped"
            ));
            self.exit(ExitCode::Ok);
        }
    }

    pub(super) fn shutdown_unanswered(&mut self) {
        self.shutdown.meets("20 s, if the cluster");
        self.log(line!(
            Error,
            "Exiting without the cluster's acknowledgement: it has not answered the shutdown request for {} s",
            UNANSWERED / 1000
        ));
        self.exit(ExitCode::Ok);
    }

    /// A provider's connection is gone.
    pub(super) fn provider_gone(&mut self, provider: ConnId, now: Now) {
        self.shutdown.meets("a provider gone");
        let Shutdown::Draining { asked, .. } = self.shutdown else { return };
        match self.providers.front().copied() {
            None => self.exit(ExitCode::Ok),
            Some(next) if asked == provider => self.ask_to_drain(next, now),
            Some(_) => {}
        }
    }
}
