//! What may be passed on, and that nothing else is.

use super::*;
use crate::xml::DEPTH_LIMIT;

/// What the cluster is sent of a request, without what is put around it.
fn passed_on(text: &[u8]) -> Option<String> {
    let results = LAYOUTS.map(|layout| {
        let mut lab = Lab::new();
        lab.open(TOOL);
        let messages = match layout {
            Layout::Classic => vec![message(layout, 1, 0x200, text)],
            Layout::Parts => parts(1, text, 7),
        };
        let mut sent: Vec<_> = messages.iter().flat_map(|message| lab.request(TOOL, message)).collect();
        assert!(lab.proxy.wants(TOOL), "the session goes on");
        let Some(Action::Send(OLD, sent)) = sent.pop() else {
            assert_eq!(lab.log.len(), 2, "{:?}", lab.log);
            let line = lab.log.pop().unwrap();
            assert_eq!(line.level, crate::log::Level::Warning);
            assert!(line.text.contains("from cib_rw of process 4242 (user 0): "), "{}", line.text);
            return None;
        };
        let sent = String::from_utf8(sent).unwrap();
        // Whatever it was: one element with two inside of one another, and the tool's in these.
        let document = crate::xml::Document::parse(sent.as_bytes()).unwrap();
        let root = document.root();
        assert_eq!(
            (root.name(), root.attributes().count(), root.children().count()),
            ("lrmd_ipc_proxy", 8, 1)
        );
        let wrapper = root.children().next().unwrap();
        assert_eq!((wrapper.name(), wrapper.attributes().count()), ("lrmd_ipc_msg", 0));
        assert_eq!(wrapper.children().count(), 1);
        assert_eq!(attribute(sent.as_bytes(), "lrmd_ipc_msg_flags"), "768");
        Some(wrapper.children().next().unwrap().source().to_owned())
    });
    let [classic, parts] = results;
    assert_eq!(classic, parts);
    classic
}

#[test]
fn nothing_can_be_put_beside_the_element() {
    for text in [
        "</lrmd_ipc_msg><lrmd_ipc_msg><a/>",
        "<a/></lrmd_ipc_msg></lrmd_ipc_proxy><lrmd_ipc_proxy lrmd_ipc_op=\"shutdown_req\"/>",
        "<a></lrmd_ipc_msg></a>",
        "<a/><b/>",
        "<a/>text",
        "text<a/>",
        "text",
        "",
        " ",
        "\" lrmd_ipc_user=\"root",
        "<a b='1' b='2'/>",
        "<a b=\"1\"b=\"2\"/>",
        "<a b='<'/>",
        "<a b=1/>",
        "<a",
        "<a>",
        "<a/",
        "<![CDATA[<a/>]]>",
        "<a/><![CDATA[x]]>",
        "<!-- <a/> -->",
        "<!-- -- --><a/>",
        "<!--><a/>",
        "<?xml version='1.0' encoding='latin1'?><a/>",
        "<?php ?><a/>",
        "<a/><?php ?>",
        "<a><?php ?></a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/shadow'>]><a>&e;</a>",
        "<a>&e;</a>",
        "<a b='&e;'/>",
        "<a>&#0;</a>",
        "<a>\u{1}</a>",
        "<a b='\u{1b}'/>",
        "<a>\0</a>",
        "<a b='\0'/>",
        "<a/>\0",
        "\0<a/>",
        "<a/>\0</lrmd_ipc_msg>",
        "<a>]]></b>",
        "\u{feff}\u{feff}<a/>",
    ] {
        assert_eq!(passed_on(text.as_bytes()), None, "{text:?}");
    }
    for bytes in [
        &b"<a>\xff</a>"[..],
        b"<a b='\xc3'/>",
        b"\xff\xfe<\0a\0/\0>\0",
        b"<a>\xed\xa0\x80</a>",
        b"<a>\xc0\xbc</a>",
    ] {
        assert_eq!(passed_on(bytes), None, "{bytes:?}");
    }
}

