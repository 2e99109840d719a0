//! Replies: one to each request that expects one (executor-api.md sections 1.3, 2, 3.2 and 6.1).
#![forbid(unsafe_code)]

use crate::agent::Agent;
use crate::executor::Executor;
use crate::xml::Writer;

use super::Version;

/// A reply to one request.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// 0, a call id, or a negative errno.
    pub rc: i64,
    /// The number the request was given.
    pub call_id: u32,
    /// Of the request; `None` for a local client.
    pub message_id: Option<i64>,
    /// What the request asked for beside.
    pub extra: ReplyExtra<'a>,
}

/// What a reply says beside its result.
#[derive(Clone, Copy, Debug)]
pub enum ReplyExtra<'a> {
    /// Nothing.
    None,
    /// To `register`. Its `lrmd_op` is what 3.x clusters know it by.
    Registered {
        /// The session's name: any non-empty text.
        token: &'a str,
        /// Seconds since the daemon started.
        uptime: u64,
        /// `PCMK_node_start_state`.
        start_state: Option<&'a str>,
    },
    /// To `lrmd_rsc_info`.
    Resource {
        /// Its name.
        name: &'a str,
        /// Exactly as it was registered.
        agent: &'a Agent,
    },
    /// To `lrmd_get_recurring`.
    Recurring {
        /// Who knows them.
        executor: &'a Executor,
        /// Only of this resource.
        only: Option<&'a str>,
    },
}

impl Reply<'_> {
    /// The reply's XML.
    pub fn write(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let mut out = Writer::new(&mut message, "lrmd_reply");
        out.attribute("lrmd_origin", "pacelet");
        out.number("lrmd_rc", self.rc);
        out.number("lrmd_callid", i64::from(self.call_id));
        match self.extra {
            ReplyExtra::None | ReplyExtra::Recurring { .. } => {}
            ReplyExtra::Registered { token, uptime, start_state } => {
                out.attribute("lrmd_op", "register");
                out.attribute("lrmd_clientid", token);
                out.attribute("lrmd_protocol_version", &Version::OURS.to_string());
                out.number("uptime", i64::try_from(uptime).unwrap_or(i64::MAX));
                out.optional("node_start_state", start_state);
            }
            ReplyExtra::Resource { name, agent } => {
                out.attribute("lrmd_rsc_id", name);
                out.attribute("lrmd_class", &agent.class);
                out.optional("lrmd_provider", agent.provider.as_deref());
                out.attribute("lrmd_type", &agent.kind);
            }
        }
        if let Some(message_id) = self.message_id {
            out.number("lrmd_remote_msg_id", message_id);
            out.attribute("lrmd_remote_msg_type", "reply");
        }
        if let ReplyExtra::Recurring { executor, only } = self.extra {
            for (name, operations) in
                executor.recurring().filter(|(name, _)| only.is_none_or(|only| only == *name))
            {
                let mut resource = out.child("lrmd_rsc");
                resource.attribute("lrmd_rsc_id", name);
                for (action, interval, timeout) in operations {
                    resource
                        .child("lrmd_rsc_op")
                        .attribute("lrmd_rsc_action", action)
                        .number("lrmd_rsc_interval", i64::from(interval))
                        .number("lrmd_timeout", i64::from(timeout));
                }
            }
        }
        drop(out);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(extra: ReplyExtra<'_>) -> String {
        let reply = Reply { rc: 0, call_id: 9, message_id: Some(42), extra };
        String::from_utf8(reply.write()).unwrap()
    }

    #[test]
    fn a_generic_reply_has_its_ids() {
        let expected = r#"<lrmd_reply lrmd_origin="pacelet" lrmd_rc="0" lrmd_callid="9" lrmd_remote_msg_id="42" lrmd_remote_msg_type="reply"/>"#;
        assert_eq!(written(ReplyExtra::None), expected);
    }

    #[test]
    fn a_registration_is_recognised_by_its_operation() {
        let text = written(ReplyExtra::Registered { token: "t-1", uptime: 37, start_state: Some("standby") });
        assert_eq!(
            text,
            r#"<lrmd_reply lrmd_origin="pacelet" lrmd_rc="0" lrmd_callid="9" lrmd_op="register" lrmd_clientid="t-1" lrmd_protocol_version="1.2" uptime="37" node_start_state="standby" lrmd_remote_msg_id="42" lrmd_remote_msg_type="reply"/>"#
        );
        assert!(
            !written(ReplyExtra::Registered { token: "t", uptime: 0, start_state: None })
                .contains("node_start")
        );
    }

    #[test]
    fn a_resource_is_told_as_it_was_registered() {
        let agent = Agent { class: "ocf".into(), provider: Some("a&b".into()), kind: "T".into() };
        let text = written(ReplyExtra::Resource { name: "web", agent: &agent });
        assert!(
            text.contains(r#" lrmd_rsc_id="web" lrmd_class="ocf" lrmd_provider="a&amp;b" lrmd_type="T" "#),
            "{text}"
        );
    }
}
