//! systemd's manager: units, their states and jobs, by chance; as org.freedesktop.systemd1(5) describes them.

use std::collections::BTreeMap;

use pacelet::time::Instant;

use super::super::random::Random;
use super::wire::Call;
use super::{Answer, disconnected};

/// Its units.
#[derive(Debug)]
pub struct Systemd {
    random: Random,
    units: BTreeMap<String, Unit>,
    last_job: u32,
}

#[derive(Debug)]
struct Unit {
    load: &'static str,
    active: &'static str,
    /// What its state becomes by itself, and when.
    change: Option<(Instant, &'static str)>,
    job: Option<Job>,
}

#[derive(Clone, Debug)]
struct Job {
    number: u32,
    verb: &'static str,
}

/// A job that is over.
#[derive(Clone, Debug)]
pub struct End {
    pub number: u32,
    pub unit: String,
    pub result: &'static str,
}

/// What a call leads to.
pub enum Reaction {
    Answer(Answer),
    /// A job with this number was queued, which ends after so many milliseconds; another one was in its way.
    Queued {
        number: u32,
        unit: String,
        after: u64,
        replaced: Option<End>,
    },
    /// A job that is there already.
    Merged(u32),
}

impl Systemd {
    pub fn new(random: Random) -> Self {
        Self { random, units: BTreeMap::new(), last_job: 100 }
    }

    pub fn job_path(number: u32) -> String {
        format!("/org/freedesktop/systemd1/job/{number}")
    }

    fn path(name: &str) -> String {
        let escape = |byte: u8| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
            _ => format!("_{byte:02x}"),
        };
        format!("/org/freedesktop/systemd1/unit/{}", name.bytes().map(escape).collect::<String>())
    }

    /// Some job that runs.
    pub fn some_job(&self) -> Option<u32> {
        self.units.values().find_map(|unit| unit.job.as_ref()).map(|job| job.number)
    }

    pub fn call(&mut self, call: &Call, now: Instant) -> Reaction {
        if let Some(error) = self.error(call) {
            return Reaction::Answer(error);
        }
        let first = call.arguments.first().cloned().unwrap_or_default();
        let verb = match &*call.member {
            "LoadUnit" => {
                self.unit(&first);
                return Reaction::Answer(Answer::Path(Self::path(&first)));
            }
            "Get" => return Reaction::Answer(self.property(call, now)),
            "StartUnit" => "start",
            "StopUnit" => "stop",
            "RestartUnit" => "restart",
            _ => return Reaction::Answer(Answer::Empty),
        };
        let duration = self.random.weighted(&[
            (8, (0, 5)),
            (20, (5, 800)),
            (4, (800, 6_000)),
            (2, (6_000, 40_000)),
            (1, (40_000, 600_000)),
        ]);
        let after = self.random.between(duration.0, duration.1);
        let number = self.last_job + 1;
        let unit = self.unit(&first);
        if let Some(job) = unit.job.as_ref().filter(|job| job.verb == verb) {
            return Reaction::Merged(job.number);
        }
        let replaced = unit.job.replace(Job { number, verb });
        unit.active = if verb == "stop" { "deactivating" } else { "activating" };
        unit.change = None;
        let replaced =
            replaced.map(|job| End { number: job.number, unit: first.clone(), result: "canceled" });
        self.last_job = number;
        Reaction::Queued { number, unit: first, after, replaced }
    }

    /// A job's time has come, if it is still there.
    pub fn finish(&mut self, number: u32, name: &str, now: Instant) -> Option<End> {
        let result = self.random.weighted(&[
            (30, "done"),
            (2, "failed"),
            (1, "timeout"),
            (1, "dependency"),
            (1, "skipped"),
            (1, "canceled"),
        ]);
        let lingers = self.random.percent(10).then(|| now.after(self.random.between(100, 30_000)));
        let unit = self.unit(name);
        let job = unit.job.take_if(|job| job.number == number)?;
        let (after, between) =
            if job.verb == "stop" { ("inactive", "deactivating") } else { ("active", "activating") };
        unit.active = match (result, lingers) {
            ("done", None) => after,
            ("done", Some(_)) => between,
            _ => "failed",
        };
        unit.change = lingers.filter(|_| result == "done").map(|at| (at, after));
        Some(End { number, unit: name.to_owned(), result })
    }

    fn unit(&mut self, name: &str) -> &mut Unit {
        let random = &mut self.random;
        self.units.entry(name.to_owned()).or_insert_with(|| Unit {
            load: random.weighted(&[(9, "loaded"), (1, "masked"), (2, "not-found"), (1, "bad-setting")]),
            active: "inactive",
            change: None,
            job: None,
        })
    }

    fn property(&mut self, call: &Call, now: Instant) -> Answer {
        let found = self.units.iter_mut().find(|(name, _)| Self::path(name) == call.path);
        let Some((_, unit)) = found else {
            return Answer::error("org.freedesktop.DBus.Error.UnknownObject", "Unknown object");
        };
        if call.arguments.get(1).is_some_and(|name| name == "LoadState") {
            return Answer::Word(unit.load.into());
        }
        if let Some((_, state)) = unit.change.take_if(|(at, _)| *at <= now) {
            unit.active = state;
        }
        // Things happen to units.
        if unit.job.is_none() && self.random.once_in(25) {
            unit.active = *self.random.pick(&["reloading", "activating", "deactivating", "maintenance"]);
            let after = *self.random.pick(&["active", "failed", "inactive"]);
            unit.change = Some((now.after(self.random.between(500, 60_000)), after));
        }
        Answer::Word(unit.active.into())
    }

    fn error(&mut self, call: &Call) -> Option<Answer> {
        let systemd =
            |name: &str| Answer::error(&format!("org.freedesktop.systemd1.{name}"), "Unit a.service…");
        Some(match (self.random.below(400), &*call.member) {
            (0, "Subscribe") => systemd("AlreadySubscribed"),
            (_, "Subscribe" | "Reload") => return None,
            (0..4, _) => disconnected(),
            (4..6, _) => Answer::error("org.freedesktop.DBus.Error.NoReply", "Did not receive a reply"),
            (6..8, _) => {
                Answer::error("org.freedesktop.DBus.Error.AccessDenied", "Sender is not <authorized>\n")
            }
            (8..10, _) => Answer::Nonsense,
            (10..16, "StartUnit" | "StopUnit" | "RestartUnit") => {
                systemd(self.random.weighted(&[(1, "NoSuchUnit"), (1, "LoadFailed"), (1, "InvalidName")]))
            }
            (16..18, "StartUnit" | "RestartUnit") => systemd("UnitMasked"),
            _ => return None,
        })
    }
}