#[test]
fn what_is_passed_on_is_as_it_was_written() {
    for text in [
        "<a/>",
        "<a b='c' d=\"e\"/>",
        "<a lrmd_ipc_op='destroy' lrmd_ipc_session='x' lrmd_ipc_user='root'/>",
        "<lrmd_ipc_proxy><lrmd_ipc_msg><a/></lrmd_ipc_msg></lrmd_ipc_proxy>",
        "<lrmd_ipc_msg/>",
        "<a><![CDATA[</lrmd_ipc_msg></lrmd_ipc_proxy>]]></a>",
        "<a><!-- </lrmd_ipc_msg> --></a>",
        "<a b='>'>&lt;/a&gt;</a>",
        "<a b='&#x0A;&#10;&amp;&quot;'\n\tc=''\n>\u{e9}\u{1f600}</a\n>",
    ] {
        assert_eq!(passed_on(text.as_bytes()).as_deref(), Some(text), "{text:?}");
    }
    // What is around it stays here.
    for text in ["\u{feff}<a/>", "<?xml version='1.0'?>\n<a/>", "<!-- x --><a/>\n<!-- y -->", " <a/>\r\n\t "]
    {
        assert_eq!(passed_on(text.as_bytes()).as_deref(), Some("<a/>"), "{text:?}");
    }
}

#[test]
fn what_is_put_around_counts_as_depth() {
    let nested = |depth: usize| ["<a>".repeat(depth), "</a>".repeat(depth)].concat();
    assert!(passed_on(nested(DEPTH_LIMIT - 2).as_bytes()).is_some());
    for depth in [DEPTH_LIMIT - 1, DEPTH_LIMIT, DEPTH_LIMIT + 1, 300] {
        assert_eq!(passed_on(nested(depth).as_bytes()), None, "{depth}");
    }
}

/// A fault of the tool's ends its session: what it says next could not be followed.
#[track_caller]
fn ends(messages: &[Vec<u8>], line: &str) {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    lab.log.clear();
    let (last, before) = messages.split_last().unwrap();
    for message in before {
        assert!(lab.request(TOOL, message).iter().all(|action| matches!(action, Action::Send(..))));
        assert!(lab.proxy.wants(TOOL));
    }
    assert_eq!(lab.request(TOOL, last), [destroyed(OLD, &session), Action::Tool(Errand::Dismiss(TOOL))]);
    assert_eq!(lab.log.len(), 1);
    assert!(lab.log[0].text.contains(line), "{}", lab.log[0].text);
    assert!(!lab.proxy.wants(TOOL));
    assert_eq!(lab.request(TOOL, last), []);
}

#[test]
fn the_layout_stays() {
    let [classic, parts] = LAYOUTS.map(|layout| message(layout, 1, 0, b"<a/>"));
    ends(&[classic.clone(), classic.clone(), parts.clone()], "another kind of header");
    ends(&[parts.clone(), parts, classic], "another kind of header");
}

#[test]
fn headers_that_are_none_end_a_session() {
    ends(&[vec![]], "shorter than its header");
    ends(&[vec![0; 40]], "unknown version");
    let mut bytes = message(Layout::Classic, 1, 0, b"<a/>");
    *bytes.last_mut().unwrap() = b'x';
    ends(&[bytes], "no NUL");
}

