//! Each cell of the table of sessions.

use super::*;
use crate::line;

#[test]
fn who_could_not_open_its_files_is_refused_and_the_cluster_hears_nothing() {
    for name in Name::ALL {
        let errno = if name == Name::Pacemakerd { 121 } else { 13 };
        let mut lab = Lab::new();
        assert_eq!(
            lab.asks_as(STRANGER, TOOL, name, 1, Some(OLD)),
            [Action::Tool(Errand::Refuse { tool: TOOL, errno })]
        );
    }
}

#[test]
fn nobody_is_served_without_a_provider_and_pacemakerd_never() {
    let refused = |errno| vec![Action::Tool(Errand::Refuse { tool: TOOL, errno })];
    for name in Name::ALL {
        let mut lab = Lab::new();
        match name {
            Name::Lrmd => {
                assert!(matches!(lab.asks(TOOL, name, 1, None)[..], [Action::Tool(Errand::Admit { .. })]))
            }
            _ => assert_eq!(lab.asks(TOOL, name, 1, None), refused(121)),
        }
        let actions = lab.asks(OTHER, name, 1, Some(OLD));
        match name {
            Name::Lrmd => assert!(matches!(actions[..], [Action::Tool(Errand::Admit { .. })])),
            Name::Pacemakerd => {
                assert!(matches!(actions[..], [Action::Tool(Errand::Refuse { errno: 121, .. })]))
            }
            _ => {
                // The cluster hears of it before the tool is answered.
                let [Action::Send(OLD, new), Action::Tool(Errand::Admit { tool: OTHER, longest: 131_072 })] =
                    &actions[..]
                else {
                    panic!("{actions:?}")
                };
                let session = attribute(new, "lrmd_ipc_session");
                assert_eq!(*new, remote::new_session(name.channel().unwrap(), &session));
            }
        }
    }
}

#[test]
fn a_session_asks_and_is_answered() {
    for layout in LAYOUTS {
        let mut lab = Lab::new();
        let session = lab.open(TOOL);
        let [Action::Send(OLD, sent)] = &lab.request(TOOL, &message(layout, 7, 0x200, b"<a b='c'/>"))[..]
        else {
            panic!()
        };
        assert_eq!(
            text(sent),
            format!(
                r#"<lrmd_ipc_proxy lrmd_ipc_op="request" lrmd_ipc_session="{session}" lrmd_ipc_client="proxy-cib_rw-4242-{}" lrmd_ipc_user="root" lrmd_ipc_msg_id="7" lrmd_ipc_msg_flags="768" lrmd_remote_msg_id="0" lrmd_remote_msg_type="notify"><lrmd_ipc_msg><a b='c'/></lrmd_ipc_msg></lrmd_ipc_proxy>"#,
                &session[..8]
            )
        );
        assert!(lab.proxy.wants(TOOL));
        assert_eq!(lab.response(&session, 7, b"<r/>"), [Action::Tool(Errand::Deliver(TOOL))]);
        // It is told once that there is something.
        assert_eq!(lab.event(&session, b"<e/>"), []);
        assert_eq!(lab.read(TOOL), Some((Ring::Response, 7, 0x2_0000, b"<r/>".to_vec())));
        assert_eq!(lab.read(TOOL), Some((Ring::Event, 1, 0x3_0000, b"<e/>".to_vec())));
        assert_eq!(lab.read(TOOL), None);
        assert_eq!(lab.event(&session, b"<e/>"), [Action::Tool(Errand::Deliver(TOOL))]);
        assert_eq!(lab.read(TOOL), Some((Ring::Event, 2, 0x3_0000, b"<e/>".to_vec())));
    }
}

#[test]
fn only_the_element_of_a_message_is_handed_on() {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    lab.request(TOOL, &message(Layout::Classic, 1, 0, b"<a/>"));
    let whole = b"<lrmd_ipc_proxy><lrmd_ipc_msg><x/></lrmd_ipc_msg></lrmd_ipc_proxy>".to_vec();
    lab.proxy.event(OLD, &session, whole, 30..34, lab.now);
    assert_eq!(lab.read(TOOL).unwrap().3, b"<x/>");
}

