//! The log file. A disk may stall or be full, and the loop must not wait for it: lines go through a pipe to a
//! process that does nothing but write them ([`crate::sys::scribe`]). The pipe holds some thousand lines;
//! what comes when it is full is lost and counted, and the file says so when it is written again.
//!
//! If somebody ends that process, another is started when there is something to write, a second later at the
//! earliest, and up to 30 if that happens again and again. What comes meanwhile is lost and counted, too.

use std::ffi::{CStr, CString, OsStr};
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use crate::line;
use crate::log::{Escaped, Level, Line};
use crate::sys::calendar::Local;
use crate::sys::log_file::{self, Refusal};
use crate::sys::scribe::{self, Scribe, Taken};
use crate::sys::users::Ids;
use crate::sys::{clock, process};
use crate::time::Instant;

use super::arguments::USAGE;
use super::log::{Facility, Log, NAME, Sinks};
use super::run::VERSION;

/// How many files there may be.
pub const FILES: usize = 8;
/// The cluster's user and group, to whom the files are given.
const OWNER: (&str, &str) = ("hacluster", "haclient");
/// How often a file that cannot be opened is tried, in milliseconds.
const PAUSE: u64 = 10_000;
/// How soon another process is started in the place of one that was ended, in milliseconds; each time it lives for
/// less than the longest pause that takes twice as long…
const FIRST_PAUSE: u64 = 1_000;
/// …up to this.
const LONGEST_PAUSE: u64 = 30_000;
/// What is read from the pipe at once.
const READ: usize = 16 * 1024;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Which files are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Their absolute paths, at most [`FILES`].
    pub paths: Vec<CString>,
    /// Their permission bits.
    pub mode: u32,
    /// The least important level.
    pub least: Level,
}

/// The daemon's end.
#[derive(Debug)]
pub struct LogFile {
    /// `None`: it was ended.
    scribe: Option<Scribe>,
    least: Level,
    /// What another one has to know.
    arguments: Vec<CString>,
    started: Instant,
    /// When another may be started…
    retry: Instant,
    /// …and how long it takes the next time.
    pause: u64,
    /// That it was ended has been told.
    told: bool,
    /// How many lines did not fit since the last one that did.
    lost: u64,
    /// Used again for each line.
    text: String,
}

impl LogFile {
    /// Starts the process that writes. `sinks` is where it says what keeps it from that.
    ///
    /// # Errors
    /// Why there is no such process, for people.
    pub fn start(files: Files, sinks: Sinks) -> Result<Self, String> {
        let least = files.least;
        let daemon = std::process::id();
        let arguments = encode(&files, sinks, daemon);
        let scribe = scribe::start(move |input| write_all(&input, &files, Log::new(sinks, daemon), daemon));
        let scribe = scribe.map_err(|errno| std::io::Error::from(errno).to_string())?;
        let started = clock::monotonic();
        Ok(Self {
            scribe: Some(scribe),
            least,
            arguments,
            started,
            retry: started,
            pause: FIRST_PAUSE,
            told: false,
            lost: 0,
            text: String::new(),
        })
    }

    /// Writes a line if its level is wanted. A line that comes back is what others are to know.
    pub fn write(&mut self, line: &Line) -> Option<Line> {
        if line.level > self.least {
            return None;
        }
        if self.scribe.is_none() {
            let now = clock::monotonic();
            if now < self.retry {
                self.lost += 1;
                return None;
            }
            self.started = now;
            self.scribe = scribe::restart(&self.arguments).ok();
        }
        let mut taken = Taken::Yes;
        if self.lost > 0 {
            let notice = line!(Warning, "{} lines lost: the log file was not written in time", self.lost);
            taken = self.send(&notice);
            if taken == Taken::Yes {
                self.lost = 0;
            }
        }
        if taken == Taken::Yes {
            taken = self.send(line);
        }
        if taken != Taken::Yes {
            self.lost += 1;
        }
        if taken == Taken::Gone { self.ended() } else { None }
    }

