//! The sender rules R1 to R5, as a real cluster node suffers from their breach (remote-protocol.md
//! section 3): every record the daemon sends goes through here, decrypted.

use super::xml::Element;

/// How long a message header is.
pub const HEADER: usize = 40;

/// The longest plaintext of a record.
const RECORD: usize = 16384;

/// The longest message a cluster takes.
const LIMIT: usize = 20 * 1024 * 1024;

const MAGIC: u32 = 0xBADA_DBBD;

/// What a decrypted record was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Data(Vec<u8>),
    /// A ticket, a key update, an empty record: the socket became readable, and there is nothing to read.
    Silent,
}

/// Collects records to messages.
#[derive(Debug, Default)]
pub struct Assembly {
    header: Vec<u8>,
    payload: Vec<u8>,
    missing: usize,
    last_id: u64,
}

impl Assembly {
    /// Takes a record; gives the message it completes.
    ///
    /// # Errors
    /// The rule it breaks, and how.
    pub fn take(&mut self, record: &Record) -> Result<Option<Element>, String> {
        let Record::Data(bytes) = record else {
            return Err("R5: the socket became readable without data".into());
        };
        if bytes.is_empty() || bytes.len() > RECORD {
            return Err(format!("R4: a record of {} bytes", bytes.len()));
        }
        if self.header.len() < HEADER {
            if bytes.len() > HEADER - self.header.len() {
                return Err(format!("R1: a record of {} bytes has header and payload", bytes.len()));
            }
            self.header.extend_from_slice(bytes);
            if self.header.len() == HEADER {
                self.begin()?;
            }
            return Ok(None);
        }
        if bytes.len() > self.missing {
            return Err(format!("R2: a record has {} bytes of the next message", bytes.len() - self.missing));
        }
        self.payload.extend_from_slice(bytes);
        self.missing -= bytes.len();
        if self.missing > 0 {
            return Ok(None);
        }
        self.header.clear();
        let mut text = std::mem::take(&mut self.payload);
        if text.pop() != Some(0) {
            return Err("the payload does not end with NUL".into());
        }
        let shown = String::from_utf8_lossy(&text);
        Element::parse(&text).map(Some).map_err(|error| format!("{error}: {shown}"))
    }

    /// Whether a message has begun and not ended (R3).
    pub fn is_partial(&self) -> bool {
        !self.header.is_empty()
    }

    /// The header as the table in remote-protocol.md section 2 wants it sent.
    fn begin(&mut self) -> Result<(), String> {
        let four = |at: usize| u32::from_ne_bytes(self.header[at..at + 4].try_into().unwrap());
        let eight = |at: usize| u64::from_ne_bytes(self.header[at..at + 8].try_into().unwrap());
        let (total, payload) = (four(24) as usize, four(36) as usize);
        let right = four(0) == MAGIC
            && four(4) == 1
            && eight(8) > self.last_id
            && eight(16) == 0
            && total == HEADER + payload
            && four(28) as usize == HEADER
            && four(32) == 0
            && payload > 1
            && total <= LIMIT;
        if !right {
            return Err(format!("a header that is not as it must be: {:02x?}", self.header));
        }
        self.last_id = eight(8);
        self.missing = payload;
        Ok(())
    }
}

/// A message's header, as a cluster node of this byte order sends it.
pub fn header(id: u64, payload: usize) -> Vec<u8> {
    sized_header(id, (HEADER + payload) as u32, payload as u32)
}

/// As a node of the other byte order sends it.
pub fn foreign_header(id: u64, payload: usize) -> Vec<u8> {
    let mut header = header(id, payload);
    for (at, size) in [(0, 4), (4, 4), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 4)] {
        header[at..at + size].reverse();
    }
    header
}

/// A header whose sizes may be anything.
pub fn sized_header(id: u64, total: u32, payload: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC.to_ne_bytes());
    header.extend(1_u32.to_ne_bytes());
    header.extend(id.to_ne_bytes());
    header.extend(0_u64.to_ne_bytes());
    header.extend(total.to_ne_bytes());
    header.extend((HEADER as u32).to_ne_bytes());
    header.extend(0_u32.to_ne_bytes());
    header.extend(payload.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"<a x=\"1\"/>\0";

    fn breach(records: &[&[u8]]) -> String {
        let mut assembly = Assembly::default();
        for record in records {
            match assembly.take(&Record::Data(record.to_vec())) {
                Ok(None) => {}
                Ok(Some(_)) => return "a message".into(),
                Err(breach) => return breach.split(':').next().unwrap().to_owned(),
            }
        }
        "more is missing".into()
    }

    #[test]
    fn header_and_payload_in_their_own_records_are_a_message() {
        let header = header(1, TEXT.len());
        assert_eq!(breach(&[&header, TEXT]), "a message");
        assert_eq!(breach(&[&header[..1], &header[1..], &TEXT[..5], &TEXT[5..]]), "a message");
        assert_eq!(breach(&[&header, &TEXT[..5]]), "more is missing");
    }

    #[test]
    fn each_breach_is_found() {
        let own = header(1, TEXT.len());
        assert_eq!(breach(&[&[&own, TEXT].concat()]), "R1");
        assert_eq!(breach(&[&own[..39], &[&own[39..], &TEXT[..1]].concat()]), "R1");
        assert_eq!(breach(&[&own, &[TEXT, &own[..1]].concat()]), "R2");
        assert_eq!(breach(&[&header(1, 20_000), &[b' '; 16385]]), "R4");
        assert_eq!(breach(&[&own, b""]), "R4");
        assert!(Assembly::default().take(&Record::Silent).is_err_and(|error| error.starts_with("R5")));
        let wrong = "a header that is not as it must be";
        assert_eq!(breach(&[&sized_header(1, 40, 11)]), wrong);
        assert_eq!(breach(&[&header(0, 11)]), wrong);
        assert_eq!(breach(&[&header(1, LIMIT)]), wrong);
        assert_eq!(breach(&[&own, b"<a x=\"123\"/"]), "the payload does not end with NUL");
    }

    #[test]
    fn numbers_of_messages_only_grow() {
        let mut assembly = Assembly::default();
        let mut next = |id| {
            let header = assembly.take(&Record::Data(header(id, TEXT.len())));
            header.and_then(|_| assembly.take(&Record::Data(TEXT.to_vec())))
        };
        assert!(next(3).is_ok_and(|message| message.is_some()));
        assert!(next(7).is_ok());
        assert!(next(7).is_err());
    }
}
