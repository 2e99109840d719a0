//! Whether this node would end itself if it lost the cluster (daemon-lifecycle.md section 11). A cluster that counts on
//! it asks by `lrmd_check` with every tool that connects. A node that would not must not stay a part of it: the
//! cluster would start elsewhere what still runs here.

use crate::line;
use crate::log::Escaped;

use super::config::milliseconds;
use super::core::{Core, Effect, ExitCode};
use super::requests::Requester;

impl Core {
    /// A cluster node says for how long it waits until this node must have ended itself. Only who has this node's
    /// resources in its hand anyway may cause its end.
    pub(super) fn check_watchdog(&mut self, from: Requester, timeout: Option<&str>) {
        let Requester::Remote(conn) = from else { return };
        let Some(own) = self.settings.watchdog.filter(|_| self.providers.contains(&conn)) else { return };
        let Some(text) = timeout else { return };
        let limit = limit(text, own);
        if limit > 0 {
            self.watchdog_limit = Some((limit, text.to_owned()));
            self.effects.push_back(Effect::FindSbd);
        }
    }

    /// The answer to [`Effect::FindSbd`].
    pub(super) fn sbd_found(&mut self, runs: bool) {
        let Some((limit, text)) = self.watchdog_limit.take() else { return };
        let own = self.settings.watchdog.unwrap_or_default();
        let wrong = match runs {
            false => "configured but SBD not active".to_owned(),
            true if limit < own => {
                format!("too short, it must be longer than SBD_WATCHDOG_TIMEOUT ({own} ms)")
            }
            true => return,
        };
        let text = Escaped(text.as_bytes());
        self.log(line!(Crit, "Shutting down: fencing-watchdog-timeout ({text}) {wrong}"));
        self.exit(ExitCode::Fatal);
    }
}

/// Milliseconds; 0 for no such fencing. A negative time means twice the watchdog's own.
fn limit(text: &str, own: u64) -> u64 {
    match text.trim().strip_prefix('-') {
        Some(text) if milliseconds(text).is_some_and(|time| time > 0) => own.saturating_mul(2),
        Some(_) => 0,
        None => milliseconds(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
