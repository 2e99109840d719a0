//! Holds the source against the table of rooms in the manual: who may use whom, who may touch what.
//! A rule that a line breaks is reported with file and line.

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::Source;

/// What a room may touch outside of its own values.
#[derive(Clone, Copy, PartialEq)]
enum Touch {
    /// Nothing: no clock, file, socket, process, environment or randomness. These come in as values.
    Values,
    /// What the standard library offers; system calls of its own are left to `sys`.
    Std,
    /// Everything.
    Kernel,
}
use Touch::{Kernel, Std, Values};

/// A room, what it may touch, and the rooms whose items it may name.
const ROOMS: &[(&str, Touch, &[&str])] = &[
    ("log", Values, &[]),
    ("time", Values, &[]),
    ("xml", Values, &[]),
    ("wire", Values, &[]),
    ("bzip2", Values, &[]),
    ("tls", Values, &["log"]),
    ("dbus", Values, &["log", "time"]),
    ("agent", Values, &["dbus", "log", "time"]),
    ("executor", Values, &["agent", "log", "time"]),
    ("remote", Values, &["agent", "executor", "log", "time", "tls", "wire", "xml"]),
    ("proxy", Values, &["bzip2", "log", "remote", "time", "wire", "xml"]),
    ("sys", Kernel, &["agent", "log", "time"]),
    ("ipc", Std, &["log", "sys", "time", "wire"]),
    (
        "daemon",
        Std,
        &["agent", "dbus", "executor", "ipc", "log", "proxy", "remote", "sys", "time", "tls", "wire", "xml"],
    ),
    ("tools", Std, &["agent", "daemon", "ipc", "log", "sys", "time", "tls", "wire", "xml"]),
    ("manual", Values, &[]),
    ("trial", Values, &[]),
    ("aead", Values, &[]),
    ("lib", Values, &[]),
    ("main", Std, &["daemon", "log", "sys", "tools"]),
];

/// Crates that only these rooms may name. One that is not listed is free to all: it holds values only.
const CRATES: &[(&str, &[&str])] = &[
    ("rustix", &["sys"]),
    ("libc", &["sys"]),
    ("smol", &["sys", "ipc", "daemon", "tools"]),
    ("xmlparser", &["xml"]),
    ("pacelet_aead", &["tls"]),
    ("hkdf", &["tls"]),
    ("hmac", &["tls"]),
    ("p256", &["tls"]),
    ("p384", &["tls"]),
    ("x25519_dalek", &["tls"]),
    ("embedded_tls", &["tools"]),
    ("embedded_io", &["tools"]),
    ("argh", &["daemon", "tools", "main"]),
];

/// What a room that touches only values must not name. `RandomState`, and with it the standard hash
/// tables, draws randomness: a simulation would not repeat.
const IMPURE: &[&str] = &[
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::env",
    "std::fs",
    "std::hash::RandomState",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::Tcp",
    "std::net::ToSocketAddrs",
    "std::net::Udp",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "rand_core::OsRng",
];

/// What only `sys` may do, because it blocks the one thread there is or starts a second one.
const BLOCKING: &[&str] = &["std::process::Command", "std::thread", "std::net::ToSocketAddrs"];

