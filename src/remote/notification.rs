//! What the cluster is told without having asked (executor-api.md sections 4.2, 4.4, 6.4 and 7).
#![forbid(unsafe_code)]

use crate::executor::Completion;
use crate::trial::{self, Mutant};
use crate::xml::{Element, Writer, is_name};

/// The element of all that is about sessions of local tools.
const PROXY: &str = "lrmd_ipc_proxy";

/// The result of an operation.
pub fn completion(completion: &Completion) -> Vec<u8> {
    let mut message = Vec::new();
    let mut out = Writer::new(&mut message, "lrmd_notify");
    out.attribute("lrmd_origin", "pacelet");
    out.number("lrmd_timeout", i64::from(completion.timeout));
    out.number("lrmd_rsc_interval", i64::from(completion.interval));
    out.number("lrmd_rsc_start_delay", i64::from(completion.start_delay));
    out.number("lrmd_exec_rc", i64::from(completion.rc));
    out.number("lrmd_exec_op_status", completion.status as i64);
    out.number("lrmd_callid", i64::from(completion.call_id));
    out.number("lrmd_rsc_deleted", i64::from(completion.deleted));
    for (name, value) in [
        ("lrmd_run_time", completion.run_time),
        ("lrmd_rcchange_time", completion.change_time),
        ("lrmd_exec_time", completion.exec_time),
        ("lrmd_queue_time", completion.queue_time),
    ] {
        out.number(name, i64::try_from(value).unwrap_or(i64::MAX));
    }
    out.attribute("lrmd_op", "lrmd_rsc_exec");
    out.attribute("lrmd_rsc_id", &completion.resource);
    out.attribute("lrmd_rsc_action", &completion.action);
    out.optional("lrmd_rsc_userdata_str", completion.user_data.as_deref());
    out.optional("lrmd_rsc_exit_reason", completion.reason.as_deref());
    if let Some(output) = &completion.output {
        out.output("lrmd_rsc_output", output);
    }
    address(&mut out);
    let mut attributes = out.child("attributes");
    // An XML name cannot begin with a digit or hold a blank: such a parameter is an element.
    for (name, value) in completion.parameters.iter().filter(|(name, _)| is_name(name)) {
        attributes.attribute(name, value);
    }
    let is_inexact = trial::is(Mutant::InexactEcho);
    for (name, value) in completion.parameters.iter().filter(|(name, _)| !is_name(name) && !is_inexact) {
        attributes.child("param").attribute("name", name).attribute("value", value);
    }
    drop(attributes);
    drop(out);
    message
}

/// What follows the reply to some requests.
pub fn generic(rc: i64, call_id: u32, operation: &str, resource: Option<&str>) -> Vec<u8> {
    let mut message = Vec::new();
    let mut out = Writer::new(&mut message, "lrmd_notify");
    out.attribute("lrmd_origin", "pacelet");
    out.number("lrmd_rc", rc);
    out.number("lrmd_callid", i64::from(call_id));
    out.attribute("lrmd_op", operation);
    out.optional("lrmd_rsc_id", resource);
    address(&mut out);
    drop(out);
    message
}

/// Another cluster node has connected: one that does not expect it gives way.
pub fn new_client() -> Vec<u8> {
    let mut message = Vec::new();
    let mut out = Writer::new(&mut message, "lrmd_notify");
    out.attribute("lrmd_origin", "pacelet");
    out.attribute("lrmd_op", "lrmd_rsc_new_client");
    address(&mut out);
    drop(out);
    message
}

/// Asks the cluster to take this node's resources away.
pub fn shutdown_request() -> Vec<u8> {
    proxy("shutdown_req", "0")
}

/// A local tool's session has begun, on a channel of the cluster's (ipc.md section D.1).
pub fn new_session(channel: &str, session: &str) -> Vec<u8> {
    let mut message = Vec::new();
    let mut out = Writer::new(&mut message, PROXY);
    out.attribute("lrmd_ipc_op", "new");
    out.attribute("lrmd_ipc_server", channel);
    out.attribute("lrmd_ipc_session", session);
    address(&mut out);
    drop(out);
    message
}

/// A local tool's request (ipc.md section D.1).
#[derive(Clone, Copy, Debug)]
pub struct SessionRequest<'a> {
    /// Of which session.
    pub session: &'a str,
    /// What the cluster's log calls the tool.
    pub client: &'a str,
    /// The tool's user.
    pub user: &'a str,
    /// The tool's number for the request.
    pub id: i32,
    /// The request's flags.
    pub flags: u32,
}

