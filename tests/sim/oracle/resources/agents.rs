//! What an operation runs, by the standard of its agent (executor-semantics.md sections 5 to 7 and 10).

use pacelet::agent::{Ending, Step};
use pacelet::time::Now;

use super::super::results::{
    Completion, DONE, ERROR, ERROR_FATAL, NOT_INSTALLED, Outcome, PENDING, Reason, TIMEOUT,
};
use super::{AGENTS, OCF_ROOT, Operation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    Ocf,
    Lsb,
    Service,
    Systemd,
    Stonith,
    Unknown,
}

/// What systemd's words mean.
pub fn of_state(word: &str) -> Outcome {
    match word {
        "active" | "reloading" => Outcome { rc: 0, status: DONE, reason: Reason::None, ran: true },
        "activating" | "deactivating" => {
            Outcome { rc: 193, status: PENDING, reason: Reason::None, ran: true }
        }
        _ => Outcome { ran: true, ..Outcome::ours(7, DONE, word) },
    }
}

/// How a job ended.
pub fn of_job(result: &str) -> Outcome {
    let (rc, status, reason) = match result {
        "done" => (0, DONE, Reason::None),
        "timeout" => (1, TIMEOUT, Reason::Ours("timed out".into())),
        _ => (1, ERROR, Reason::Ours(format!("failed with result '{result}'"))),
    };
    Outcome { rc, status, reason, ran: true }
}

impl Operation {
    pub fn standard(&self) -> Standard {
        match &*self.agent.class.to_lowercase() {
            "ocf" => Standard::Ocf,
            "lsb" => Standard::Lsb,
            "service" => Standard::Service,
            "systemd" => Standard::Systemd,
            "stonith" => Standard::Stonith,
            _ => Standard::Unknown,
        }
    }

    /// Whether it asks for a state.
    pub fn is_status(&self) -> bool {
        matches!(&*self.request.action.to_lowercase(), "monitor" | "status")
    }

    /// What it comes to without running anything (sections 5.3 and 10).
    pub fn known(&self) -> Option<Outcome> {
        let agent = &self.agent;
        let missing = || Some(Outcome::ours(5, NOT_INSTALLED, "No such file or directory"));
        match (self.standard(), &agent.provider) {
            (Standard::Stonith, _) => {
                let probe = self.request.action == "monitor" && self.request.interval == 0;
                let mut outcome = Outcome::ours(if probe { 7 } else { 1 }, 4, "No connection to fencer");
                if probe {
                    outcome.reason = Reason::None;
                }
                Some(outcome)
            }
            (Standard::Unknown, _) => missing(),
            (Standard::Ocf, None) => {
                Some(Outcome::ours(1, ERROR_FATAL, "Required agent or action information missing"))
            }
            (Standard::Ocf, Some(provider)) if provider.contains('/') || agent.kind.contains('/') => {
                missing()
            }
            (Standard::Lsb | Standard::Service, _)
                if agent.kind.contains('/') && !agent.kind.starts_with('/') =>
            {
                missing()
            }
            (Standard::Systemd, _) => self.known_unit(),
            _ => None,
        }
    }

    /// The same for a unit.
    pub fn known_unit(&self) -> Option<Outcome> {
        if !self.is_status() && !matches!(&*self.request.action, "start" | "stop" | "restart") {
            return Some(Outcome::ours(3, ERROR, "not implemented for systemd resources"));
        }
        self.agent.kind.contains('/').then(|| Outcome::ours(1, ERROR, "No DBus object found"))
    }

    /// As systemd calls it.
    pub fn unit_name(&self) -> String {
        let kind = &self.agent.kind;
        let known = [".service", ".socket", ".mount", ".timer", ".path"];
        let (stem, suffix) = match kind.rsplit_once('.') {
            Some((stem, suffix)) if known.contains(&&*format!(".{suffix}")) => (stem, Some(suffix)),
            _ => (&**kind, None),
        };
        let completes = suffix.is_some() || self.standard() == Standard::Service;
        let instance = if stem.ends_with('@') && completes { "pacemaker" } else { "" };
        format!("{stem}{instance}.{}", suffix.unwrap_or("service"))
    }

