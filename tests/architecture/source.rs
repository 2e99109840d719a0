//! Just enough of Rust's grammar to see what a file names: comments, literals and test code are
//! blanked, then paths are collected, those in `use` trees spelled out.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src/`.
pub struct Source {
    /// Below the package's root.
    pub path: PathBuf,
    /// As it is.
    pub text: String,
    /// The same length, with everything blanked that is not code of the product.
    pub code: String,
}

impl Source {
    /// `xml` for `src/xml/text.rs` as for `src/xml.rs`; `main` and `lib` for the two roots.
    pub fn room(&self) -> &str {
        let name = self.path.components().nth(1).expect("a path below src").as_os_str();
        name.to_str().expect("an ASCII name").trim_end_matches(".rs")
    }

    /// Whether this file is the head of its room, where attributes hold for all of it.
    pub fn is_head(&self) -> bool {
        self.path.ends_with("mod.rs") && self.path.components().count() == 3
            || self.path.components().count() == 2
    }

    /// The number of the line that holds a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Every path of two names or more that the code says, and where: `crate::log::Line`,
    /// `std::fs::read`. Leading `super`s are resolved; what remains relative stays so.
    pub fn paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let tokens = tokens(&self.code);
        let mut at = 0;
        while at < tokens.len() {
            let (offset, word) = tokens[at];
            if word == "use" {
                at = use_tree(&tokens, at + 1, "", offset, &mut found);
            } else if is_name(word) {
                let mut path = word.to_owned();
                while tokens.get(at + 1).is_some_and(|t| t.1 == "::")
                    && let Some(&(_, name)) = tokens.get(at + 2).filter(|t| is_name(t.1))
                {
                    path = format!("{path}::{name}");
                    at += 2;
                }
                if path.contains("::") {
                    found.push((offset, path));
                }
                at += 1;
            } else {
                at += 1;
            }
        }
        for (_, path) in &mut found {
            *path = self.resolved(path);
        }
        found
    }

    /// A path with its `super`s replaced by what they stand for, as far as they leave the room.
    fn resolved(&self, path: &str) -> String {
        let rest = path.trim_start_matches("super::");
        let supers = (path.len() - rest.len()) / "super::".len();
        // src/xml/text.rs is crate::xml::text, src/xml/mod.rs is crate::xml.
        let mut module: Vec<_> = self.path.with_extension("").iter().skip(1).map(PathBuf::from).collect();
        if module.last().is_some_and(|last| last == Path::new("mod")) {
            module.pop();
        }
        if supers > 0 && supers == module.len() { format!("crate::{rest}") } else { path.to_owned() }
    }
}

/// All files of `src/` that are part of the product, in the order of their paths.
pub fn all() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(Path::new("src"), "rs", &mut paths);
    let mut tests = Vec::new();
    let mut sources: Vec<Source> = paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable source file");
            let (code, test_modules) = without_tests(blanked(&text));
            let directory = match path.file_name().and_then(|name| name.to_str()) {
                Some("mod.rs" | "lib.rs" | "main.rs") => path.parent().expect("a directory").to_owned(),
                _ => path.with_extension(""),
            };
            tests.extend(test_modules.iter().map(|name| directory.join(name)));
            Source { path, text, code }
        })
        .collect();
    sources.retain(|source| {
        !tests.iter().any(|test| source.path == test.with_extension("rs") || source.path.starts_with(test))
    });
    sources
}

/// Files below a directory that have this extension, sorted.
pub fn collect(directory: &Path, extension: &str, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .expect("a readable directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, extension, into);
        } else if path.extension().is_some_and(|found| found == extension) {
            into.push(path);
        }
    }
}

/// The text with comments and the insides of literals replaced by spaces, byte for byte.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(bytes, at);
        if end > at {
            out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            at = end;
        } else {
            // Past a whole word, so that the r of `for"` is not taken for the start of a raw string.
            at += bytes[at..].iter().take_while(|byte| is_word(**byte)).count().max(1);
        }
    }
    String::from_utf8(out).expect("blanked in whole characters")
}