impl SessionRequest<'_> {
    /// How many elements `element` will be inside of.
    pub const DEPTH: usize = 2;

    /// The message: the request's element, as it was written, goes inside; it must not be deeper than
    /// [`DEPTH_LIMIT`](crate::xml::DEPTH_LIMIT) less [`SessionRequest::DEPTH`].
    pub fn write(&self, element: Element<'_>) -> Vec<u8> {
        // So that a long one is copied once.
        let mut message = Vec::with_capacity(element.source().len() + 512);
        let mut out = Writer::new(&mut message, PROXY);
        out.attribute("lrmd_ipc_op", "request");
        out.attribute("lrmd_ipc_session", self.session);
        out.attribute("lrmd_ipc_client", self.client);
        out.attribute("lrmd_ipc_user", self.user);
        out.number("lrmd_ipc_msg_id", i64::from(self.id));
        out.number("lrmd_ipc_msg_flags", i64::from(self.flags));
        address(&mut out);
        out.child("lrmd_ipc_msg").relay(element);
        drop(out);
        message
    }
}

/// A session has ended here, or this node does not know it.
pub fn destroy_session(session: &str) -> Vec<u8> {
    proxy("destroy", session)
}

fn proxy(operation: &str, session: &str) -> Vec<u8> {
    let mut message = Vec::new();
    let mut out = Writer::new(&mut message, PROXY);
    // Never a session without an operation: clusters after 3.0.2 abort on it.
    out.attribute("lrmd_ipc_op", operation);
    out.attribute("lrmd_ipc_session", session);
    address(&mut out);
    drop(out);
    message
}

