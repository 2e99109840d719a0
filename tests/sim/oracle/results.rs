//! What a run comes to, as executor-semantics.md section 5 has it, and what a client must be told of it
//! (executor-api.md section 4.2).

use std::collections::BTreeMap;

use pacelet::agent::{Ending, Step};

use super::super::xml::Element;

/// `lrmd_exec_op_status`.
pub const PENDING: i64 = -1;
pub const DONE: i64 = 0;
pub const CANCELLED: i64 = 1;
pub const TIMEOUT: i64 = 2;
pub const ERROR: i64 = 4;
pub const ERROR_FATAL: i64 = 6;
pub const NOT_INSTALLED: i64 = 7;

/// From here on a stream's end may be missing (section 6.4).
const WHOLE: usize = 64 * 1024;

/// Longer reasons may be cut.
const WHOLE_REASON: usize = 128;

/// The result of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub rc: u8,
    pub status: i64,
    pub reason: Reason,
    /// Something was run, so that the time of the last change counts.
    pub ran: bool,
}

/// What `lrmd_rsc_exit_reason` must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    None,
    /// The agent's own words.
    Of(Vec<u8>),
    /// Words of ours, which must contain these.
    Ours(String),
}

impl Outcome {
    pub fn cancelled(rc: u8) -> Self {
        Self { rc, status: CANCELLED, reason: Reason::None, ran: false }
    }

    pub fn ours(rc: u8, status: i64, reason: &str) -> Self {
        Self { rc, status, reason: Reason::Ours(reason.into()), ran: false }
    }

    /// Of a process, with the result code that its exit status is.
    pub fn of(ending: Ending, timed_out: bool, timeout: u32, kind: &str, stderr: &[u8]) -> Self {
        match ending {
            Ending::Exited(rc) => Self { rc, status: DONE, reason: own_words(stderr), ran: true },
            Ending::Signalled(_) if timed_out => {
                let limit = match (timeout / 1000, timeout % 1000) {
                    (seconds, 0) if seconds < 60 => format!("within {seconds}s"),
                    _ => "within ".into(),
                };
                let reason = format!("Resource agent did not complete {limit}");
                Self { ran: true, ..Self::ours(1, TIMEOUT, &reason) }
            }
            Ending::Signalled(_) => {
                Self { ran: true, ..Self::ours(1, ERROR, "Resource agent interrupted by ") }
            }
            Ending::NotRun(step, errno) => Self::not_run(step, errno, kind),
        }
    }

    fn not_run(step: Step, errno: i32, kind: &str) -> Self {
        let (missing, denied) = (errno == 2, errno == 13 || errno == 1);
        let rc = if missing {
            5
        } else if denied {
            4
        } else {
            1
        };
        match step {
            Step::Lookup => Self::ours(5, NOT_INSTALLED, &format!("{kind}: ")),
            // The child was there, and ended with this code.
            Step::Exec => {
                Self { ran: true, ..Self::ours(rc, DONE, "Child process was unable to execute file") }
            }
            Step::Secrets => Self { ran: true, ..Self::ours(2, DONE, "Unable to load CIB secrets") },
            Step::User => Self { ran: true, ..Self::ours(4, DONE, "Could not set user") },
            Step::Pipe | Step::Fork | Step::SetUp => Self::ours(rc, ERROR, ""),
        }
    }
}

/// What stands after the last prefix, to the end of its line (section 6.5).
fn own_words(stderr: &[u8]) -> Reason {
    let prefix = b"ocf-exit-reason:";
    let Some(start) = stderr.windows(prefix.len()).rposition(|window| window == prefix) else {
        return Reason::None;
    };
    let words = stderr[start + prefix.len()..].split(|&byte| byte == b'\n').next().unwrap_or_default();
    if words.is_empty() { Reason::None } else { Reason::Of(words.to_vec()) }
}

/// A completion as it must be told.
#[derive(Clone, Debug)]
pub struct Completion {
    pub call: u32,
    pub resource: String,
    pub action: String,
    pub interval: u32,
    pub timeout: u32,
    pub start_delay: u32,
    pub user_data: Option<String>,
    pub outcome: Outcome,
    pub deleted: bool,
    pub run_time: u64,
    pub change_time: u64,
    pub exec_time: u64,
    pub queue_time: u64,
    pub output: Vec<u8>,
    pub parameters: BTreeMap<String, String>,
}

