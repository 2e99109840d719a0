//! What a cluster's controller asks of a remote node (executor-api.md), through a [`Client`].

use super::client::{Client, Error, Message};

/// The protocol version the client announces.
const VERSION: &str = "1.2";

/// `lrmd_callopt` of a registration: recurring operations end with the connection.
const DROP_RECURRING: i64 = 1;
/// `lrmd_callopt` of an operation: a recurring one is told of when its result changes.
const NOTIFY_CHANGES_ONLY: i64 = 4;

/// A resource and its agent.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// Its name.
    pub id: &'a str,
    /// `ocf`, `lsb`, `systemd`…
    pub class: &'a str,
    /// For `ocf` only.
    pub provider: Option<&'a str>,
    /// The agent's name.
    pub kind: &'a str,
}

/// An operation to run.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The resource's name.
    pub resource: &'a str,
    /// `start`, `stop`, `monitor`…
    pub action: &'a str,
    /// Milliseconds; 0 for a one-shot.
    pub interval: u32,
    /// Milliseconds; 0 for no limit.
    pub timeout: u32,
    /// Comes back with the result.
    pub user_data: &'a str,
    /// Come back with the result. The names must be XML names, and different ones.
    pub parameters: &'a [(&'a str, &'a str)],
}

impl Client<'_> {
    /// `register`: signs on as a cluster node that can serve the node's cluster tools.
    ///
    /// # Errors
    /// As for [`Client::request`]; so for all of these.
    pub fn register(&mut self, name: &str) -> Result<Message, Error> {
        self.sign_on(name, true)
    }

    /// `register`: signs on as somebody who only asks, and serves nobody.
    pub fn register_guest(&mut self, name: &str) -> Result<Message, Error> {
        self.sign_on(name, false)
    }

    fn sign_on(&mut self, name: &str, is_provider: bool) -> Result<Message, Error> {
        self.request(|request| {
            request
                .attribute("t", "lrmd")
                .attribute("lrmd_op", "register")
                .attribute("lrmd_clientname", name)
                .attribute("lrmd_protocol_version", VERSION)
                .optional("lrmd_is_ipc_provider", is_provider.then_some("true"));
        })
    }

    /// `lrmd_rsc_poke`: whether the daemon is alive. What counts is the notification after the reply.
    pub fn poke(&mut self) -> Result<Message, Error> {
        self.about("lrmd_rsc_poke", 0, &[("lrmd_origin", "pacelet")])?;
        self.generic("lrmd_rsc_poke", None)
    }

    /// `lrmd_rsc_info`: what is registered under a resource's name.
    pub fn resource_info(&mut self, id: &str) -> Result<Message, Error> {
        self.about("lrmd_rsc_info", 0, &[("lrmd_origin", "pacelet"), ("lrmd_rsc_id", id)])
    }

    /// `lrmd_rsc_register`.
    pub fn register_resource(&mut self, resource: &Resource<'_>) -> Result<Message, Error> {
        let mut attributes =
            vec![("lrmd_origin", "pacelet"), ("lrmd_rsc_id", resource.id), ("lrmd_class", resource.class)];
        attributes.extend(resource.provider.map(|provider| ("lrmd_provider", provider)));
        attributes.push(("lrmd_type", resource.kind));
        self.about("lrmd_rsc_register", DROP_RECURRING, &attributes)
    }

    /// `lrmd_rsc_unregister`.
    pub fn unregister_resource(&mut self, id: &str) -> Result<Message, Error> {
        self.about("lrmd_rsc_unregister", 0, &[("lrmd_origin", "pacelet"), ("lrmd_rsc_id", id)])
    }

    /// `lrmd_rsc_exec`: the reply says only that the operation is queued, and its call id.
    pub fn execute(&mut self, operation: &Operation<'_>) -> Result<Message, Error> {
        self.request(|request| {
            request
                .attribute("t", "lrmd")
                .attribute("lrmd_op", "lrmd_rsc_exec")
                .number("lrmd_timeout", operation.timeout.into())
                .number("lrmd_callopt", NOTIFY_CHANGES_ONLY);
            let mut data = request.child("lrmd_calldata");
            let mut resource = data.child("lrmd_rsc");
            resource
                .attribute("lrmd_origin", "pacelet")
                .attribute("lrmd_rsc_id", operation.resource)
                .attribute("lrmd_rsc_action", operation.action)
                .attribute("lrmd_rsc_userdata_str", operation.user_data)
                .number("lrmd_rsc_interval", operation.interval.into())
                .number("lrmd_timeout", operation.timeout.into())
                .number("lrmd_rsc_start_delay", 0);
            let mut attributes = resource.child("attributes");
            for (name, value) in operation.parameters {
                attributes.attribute(name, value);
            }
        })
    }

    /// `lrmd_rsc_cancel` of a recurring operation.
    pub fn cancel(&mut self, id: &str, action: &str, interval: u32) -> Result<Message, Error> {
        self.request(|request| {
            request.attribute("t", "lrmd").attribute("lrmd_op", "lrmd_rsc_cancel");
            request.number("lrmd_timeout", 0).number("lrmd_callopt", 0);
            let mut data = request.child("lrmd_calldata");
            data.child("lrmd_rsc")
                .attribute("lrmd_origin", "pacelet")
                .attribute("lrmd_rsc_action", action)
                .attribute("lrmd_rsc_id", id)
                .number("lrmd_rsc_interval", interval.into());
        })
    }

    /// Answers the daemon's request to end: its resources have been taken away.
    pub fn acknowledge_shutdown(&mut self) -> Result<Message, Error> {
        self.forward(|message| {
            message.attribute("lrmd_ipc_op", "shutdown_ack").attribute("lrmd_op", "ipc_fwd");
        })
    }

    /// Waits for the next result of the operation with this call id.
    pub fn completion(&mut self, call_id: i64) -> Result<Completion, Error> {
        self.notification(|element| {
            element.attribute("lrmd_op").as_deref() == Some("lrmd_rsc_exec")
                && number(element, "lrmd_callid") == Some(call_id)
        })
        .map(|message| Completion { message })
    }

    /// Waits for the notification that follows the reply to some requests.
    pub fn generic(&mut self, operation: &str, id: Option<&str>) -> Result<Message, Error> {
        self.notification(|element| {
            element.attribute("lrmd_op").as_deref() == Some(operation)
                && element.attribute("lrmd_rsc_id").as_deref() == id
        })
    }

    /// Waits until the daemon asks for its end.
    pub fn shutdown_request(&mut self) -> Result<Message, Error> {
        self.notification(|element| element.attribute("lrmd_ipc_op").as_deref() == Some("shutdown_req"))
    }

    /// A request with these attributes of an `lrmd_rsc`.
    fn about(&mut self, name: &str, options: i64, attributes: &[(&str, &str)]) -> Result<Message, Error> {
        self.request(|request| {
            request
                .attribute("t", "lrmd")
                .attribute("lrmd_op", name)
                .number("lrmd_timeout", 0)
                .number("lrmd_callopt", options);
            let mut data = request.child("lrmd_calldata");
            let mut resource = data.child("lrmd_rsc");
            for (name, value) in attributes {
                resource.attribute(name, value);
            }
        })
    }
}

