//! What a cluster asks for (executor-api.md sections 1 to 7).
//!
//! Parsing decides what a message *is*; what is missing in it is decided here too, so that nothing half
//! understood goes on.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use crate::agent::{Agent, Parameters};
use crate::executor::{Alert, Refusal};
use crate::xml::{Document, Element};

/// Bit of `lrmd_callopt` in `lrmd_rsc_register`: recurring operations end with the last connection.
const DROP_RECURRING: u32 = 0x1;
/// Bit of `lrmd_callopt` in `lrmd_rsc_exec`: tell only the requester.
const NOTIFY_ORIG_ONLY: u32 = 0x2;
/// Bit of `lrmd_callopt` in `lrmd_rsc_exec`: tell only changes.
const NOTIFY_CHANGES_ONLY: u32 = 0x4;

/// A protocol version; pacelet accepts 1.0 and later (versions.md section 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Before the dot.
    pub major: u32,
    /// After it, 0 if there is none.
    pub minor: u32,
}

impl Version {
    /// The oldest that is accepted.
    pub const OLDEST: Self = Self { major: 1, minor: 0 };
    /// From here on a cluster answers a shutdown request.
    pub const KNOWS_SHUTDOWN: Self = Self { major: 1, minor: 1 };
    /// What pacelet announces.
    pub const OURS: Self = Self { major: 1, minor: 2 };

