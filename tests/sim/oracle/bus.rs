//! What goes to and fro between the daemon and the system bus; the rules are in `resources::units`.

use pacelet::agent::DropIn;
use pacelet::time::Now;

use super::super::bus::Meaning;
use super::super::bus::wire::Call;
use super::{Checked, Oracle};

// What goes in.
impl Oracle {
    /// The bus could be opened, or not; `at_once`: while the daemon did something else.
    pub fn bus_opened(&mut self, at_once: bool, now: Now) {
        self.bus_moment(at_once, now);
        self.resources.bus_opened(now);
        self.catch_up(now);
    }

    pub fn bus_refused(&mut self, is_absent: bool, at_once: bool, now: Now) {
        self.bus_moment(at_once, now);
        self.resources.bus_refused(is_absent, now);
        self.catch_up(now);
    }

    /// Bytes reach the daemon, which mean this.
    pub fn bus_told(&mut self, meanings: &[Meaning], now: Now) {
        self.next_moment(now);
        self.resources.bus_told(meanings, now);
        self.catch_up(now);
    }

    pub fn bus_lost(&mut self, now: Now) {
        self.next_moment(now);
        self.resources.bus_lost(false, now);
        self.catch_up(now);
    }

    fn bus_moment(&mut self, at_once: bool, now: Now) {
        if !at_once {
            self.next_moment(now);
        }
    }

    fn catch_up(&mut self, now: Now) {
        self.resources.dispatch(now, false);
        self.distribute(now);
    }
}

// What comes out.
impl Oracle {
    pub fn bus_opens(&mut self, now: Now) -> Checked {
        self.catch_up(now);
        self.resources.bus_opens()
    }

    pub fn bus_closed(&mut self, now: Now) -> Checked {
        self.catch_up(now);
        self.resources.bus_closed()
    }

    pub fn bus_called(&mut self, call: &Call, now: Now) -> Checked {
        self.catch_up(now);
        self.resources.called(call)
    }

    /// The daemon has a file written or removed; what comes of it.
    pub fn marked(&mut self, file: &DropIn, result: Result<bool, i32>, now: Now) -> Checked {
        self.resources.marked(file, result, now)?;
        self.catch_up(now);
        Ok(())
    }
}
