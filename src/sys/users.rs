//! Users and groups by name, from /etc/passwd and /etc/group alone: nothing else can be asked without a
//! library that may wait for a network.
#![forbid(unsafe_code)]

use std::ffi::CStr;

use rustix::fs::{Mode, OFlags};

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

impl Ids {
    /// The numbers of a user and of a group, if both are there. **Reads files**, so it may wait for a disk.
    pub fn of(user: &str, group: &str) -> Option<Self> {
        let number = |path, name| number(&read(path)?, name);
        Some(Self { user: number(c"/etc/passwd", user)?, group: number(c"/etc/group", group)? })
    }
}

/// The third field of the line that begins with `name`; both files are like that.
fn number(text: &[u8], name: &str) -> Option<u32> {
    let mut lines = text.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':'));
    let mut fields = lines.find_map(|mut fields| (fields.next()? == name.as_bytes()).then_some(fields))?;
    std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()
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

    #[test]
    fn names_have_numbers() {
        let text = b"root:x:0:0::/:/bin/sh\nhacluster:x:189:haclient\nno:x\nbad:x:y:z\n:x:5:\n+::::::";
        assert_eq!(number(text, "root"), Some(0));
        assert_eq!(number(text, "hacluster"), Some(189));
        for name in ["hacluste", "no", "bad", "nobody"] {
            assert_eq!(number(text, name), None, "{name}");
        }
    }

    #[test]
    fn this_machine_has_root() {
        assert_eq!(Ids::of("root", "root"), Some(Ids { user: 0, group: 0 }));
        assert_eq!(Ids::of("root", "nobody-is-called-that"), None);
    }
}
