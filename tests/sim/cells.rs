//! Whether all cells of the tables in the modules' headers are reached, by the seeds and by what is tried one by one.

use std::collections::BTreeSet;
use std::sync::Mutex;

use pacelet::trial::{self, Cell};

use super::lifecycle;

/// The tables, and the files in whose headers they are.
const TABLES: [(&str, &str); 6] = [
    ("operation", include_str!("../../src/executor/mod.rs")),
    ("connection", include_str!("../../src/remote/mod.rs")),
    ("shutdown", include_str!("../../src/daemon/shutdown.rs")),
    ("unit", include_str!("../../src/executor/unit.rs")),
    ("bus", include_str!("../../src/daemon/units.rs")),
    ("port", include_str!("../../src/daemon/port.rs")),
];

/// What all threads have reached.
#[derive(Default)]
pub struct Reached(Mutex<BTreeSet<Cell>>);

impl Reached {
    /// Adds what this thread has reached.
    pub fn collect(&self) {
        self.0.lock().unwrap().extend(trial::reached());
    }

    /// Says of each table how much of it was reached, with that of the tests of [`lifecycle`].
    ///
    /// # Panics
    /// If a cell was not, or should not have been.
    pub fn judge(self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                lifecycle::ALL.iter().for_each(|test| test());
                self.collect();
            });
        });
        let reached = self.0.into_inner().unwrap();
        let all = TABLES.map(|(table, source)| trial::compare(table, source, &reached));
        all.iter().flatten().for_each(|line| println!("{line}"));
        let wrong: Vec<_> = all.into_iter().filter_map(Result::err).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
