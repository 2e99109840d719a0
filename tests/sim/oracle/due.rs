//! One message that a client is to get (executor-api.md sections 1 to 7).

use std::collections::BTreeMap;

use pacelet::time::Instant;

use super::super::xml::Element;
use super::results::Completion;
use super::tools::Session;

/// One thing that a connection is to be told.
#[derive(Debug)]
pub struct Due {
    pub moment: u64,
    pub at: Instant,
    /// The request it belongs to.
    pub call: u32,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Reply {
        id: i64,
        attributes: Vec<(&'static str, String)>,
        extra: Extra,
    },
    Completion(Box<Completion>),
    Generic {
        operation: &'static str,
        rc: i64,
        resource: Option<String>,
    },
    NewClient,
    ShutdownRequest,
    Destroy(String),
    /// A tool has come; its session gets its name by this.
    Session {
        session: Session,
        channel: &'static str,
    },
    ToolRequest {
        session: Session,
        /// How its name begins.
        client: String,
        attributes: Vec<(&'static str, String)>,
        content: Element,
    },
    SessionEnds(Session),
}

/// What a reply has besides.
#[derive(Debug)]
pub enum Extra {
    None,
    Token,
    Recurring(BTreeMap<String, Vec<(String, u32, u32)>>),
}

impl Due {
    /// Whether a message is meant to be this, whatever else it says.
    pub fn is_about(&self, message: &Element) -> bool {
        let operation = message.get("lrmd_op");
        match &self.what {
            What::Reply { id, .. } => {
                message.name == "lrmd_reply" && message.number("lrmd_remote_msg_id") == Some(*id)
            }
            What::Completion(completion) => message.name == "lrmd_notify" && completion.is_about(message),
            What::Generic { operation: own, .. } => {
                message.name == "lrmd_notify"
                    && operation == Some(own)
                    && message.number("lrmd_callid") == Some(self.call.into())
            }
            What::NewClient => message.name == "lrmd_notify" && operation == Some("lrmd_rsc_new_client"),
            What::ShutdownRequest => {
                message.name == "lrmd_ipc_proxy" && message.get("lrmd_ipc_op") == Some("shutdown_req")
            }
            What::Destroy(session) => is_proxy(message, "destroy", Some(session)),
            What::Session { channel, .. } => {
                is_proxy(message, "new", None) && message.get("lrmd_ipc_server") == Some(channel)
            }
            What::ToolRequest { session, attributes, .. } => {
                let id = attributes.iter().find(|(name, _)| *name == "lrmd_ipc_msg_id");
                let is_same = id.is_some_and(|(name, id)| message.get(name) == Some(id));
                is_same && session.get().is_some_and(|name| is_proxy(message, "request", Some(name)))
            }
            What::SessionEnds(session) => {
                session.get().is_some_and(|name| is_proxy(message, "destroy", Some(name)))
            }
        }
    }

    /// What a message says wrongly.
    pub fn differences(&self, message: &Element) -> Vec<String> {
        let expected = match &self.what {
            What::Completion(completion) => return completion.differences(message),
            What::Reply { attributes, .. } => attributes.clone(),
            What::Generic { rc, resource, .. } => {
                let mut all = vec![("lrmd_rc", rc.to_string())];
                all.extend(resource.clone().map(|resource| ("lrmd_rsc_id", resource)));
                all
            }
            What::ToolRequest { attributes, .. } => attributes.clone(),
            What::NewClient | What::Destroy(_) | What::Session { .. } | What::SessionEnds(_) => Vec::new(),
            What::ShutdownRequest => vec![("lrmd_ipc_session", "0".to_owned())],
        };
        let mut wrong: Vec<_> = expected
            .into_iter()
            .filter(|(name, value)| message.get(name) != Some(value))
            .map(|(name, value)| format!("{name} is {:?} instead of {value:?}", message.get(name)))
            .collect();
        let is_notify = message.get("lrmd_remote_msg_type") == Some("notify")
            && message.number("lrmd_remote_msg_id") == Some(0);
        match &self.what {
            What::Session { session, .. } => {
                let name = message.get("lrmd_ipc_session").unwrap_or_default().to_owned();
                let is_uuid = name.len() == 36 && name.bytes().filter(|&byte| byte == b'-').count() == 4;
                if !is_uuid || session.set(name).is_err() {
                    wrong.push("the session has no proper name".into());
                }
            }
            What::ToolRequest { session, client, content, .. } => {
                let start = session.get().and_then(|name| name.get(..8)).unwrap_or_default();
                if message.get("lrmd_ipc_client") != Some(&format!("{client}{start}")) {
                    wrong.push(format!("the client is not {client}{start}"));
                }
                let wrapper: Vec<_> = message.children.iter().map(|child| &*child.name).collect();
                let inside = message.children.first().map(|child| &*child.children).unwrap_or_default();
                if wrapper != ["lrmd_ipc_msg"] || inside != [content.clone()] {
                    wrong.push(format!("it does not say {content}"));
                }
            }
            _ => {}
        }
        match &self.what {
            What::Reply { attributes, extra, .. } => {
                let describes = attributes.iter().any(|(name, _)| *name == "lrmd_class");
                if !describes && (message.get("lrmd_class").is_some() || message.get("lrmd_rsc_id").is_some())
                {
                    wrong.push("it describes a resource".into());
                }
                wrong.extend(extra.wrong(message));
            }
            _ if !is_notify => wrong.push("it is no notification".into()),
            _ => {}
        }
        wrong
    }
}

fn is_proxy(message: &Element, operation: &str, session: Option<&String>) -> bool {
    let name = message.get("lrmd_ipc_session");
    message.name == "lrmd_ipc_proxy"
        && message.get("lrmd_ipc_op") == Some(operation)
        && session.map_or(name.is_some(), |session| name == Some(session))
}

impl Extra {
    fn wrong(&self, message: &Element) -> Option<String> {
        match self {
            Self::None => None,
            Self::Token => {
                message.get("lrmd_clientid").is_none_or(str::is_empty).then(|| "it has no token".to_owned())
            }
            Self::Recurring(expected) => {
                let told = |resource: &Element| {
                    let describe = |operation: &Element| {
                        let number = |name| operation.number(name).unwrap_or(-1) as u32;
                        let action = operation.get("lrmd_rsc_action").unwrap_or_default().to_owned();
                        (action, number("lrmd_rsc_interval"), number("lrmd_timeout"))
                    };
                    let operations: Vec<_> = resource.children.iter().map(describe).collect();
                    (resource.get("lrmd_rsc_id").unwrap_or_default().to_owned(), operations)
                };
                let got: BTreeMap<_, _> = message.children.iter().map(told).collect();
                let names = got.keys().eq(expected.keys()) && got.len() == message.children.len();
                let fits = expected.iter().all(|(name, operations)| {
                    let mut told = got.get(name).cloned().unwrap_or_default();
                    let complete = operations.iter().all(|this| {
                        told.iter().position(|one| one == this).map(|place| told.remove(place)).is_some()
                    });
                    complete && told.is_empty()
                });
                (!names || !fits).then(|| format!("it tells {got:?} instead of {expected:?}"))
            }
        }
    }
}
