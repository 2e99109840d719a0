//! Each kind of bad input by itself: the exact answer, its one line in the log, and a second client that goes on
//! poking and notices nothing.

use pacelet::agent::Stream;
use pacelet::log::Escaped;

use super::bench::Bench;
use super::children::Script;
use super::link::Meaning;
use super::memory;
use super::network::Path;
use super::oracle::SERIAL;
use super::random::Random;
use super::records::{header, sized_header};
use super::request::{Agent, Ask, Execute, Request};
use super::world::{Cut, IDENTITY, KEY};
use super::xml::Element;

/// The beginning of the line for the second connection, if it says nothing.
const SILENT: &str =
    "info: Connection from 192.0.2.7:40002 ended before anything came, as of a port scan or health check";
/// And if it is no client, but says something.
const REFUSED: &str = "error: Refused remote client connection from 192.0.2.7:40002";
/// And if it is one, and something is wrong with it.
const DROPPED: &str = "error: Disconnecting remote client node2 (192.0.2.7:40002)";

/// What is told to who has not completed its handshake in time: close_notify.
const BYE: [u8; 7] = [0x15, 3, 3, 0, 2, 1, 0];

/// A fatal alert before there are keys (RFC 8446 section 6).
fn alert(code: u8) -> Vec<u8> {
    vec![0x15, 3, 3, 0, 2, 2, code]
}

/// The hello of a client with this key and identity.
fn hello(key: &[u8], identity: &[u8]) -> Vec<u8> {
    super::client::Client::new(key, identity, Random::new(1, "hello")).outgoing()
}

#[test]
fn a_port_scan() {
    let mut bench = Bench::new();
    let conn = bench.raw();
    bench.world.cut(conn, Cut::Fin);
    bench.pass(1);
    assert_eq!(bench.line(), format!("{SILENT}: end of stream"));
    let conn = bench.raw();
    bench.world.cut(conn, Cut::Reset);
    bench.pass(1);
    let line = bench.line();
    assert!(line.starts_with("info: Connection from 192.0.2.7:40003 ended before anything came"), "{line}");
    assert!(line.contains("(os error 104)"), "{line}");
}

#[test]
fn ten_seconds_of_silence() {
    let mut bench = Bench::new();
    let conn = bench.raw();
    bench.pass(9_999);
    assert_eq!(bench.answer(conn), (vec![], false));
    bench.pass(1);
    assert_eq!(bench.answer(conn), (BYE.into(), true));
    assert_eq!(bench.line(), format!("{SILENT}: authentication timed out: nothing came in 10 s"));
}

#[test]
fn http() {
    let mut bench = Bench::new();
    let conn = bench.raw();
    let text = b"GET / HTTP/1.1\r\nHost: node\r\n\r\n";
    bench.world.send_bytes(conn, text, Some(Meaning::Doom("it does not speak TLS")));
    bench.pass(1);
    assert_eq!(bench.answer(conn), (alert(10), true));
    assert_eq!(bench.line(), format!("{REFUSED}: the peer sent what is not TLS: it begins with \"G\""));
}

#[test]
fn half_a_hello() {
    let mut bench = Bench::new();
    let hello = hello(KEY, IDENTITY);
    let conn = bench.raw();
    bench.world.send_bytes(conn, &hello[..hello.len() / 2], None);
    bench.pass(9_999);
    assert_eq!(bench.answer(conn), (vec![], false));
    bench.pass(1);
    assert_eq!(bench.answer(conn), (BYE.into(), true));
    let timeout = "authentication timed out: the TLS handshake was not completed in 10 s";
    assert_eq!(bench.line(), format!("{REFUSED}: {timeout}"));
    // And nothing more.
    let conn = bench.raw();
    bench.world.send_bytes(conn, &hello[..hello.len() / 2], None);
    bench.pass(1);
    bench.world.cut(conn, Cut::Fin);
    bench.pass(1);
    let ended = "notice: Connection from 192.0.2.7:40003 ended during its TLS handshake: end of stream";
    assert_eq!(bench.line(), ended);
}

#[test]
fn a_wrong_key_and_a_wrong_identity_look_alike() {
    let wrong_key = "wrong key: the peer's key file differs from ours";
    let unknown = "unknown identity: the peer calls itself \"r\\x1b[2Jt\", not \"lrmd\"";
    for (key, identity, why) in [(&[1; 32][..], IDENTITY, wrong_key), (KEY, b"r\x1b[2Jt", unknown)] {
        let mut bench = Bench::new();
        let conn = bench.raw();
        bench.world.send_bytes(conn, &hello(key, identity), Some(Meaning::Doom("it does not know the key")));
        bench.pass(0);
        assert_eq!(bench.answer(conn), (alert(51), true));
        assert_eq!(bench.line(), format!("{REFUSED}: {why}"));
    }
}