/// Runs in the package's root, with the list of broken rules as the failure.
fn check(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn at(source: &Source, offset: usize, what: &str) -> String {
    format!("{}:{}: {what}", source.path.display(), source.line(offset))
}

fn room(name: &str) -> Option<&'static (&'static str, Touch, &'static [&'static str])> {
    ROOMS.iter().find(|room| room.0 == name)
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

#[test]
fn every_file_stands_in_a_room_of_the_table() {
    let sources = source::all();
    assert!(sources.len() > 20, "only {} files found: is this the package's root?", sources.len());
    check(
        "a room that tests/architecture does not know",
        sources
            .iter()
            .filter(|source| room(source.room()).is_none())
            .map(|source| source.path.display().to_string()),
    );
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let mut broken = Vec::new();
    for source in source::all() {
        let Some(&(name, _, allowed)) = room(source.room()) else { continue };
        for (offset, path) in source.paths() {
            let Some(other) = path.strip_prefix("crate::").or_else(|| path.strip_prefix("pacelet::")) else {
                continue;
            };
            let other = other.split("::").next().unwrap_or_default();
            // What tests switch on may be anywhere.
            let is_fine = other == name || other == "trial" || allowed.contains(&other);
            if room(other).is_some() && !is_fine {
                broken.push(at(&source, offset, &format!("{name} must not use {path}")));
            }
        }
    }
    check("the rooms' order", broken);
}

#[test]
fn the_table_of_rooms_has_no_circles() {
    // Taking away rooms that use nothing which is still there must leave none.
    let mut left: Vec<_> = ROOMS.iter().collect();
    while let Some(free) = left.iter().position(|room| !left.iter().any(|other| room.2.contains(&other.0))) {
        left.remove(free);
    }
    check("rooms that use each other in a circle", left.iter().map(|room| room.0.to_owned()));
}

#[test]
fn the_middle_touches_nothing_outside() {
    let mut broken = Vec::new();
    for source in source::all() {
        let Some(&(name, touch, _)) = room(source.room()) else { continue };
        let forbidden = match touch {
            Values => IMPURE,
            Std if name == "tools" => &[],
            Std => BLOCKING,
            Kernel => continue,
        };
        for (offset, path) in source.paths() {
            if starts_with_any(&path, forbidden) {
                broken.push(at(&source, offset, &format!("{name} must not touch {path}")));
            }
        }
        for printing in ["print!", "println!", "eprint!", "eprintln!", "dbg!"] {
            let printed = source.code.match_indices(printing).filter(|(offset, _)| {
                // `println!` ends with what `print!` is not, and starts with what `eprintln!` ends with.
                !source.code[..*offset].ends_with(|c: char| c.is_alphanumeric())
            });
            if touch == Values {
                broken.extend(
                    printed.map(|(offset, _)| at(&source, offset, &format!("{name} must not {printing}"))),
                );
            }
        }
    }
    check("what a room may touch", broken);
}

#[test]
fn crates_are_named_only_in_their_rooms() {
    let mut broken = Vec::new();
    for source in source::all() {
        for (offset, path) in source.paths() {
            let first = path.split("::").next().unwrap_or_default();
            let Some((_, rooms)) = CRATES.iter().find(|(name, _)| *name == first) else { continue };
            // A room's own module may have a crate's name.
            if !rooms.contains(&source.room()) && source.room() != "aead" {
                broken.push(at(&source, offset, &format!("{} must not use {path}", source.room())));
            }
        }
    }
    check("the crates' rooms", broken);
}

#[test]
fn unsafe_code_lives_in_sys_and_says_why_it_is_sound() {
    let mut broken = Vec::new();
    for source in source::all() {
        let head = source.is_head() && source.room() != "main";
        match (source.room(), head) {
            ("lib", _) if !source.code.contains("#![deny(unsafe_code)]") => {
                broken.push(at(&source, 0, "the root must deny unsafe code"));
            }
            ("lib" | "sys", _) => {}
            (_, true) if !source.code.contains("#![forbid(unsafe_code)]") => {
                broken.push(at(&source, 0, "the head of a room must forbid unsafe code"));
            }
            _ => {}
        }
        let uses = unsafe_uses(&source);
        if source.room() != "sys" {
            broken.extend(uses.iter().map(|offset| at(&source, *offset, "unsafe outside of sys")));
            continue;
        }
        if source.code.contains("#![allow(unsafe_code)]") == uses.is_empty() {
            broken.push(at(&source, 0, "a file of sys allows unsafe code if, and only if, it has some"));
        }
        let lines: Vec<&str> = source.text.lines().collect();
        for offset in uses {
            let line = source.line(offset) - 1;
            let above = lines[..line].iter().rev().take_while(|line| {
                let line = line.trim_start();
                line.starts_with("//") || line.starts_with("#[")
            });
            if !above.chain([&lines[line]]).any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
            {
                broken.push(at(&source, offset, "unsafe without a SAFETY comment above it"));
            }
        }
    }
    check("unsafe code", broken);
}

/// Where the word stands, other than in `unsafe_code` and in the types of function pointers.
fn unsafe_uses(source: &Source) -> Vec<usize> {
    let code = &source.code;
    let edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices("unsafe")
        .map(|(offset, _)| offset)
        .filter(|offset| edge(code[..*offset].chars().next_back()) && edge(code[offset + 6..].chars().next()))
        .filter(|offset| {
            !code[offset + 6..].trim_start().starts_with("extern \"") || code[..*offset].ends_with('\n')
        })
        .collect()
}

#[test]
fn files_have_a_header_and_a_size_one_can_read() {
    let mut paths = Vec::new();
    for (directory, extension) in [("src", "rs"), ("tests", "rs"), ("tests", "py")] {
        source::collect(Path::new(directory), extension, &mut paths);
    }
    paths.extend(["cross/build", "tests/cross", "tests/run", "tests/setup", "tests/size"].map(PathBuf::from));
    let mut broken = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a readable file");
        let lines = text.lines().count();
        if lines > 600 {
            broken.push(format!("{}: {lines} lines; split it by what it holds", path.display()));
        }
        let tests = path.starts_with("tests")
            || path.ends_with("tests.rs")
            || path.iter().any(|part| part == "tests");
        if !tests && path.extension().is_some_and(|e| e == "rs") && !text.starts_with("//!") {
            broken.push(format!("{}: starts without saying what it holds", path.display()));
        }
    }
    check("files", broken);
}

