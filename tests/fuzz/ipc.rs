//! What local clients send: the request to be connected, whatever they write into their rings and when, and the
//! messages in these.

use std::cell::RefCell;

use pacelet::bzip2::Packer;
use pacelet::ipc::{Fault, Geometry, Greeting, Memory, Reader, Writer, Written};
use pacelet::proxy::{Action, Asked, Client, Errand, Limits, Name, Proxy, ToolId};
use pacelet::remote::ConnId;
use pacelet::time::Instant;
use pacelet::wire::header::Order;
use pacelet::wire::ipc::{Header, LEN, Layout, View, flags};
use pacelet::wire::qb::{ConnectRequest, Machine, REQUEST_LEN, RingHeader, chunk};
use pacelet::xml::Document;
use rand_core::{CryptoRng, RngCore};

use crate::rng::Rng;
use crate::run::run;

#[test]
fn greeting() {
    let seeds = [0, 12_328, 131_072, u32::MAX].map(|longest| ConnectRequest { longest }.encode().to_vec());
    run("greeting", seeds.to_vec(), |input, rng| {
        let mut greeting = Greeting::default();
        let mut rest = input;
        let mut taken = 0;
        while let Some((piece, after)) = rest.split_at_checked(1 + rng.below(rest.len())) {
            (rest, taken) = (after, taken + piece.len());
            match greeting.received(piece) {
                Ok(None) => assert!(taken < REQUEST_LEN),
                Ok(Some(request)) => {
                    assert_eq!(taken, REQUEST_LEN);
                    let again = request.encode();
                    // All but the padding.
                    assert!(
                        [0..4, 8..12, 16..20].into_iter().all(|field| again[field.clone()] == input[field])
                    );
                }
                Err(error) => {
                    assert!(taken >= REQUEST_LEN && !error.to_string().is_empty());
                    return;
                }
            }
        }
    });
}

/// A ring's files, which a client changes while they are read.
struct Hostile {
    header: RefCell<Vec<u8>>,
    data: RefCell<Vec<u8>>,
    rng: RefCell<Rng>,
}

impl Hostile {
    /// Sometimes a word of one of the files becomes something else.
    fn scribble(&self) {
        let mut rng = self.rng.borrow_mut();
        if rng.one_in(16) {
            let value = if rng.one_in(2) { rng.below(1030) as u32 } else { rng.next() as u32 };
            let words = [0, 4, 8, 8204, 8208, 8212];
            let at = if rng.one_in(2) { *rng.pick(&words) } else { rng.below(4096 / 4) * 4 };
            let mut file =
                if at > 8 && at < 4096 { self.data.borrow_mut() } else { self.header.borrow_mut() };
            if let Some(word) = file.get_mut(at..at + 4) {
                word.copy_from_slice(&value.to_ne_bytes());
            }
        }
    }
}

impl Memory for &Hostile {
    fn load(&self, offset: usize) -> u32 {
        self.scribble();
        u32::from_ne_bytes(self.header.borrow()[offset..offset + 4].try_into().expect("four bytes"))
    }

