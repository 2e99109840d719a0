//! What a demo or a probe shows: a table while it runs, or JSON at its end.

use core::fmt;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::log::Escaped;
use crate::tools::client;

/// How many bytes the JSON may have: about 30 steps.
const JSON_LIMIT: usize = 16 * 1024;

/// How many causes the JSON may have.
const CAUSES: usize = 16;

/// How many lines of the daemon's log are shown when something went wrong.
const LOG_LINES: usize = 20;

/// Why a step did not go as expected, in words.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    seen: String,
    causes: &'static str,
}

impl Wrong {
    /// Something other than expected was seen, perhaps with a reason given by the agent.
    pub(super) fn values(expected: &str, seen: &str, reason: Option<&str>) -> Self {
        let mut text = format!("expected {expected}, got {seen}");
        if let Some(reason) = reason {
            text.push_str(": ");
            text.push_str(&Escaped(reason.as_bytes()).to_string());
        }
        text.into()
    }

    /// With what may have caused it, a line each, the likeliest first.
    pub(super) fn with_causes(self, causes: &'static str) -> Self {
        Self { causes, ..self }
    }
}

impl From<String> for Wrong {
    fn from(seen: String) -> Self {
        Self { seen, causes: "" }
    }
}

impl From<&str> for Wrong {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<client::Error> for Wrong {
    fn from(error: client::Error) -> Self {
        error.to_string().into()
    }
}

/// What was seen in a step.
#[derive(Debug)]
pub(super) enum Seen {
    /// It went as it should.
    Right(String),
    /// It cannot be done here, which is no fault; why.
    Skipped(&'static str),
}

impl From<String> for Seen {
    fn from(text: String) -> Self {
        Self::Right(text)
    }
}

impl From<&str> for Seen {
    fn from(text: &str) -> Self {
        Self::Right(text.to_owned())
    }
}

/// The steps so far.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    steps: Vec<Step>,
    /// What may have caused that the last step went wrong, a line each.
    causes: &'static str,
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    #[serde(rename = "microseconds")]
    micros: u64,
    verdict: Verdict,
    seen: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Right,
    Wrong,
    Skipped,
}

impl Report {
    /// A report that shows each step when it is done, or all of them as JSON in the end.
    pub(super) fn new(json: bool) -> Self {
        Self { json, steps: Vec::new(), causes: "" }
    }

    /// Does one step, takes the time, and shows what was seen.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        run: impl FnOnce() -> Result<(T, Seen), Wrong>,
    ) -> Result<T, Wrong> {
        let start = Instant::now();
        // Little is done in here: there is one of it for each step.
        let (value, judged) = match run() {
            Ok((value, seen)) => (Ok(value), Ok(seen)),
            Err(wrong) => (Err(wrong.clone()), Err(wrong)),
        };
        self.done(name, start.elapsed(), judged);
        value
    }

    fn done(&mut self, name: &'static str, took: Duration, judged: Result<Seen, Wrong>) {
        match judged {
            Ok(Seen::Right(seen)) => self.add(name, took, Verdict::Right, seen),
            Ok(Seen::Skipped(reason)) => self.add(name, took, Verdict::Skipped, reason.to_owned()),
            Err(wrong) => {
                self.causes = wrong.causes;
                self.add(name, took, Verdict::Wrong, wrong.seen);
            }
        }
    }

    fn add(&mut self, name: &'static str, took: Duration, verdict: Verdict, seen: String) {
        let step = Step { name, micros: micros(took), verdict, seen };
        if !self.json {
            let mark = match step.verdict {
                Verdict::Right => "",
                Verdict::Wrong => "WRONG: ",
                Verdict::Skipped => "skipped: ",
            };
            if self.steps.is_empty() {
                print(false, &row("", "what the cluster does", "took", "what comes back"));
            }
            let number = (self.steps.len() + 1).to_string();
            let seen = format!("{mark}{}", step.seen);
            print(false, &row(&number, name, &Took(step.micros).to_string(), &seen));
        }
        self.steps.push(step);
    }