/// What makes a message a notification.
fn address(out: &mut Writer<'_>) {
    out.number("lrmd_remote_msg_id", 0);
    out.attribute("lrmd_remote_msg_type", "notify");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::super::{Envelope, Operation};
    use super::*;
    use crate::agent::{Parameters, Status};
    use crate::xml::Document;

    #[test]
    fn a_completion_has_every_attribute_and_echoes_the_parameters() {
        let mut parameters = Parameters::default();
        for (name, value) in [("crm_feature_set", "3.20.0"), ("1", "a\tb"), ("x", "\"<&>'\n\u{e9}")] {
            parameters.insert(name.into(), value.into()).unwrap();
        }
        let text = String::from_utf8(completion(&Completion {
            only: None,
            call_id: 31,
            resource: "web".into(),
            action: "monitor".into(),
            interval: 10_000,
            timeout: 20_000,
            start_delay: 0,
            user_data: Some("12:4:0:7f2c".into()),
            rc: 7,
            status: Status::Done,
            deleted: true,
            run_time: 1_750_000_000,
            change_time: 5,
            exec_time: 85,
            queue_time: 1,
            reason: Some("gone".into()),
            output: Some(b"one\n\x1b\xff".to_vec()),
            parameters: Rc::new(parameters),
        }))
        .unwrap();
        let start = r#"<lrmd_notify lrmd_origin="pacelet" lrmd_timeout="20000" lrmd_rsc_interval="10000" lrmd_rsc_start_delay="0" lrmd_exec_rc="7" lrmd_exec_op_status="0" lrmd_callid="31" lrmd_rsc_deleted="1" lrmd_run_time="1750000000" lrmd_rcchange_time="5" lrmd_exec_time="85" lrmd_queue_time="1" lrmd_op="lrmd_rsc_exec" lrmd_rsc_id="web" lrmd_rsc_action="monitor" lrmd_rsc_userdata_str="12:4:0:7f2c" lrmd_rsc_exit_reason="gone" lrmd_rsc_output="one&#x0A;"#;
        let end = r#" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"><attributes crm_feature_set="3.20.0" x="&quot;&lt;&amp;&gt;'&#x0A;é"><param name="1" value="a&#x09;b"/></attributes></lrmd_notify>"#;
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with(end), "{text}");
        assert!(!text.contains('\x1b') && !text.contains("&#x1B;"), "{text}");
    }

    fn result_of(parameters: Parameters) -> Completion {
        Completion {
            only: None,
            call_id: 1,
            resource: "r".into(),
            action: "start".into(),
            interval: 0,
            timeout: 0,
            start_delay: 0,
            user_data: None,
            rc: 0,
            status: Status::Done,
            deleted: false,
            run_time: 0,
            change_time: 0,
            exec_time: 0,
            queue_time: 0,
            reason: None,
            output: None,
            parameters: Rc::new(parameters),
        }
    }

    /// From the request to the echo, as controllers of all releases write values (remote-protocol.md section 2.5).
    #[test]
    fn parameters_come_back_as_they_were_sent() {
        // Attribute as written, and what it means.
        let attributes = [
            ("v3='a&#x0A;b&#x09;c&#x0D;d&#x7F;&quot;&lt;&gt;&amp;&apos;'", "v3", "a\nb\tc\rd\u{7f}\"<>&'"),
            (r"v2='it&apos;s    four\nlines\r\033[0m caf&#233;'", "v2", r"it's    four\nlines\r\033[0m café"),
            (r"v1='caf\37777777703\37777777651'", "v1", r"caf\37777777703\37777777651"),
            ("raw='one\ntwo\tthree\r\nfour'", "raw", "one two three four"),
            (
                "far='\u{85}\u{2028}\u{fffd}\u{1f600}\u{10ffff}'",
                "far",
                "\u{85}\u{2028}\u{fffd}\u{1f600}\u{10ffff}",
            ),
            ("blanks='  two  '", "blanks", "  two  "),
            ("empty=''", "empty", ""),
            ("secret='lrm://'", "secret", "lrm://"),
            ("a.b-c:d='='", "a.b-c:d", "="),
            ("na\u{ef}ve='x'", "na\u{ef}ve", "x"),
            ("OCF_CHECK_LEVEL='10'", "OCF_CHECK_LEVEL", "10"),
        ];
        let elements = [
            ("name='1' value='a&#x0A;b'", "1", "a\nb"),
            ("name='2nd &quot;' value=''", "2nd \"", ""),
            (r"name='9\n' value='x'", r"9\n", "x"),
            ("name='v1x' value='could be an attribute'", "v1x", "could be an attribute"),
        ];
        let plain: String = attributes.iter().map(|(written, ..)| format!(" {written}")).collect();
        let nested: String = elements.iter().map(|(written, ..)| format!("<param {written}/>")).collect();
        let request = format!(
            "<x lrmd_op='lrmd_rsc_exec'><lrmd_calldata><lrmd_rsc lrmd_rsc_id='r' lrmd_rsc_action='start'>\
             <attributes{plain}>{nested}</attributes></lrmd_rsc></lrmd_calldata></x>"
        );
        let operation = Envelope::of(&Document::parse(request.as_bytes()).unwrap()).operation;
        let Ok(Operation::Execute(execute)) = operation else { panic!("{operation:?}") };
        let told = completion(&result_of(execute.parameters));
        let document = Document::parse(&told).unwrap();
        let echo = document.root().children().find(|child| child.name() == "attributes").unwrap();
        let mut back: BTreeMap<String, String> = BTreeMap::new();
        for attribute in echo.attributes() {
            assert_eq!(back.insert(attribute.name.into(), attribute.value().into()), None);
        }
        for child in echo.children() {
            let part = |name| child.attribute(name).unwrap().into_owned();
            assert_eq!(back.insert(part("name"), part("value")), None);
        }
        let sent = attributes.iter().chain(&elements);
        let sent: BTreeMap<String, String> =
            sent.map(|(_, name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(back, sent);
    }

    #[test]
    fn what_is_told_without_a_result() {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(generic(-115, 44, "lrmd_rsc_unregister", Some("web"))),
            r#"<lrmd_notify lrmd_origin="pacelet" lrmd_rc="-115" lrmd_callid="44" lrmd_op="lrmd_rsc_unregister" lrmd_rsc_id="web" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"/>"#
        );
        assert!(!text(generic(0, 1, "lrmd_rsc_poke", None)).contains("lrmd_rsc_id"));
        assert_eq!(
            text(new_client()),
            r#"<lrmd_notify lrmd_origin="pacelet" lrmd_op="lrmd_rsc_new_client" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"/>"#
        );
        assert_eq!(
            text(shutdown_request()),
            r#"<lrmd_ipc_proxy lrmd_ipc_op="shutdown_req" lrmd_ipc_session="0" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"/>"#
        );
        assert_eq!(
            text(destroy_session("9d1f")),
            r#"<lrmd_ipc_proxy lrmd_ipc_op="destroy" lrmd_ipc_session="9d1f" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"/>"#
        );
    }

    /// As the stock daemon sends them.
    #[test]
    fn a_session_begins_and_asks() {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(new_session("stonith-ng", "2a8b7b0a-a6d0-4724-9be2-91aaca72b528")),
            r#"<lrmd_ipc_proxy lrmd_ipc_op="new" lrmd_ipc_server="stonith-ng" lrmd_ipc_session="2a8b7b0a-a6d0-4724-9be2-91aaca72b528" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"/>"#
        );
        let request = SessionRequest {
            session: "2a8b7b0a-a6d0-4724-9be2-91aaca72b528",
            client: "proxy-stonith-ng-74-2a8b7b0a",
            user: "root",
            id: 1,
            flags: 768,
        };
        let sent =
            r#"<!-- no --><stonith_command t="stonith-ng" st_op="register" st_clientname="crm_mon"/> "#;
        let document = Document::parse(sent.as_bytes()).unwrap();
        assert_eq!(
            text(request.write(document.root())),
            r#"<lrmd_ipc_proxy lrmd_ipc_op="request" lrmd_ipc_session="2a8b7b0a-a6d0-4724-9be2-91aaca72b528" lrmd_ipc_client="proxy-stonith-ng-74-2a8b7b0a" lrmd_ipc_user="root" lrmd_ipc_msg_id="1" lrmd_ipc_msg_flags="768" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"><lrmd_ipc_msg><stonith_command t="stonith-ng" st_op="register" st_clientname="crm_mon"/></lrmd_ipc_msg></lrmd_ipc_proxy>"#
        );
    }
}
