//! Settings in files that service managers read for their daemons: `/etc/sysconfig/pacemaker` on Red Hat, SUSE and
//! their kin, `/etc/default/pacemaker` on Debian's, and sbd's beside it (daemon-lifecycle.md section 3).
//!
//! systemd puts them into the environment, and then nothing here adds to it: what is in the environment goes
//! before. Under a supervisor that does not, as busybox's init, the daemon reads them itself.
//!
//! A line is `NAME=value`, quoted as for a shell, of which this is the part that systemd reads in the same
//! way: no `export`, no `$` that means anything, nothing over several lines. A `#` begins a comment where a
//! word would begin.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::line;
use crate::log::{Escaped, Line};

/// Where such files are. The first that is there counts.
const DIRECTORIES: [&str; 2] = ["/etc/sysconfig", "/etc/default"];
/// How they are called. Of a variable that is in both, the latter's value counts, as systemd does it.
const NAMES: [&str; 2] = ["pacemaker", "sbd"];

/// A settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFile {
    /// Where it was.
    pub path: String,
    /// What is in it.
    pub text: Vec<u8>,
}

impl SettingsFile {
    /// The files of this machine, what counts more after what counts less; `read` gives a file's content.
    pub fn all(read: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<Self> {
        let first = |name: &&str| {
            DIRECTORIES.iter().find_map(|directory| {
                let path = format!("{directory}/{name}");
                read(&path).map(|text| Self { path, text })
            })
        };
        NAMES.iter().filter_map(first).collect()
    }

    /// The settings in it, in order, and a line for each of its lines that is none.
    pub fn parse(&self) -> (Vec<(OsString, OsString)>, Vec<Line>) {
        let mut settings = Vec::new();
        let mut warnings = Vec::new();
        for (index, text) in self.text.split(|&byte| byte == b'\n').enumerate() {
            match parse(text) {
                Ok(setting) => settings.extend(setting),
                Err(Malformed) => warnings.push(line!(
                    Warning,
                    "Line {} of {} is \"{}\" but should be NAME=value: ignoring it",
                    index + 1,
                    self.path,
                    Escaped(text)
                )),
            }
        }
        (settings, warnings)
    }
}

struct Malformed;

/// A line's setting, if it has one.
fn parse(line: &[u8]) -> Result<Option<(OsString, OsString)>, Malformed> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let equals = line.iter().position(|&byte| byte == b'=').ok_or(Malformed)?;
    let (name, value) = (line.get(..equals).unwrap_or_default(), line.get(equals + 1..).unwrap_or_default());
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if !name.iter().all(is_name) || name.first().is_none_or(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    Ok(Some((OsStr::from_bytes(name).to_owned(), OsString::from_vec(unquote(value)?))))
}

/// The one word that a value is.
fn unquote(value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut word = Vec::new();
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\'' => loop {
                match *bytes.next().ok_or(Malformed)? {
                    b'\'' => break,
                    byte => word.push(byte),
                }
            },
            b'"' => loop {
                match *bytes.next().ok_or(Malformed)? {
                    b'"' => break,
                    b'\\' => {
                        let next = *bytes.next().ok_or(Malformed)?;
                        // Before anything else it is a backslash.
                        if !b"\"\\$`".contains(&next) {
                            word.push(b'\\');
                        }
                        word.push(next);
                    }
                    byte => word.push(byte),
                }
            },
            b'\\' => word.push(*bytes.next().ok_or(Malformed)?),
            b' ' | b'\t' => {
                let rest = bytes.as_slice().trim_ascii();
                return if rest.is_empty() || rest.starts_with(b"#") { Ok(word) } else { Err(Malformed) };
            }
            0 => return Err(Malformed),
            byte => word.push(byte),
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> Option<String> {
        let setting = parse(line.as_bytes()).ok()??;
        Some(format!("{}={}", setting.0.display(), setting.1.display()))
    }

    #[test]
    fn values_are_quoted_as_for_a_shell() {
        for (line, expected) in [
            ("PCMK_debug=yes", "PCMK_debug=yes"),
            ("  a=b  ", "a=b"),
            ("a=", "a="),
            ("a=b # why", "a=b"),
            ("a=b#c", "a=b#c"),
            ("a=\"b c\"", "a=b c"),
            ("a='b \"c\" \\'", "a=b \"c\" \\"),
            ("a=\"b \\\"c\\\" \\$d \\n\" # why", "a=b \"c\" $d \\n"),
            ("a=b\\ c", "a=b c"),
            ("a=b'c'\"d\"e", "a=bcde"),
            ("a='#'", "a=#"),
            ("a=$b", "a=$b"),
            ("a=b=c", "a=b=c"),
            ("a=b\r", "a=b"),
            ("a=\u{e4}", "a=\u{e4}"),
        ] {
            assert_eq!(value(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        for line in ["", "  ", "# PCMK_debug=yes", "\t#"] {
            assert!(parse(line.as_bytes()).is_ok_and(|setting| setting.is_none()), "{line}");
        }
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for line in
            ["a", "=b", "1a=b", "a-b=c", "export a=b", "a =b", "a=b c", "a='b", "a=\"b", "a=b\\", "a=\"b\\"]
        {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
        let file = SettingsFile { path: "/etc/default/pacemaker".into(), text: b"a=1\nb='\x1b\nc=3".into() };
        let (settings, warnings) = file.parse();
        assert_eq!(settings, [("a".into(), "1".into()), ("c".into(), "3".into())]);
        let expected =
            "Line 2 of /etc/default/pacemaker is \"b='\\x1b\" but should be NAME=value: ignoring it";
        assert_eq!(warnings.iter().map(|line| &line.text).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn the_first_directory_that_has_a_file_counts() {
        let files = SettingsFile::all(|path| match path {
            "/etc/sysconfig/sbd" | "/etc/default/sbd" | "/etc/default/pacemaker" => Some(path.into()),
            _ => None,
        });
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["/etc/default/pacemaker", "/etc/sysconfig/sbd"]);
    }
}
