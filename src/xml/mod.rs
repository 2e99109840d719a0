//! XML as the cluster's messages use it: one element per message, data in attributes only.
//!
//! Reading is a single linear pass ([`Check`]) that builds nothing, and after it a cursor
//! ([`Element`]) that goes over the same bytes again where something is asked. So a big message
//! stays the byte range it was, and what is relayed is copied as it came, once it has been checked.
//! `xmlparser` only tells tokens apart; that tags balance, attributes differ, references mean
//! characters and nothing is too deep or too long is checked here, because libxml2 at the other end
//! refuses a whole message for each of these (remote-protocol.md section 2.5).
//!
//! Writing ([`Writer`]) can only produce what a strict cluster accepts.
//!
//! Namespaces are not resolved: a colon is a letter like others, as it is to libxml2's
//! well-formedness.
#![forbid(unsafe_code)]

mod check;
mod element;
mod error;
mod text;
mod writer;

pub use check::{Check, Document};
pub use element::{Attribute, Attributes, Children, Element};
pub use error::{Error, Kind};
pub use text::is_name;
pub use writer::Writer;

/// How deep elements may nest. libxml2 gives up between 256 and 258, depending on its release.
pub const DEPTH_LIMIT: usize = 255;

/// How many attributes one element may have: a bound on the memory that finding duplicates takes.
pub const ATTRIBUTE_LIMIT: usize = 4096;

/// How many bytes a name may have; libxml2's own bound.
pub const NAME_LIMIT: usize = 50_000;

/// How many bytes an attribute's value, a text, a comment or a CDATA section may have as written,
/// references unresolved; libxml2 refuses 10,000,000 in some places.
pub const VALUE_LIMIT: usize = 9_999_999;

/// How many bytes of an agent's output go into one message, references unresolved
/// (recommended by remote-protocol.md section 2.5).
pub const OUTPUT_LIMIT: usize = 1 << 20;

#[cfg(test)]
mod tests;
