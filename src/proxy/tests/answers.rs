//! How answers get to tools: in which pieces, in which order, and what becomes of those that do not fit.

use super::*;

/// A session whose tool has spoken in a layout.
fn spoken(layout: Layout) -> (Lab, String) {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    lab.request(TOOL, &message(layout, 1, 0x200, b"<a/>"));
    lab.log.clear();
    (lab, session)
}

#[test]
fn nothing_is_sent_before_the_layout_is_known() {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    assert_eq!(lab.event(&session, b"<e/>"), []);
    assert_eq!(lab.offer(TOOL), None);
    let actions = lab.request(TOOL, &message(Layout::Parts, 1, 0, b"<a/>"));
    assert!(matches!(actions[..], [Action::Tool(Errand::Deliver(TOOL)), Action::Send(..)]), "{actions:?}");
    assert_eq!(lab.read(TOOL).unwrap().3, b"<e/>");
}

#[test]
fn what_fits_goes_in_one_piece() {
    // The header, the text and its NUL are one less than what was agreed on.
    let longest = noise(131_072 - 42);
    for layout in LAYOUTS {
        let (mut lab, session) = spoken(layout);
        assert_eq!(lab.response(&session, 1, &longest), [Action::Tool(Errand::Deliver(TOOL))]);
        assert_eq!(lab.read(TOOL), Some((Ring::Response, 1, 0x2_0000, longest.clone())));
        assert_eq!(lab.event(&session, b""), [Action::Tool(Errand::Deliver(TOOL))]);
        assert_eq!(lab.read(TOOL), Some((Ring::Event, 1, 0x3_0000, vec![])));
        assert_eq!(lab.read(TOOL), None);
    }
}

#[test]
fn longer_ones_go_in_parts_and_nothing_comes_between() {
    let (mut lab, session) = spoken(Layout::Parts);
    let text = noise(2 * 131_031 + 1);
    lab.event(&session, &text);
    let (ring, id, flags, first) = lab.read(TOOL).unwrap();
    assert_eq!((ring, id, flags, first.len()), (Ring::Event, 1, 0xB_0000, 131_031));
    lab.response(&session, 7, b"<r/>");
    // Even if there is no room for the next part, and room for the response.
    lab.proxy.delivered(TOOL, Delivery::Full, lab.now);
    assert_eq!((lab.drain(), lab.offer(TOOL)), (vec![], None));
    assert_eq!(lab.sleep(1), [Action::Tool(Errand::Deliver(TOOL))]);
    let (ring, id, flags, second) = lab.read(TOOL).unwrap();
    assert_eq!((ring, id, flags, second.len()), (Ring::Event, 1, 0xB_0000, 131_031));
    let header = lab.proxy.outgoing(TOOL).unwrap().header;
    assert_eq!(u16::from_ne_bytes([header[34], header[35]]), 2);
    let (ring, id, flags, last) = lab.read(TOOL).unwrap();
    assert_eq!((ring, id, flags, last.len()), (Ring::Event, 1, 0x1B_0000, 1));
    assert!([first, second, last].concat() == text);
    assert_eq!(lab.read(TOOL), Some((Ring::Response, 7, 0x2_0000, b"<r/>".to_vec())));
    // What fits exactly is one part, the last.
    lab.response(&session, 8, &noise(131_031));
    assert_eq!(lab.read(TOOL).unwrap().2, 0x1A_0000);
    assert_eq!(lab.read(TOOL), None);
    assert_eq!(lab.proxy.sessions[&TOOL].outbox.held(), 0);
}

