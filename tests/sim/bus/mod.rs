//! The system bus with systemd behind it, as the daemon finds them at a socket: what it says to them, what they answer,
//! and when; by chance all that can go wrong. Sans-IO: bytes in, bytes out, and the time as an argument.

pub mod systemd;
pub mod wire;

use std::collections::{BTreeMap, VecDeque};

use pacelet::time::Instant;

use self::systemd::{End, Reaction, Systemd};
use self::wire::{
    Call, DESTINATION, ERROR, Field, INTERFACE, Kind, MEMBER, Reader, SENDER, Said, Value, message,
};
use super::network::{Path, Piece, Pipe};
use super::random::Random;

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// The daemon's name on the bus.
const NAME: &str = ":1.77";

/// What the bytes mean that have reached the daemon.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// It has a name: calls may be made.
    Named,
    /// It is told of jobs.
    LetIn,
    Reply(u32, Answer),
    /// A job is over: its path and its result.
    JobEnds(String, String),
    /// No client can go on after this.
    Broken,
    /// Nothing that the daemon asked for, or has to do with.
    Noise,
}

/// What a reply says.
#[derive(Clone, Debug)]
pub enum Answer {
    Path(String),
    /// A property.
    Word(String),
    Empty,
    Error {
        name: String,
        text: String,
    },
    /// Nothing that is an answer to the question.
    Nonsense,
}

/// What reaches the daemon.
#[derive(Debug)]
pub enum Arrival {
    Bytes(Vec<u8>, Vec<Meaning>),
    End(Option<i32>),
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    /// There is a socket, and nobody at its other end.
    Refused,
    /// There is no socket.
    Absent,
}

/// How the bus treats who comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manners {
    Usual,
    /// It does not take its authentication.
    Rejects,
    /// It gives it no name.
    RefusesName,
    /// It does not let it listen.
    RefusesMatch,
    /// It says nothing from the authentication on.
    Mute,
    /// It gives it no name, and does not say so.
    Forgets,
}

/// The bus.
#[derive(Debug)]
pub struct Bus {
    pub access: Access,
    random: Random,
    systemd: Systemd,
    connection: Option<Connection>,
    agenda: BTreeMap<(Instant, u64), Todo>,
    count: u64,
    /// Nothing goes to or fro before.
    silent_until: Instant,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    reader: Reader,
    up: Pipe,
    down: Pipe,
    /// What the bytes up to there mean.
    marks: VecDeque<(u64, Meaning)>,
    is_big: bool,
    manners: Manners,
    last_serial: u32,
    /// Messages may come: it has been let in.
    has_begun: bool,
    /// Nothing more comes, and nobody reads.
    has_ended: bool,
}

#[derive(Clone, Debug)]
enum Todo {
    /// To the connection of this number.
    Send(u64, Message),
    Finish {
        number: u32,
        unit: String,
    },
}

#[derive(Clone, Debug)]
enum Message {
    Reply(u32, Answer),
    Hello(u32),
    Match(u32),
    JobRemoved { end: End, directed: bool },
}

/// systemd has left the bus before it answered.
pub fn disconnected() -> Answer {
    let text = "Message recipient disconnected from message bus without replying";
    Answer::error("org.freedesktop.DBus.Error.NoReply", text)
}

impl Answer {
    pub fn error(name: &str, text: &str) -> Self {
        Self::Error { name: name.into(), text: text.into() }
    }
}

