//! The one pass that decides whether a text is a message.

use core::ops::Range;
use std::collections::BinaryHeap;

use xmlparser::{ElementEnd, StrSpan, Token, Tokenizer};

use super::element::{Element, Spine};
use super::error::{Error, Kind};
use super::text::bad_reference;
use super::{ATTRIBUTE_LIMIT, DEPTH_LIMIT, NAME_LIMIT, VALUE_LIMIT};

/// A text that is one well-formed element, perhaps with an XML declaration and comments around it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    root: Element<'a>,
    depth: usize,
}

impl<'a> Document<'a> {
    /// Checks the whole text at once: linear in its length. A message's final NUL is not part of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let text = core::str::from_utf8(bytes)
            .map_err(|error| Error { offset: error.valid_up_to(), kind: Kind::Utf8 })?;
        let mut check = Check::new();
        loop {
            if let Some(document) = check.advance(text, usize::MAX)? {
                return Ok(document);
            }
        }
    }

    /// The element.
    pub fn root(&self) -> Element<'a> {
        self.root
    }

    /// How deep elements nest: 1 if the root has no children, at most [`DEPTH_LIMIT`]. Who relays an
    /// element inside others must see that the sum stays within that limit.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

/// A check that can pause, so that other work gets its turn while a big text is looked at.
///
/// | stage   | white space, comment | declaration | start tag | end tag       | text       | else  |
/// |---------|----------------------|-------------|-----------|---------------|------------|-------|
/// | prolog  | stay                 | stay        | content   | error         | error      | error |
/// | content | stay                 | error       | stay      | stay, epilog¹ | stay       | error |
/// | epilog  | stay                 | error       | error     | error         | error      | error |
///
/// ¹ when it closes the root. The end of the text finishes the epilog and is an error before it.
#[derive(Debug)]
pub struct Check {
    stage: Stage,
    /// Everything before this offset has been looked at; a token starts here.
    at: usize,
    /// Where the root starts, once the stage is past the prolog.
    root: usize,
    /// Where the names of the open elements are, outermost first: at most [`DEPTH_LIMIT`].
    open: Vec<Range<usize>>,
    depth: usize,
    spine: Spine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Prolog,
    Content,
    Epilog,
}

impl Default for Check {
    fn default() -> Self {
        Self::new()
    }
}

impl Check {
    /// A check that has not looked at anything yet.
    pub fn new() -> Self {
        Self { stage: Stage::Prolog, at: 0, root: 0, open: Vec::new(), depth: 0, spine: Spine::default() }
    }