#[test]
fn classic_tools_get_longer_ones_compressed() {
    let (mut lab, session) = spoken(Layout::Classic);
    let text = ["<a>", &"<b c='d'/>".repeat(200_000), "</a>"].concat().into_bytes();
    // In a buffer with what goes around it.
    let whole = [b"<x>", &text[..], b"</x>"].concat();
    lab.proxy.response(OLD, &session, 7, whole, 3..3 + text.len(), lab.now);
    assert!(lab.proxy.is_reading() && lab.proxy.wants(TOOL));
    // Events go on meanwhile.
    assert_eq!(lab.event(&session, b"<e/>"), [Action::Tool(Errand::Deliver(TOOL))]);
    assert_eq!(lab.read(TOOL).unwrap().3, b"<e/>");
    assert_eq!(lab.read(TOOL), None);
    assert_eq!(lab.finish(), [Action::Tool(Errand::Deliver(TOOL))]);
    assert!(lab.proxy.sessions[&TOOL].outbox.held() < 131_072);
    assert_eq!(lab.read(TOOL), Some((Ring::Response, 7, 0x2_0001, text)));
    assert_eq!((lab.read(TOOL), lab.proxy.sessions[&TOOL].outbox.held()), (None, 0));
    assert_eq!(lab.log, []);
}

#[test]
fn what_does_not_fit_even_so_is_lost_with_a_line_that_says_what_helps() {
    let (mut lab, session) = spoken(Layout::Classic);
    let text = noise(400_000);
    lab.event(&session, &text);
    lab.event(&session, b"<e/>");
    assert_eq!(lab.finish(), [Action::Tool(Errand::Deliver(TOOL))]);
    assert_eq!(
        lab.log,
        [crate::line!(
            Error,
            "Lost an event of 400000 bytes for cib_rw of process 4242 (user 0): it takes 131072 at most. Set PCMK_ipc_buffer to 400042 or more, for this daemon and for the tool"
        )]
    );
    assert_eq!(lab.read(TOOL), Some((Ring::Event, 2, 0x3_0000, b"<e/>".to_vec())));
    // What it says is true.
    let mut lab = Lab::with(Limits { longest: Some(400_042), ..Limits::default() });
    let actions = lab.asks(TOOL, Name::CibRw, 1, Some(OLD));
    let [Action::Send(_, new), Action::Tool(Errand::Admit { longest: 400_042, .. })] = &actions[..] else {
        panic!()
    };
    let session = attribute(new, "lrmd_ipc_session");
    lab.request(TOOL, &message(Layout::Classic, 1, 0, b"<a/>"));
    lab.event(&session, &text);
    assert_eq!(lab.proxy.outgoing(TOOL).unwrap().body.len(), text.len());
}

#[test]
fn a_full_ring_does_not_hold_the_other_back() {
    let (mut lab, session) = spoken(Layout::Classic);
    lab.event(&session, b"<e/>");
    lab.response(&session, 7, b"<r/>");
    assert_eq!(lab.offer(TOOL).unwrap().0, Ring::Event);
    lab.proxy.delivered(TOOL, Delivery::Full, lab.now);
    assert_eq!(lab.drain(), [Action::Tool(Errand::Deliver(TOOL))]);
    assert_eq!(lab.read(TOOL).unwrap().0, Ring::Response);
    assert_eq!(lab.read(TOOL), None);
    // Something it says is a sign that it reads.
    let actions = lab.request(TOOL, &message(Layout::Classic, 2, 0, b"<a/>"));
    assert!(matches!(actions[..], [Action::Tool(Errand::Deliver(TOOL)), Action::Send(..)]));
    assert_eq!(lab.read(TOOL).unwrap().0, Ring::Event);
}

#[test]
fn a_full_ring_is_tried_again_and_less_often_when_nothing_is_read() {
    let (mut lab, session) = spoken(Layout::Classic);
    lab.event(&session, b"<e/>");
    let mut pauses = Vec::new();
    let begin = lab.now;
    while lab.now.since(begin) < 20_000 {
        lab.proxy.delivered(TOOL, Delivery::Full, lab.now);
        assert_eq!((lab.drain(), lab.offer(TOOL)), (vec![], None));
        let at = lab.proxy.deadline().unwrap();
        pauses.push(at.since(lab.now));
        assert_eq!(lab.sleep(at.since(lab.now)), [Action::Tool(Errand::Deliver(TOOL))]);
    }
    assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 20, 20]);
    assert_eq!(pauses[pauses.len() - 2..], [250, 250]);
    assert!(pauses.is_sorted());
    lab.read(TOOL);
    lab.event(&session, b"<e/>");
    lab.proxy.delivered(TOOL, Delivery::Full, lab.now);
    assert_eq!(lab.proxy.deadline(), Some(lab.now.after(1)));
    lab.sleep(1);
    lab.read(TOOL);
    assert_eq!(lab.proxy.deadline(), None);
}