#[test]
fn sessions_that_are_not_known_are_destroyed() {
    let mut lab = Lab::new();
    assert_eq!(lab.response("none", 1, b"<r/>"), [destroyed(OLD, "none")]);
    assert_eq!(lab.event("none", b"<r/>"), [destroyed(OLD, "none")]);
    lab.proxy.destroy(OLD, "none", lab.now);
    assert_eq!(lab.drain(), []);
}

#[test]
fn only_its_own_provider_speaks_for_a_session() {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    lab.proxy.response(NEW, &session, 1, b"<r/>".to_vec(), 0..4, lab.now);
    lab.proxy.event(NEW, &session, b"<r/>".to_vec(), 0..4, lab.now);
    lab.proxy.destroy(NEW, &session, lab.now);
    assert_eq!(lab.drain(), [destroyed(NEW, &session), destroyed(NEW, &session)]);
    assert!(lab.proxy.wants(TOOL));
    // What a newer provider does not change: the session stays where it began.
    lab.asks(OTHER, Name::CibRw, 1, Some(NEW));
    let actions = lab.request(TOOL, &message(Layout::Classic, 1, 0, b"<a/>"));
    assert!(matches!(actions[..], [Action::Send(OLD, _)]));
}

#[test]
fn a_session_ends_once_from_each_side() {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    lab.proxy.gone(TOOL, None, lab.now);
    assert_eq!(lab.drain(), [destroyed(OLD, &session)]);
    lab.proxy.gone(TOOL, None, lab.now);
    lab.proxy.destroy(OLD, &session, lab.now);
    assert_eq!(lab.drain(), []);

    let session = lab.open(TOOL);
    lab.proxy.gone(TOOL, Some("forged\npointers"), lab.now);
    assert_eq!(lab.drain(), [destroyed(OLD, &session)]);
    let line = lab.log.pop().unwrap();
    assert_eq!(line, line!(Warning, "Ended cib_rw of process 4242 (user 0): forged\\x0apointers"));

    let session = lab.open(TOOL);
    lab.proxy.destroy(OLD, &session, lab.now);
    assert_eq!(lab.drain(), [destroyed(OLD, &session), Action::Tool(Errand::Dismiss(TOOL))]);
    assert_eq!(lab.event(&session, b"<e/>"), [destroyed(OLD, &session)]);

    let (mine, others) = (lab.open(TOOL), lab.asks(OTHER, Name::Attrd, 1, Some(NEW)));
    lab.asks(ToolId(12), Name::Lrmd, 1, Some(OLD));
    lab.proxy.provider_gone(OLD);
    assert_eq!(lab.drain(), [Action::Tool(Errand::Dismiss(TOOL))]);
    assert_eq!(lab.log.pop().unwrap().text.split(':').next(), Some("Ended the sessions of 1 tools"));
    assert_eq!(lab.event(&mine, b"<e/>"), [destroyed(OLD, &mine)]);
    assert!(lab.proxy.wants(OTHER) && lab.proxy.wants(ToolId(12)) && !others.is_empty());
}

