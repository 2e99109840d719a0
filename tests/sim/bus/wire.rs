//! D-Bus on the wire, as the D-Bus specification has it: what a client sends is read, what a bus sends is written.
//! It shares no code with the room `dbus`.

/// What a client sends.
#[derive(Clone, Debug)]
pub enum Said {
    /// The line with which it wants to be let in.
    Authenticate,
    /// Messages follow.
    Begin,
    Call(Call),
}

/// A call of a method, with arguments that are strings.
#[derive(Clone, Debug, Default)]
pub struct Call {
    pub serial: u32,
    pub path: String,
    pub interface: String,
    pub member: String,
    pub destination: String,
    pub arguments: Vec<String>,
}

/// A stream of what a client sends.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    lines: u8,
}

impl Reader {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next thing that is complete.
    ///
    /// # Errors
    /// What a bus would not take.
    pub fn next(&mut self) -> Result<Option<Said>, String> {
        if self.lines < 2 {
            let (line, said): (&[u8], _) = match self.lines {
                // User 0, in hexadecimal digits of its decimal digits.
                0 => (b"\0AUTH EXTERNAL 30\r\n", Said::Authenticate),
                _ => (b"BEGIN\r\n", Said::Begin),
            };
            let there = self.bytes.len().min(line.len());
            if self.bytes[..there] != line[..there] {
                return Err(format!("it says {}", self.bytes.escape_ascii()));
            }
            if there < line.len() {
                return Ok(None);
            }
            self.bytes.drain(..there);
            self.lines += 1;
            return Ok(Some(said));
        }
        if self.bytes.len() < 16 {
            return Ok(None);
        }
        let parser = Parser::new(&self.bytes)?;
        let fields = parser.number_at(12) as usize;
        let length = (16 + fields).next_multiple_of(8) + parser.number_at(4) as usize;
        if self.bytes.len() < length {
            return Ok(None);
        }
        let message: Vec<u8> = self.bytes.drain(..length).collect();
        Parser::new(&message)?.call(fields).map(|call| Some(Said::Call(call)))
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big: bool,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, String> {
        match bytes[..4] {
            [mark @ (b'l' | b'B'), 1, 0, 1] => Ok(Self { bytes, at: 12, is_big: mark == b'B' }),
            _ => Err(format!("a message begins with {}", bytes[..4].escape_ascii())),
        }
    }

    fn number_at(&self, at: usize) -> u32 {
        let bytes = self.bytes[at..at + 4].try_into().unwrap();
        if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn align(&mut self, to: usize) -> Result<(), String> {
        while !self.at.is_multiple_of(to) {
            if self.byte()? != 0 {
                return Err("padding is not zero".into());
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.at += 1;
        self.bytes.get(self.at - 1).copied().ok_or_else(|| "a message is too short".to_owned())
    }

    fn text(&mut self, length: usize) -> Result<String, String> {
        let text = self.bytes.get(self.at..self.at + length).ok_or("a message is too short")?;
        self.at += length;
        if self.byte()? != 0 || text.contains(&0) {
            return Err("a text does not end where it should".into());
        }
        String::from_utf8(text.to_vec()).map_err(|error| error.to_string())
    }

    fn string(&mut self) -> Result<String, String> {
        self.align(4)?;
        if self.at + 4 > self.bytes.len() {
            return Err("a message is too short".into());
        }
        self.at += 4;
        self.text(self.number_at(self.at - 4) as usize)
    }

    fn call(mut self, fields: usize) -> Result<Call, String> {
        let mut call = Call { serial: self.number_at(8), ..Call::default() };
        let body = self.number_at(4);
        let end = 16 + fields;
        self.at = 16;
        let mut signature = String::new();
        while self.at < end {
            self.align(8)?;
            let number = self.byte()?;
            let kind = (self.byte()?, self.byte()?, self.byte()?);
            match (number, kind) {
                (1, (1, b'o', 0)) => call.path = self.string()?,
                (2, (1, b's', 0)) => call.interface = self.string()?,
                (3, (1, b's', 0)) => call.member = self.string()?,
                (6, (1, b's', 0)) => call.destination = self.string()?,
                (8, (1, b'g', 0)) => {
                    let length = self.byte()?.into();
                    signature = self.text(length)?;
                }
                _ => return Err(format!("a call has field {number}")),
            }
        }
        self.align(8)?;
        let start = self.at;
        for letter in signature.chars() {
            if letter != 's' {
                return Err(format!("a call has arguments of types {signature}"));
            }
            call.arguments.push(self.string()?);
        }
        if self.at != self.bytes.len() || self.at - start != body as usize || call.serial == 0 {
            return Err(format!("a call's lengths are wrong: {call:?}"));
        }
        Ok(call)
    }
}

/// A message's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
    /// None that there is.
    Later = 9,
}

/// A header field.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    Path(&'a str),
    /// Of the type `s`, by its number.
    Text(u8, &'a str),
    Reply(u32),
    Signature(&'a str),
    /// One that there is not: to be ignored.
    Later,
}

pub const INTERFACE: u8 = 2;
pub const MEMBER: u8 = 3;
pub const ERROR: u8 = 4;
pub const DESTINATION: u8 = 6;
pub const SENDER: u8 = 7;

/// A value in a body.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Number(u32),
    /// A text, or a path.
    Text(&'a str),
    /// A text in a variant.
    Property(&'a str),
    /// A number in a variant.
    Count(u32),
}

/// Writes a message.
pub fn message(is_big: bool, kind: Kind, serial: u32, fields: &[Field<'_>], body: &[Value<'_>]) -> Vec<u8> {
    let mut writer = Writer { bytes: vec![if is_big { b'B' } else { b'l' }, kind as u8, 1, 1], is_big };
    writer.number(0);
    writer.number(serial);
    writer.number(0);
    for field in fields {
        writer.align(8);
        match *field {
            Field::Path(path) => {
                writer.bytes.extend(b"\x01\x01o\0");
                writer.text(path);
            }
            Field::Text(number, text) => {
                writer.bytes.extend([number, 1, b's', 0]);
                writer.text(text);
            }
            Field::Reply(serial) => {
                writer.bytes.extend(b"\x05\x01u\0");
                writer.number(serial);
            }
            Field::Signature(signature) => {
                writer.bytes.extend(b"\x08\x01g\0");
                writer.bytes.push(signature.len() as u8);
                writer.bytes.extend(signature.bytes());
                writer.bytes.push(0);
            }
            Field::Later => {
                writer.bytes.extend(b"\x63\x01u\0");
                writer.number(7);
            }
        }
    }
    let fields = writer.bytes.len() - 16;
    writer.fill(12, fields);
    writer.align(8);
    let start = writer.bytes.len();
    for value in body {
        match *value {
            Value::Number(number) => writer.number(number),
            Value::Text(text) => writer.text(text),
            Value::Property(text) => {
                writer.bytes.extend(b"\x01s\0");
                writer.text(text);
            }
            Value::Count(number) => {
                writer.bytes.extend(b"\x01u\0");
                writer.number(number);
            }
        }
    }
    let length = writer.bytes.len() - start;
    writer.fill(4, length);
    writer.bytes
}

struct Writer {
    bytes: Vec<u8>,
    is_big: bool,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn encoded(&self, number: u32) -> [u8; 4] {
        if self.is_big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(self.encoded(number));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.bytes.extend(text.bytes());
        self.bytes.push(0);
    }

    fn fill(&mut self, at: usize, number: usize) {
        let number = self.encoded(number as u32);
        self.bytes[at..at + 4].copy_from_slice(&number);
    }
}
