//! systemd's units: the standard `systemd`, and `service` where there is no script (executor-semantics.md section 7).
//!
//! A run of an action is a few questions to systemd, one after the other. [`Unit`] says what comes next, and what the
//! answers mean; who asks, waits and keeps the time is `daemon`.
//!
//! | stage     | answered                            | error                        | file written or removed |
//! |-----------|-------------------------------------|------------------------------|-------------------------|
//! | `Loading` | if it may not exist: -> `Looking`,  | over; if it may not exist:   | -                       |
//! |           | else on to its work                 | not installed                |                         |
//! | `Looking` | loaded or masked: on to its work;   | not installed                | -                       |
//! |           | else not installed                  |                              |                         |
//! | `Marking` | -                                   | -                            | -> `Working`            |
//! | `Working` | over, with what it says             | over; stop of a missing unit | -                       |
//! |           |                                     | has succeeded                |                         |
//!
//! Starting and stopping begin with `Marking`, all else with `Working`. In any stage the run begins again when systemd
//! has left the bus before it answered, as it does when it executes itself anew: every question may be asked twice.
#![forbid(unsafe_code)]

use std::ffi::CString;

use super::{Call, Outcome, Plan, Standard, Status, is_path_part};
use crate::dbus::systemd::{ActiveState, Failure, JobResult, LoadState, Reply, Request, UnitPath};
use crate::trial::{self, Mutant};

/// Where what is decided at run time is, with the highest priority but one.
const DIRECTORY: &str = "/run/systemd/system/";
/// The file that makes a unit the cluster's.
const FILE: &str = "50-pacemaker.conf";
/// How unit names end that are names as they are.
const SUFFIXES: [&str; 5] = [".service", ".socket", ".mount", ".timer", ".path"];
/// What a template's name is completed by where only its existence matters.
const INSTANCE: &str = "pacemaker";

/// A file that changes a unit for as long as the cluster runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// Its directory, which is made, or removed if nothing else is in it.
    pub directory: CString,
    /// The file, in the directory.
    pub path: CString,
    /// What is to be in it; `None`: it is to be removed.
    pub text: Option<String>,
}

/// What systemd is to do for one run of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// As the cluster calls it.
    kind: String,
    /// As systemd does.
    name: String,
    action: String,
    work: Work,
    /// The result if there is no such unit, where that is not certain.
    unless: Option<Outcome>,
    stage: Stage,
    path: Option<UnitPath>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Status,
    Start,
    Stop,
    Restart,
    Describe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Loading,
    Looking,
    Marking,
    Working,
}

/// What comes next.
#[derive(Debug)]
pub enum Todo<'a> {
    /// Ask systemd, and tell [`Unit::answer`].
    Ask {
        /// What.
        request: Request<'a>,
        /// Whether it is to read all unit files before.
        reload: bool,
    },
    /// Write or remove a file, and tell [`Unit::marked`].
    Mark(DropIn),
    /// Ask the whole again, from [`Unit::begin`] on, as soon as that is possible.
    Again,
    /// It is over, with this result and this output.
    End(Outcome, String),
}

/// `unless`: what it comes to if there is no such unit, where that is not certain.
pub(super) fn plan(call: &Call<'_>, unless: Option<Outcome>) -> Plan {
    let kind = &call.agent.kind;
    if kind.is_empty() || call.action.is_empty() {
        return Plan::Known(Outcome::incomplete());
    }
    let work = match call.action {
        _ if call.is_status() => Work::Status,
        "start" => Work::Start,
        "stop" => Work::Stop,
        "restart" => Work::Restart,
        action if action.eq_ignore_ascii_case("meta-data") => Work::Describe,
        _ => {
            let reason = format!("Action {} not implemented for systemd resources", call.action);
            return Plan::Known(Outcome::unasked(Outcome::UNIMPLEMENTED, reason));
        }
    };
    let name = unit_name(kind, work == Work::Describe || call.agent.standard() == Standard::Service);
    if !is_unit_name(&name) {
        // No unit is called so, and systemd would say so, too.
        return Plan::Known(
            unless.unwrap_or_else(|| Outcome::unasked(Outcome::GENERIC_ERROR, no_object(kind))),
        );
    }
    let (kind, action) = (kind.clone(), call.action.to_owned());
    Plan::Ask(Box::new(Unit { kind, name, action, work, unless, stage: Stage::Loading, path: None }))
}

