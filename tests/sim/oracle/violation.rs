//! What the oracle says no with.

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// R1 to R5, or something that a strict cluster would not read.
    Sender,
    /// One reply per request, and none besides.
    OneReply,
    /// Nothing overtakes what was caused before it; a notification never overtakes its reply.
    Order,
    /// One process of a resource at a time.
    OneAtATime,
    /// A process that should not have been started, or not so.
    Start,
    /// A process that should not have been killed, or not so.
    Kill,
    /// Something that had to happen or to be told did not.
    Lost,
    /// Something was told twice, or had no cause.
    Unasked,
    /// Something was told wrongly.
    Content,
    /// A connection was closed without need, or kept against it.
    Connection,
    /// Something between a tool and the cluster.
    Tool,
    /// Something that the bus or systemd is asked without need, or wrongly.
    Bus,
    /// The daemon ended too early, or did not end.
    Shutdown,
    /// Memory is held that nothing needs.
    Memory,
    /// A log line that must not be.
    Log,
    /// The contract between daemon and edge (`daemon::core`).
    Edge,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub text: String,
}

pub type Checked<T = ()> = Result<T, Violation>;

pub fn violation<T>(rule: Rule, text: impl Into<String>) -> Checked<T> {
    Err(Violation { rule, text: text.into() })
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)
    }
}