    /// Looks at about `budget` more bytes (a tag is never cut), and gives the document when the text
    /// has been seen to its end. The text must be the same at each call.
    pub fn advance<'a>(&mut self, text: &'a str, budget: usize) -> Result<Option<Document<'a>>, Error> {
        if self.stage == Stage::Prolog {
            self.prolog(text)?;
        }
        if self.stage == Stage::Content {
            self.content(text, self.at.saturating_add(budget))?;
        }
        if self.stage != Stage::Epilog {
            return Ok(None);
        }
        self.epilog(text)?;
        let root =
            Element::at(text, self.root, self.spine).ok_or(Error { offset: self.root, kind: Kind::Empty })?;
        Ok(Some(Document { root, depth: self.depth }))
    }

    fn prolog(&mut self, text: &str) -> Result<(), Error> {
        let mut tokens = Tokenizer::from(text);
        loop {
            let offset = tokens.stream().pos();
            let Some(token) = tokens.next() else { return Err(Error { offset, kind: Kind::Empty }) };
            match token.map_err(|error| malformed(&error, offset))? {
                Token::Declaration { version, encoding, .. } => {
                    let utf8 = encoding.is_none_or(|name| name.as_str().eq_ignore_ascii_case("utf-8"));
                    if version.as_str() != "1.0" || !utf8 {
                        return Err(Error { offset, kind: Kind::Declaration });
                    }
                }
                Token::Comment { text, .. } => check_length(text)?,
                Token::ElementStart { span, .. } => {
                    (self.stage, self.at, self.root) = (Stage::Content, span.start(), span.start());
                    return Ok(());
                }
                token => return Err(unexpected(token, offset)),
            }
        }
    }

    /// Goes on until the root is closed, or to the first end of a tag at or after `stop`.
    fn content(&mut self, text: &str, stop: usize) -> Result<(), Error> {
        let mut tokens = Tokenizer::from_fragment(text, self.at..text.len());
        // Names and where they are. A heap finds duplicates among thousands of names in time, and is
        // smaller than a sort.
        let mut attributes = BinaryHeap::new();
        loop {
            let offset = tokens.stream().pos();
            let Some(token) = tokens.next() else { return Err(Error { offset, kind: Kind::Unclosed }) };
            match token.map_err(|error| malformed(&error, offset))? {
                Token::ElementStart { local, span, .. } => {
                    let name = span.start() + 1..local.end();
                    check_name(&name)?;
                    if self.open.len() == DEPTH_LIMIT {
                        return Err(Error { offset, kind: Kind::Depth });
                    }
                    self.open.push(name);
                    self.depth = self.depth.max(self.open.len());
                    self.spine.begin(self.open.len(), offset);
                    attributes.clear();
                    continue;
                }
                Token::Attribute { local, value, span, .. } => {
                    let name = span.start()..local.end();
                    check_name(&name)?;
                    check_text(value)?;
                    if attributes.len() == ATTRIBUTE_LIMIT {
                        return Err(Error { offset, kind: Kind::Attributes });
                    }
                    attributes.push((text.get(name.clone()), name.start));
                    continue;
                }
                Token::ElementEnd { end: ElementEnd::Open, .. } => check_different(&mut attributes)?,
                Token::ElementEnd { end: ElementEnd::Empty, span } => {
                    check_different(&mut attributes)?;
                    self.spine.end(self.open.len(), span.end());
                    self.open.pop();
                }
                Token::ElementEnd { end: ElementEnd::Close(_, local), span } => {
                    let name = text.get(span.start() + 2..local.end());
                    self.spine.end(self.open.len(), span.end());
                    if self.open.pop().and_then(|open| text.get(open)) != name {
                        return Err(Error { offset, kind: Kind::Mismatch });
                    }
                }
                Token::Text { text } => check_text(text)?,
                Token::Cdata { text, .. } | Token::Comment { text, .. } => check_length(text)?,
                token => return Err(unexpected(token, offset)),
            }
            self.at = tokens.stream().pos();
            if self.open.is_empty() {
                self.stage = Stage::Epilog;
                return Ok(());
            }
            if self.at >= stop {
                return Ok(());
            }
        }
    }

    fn epilog(&self, text: &str) -> Result<(), Error> {
        let mut tokens = Tokenizer::from_fragment(text, self.at..text.len());
        loop {
            let offset = tokens.stream().pos();
            match tokens.next() {
                None => return Ok(()),
                Some(Ok(Token::Comment { text, .. })) => check_length(text)?,
                Some(Ok(Token::Text { text })) if text.bytes().all(|b| b" \t\r\n".contains(&b)) => {}
                Some(_) => return Err(Error { offset, kind: Kind::Trailing }),
            }
        }
    }
}

fn check_name(name: &Range<usize>) -> Result<(), Error> {
    if name.len() > NAME_LIMIT {
        return Err(Error { offset: name.start, kind: Kind::Name });
    }
    Ok(())
}

fn check_length(text: StrSpan<'_>) -> Result<(), Error> {
    if text.len() > VALUE_LIMIT {
        return Err(Error { offset: text.start(), kind: Kind::Value });
    }
    Ok(())
}

fn check_text(raw: StrSpan<'_>) -> Result<(), Error> {
    check_length(raw)?;
    match bad_reference(raw.as_str()) {
        Some(at) => Err(Error { offset: raw.start() + at, kind: Kind::Reference }),
        None => Ok(()),
    }
}

/// No two names may be the same. Leaves none.
fn check_different(names: &mut BinaryHeap<(Option<&str>, usize)>) -> Result<(), Error> {
    // Greatest first, and of equal names the later one.
    let mut before = names.pop();
    while let (Some((name, offset)), Some(next)) = (before, names.pop()) {
        if next.0 == name {
            return Err(Error { offset, kind: Kind::Duplicate });
        }
        before = Some(next);
    }
    Ok(())
}

fn malformed(error: &xmlparser::Error, offset: usize) -> Error {
    use xmlparser::Error as E;
    let kind = match error {
        E::InvalidDeclaration(..) => Kind::Malformed("XML declaration"),
        E::InvalidComment(..) => Kind::Malformed("comment"),
        E::InvalidPI(..) => Kind::Instruction,
        E::InvalidDoctype(..) | E::InvalidEntity(..) => Kind::Doctype,
        E::InvalidElement(..) => Kind::Malformed("tag"),
        E::InvalidAttribute(..) => Kind::Malformed("attribute"),
        E::InvalidCdata(..) => Kind::Malformed("CDATA section"),
        E::InvalidCharData(..) => Kind::Malformed("text"),
        E::UnknownToken(..) => Kind::Malformed("markup"),
    };
    Error { offset, kind }
}

/// For tokens that are XML, but have no place in a message.
fn unexpected(token: Token<'_>, offset: usize) -> Error {
    let kind = match token {
        Token::ProcessingInstruction { .. } => Kind::Instruction,
        Token::DtdStart { .. }
        | Token::EmptyDtd { .. }
        | Token::EntityDeclaration { .. }
        | Token::DtdEnd { .. } => Kind::Doctype,
        _ => Kind::Malformed("markup"),
    };
    Error { offset, kind }
}