/// The protocol version that a reply to `register` names.
///
/// # Errors
/// What a cluster would not take of that reply, in words.
pub fn protocol_version(reply: &Message) -> Result<String, String> {
    match reply.number("lrmd_rc") {
        Some(0) => {}
        Some(rc) => return Err(format!("expected lrmd_rc 0, got lrmd_rc {rc}")),
        None => return Err("expected lrmd_rc 0, got no lrmd_rc".to_owned()),
    }
    if reply.attribute("lrmd_op").as_deref() != Some("register") {
        return Err("the reply is not marked as one to a registration".to_owned());
    }
    if reply.attribute("lrmd_clientid").is_none_or(|session| session.is_empty()) {
        return Err("the reply has no session id".to_owned());
    }
    reply.attribute("lrmd_protocol_version").ok_or_else(|| "the reply has no protocol version".to_owned())
}

/// The result of an operation.
#[derive(Clone, Debug)]
pub struct Completion {
    message: Message,
}

impl Completion {
    /// `lrmd_exec_rc`, if it is there.
    pub fn rc(&self) -> Option<i64> {
        self.message.number("lrmd_exec_rc")
    }

    /// `lrmd_exec_op_status`, if it is there.
    pub fn status(&self) -> Option<i64> {
        self.message.number("lrmd_exec_op_status")
    }

    /// The whole message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The first thing that is not given back as `operation` had it: a cluster would take the result
    /// for another operation's, or think that the resource's configuration has changed.
    pub fn difference(&self, operation: &Operation<'_>) -> Option<String> {
        let root = self.message.root();
        for (name, sent) in [
            ("lrmd_rsc_id", operation.resource),
            ("lrmd_rsc_action", operation.action),
            ("lrmd_rsc_userdata_str", operation.user_data),
        ] {
            let back = root.attribute(name);
            if back.as_deref() != Some(sent) {
                return Some(format!("{name} is {back:?} instead of {sent:?}"));
            }
        }
        for (name, sent) in [
            ("lrmd_rsc_interval", i64::from(operation.interval)),
            ("lrmd_timeout", i64::from(operation.timeout)),
            ("lrmd_rsc_deleted", 0),
        ] {
            let back = number(&root, name);
            if back != Some(sent) {
                return Some(format!("{name} is {back:?} instead of {sent}"));
            }
        }
        let Some(attributes) = root.children().find(|child| child.name() == "attributes") else {
            return Some("there are no parameters".to_owned());
        };
        for (name, sent) in operation.parameters {
            let back = attributes.attribute(name);
            if back.as_deref() != Some(*sent) {
                return Some(format!("parameter {name} is {back:?} instead of {sent:?}"));
            }
        }
        let count = attributes.attributes().count() + attributes.children().count();
        (count != operation.parameters.len())
            .then(|| format!("{count} parameters instead of {}", operation.parameters.len()))
    }
}

fn number(element: &crate::xml::Element<'_>, name: &str) -> Option<i64> {
    element.attribute(name)?.parse().ok()
}