/// The lines that `cargo tree` prints for the lean build.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_crate_is_linked_in_two_versions() {
    for target in ["x86_64-unknown-linux-musl", "powerpc64-unknown-linux-musl"] {
        let twice = tree(&["--duplicates", "--edges", "normal,no-proc-macro", "--target", target]);
        check("crates that are in the file twice", twice);
    }
    // The same question in a way that cannot be answered by an empty list.
    let all = tree(&["--edges", "normal,no-proc-macro", "--target", "x86_64-unknown-linux-musl"]);
    assert!(all.iter().any(|line| line.starts_with("rustix v")), "cargo tree lists {all:?}");
    let names: BTreeSet<&str> = all.iter().filter_map(|line| line.split(' ').next()).collect();
    let lines = all.iter().filter(|line| !line.ends_with("(*)")).count();
    assert_eq!(names.len(), lines, "a name occurs with two versions in {all:?}");
}

#[test]
fn no_c_is_compiled_for_the_lean_file() {
    let c = ["autotools", "bindgen", "cc", "cmake", "nasm-rs", "pkg-config"];
    let all = tree(&["--edges", "normal,build", "--target", "all"]);
    check(
        "crates that compile or look for C code",
        all.into_iter().filter(|line| c.contains(&line.split(' ').next().unwrap_or_default())),
    );
}

#[test]
fn dependencies_say_what_they_are_for() {
    let manifest = fs::read_to_string("Cargo.toml").expect("Cargo.toml");
    let section =
        manifest.split("\n[").find(|section| section.starts_with("dependencies]")).expect("[dependencies]");
    let mut explained = false;
    let mut broken = Vec::new();
    for line in section.lines().skip(1) {
        match line {
            "" => explained = false,
            _ if line.starts_with('#') => explained = true,
            _ if !explained => broken.push(line.to_owned()),
            _ => {}
        }
    }
    check("dependencies without a comment above them", broken);
}

/// The cells of a Markdown table's rows, without its head, under a heading or in the whole text.
fn table_rows(text: &str) -> Vec<Vec<String>> {
    let mut lines = text.lines().filter(|line| line.starts_with('|'));
    assert!(lines.nth(1).is_some_and(|line| line.starts_with("|---")), "a table with a head");
    lines.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_security_table_has_its_tests() {
    let mut paths = Vec::new();
    source::collect(Path::new("src"), "rs", &mut paths);
    source::collect(Path::new("tests"), "rs", &mut paths);
    let all: String = paths.iter().map(|path| fs::read_to_string(path).expect("a readable file")).collect();
    let page = fs::read_to_string("src/manual/security.md").expect("the security page");
    let mut broken = Vec::new();
    for row in table_rows(&page) {
        let tests = quoted(row.last().expect("a cell"));
        if tests.is_empty() {
            broken.push(format!("no test is named in the row of {}", row[1]));
        }
        let missing = tests.into_iter().filter(|test| {
            !all.contains(&format!("#[test]\n    fn {test}()"))
                && !all.contains(&format!("#[test]\nfn {test}()"))
        });
        broken.extend(missing.map(|test| format!("there is no test {test}")));
    }
    check("the manual's security table", broken);
}

#[test]
fn every_promise_names_what_measures_it() {
    let readme = fs::read_to_string("README.md").expect("README.md");
    let promises =
        readme.split("\n## ").find(|section| section.starts_with("Promises")).expect("a section of promises");
    let mut broken = Vec::new();
    for row in table_rows(promises) {
        let last = row.last().expect("a cell");
        match quoted(last).first().map(|command| command.split(' ').next().unwrap_or_default()) {
            None if last == "goal" => {}
            Some(program) if Path::new(program).is_file() => {}
            _ => broken.push(format!("{}: `{last}` is neither a program here nor a goal", row[0])),
        }
    }
    check("the README's promises", broken);
}