    /// The command that its process must run (sections 6.1 and 6.3): paths, arguments, and what is added to the
    /// environment.
    pub fn command(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let kind = &self.agent.kind;
        if self.standard() != Standard::Ocf {
            let path = if kind.starts_with('/') { kind.clone() } else { format!("/etc/init.d/{kind}") };
            let action = if self.is_status() { "status" } else { &self.request.action };
            return (vec![path], vec![action.into()], Vec::new());
        }
        let provider = self.agent.provider.clone().unwrap_or_default();
        let paths = AGENTS.iter().map(|place| format!("{}/{provider}/{kind}", place.to_str().unwrap()));
        let mut environment: Vec<_> = self
            .request
            .parameters
            .iter()
            .map(|(name, value)| match &**name {
                "OCF_CHECK_LEVEL" => format!("{name}={value}"),
                _ => format!("OCF_RESKEY_{name}={value}"),
            })
            .collect();
        environment.extend([
            "OCF_RA_VERSION_MAJOR=1".into(),
            "OCF_RA_VERSION_MINOR=1".into(),
            format!("OCF_ROOT={}", OCF_ROOT.to_str().unwrap()),
            "OCF_EXIT_REASON_PREFIX=ocf-exit-reason:".into(),
            format!("OCF_RESOURCE_INSTANCE={}", self.request.resource),
            format!("OCF_RESOURCE_TYPE={kind}"),
            format!("OCF_RESOURCE_PROVIDER={provider}"),
        ]);
        environment.sort();
        (paths.collect(), vec![self.request.action.clone()], environment)
    }

    /// What the end of its process comes to.
    pub fn outcome(&self, ending: Ending, timed_out: bool) -> Outcome {
        let rc = match (ending, self.is_status()) {
            (Ending::Exited(code), _) if self.standard() == Standard::Ocf => {
                if matches!(code, 0..=9 | 190 | 191) { code } else { 1 }
            }
            (Ending::Exited(code @ 0..=7), false) => code,
            (Ending::Exited(0), true) => 0,
            (Ending::Exited(1..=3), true) => 7,
            (Ending::Exited(150), true) => 5,
            (Ending::Exited(151), true) => 4,
            _ => 1,
        };
        let outcome = Outcome::of(ending, timed_out, self.request.timeout, &self.agent.kind, &self.stderr);
        match ending {
            // A script that is out of reach need not be missing.
            Ending::NotRun(Step::Lookup, errno) if self.standard() != Standard::Ocf && errno != 2 => {
                let rc = if matches!(errno, 1 | 13) { 4 } else { 1 };
                Outcome::ours(rc, ERROR, &format!("{}: ", self.agent.kind))
            }
            // Scripts have no way to say why.
            Ending::Exited(_) if self.standard() != Standard::Ocf => {
                Outcome { rc, reason: Reason::None, ..outcome }
            }
            Ending::Exited(_) => Outcome { rc, ..outcome },
            _ => outcome,
        }
    }

    /// What must be told of a result.
    pub fn completion(&self, outcome: Outcome, deleted: bool, now: Now) -> Completion {
        let request = &self.request;
        let activated = self.activated;
        let output = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        Completion {
            call: self.call,
            resource: request.resource.clone(),
            action: request.action.clone(),
            interval: request.interval,
            timeout: request.timeout,
            start_delay: request.start_delay,
            user_data: request.user_data.clone(),
            outcome,
            deleted,
            run_time: activated.map_or(0, |at| at.epoch),
            change_time: self.change_time,
            exec_time: activated.map_or(0, |at| now.mono.since(at.mono)),
            queue_time: activated.map_or(0, |at| at.mono.since(self.queued)),
            output: output.clone(),
            parameters: request.parameters.clone(),
        }
    }
}
