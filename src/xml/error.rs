//! Why a text is not a message.

use core::fmt;

use super::{ATTRIBUTE_LIMIT, DEPTH_LIMIT, NAME_LIMIT, VALUE_LIMIT};

/// What is wrong, and where. Holds and prints nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Byte offset in the text of what is wrong, or of the token that contains it.
    pub offset: usize,
    /// What is wrong there.
    pub kind: Kind,
}

/// What can be wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A byte sequence is not UTF-8.
    Utf8,
    /// There is no element.
    Empty,
    /// The XML declaration says another version than 1.0 or another encoding than UTF-8.
    Declaration,
    /// Not XML; the token that is malformed.
    Malformed(&'static str),
    /// A document type declaration: messages need none, and it could define entities.
    Doctype,
    /// A processing instruction.
    Instruction,
    /// A reference that is incomplete, names an unknown entity, or means a character that XML 1.0
    /// does not allow.
    Reference,
    /// An attribute that the element already has.
    Duplicate,
    /// The element has more attributes than [`ATTRIBUTE_LIMIT`].
    Attributes,
    /// The element is nested deeper than [`DEPTH_LIMIT`].
    Depth,
    /// A name of more than [`NAME_LIMIT`] bytes.
    Name,
    /// A value or text of more than [`VALUE_LIMIT`] bytes.
    Value,
    /// An end tag that does not match the start tag.
    Mismatch,
    /// The text ends before its element does.
    Unclosed,
    /// Something other than white space and comments follows the element.
    Trailing,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Utf8 => "not UTF-8",
            Self::Empty => "no XML element",
            Self::Declaration => "not XML 1.0 in UTF-8",
            Self::Malformed(token) => return write!(f, "malformed {token}"),
            Self::Doctype => "a DOCTYPE, which messages must not have",
            Self::Instruction => "a processing instruction, which messages must not have",
            Self::Reference => "a reference to no entity or character that XML knows",
            Self::Duplicate => "an attribute for the second time",
            Self::Attributes => return write!(f, "more than {ATTRIBUTE_LIMIT} attributes in one element"),
            Self::Depth => return write!(f, "more than {DEPTH_LIMIT} elements inside one another"),
            Self::Name => return write!(f, "a name of more than {NAME_LIMIT} bytes"),
            Self::Value => return write!(f, "a value of more than {VALUE_LIMIT} bytes"),
            Self::Mismatch => "an end tag that does not match its start tag",
            Self::Unclosed => "the end of the text inside an element",
            Self::Trailing => "more text after the element",
        };
        f.write_str(text)
    }
}

impl core::error::Error for Error {}
