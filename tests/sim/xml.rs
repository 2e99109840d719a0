//! XML as the cluster's end writes and reads it: by itself, sharing nothing with the daemon's `xml`, and as
//! strict as libxml2 in a 3.x cluster (remote-protocol.md section 2.5).

use std::fmt;

/// An element: in these messages all data is in attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
}

impl Element {
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.attributes.push((name.into(), value.to_string()));
        self
    }

    pub fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(present, _)| present == name).map(|(_, value)| &**value)
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// Reads one element that fills the whole text: no declaration, no blanks around it, and no text in it.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|error| format!("not UTF-8: {error}"))?;
        let mut reader = Reader { text, at: 0 };
        let element = reader.element(0)?;
        if reader.at < text.len() {
            return Err(reader.wrong("something follows the element"));
        }
        Ok(element)
    }
}

impl fmt::Display for Element {
    /// As `pcmk__xml_string` of Pacemaker 3 writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"")?;
            for c in value.chars() {
                match c {
                    '<' => f.write_str("&lt;")?,
                    '>' => f.write_str("&gt;")?,
                    '&' => f.write_str("&amp;")?,
                    '"' => f.write_str("&quot;")?,
                    c if c.is_ascii_control() => write!(f, "&#x{:02X};", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
        }
        if self.children.is_empty() {
            return f.write_str("/>");
        }
        f.write_str(">")?;
        for child in &self.children {
            write!(f, "{child}")?;
        }
        write!(f, "</{}>", self.name)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    const DEPTH: usize = 255;
    const VALUE: usize = 10_000_000;

    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {} of {}", self.at, self.text.len())
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn take(&mut self, expected: &str) -> bool {
        let there = self.rest().starts_with(expected);
        self.at += if there { expected.len() } else { 0 };
        there
    }

    fn want(&mut self, expected: &str) -> Result<(), String> {
        if self.take(expected) { Ok(()) } else { Err(self.wrong(&format!("no {expected:?}"))) }
    }

    fn name(&mut self) -> Result<String, String> {
        let starts = |c: char| c.is_alphabetic() || c == '_' || c == ':';
        let continues = |c: char| starts(c) || c.is_numeric() || c == '-' || c == '.';
        let rest = self.rest();
        let end = rest.find(|c| !continues(c)).unwrap_or(rest.len());
        if !rest.starts_with(starts) {
            return Err(self.wrong("no name"));
        }
        let name = rest[..end].to_owned();
        self.at += end;
        Ok(name)
    }

    fn element(&mut self, depth: usize) -> Result<Element, String> {
        if depth >= Self::DEPTH {
            return Err(self.wrong("too deep"));
        }
        self.want("<")?;
        let mut element = Element { name: self.name()?, ..Element::default() };
        loop {
            if self.take("/>") {
                return Ok(element);
            }
            if self.take(">") {
                break;
            }
            self.want(" ")?;
            let name = self.name()?;
            self.want("=\"")?;
            let value = self.value()?;
            if element.get(&name).is_some() {
                return Err(self.wrong(&format!("attribute {name} twice")));
            }
            element.attributes.push((name, value));
        }
        while !self.take("</") {
            element.children.push(self.element(depth + 1)?);
        }
        let end = format!("{}>", element.name);
        self.want(&end)?;
        Ok(element)
    }

    fn value(&mut self) -> Result<String, String> {
        let Some(length) = self.rest().find('"') else { return Err(self.wrong("no end of the value")) };
        if length >= Self::VALUE {
            return Err(self.wrong("a value that libxml2 refuses"));
        }
        let raw = self.rest()[..length].to_owned();
        let mut value = String::with_capacity(raw.len());
        let mut rest = &*raw;
        while let Some(c) = rest.chars().next() {
            if c == '<' || c < ' ' || !allowed(c) {
                return Err(self.wrong(&format!("{c:?} in the value {raw:?}")));
            }
            let Some(reference) = rest.strip_prefix('&') else {
                value.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            };
            let Some((reference, after)) = reference.split_once(';') else {
                return Err(self.wrong("no end of a reference"));
            };
            let meant = match reference {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                _ => match reference.strip_prefix("#x") {
                    Some(digits) => u32::from_str_radix(digits, 16).ok().and_then(char::from_u32),
                    None => reference.strip_prefix('#').and_then(|d| d.parse().ok()).and_then(char::from_u32),
                },
            };
            let Some(meant) = meant.filter(|&c| allowed(c)) else {
                return Err(self.wrong(&format!("bad reference {reference:?}")));
            };
            value.push(meant);
            rest = after;
        }
        self.at += length + 1;
        Ok(value)
    }
}

/// XML 1.0 section 2.2.
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let element = Element::new("a")
            .with("x", "<&>\"'\n\té")
            .child(Element::new("b").with("y", ""))
            .child(Element::new("c"));
        assert_eq!(Element::parse(element.to_string().as_bytes()), Ok(element));
    }

    #[test]
    fn what_a_strict_cluster_refuses_is_refused() {
        for bad in [
            "",
            " <a/>",
            "<a/> ",
            "<a/><b/>",
            "<a>",
            "<a></b>",
            "<a>text</a>",
            "<a x='1'/>",
            "<a x=\"1\" x=\"2\"/>",
            "<a x=\"<\"/>",
            "<a x=\"&\"/>",
            "<a x=\"&nbsp;\"/>",
            "<a x=\"&#x1B;\"/>",
            "<a x=\"\u{1b}\"/>",
            "<a x=\"\n\"/>",
            "<?xml version=\"1.0\"?><a/>",
            "<1a/>",
        ] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Element::parse(b"<a x=\"\xff\"/>").is_err());
    }
}