impl Completion {
    /// Whether a message is about this run, whatever else it says.
    pub fn is_about(&self, message: &Element) -> bool {
        message.get("lrmd_op") == Some("lrmd_rsc_exec")
            && message.number("lrmd_callid") == Some(self.call.into())
            && message.get("lrmd_rsc_id") == Some(&self.resource)
    }

    /// What a message says wrongly.
    pub fn differences(&self, message: &Element) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut compare = |name: &str, expected: Option<String>| {
            let got = message.get(name).map(str::to_owned);
            if got != expected {
                wrong.push(format!("{name} is {got:?} instead of {expected:?}"));
            }
        };
        for (name, number) in [
            ("lrmd_timeout", self.timeout.into()),
            ("lrmd_rsc_interval", self.interval.into()),
            ("lrmd_rsc_start_delay", self.start_delay.into()),
            ("lrmd_exec_rc", self.outcome.rc.into()),
            ("lrmd_exec_op_status", self.outcome.status),
            ("lrmd_rsc_deleted", self.deleted.into()),
            ("lrmd_run_time", self.run_time as i64),
            ("lrmd_rcchange_time", self.change_time as i64),
            ("lrmd_exec_time", self.exec_time as i64),
            ("lrmd_queue_time", self.queue_time as i64),
            ("lrmd_remote_msg_id", 0),
        ] {
            compare(name, Some(number.to_string()));
        }
        compare("lrmd_rsc_action", Some(self.action.clone()));
        compare("lrmd_rsc_userdata_str", self.user_data.clone());
        compare("lrmd_remote_msg_type", Some("notify".into()));
        wrong.extend(self.wrong_reason(message.get("lrmd_rsc_exit_reason")));
        wrong.extend(self.wrong_output(message.get("lrmd_rsc_output")));
        wrong.extend(self.wrong_echo(message));
        wrong
    }

    fn wrong_reason(&self, got: Option<&str>) -> Option<String> {
        let right = match (&self.outcome.reason, got) {
            (Reason::None, None) => true,
            (Reason::Of(words), Some(got)) => same(words, got.as_bytes(), WHOLE_REASON),
            (Reason::Ours(words), Some(got)) => got.contains(&**words),
            _ => false,
        };
        (!right).then(|| format!("the reason is {got:?} instead of {:?}", self.outcome.reason))
    }

    fn wrong_output(&self, got: Option<&str>) -> Option<String> {
        let right = match got {
            None => self.output.is_empty(),
            Some(got) => !self.output.is_empty() && same(&self.output, got.as_bytes(), WHOLE),
        };
        let shown =
            |bytes: &[u8]| format!("{} bytes: {}", bytes.len(), bytes[..bytes.len().min(200)].escape_ascii());
        let got = got.map(|got| shown(got.as_bytes()));
        (!right).then(|| format!("the output is {got:?} instead of {}", shown(&self.output)))
    }

    /// The controller computes its digests from the echo: one byte more or less restarts the resource.
    fn wrong_echo(&self, message: &Element) -> Option<String> {
        let Some(attributes) = message.children.iter().find(|child| child.name == "attributes") else {
            return Some("the parameters are not echoed".into());
        };
        let elements = attributes.children.iter().filter(|child| child.name == "param");
        let elements = elements.filter_map(|child| Some((child.get("name")?, child.get("value")?)));
        let plain = attributes.attributes.iter().map(|(name, value)| (&**name, &**value));
        let all: Vec<_> = plain.chain(elements).collect();
        let echo: BTreeMap<_, _> = all.iter().copied().collect();
        let expected: BTreeMap<_, _> =
            self.parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
        (echo != expected || echo.len() != all.len())
            .then(|| format!("the parameters' echo is {all:?} instead of {expected:?}"))
    }
}

/// Whether `got` is what became of `raw`: characters that XML cannot carry may be missing or replaced, and the
/// end may be missing beyond `whole` bytes.
fn same(raw: &[u8], got: &[u8], whole: usize) -> bool {
    let plain = |bytes: &[u8]| -> Vec<u8> {
        let kept = |byte: &&u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~') && **byte != b'?';
        bytes.iter().filter(kept).copied().collect()
    };
    let (expected, seen) = (plain(raw), plain(got));
    if raw.len() <= whole { seen == expected } else { expected.starts_with(&seen) && got.len() >= whole }
}
