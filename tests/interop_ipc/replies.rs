//! What a cluster of one node, `n1`, and one remote node, `rem1`, answers to the tools' first questions.

use std::borrow::Cow;

use pacelet::xml::Element;

use super::cluster::{Answer, Request};

pub const CIB: &str = concat!(
    r#"<cib crm_feature_set="3.1.0" validate-with="pacemaker-3.0" epoch="5" num_updates="1" admin_epoch="0" "#,
    r#"have-quorum="1" dc-uuid="1"><configuration><crm_config><cluster_property_set id="options">"#,
    r#"<nvpair id="c1" name="stonith-enabled" value="false"/><nvpair id="c2" name="dc-version" value="2.1.5"/>"#,
    r#"</cluster_property_set></crm_config><nodes><node id="1" uname="n1"/>"#,
    r#"<node id="rem1" type="remote" uname="rem1"/></nodes><resources/><constraints/></configuration>"#,
    r#"<status><node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/>"#,
    r#"</status></cib>"#,
);

/// Answers a request of any name.
pub fn answer(request: &Request<'_>) -> Vec<Answer> {
    match request.channel {
        "crmd" => controller(request.root, request.wants_response),
        "attrd" => attributes(request.root, request.wants_response),
        "stonith-ng" => fencer(request.root),
        _ => cib(request.root, request.wants_response),
    }
}

/// Answers with a CIB of so many resources, of 134 bytes each.
pub fn answer_at_length(request: &Request<'_>, count: usize) -> Vec<Answer> {
    let resources = resources(count);
    let lengthen = |text: String| text.replace("<resources/>", &resources);
    let lengthened = |answer| match answer {
        Answer::Response(text) => Answer::Response(lengthen(text)),
        Answer::Event(text) => Answer::Event(lengthen(text)),
        other => other,
    };
    answer(request).into_iter().map(lengthened).collect()
}

pub fn resources(count: usize) -> String {
    let mut resources = "<resources>".to_owned();
    for number in 0..count as u64 {
        let class = r#"class="ocf" provider="pacemaker" type="Dummy""#;
        resources.push_str(&format!(
            r#"<primitive id="resource-{number:06}" {class} description="{:032x}"/>"#,
            number * number
        ));
    }
    resources.push_str("</resources>");
    resources
}

/// The value to which a request sets an attribute.
pub fn attribute_value(request: &Request<'_>) -> Option<String> {
    let sets = request.channel == "attrd" && value(request.root, "task") == "update";
    sets.then(|| value(request.root, "attr_value").into_owned())
}

fn value<'a>(element: Element<'a>, name: &str) -> Cow<'a, str> {
    element.attribute(name).unwrap_or_default()
}

fn acknowledged(wanted: bool) -> Vec<Answer> {
    let ack = r#"<ack function="dispatch" line="1" status="0"/>"#;
    if wanted { vec![Answer::Response(ack.to_owned())] } else { Vec::new() }
}

fn controller(root: Element<'_>, wants_response: bool) -> Vec<Answer> {
    let mut answers = acknowledged(wants_response);
    let task = value(root, "crm_task");
    if task != "hello" {
        let (reference, from) = (value(root, "reference"), value(root, "crm_sys_from"));
        answers.push(Answer::Event(format!(
            "<create_reply_adv origin=\"lab\" t=\"crmd\" version=\"3.1.0\" subt=\"response\" reference=\"{reference}\" \
             crm_task=\"{task}\" crm_sys_to=\"{from}\" crm_sys_from=\"crmd\" src=\"n1\"><crm_xml><node id=\"rem1\" \
             uname=\"rem1\" crmd=\"online\" state=\"member\" have-quorum=\"1\" remote_node=\"true\"/></crm_xml>\
             </create_reply_adv>"
        )));
    }
    answers
}

fn attributes(root: Element<'_>, wants_response: bool) -> Vec<Answer> {
    if value(root, "task") != "query" {
        return acknowledged(wants_response);
    }
    let name = value(root, "attr_name");
    vec![Answer::Response(format!(
        "<build_query_reply t=\"attrd\" subt=\"query\" attr_version=\"4\" attr_name=\"{name}\">\
         <node attr_host=\"rem1\" attr_value=\"1\"/></build_query_reply>"
    ))]
}

fn fencer(root: Element<'_>) -> Vec<Answer> {
    let operation = value(root, "st_op");
    if operation == "register" {
        return vec![Answer::Response("<reply st_op=\"register\" st_clientid=\"lab\"/>".to_owned())];
    }
    let (call, options) = (value(root, "st_callid"), value(root, "st_callopt"));
    vec![Answer::Response(format!(
        "<st-reply st_origin=\"lab\" t=\"stonith-ng\" st_op=\"{operation}\" st_device_id=\"\" st_clientid=\"lab\" \
         st_clientname=\"lab\" st_callid=\"{call}\" st_callopt=\"{options}\" st_rc=\"0\" rc-code=\"0\" op-status=\"0\" \
         st_output=\"\"><st_calldata/></st-reply>"
    ))]
}

fn cib(root: Element<'_>, wants_response: bool) -> Vec<Answer> {
    let operation = value(root, "cib_op");
    if operation == "cib_notify" {
        return acknowledged(wants_response);
    }
    let text = if operation == "register" {
        "<cib_common_callback_worker cib_op=\"register\" cib_clientid=\"lab\"/>".to_owned()
    } else {
        let (call, options) = (value(root, "cib_callid"), value(root, "cib_callopt"));
        format!(
            "<cib-reply t=\"cib\" cib_op=\"{operation}\" cib_callid=\"{call}\" cib_clientid=\"lab\" \
             cib_callopt=\"{options}\" cib_rc=\"0\"><cib_calldata>{CIB}</cib_calldata></cib-reply>"
        )
    };
    vec![if wants_response { Answer::Response(text) } else { Answer::Event(text) }]
}
