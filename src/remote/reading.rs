//! A complete message while it is looked at, step by step: a big one takes longer than others should wait.
#![forbid(unsafe_code)]

use crate::xml::{self, Check};

use super::Envelope;

/// How many bytes are looked at in one step; but a tag is never cut. It is more than one read brings, so that
/// what comes meanwhile does not pile up.
const STEP: usize = 256 * 1024;

/// A message that was looked at to its end.
#[derive(Debug)]
pub struct Message {
    /// Its text.
    pub text: Vec<u8>,
    /// What it says, or why it is no message: then it is to be ignored and logged.
    pub envelope: Result<Envelope, xml::Error>,
}

/// A message of which a part has been looked at.
#[derive(Debug)]
pub(super) struct Reading {
    text: String,
    check: Check,
}

impl Reading {
    /// Takes the first step; what is not finished comes back as the error.
    pub(super) fn begin(bytes: Vec<u8>) -> Result<Message, Box<Self>> {
        match String::from_utf8(bytes) {
            Ok(text) => Self { text, check: Check::new() }.step(),
            Err(error) => {
                let offset = error.utf8_error().valid_up_to();
                let envelope = Err(xml::Error { offset, kind: xml::Kind::Utf8 });
                Ok(Message { text: error.into_bytes(), envelope })
            }
        }
    }

    /// Takes the next step, as [`Reading::begin`].
    pub(super) fn step(mut self) -> Result<Message, Box<Self>> {
        let envelope = match self.check.advance(&self.text, STEP) {
            Ok(None) => return Err(Box::new(self)),
            Ok(Some(document)) => Ok(Envelope::of(&document)),
            Err(error) => Err(error),
        };
        Ok(Message { text: self.text.into_bytes(), envelope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_big_message_takes_steps() {
        let children = "<child name='value'/>".repeat(100_000);
        let text = format!("<x lrmd_op='lrmd_rsc_poke' lrmd_remote_msg_id='7'>{children}</x>");
        let mut result = Reading::begin(text.clone().into_bytes());
        let mut steps = 1;
        let message = loop {
            match result {
                Ok(message) => break message,
                Err(reading) => result = reading.step(),
            }
            steps += 1;
        };
        assert_eq!(message.text, text.as_bytes());
        assert_eq!(message.envelope.unwrap().message_id, 7);
        assert_eq!(steps, text.len().div_ceil(STEP));
    }

    #[test]
    fn what_is_wrong_is_found_at_once_or_later() {
        let kind = |bytes: &[u8]| Reading::begin(bytes.to_vec()).unwrap().envelope.unwrap_err().kind;
        assert_eq!(kind(b"<a>\xff</a>"), xml::Kind::Utf8);
        assert_eq!(kind(b"<a>"), xml::Kind::Unclosed);
        let late = ["<a>", &"<b/>".repeat(100_000), "</c>"].concat();
        let reading = Reading::begin(late.into_bytes()).unwrap_err();
        assert_eq!(reading.step().unwrap().envelope.unwrap_err().kind, xml::Kind::Mismatch);
    }
}