#[test]
fn one_byte_at_a_time() {
    let mut bench = Bench::new();
    let path = Path { delay: (1, 1), piece: (1, 1), buffer: 7 };
    let conn = bench.world.connect(path, KEY, IDENTITY).unwrap().unwrap();
    bench.pass(5_000);
    assert_eq!(bench.line(), "notice: Remote client connection accepted from 192.0.2.7:40002");
    bench.register(conn, "1.2");
    bench.request(conn, None, Ask::Info("nobody".into()));
    bench.pass(5_000);
    assert_eq!(bench.told(conn).len(), 2);
    assert!(bench.world.lines.is_empty());
}

#[test]
fn sizes_that_lie() {
    let bad = [
        (100, 50, "message header contradicts itself: 100 bytes in all, but 40 of header and 50 of payload"),
        (40, 0, "message without payload"),
        (u32::MAX, u32::MAX - 40, "message of 4294967295 bytes, where at most 20971520 are allowed"),
        (
            39,
            u32::MAX,
            "message header contradicts itself: 39 bytes in all, but 40 of header and 4294967295 of payload",
        ),
    ];
    for (total, payload, why) in bad {
        let header = sized_header(1, total, payload);
        let mut bench = Bench::new();
        let conn = bench.registered_client();
        bench.world.plaintext(conn, &[&header, b"<a/>\0"], Meaning::Doom("its header lies"));
        bench.pass(0);
        assert!(bench.is_gone(conn));
        assert_eq!(bench.told(conn), [""; 0]);
        assert_eq!(bench.line(), format!("{DROPPED}: {why}"));
    }
}

#[test]
fn no_header_at_all() {
    let mut bench = Bench::new();
    let conn = bench.registered_client();
    let text = b"<lrmd_command t=\"lrmd\" lrmd_op=\"lrmd_rsc_poke\"/>\r\n\r\n";
    bench.world.plaintext(conn, &[text], Meaning::Doom("it has no header"));
    bench.pass(0);
    assert!(bench.is_gone(conn));
    let why = "not a Pacemaker Remote message: it begins with 3c6c726d";
    assert_eq!(bench.line(), format!("{DROPPED}: {why}"));
}

#[test]
fn too_long() {
    const LIMIT: usize = 20 * 1024 * 1024;
    let mut bench = Bench::new();
    // The header is enough.
    let conn = bench.registered_client();
    bench.world.plaintext(conn, &[&header(1, LIMIT + 1 - 40)], Meaning::Doom("it is too long"));
    bench.pass(0);
    assert!(bench.is_gone(conn));
    let why = "message of 20971521 bytes, where at most 20971520 are allowed";
    assert_eq!(bench.line(), format!("{DROPPED}: {why}"));
    // Before somebody has registered there is less room.
    let conn = bench.client();
    bench.world.plaintext(conn, &[&header(1, 64 * 1024 + 1 - 40)], Meaning::Doom("it is too long"));
    bench.pass(0);
    assert!(bench.is_gone(conn));
    let why = "message of 65537 bytes, where at most 65536 are allowed";
    assert_eq!(bench.line(), format!("error: Disconnecting remote client 192.0.2.7:40003: {why}"));
}

#[test]
fn twenty_mebibytes_are_not_too_long() {
    const LIMIT: usize = 20 * 1024 * 1024;
    let mut bench = Bench::new();
    let conn = bench.registered_client();
    let around = "<x lrmd_op=\"lrmd_rsc_metadata\" lrmd_remote_msg_id=\"5\" a=\"\" b=\"\" c=\"\"/>".len();
    let padding = LIMIT - 40 - 1 - around;
    let element = Element::new("x")
        .with("lrmd_op", "lrmd_rsc_metadata")
        .with("lrmd_remote_msg_id", 5)
        .with("a", "x".repeat(padding / 3))
        .with("b", "x".repeat(padding / 3))
        .with("c", "x".repeat(padding - padding / 3 * 2));
    let text = element.to_string();
    assert_eq!(text.len() + 41, LIMIT);
    let request = Request { id: 5, name: None, ask: Ask::Refused(Element::new("x"), -95) };
    bench.world.message(conn, 5, text.as_bytes(), Meaning::Request(Box::new(request)));
    bench.pass(0);
    assert_eq!(bench.told(conn).len(), 1);
    let line =
        "warning: Refused request 'lrmd_rsc_metadata' of node2 (192.0.2.7:40002): no such operation (-95)";
    assert_eq!(bench.line(), line);
}

