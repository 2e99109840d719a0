//! The XML reader and writer: what the reader accepts is well-formed by other means too, and comes
//! back the same from the writer.

use pacelet::xml::{Check, Document, Element, Writer, is_name};

use crate::run::run;

const SEEDS: &[&[u8]] = &[
    br#"<lrmd_command t="lrmd" lrmd_op="lrmd_rsc_exec" lrmd_remote_msg_id="20"><lrmd_calldata><lrmd_rsc lrmd_rsc_id="d1"><attributes a="&lt;&#x0A;"/></lrmd_rsc></lrmd_calldata></lrmd_command>"#,
    b"<?xml version='1.0' encoding='UTF-8'?><!--c--><a b='1'>t&amp;<c/><![CDATA[<]]></a >\n",
    b"<a x='1' y=\"2\" xml:id='3'><b/><b></b><a:b c='d'/></a>",
    b"<!DOCTYPE a [<!ENTITY e 'x'>]><a b='&e;'/>",
    b"<a><?pi?></a><a/>",
    b"<a b='\xC3\xBC\xF0\x9F\x98\x80' b='&#xD800;'/>",
];

#[test]
fn xml() {
    run("xml", SEEDS.iter().map(|seed| seed.to_vec()).collect(), |input, rng| {
        check(input, 1 + rng.below(1 + input.len()));
    });
}

fn check(input: &[u8], budget: usize) {
    writes(input);
    let whole = Document::parse(input);
    if let Ok(text) = std::str::from_utf8(input) {
        let pausing = pausing(text, budget);
        assert_eq!(
            pausing.map(|document| document.root().range()),
            whole.map(|document| document.root().range())
        );
    }
    match whole {
        Err(error) => {
            assert!(error.offset <= input.len());
            assert!(error.to_string().is_ascii());
        }
        Ok(document) => {
            let text = std::str::from_utf8(input).expect("accepted, so it is UTF-8");
            assert!(Oracle { rest: text }.document(), "accepted, but not well-formed: {text:?}");
            assert!(document.depth() >= 1);
            let root = document.root();
            ranges(root);
            let mut out = Vec::new();
            copy(root, &mut Writer::new(&mut out, "e"));
            let again = Document::parse(&out).expect("the writer's output is well-formed");
            assert_eq!(again.depth(), document.depth());
            same(root, again.root());
            let mut out = Vec::new();
            Writer::new(&mut out, "e").relay(root);
            // One level deeper, hence perhaps too deep.
            assert!(Document::parse(&out).is_ok() || document.depth() == pacelet::xml::DEPTH_LIMIT);
        }
    }
}

fn pausing(text: &str, budget: usize) -> Result<Document<'_>, pacelet::xml::Error> {
    let mut check = Check::new();
    loop {
        if let Some(document) = check.advance(text, budget)? {
            return Ok(document);
        }
    }
}

/// Arbitrary bytes as values.
fn writes(input: &[u8]) {
    let lossy = String::from_utf8_lossy(input);
    let mut out = Vec::new();
    Writer::new(&mut out, "e").attribute("v", &lossy).output("o", input);
    let document = Document::parse(&out).expect("the writer's output is well-formed");
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
    let clean = |text: &str| text.chars().map(|c| if legal(c) { c } else { '?' }).collect::<String>();
    assert_eq!(document.root().attribute("v").as_deref(), Some(clean(&lossy).as_str()));
    let bytes: String = input
        .utf8_chunks()
        .map(|chunk| clean(chunk.valid()) + if chunk.invalid().is_empty() { "" } else { "?" })
        .collect();
    assert_eq!(document.root().attribute("o").as_deref(), Some(bytes.as_str()));
}

/// Each element's range is a document of the same content.
fn ranges(element: Element<'_>) {
    let again = Document::parse(element.source().as_bytes()).expect("an element's range is well-formed");
    assert_eq!(again.root().name(), element.name());
    same(element, again.root());
    assert_eq!(element.children().count(), again.root().children().count());
    for child in element.children().take(8) {
        let (inner, outer) = (child.range(), element.range());
        assert!(outer.start < inner.start && inner.end < outer.end);
        ranges(child);
    }
}