#[test]
fn who_does_not_read_its_events_is_ended_at_the_second_look() {
    let (mut lab, session) = spoken(Layout::Classic);
    for _ in 0..500 {
        lab.event(&session, b"<e/>");
    }
    lab.proxy.delivered(TOOL, Delivery::Full, lab.now);
    assert_eq!(lab.log, []);
    lab.event(&session, b"<e/>");
    assert!(lab.log.pop().unwrap().text.ends_with("reads slowly: 501 events wait for it"));
    assert!(!lab.sleep(1_499).contains(&Action::Tool(Errand::Dismiss(TOOL))));
    let actions = lab.sleep(1);
    assert!(
        actions.ends_with(&[destroyed(OLD, &session), Action::Tool(Errand::Dismiss(TOOL))]),
        "{actions:?}"
    );
    assert!(lab.log.pop().unwrap().text.ends_with("it does not read, 501 events wait for it"));
}

#[test]
fn who_reads_is_left_in_peace() {
    let (mut lab, session) = spoken(Layout::Classic);
    for _ in 0..520 {
        lab.event(&session, b"<e/>");
    }
    // As many as before, but what it took was much.
    for _ in 0..600 {
        lab.read(TOOL);
        lab.event(&session, b"<e/>");
    }
    lab.sleep(1_500);
    assert_eq!((lab.log.len(), lab.proxy.sessions.len()), (1, 1));
    // Fewer, though it took few: said, nothing else.
    lab.read(TOOL);
    lab.sleep(1_500);
    assert_eq!((lab.log.len(), lab.proxy.sessions.len()), (2, 1));
    while lab.read(TOOL).is_some() {}
    lab.sleep(1_500);
    assert_eq!(lab.proxy.deadline(), None);
    // It took few: ended.
    for _ in 0..501 {
        lab.event(&session, b"<e/>");
    }
    for _ in 0..499 {
        lab.read(TOOL);
        lab.event(&session, b"<e/>");
    }
    lab.sleep(1_500);
    assert_eq!(lab.proxy.sessions.len(), 0);
}

#[test]
fn bytes_that_wait_are_bounded_for_one_and_for_all() {
    let mib = vec![b'x'; 1 << 20];
    let (mut lab, session) = spoken(Layout::Parts);
    for _ in 0..32 {
        lab.event(&session, &mib);
    }
    assert_eq!(lab.proxy.sessions.len(), 1);
    assert_eq!(lab.event(&session, b"x"), [destroyed(OLD, &session), Action::Tool(Errand::Dismiss(TOOL))]);
    assert!(lab.log.pop().unwrap().text.contains("33554433 bytes wait for it; 33554432 may for one tool"));

    // Of many it is who has most and has not read for longest.
    let mut lab = Lab::new();
    let sessions: Vec<_> = (1..=4).map(|tool| lab.open(ToolId(tool))).collect();
    for (tool, size) in [(1, 20), (2, 24), (3, 20)] {
        lab.request(ToolId(tool), &message(Layout::Parts, 1, 0, b"<a/>"));
        for _ in 0..size {
            lab.event(&sessions[tool as usize - 1], &mib);
        }
    }
    lab.sleep(60);
    lab.read(ToolId(2));
    lab.sleep(60);
    let actions = lab.event(&sessions[3], b"x");
    assert!(
        matches!(actions[..], [Action::Send(..), Action::Tool(Errand::Dismiss(ToolId(1 | 3)))]),
        "{actions:?}"
    );
    assert_eq!(lab.proxy.sessions.len(), 3);
}
