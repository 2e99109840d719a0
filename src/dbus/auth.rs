//! Authentication by the user that the kernel says we are: SASL EXTERNAL
//! (D-Bus specification, "Authentication Protocol").
//!
//! ```text
//! we                                   the bus
//! NUL AUTH EXTERNAL <user, hex>  ->
//!                                <-    OK <id of the bus>
//! BEGIN                          ->
//! messages                       <->   messages
//! ```
//!
//! Any other line than `OK` ends the attempt: there is no second mechanism to try. Descriptor
//! passing is not negotiated, so no message can carry one.

use core::fmt::Write;

use crate::log::Escaped;

/// The longest line that is received, in bytes with its end; a bus sends 37.
pub const LINE_MAX: usize = 512;

/// What ends the authentication; messages follow.
pub const BEGIN: &[u8] = b"BEGIN\r\n";

/// What opens a connection as user `uid`.
pub fn opening(uid: u32) -> String {
    let mut text = String::from("\0AUTH EXTERNAL ");
    for digit in uid.to_string().bytes() {
        // Writing to a String does not fail.
        let _ = write!(text, "{digit:02x}");
    }
    text + "\r\n"
}

/// The bus's line, as far as it has come.
#[derive(Debug, Default)]
pub struct Answer {
    line: Vec<u8>,
}

/// The bus does not let us in: its line, escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub Box<str>);

impl Answer {
    /// Takes bytes off up to the end of the line; says whether it has come, and was `OK`.
    pub fn receive(&mut self, bytes: &mut &[u8]) -> Result<bool, Refused> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.line.len() == LINE_MAX {
                return Err(self.refused());
            }
            self.line.push(byte);
            if byte == b'\n' {
                return if self.is_ok() { Ok(true) } else { Err(self.refused()) };
            }
        }
        Ok(false)
    }

    fn is_ok(&self) -> bool {
        self.line.starts_with(b"OK ") && self.line.ends_with(b"\r\n")
    }

    fn refused(&self) -> Refused {
        Refused(Escaped(self.line.trim_ascii_end()).to_string().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a bus's bytes lead to, in pieces of `size`, and how many are left.
    fn answer(bytes: &[u8], size: usize) -> (Result<bool, Refused>, usize) {
        let mut answer = Answer::default();
        let mut left = bytes.len();
        for mut piece in bytes.chunks(size) {
            let before = piece.len();
            let result = answer.receive(&mut piece);
            left -= before - piece.len();
            if result != Ok(false) {
                return (result, left);
            }
        }
        (Ok(false), left)
    }

    #[test]
    fn the_user_is_hex_of_decimal() {
        assert_eq!(opening(0), "\0AUTH EXTERNAL 30\r\n");
        assert_eq!(opening(65534), "\0AUTH EXTERNAL 3635353334\r\n");
    }

    #[test]
    fn accepted() {
        // From dbus-daemon 1.16.2.
        let line = b"OK 2fa8bcd8d3b7bbf2ffa48f3f68fdf1fb\r\n";
        for size in [1, 2, 37, 100] {
            assert_eq!(answer(line, size), (Ok(true), 0));
        }
        assert_eq!(answer(b"OK 2f\r\nl\x02", 100), (Ok(true), 2));
        assert_eq!(answer(&line[..36], 1), (Ok(false), 0));
    }

    #[test]
    fn not_accepted() {
        for line in ["REJECTED EXTERNAL", "ERROR", "DATA", "AGREE_UNIX_FD", "", "OKAY", "OK"] {
            let bytes = format!("{line}\r\n").into_bytes();
            assert_eq!(answer(&bytes, 1), (Err(Refused(line.into())), 0), "{line}");
        }
        assert_eq!(answer(b"OK 2f\n", 9).0, Err(Refused("OK 2f".into())));
        assert_eq!(answer(b"\x1b[2J\r\n", 9).0, Err(Refused("\\x1b[2J".into())));
    }

    #[test]
    fn a_line_has_a_limit() {
        let endless = [b'x'; LINE_MAX + 1];
        assert_eq!(answer(&endless[..LINE_MAX], 7).0, Ok(false));
        assert!(answer(&endless, 7).0.is_err());
    }
}
