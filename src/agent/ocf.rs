//! OCF agents (executor-semantics.md sections 5.2, 6.1 and 6.3).
#![forbid(unsafe_code)]

use std::ffi::CString;

use super::secret::{PLACEHOLDER, Secret};
use super::{Call, Command, Outcome, Place, Plan, is_path_part};

/// What an agent writes before the reason of its exit status. The last one on standard error counts.
pub(super) const EXIT_REASON_PREFIX: &[u8] = b"ocf-exit-reason:";

pub(super) fn plan(call: &Call<'_>, place: &Place) -> Plan {
    let agent = call.agent;
    let Some(provider) = agent.provider.as_deref() else {
        return Plan::Known(Outcome::incomplete());
    };
    if agent.kind.is_empty() || call.action.is_empty() || call.resource.is_empty() || provider.is_empty() {
        return Plan::Known(Outcome::incomplete());
    }
    if !is_path_part(provider) || !is_path_part(&agent.kind) {
        return Plan::Known(Outcome::not_installed(&agent.kind));
    }
    // Names and values come out of XML, which has no NUL; should one appear the call is incomplete.
    let candidates: Option<Vec<_>> = place
        .agent_path
        .iter()
        .map(|directory| {
            concat(&[directory.to_bytes(), b"/", provider.as_bytes(), b"/", agent.kind.as_bytes()])
        })
        .collect();
    let (Some(candidates), Some(action), Some(environment)) =
        (candidates, concat(&[call.action.as_bytes()]), environment(call, provider, place))
    else {
        return Plan::Known(Outcome::incomplete());
    };
    let needs_secrets = !call.action.eq_ignore_ascii_case("stop");
    let secrets: Vec<_> = secrets(call).collect();
    // There can be none where its names would lead elsewhere.
    if needs_secrets && secrets.contains(&None) {
        return Plan::Known(Outcome::no_secrets());
    }
    Plan::Run(Command {
        candidates,
        arguments: vec![action],
        environment,
        secrets: secrets.into_iter().flatten().collect(),
        needs_secrets,
        user: None,
    })
}

fn secrets(call: &Call<'_>) -> impl Iterator<Item = Option<Secret>> {
    let secret = call.parameters.iter().filter(|(_, value)| *value == PLACEHOLDER);
    secret.map(|(name, _)| Secret::of(call.resource, name, &[prefix(name), name.as_bytes(), b"="].concat()))
}

/// 0 to 9, 190 and 191 are the standard's and Pacemaker's codes; anything else is a generic error.
pub(super) fn result(code: u8) -> u8 {
    match code {
        0..=9 | 190 | 191 => code,
        _ => Outcome::GENERIC_ERROR,
    }
}

/// `None` if something holds a NUL.
fn environment(call: &Call<'_>, provider: &str, place: &Place) -> Option<Vec<CString>> {
    let mut all = Vec::with_capacity(call.parameters.len() + 7);
    for (name, value) in call.parameters.iter() {
        all.push(concat(&[prefix(name), name.as_bytes(), b"=", value.as_bytes()])?);
    }
    all.push(concat(&[b"OCF_RA_VERSION_MAJOR=1"])?);
    all.push(concat(&[b"OCF_RA_VERSION_MINOR=1"])?);
    all.push(concat(&[b"OCF_ROOT=", place.ocf_root.to_bytes()])?);
    all.push(concat(&[b"OCF_EXIT_REASON_PREFIX=", EXIT_REASON_PREFIX])?);
    all.push(concat(&[b"OCF_RESOURCE_INSTANCE=", call.resource.as_bytes()])?);
    all.push(concat(&[b"OCF_RESOURCE_TYPE=", call.agent.kind.as_bytes()])?);
    all.push(concat(&[b"OCF_RESOURCE_PROVIDER=", provider.as_bytes()])?);
    Some(all)
}

/// The check level is the one parameter that the standard wants without prefix.
fn prefix(name: &str) -> &'static [u8] {
    if name == "OCF_CHECK_LEVEL" { b"" } else { b"OCF_RESKEY_" }
}