fn copy(element: Element<'_>, out: &mut Writer<'_>) {
    for attribute in element.attributes() {
        assert!(is_name(attribute.name));
        out.attribute(attribute.name, &attribute.value());
    }
    for child in element.children() {
        copy(child, &mut out.child("e"));
    }
}

fn same(one: Element<'_>, other: Element<'_>) {
    let mut attributes = other.attributes();
    for attribute in one.attributes() {
        let twin = attributes.next().expect("as many attributes");
        assert_eq!((attribute.name, attribute.value()), (twin.name, twin.value()));
        assert_eq!(one.attribute(attribute.name).as_ref(), Some(&attribute.value()));
    }
    assert!(attributes.next().is_none());
    let mut children = other.children();
    for child in one.children() {
        same(child, children.next().expect("as many children"));
    }
    assert!(children.next().is_none());
}

/// Well-formedness as the recommendation's grammar has it, written down without regard to speed; it
/// takes more than the reader does in names and characters, but nothing that is unbalanced.
struct Oracle<'a> {
    rest: &'a str,
}

impl Oracle<'_> {
    fn document(mut self) -> bool {
        self.eat("\u{FEFF}");
        if self.rest.starts_with("<?xml ") && !self.until("?>") {
            return false;
        }
        self.miscellaneous() && self.element(0) && self.miscellaneous() && self.rest.is_empty()
    }

    fn miscellaneous(&mut self) -> bool {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if !self.rest.starts_with("<!--") {
                return true;
            }
            if !self.comment() {
                return false;
            }
        }
    }

    fn element(&mut self, depth: usize) -> bool {
        if depth >= 255 || !self.eat("<") {
            return false;
        }
        let name = self.name();
        let mut seen = Vec::new();
        loop {
            let blank = self.blank();
            if self.eat("/>") {
                return !name.is_empty();
            }
            if self.eat(">") {
                break;
            }
            let attribute = self.name();
            if !blank || attribute.is_empty() || seen.contains(&attribute) {
                return false;
            }
            seen.push(attribute);
            self.blank();
            if !self.eat("=") {
                return false;
            }
            self.blank();
            let Some(quote) = self.rest.chars().next().filter(|c| "'\"".contains(*c)) else { return false };
            let Some((value, rest)) = self.rest[1..].split_once(quote) else { return false };
            if value.contains('<') || !references(value) {
                return false;
            }
            self.rest = rest;
        }
        loop {
            let Some((text, _)) = self.rest.split_once('<') else { return false };
            if text.contains("]]>") || !references(text) {
                return false;
            }
            self.rest = &self.rest[text.len()..];
            if self.eat("</") {
                let end = self.name();
                self.blank();
                return end == name && self.eat(">");
            }
            let good = if self.rest.starts_with("<!--") {
                self.comment()
            } else if self.eat("<![CDATA[") {
                self.until("]]>")
            } else {
                self.element(depth + 1)
            };
            if !good {
                return false;
            }
        }
    }

    fn comment(&mut self) -> bool {
        self.eat("<!--") && self.until("--") && self.eat(">")
    }

    fn name(&mut self) -> String {
        let end = self.rest.find([' ', '\t', '\r', '\n', '=', '>', '/', '<', '"', '\'', '&']);
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_owned()
    }

    fn blank(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest.len() < before
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, token: &str) -> bool {
        match self.rest.split_once(token) {
            Some((_, rest)) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

/// Each `&` must begin one of the five names or a number.
fn references(text: &str) -> bool {
    text.split('&').skip(1).all(|after| {
        let Some((name, _)) = after.split_once(';') else { return false };
        let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
        match name.strip_prefix('#') {
            None => ["lt", "gt", "amp", "quot", "apos"].contains(&name),
            Some(number) => match number.strip_prefix('x') {
                Some(number) => digits(number, 16),
                None => digits(number, 10),
            },
        }
    })
}