/// Whether a unit may be called so. What else there may be in a name, a line's end above all, would be a part of the
/// file that marks the unit.
fn is_unit_name(name: &str) -> bool {
    is_path_part(name) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

/// `completed`: an instance takes the place of a template.
fn unit_name(kind: &str, completed: bool) -> String {
    let suffix = SUFFIXES.iter().find(|suffix| kind.ends_with(**suffix));
    match (suffix, kind.strip_suffix(suffix.unwrap_or(&""))) {
        (Some(suffix), Some(stem)) if stem.ends_with('@') => [stem, INSTANCE, suffix].concat(),
        (Some(_), _) => kind.to_owned(),
        (None, _) if completed && kind.ends_with('@') => [kind, INSTANCE, ".service"].concat(),
        (None, _) => [kind, ".service"].concat(),
    }
}

fn no_object(kind: &str) -> String {
    format!("No DBus object found for systemd unit {kind}")
}

impl Unit {
    /// The first question, also when all is to be asked again.
    pub fn begin(&mut self) -> Todo<'_> {
        self.stage = Stage::Loading;
        Todo::Ask { request: Request::Load(&self.name), reload: false }
    }

    /// systemd answered, or did not.
    pub fn answer(&mut self, result: Result<Reply, Failure>) -> Todo<'_> {
        match (self.stage, result) {
            (_, Err(Failure::Deadline)) => {
                let (action, kind) = (&self.action, &self.kind);
                let reason = format!("{action} action for systemd unit {kind} did not complete in time");
                end(Outcome::GENERIC_ERROR, Status::Timeout, Some(reason))
            }
            (_, Err(Failure::Lost)) => Todo::Again,
            (_, Err(Failure::Error(error))) if error.is_disconnect() => Todo::Again,
            (Stage::Loading, Ok(Reply::Unit(path))) if self.unless.is_some() => {
                self.stage = Stage::Looking;
                let path = self.path.insert(path);
                Todo::Ask { request: Request::LoadState(path), reload: false }
            }
            (Stage::Loading, Ok(Reply::Unit(path))) => {
                self.path = Some(path);
                self.work()
            }
            (Stage::Looking, Ok(Reply::LoadState(LoadState::Loaded | LoadState::Masked))) => self.work(),
            (Stage::Working, Ok(reply)) => self.over(reply),
            (_, result) => self.failed(result.err()),
        }
    }

    /// A file was written or removed, and was not so before; or the errno.
    pub fn marked(&mut self, changed: Result<bool, i32>) -> Todo<'_> {
        match (self.work, changed) {
            (Work::Start, Err(errno)) => {
                let reason = format!("Failed to create systemd override file for {}", self.kind);
                end(Outcome::refused(errno), Status::Error, Some(reason))
            }
            // What could not be removed does not keep it from being stopped.
            (_, changed) => self.job(changed == Ok(true)),
        }
    }

    /// The bus cannot be reached: why. `is_absent`: there is none at all, so that nobody has units.
    pub fn unreachable(self, why: &str, is_absent: bool) -> Outcome {
        match self.unless {
            Some(outcome) if is_absent => outcome,
            _ => Outcome::unasked(Outcome::GENERIC_ERROR, format!("No DBus connection ({why})")),
        }
    }

    /// The unit is loaded: on to what is to be done.
    fn work(&mut self) -> Todo<'_> {
        if !matches!(self.work, Work::Start | Work::Stop) {
            return self.job(false);
        }
        self.stage = Stage::Marking;
        let is_mutant = trial::is(Mutant::OverrideOfService);
        let (name, suffix) = if is_mutant { (&self.kind, ".service.d") } else { (&self.name, ".d") };
        let directory = [DIRECTORY, name, suffix].concat();
        let path = [&directory, "/", FILE].concat();
        let text = (self.work == Work::Start).then(|| drop_in(&self.name));
        match (CString::new(directory), CString::new(path)) {
            (Ok(directory), Ok(path)) => Todo::Mark(DropIn { directory, path, text }),
            // Such a name would not have come here.
            _ => self.failed(None),
        }
    }

    fn job(&mut self, reload: bool) -> Todo<'_> {
        self.stage = Stage::Working;
        let request = match (self.work, &self.path) {
            (Work::Start, _) => Request::Start(&self.name),
            (Work::Stop, _) => Request::Stop(&self.name),
            (Work::Restart, _) => Request::Restart(&self.name),
            (Work::Describe, Some(path)) => Request::Description(path),
            (Work::Status, Some(path)) => Request::ActiveState(path),
            // The path is there since it was loaded.
            (Work::Describe | Work::Status, None) => return Todo::Again,
        };
        Todo::Ask { request, reload }
    }

    /// The last answer.
    fn over(&self, reply: Reply) -> Todo<'static> {
        let (action, name) = (&self.action, &self.name);
        match reply {
            Reply::ActiveState(ActiveState::Active | ActiveState::Reloading)
            | Reply::Job(JobResult::Done) => end(Outcome::OK, Status::Done, None),
            Reply::ActiveState(ActiveState::Activating | ActiveState::Deactivating) => {
                end(Outcome::UNKNOWN, Status::Pending, None)
            }
            Reply::ActiveState(ActiveState::Other(word)) => {
                end(Outcome::NOT_RUNNING, Status::Done, Some(word.into()))
            }
            Reply::Job(JobResult::Timeout) => {
                let reason = format!("systemd {action} job for {name} timed out");
                end(Outcome::GENERIC_ERROR, Status::Timeout, Some(reason))
            }
            Reply::Job(JobResult::Other(word)) => {
                let reason = format!("systemd {action} job for {name} failed with result '{word}'");
                end(Outcome::GENERIC_ERROR, Status::Error, Some(reason))
            }
            Reply::Description(text) => {
                Todo::End(Outcome::done(Outcome::OK, None), description(&self.kind, &text))
            }
            // An answer to another question: there is none to this one.
            Reply::Unit(_) | Reply::LoadState(_) | Reply::Reloaded => self.failed(None),
        }
    }

    /// It was refused, or the answer made no sense.
    fn failed(&self, failure: Option<Failure>) -> Todo<'static> {
        let kind = &self.kind;
        if let (Stage::Loading | Stage::Looking, Some(outcome)) = (self.stage, &self.unless) {
            return Todo::End(outcome.clone(), String::new());
        }
        let is_job = matches!(self.work, Work::Start | Work::Stop | Work::Restart);
        let reason = match (self.stage, &failure) {
            (Stage::Loading, _) => no_object(kind),
            (_, Some(Failure::Error(error))) if is_job && error.is_missing_unit() => {
                if self.work == Work::Stop {
                    return end(Outcome::OK, Status::Done, None);
                }
                let reason = format!("systemd unit {kind} not found");
                return end(Outcome::NOT_INSTALLED, Status::NotInstalled, Some(reason));
            }
            _ if is_job => "Unable to invoke systemd DBus method".to_owned(),
            _ => format!("Could not get state for unit {kind} from DBus"),
        };
        let reason = match failure {
            Some(Failure::Error(error)) => format!("{reason} ({error})"),
            _ => reason,
        };
        end(Outcome::GENERIC_ERROR, Status::Error, Some(reason))
    }
}