pub(super) fn concat(parts: &[&[u8]]) -> Option<CString> {
    CString::new(parts.concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Agent, Parameters, Status};
    use super::*;

    fn place() -> Place {
        Place { agent_path: vec![c"/a/resource.d".into(), c"/b".into()], ocf_root: c"/a".into() }
    }

    fn agent(provider: &str, kind: &str) -> Agent {
        Agent { class: "OCF".into(), provider: Some(provider.into()), kind: kind.into() }
    }

    fn planned(agent: &Agent, parameters: &Parameters) -> Plan {
        Call { resource: "r", agent, action: "start", interval: 0, parameters }.plan(&place())
    }

    #[test]
    fn every_directory_is_a_candidate_in_order() {
        let Plan::Run(command) = planned(&agent("heartbeat", "Dummy"), &Parameters::default()) else {
            panic!()
        };
        assert_eq!(
            command.candidates,
            [c"/a/resource.d/heartbeat/Dummy".into(), CString::from(c"/b/heartbeat/Dummy")]
        );
        assert_eq!(command.arguments, [CString::from(c"start")]);
    }

    #[test]
    fn parameters_are_prefixed_except_the_check_level() {
        let mut parameters = Parameters::default();
        parameters.insert("1 odd-name".into(), "a=b\nc".into()).unwrap();
        parameters.insert("OCF_CHECK_LEVEL".into(), "10".into()).unwrap();
        let Plan::Run(command) = planned(&agent("p", "T"), &parameters) else { panic!() };
        let environment: Vec<_> = command.environment.iter().map(|e| e.to_str().unwrap()).collect();
        for expected in [
            "OCF_RESKEY_1 odd-name=a=b\nc",
            "OCF_CHECK_LEVEL=10",
            "OCF_RA_VERSION_MAJOR=1",
            "OCF_RA_VERSION_MINOR=1",
            "OCF_ROOT=/a",
            "OCF_EXIT_REASON_PREFIX=ocf-exit-reason:",
            "OCF_RESOURCE_INSTANCE=r",
            "OCF_RESOURCE_TYPE=T",
            "OCF_RESOURCE_PROVIDER=p",
        ] {
            assert!(environment.contains(&expected), "{expected} is missing in {environment:?}");
        }
    }

    #[test]
    fn secrets_are_looked_up_for_exactly_one_value() {
        let mut parameters = Parameters::default();
        parameters.insert("password".into(), PLACEHOLDER.into()).unwrap();
        parameters.insert("url".into(), "lrm://host".into()).unwrap();
        let Plan::Run(command) = planned(&agent("p", "T"), &parameters) else { panic!() };
        let [secret] = &*command.secrets else { panic!("{:?}", command.secrets) };
        assert_eq!(secret.entry.as_c_str(), c"OCF_RESKEY_password=");
        assert_eq!(secret.file.as_c_str(), c"/var/lib/pacemaker/lrm/secrets/r/password");
        assert!(command.needs_secrets);
    }

    #[test]
    fn a_secret_that_cannot_be_keeps_all_but_a_stop() {
        let mut parameters = Parameters::default();
        parameters.insert("../x".into(), PLACEHOLDER.into()).unwrap();
        parameters.insert("password".into(), PLACEHOLDER.into()).unwrap();
        let agent = agent("p", "T");
        let call =
            |action| Call { resource: "r", agent: &agent, action, interval: 0, parameters: &parameters };
        let Plan::Known(outcome) = call("start").plan(&place()) else { panic!() };
        assert_eq!((outcome.rc, outcome.status), (2, Status::Done));
        let Plan::Run(command) = call("stop").plan(&place()) else { panic!() };
        let [secret] = &*command.secrets else { panic!("{:?}", command.secrets) };
        assert_eq!(secret.entry.as_c_str(), c"OCF_RESKEY_password=");
        assert!(!command.needs_secrets);
        assert!(command.environment.contains(&c"OCF_RESKEY_../x=lrm://".to_owned()));
    }

    #[test]
    fn names_that_would_leave_the_directory_are_not_installed() {
        for (provider, kind) in
            [("..", "T"), ("p", "../../bin/sh"), ("a/b", "T"), (".", "T"), ("p", &"x".repeat(256))]
        {
            let Plan::Known(outcome) = planned(&agent(provider, kind), &Parameters::default()) else {
                panic!("{provider}/{kind}")
            };
            assert_eq!((outcome.rc, outcome.status), (5, Status::NotInstalled));
        }
    }

    #[test]
    fn missing_information_is_fatal() {
        let without = Agent { class: "ocf".into(), provider: None, kind: "T".into() };
        for agent in [without, agent("", "T"), agent("p", "")] {
            let Plan::Known(outcome) = planned(&agent, &Parameters::default()) else { panic!() };
            assert_eq!((outcome.rc, outcome.status), (1, Status::ErrorFatal));
        }
    }

    #[test]
    fn other_codes_are_generic_errors() {
        assert_eq!(
            [0, 7, 9, 10, 127, 189, 190, 191, 192, 255].map(result),
            [0, 7, 9, 1, 1, 1, 190, 191, 1, 1]
        );
    }
}
