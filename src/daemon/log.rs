//! Where log lines go, in the forms of stock (daemon-lifecycle.md section 10): the system log,
//! standard error and files. Nothing here waits: see [`crate::sys::syslog`], [`crate::sys::stderr`] and
//! [`super::log_file`].

use std::fmt::Write;

use crate::line;
use crate::log::{Level, Line};
use crate::sys::stderr::{self, Stderr};
use crate::sys::syslog::Syslog;

use super::log_file::LogFile;

/// How the daemon is called in logs, in lists of daemons and in process lists. What reads them
/// knows no other name.
pub const NAME: &str = "pacemaker-remoted";
/// The longest line for the system log: what every log daemon takes (RFC 3164 section 4.1).
const LONGEST_DATAGRAM: usize = 1024;

/// Which lines go where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sinks {
    /// To the system log, from this level on.
    pub syslog: Option<(Facility, Level)>,
    /// To standard error, from this level on.
    pub stderr: Option<Level>,
}

/// A facility of the system log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

/// The facilities by their numbers (RFC 5424 section 6.2.1); 12 to 15 have no names in syslog.h.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl Facility {
    /// The one that Pacemaker's documentation calls the default.
    pub const DAEMON: Self = Self(3);

    /// The facility of this name, in any case.
    pub fn named(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        let position = FACILITIES.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
        u8::try_from(position).ok().map(Self)
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The one with this number.
    pub fn numbered(number: u8) -> Option<Self> {
        FACILITIES.get(usize::from(number)).map(|_| Self(number))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        FACILITIES.get(usize::from(self.0)).unwrap_or(&"")
    }
}

/// The open sinks.
#[derive(Debug)]
pub struct Log {
    sinks: Sinks,
    process: u32,
    syslog: Syslog,
    /// How many lines the system log did not take since it took the last one.
    dropped: u64,
    stderr: Option<Stderr>,
    file: Option<LogFile>,
    /// Used again for each line.
    text: String,
}

impl Log {
    /// Opens standard error if it is wanted; the system log is opened by the first line for it.
    pub fn new(sinks: Sinks, process: u32) -> Self {
        let stderr = sinks.stderr.is_some().then(Stderr::new);
        Self { sinks, process, syslog: Syslog::new(), dropped: 0, stderr, file: None, text: String::new() }
    }

    /// Writes to files as well from now on.
    pub fn add_file(&mut self, file: LogFile) {
        self.file = Some(file);
    }

    /// Writes a line wherever its level is wanted.
    pub fn write(&mut self, line: &Line) {
        self.write_here(line);
        if let Some(complaint) = self.file.as_mut().and_then(|file| file.write(line)) {
            self.write_here(&complaint);
        }
    }

    fn write_here(&mut self, line: &Line) {
        if let Some((facility, least)) = self.sinks.syslog
            && line.level <= least
        {
            self.send_to_syslog(facility, line);
        }
        if let (Some(least), Some(stderr)) = (self.sinks.stderr, &mut self.stderr)
            && line.level <= least
        {
            self.text.clear();
            on_stderr(&mut self.text, line);
            stderr.line(self.text.as_bytes());
        }
    }

    fn send_to_syslog(&mut self, facility: Facility, line: &Line) {
        self.text.clear();
        if self.dropped > 0 {
            let notice = line!(Warning, "{} lines were dropped: the system log took none", self.dropped);
            datagram(&mut self.text, facility, self.process, &notice);
            if !self.syslog.send(self.text.as_bytes()) {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
            self.text.clear();
        }
        datagram(&mut self.text, facility, self.process, line);
        if !self.syslog.send(self.text.as_bytes()) {
            self.dropped += 1;
        }
    }
}

/// As libc's `syslog` would send it, but without a time: the log daemon knows it, and its time zone.
fn datagram(text: &mut String, facility: Facility, process: u32, line: &Line) {
    let priority = facility.0 * 8 + line.level as u8;
    let name = line.level.name();
    let _ = write!(text, "<{priority}>{NAME}[{process}]: {name}: {}", line.text);
    text.truncate(text.floor_char_boundary(LONGEST_DATAGRAM));
}

/// Stock writes the function that made the line in parentheses; here that would be noise.
fn on_stderr(text: &mut String, line: &Line) {
    let _ = write!(text, "({NAME}) \t{}: {}", line.level.name(), line.text);
    text.truncate(text.floor_char_boundary(stderr::LONGEST_LINE - 1));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    #[test]
    fn lines_look_as_those_of_stock() {
        let line = line!(Notice, "Remote client connection accepted");
        let mut text = String::new();
        datagram(&mut text, Facility::DAEMON, 42, &line);
        assert_eq!(text, "<29>pacemaker-remoted[42]: notice: Remote client connection accepted");
        text.clear();
        on_stderr(&mut text, &line);
        assert_eq!(text, "(pacemaker-remoted) \tnotice: Remote client connection accepted\n");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let line = line!(Error, "{}", "ä".repeat(5000));
        let mut text = String::new();
        datagram(&mut text, Facility::named(b"LOCAL7").unwrap(), 1, &line);
        assert!(text.len() > LONGEST_DATAGRAM - 2 && text.len() <= LONGEST_DATAGRAM);
        assert!(text.starts_with("<187>"));
        text.clear();
        on_stderr(&mut text, &line);
        assert!(text.len() <= stderr::LONGEST_LINE && text.ends_with("ä\n"));
    }

    #[test]
    fn facilities_have_names_and_numbers() {
        for (name, number) in [("kern", 0), ("daemon", 3), ("authpriv", 10), ("ftp", 11), ("local0", 16)] {
            let facility = Facility::named(name.as_bytes());
            assert_eq!(facility, Some(Facility(number)));
            assert_eq!(facility.unwrap().name(), name);
        }
        assert_eq!(Facility::named(b""), None);
        assert_eq!(Facility::named(b"local8"), None);
    }
}
