//! What a cluster asks for, and how that looks on the wire (executor-api.md sections 1 to 7).

use std::collections::BTreeMap;

use super::xml::Element;

/// One request, as its sender means it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `lrmd_remote_msg_id`.
    pub id: i64,
    /// `lrmd_clientname`: controllers name themselves when they register.
    pub name: Option<String>,
    pub ask: Ask,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Register {
        version: &'static str,
        provider: bool,
    },
    RegisterResource {
        resource: String,
        agent: Agent,
        drop_recurring: bool,
    },
    Unregister(String),
    Info(String),
    Execute(Execute),
    Cancel {
        resource: String,
        action: String,
        interval: u32,
    },
    Recurring(Option<String>),
    Poke,
    /// Never answered.
    Check,
    /// Of a local tool's session, or about the daemon's end.
    Forward {
        operation: &'static str,
        session: Option<String>,
        /// The tool's request that it answers.
        request: Option<i32>,
        /// What the tool is told.
        content: Option<Element>,
    },
    /// Something that must be refused with this number.
    Refused(Element, i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub class: String,
    pub provider: Option<String>,
    pub kind: String,
}

impl Agent {
    pub fn new(class: &str, provider: Option<&str>, kind: &str) -> Self {
        Self { class: class.into(), provider: provider.map(Into::into), kind: kind.into() }
    }
}

#[derive(Clone, Debug)]
pub struct Execute {
    pub resource: String,
    pub action: String,
    pub interval: u32,
    pub timeout: u32,
    pub start_delay: u32,
    pub user_data: Option<String>,
    /// `lrmd_callopt`.
    pub options: u32,
    pub parameters: BTreeMap<String, String>,
}

impl Ask {
    /// Of a session that nobody knows, or about the daemon's end.
    pub fn forward(operation: &'static str, session: Option<String>) -> Self {
        Self::Forward { operation, session, request: None, content: None }
    }
}

impl Request {
    /// The message's text, without its NUL.
    pub fn text(&self) -> Vec<u8> {
        self.element().to_string().into_bytes()
    }

    fn element(&self) -> Element {
        let root = match &self.ask {
            Ask::Forward { operation, session, request, content } => {
                let root = Element::new("lrmd_ipc_proxy")
                    .with("lrmd_ipc_op", operation)
                    .maybe("lrmd_ipc_session", session.as_ref())
                    .maybe("lrmd_ipc_msg_id", *request)
                    .with("lrmd_op", "ipc_fwd");
                match content.clone() {
                    Some(content) => root.child(Element::new("lrmd_ipc_msg").child(content)),
                    None => root,
                }
            }
            Ask::Refused(element, _) => element.clone(),
            _ => Element::new("lrmd_command").with("t", "lrmd"),
        };
        let data = |root: Element, resource: Element| {
            root.with("lrmd_timeout", 0).child(Element::new("lrmd_calldata").child(resource))
        };
        let named =
            |name: &str| Element::new("lrmd_rsc").with("lrmd_origin", "sim").with("lrmd_rsc_id", name);
        let mut root = match &self.ask {
            Ask::Register { version, provider } => {
                let root = root.with("lrmd_op", "register").with("lrmd_protocol_version", version);
                root.maybe("lrmd_is_ipc_provider", provider.then_some("true"))
            }
            Ask::RegisterResource { resource, agent, drop_recurring } => {
                let root = root.with("lrmd_op", "lrmd_rsc_register");
                let resource = named(resource)
                    .with("lrmd_class", &agent.class)
                    .maybe("lrmd_provider", agent.provider.as_ref())
                    .with("lrmd_type", &agent.kind);
                data(root.with("lrmd_callopt", u8::from(*drop_recurring)), resource)
            }
            Ask::Unregister(name) => data(root.with("lrmd_op", "lrmd_rsc_unregister"), named(name)),
            Ask::Info(name) => data(root.with("lrmd_op", "lrmd_rsc_info"), named(name)),
            Ask::Execute(execute) => {
                let root = root.with("lrmd_op", "lrmd_rsc_exec").with("lrmd_callopt", execute.options);
                data(root, execute.element(named(&execute.resource)))
            }
            Ask::Cancel { resource, action, interval } => {
                let resource =
                    named(resource).with("lrmd_rsc_action", action).with("lrmd_rsc_interval", interval);
                data(root.with("lrmd_op", "lrmd_rsc_cancel"), resource)
            }
            Ask::Recurring(name) => {
                let root = root.with("lrmd_op", "lrmd_get_recurring");
                match name {
                    Some(name) => data(root, named(name)),
                    None => root,
                }
            }
            Ask::Poke => {
                let poke = Element::new("lrmd_rsc").with("lrmd_origin", "lrmd_api_poke_connection");
                data(root.with("lrmd_op", "lrmd_rsc_poke"), poke)
            }
            Ask::Check => {
                let check = Element::new("lrmd_op").with("lrmd_origin", "lrmd__validate_remote_settings");
                data(root.with("lrmd_op", "lrmd_check"), check)
            }
            Ask::Forward { .. } | Ask::Refused(..) => root,
        };
        let children = std::mem::take(&mut root.children);
        let mut root = root
            .maybe("lrmd_clientname", self.name.as_ref())
            .with("lrmd_remote_msg_id", self.id)
            .with("lrmd_remote_msg_type", "request");
        root.children = children;
        root
    }
}

impl Execute {
    fn element(&self, resource: Element) -> Element {
        let mut attributes = Element::new("attributes");
        for (name, value) in &self.parameters {
            if name.starts_with(|c: char| c.is_ascii_digit()) {
                attributes.children.push(Element::new("param").with("name", name).with("value", value));
            } else {
                attributes.attributes.push((name.clone(), value.clone()));
            }
        }
        resource
            .with("lrmd_rsc_action", &self.action)
            .maybe("lrmd_rsc_userdata_str", self.user_data.as_ref())
            .with("lrmd_rsc_interval", self.interval)
            .with("lrmd_timeout", self.timeout)
            .with("lrmd_rsc_start_delay", self.start_delay)
            .child(attributes)
    }
}