    /// Shows the end of the daemon's log.
    pub(super) fn log(&self, log: &[u8]) {
        let lines: Vec<_> = log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return;
        }
        print(true, "The daemon's last words:");
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
            print(true, &format!("  {}", Escaped(line)));
        }
    }

    /// The number of the step that went wrong, from 1.
    pub(super) fn wrong(&self) -> Option<usize> {
        self.steps.iter().position(|step| step.verdict == Verdict::Wrong).map(|place| place + 1)
    }

    /// Says how it went altogether.
    pub(super) fn finish(&self) {
        let count = |verdict| self.steps.iter().filter(|step| step.verdict == verdict).count();
        let wrong = self.wrong();
        if self.json {
            self.print_json(wrong.is_none());
        }
        match wrong.and_then(|number| Some((number, self.steps.get(number - 1)?))) {
            Some((number, step)) => {
                print(true, &format!("step {number} ({}) is wrong: {}", step.name, step.seen));
                for cause in self.causes.lines() {
                    print(true, &format!("  - {cause}"));
                }
            }
            None if self.json => {}
            None => {
                let skipped = match count(Verdict::Skipped) {
                    0 => String::new(),
                    skipped => format!(", {skipped} skipped"),
                };
                print(false, &format!("all {} steps as a cluster expects{skipped}", count(Verdict::Right)));
            }
        }
    }

    fn print_json(&self, ok: bool) {
        #[derive(Serialize)]
        struct Figures<'a> {
            ok: bool,
            steps: &'a [Step],
            causes: &'a [&'a str],
        }
        let causes: heapless::Vec<_, CAUSES> = self.causes.lines().take(CAUSES).collect();
        let mut json = [0; JSON_LIMIT];
        let length =
            serde_json_core::to_slice(&Figures { ok, steps: &self.steps, causes: &causes }, &mut json)
                .unwrap_or(0);
        match json.get(..length).map(core::str::from_utf8) {
            Some(Ok(json)) if !json.is_empty() => print(false, json),
            _ => print(true, "the figures do not fit into the buffer for JSON"),
        }
    }
}

fn row(number: &str, name: &str, took: &str, seen: &str) -> String {
    format!("{number:>3}  {name:<24} {took:>8}  {seen}")
}

/// 64 bits are enough for half a million years.
fn micros(took: Duration) -> u64 {
    took.as_secs() * 1_000_000 + u64::from(took.subsec_micros())
}

/// Microseconds in the unit that suits them, three digits long.
struct Took(u64);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0;
        let (value, unit) = match micros {
            0..1000 => return write!(f, "{micros} µs"),
            1000..1_000_000 => (micros, "ms"),
            _ => (micros / 1000, "s"),
        };
        match value {
            0..10_000 => write!(f, "{}.{:02} {unit}", value / 1000, value % 1000 / 10),
            10_000..100_000 => write!(f, "{}.{} {unit}", value / 1000, value % 1000 / 100),
            _ => write!(f, "{} {unit}", value / 1000),
        }
    }
}

/// Prints a line, to standard error if it is about a fault. Nobody is left to be told if that fails.
pub(super) fn print(fault: bool, line: &str) {
    let line = format!("{line}\n");
    let _ =
        if fault { io::stderr().write_all(line.as_bytes()) } else { io::stdout().write_all(line.as_bytes()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let text = |micros| Took(micros).to_string();
        assert_eq!(text(0), "0 µs");
        assert_eq!(text(999), "999 µs");
        assert_eq!(text(1000), "1.00 ms");
        assert_eq!(text(9_999), "9.99 ms");
        assert_eq!(text(12_345), "12.3 ms");
        assert_eq!(text(123_456), "123 ms");
        assert_eq!(text(1_234_567), "1.23 s");
        assert_eq!(text(61_000_000), "61.0 s");
    }

    #[test]
    fn a_step_left_out_is_no_fault() {
        let mut report = Report::new(true);
        assert!(report.step("a", || Ok(((), "".into()))).is_ok());
        assert!(report.step("b", || Ok(((), Seen::Skipped("not here")))).is_ok());
        assert!(report.step::<()>("c", || Err("bad".into())).is_err());
        let verdicts: Vec<_> = report.steps.iter().map(|step| step.verdict).collect();
        assert_eq!(verdicts, [Verdict::Right, Verdict::Skipped, Verdict::Wrong]);
    }
}