    /// Leading garbage and what is missing count as 0, as in Pacemaker.
    fn parse(text: &str) -> Self {
        let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What every request has.
#[derive(Debug)]
pub struct Envelope {
    /// `lrmd_remote_msg_id`: by it, and by nothing else, the client finds the reply.
    pub message_id: i64,
    /// `lrmd_clientname`.
    pub client_name: Option<String>,
    /// `lrmd_op`, for the log.
    pub operation_name: String,
    /// What is asked for, or why it cannot be done.
    pub operation: Result<Operation, Refusal>,
}

/// What is asked for.
#[derive(Debug)]
pub enum Operation {
    /// `register`: sign on.
    Register {
        /// What the client speaks.
        version: Version,
        /// It can serve the node's cluster tools.
        is_provider: bool,
    },
    /// `lrmd_rsc_register`.
    RegisterResource {
        /// The resource's name.
        name: String,
        /// Its agent.
        agent: Agent,
        /// Its recurring operations end with the last connection.
        drop_recurring: bool,
    },
    /// `lrmd_rsc_unregister`, with the resource's name.
    UnregisterResource(String),
    /// `lrmd_rsc_info`, with the resource's name.
    ResourceInfo(String),
    /// `lrmd_rsc_exec`.
    Execute(Box<Execute>),
    /// `lrmd_rsc_cancel`.
    Cancel {
        /// The resource's name.
        name: String,
        /// The operation's action.
        action: String,
        /// The operation's interval in milliseconds.
        interval: u32,
    },
    /// `lrmd_get_recurring`, of one resource or of all.
    Recurring(Option<String>),
    /// `lrmd_rsc_poke`, with a resource's name if one was given.
    Poke(Option<String>),
    /// `lrmd_alert_exec`.
    Alert(Box<Alert>),
    /// `lrmd_check`, with the cluster's time-out for a node that fences itself: no reply.
    Check(Option<String>),
    /// `ipc_fwd`: something of a local tool's session.
    Forward(Forward),
}

/// `ipc_fwd` (executor-api.md section 7).
#[derive(Debug)]
pub struct Forward {
    /// The session, if the message names one.
    pub session: Option<String>,
    /// What about it.
    pub what: ForwardOp,
    /// The tool's number for the request that this answers; 0 if none is said.
    pub request: i32,
    /// Where in the message's text the element is that the tool is to get, if there is one.
    pub content: Option<Range<usize>>,
}

/// `lrmd_rsc_exec` as it came; the executor's request is made of it.
#[derive(Debug)]
pub struct Execute {
    /// The resource's name.
    pub resource: String,
    /// `start`, `stop`, `monitor`…
    pub action: String,
    /// Milliseconds; 0 for a one-shot.
    pub interval: u32,
    /// Milliseconds; 0 for no limit.
    pub timeout: u32,
    /// Milliseconds.
    pub start_delay: u32,
    /// Echoed.
    pub user_data: Option<String>,
    /// Completion is told only to the requester.
    pub notify_requester_only: bool,
    /// Only changes are told.
    pub notify_changes_only: bool,
    /// Echoed, and handed to the agent.
    pub parameters: Parameters,
}

/// `lrmd_ipc_op` of a message from the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardOp {
    /// The answer to a tool's request.
    Response,
    /// An event for a tool.
    Event,
    /// The session's other end is gone.
    Destroy,
    /// The cluster takes the node's resources away before it may end.
    ShutdownAck,
    /// The cluster will not: end now.
    ShutdownNack,
    /// Something this version does not know.
    Unknown,
}

impl Envelope {
    /// Reads one message, whose text was checked: it is as strict as a 3.x cluster wants it.
    pub fn of(document: &Document<'_>) -> Self {
        let root = document.root();
        let message_id = text(&root, "lrmd_remote_msg_id").and_then(|id| id.parse().ok()).unwrap_or(0);
        let client_name = text(&root, "lrmd_clientname");
        let operation_name = text(&root, "lrmd_op").unwrap_or_default();
        let operation = Operation::parse(&root, &operation_name);
        Self { message_id, client_name, operation_name, operation }
    }
}

impl Operation {
    fn parse(root: &Element<'_>, operation: &str) -> Result<Self, Refusal> {
        // Looked for only where it belongs: what others bring may be long.
        let resource = || root.descendant("lrmd_rsc");
        let name = || resource().and_then(|resource| text(&resource, "lrmd_rsc_id"));
        match operation {
            "register" => Ok(Self::Register {
                version: Version::parse(&text(root, "lrmd_protocol_version").unwrap_or_default()),
                is_provider: text(root, "lrmd_is_ipc_provider").is_some_and(|value| is_true(&value)),
            }),
            "lrmd_rsc_register" => {
                let resource = &resource().ok_or(Refusal::Invalid)?;
                let agent = Agent {
                    class: text(resource, "lrmd_class").ok_or(Refusal::Invalid)?,
                    provider: text(resource, "lrmd_provider"),
                    kind: text(resource, "lrmd_type").ok_or(Refusal::Invalid)?,
                };
                let name = text(resource, "lrmd_rsc_id").ok_or(Refusal::Invalid)?;
                let drop_recurring = number(root, "lrmd_callopt") & DROP_RECURRING != 0;
                Ok(Self::RegisterResource { name, agent, drop_recurring })
            }
            "lrmd_rsc_unregister" => Ok(Self::UnregisterResource(name().ok_or(Refusal::NoSuchResource)?)),
            "lrmd_rsc_info" => Ok(Self::ResourceInfo(name().ok_or(Refusal::NoSuchResource)?)),
            "lrmd_rsc_exec" => {
                let resource = resource().ok_or(Refusal::Invalid)?;
                Execute::parse(root, &resource).map(|execute| Self::Execute(Box::new(execute)))
            }
            "lrmd_rsc_cancel" => {
                let resource = &resource().ok_or(Refusal::Invalid)?;
                Ok(Self::Cancel {
                    name: text(resource, "lrmd_rsc_id").ok_or(Refusal::Invalid)?,
                    action: text(resource, "lrmd_rsc_action").ok_or(Refusal::Invalid)?,
                    interval: number(resource, "lrmd_rsc_interval"),
                })
            }
            "lrmd_get_recurring" => Ok(Self::Recurring(name())),
            "lrmd_rsc_poke" => Ok(Self::Poke(name())),
            "lrmd_alert_exec" => {
                let alert = &root.descendant("lrmd_alert").ok_or(Refusal::Invalid)?;
                Ok(Self::Alert(Box::new(Alert {
                    name: text(alert, "lrmd_alert_id").ok_or(Refusal::Invalid)?,
                    path: text(alert, "lrmd_alert_path").ok_or(Refusal::Invalid)?,
                    timeout: number(alert, "lrmd_timeout"),
                    parameters: parameters(alert)?,
                })))
            }
            "lrmd_check" => {
                let settings = root.children().find(|child| child.name() == "lrmd_calldata");
                let settings = settings.and_then(|wrapper| wrapper.first_child());
                Ok(Self::Check(settings.and_then(|settings| text(&settings, "lrmd_watchdog"))))
            }
            "ipc_fwd" => Ok(Self::Forward(Forward::parse(root))),
            _ => Err(Refusal::NotSupported),
        }
    }
}

impl Execute {
    fn parse(root: &Element<'_>, resource: &Element<'_>) -> Result<Self, Refusal> {
        let options = number(root, "lrmd_callopt");
        Ok(Self {
            resource: text(resource, "lrmd_rsc_id").ok_or(Refusal::Invalid)?,
            action: text(resource, "lrmd_rsc_action").ok_or(Refusal::Invalid)?,
            interval: number(resource, "lrmd_rsc_interval"),
            timeout: number(resource, "lrmd_timeout"),
            start_delay: number(resource, "lrmd_rsc_start_delay"),
            user_data: text(resource, "lrmd_rsc_userdata_str"),
            notify_requester_only: options & NOTIFY_ORIG_ONLY != 0,
            notify_changes_only: options & NOTIFY_CHANGES_ONLY != 0,
            parameters: parameters(resource)?,
        })
    }
}

/// What an agent or an alert is to be told.
fn parameters(of: &Element<'_>) -> Result<Parameters, Refusal> {
    let mut parameters = Parameters::default();
    let mut add = |name: String, value: String| {
        if parameters.len() >= Parameters::LIMIT {
            return Err(Refusal::TooMuch);
        }
        parameters.insert(name, value).map_err(|_| Refusal::Invalid)
    };
    if let Some(attributes) = of.children().find(|child| child.name() == "attributes") {
        for attribute in attributes.attributes() {
            add(attribute.name.to_owned(), attribute.value().into_owned())?;
        }
        // After the attributes: of two with the same name the later wins.
        for child in attributes.children().filter(|child| child.name() == "param") {
            let (Some(name), Some(value)) = (text(&child, "name"), text(&child, "value")) else { continue };
            add(name, value)?;
        }
    }
    Ok(parameters)
}

impl Forward {
    fn parse(root: &Element<'_>) -> Self {
        let wrapper = root.children().find(|child| child.name() == "lrmd_ipc_msg");
        Self {
            session: text(root, "lrmd_ipc_session"),
            what: ForwardOp::parse(&text(root, "lrmd_ipc_op").unwrap_or_default()),
            request: root.attribute("lrmd_ipc_msg_id").and_then(|id| id.parse().ok()).unwrap_or(0),
            content: wrapper.and_then(|wrapper| wrapper.first_child()).map(|content| content.range()),
        }
    }
}

impl ForwardOp {
    fn parse(text: &str) -> Self {
        let known = [
            ("response", Self::Response),
            ("event", Self::Event),
            ("destroy", Self::Destroy),
            ("shutdown_ack", Self::ShutdownAck),
            ("shutdown_nack", Self::ShutdownNack),
        ];
        let found = known.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        found.map_or(Self::Unknown, |(_, operation)| *operation)
    }
}

fn text(element: &Element<'_>, name: &str) -> Option<String> {
    element.attribute(name).map(std::borrow::Cow::into_owned)
}

/// A missing or unreadable number counts as 0, a negative one too; one that is too large as the largest, so that
/// a very long time-out does not become none.
fn number(element: &Element<'_>, name: &str) -> u32 {
    let value = element.attribute(name);
    value
        .and_then(|value| value.parse::<i64>().ok())
        .map_or(0, |value| value.clamp(0, u32::MAX.into()) as u32)
}

/// The words Pacemaker takes for yes (executor-api.md section 1).
fn is_true(text: &str) -> bool {
    ["true", "on", "yes", "y", "1"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(message: &str) -> Envelope {
        Envelope::of(&Document::parse(message.as_bytes()).unwrap())
    }

    fn operation(message: &str) -> Result<Operation, Refusal> {
        envelope(message).operation
    }

    #[test]
    fn a_registration_as_a_trixie_controller_sends_it() {
        let envelope = envelope(
            r#"<lrmd_command t="lrmd" lrmd_op="register" lrmd_clientname="pacemaker-remote-10.77.0.101:3121" lrmd_protocol_version="1.2" lrmd_is_ipc_provider="true" lrmd_remote_msg_id="2" lrmd_remote_msg_type="request"/>"#,
        );
        assert_eq!(envelope.message_id, 2);
        assert_eq!(envelope.client_name.as_deref(), Some("pacemaker-remote-10.77.0.101:3121"));
        let Ok(Operation::Register { version, is_provider: true }) = envelope.operation else { panic!() };
        assert_eq!(version, Version::OURS);
    }

    #[test]
    fn an_execution_with_all_it_can_have() {
        let message = r#"<lrmd_command t="lrmd" lrmd_op="lrmd_rsc_exec" lrmd_timeout="1" lrmd_callopt="6" lrmd_remote_msg_id="77" lrmd_remote_msg_type="request"><lrmd_calldata><lrmd_rsc lrmd_origin="x" lrmd_rsc_id="web" lrmd_rsc_action="monitor" lrmd_rsc_userdata_str="12:4:0:7f" lrmd_rsc_interval="10000" lrmd_timeout="20000" lrmd_rsc_start_delay="5"><attributes a="1&#x0A;2" b="x"><param name="1" value=""/><param name="b" value="y"/><param name="c"/></attributes></lrmd_rsc></lrmd_calldata></lrmd_command>"#;
        let Ok(Operation::Execute(execute)) = operation(message) else { panic!() };
        assert_eq!((&*execute.resource, &*execute.action), ("web", "monitor"));
        assert_eq!((execute.interval, execute.timeout, execute.start_delay), (10_000, 20_000, 5));
        assert_eq!(execute.user_data.as_deref(), Some("12:4:0:7f"));
        assert!(execute.notify_requester_only && execute.notify_changes_only);
        assert_eq!(execute.parameters.iter().collect::<Vec<_>>(), [("1", ""), ("a", "1\n2"), ("b", "y")]);
    }

    #[test]
    fn an_alert_and_a_check_as_a_controller_sends_them() {
        let message = r#"<lrmd_command t="lrmd" lrmd_op="lrmd_alert_exec" lrmd_timeout="1" lrmd_callopt="2"><lrmd_calldata><lrmd_alert lrmd_origin="x" lrmd_alert_id="alert-1" lrmd_alert_path="/a.sh" lrmd_timeout="30000"><attributes CRM_alert_kind="node" CRM_alert_version="3.0.0"/></lrmd_alert></lrmd_calldata></lrmd_command>"#;
        let Ok(Operation::Alert(alert)) = operation(message) else { panic!() };
        assert_eq!((&*alert.name, &*alert.path, alert.timeout), ("alert-1", "/a.sh", 30_000));
        assert_eq!(alert.parameters.value("CRM_alert_kind"), Some("node"));
        let refused = |message: &str| operation(message).unwrap_err();
        assert_eq!(refused(r#"<x lrmd_op="lrmd_alert_exec"/>"#), Refusal::Invalid);
        assert_eq!(
            refused(r#"<x lrmd_op="lrmd_alert_exec"><lrmd_alert lrmd_alert_id="a"/></x>"#),
            Refusal::Invalid
        );
        let check = |message: &str| match operation(message) {
            Ok(Operation::Check(watchdog)) => watchdog,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            check(
                r#"<x lrmd_op="lrmd_check"><lrmd_calldata><lrmd_op lrmd_watchdog="10s"/></lrmd_calldata></x>"#
            )
            .as_deref(),
            Some("10s")
        );
        assert_eq!(check(r#"<x lrmd_op="lrmd_check"><lrmd_calldata><lrmd_op/></lrmd_calldata></x>"#), None);
        assert_eq!(check(r#"<x lrmd_op="lrmd_check"/>"#), None);
    }

    #[test]
    fn what_is_missing_is_refused_with_its_number() {
        let refused = |message: &str| operation(message).unwrap_err() as i32;
        assert_eq!(refused("<x/>"), -95);
        assert_eq!(refused(r#"<x lrmd_op="lrmd_rsc_metadata"/>"#), -95);
        assert_eq!(refused(r#"<x lrmd_op="lrmd_rsc_info"/>"#), -19);
        assert_eq!(refused(r#"<x lrmd_op="lrmd_rsc_unregister"><lrmd_rsc/></x>"#), -19);
        assert_eq!(refused(r#"<x lrmd_op="lrmd_rsc_exec"/>"#), -22);
        assert_eq!(refused(r#"<x lrmd_op="lrmd_rsc_exec"><lrmd_rsc lrmd_rsc_id="a"/></x>"#), -22);
        assert_eq!(refused(r#"<x lrmd_op="lrmd_rsc_cancel"><lrmd_rsc lrmd_rsc_id="a"/></x>"#), -22);
        assert_eq!(
            refused(r#"<x lrmd_op="lrmd_rsc_register"><lrmd_rsc lrmd_rsc_id="a" lrmd_class="ocf"/></x>"#),
            -22
        );
        let injection = r#"<x lrmd_op="lrmd_rsc_exec"><lrmd_rsc lrmd_rsc_id="a" lrmd_rsc_action="b"><attributes><param name="A=B" value="c"/></attributes></lrmd_rsc></x>"#;
        assert_eq!(refused(injection), -22);
    }

    #[test]
    fn numbers_at_their_ends() {
        let execute = |timeout: &str| {
            let message = format!(
                r#"<x lrmd_op="lrmd_rsc_exec"><lrmd_rsc lrmd_rsc_id="a" lrmd_rsc_action="b" lrmd_timeout="{timeout}"/></x>"#
            );
            let Ok(Operation::Execute(execute)) = operation(&message) else { panic!() };
            execute.timeout
        };
        let all = ["4294967295", "4294967296", "-1", "", "20s", "0x10", "+7"].map(execute);
        assert_eq!(all, [u32::MAX, u32::MAX, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn parameters_are_bounded() {
        let refused = |count: usize| {
            let all: String = (0..count).map(|n| format!(r#"<param name="{n}" value=""/>"#)).collect();
            let message = format!(
                r#"<x lrmd_op="lrmd_rsc_exec"><lrmd_rsc lrmd_rsc_id="a" lrmd_rsc_action="b"><attributes>{all}</attributes></lrmd_rsc></x>"#
            );
            operation(&message).err()
        };
        assert_eq!(refused(Parameters::LIMIT), None);
        assert_eq!(refused(Parameters::LIMIT + 1), Some(Refusal::TooMuch));
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::parse("1.10") > Version::OURS);
        assert!(Version::parse("1") >= Version::OLDEST);
        assert!(Version::parse("0.9") < Version::OLDEST);
        assert!(Version::parse("") < Version::OLDEST);
        assert_eq!(Version::parse("1.2").to_string(), "1.2");
    }
}
