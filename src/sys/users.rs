//! Users and groups by name, from /etc/passwd and /etc/group alone: nothing else can be asked without a
//! library that may wait for a network.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use rustix::fs::{Mode, OFlags, Stat};

const PASSWD: &CStr = c"/etc/passwd";
const GROUP: &CStr = c"/etc/group";

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

/// How much of either file is read.
const LONGEST: usize = 1024 * 1024;
/// How many answers are kept.
const KEPT: usize = 16;

impl Ids {
    /// The numbers of a user and of a group, if both are there. **Reads files**, so it may wait for a disk.
    pub fn of(user: &str, group: &str) -> Option<Self> {
        let number = |path, name| number(&read(path)?, name);
        Some(Self { user: number(PASSWD, user)?, group: number(GROUP, group)? })
    }

    /// The numbers of a user and of this user's own group. **Reads a file**, as [`Ids::of`].
    pub fn of_user(user: &str) -> Option<Self> {
        own(&read(PASSWD)?, user)
    }
}

/// What was looked up before, as long as the files are the same.
#[derive(Debug)]
pub struct Users {
    passwd: Version,
    group: Version,
    names: Vec<(u32, Option<String>)>,
    /// The group and its number.
    number: Option<(&'static str, Option<u32>)>,
}

impl Default for Users {
    fn default() -> Self {
        Self::new()
    }
}

impl Users {
    /// Nothing was looked up yet.
    pub const fn new() -> Self {
        Self { passwd: Version(None), group: Version(None), names: Vec::new(), number: None }
    }

    /// A user's name. **May read a file**, as [`Ids::of`].
    pub fn name(&mut self, user: u32) -> Option<String> {
        if self.passwd.has_changed(PASSWD) || self.names.len() >= KEPT {
            self.names.clear();
        }
        if let Some((_, name)) = self.names.iter().find(|(number, _)| *number == user) {
            return name.clone();
        }
        let name = read(PASSWD).and_then(|text| name(&text, user));
        self.names.push((user, name.clone()));
        name
    }

    /// A group's number. **May read a file**, as [`Ids::of`].
    pub fn group(&mut self, group: &'static str) -> Option<u32> {
        match self.number {
            Some((known, number)) if known == group && !self.group.has_changed(GROUP) => number,
            _ => {
                // Before it is read: a change while it is read counts the next time.
                self.group = Version::of(GROUP);
                let number = read(GROUP).and_then(|text| number(&text, group));
                self.number = Some((group, number));
                number
            }
        }
    }
}

/// What tells a file from one that took its place, or that was written to: where it is, size and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version(Option<[u64; 5]>);

impl Version {
    fn of(path: &CStr) -> Self {
        // Types differ from machine to machine; only whether they are equal counts.
        let parts = |stat: Stat| {
            [
                stat.st_dev as _,
                stat.st_ino as _,
                stat.st_size as _,
                stat.st_mtime as _,
                stat.st_mtime_nsec as _,
            ]
        };
        Self(rustix::fs::stat(path).ok().map(parts))
    }

    fn has_changed(&mut self, path: &CStr) -> bool {
        let now = Self::of(path);
        std::mem::replace(self, now) != now
    }
}

/// The third field of the line that begins with `name`; both files are like that.
fn number(text: &[u8], name: &str) -> Option<u32> {
    parse(line_of(text, name)?.nth(1)?)
}

/// A user's third and fourth field.
fn own(text: &[u8], user: &str) -> Option<Ids> {
    let mut fields = line_of(text, user)?;
    Some(Ids { user: parse(fields.nth(1)?)?, group: parse(fields.next()?)? })
}

/// What follows the name on the line that begins with it.
fn line_of<'a>(text: &'a [u8], name: &str) -> Option<impl Iterator<Item = &'a [u8]>> {
    lines(text).find_map(|mut fields| (fields.next()? == name.as_bytes()).then_some(fields))
}

/// The first field of the first line whose third is `user`.
fn name(text: &[u8], user: u32) -> Option<String> {
    let name = lines(text).find_map(|mut fields| {
        let name = fields.next().filter(|name| !name.is_empty())?;
        (parse(fields.nth(1)?) == Some(user)).then_some(name)
    })?;
    String::from_utf8(name.to_vec()).ok()
}

fn lines(text: &[u8]) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
    text.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':'))
}

fn parse(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn read(path: &CStr) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.len() < LONGEST {
        match rustix::io::read(&file, &mut buffer).ok()? {
            0 => break,
            count => text.extend_from_slice(buffer.get(..count)?),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"root:x:0:0::/:/bin/sh\ntoor:x:0:0\nhacluster:x:189:haclient\nno:x\nbad:x:y:z\n:x:5:\n+::::::\nb\xff:x:7";

    #[test]
    fn names_have_numbers() {
        assert_eq!(number(TEXT, "root"), Some(0));
        assert_eq!(number(TEXT, "hacluster"), Some(189));
        for name in ["hacluste", "no", "bad", "nobody"] {
            assert_eq!(number(TEXT, name), None, "{name}");
        }
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(name(TEXT, 0).as_deref(), Some("root"));
        assert_eq!(name(TEXT, 189).as_deref(), Some("hacluster"));
        for number in [5, 7, 18, 1890] {
            assert_eq!(name(TEXT, number), None, "{number}");
        }
    }

    #[test]
    fn this_machine_has_root() {
        assert_eq!(Ids::of("root", "root"), Some(Ids { user: 0, group: 0 }));
        assert_eq!(Ids::of("root", "nobody-is-called-that"), None);
        let mut users = Users::new();
        for _ in 0..2 {
            assert_eq!(users.name(0).as_deref(), Some("root"));
            assert_eq!(users.name(u32::MAX - 7), None);
            assert_eq!(users.group("root"), Some(0));
            assert_eq!(users.group("nobody-is-called-that"), None);
        }
        for number in 0..1000 {
            users.name(4_000_000_000 + number);
        }
        assert!(users.names.len() <= KEPT);
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let path = std::env::temp_dir().join(format!("pacelet-users-{}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        std::fs::write(&path, "one").unwrap();
        let mut version = Version::of(&name);
        assert!(!version.has_changed(&name));
        std::fs::write(&path, "other").unwrap();
        assert!(version.has_changed(&name) && !version.has_changed(&name));
        std::fs::rename(&path, path.with_extension("old")).unwrap();
        std::fs::copy(path.with_extension("old"), &path).unwrap();
        assert!(version.has_changed(&name) && !version.has_changed(&name));
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(path.with_extension("old")).unwrap();
        assert!(version.has_changed(&name) && !version.has_changed(&name));
    }
}