#[test]
fn broken_xml() {
    let nested = "<a>".repeat(300);
    for (text, why) in [
        (
            "<lrmd_command t=\"lrmd\" lrmd_op=\"lrmd_rsc_poke\"",
            "the end of the text inside an element at byte 46",
        ),
        ("<a><b></a></b>", "an end tag that does not match its start tag at byte 6"),
        ("", "no XML element at byte 0"),
        ("hello\x1b", "malformed markup at byte 0"),
        (
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a x=\"&b;\"/>",
            "a DOCTYPE, which messages must not have at byte 0",
        ),
        ("<a x=\"1\" x=\"2\"/>", "an attribute for the second time at byte 9"),
        (&*nested, "more than 255 elements inside one another at byte 765"),
    ] {
        let mut bench = Bench::new();
        let conn = bench.registered_client();
        bench.world.message(conn, 1, text.as_bytes(), Meaning::Nonsense);
        bench.pass(0);
        let what = format!("Ignoring a message of {} bytes from node2 (192.0.2.7:40002)", text.len());
        let shown = Escaped(text.as_bytes());
        assert_eq!(bench.line(), format!("warning: {what}, which is not well-formed XML: {why}: {shown}"));
        // The connection is as good as before.
        bench.request(conn, None, Ask::Info("nobody".into()));
        bench.pass(0);
        assert_eq!(bench.told(conn).last().map(|reply| reply.contains("lrmd_rc=\"-19\"")), Some(true));
    }
}

#[test]
fn unknown_operations() {
    let operation = |name: &str| Element::new("lrmd_command").with("t", "lrmd").with("lrmd_op", name);
    let missing = "something it needs is missing or cannot be used";
    for (element, rc, name, why) in [
        (operation("lrmd_rsc_metadata"), -95, "lrmd_rsc_metadata", "no such operation"),
        (Element::new("lrmd_command").with("t", "lrmd"), -95, "", "no such operation"),
        (operation("\u{202e}\n"), -95, "\\xe2\\x80\\xae\\x0a", "no such operation"),
        (operation("lrmd_rsc_exec"), -22, "lrmd_rsc_exec", missing),
    ] {
        let mut bench = Bench::new();
        let conn = bench.registered_client();
        bench.request(conn, None, Ask::Refused(element, rc));
        bench.pass(0);
        let reply = bench.told(conn).remove(0);
        assert!(reply.contains(&format!(" lrmd_rc=\"{rc}\" ")), "{reply}");
        let line = format!("warning: Refused request '{name}' of node2 (192.0.2.7:40002): {why} ({rc})");
        assert_eq!(bench.line(), line);
        assert!(!bench.is_gone(conn));
    }
}

#[test]
fn a_protocol_that_is_too_old() {
    let mut bench = Bench::new();
    let conn = bench.client();
    bench.register(conn, "0.9");
    bench.pass(0);
    assert!(bench.told(conn)[0].contains(" lrmd_rc=\"-71\" "));
    let why = "it speaks protocol 0.9, at least 1.0 is needed";
    assert_eq!(bench.line(), format!("error: Refused to register node2 (192.0.2.7:40002): {why}"));
    assert!(!bench.is_gone(conn));
}

#[test]
fn a_corrupt_record() {
    let mut bench = Bench::new();
    let conn = bench.registered_client();
    bench.world.spoilt_request(conn, &Request { id: 1, name: None, ask: Ask::Poke });
    bench.pass(0);
    assert!(bench.is_gone(conn));
    assert_eq!(bench.line(), format!("{DROPPED}: a record of the peer cannot be decrypted"));
}

#[test]
fn a_message_that_does_not_go_on() {
    let mut bench = Bench::new();
    let conn = bench.registered_client();
    bench.world.plaintext(conn, &[&header(1, 100)], Meaning::Nonsense);
    let link = bench.world.link(conn).unwrap();
    let mark = link.marks.back_mut().unwrap();
    mark.end = u64::MAX;
    bench.pass(59_999);
    assert!(!bench.is_gone(conn));
    bench.pass(1);
    assert!(bench.is_gone(conn));
    assert_eq!(bench.line(), format!("{DROPPED}: a message began and did not go on for 60 s"));
}

#[test]
fn a_client_that_does_not_read() {
    let mut bench = Bench::new();
    let path = Path { buffer: 1000, ..Path::IDEAL };
    let conn = bench.world.connect(path, KEY, IDENTITY).unwrap().unwrap();
    bench.pass(0);
    bench.register(conn, "1.2");
    bench.pass(0);
    bench.world.lines.clear();
    bench.world.pause(conn, 1_000_000);
    // The healthy one's pokes fill it.
    bench.pass(70_000);
    assert_eq!(bench.line(), format!("{DROPPED}: it took nothing of what it was sent for 60 s"));
}

