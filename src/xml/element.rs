//! A cursor over a text that has been checked.
//!
//! It holds no state but an offset: what is asked is found by going over the text from there again.
//! Over a text that was not checked it stops early, and never panics.

use core::ops::Range;
use std::borrow::Cow;

use xmlparser::{ElementEnd, Token, Tokenizer};

use super::text;

/// One element of a [`Document`](super::Document).
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    text: &'a str,
    start: usize,
    name: &'a str,
    spine: Spine,
}

/// Where the first element of each of the outer levels is: a big message and what it is wrapped in.
/// So their ends are known without going over them a second time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spine([Span; 3]);

/// Start and end; an end of 0 is not known yet, and as long as that is so the start may be unset.
type Span = (usize, usize);

impl Spine {
    /// Takes note that an element starts; `depth` is 1 for the root.
    pub(super) fn begin(&mut self, depth: usize, start: usize) {
        if let Some(first @ (0, 0)) = self.0.get_mut(depth.wrapping_sub(1)) {
            first.0 = start;
        }
    }

    /// Takes note that an element ends. The first end at a depth belongs to the first start there.
    pub(super) fn end(&mut self, depth: usize, end: usize) {
        if let Some(first @ (_, 0)) = self.0.get_mut(depth.wrapping_sub(1)) {
            first.1 = end;
        }
    }

    /// Where the element ends that starts here.
    fn find(&self, start: usize) -> Option<usize> {
        self.0.iter().find(|&&(first, end)| first == start && end != 0).map(|&(_, end)| end)
    }
}

impl<'a> Element<'a> {
    /// The element whose start tag begins at `start`.
    pub(super) fn at(text: &'a str, start: usize, spine: Spine) -> Option<Self> {
        match Tokenizer::from_fragment(text, start..text.len()).next() {
            Some(Ok(Token::ElementStart { local, .. })) => {
                Some(Self { text, start, name: text.get(start + 1..local.end())?, spine })
            }
            _ => None,
        }
    }

    /// Its name, with the prefix if it has one.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The value of the attribute of this name: references resolved. Looks at the start tag only.
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attributes().find(|attribute| attribute.name == name).map(|attribute| attribute.value())
    }

    /// All attributes, in the order of the text.
    pub fn attributes(&self) -> Attributes<'a> {
        let mut tokens = self.tokens();
        tokens.next(); // The name.
        Attributes { text: self.text, tokens }
    }

    /// The elements directly inside, in order. Going over all of them is linear in this element's
    /// length.
    pub fn children(&self) -> Children<'a> {
        Children { walk: Walk::new(self) }
    }

    /// The first element directly inside.
    pub fn first_child(&self) -> Option<Element<'a>> {
        self.children().next()
    }

    /// The first element of this name in the order of the text, this one included: what the XPath
    /// `//name` finds first.
    pub fn descendant(&self, name: &str) -> Option<Element<'a>> {
        let mut walk = Walk::new(self);
        while let Some(element) = walk.next_start() {
            if element.name == name {
                return Some(element);
            }
        }
        None
    }

    /// Where the element is in the text that was checked, both tags included. Linear in its length,
    /// except that the root, its first child and that one's first child are known.
    pub fn range(&self) -> Range<usize> {
        if let Some(end) = self.spine.find(self.start) {
            return self.start..end;
        }
        let mut walk = Walk::new(self);
        while walk.next_start().is_some() {}
        self.start..walk.tokens.stream().pos()
    }

    /// The element as it was written, for relaying it. Costs what [`range`](Self::range) costs.
    pub fn source(&self) -> &'a str {
        self.text.get(self.range()).unwrap_or_default()
    }

    fn tokens(&self) -> Tokenizer<'a> {
        Tokenizer::from_fragment(self.text, self.start..self.text.len())
    }
}

/// An attribute of an [`Element`].
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its name, with the prefix if it has one.
    pub name: &'a str,
    raw: &'a str,
}

impl<'a> Attribute<'a> {
    /// Its value: references resolved, unescaped tabs and line ends made spaces.
    pub fn value(&self) -> Cow<'a, str> {
        text::value(self.raw)
    }
}

/// Iterator over an element's attributes.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    text: &'a str,
    tokens: Tokenizer<'a>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.tokens.clone();
        match self.tokens.next()? {
            Ok(Token::Attribute { local, value, span, .. }) => {
                Some(Attribute { name: self.text.get(span.start()..local.end())?, raw: value.as_str() })
            }
            _ => {
                self.tokens = before; // The end of the tag stays the next token: no call passes it.
                None
            }
        }
    }
}

/// Iterator over the elements directly inside one.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    walk: Walk<'a>,
}

impl<'a> Iterator for Children<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let element = self.walk.next_start()?;
            if self.walk.depth == 2 {
                return Some(element);
            }
        }
    }
}

/// Goes over an element and all in it.
#[derive(Clone, Debug)]
struct Walk<'a> {
    text: &'a str,
    spine: Spine,
    tokens: Tokenizer<'a>,
    /// How many elements are open.
    depth: usize,
    finished: bool,
}

impl<'a> Walk<'a> {
    fn new(element: &Element<'a>) -> Self {
        Self { text: element.text, spine: element.spine, tokens: element.tokens(), depth: 0, finished: false }
    }

    /// The next start tag: first the element's own, `None` after its end.
    fn next_start(&mut self) -> Option<Element<'a>> {
        while !self.finished {
            match self.tokens.next() {
                Some(Ok(Token::ElementStart { local, span, .. })) => {
                    self.depth += 1;
                    let start = span.start();
                    let name = self.text.get(start + 1..local.end())?;
                    return Some(Element { text: self.text, start, name, spine: self.spine });
                }
                Some(Ok(Token::ElementEnd { end: ElementEnd::Empty | ElementEnd::Close(..), .. })) => {
                    self.depth = self.depth.saturating_sub(1);
                    self.finished = self.depth == 0;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.finished = true,
            }
        }
        None
    }
}
