//! Init scripts: the standard `lsb`, and `service` where there is one (executor-semantics.md sections 5.2 and 6.1).
#![forbid(unsafe_code)]

use std::ffi::CString;

use super::{Call, Command, Outcome, Plan, is_path_part};

/// Where init scripts are.
const DIRECTORY: &str = "/etc/init.d/";

pub(super) fn plan(call: &Call<'_>) -> Plan {
    if call.agent.kind.is_empty() || call.action.is_empty() {
        return Plan::Known(Outcome::incomplete());
    }
    let Some(path) = path(&call.agent.kind) else {
        return Plan::Known(Outcome::not_installed(&call.agent.kind));
    };
    let action = if call.is_status() { "status" } else { call.action };
    // Names come out of XML, which has no NUL; should one appear the call is incomplete.
    let (Ok(path), Ok(action)) = (CString::new(path), CString::new(action)) else {
        return Plan::Known(Outcome::incomplete());
    };
    // No parameter reaches a script.
    Plan::Run(Command { candidates: vec![path], arguments: vec![action], ..Command::default() })
}

/// A script's path. `None` for a name that would lead out of the directory, unless it is absolute.
pub(super) fn path(kind: &str) -> Option<String> {
    if kind.starts_with('/') {
        return Some(kind.to_owned());
    }
    is_path_part(kind).then(|| [DIRECTORY, kind].concat())
}

/// What a script's exit status stands for: a status has numbers of its own.
pub(super) fn result(is_status: bool, code: u8) -> u8 {
    match (is_status, code) {
        (true, 0) => Outcome::OK,
        (true, 1..=3) => Outcome::NOT_RUNNING,
        (true, 150) => Outcome::NOT_INSTALLED,
        (true, 151) => Outcome::INSUFFICIENT_PRIVILEGES,
        (false, 0..=7) => code,
        _ => Outcome::GENERIC_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Agent, Parameters, Place, Status};
    use super::*;

    fn planned(class: &str, kind: &str, action: &str) -> Plan {
        let agent = Agent { class: class.into(), provider: None, kind: kind.into() };
        let mut parameters = Parameters::default();
        parameters.insert("a".into(), "b".into()).unwrap();
        let place = Place { agent_path: vec![], ocf_root: c"/".into() };
        Call { resource: "r", agent: &agent, action, interval: 0, parameters: &parameters }.plan(&place)
    }

    #[test]
    fn a_script_gets_its_action_and_nothing_else() {
        for (kind, path, action, word) in [
            ("cron", c"/etc/init.d/cron", "monitor", c"status"),
            ("cron", c"/etc/init.d/cron", "Monitor", c"status"),
            ("cron", c"/etc/init.d/cron", "status", c"status"),
            ("/opt/x/init", c"/opt/x/init", "start", c"start"),
            ("cron", c"/etc/init.d/cron", "meta-data", c"meta-data"),
        ] {
            let expected =
                Command { candidates: vec![path.into()], arguments: vec![word.into()], ..Command::default() };
            for class in ["lsb", "LSB", "service"] {
                assert_eq!(planned(class, kind, action), Plan::Run(expected.clone()));
            }
        }
    }

    #[test]
    fn names_that_would_leave_the_directory_are_not_installed() {
        for kind in ["../sbin/reboot", "..", "a/b", &"x".repeat(256)] {
            let Plan::Known(outcome) = planned("lsb", kind, "start") else { panic!("{kind}") };
            assert_eq!((outcome.rc, outcome.status), (5, Status::NotInstalled));
        }
        let Plan::Known(outcome) = planned("lsb", "", "start") else { panic!() };
        assert_eq!((outcome.rc, outcome.status), (1, Status::ErrorFatal));
    }

    #[test]
    fn a_status_has_numbers_of_its_own() {
        let codes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 150, 151, 255];
        assert_eq!(codes.map(|code| result(true, code)), [0, 7, 7, 7, 1, 1, 1, 1, 1, 5, 4, 1]);
        assert_eq!(codes.map(|code| result(false, code)), [0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1, 1]);
    }
}
