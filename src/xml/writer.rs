//! Writes elements that a strict cluster accepts (remote-protocol.md section 2.5).

use core::ops::Range;

use super::element::Element;
use super::text::is_name;
use super::{DEPTH_LIMIT, OUTPUT_LIMIT, VALUE_LIMIT};
use crate::trial::{self, Mutant};

/// An element that is being written to the end of a buffer; dropping it closes it.
///
/// Elements nest because a child borrows its parent, their names are fixed ones of ours, and values
/// are escaped, cleaned and cut, so that there is nothing a parser could refuse. Text is never
/// written: the cluster would drop it.
///
/// Characters that XML 1.0 does not allow, and what is not UTF-8, become `?`: one byte that every
/// release, terminal and log takes. Other control characters become references of two upper-case
/// hexadecimal digits, as Pacemaker 3 writes them.
#[derive(Debug)]
pub struct Writer<'w> {
    out: &'w mut Vec<u8>,
    name: &'static str,
    /// Where the start tag is in `out`.
    tag: Range<usize>,
    /// Whether the start tag still takes attributes: nothing has been put inside yet.
    open: bool,
    depth: usize,
}

impl<'w> Writer<'w> {
    /// Begins a message's element at the end of `out`. What is there already is kept.
    pub fn new(out: &'w mut Vec<u8>, name: &'static str) -> Self {
        Self::begin(out, name, 1)
    }

    fn begin(out: &'w mut Vec<u8>, name: &'static str, depth: usize) -> Self {
        debug_assert!(is_name(name) && depth <= DEPTH_LIMIT);
        let start = out.len();
        out.push(b'<');
        out.extend_from_slice(name.as_bytes());
        let tag = start..out.len();
        Self { out, name, tag, open: true, depth }
    }

    /// Adds an attribute; at most [`VALUE_LIMIT`] bytes of its escaped value.
    ///
    /// The element must not have it yet, `name` must satisfy [`is_name`], and nothing may be inside
    /// the element yet. Debug builds stop where that is not so; others leave the attribute out,
    /// except that they do not look for duplicates.
    pub fn attribute(&mut self, name: &str, value: &str) -> &mut Self {
        self.quoted(name, |out, end| {
            escape(out, value, end);
        });
        self
    }

    /// As [`attribute`](Self::attribute), if there is a value.
    pub fn optional(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// As [`attribute`](Self::attribute), with a decimal number.
    pub fn number(&mut self, name: &str, value: i64) -> &mut Self {
        self.quoted(name, |out, _| {
            let mut digits = [0; 20];
            let mut rest = value.unsigned_abs();
            let mut first = digits.len();
            for (place, digit) in digits.iter_mut().enumerate().rev() {
                // The remainder is at most 9.
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
                first = place;
                if rest == 0 {
                    break;
                }
            }
            if value < 0 {
                out.push(b'-');
            }
            out.extend_from_slice(digits.get(first..).unwrap_or_default());
        });
        self
    }

    /// As [`attribute`](Self::attribute), with what an agent wrote: any bytes, and at most
    /// [`OUTPUT_LIMIT`] of them when escaped.
    pub fn output(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.quoted(name, |out, _| {
            let end = out.len().saturating_add(OUTPUT_LIMIT);
            for chunk in value.utf8_chunks() {
                let invalid = if chunk.invalid().is_empty() { "" } else { "?" };
                if !escape(out, chunk.valid(), end) || !escape(out, invalid, end) {
                    return;
                }
            }
        });
        self
    }

    /// Begins an element inside this one. After it this one takes no attributes any more.
    pub fn child(&mut self, name: &'static str) -> Writer<'_> {
        self.end_tag();
        Writer::begin(self.out, name, self.depth + 1)
    }

    /// Puts an element inside that was read and checked, as it was written there. The caller has
    /// seen to it that it does not nest too deeply ([`Document::depth`](super::Document::depth)).
    pub fn relay(&mut self, element: Element<'_>) -> &mut Self {
        self.end_tag();
        self.out.extend_from_slice(element.source().as_bytes());
        self
    }

    fn end_tag(&mut self) {
        if self.open {
            self.out.push(b'>');
            self.open = false;
        }
    }

    /// Writes `name="…"`, the part between the quotes by `value`, which gets the length that the
    /// buffer must not exceed.
    fn quoted(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>, usize)) {
        debug_assert!(self.open, "attribute {name} after a child");
        debug_assert!(is_name(name), "{name:?} is no name for an attribute");
        debug_assert!(!self.has(name), "attribute {name} twice");
        if !self.open || !is_name(name) {
            return;
        }
        self.out.push(b' ');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"=\"");
        let end = self.out.len().saturating_add(VALUE_LIMIT);
        value(self.out, end);
        self.out.push(b'"');
    }