    fn store(&self, offset: usize, value: u32) {
        self.header.borrow_mut()[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn add(&self, offset: usize, value: u32) {
        let value = self.load(offset).wrapping_add(value);
        self.store(offset, value);
    }

    fn wake(&self, _: usize) {}

    fn is_cut(&self) -> bool {
        self.rng.borrow_mut().one_in(1000)
    }

    fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Fault> {
        self.scribble();
        into.copy_from_slice(self.data.borrow().get(at..at + into.len()).ok_or(Fault::Cut)?);
        Ok(())
    }

    fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        let mut data = self.data.borrow_mut();
        data.get_mut(at..at + bytes.len()).ok_or(Fault::Cut)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// The input is the write point, the read point, the semaphore's value, and the data.
#[test]
fn ring() {
    const LONGEST: u32 = 1000;
    let message = |size: u32, fill: u8| {
        let body = vec![fill; size.next_multiple_of(4) as usize];
        [&chunk::Header { size, magic: chunk::READY }.encode()[..], &body].concat()
    };
    let words = |words: [u32; 3]| words.map(u32::to_ne_bytes).concat();
    let seeds = vec![
        [words([12, 0, 1]), message(40, 1)].concat(),
        [words([30, 0, 2]), message(40, 1), message(41, 2)].concat(),
        [words([1000, 500, 0]), message(LONGEST, 3)].concat(),
        words([u32::MAX, u32::MAX, u32::MAX]),
    ];
    let machines = [(8, Order::Little), (8, Order::Big), (4, Order::Little), (4, Order::Big)];
    run("ring", seeds, |input, rng| {
        let (pointer, order) = *rng.pick(&machines);
        let machine = Machine { pointer, order };
        let geometry = Geometry::new(LONGEST, 4096);
        let header = RingHeader::of(machine);
        let mut bytes = header.encode(geometry.words(), b"", b"");
        let (words, data) = input.split_at(input.len().min(12));
        let places = [RingHeader::WRITE_POINT, RingHeader::READ_POINT, header.semaphore().word()];
        for (word, place) in words.chunks_exact(4).zip(places) {
            bytes[place..place + 4].copy_from_slice(word);
        }
        let mut file = data.to_vec();
        // One in eight is cut short.
        if !rng.one_in(8) {
            file.resize(geometry.len(), 0);
        }
        let memory = Hostile { header: bytes.into(), data: file.into(), rng: rng.clone().into() };

        let mut reader = Reader::new(&memory, geometry, machine);
        let mut message = Vec::new();
        for _ in 0..8 {
            match reader.next(&mut message) {
                Ok(true) => assert!(message.len() <= LONGEST as usize),
                Ok(false) => {}
                Err(trouble) => {
                    assert!(!trouble.to_string().is_empty());
                    break;
                }
            }
        }
        let mut writer = Writer::new(&memory, geometry, machine);
        for size in [0, 1, 500, LONGEST as usize, LONGEST as usize + 1] {
            let (head, body) = (&message[..message.len().min(size)], vec![7; size - message.len().min(size)]);
            match writer.write(&[head, &body]) {
                Ok(written) => assert_eq!(written == Written::TooLong, size > LONGEST as usize),
                Err(trouble) => {
                    assert!(!trouble.to_string().is_empty());
                    break;
                }
            }
        }
    });
}

struct Fixed;

impl CryptoRng for Fixed {}

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        7
    }
    fn next_u64(&mut self) -> u64 {
        7
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

fn message(header: Header, text: &[u8]) -> Vec<u8> {
    [&header.encode(text.len()).expect("short")[..], text, &[0]].concat()
}

fn compressed(id: i32, text: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new();
    let whole = [text, &[0]].concat();
    while !packer.step(&whole) {}
    let stream = packer.finish();
    let header = Header { layout: Layout::Classic, id, flags: 0x201, part: 0 };
    [&header.encode_compressed(text.len(), stream.len()).expect("short")[..], &stream].concat()
}

/// The input is messages, each after its length: whatever they are, the cluster is sent one element inside of two.
#[test]
fn messages() {
    let text =
        br#"<?xml version="1.0"?><cib_command t="cib" cib_op="cib_query"><a b='&#x0A;'>x</a></cib_command>"#;
    let head = |layout, id, flags| Header { layout, id, flags, part: 0 };
    let part = |number: u16, more: u32, text: &[u8]| {
        message(
            Header { layout: Layout::Parts, id: 9, flags: 0x200 | flags::PART | more, part: number },
            text,
        )
    };
    let classic = head(Layout::Classic, 1, 0x200);
    let seeds: Vec<Vec<u8>> = [
        vec![message(classic, text), message(head(Layout::Classic, 2, 0), b"<a/>")],
        vec![message(head(Layout::Parts, 1, 0x200), text), message(head(Layout::Parts, 2, 0), b"<a/>")],
        vec![part(0, 0, &text[..30]), part(1, 0, &text[30..50]), part(2, flags::LAST_PART, &text[50..])],
        vec![compressed(3, text), message(classic, b"</lrmd_ipc_msg><a/>"), compressed(4, b"<a>\0</a>")],
    ]
    .map(|messages| {
        let each =
            messages.iter().map(|message| [&(message.len() as u16).to_be_bytes()[..], message].concat());
        each.collect::<Vec<_>>().concat()
    })
    .to_vec();
    let client = Client { pid: 1, uid: 0, user: Some("root".into()), may_open: true };
    run("messages", seeds, |input, _| {
        let (tool, now) = (ToolId(1), Instant::from_millis(1));
        let mut proxy = Proxy::new(Limits::default());
        let asked = Asked { name: Name::CibRw, client: &client, longest: 1 };
        proxy.asks(tool, &asked, Some(ConnId(2)), now, &mut Fixed);
        while proxy.poll().is_some() {}
        let mut rest = input;
        let mut count = 0;
        while let Some((length, after)) = rest.split_first_chunk() {
            let message;
            (message, rest) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
            if !proxy.wants(tool) {
                break;
            }
            count += 1;
            proxy.request(tool, message, now);
            while proxy.is_reading() {
                proxy.resume(now);
            }
            let mut sent = 0;
            while let Some(action) = proxy.poll() {
                match action {
                    Action::Send(ConnId(2), bytes) => {
                        let document = Document::parse(&bytes).expect("well-formed");
                        let root = document.root();
                        let children: Vec<_> = root.children().collect();
                        assert_eq!(root.name(), "lrmd_ipc_proxy");
                        match root.attribute("lrmd_ipc_op").as_deref() {
                            Some("destroy") => assert!(children.is_empty() && !proxy.wants(tool)),
                            Some("request") => {
                                sent += 1;
                                assert_eq!((children.len(), root.attributes().count()), (1, 8));
                                assert_eq!(children[0].name(), "lrmd_ipc_msg");
                                assert_eq!(children[0].children().count(), 1);
                                let view = View::new_checked(message).expect("the proxy took it");
                                let id = root.attribute("lrmd_ipc_msg_id");
                                assert_eq!(id.as_deref(), Some(&*view.id().to_string()));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    Action::Tool(Errand::Dismiss(_)) => assert!(!proxy.wants(tool)),
                    Action::Tool(Errand::Take(_)) | Action::Log(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert!(sent <= 1 && count <= input.len() / 2 + LEN);
        }
    });
}