    /// Somebody ended the process, or it could not be started.
    fn ended(&mut self) -> Option<Line> {
        let now = clock::monotonic();
        if self.started.after(LONGEST_PAUSE) <= now {
            (self.pause, self.told) = (FIRST_PAUSE, false);
        }
        self.scribe = None;
        self.retry = now.after(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if std::mem::replace(&mut self.told, true) {
            return None;
        }
        let name = scribe::NAME;
        Some(line!(
            Error,
            "The log file is not written: somebody ended {name}, which does that: starting another"
        ))
    }

    /// A record is the time in milliseconds, and the line.
    fn send(&mut self, line: &Line) -> Taken {
        self.text.clear();
        let _ = write!(self.text, "{} {}: {}", clock::epoch_millis(), line.level.name(), line.text);
        self.text.truncate(self.text.floor_char_boundary(scribe::LONGEST_LINE - 1));
        self.text.push('\n');
        self.scribe.as_ref().map_or(Taken::Gone, |scribe| scribe.send(self.text.as_bytes()))
    }
}

/// What stands for no level and no facility.
const NONE: u8 = u8::MAX;

/// What a process that is started anew has to know, as its arguments: numbers, then the paths.
fn encode(files: &Files, sinks: Sinks, daemon: u32) -> Vec<CString> {
    let (facility, priority) =
        sinks.syslog.map_or((NONE, NONE), |(facility, level)| (facility.number(), level as u8));
    let stderr = sinks.stderr.map_or(NONE, |level| level as u8);
    let least = files.least as u8;
    let numbers = format!("{daemon} {} {least} {facility} {priority} {stderr}", files.mode);
    // Numbers have no NUL.
    CString::new(numbers).into_iter().chain(files.paths.iter().cloned()).collect()
}

fn decode(arguments: &[&OsStr]) -> Option<(Files, Sinks, u32)> {
    let (numbers, paths) = arguments.split_first()?;
    let mut numbers = numbers.to_str()?.split(' ').map(|number| number.parse::<u32>().ok());
    let (daemon, mode) = (numbers.next()??, numbers.next()??);
    let mut small = || u8::try_from(numbers.next()??).ok();
    let (least, facility, priority, stderr) = (small()?, small()?, small()?, small()?);
    let paths = paths.iter().map(|path| CString::new(path.as_bytes()).ok()).collect::<Option<_>>()?;
    let syslog = Facility::numbered(facility).zip(Level::numbered(priority));
    let files = Files { paths, mode, least: Level::numbered(least)? };
    Some((files, Sinks { syslog, stderr: Level::numbered(stderr) }, daemon))
}

/// What this program does under the name [`scribe::NAME`]; gives its exit status. Nobody but the daemon starts it so.
pub fn main<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> u8 {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let Some((files, sinks, daemon)) = decode(&arguments) else { return USAGE };
    process::install_panic_hook(VERSION);
    let Some(input) = scribe::resume() else { return USAGE };
    write_all(&input, &files, Log::new(sinks, daemon), daemon);
    0
}

/// A file as it is written.
struct File<'a> {
    path: &'a CStr,
    state: State,
    /// How many lines could not be written since the last one that could.
    lost: u64,
    /// The last write ended within a line.
    is_cut: bool,
    /// What is wrong has been told.
    told: bool,
}

enum State {
    Open(OwnedFd),
    /// To be tried at this time.
    Closed(Instant),
}

/// What the process does until the daemon ends.
fn write_all(input: &OwnedFd, files: &Files, mut log: Log, daemon: u32) {
    let owner = Ids::of(OWNER.0, OWNER.1);
    let mut open: Vec<_> = files.paths.iter().map(|path| File::new(path)).collect();
    let mut input = scribe::Lines::new(input, READ);
    let mut text = String::new();
    // So that the file is there when the daemon has started, whatever it has to say.
    for file in &mut open {
        file.open(owner, files.mode, &mut log);
    }
    while let Some(records) = input.wait() {
        text.clear();
        let node = process::node_name();
        for record in records.split_terminator('\n') {
            format_record(&mut text, &node, daemon, record);
        }
        for file in &mut open {
            file.open(owner, files.mode, &mut log);
            file.write(&text, &mut log);
        }
    }
}

/// As stock writes it (daemon-lifecycle.md section 10). It names the function that made the line in
/// parentheses, which here would be noise.
fn format_record(text: &mut String, node: &str, daemon: u32, record: &str) {
    let (time, line) = record.split_once(' ').unwrap_or(("", record));
    let millis = time.parse().unwrap_or(0);
    write_time(text, millis);
    let _ = writeln!(text, " {node} {NAME:<20}[{daemon}] ({NAME}) \t{line}");
}

fn write_time(text: &mut String, epoch_millis: u64) {
    let Some(local) = Local::at(epoch_millis / 1000) else { return };
    let month = MONTHS.get(usize::from(local.month)).unwrap_or(&"");
    let Local { day, hour, minute, second, .. } = local;
    let millis = epoch_millis % 1000;
    let _ = write!(text, "{month} {day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}");
}

