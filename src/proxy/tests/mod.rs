mod answers;
mod chaos;
mod life;
mod requests;

use rand_core::{CryptoRng, RngCore};

use super::*;
use crate::wire::ipc::{Body, Header, Layout, View, flags};

/// A user who could not open a session's files.
const STRANGER: u32 = 65_534;
const LAYOUTS: [Layout; 2] = [Layout::Classic, Layout::Parts];
const OLD: ConnId = ConnId(1);
const NEW: ConnId = ConnId(2);
const TOOL: ToolId = ToolId(10);
const OTHER: ToolId = ToolId(11);

/// Numbers that count up: sessions differ.
struct Counter(u8);

impl CryptoRng for Counter {}

impl RngCore for Counter {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }
    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

struct Lab {
    proxy: Proxy,
    entropy: Counter,
    now: Instant,
    /// What was to be done, without the log.
    actions: Vec<Action>,
    log: Vec<Line>,
}

impl Lab {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let (proxy, now) = (Proxy::new(limits), Instant::from_millis(1_000_000));
        Self { proxy, entropy: Counter(0), now, actions: Vec::new(), log: Vec::new() }
    }

    fn client(uid: u32) -> Client {
        let user = (uid == 0).then(|| "root".to_owned());
        Client { pid: 4242, uid, user, may_open: uid != STRANGER }
    }

    /// Does all work that is done in steps.
    fn finish(&mut self) -> Vec<Action> {
        while self.proxy.is_reading() {
            self.proxy.resume(self.now);
        }
        self.drain()
    }

    /// What has come up since the last call.
    fn drain(&mut self) -> Vec<Action> {
        while let Some(action) = self.proxy.poll() {
            match action {
                Action::Log(line) => self.log.push(line),
                action => self.actions.push(action),
            }
        }
        std::mem::take(&mut self.actions)
    }

    fn asks(&mut self, tool: ToolId, name: Name, longest: u32, provider: Option<ConnId>) -> Vec<Action> {
        self.asks_as(0, tool, name, longest, provider)
    }

    fn asks_as(
        &mut self,
        uid: u32,
        tool: ToolId,
        name: Name,
        longest: u32,
        provider: Option<ConnId>,
    ) -> Vec<Action> {
        let client = Self::client(uid);
        let asked = Asked { name, client: &client, longest };
        self.proxy.asks(tool, &asked, provider, self.now, &mut self.entropy);
        self.drain()
    }

    /// A session of root's on `cib_rw`; its number for the cluster.
    fn open(&mut self, tool: ToolId) -> String {
        let actions = self.asks(tool, Name::CibRw, 131_072, Some(OLD));
        let [Action::Send(OLD, message), Action::Tool(Errand::Admit { .. })] = &actions[..] else {
            panic!("{actions:?}")
        };
        attribute(message, "lrmd_ipc_session")
    }

    fn request(&mut self, tool: ToolId, message: &[u8]) -> Vec<Action> {
        self.proxy.request(tool, message, self.now);
        self.finish()
    }

    fn sleep(&mut self, millis: u64) -> Vec<Action> {
        self.now = self.now.after(millis);
        if self.proxy.deadline().is_some_and(|at| at <= self.now) {
            self.proxy.wake(self.now);
        }
        self.drain()
    }

    fn event(&mut self, session: &str, text: &[u8]) -> Vec<Action> {
        self.proxy.event(OLD, session, text.to_vec(), 0..text.len(), self.now);
        self.drain()
    }

    fn response(&mut self, session: &str, id: i32, text: &[u8]) -> Vec<Action> {
        self.proxy.response(OLD, session, id, text.to_vec(), 0..text.len(), self.now);
        self.drain()
    }

    /// What is on offer: its ring, its number, its flags, its text without the NUL.
    fn offer(&self, tool: ToolId) -> Option<(Ring, i32, u32, Vec<u8>)> {
        let Outgoing { ring, header, body, nul } = self.proxy.outgoing(tool)?;
        let bytes = [&header[..], body, &[0][..usize::from(nul)]].concat();
        let view = View::new_checked(&bytes).unwrap();
        assert!(bytes.len() <= 131_072, "{}", bytes.len());
        match view.body() {
            Body::Text(text) => Some((ring, view.id(), view.flags(), text.to_vec())),
            Body::Compressed { bytes, text_len } => {
                assert_eq!(view.flags() & flags::COMPRESSED, flags::COMPRESSED);
                let (mut unpacker, mut text) = (crate::bzip2::Unpacker::new(), Vec::new());
                while !unpacker.step(bytes, &mut text, text_len as usize).unwrap() {}
                assert_eq!((text.len(), text.pop()), (text_len as usize, Some(0)));
                Some((ring, view.id(), view.flags(), text))
            }
        }
    }

    /// Takes what is on offer out, as a tool does that reads.
    fn read(&mut self, tool: ToolId) -> Option<(Ring, i32, u32, Vec<u8>)> {
        let offer = self.offer(tool)?;
        self.proxy.delivered(tool, Delivery::Done, self.now);
        Some(offer)
    }
}

fn attribute(message: &[u8], name: &str) -> String {
    let document = crate::xml::Document::parse(message).unwrap();
    document.root().attribute(name).unwrap().into_owned()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn message(layout: Layout, id: i32, flags: u32, text: &[u8]) -> Vec<u8> {
    part(Header { layout, id, flags, part: 0 }, text)
}

fn part(header: Header, text: &[u8]) -> Vec<u8> {
    [&header.encode(text.len()).unwrap()[..], text, &[0]].concat()
}

/// A message in as many parts of at most `size` bytes as it takes.
fn parts(id: i32, text: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = text.len().div_ceil(size).max(1);
    let number_of = |number: usize| {
        let end = if number + 1 == count { flags::LAST_PART } else { 0 };
        let flags = flags::WANTS_RESPONSE | flags::PART | end;
        let piece = &text[number * size..text.len().min((number + 1) * size)];
        part(Header { layout: Layout::Parts, id, flags, part: number as u16 }, piece)
    };
    (0..count).map(number_of).collect()
}

/// A message that was compressed.
fn compressed(id: i32, text: &[u8], told: u32) -> Vec<u8> {
    let text = [text, &[0]].concat();
    let mut packer = crate::bzip2::Packer::new();
    while !packer.step(&text) {}
    let stream = packer.finish();
    let header = Header { layout: Layout::Classic, id, flags: 0x201, part: 0 };
    let header = header.encode_compressed(told as usize - 1, stream.len()).unwrap();
    [&header[..], &stream].concat()
}

/// Text that a compressor makes little of.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let letters = (0..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state >> 32) as u8 % 26
    });
    letters.collect()
}

fn destroyed(provider: ConnId, session: &str) -> Action {
    Action::Send(provider, remote::destroy_session(session))
}