#[test]
fn parts_follow_one_another() {
    let with = |id, part_flags, number| {
        part(Header { layout: Layout::Parts, id, flags: part_flags, part: number }, b"<a/>")
    };
    let (next, last) = (flags::PART, flags::PART | flags::LAST_PART);
    ends(&[with(1, next, 1)], "does not follow");
    ends(&[with(1, last, 1)], "does not follow");
    ends(&[with(1, next, 0), with(1, next, 0)], "does not follow");
    ends(&[with(1, next, 0), with(1, next, 2)], "does not follow");
    ends(&[with(1, next, 0), with(2, next, 1)], "does not follow");
    ends(&[with(1, next, 0), with(2, 0, 0)], "does not follow");
    ends(&[with(1, next, 0), with(1, 0, 1)], "does not follow");
    let mut lab = Lab::new();
    lab.open(TOOL);
    assert_eq!(lab.request(TOOL, &with(1, last, 0)).len(), 1);
    // In the classic layout the bits mean something else.
    lab.open(OTHER);
    let actions = lab.request(OTHER, &message(Layout::Classic, 1, last, b"<a/>"));
    let [Action::Send(OLD, sent)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(attribute(sent, "lrmd_ipc_msg_flags"), (0x18_0100).to_string());
}

#[test]
fn a_request_in_parts_has_a_time_and_a_size() {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    let begin = part(Header { layout: Layout::Parts, id: 1, flags: flags::PART, part: 0 }, b"<a>");
    assert_eq!(lab.request(TOOL, &begin), []);
    assert_eq!(lab.sleep(59_999), []);
    assert_eq!(lab.sleep(1), [destroyed(OLD, &session), Action::Tool(Errand::Dismiss(TOOL))]);

    // Who is held back is not to blame.
    lab.open(TOOL);
    lab.request(TOOL, &begin);
    lab.proxy.set_busy(OLD, true);
    assert_eq!(lab.sleep(60_000), []);
    lab.proxy.set_busy(OLD, false);
    assert_eq!((lab.drain(), lab.sleep(59_999)), (vec![Action::Tool(Errand::Take(TOOL))], vec![]));
    assert_eq!(lab.sleep(1).len(), 2);

    let piece = vec![b' '; 8 << 20];
    let numbered =
        |number| part(Header { layout: Layout::Parts, id: 1, flags: flags::PART, part: number }, &piece);
    ends(&[numbered(0), numbered(1), numbered(2)], "in parts of more than");
    // Four tools have 16 MiB each: the fifth's first part is too much for all. One of the largest goes.
    let mut lab = Lab::new();
    for tool in 1..=4 {
        lab.open(ToolId(tool));
        assert_eq!(lab.request(ToolId(tool), &numbered(0)), []);
        assert_eq!(lab.request(ToolId(tool), &numbered(1)), []);
    }
    lab.open(TOOL);
    assert_eq!(lab.request(TOOL, &begin).len(), 2);
    assert!(lab.proxy.wants(TOOL));
    assert!(lab.log.last().unwrap().text.contains("16777216 bytes of a request wait for the rest"));
}

#[test]
fn compressed_requests_are_unpacked() {
    let mut lab = Lab::new();
    lab.open(TOOL);
    let big = ["<a>", &"<b c='d'/>".repeat(300_000), "</a>"].concat();
    let told = big.len() as u32 + 1;
    let [Action::Send(OLD, sent), Action::Tool(Errand::Take(TOOL))] =
        &lab.request(TOOL, &compressed(3, big.as_bytes(), told))[..]
    else {
        panic!()
    };
    assert_eq!(attribute(sent, "lrmd_ipc_msg_id"), "3");
    // As the stock daemon passes it on.
    assert_eq!(attribute(sent, "lrmd_ipc_msg_flags"), "769");
    assert!(text(sent).contains(&big));
    lab.log.clear();
    let dropped = |lab: &mut Lab, message: &[u8], why: &str| {
        // It may be seen at once.
        assert!(matches!(lab.request(TOOL, message)[..], [] | [Action::Tool(Errand::Take(TOOL))]));
        let line = lab.log.pop().unwrap().text;
        assert!(line.ends_with(why), "{line}");
        assert!(lab.proxy.wants(TOOL) && lab.log.is_empty());
    };
    dropped(&mut lab, &compressed(1, b"<a/>", 4), "more text than it claims to have");
    dropped(&mut lab, &compressed(1, b"<a/>", 6), "not the 6 bytes with a NUL that were compressed");
    dropped(&mut lab, &compressed(1, b"<a>", 4), "the end of the text inside an element at byte 3");
    dropped(&mut lab, &compressed(1, b"<a>\xff</a>", 9), "not UTF-8 at byte 3");
    dropped(&mut lab, &compressed(1, b"<a/>", 20 << 20), "at most 20905984 can be passed on");
    let mut damaged = compressed(1, b"<a/>", 5);
    damaged[50] ^= 1;
    dropped(&mut lab, &damaged, "damaged on the way");
    damaged[41] = b'X';
    dropped(&mut lab, &damaged, "not compressed by bzip2");
}

#[test]
fn a_big_request_takes_steps_and_holds_only_its_own_tool_back() {
    let mut lab = Lab::new();
    lab.open(TOOL);
    lab.open(OTHER);
    let big = ["<a>", &"<b c='d'/>".repeat(400_000), "</a>"].concat();
    lab.proxy.request(TOOL, &message(Layout::Classic, 1, 0, big.as_bytes()), lab.now);
    assert!(lab.proxy.is_reading() && !lab.proxy.wants(TOOL) && lab.proxy.wants(OTHER));
    assert_eq!(lab.drain(), []);
    lab.proxy.request(OTHER, &message(Layout::Classic, 1, 0, big.as_bytes()), lab.now);
    let mut steps = 0;
    let mut done = Vec::new();
    while lab.proxy.is_reading() {
        lab.proxy.resume(lab.now);
        steps += 1;
        done.extend(lab.drain());
    }
    // The first step of each was taken at once, and they had their turns.
    assert_eq!(steps, 2 * (big.len().div_ceil(256 * 1024) - 1));
    let [
        Action::Send(..),
        Action::Tool(Errand::Take(TOOL)),
        Action::Send(..),
        Action::Tool(Errand::Take(OTHER)),
    ] = &done[..]
    else {
        panic!("{} actions", done.len())
    };
    assert!(lab.proxy.wants(TOOL) && lab.proxy.wants(OTHER));
}

#[test]
fn lines_about_bad_requests_are_limited() {
    let mut lab = Lab::new();
    lab.open(TOOL);
    lab.log.clear();
    for _ in 0..1000 {
        lab.request(TOOL, &message(Layout::Classic, 1, 0, b"<secret>"));
    }
    assert_eq!(lab.log.len(), 10);
    assert!(lab.log.iter().all(|line| !line.text.contains("secret")));
}

/// A few bytes that were compressed may become many.
#[test]
fn what_is_to_be_unpacked_has_its_room_before() {
    for (told, most) in [(5, 4), (20 << 20, 1)] {
        let mut lab = Lab::new();
        let mut taken = 0;
        for tool in 10..30 {
            lab.open(ToolId(tool));
            if lab.proxy.wants(ToolId(tool)) {
                let request = compressed(1, b"<a/>", told.min(incoming::REQUEST_LIMIT as u32));
                lab.proxy.request(ToolId(tool), &request, lab.now);
                taken += 1;
            }
        }
        assert!((1..=most).contains(&taken), "{taken} of {told} bytes");
        lab.finish();
        assert!((10..30).all(|tool| lab.proxy.wants(ToolId(tool))));
    }
}

#[test]
fn who_ends_while_it_is_checked_makes_room() {
    let mut lab = Lab::new();
    let session = lab.open(TOOL);
    lab.open(OTHER);
    lab.open(ToolId(12));
    let big =
        message(Layout::Parts, 1, 0, &["<a>", &"<b c='d'/>".repeat(1_900_000), "</a>"].concat().into_bytes());
    lab.proxy.request(TOOL, &big, lab.now);
    lab.proxy.request(OTHER, &big, lab.now);
    assert!(lab.proxy.is_reading() && !lab.proxy.wants(ToolId(12)));
    assert_eq!(lab.drain(), []);
    let actions = lab.event(&session, &vec![b' '; TOOL_LIMIT + 1]);
    let last = [
        destroyed(OLD, &session),
        Action::Tool(Errand::Dismiss(TOOL)),
        Action::Tool(Errand::Take(ToolId(12))),
    ];
    assert!(actions.ends_with(&last), "{}", actions.len());
}