// The socket.
impl Bus {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "bus");
        Self {
            access: random.weighted(&[(12, Access::Open), (1, Access::Refused), (1, Access::Absent)]),
            systemd: Systemd::new(Random::new(seed, "systemd")),
            random,
            connection: None,
            agenda: BTreeMap::new(),
            count: 0,
            silent_until: Instant::default(),
        }
    }

    /// The daemon connects; whether it could.
    pub fn connect(&mut self) -> bool {
        if self.access != Access::Open {
            return false;
        }
        let random = &mut self.random;
        let delay = *random.pick(&[(0, 0), (0, 0), (0, 3), (1, 30)]);
        let piece = random.weighted(&[(1, (1, 3)), (3, (1, 100)), (12, (60_000, 65_536))]);
        let path = Path { delay, piece, buffer: *random.pick(&[300, 4_096, 200_000]) };
        self.count += 1;
        let manners = random.weighted(&[
            (60, Manners::Usual),
            (1, Manners::Rejects),
            (1, Manners::RefusesName),
            (1, Manners::RefusesMatch),
            (1, Manners::Mute),
            (1, Manners::Forgets),
        ]);
        self.connection = Some(Connection {
            number: self.count,
            reader: Reader::default(),
            up: Pipe::new(path),
            // It is read at once.
            down: Pipe::new(Path { buffer: usize::MAX, ..path }),
            marks: VecDeque::new(),
            is_big: random.percent(50),
            manners,
            last_serial: 0,
            has_begun: false,
            has_ended: false,
        });
        true
    }

    /// The daemon closes.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// How much the socket takes.
    pub fn room(&self) -> usize {
        self.connection.as_ref().map_or(0, |connection| connection.up.room())
    }

    /// The daemon sends something.
    pub fn send(&mut self, bytes: &[u8], now: Instant) {
        if let Some(connection) = &mut self.connection {
            connection.up.send(bytes, now, &mut self.random);
        }
    }

    /// When something happens next.
    pub fn next(&self) -> Option<Instant> {
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let pipes =
            self.connection.iter().flat_map(|connection| [connection.up.next(), connection.down.next()]);
        let pipes = pipes.flatten().map(|at| at.max(self.silent_until));
        pipes.chain(agenda).min()
    }

    /// Something happens; what of it the daemon notices.
    ///
    /// # Errors
    /// What the daemon did wrong.
    pub fn step(&mut self, now: Instant) -> Result<Option<Arrival>, String> {
        if let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Todo::Send(number, message) => self.put(number, message, now),
                Todo::Finish { number, unit } => {
                    let end = self.systemd.finish(number, &unit, now);
                    self.announce(end, now);
                }
            }
            return Ok(None);
        }
        let Some(connection) = &mut self.connection else { return Ok(None) };
        if let Some(Piece::Bytes(bytes)) = connection.up.take(now, true, u64::MAX) {
            connection.reader.feed(&bytes);
            return self.read(now).map(|()| None);
        }
        let whole = self.random.percent(50);
        match connection.down.take(now, whole, u64::MAX) {
            None => Ok(None),
            Some(Piece::End(errno)) => {
                self.connection = None;
                Ok(Some(Arrival::End(errno)))
            }
            Some(Piece::Bytes(bytes)) => {
                let delivered = connection.down.delivered;
                let mut meanings = Vec::new();
                while let Some((_, meaning)) = connection.marks.pop_front_if(|(end, _)| *end <= delivered) {
                    meanings.push(meaning);
                }
                Ok(Some(Arrival::Bytes(bytes, meanings)))
            }
        }
    }
}

// What goes wrong.
impl Bus {
    /// The connection ends; at any byte.
    pub fn cut(&mut self, now: Instant) {
        let Some(connection) = self.connection.as_mut().filter(|connection| !connection.has_ended) else {
            return;
        };
        connection.has_ended = true;
        if self.random.percent(30) {
            connection.down.lose();
            connection.marks.clear();
        } else if connection.has_begun && self.random.percent(70) {
            let (bytes, _) = connection.noise(&mut self.random);
            let cut = self.random.below(bytes.len() as u64) as usize;
            connection.down.send(&bytes[..cut], now, &mut self.random);
        }
        let errno = *self.random.pick(&[None, None, Some(104)]);
        connection.down.end(errno, now, &mut self.random);
    }

    /// The bus breaks the protocol.
    pub fn spoil(&mut self, now: Instant) {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.has_begun) else {
            return;
        };
        connection.down.send(b"HTTP/1.1 400 Bad", now, &mut self.random);
        connection.marks.push_back((connection.down.sent, Meaning::Broken));
        connection.has_ended = true;
    }

    /// Neither bus nor systemd say anything for so many milliseconds.
    pub fn silence(&mut self, now: Instant, millis: u64) {
        self.silent_until = now.after(millis);
    }

    /// systemd executes itself anew: whoever waits for an answer is told so by the bus.
    pub fn reexecute(&mut self, now: Instant) {
        let waiting = self.agenda.extract_if(.., |_, todo| matches!(todo, Todo::Send(_, Message::Reply(..))));
        for (_, todo) in waiting.collect::<Vec<_>>() {
            if let Todo::Send(connection, Message::Reply(serial, _)) = todo {
                self.plan(now, Todo::Send(connection, Message::Reply(serial, disconnected())));
            }
        }
    }
}