    /// Whether the start tag has this attribute already. Costs the tag's length, hence for debug
    /// builds only.
    fn has(&self, name: &str) -> bool {
        let mut rest = self.out.get(self.tag.end..).unwrap_or_default();
        while let [b' ', attribute @ ..] = rest {
            if attribute.strip_prefix(name.as_bytes()).is_some_and(|after| after.starts_with(b"=\"")) {
                return true;
            }
            // Up to the second quote: values contain none.
            let mut parts = attribute.splitn(3, |&byte| byte == b'"');
            rest = parts.nth(2).unwrap_or_default();
        }
        false
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.open {
            self.out.extend_from_slice(b"/>");
        } else {
            self.out.extend_from_slice(b"</");
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.push(b'>');
        }
    }
}

/// Appends `value` escaped, but nothing that would make the buffer longer than `end`. Whether all of
/// it fitted.
pub(super) fn escape(out: &mut Vec<u8>, value: &str, end: usize) -> bool {
    let mut rest = value;
    while let Some(at) = rest.bytes().position(is_special) {
        // `at` is where a byte of ASCII or the first byte of a longer character is.
        let (plain, special) = rest.split_at(at);
        if !append(out, plain, end) {
            return false;
        }
        let Some(c) = special.chars().next() else { break };
        let fits = match c {
            '<' => append(out, "&lt;", end),
            '>' => append(out, "&gt;", end),
            '&' => append(out, "&amp;", end),
            '"' => append(out, "&quot;", end),
            '\t' => append(out, "&#x09;", end),
            '\n' => append(out, "&#x0A;", end),
            '\r' => append(out, "&#x0D;", end),
            '\x7F' => append(out, "&#x7F;", end),
            raw @ '\0'..='\x1F' if trial::is(Mutant::RawOutput) => {
                append(out, raw.encode_utf8(&mut [0; 4]), end)
            }
            '\0'..='\x1F' | '\u{FFFE}' | '\u{FFFF}' => append(out, "?", end),
            other => append(out, other.encode_utf8(&mut [0; 4]), end),
        };
        if !fits {
            return false;
        }
        rest = special.get(c.len_utf8()..).unwrap_or_default();
    }
    append(out, rest, end)
}

/// Bytes that do not stand for themselves, or begin a character that perhaps does not.
fn is_special(byte: u8) -> bool {
    matches!(byte, 0..=0x1F | b'<' | b'>' | b'&' | b'"' | 0x7F | 0xEF)
}

/// Appends `text` as far as the buffer does not get longer than `end`, whole characters only.
/// References are ASCII: one that does not fit is left out altogether.
fn append(out: &mut Vec<u8>, text: &str, end: usize) -> bool {
    let room = end.saturating_sub(out.len());
    if text.len() <= room {
        out.extend_from_slice(text.as_bytes());
        return true;
    }
    if !text.starts_with('&') {
        let fitting = text.floor_char_boundary(room);
        out.extend_from_slice(text.get(..fitting).unwrap_or_default().as_bytes());
    }
    false
}
