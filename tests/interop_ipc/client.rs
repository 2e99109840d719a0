//! A client of libqb written apart from the daemon, that keeps the rules or not. It uses the rings as files: in a memory
//! file system that is the same memory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use pacelet::wire::ipc::{Header, Layout, flags};
use pacelet::wire::qb::{ConnectRequest, Machine, RingHeader};

const READY: u32 = 0xA1A1_A1A1;
/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection on which nothing was said yet.
pub fn connect(name: &str) -> UnixStream {
    let mut address = [0; 107];
    address[..name.len()].copy_from_slice(name.as_bytes());
    let address = SocketAddr::from_abstract_name(address).expect("an address");
    let stream = UnixStream::connect_addr(&address).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Whether the daemon has closed a connection.
pub fn is_closed(mut stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let read = stream.read(&mut [0; 16]);
    stream.set_nonblocking(false).expect("a socket");
    match read {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// A session.
pub struct Session {
    pub stream: UnixStream,
    /// Header and data of the request, response and event ring.
    pub rings: [(File, File); 3],
    pub longest: u32,
    write_point: u32,
}

impl Session {
    /// Asks for a session, as any client does: the errno if it is refused.
    pub fn open(name: &str, longest: u32) -> Result<Self, i32> {
        let mut stream = connect(name);
        stream.write_all(&ConnectRequest { longest }.encode()).expect("a socket takes 24 bytes");
        let mut response = [0; 12_328];
        stream.read_exact(&mut response).expect("an answer");
        let number = |at: usize| i32::from_ne_bytes(response[at..at + 4].try_into().expect("4 bytes"));
        if number(16) != 0 {
            return Err(-number(16));
        }
        assert_eq!((number(0), number(8), number(24)), (-1, 12_328, 1));
        let rings = [0, 1, 2].map(|ring| {
            let path = &response[32 + size_of::<usize>() + ring * 4096..];
            let path = path.split(|&byte| byte == 0).next().expect("a path");
            let path = std::str::from_utf8(path).expect("UTF-8");
            let open = |end: &str| {
                let file = File::options().read(true).write(true).open(format!("{path}-{end}"));
                file.expect("a file of the session")
            };
            (open("header"), open("data"))
        });
        let longest = number(28) as u32;
        Ok(Self { stream, rings, longest, write_point: 0 })
    }

    pub fn word(&self, ring: usize, at: usize) -> u32 {
        let mut word = [0; 4];
        self.rings[ring].0.read_exact_at(&mut word, at as u64).expect("a word");
        u32::from_ne_bytes(word)
    }

    pub fn set_word(&self, ring: usize, at: usize, value: u32) {
        self.rings[ring].0.write_all_at(&value.to_ne_bytes(), at as u64).expect("a word");
    }

    /// Puts a chunk into the request ring, that claims to have so many bytes, and this magic. Does not wrap.
    pub fn put(&mut self, size: u32, magic: u32, message: &[u8]) {
        let at = u64::from(self.write_point) * 4;
        let data = &self.rings[0].1;
        data.write_all_at(&size.to_ne_bytes(), at).expect("data");
        data.write_all_at(&magic.to_ne_bytes(), at + 4).expect("data");
        data.write_all_at(message, at + 8).expect("data");
        self.write_point += 2 + (message.len() as u32).div_ceil(4);
        self.set_word(0, RingHeader::WRITE_POINT, self.write_point);
    }

    /// Tells that there is one more chunk. Nobody else may change the semaphore just now.
    pub fn post(&mut self) {
        let semaphore = RingHeader::of(Machine::NATIVE).semaphore();
        let value = self.word(0, semaphore.word());
        self.set_word(0, semaphore.word(), value + semaphore.unit());
        // The daemon may have ended the session.
        let _ = self.stream.write(&[0]);
    }

    /// Sends a request, as Pacemaker's clients do.
    pub fn send(&mut self, id: i32, text: &str) {
        let header = Header { layout: Layout::Classic, id, flags: flags::WANTS_RESPONSE, part: 0 };
        let head = header.encode(text.len()).expect("a short text");
        let message = [&head[..], text.as_bytes(), b"\0"].concat();
        self.put(message.len() as u32, READY, &message);
        self.post();
    }

    /// Waits for the daemon to take all requests.
    pub fn is_taken(&self) -> bool {
        self.word(0, RingHeader::READ_POINT) == self.write_point
    }
}