// What it does.
impl Bus {
    fn plan(&mut self, at: Instant, todo: Todo) {
        self.count += 1;
        self.agenda.insert((at, self.count), todo);
    }

    /// Reads what has come.
    fn read(&mut self, now: Instant) -> Result<(), String> {
        while let Some(connection) = self.connection.as_mut().filter(|connection| !connection.has_ended) {
            match connection.reader.next()? {
                None => break,
                Some(Said::Begin) => connection.has_begun = true,
                Some(Said::Authenticate) => {
                    let line: &[u8] = match connection.manners {
                        Manners::Mute => continue,
                        Manners::Rejects => b"REJECTED EXTERNAL DBUS_COOKIE_SHA1\r\n",
                        _ => b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\n",
                    };
                    connection.down.send(line, now, &mut self.random);
                    if connection.manners == Manners::Rejects {
                        connection.marks.push_back((connection.down.sent, Meaning::Broken));
                    }
                }
                Some(Said::Call(call)) => self.called(&call, now),
            }
        }
        Ok(())
    }

    fn called(&mut self, call: &Call, now: Instant) {
        let Some(connection) = &self.connection else { return };
        let number = connection.number;
        let delay =
            self.random.weighted(&[(60, (0, 2)), (30, (1, 50)), (6, (50, 2_000)), (1, (2_000, 60_000))]);
        let delay = self.random.between(delay.0, delay.1);
        let reply = |answer| Message::Reply(call.serial, answer);
        let message = match &*call.member {
            "Hello" if connection.manners == Manners::Forgets => return,
            // Soon: it has 15 seconds.
            "Hello" => {
                return self.plan(now.after(delay % 5_000), Todo::Send(number, Message::Hello(call.serial)));
            }
            "AddMatch" => {
                return self.plan(now.after(delay % 5_000), Todo::Send(number, Message::Match(call.serial)));
            }
            _ => match self.systemd.call(call, now) {
                Reaction::Answer(answer) => reply(answer),
                Reaction::Merged(job) => reply(Answer::Path(Systemd::job_path(job))),
                Reaction::Queued { number, unit, after, replaced } => {
                    self.announce(replaced, now);
                    self.plan(now.after(after), Todo::Finish { number, unit });
                    reply(Answer::Path(Systemd::job_path(number)))
                }
            },
        };
        self.plan(now.after(delay), Todo::Send(number, message));
    }

    fn announce(&mut self, end: Option<End>, now: Instant) {
        let (Some(end), Some(connection)) = (end, &self.connection) else { return };
        let number = connection.number;
        let at = now.after(self.random.weighted(&[(3, 0), (1, 20)]));
        self.plan(at, Todo::Send(number, Message::JobRemoved { end, directed: false }));
    }

    fn put(&mut self, number: u64, message: Message, now: Instant) {
        let is_this = |connection: &&mut Connection| connection.number == number && !connection.has_ended;
        let Some(connection) = self.connection.as_mut().filter(is_this) else { return };
        let random = &mut self.random;
        let mut all = vec![connection.encode(message, random)];
        if random.once_in(12) {
            let noise = match (random.below(4), self.systemd.some_job()) {
                // Of a job that is not ours; or of ours, by somebody who only says to be systemd.
                (0, _) => {
                    connection.encode(Message::JobRemoved { end: End::of(9_999), directed: false }, random)
                }
                (1, Some(job)) => {
                    connection.encode(Message::JobRemoved { end: End::of(job), directed: true }, random)
                }
                _ => connection.noise(random),
            };
            all.insert(random.below(2) as usize, noise);
        }
        for (bytes, meaning) in all {
            connection.down.send(&bytes, now, random);
            connection.marks.push_back((connection.down.sent, meaning.clone()));
            if matches!(meaning, Meaning::Broken) {
                connection.has_ended = true;
                return;
            }
        }
    }
}

impl End {
    /// Of some job: what must not count.
    fn of(number: u32) -> Self {
        Self { number, unit: "other.service".into(), result: "failed" }
    }
}