#[test]
fn the_executor_has_clients_of_its_own() {
    let mut lab = Lab::new();
    lab.asks(TOOL, Name::Lrmd, 1, Some(OLD));
    lab.open(OTHER);
    assert_eq!(lab.proxy.executor_clients().collect::<Vec<_>>(), [TOOL]);
    assert!(lab.proxy.client(TOOL).unwrap().is_privileged());
    assert_eq!(lab.proxy.client(ToolId(99)), None);
    let asked = lab.request(TOOL, &message(Layout::Classic, 5, 0x200, b"<?xml version='1.0'?><a><b/></a>\n"));
    assert_eq!(asked, [Action::Execute { tool: TOOL, id: 5, text: "<a><b/></a>".into() }]);
    lab.proxy.respond(TOOL, 5, b"<r/>".to_vec(), lab.now);
    lab.proxy.notify(TOOL, b"<n/>".to_vec(), lab.now);
    assert_eq!(lab.drain(), [Action::Tool(Errand::Deliver(TOOL))]);
    assert_eq!(lab.read(TOOL), Some((Ring::Response, 5, 0x2_0000, b"<r/>".to_vec())));
    assert_eq!(lab.read(TOOL), Some((Ring::Event, 1, 0x3_0000, b"<n/>".to_vec())));
    // What nobody could be answered is not done.
    assert_eq!(lab.request(TOOL, &message(Layout::Classic, 6, 0, b"<a/>")), []);
    assert!(lab.log.pop().unwrap().text.ends_with("no response is asked for"));
    lab.proxy.gone(TOOL, None, lab.now);
    lab.proxy.respond(TOOL, 6, b"<r/>".to_vec(), lab.now);
    assert_eq!(lab.drain(), []);
}

#[test]
fn too_much_is_refused_with_a_line_that_says_what() {
    let mut lab = Lab::with(Limits { memory: 1 << 20, ..Limits::default() });
    lab.open(TOOL);
    lab.open(OTHER);
    let actions = lab.asks(ToolId(12), Name::CibRw, 131_072, Some(OLD));
    assert_eq!(actions, [Action::Tool(Errand::Refuse { tool: ToolId(12), errno: 12 })]);
    assert_eq!(
        lab.log.pop().unwrap(),
        line!(
            Warning,
            "Refused cib_rw of process 4242 (user 0): it needs 396 KiB of shared memory, and all tools may have 1024 KiB (PACELET_tools_memory). Is PCMK_ipc_buffer larger than needed?"
        )
    );
    lab.proxy.gone(TOOL, None, lab.now);
    lab.drain();
    lab.open(TOOL);
    lab.proxy.gone(OTHER, None, lab.now);
    lab.drain();
    let mut ask = |tool| lab.asks_as(7, tool, Name::CibRw, 1, Some(OLD)).len();
    assert_eq!([ask(OTHER), ask(ToolId(12))], [2, 1]);
}

#[test]
fn a_busy_provider_holds_its_tools_back() {
    let mut lab = Lab::new();
    for tool in 10..14 {
        lab.open(ToolId(tool));
    }
    lab.asks(ToolId(14), Name::CibRw, 1, Some(NEW));
    lab.request(ToolId(11), &message(Layout::Parts, 1, 0, b"<a/>"));
    lab.proxy.set_busy(OLD, true);
    lab.proxy.set_busy(OLD, true);
    assert!(!lab.proxy.wants(TOOL) && lab.proxy.wants(ToolId(14)) && !lab.proxy.wants(ToolId(99)));
    assert_eq!(lab.drain(), []);
    lab.proxy.set_busy(OLD, false);
    // Who was served last is last.
    assert_eq!(lab.drain(), [12, 13, 10, 11].map(|tool| Action::Tool(Errand::Take(ToolId(tool)))));
    lab.proxy.set_busy(OLD, false);
    assert_eq!(lab.drain(), []);
}

/// What the executor's clients ask for is told to all clusters.
#[test]
fn any_busy_provider_holds_the_executor_s_clients_back() {
    let mut lab = Lab::new();
    lab.asks(TOOL, Name::Lrmd, 1, None);
    lab.proxy.set_busy(NEW, true);
    assert!(!lab.proxy.wants(TOOL));
    assert_eq!(lab.drain(), []);
    lab.proxy.set_busy(NEW, false);
    assert_eq!(lab.drain(), [Action::Tool(Errand::Take(TOOL))]);
    lab.proxy.set_busy(OLD, true);
    lab.proxy.provider_gone(OLD);
    assert_eq!(lab.drain(), [Action::Tool(Errand::Take(TOOL))]);
}