impl<'a> File<'a> {
    fn new(path: &'a CStr) -> Self {
        Self { path, state: State::Closed(Instant::default()), lost: 0, is_cut: false, told: false }
    }

    /// Opens the file if it is not open, or is not the one that has the name any more.
    fn open(&mut self, owner: Option<Ids>, mode: u32, log: &mut Log) {
        match &self.state {
            State::Open(file) if log_file::is_at(file, self.path) => return,
            State::Closed(at) if clock::monotonic() < *at => return,
            _ => {}
        }
        self.state = match log_file::open(self.path, owner, mode) {
            Ok(file) => {
                self.is_cut = false;
                State::Open(file)
            }
            Err(refusal) => {
                self.tell(log, &refusal);
                State::Closed(clock::monotonic().after(PAUSE))
            }
        };
    }

    fn write(&mut self, text: &str, log: &mut Log) {
        if self.lost > 0 {
            let notice = self.notice(text);
            if self.try_write(&notice, log).is_ok() {
                self.lost = 0;
                self.told = false;
            }
        }
        let unwritten = if self.lost > 0 { text } else { self.try_write(text, log).err().unwrap_or("") };
        self.lost += unwritten.lines().count() as u64;
    }

    /// With the time and names of the first line that follows.
    fn notice(&self, text: &str) -> String {
        let start = text.split_once('\t').map_or("", |(start, _)| start);
        let end = if self.is_cut { "\n" } else { "" };
        format!("{end}{start}\twarning: {} lines lost: the log file could not be written\n", self.lost)
    }

    /// Gives back what could not be written.
    fn try_write<'t>(&mut self, text: &'t str, log: &mut Log) -> Result<(), &'t str> {
        let mut rest = text;
        while !rest.is_empty() {
            let State::Open(file) = &self.state else { return Err(rest) };
            match scribe::write(file, rest.as_bytes()) {
                Ok(count) => {
                    // A disk may be full within a character.
                    rest = rest.get(rest.floor_char_boundary(count)..).unwrap_or_default();
                    self.is_cut = !rest.is_empty();
                }
                Err(errno) => {
                    self.tell(log, &Refusal::Sys("write", errno));
                    return Err(rest);
                }
            }
        }
        Ok(())
    }

    /// Tells those who read the other logs what is wrong, once until it is over.
    fn tell(&mut self, log: &mut Log, refusal: &Refusal) {
        if !std::mem::replace(&mut self.told, true) {
            let path = Escaped(self.path.to_bytes());
            let hint = "its lines are lost until that is mended";
            log.write(&line!(Error, "The log file {path} is of no use: {refusal}; {hint}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_those_of_stock() {
        let mut text = String::new();
        format_record(&mut text, "node5", 42, "1795219199007 notice: Remote client connection accepted");
        let (time, rest) = text.split_at(19);
        assert!(time.ends_with(":59.007"), "{time}");
        let expected = " node5 pacemaker-remoted   [42] (pacemaker-remoted) \tnotice: Remote client connection accepted\n";
        assert_eq!(rest, expected);
    }

    #[test]
    fn what_another_process_has_to_know_reaches_it() {
        let files = Files { paths: vec![c"/a b".into(), c"/c".into()], mode: 0o660, least: Level::Info };
        for sinks in [
            Sinks { syslog: None, stderr: None },
            Sinks { syslog: Facility::named(b"local7").zip(Some(Level::Notice)), stderr: Some(Level::Debug) },
        ] {
            let arguments = encode(&files, sinks, 42);
            let words: Vec<_> = arguments.iter().map(|word| OsStr::from_bytes(word.to_bytes())).collect();
            assert_eq!(decode(&words), Some((files.clone(), sinks, 42)));
        }
        for wrong in [&[][..], &["1 2 3 4 5"], &["1 2 9 4 5 6"], &["1 2 x 4 5 6"], &["1 2 3 4 5 256"]] {
            let words: Vec<_> = wrong.iter().map(OsStr::new).collect();
            assert_eq!(decode(&words), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_was_lost_is_counted() {
        let mut file = File::new(c"/nowhere");
        file.state = State::Closed(Instant::from_millis(u64::MAX));
        let mut log = Log::new(Sinks { syslog: None, stderr: None }, 1);
        file.write("a \tone\nb \ttwo\n", &mut log);
        file.write("c \tthree\n", &mut log);
        assert_eq!(file.lost, 3);
        assert_eq!(
            file.notice("d \tfour\n"),
            "d \twarning: 3 lines lost: the log file could not be written\n"
        );
    }
}