#[test]
fn a_client_that_does_not_read_while_much_is_told() {
    const OUTPUT: usize = 512 * 1024;
    let mut bench = Bench::with(|_, _| {
        let output = vec![(1, Stream::Stdout, vec![b'x'; OUTPUT])];
        Script { output, ..Script::quiet(10, 0) }
    });
    let conn = bench.registered_client();
    let agent = Agent::new("ocf", Some("p"), "T");
    bench.request(conn, None, Ask::RegisterResource { resource: "r".into(), agent, drop_recurring: true });
    let monitor = Execute {
        resource: "r".into(),
        action: "monitor".into(),
        interval: 300,
        timeout: 0,
        start_delay: 0,
        user_data: None,
        // Only who asked is told.
        options: 2,
        parameters: [(SERIAL.into(), "1".into())].into(),
    };
    bench.request(conn, None, Ask::Execute(monitor));
    bench.pass(0);
    bench.world.pause(conn, 1_000_000);
    // One result needs a little more than its output, and the socket takes two.
    bench.world.oracle.may_be_closed(conn);
    bench.pass(2_000);
    let before = memory::live();
    bench.world.lines.clear();
    bench.pass(310 * 118);
    assert!(memory::live() - before > 50 << 20);
    assert!(bench.world.lines.is_empty());
    bench.pass(310 * 10);
    let why = "it does not read: more than 64 MiB wait for it";
    assert_eq!(bench.line(), format!("{DROPPED}: {why}"));
    assert!(memory::live() - before < 1 << 20);
}

#[test]
fn a_crowd_of_strangers() {
    let mut bench = Bench::new();
    let spoken = bench.raw();
    bench.world.send_bytes(spoken, &hello(KEY, IDENTITY)[..20], None);
    bench.pass(0);
    bench.world.oracle.may_be_closed(spoken);
    let stranger = |bench: &mut Bench| {
        let conn = bench.raw();
        bench.world.oracle.may_be_closed(conn);
        conn
    };
    let closed = |bench: &mut Bench, crowd: &[_]| crowd.iter().filter(|&&conn| bench.answer(conn).1).count();
    let before = memory::live();
    let mut crowd: Vec<_> = (0..1023).map(|_| stranger(&mut bench)).collect();
    let each = (memory::live() - before) / 1023;
    assert!(each <= 1024, "{each} bytes for each half-open connection, without its socket");
    // Newcomers stay in the backlog, so that who came has its time.
    assert_eq!(bench.world.full_for(), Some(1_000));
    bench.pass(999);
    assert_eq!((closed(&mut bench, &crowd), bench.world.full_for()), (0, Some(1)));
    bench.pass(1);
    assert_eq!(bench.world.full_for(), None);
    // The oldest silent ones give way; who has begun to speak does so last.
    for _ in 0..1022 {
        crowd.push(stranger(&mut bench));
    }
    bench.pass(0);
    assert!(bench.answer(crowd[1021]).1 && !bench.answer(crowd[1022]).1 && !bench.answer(spoken).1);
    crowd.extend([stranger(&mut bench), stranger(&mut bench)]);
    bench.pass(0);
    assert!(bench.answer(spoken).1 && bench.answer(crowd[1022]).1);
    assert_eq!(closed(&mut bench, &crowd), 1023);
    assert!(bench.world.lines.is_empty(), "{:?}", bench.world.lines);
    // A client that knows the key gets in, and keeps its place as soon as its hello is there.
    bench.pass(1_000);
    let conn = bench.client();
    for _ in 0..2 {
        for _ in 0..1024 {
            stranger(&mut bench);
        }
        bench.pass(1_000);
    }
    bench.register(conn, "1.2");
    bench.pass(0);
    assert_eq!(bench.told(conn).len(), 1);
}

/// A hello of 64 KiB is legal, sixteen of them at a time are enough.
#[test]
fn large_hellos_share_their_room() {
    let mut bench = Bench::new();
    let before = memory::live();
    let part = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0xf0, 0][..], &[0; 16_380]].concat();
    let next = [&[0x16, 3, 1, 0x40, 0][..], &[0; 16_384]].concat();
    let mut refused = 0;
    for _ in 0..64 {
        let conn = bench.raw();
        bench.world.oracle.may_be_closed(conn);
        for part in [&part, &next, &next] {
            bench.world.send_bytes(conn, part, None);
            bench.pass(0);
        }
        refused += usize::from(bench.answer(conn).1);
    }
    let held = memory::live() - before;
    assert!((10..60).contains(&refused), "{refused}");
    assert!(held < (1 << 20) + 64 * 9 * 1024, "{held}");
    let lines: Vec<_> = bench.world.lines.drain(..).map(|line| line.text).collect();
    assert_eq!(lines.len(), refused);
    assert!(lines.iter().all(|line| line.contains("its hello is large")), "{lines:?}");
    // What a real client needs is always there.
    let conn = bench.client();
    bench.register(conn, "1.2");
    bench.pass(0);
    assert_eq!(bench.told(conn).len(), 1);
    bench.pass(10_000);
    assert!(memory::live() - before < 64 * 1024, "{}", memory::live() - before);
}
