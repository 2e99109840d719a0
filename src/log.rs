//! Log lines as values, and the one way by which outside bytes may enter one.
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

/// How much a line matters, in syslog's order (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The node must stop.
    Crit = 2,
    /// Something was asked for and could not be done.
    Error = 3,
    /// Something is wrong, and pacelet goes on with what it names.
    Warning = 4,
    /// What an administrator wants to see on a healthy node.
    Notice = 5,
    /// What helps to follow one operation.
    Info = 6,
    /// What helps to follow one message.
    Debug = 7,
}

impl Level {
    /// The word Pacemaker's logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crit => "crit",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The level with this number.
    pub fn numbered(number: u8) -> Option<Self> {
        let all = [Self::Crit, Self::Error, Self::Warning, Self::Notice, Self::Info, Self::Debug];
        all.into_iter().find(|level| *level as u8 == number)
    }
}

/// One line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The message: one line, no secrets, outside bytes only through [`Escaped`].
    pub text: String,
}

/// Builds a [`Line`]: `line!(Notice, "…", …)`.
#[macro_export]
macro_rules! line {
    ($level:ident, $($arg:tt)*) => {
        $crate::log::Line { level: $crate::log::Level::$level, text: format!($($arg)*) }
    };
}

/// Bytes from outside, made safe to print: printable ASCII as it is, everything else as `\xHH`, and
/// at most [`Escaped::LIMIT`] bytes of input.
pub struct Escaped<'a>(pub &'a [u8]);

impl Escaped<'_> {
    /// How many input bytes are shown before `…`.
    pub const LIMIT: usize = 120;
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0.iter().take(Self::LIMIT) {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        if self.0.len() > Self::LIMIT {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_do_not_reach_a_terminal() {
        assert_eq!(Escaped(b"a\x1b[2J\n\xff\\").to_string(), "a\\x1b[2J\\x0a\\xff\\\\");
    }

    #[test]
    fn long_input_is_cut() {
        let text = Escaped(&[b'x'; 500]).to_string();
        assert_eq!(text.chars().count(), Escaped::LIMIT + 1);
        assert!(text.ends_with('…'));
    }
}