impl Connection {
    fn encode(&mut self, message: Message, random: &mut Random) -> (Vec<u8>, Meaning) {
        let error =
            |name: &str, text: &str| Answer::error(&format!("org.freedesktop.DBus.Error.{name}"), text);
        let (serial, answer, meaning) = match message {
            Message::Reply(serial, answer) => (serial, answer.clone(), Meaning::Reply(serial, answer)),
            Message::Hello(serial) if self.manners == Manners::RefusesName => {
                (serial, error("LimitsExceeded", "The maximum number of clients"), Meaning::Broken)
            }
            Message::Hello(serial) => (serial, Answer::Path(NAME.into()), Meaning::Named),
            Message::Match(serial) if self.manners == Manners::RefusesMatch => {
                (serial, error("AccessDenied", "no"), Meaning::Broken)
            }
            Message::Match(serial) => (serial, Answer::Empty, Meaning::LetIn),
            Message::JobRemoved { end, directed } => return self.job_removed(&end, directed, random),
        };
        let is_named = matches!(meaning, Meaning::Named);
        let sender = Field::Text(SENDER, if is_named { "org.freedesktop.DBus" } else { ":1.0" });
        let mut fields = vec![Field::Reply(serial), sender, Field::Text(DESTINATION, NAME)];
        let mut kind = Kind::Return;
        let body = match &answer {
            Answer::Empty => vec![],
            Answer::Path(path) => {
                fields.push(Field::Signature(if is_named { "s" } else { "o" }));
                vec![Value::Text(path)]
            }
            Answer::Word(word) => {
                fields.push(Field::Signature("v"));
                vec![Value::Property(word)]
            }
            Answer::Error { name, text } => {
                kind = Kind::Error;
                fields.extend([Field::Text(ERROR, name), Field::Signature("s")]);
                vec![Value::Text(text)]
            }
            Answer::Nonsense if random.percent(50) => {
                fields.push(Field::Signature("v"));
                vec![Value::Count(1)]
            }
            Answer::Nonsense => {
                fields.push(Field::Signature("u"));
                vec![Value::Number(1)]
            }
        };
        (self.message(kind, fields, &body, random), meaning)
    }

    fn job_removed(&mut self, end: &End, directed: bool, random: &mut Random) -> (Vec<u8>, Meaning) {
        let path = Systemd::job_path(end.number);
        let mut fields = vec![
            Field::Path(MANAGER_PATH),
            Field::Text(INTERFACE, MANAGER),
            Field::Text(MEMBER, "JobRemoved"),
            Field::Text(SENDER, if directed { ":1.99" } else { ":1.0" }),
            Field::Signature("uoss"),
        ];
        fields.extend(directed.then_some(Field::Text(DESTINATION, NAME)));
        let body =
            [Value::Number(end.number), Value::Text(&path), Value::Text(&end.unit), Value::Text(end.result)];
        let bytes = self.message(Kind::Signal, fields, &body, random);
        let is_ours = !directed;
        let meaning =
            if is_ours { Meaning::JobEnds(path.clone(), end.result.into()) } else { Meaning::Noise };
        (bytes, meaning)
    }

    /// Something that a client ignores.
    fn noise(&mut self, random: &mut Random) -> (Vec<u8>, Meaning) {
        let (kind, mut fields): (_, Vec<_>) = match random.below(4) {
            0 => {
                let name =
                    [Field::Path("/org/freedesktop/DBus"), Field::Text(INTERFACE, "org.freedesktop.DBus")];
                (Kind::Signal, [&name[..], &[Field::Text(MEMBER, "NameAcquired")]].concat())
            }
            1 => {
                let call = [Field::Path("/"), Field::Text(INTERFACE, "org.freedesktop.DBus.Peer")];
                (Kind::Call, [&call[..], &[Field::Text(MEMBER, "Ping")]].concat())
            }
            // To what nobody asked.
            2 => (Kind::Return, vec![Field::Reply(random.between(1 << 20, 1 << 30) as u32)]),
            _ => (Kind::Later, vec![]),
        };
        fields.push(Field::Text(DESTINATION, NAME));
        (self.message(kind, fields, &[], random), Meaning::Noise)
    }

    fn message(
        &mut self,
        kind: Kind,
        mut fields: Vec<Field<'_>>,
        body: &[Value<'_>],
        random: &mut Random,
    ) -> Vec<u8> {
        // Their order is free.
        let first = random.below(fields.len() as u64) as usize;
        fields.rotate_left(first);
        if random.once_in(20) {
            fields.insert(first, Field::Later);
        }
        self.last_serial += 1;
        message(self.is_big, kind, self.last_serial, &fields, body)
    }
}