/// Where the comment or literal ends that starts at `at`; `at` itself if none starts there.
fn literal_or_comment(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        rest[from..]
            .windows(needle.len())
            .position(|window| window == needle)
            .map_or(bytes.len(), |i| at + from + i)
    };
    if rest.starts_with(b"//") {
        return find(b"\n", 2);
    }
    if rest.starts_with(b"/*") {
        return find(b"*/", 2) + 2;
    }
    let prefix = rest.iter().take_while(|byte| matches!(byte, b'b' | b'c' | b'r')).count();
    let raw = prefix > 0 && rest[prefix - 1] == b'r';
    let hashes = rest[prefix..].iter().take_while(|byte| raw && **byte == b'#').count();
    match rest.get(prefix + hashes) {
        Some(b'"') if raw => {
            let end: Vec<u8> = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            find(&end, prefix + hashes + 1) + end.len()
        }
        Some(b'"') if prefix <= 1 => at + quoted(rest, prefix, b'"'),
        // A character, not a lifetime: closed after one character or one escape.
        Some(b'\'') if prefix <= 1 => {
            match std::str::from_utf8(&rest[prefix + 1..]).unwrap_or("").chars().next() {
                Some('\\') => at + quoted(rest, prefix, b'\''),
                Some(c) if rest.get(prefix + 1 + c.len_utf8()) == Some(&b'\'') => {
                    at + prefix + c.len_utf8() + 2
                }
                _ => at,
            }
        }
        _ => at,
    }
}

/// The length of a literal with escapes whose opening quote is at `open`.
fn quoted(rest: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Blanks each item after `#[cfg(test)]`; gives the names of the modules among them too, whose files
/// are no part of the product either.
fn without_tests(mut code: String) -> (String, Vec<String>) {
    let mut modules = Vec::new();
    while let Some(start) = code.find("#[cfg(test)]") {
        let mut depth = 0usize;
        let mut end = code.len();
        for (offset, c) in code[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, ';' | '}') {
                end = start + offset + 1;
                break;
            }
        }
        let words = tokens(&code[start..end]);
        if let Some(at) = words.iter().position(|t| t.1 == "mod") {
            modules.extend(words.get(at + 1).map(|t| t.1.to_owned()));
        }
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    (code, modules)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_name(word: &str) -> bool {
    word.bytes().next().is_some_and(is_word)
}

/// Words, `::`, and every other byte alone; where each starts.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = match bytes[at] {
            byte if is_word(byte) => bytes[at..].iter().take_while(|byte| is_word(**byte)).count(),
            b':' if bytes.get(at + 1) == Some(&b':') => 2,
            byte if byte.is_ascii_whitespace() => 0,
            _ => 1,
        };
        if length > 0 {
            found.push((at, &code[at..at + length]));
        }
        at += length.max(1);
    }
    found
}

/// Spells a `use` tree out that starts at `at`; gives the place after it.
fn use_tree(
    tokens: &[(usize, &str)],
    mut at: usize,
    prefix: &str,
    offset: usize,
    found: &mut Vec<(usize, String)>,
) -> usize {
    let mut path = prefix.to_owned();
    while let Some(&(here, token)) = tokens.get(at) {
        match token {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.1 != "}") {
                    at = use_tree(tokens, at, &path, here, found);
                    at += usize::from(tokens.get(at).is_some_and(|t| t.1 == ","));
                }
                return at + 1;
            }
            ";" | "," | "}" => break,
            "as" => at += 2,
            "::" => {
                if !path.is_empty() {
                    path.push_str("::");
                }
                at += 1;
            }
            name => {
                path.push_str(name);
                at += 1;
            }
        }
    }
    found.push((offset, path));
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into(), code: without_tests(blanked(text)).0 }
    }

    fn paths(path: &str, text: &str) -> Vec<String> {
        source(path, text).paths().into_iter().map(|(_, path)| path).collect()
    }

    #[test]
    fn use_trees_are_spelled_out() {
        assert_eq!(
            paths("src/a/b.rs", "use std::{fs, io::{self as i, Read}, path::*};\nuse x;"),
            ["std::fs", "std::io::self", "std::io::Read", "std::path::*", "x"]
        );
    }

    #[test]
    fn paths_in_code_are_seen_and_those_in_literals_and_comments_are_not() {
        let text =
            "// a::b\n/* c::d */ let x: &'a str = \"e::f\\\"\"; r#\"g::\"h\"#; '\"'; b'\\''; i::j(k::<l::m>)";
        assert_eq!(paths("src/a.rs", text), ["i::j", "l::m"]);
    }

    #[test]
    fn test_code_is_no_part_of_the_product() {
        let text = "mod a;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn x() { std::fs::read(); }\nb::c";
        assert_eq!(paths("src/a.rs", text), ["b::c"]);
        assert_eq!(without_tests(blanked(text)).1, ["tests"]);
    }

    #[test]
    fn super_leads_out_of_a_room() {
        assert_eq!(
            paths("src/a/mod.rs", "use super::b; use super::super::d;"),
            ["crate::b", "super::super::d"]
        );
        assert_eq!(paths("src/a/x.rs", "use super::b; use super::super::c;"), ["super::b", "crate::c"]);
    }
}
