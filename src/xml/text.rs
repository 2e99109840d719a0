//! Characters, names and references (XML 1.0 fifth edition, sections 2.2, 2.3, 3.3.3, 4.1).

use std::borrow::Cow;

use xmlparser::XmlCharExt;

/// Whether `name` can be the name of an attribute: no other string must become one.
pub fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    name.len() <= super::NAME_LIMIT
        && chars.next().is_some_and(|c| c.is_xml_name_start())
        && chars.all(|c| c.is_xml_name())
}

/// Where in `raw` a `&` starts something that is no reference to a character.
pub(super) fn bad_reference(raw: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = raw.get(from..)?;
        let at = from + rest.find('&')?;
        match reference(raw.get(at..)?) {
            Some((_, length)) => from = at + length,
            None => return Some(at),
        }
    }
}

/// The value of an attribute: references resolved, white space as section 3.3.3 wants it (each line
/// end and tab a space, unless written as a reference).
pub(super) fn value(raw: &str) -> Cow<'_, str> {
    const SPECIAL: [char; 4] = ['&', '\t', '\n', '\r'];
    let Some(mut at) = raw.find(SPECIAL) else { return Cow::Borrowed(raw) };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        let (c, length) = if special.starts_with("\r\n") {
            (' ', 2)
        } else if special.starts_with('&') {
            // A bare `&` stays one: that does not happen in what was checked.
            reference(special).unwrap_or(('&', 1))
        } else {
            (' ', 1)
        };
        text.push(c);
        rest = special.get(length..).unwrap_or_default();
        match rest.find(SPECIAL) {
            Some(next) => at = next,
            None => break,
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character that the reference at the start of `text` means, and how long the reference is.
fn reference(text: &str) -> Option<(char, usize)> {
    let end = text.find(';')?;
    let name = text.get(1..end)?;
    let c = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => numeric(name.strip_prefix('#')?)?,
    };
    Some((c, end + 1))
}

/// The character of `65` or `x41`.
fn numeric(number: &str) -> Option<char> {
    let (digits, radix) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    if digits.starts_with('+') {
        return None; // The standard library would take a sign.
    }
    let c = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
    c.is_xml_char().then_some(c)
}
