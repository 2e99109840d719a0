//! Alerts: the administrator's programs that are told what happens in the cluster (executor-semantics.md section 9).
#![forbid(unsafe_code)]

use super::ocf::concat;
use super::{Command, Parameters};

/// As whom they run.
const USER: &str = "hacluster";

/// What to run for an alert, which is the one of this number since the daemon's start. `None` if the path is not
/// absolute or holds a NUL.
pub fn command(path: &str, number: u64, parameters: &Parameters) -> Option<Command> {
    if !path.starts_with('/') {
        return None;
    }
    let entry = |(name, value): (&str, &str)| concat(&[name.as_bytes(), b"=", value.as_bytes()]);
    let mut environment = parameters.iter().map(entry).collect::<Option<Vec<_>>>()?;
    let number = number.to_string();
    environment.push(entry(("CRM_alert_node_sequence", &number))?);
    // Clusters before 3.0 tell everything by its old name as well.
    if parameters.iter().any(|(name, _)| name.starts_with("CRM_notify_")) {
        environment.push(entry(("CRM_notify_node_sequence", &number))?);
    }
    let candidates = vec![concat(&[path.as_bytes()])?];
    Some(Command { candidates, environment, user: Some(USER), ..Command::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(all: &[(&str, &str)]) -> Parameters {
        let mut parameters = Parameters::default();
        for (name, value) in all {
            parameters.insert((*name).into(), (*value).into()).unwrap();
        }
        parameters
    }

    #[test]
    fn variables_are_told_as_they_came_and_counted() {
        let told = parameters(&[("CRM_alert_kind", "resource"), ("CRM_alert_desc", "a=b\nc")]);
        let command = command("/a/alert.sh", 7, &told).unwrap();
        assert_eq!(command.candidates, [c"/a/alert.sh".to_owned()]);
        assert!(command.arguments.is_empty() && command.secrets.is_empty());
        assert_eq!(command.user, Some("hacluster"));
        let expected = [c"CRM_alert_desc=a=b\nc", c"CRM_alert_kind=resource", c"CRM_alert_node_sequence=7"];
        assert_eq!(command.environment, expected.map(ToOwned::to_owned));
    }

    #[test]
    fn a_cluster_that_uses_old_names_gets_the_old_counter() {
        let command = command("/a", 1, &parameters(&[("CRM_notify_kind", "node")])).unwrap();
        assert!(command.environment.contains(&c"CRM_notify_node_sequence=1".to_owned()));
    }

    #[test]
    fn only_absolute_paths() {
        for path in ["", "alert.sh", "./alert.sh", "/a\0b"] {
            assert_eq!(command(path, 1, &Parameters::default()), None, "{path:?}");
        }
    }
}