fn end(rc: u8, status: Status, reason: Option<String>) -> Todo<'static> {
    Todo::End(Outcome { rc, status, reason, ran: true }, String::new())
}

/// At the end of the system Pacemaker is to stop before the unit, so that the cluster stops the unit; and it is the
/// cluster that starts it again, if anybody.
fn drop_in(name: &str) -> String {
    let mut text = format!(
        "[Unit]\nDescription=Cluster Controlled {name}\nBefore=pacemaker.service pacemaker_remote.service\n"
    );
    if name.ends_with(".service") {
        text.push_str("\n[Service]\nRestart=no\n");
    }
    text
}

/// What an agent would say of itself.
fn description(kind: &str, text: &str) -> String {
    let (kind, text) = (escaped(kind), escaped(text));
    let mut actions = String::new();
    for action in ["start", "stop", "status", "monitor\" interval=\"60s", "meta-data"] {
        let timeout = if action == "meta-data" { "5s" } else { "100s" };
        actions.extend(["    <action name=\"", action, "\" timeout=\"", timeout, "\"/>\n"]);
    }
    format!(
        "<?xml version=\"1.0\"?>\n<resource-agent name=\"{kind}\" version=\"0.1\">\n  <version>1.1</version>\n  \
         <longdesc lang=\"en\">{text}</longdesc>\n  <shortdesc lang=\"en\">systemd unit file for {kind}</shortdesc>\n  \
         <parameters/>\n  <actions>\n{actions}  </actions>\n  <special tag=\"systemd\"/>\n</resource-agent>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
