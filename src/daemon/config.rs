//! What the environment and the command line say (daemon-lifecycle.md section 3).
//!
//! Nothing in it is a reason not to start: what makes no sense is named in a warning, with what is
//! done instead.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::agent::Place;
use crate::line;
use crate::log::{Escaped, Level, Line};

use super::arguments::Arguments;
use super::core::Settings;
use super::log::{Facility, NAME, Sinks};

/// The port that IANA gave Pacemaker Remote.
const DEFAULT_PORT: u16 = 3121;
/// Where the key is if nothing else is said.
const DEFAULT_KEY: &str = "/etc/pacemaker/authkey";
/// Where agents live if nothing else is said.
const DEFAULT_OCF_ROOT: &str = "/usr/lib/ocf";
/// What a service manager gives the daemon for itself.
const OWN_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"];
/// The same, by how they begin.
const OWN_PREFIXES: [&str; 2] = ["LISTEN_", "WATCHDOG_"];

/// Everything that is decided before the daemon starts.
#[derive(Debug)]
pub struct Config {
    /// For [`super::Core`].
    pub settings: Settings,
    /// The host name or address to listen on, `None` for all.
    pub host: Option<String>,
    /// The port to listen on.
    pub port: u16,
    /// Where the key is.
    pub key: CString,
    /// Where log lines go.
    pub sinks: Sinks,
    /// TCP_USER_TIMEOUT of cluster connections, in milliseconds, if there is a hardware watchdog.
    pub user_timeout_millis: Option<u32>,
    /// What children inherit, as `NAME=VALUE`.
    pub environment: Vec<CString>,
    /// What was odd.
    pub warnings: Vec<Line>,
}

impl Config {
    /// Reads the daemon's environment, over which the command line goes.
    pub fn new(arguments: &Arguments, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut reader = Reader { environment: environment.into_iter().collect(), warnings: Vec::new() };
        if let Some(port) = arguments.port.last() {
            reader.set("PCMK_remote_port", port);
        }
        for file in &arguments.logfile {
            let file = Escaped(file.as_bytes());
            reader.warnings.push(line!(Warning, "Log files are not written yet: ignoring --logfile {file}"));
        }
        let debug = reader.enabled("debug") || arguments.verbose > 1;
        let stderr = reader.enabled("stderr") || arguments.verbose > 0;
        let facility = reader.facility();
        let priority = reader.priority();
        let ocf_root = reader.ocf_root();
        Self {
            settings: Settings {
                place: Place { agent_path: reader.agent_path(&ocf_root), ocf_root },
                node_start_state: reader.text("node_start_state"),
            },
            host: reader.text("remote_address"),
            port: reader.port(),
            key: reader.key(),
            sinks: Sinks {
                syslog: facility.map(|facility| (facility, priority)),
                stderr: stderr.then_some(if debug { Level::Debug } else { Level::Info }),
            },
            user_timeout_millis: reader.user_timeout(),
            environment: reader.for_children(facility),
            warnings: reader.warnings,
        }
    }
}

/// The daemon's environment while it is read.
struct Reader {
    environment: BTreeMap<OsString, OsString>,
    warnings: Vec<Line>,
}

impl Reader {
    fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.into(), value.into());
    }

    /// An option under its new or its old name; an empty one is none. Values are bytes without NUL.
    fn option(&self, option: &str) -> Option<&[u8]> {
        let find = |prefix: &str| self.environment.get(&OsString::from(format!("{prefix}{option}")));
        let value = find("PCMK_").or_else(|| find("HA_"))?;
        Some(value.as_bytes()).filter(|value| !value.is_empty())
    }

    fn warn(&mut self, option: &str, value: &[u8], wanted: &str, instead: &str) {
        self.warnings.push(line!(
            Warning,
            "{option} is \"{}\" but should be {wanted}: {instead}",
            Escaped(value)
        ));
    }

    /// A value that is to be text.
    fn text(&mut self, option: &str) -> Option<String> {
        let value = self.option(option)?.to_vec();
        match String::from_utf8(value) {
            Ok(text) => Some(text),
            Err(error) => {
                self.warn(&format!("PCMK_{option}"), error.as_bytes(), "UTF-8", "ignoring it");
                None
            }
        }
    }

    /// A switch: yes, no, or the names of the daemons it is for.
    fn enabled(&self, option: &str) -> bool {
        let value = self.option(option).unwrap_or_default();
        if [&b"true"[..], b"on", b"yes", b"y", b"1"].iter().any(|yes| value.eq_ignore_ascii_case(yes)) {
            return true;
        }
        let mut names = value.split(|&byte| byte == b',');
        names.any(|name| name == NAME.as_bytes() || name == b"pacemaker_remoted")
    }

    fn port(&mut self) -> u16 {
        let Some(value) = self.option("remote_port").map(<[u8]>::to_vec) else { return DEFAULT_PORT };
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        number.filter(|&port| port > 0).unwrap_or_else(|| {
            let instead = format!("listening on {DEFAULT_PORT}");
            self.warn("PCMK_remote_port", &value, "a number from 1 to 65535", &instead);
            DEFAULT_PORT
        })
    }

    fn key(&self) -> CString {
        let value = self.option("authkey_location").unwrap_or(DEFAULT_KEY.as_bytes());
        c_string(value.to_vec())
    }

    /// `None` for no syslog.
    fn facility(&mut self) -> Option<Facility> {
        let Some(value) = self.option("logfacility").map(<[u8]>::to_vec) else {
            return Some(Facility::DAEMON);
        };
        if value.eq_ignore_ascii_case(b"none") || value == b"/dev/null" {
            return None;
        }
        let facility = Facility::named(&value);
        if facility.is_none() {
            let instead = "logging to \"daemon\"";
            self.warn("PCMK_logfacility", &value, "a syslog facility or \"none\"", instead);
        }
        Some(facility.unwrap_or(Facility::DAEMON))
    }

    fn priority(&mut self) -> Level {
        let Some(value) = self.option("logpriority").map(<[u8]>::to_vec) else { return Level::Notice };
        match value.to_ascii_lowercase().as_slice() {
            // Nothing here matters more than "crit".
            b"emerg" | b"alert" | b"crit" => Level::Crit,
            b"error" | b"err" => Level::Error,
            b"warning" | b"warn" => Level::Warning,
            b"notice" => Level::Notice,
            b"info" => Level::Info,
            b"debug" => Level::Debug,
            _ => {
                let wanted = "emerg, alert, crit, error, warning, notice, info or debug";
                self.warn("PCMK_logpriority", &value, wanted, "logging from notice on");
                Level::Notice
            }
        }
    }

    fn ocf_root(&mut self) -> CString {
        let value = self.environment.get(&OsString::from("OCF_ROOT")).map(|value| value.as_bytes().to_vec());
        match value.filter(|value| !value.is_empty()) {
            Some(value) if value.starts_with(b"/") => c_string(value),
            Some(value) => {
                let instead = format!("using {DEFAULT_OCF_ROOT}");
                self.warn("OCF_ROOT", &value, "an absolute path", &instead);
                c_string(DEFAULT_OCF_ROOT.into())
            }
            None => c_string(DEFAULT_OCF_ROOT.into()),
        }
    }

    fn agent_path(&mut self, ocf_root: &CString) -> Vec<CString> {
        let usual = [ocf_root.as_bytes(), b"/resource.d"].concat();
        let value =
            self.environment.get(&OsString::from("OCF_RA_PATH")).map(|value| value.as_bytes().to_vec());
        let value = value.unwrap_or_default();
        let mut path = Vec::new();
        for directory in value.split(|&byte| byte == b':').filter(|directory| !directory.is_empty()) {
            if directory.starts_with(b"/") {
                path.push(c_string(directory.to_vec()));
            } else {
                self.warn("A directory of OCF_RA_PATH", directory, "an absolute path", "ignoring it");
            }
        }
        if path.is_empty() {
            path.push(c_string(usual));
        }
        path
    }

    /// Half of what the watchdog allows (remote-protocol.md section 4).
    fn user_timeout(&mut self) -> Option<u32> {
        let value = self.environment.get(&OsString::from("SBD_WATCHDOG_TIMEOUT"))?.as_bytes().to_vec();
        let millis = std::str::from_utf8(&value).ok().and_then(milliseconds);
        if millis.is_none() && !value.is_empty() {
            let wanted = "a time, such as \"5\" or \"5s\"";
            self.warn("SBD_WATCHDOG_TIMEOUT", &value, wanted, "going on without it");
        }
        let half = u32::try_from(millis? / 2).unwrap_or(u32::MAX);
        Some(half).filter(|&half| half > 0)
    }

    /// The detail log, if one is named.
    fn log_file(&self) -> Option<OsString> {
        let file = self.option("logfile").filter(|&file| file != b"none" && file != b"/dev/null")?;
        Some(OsStr::from_bytes(file).to_owned())
    }

    /// What children get (executor-semantics.md section 6.3).
    fn for_children(&mut self, facility: Option<Facility>) -> Vec<CString> {
        self.set("PCMK_service", NAME);
        let name = facility.map_or("none", Facility::name);
        for prefix in ["PCMK", "HA"] {
            self.environment.entry(format!("{prefix}_logfacility").into()).or_insert_with(|| name.into());
            if facility.is_some() {
                self.set(&format!("{prefix}_LOGFACILITY"), name);
            }
        }
        // Agents write to the file that the administrator named.
        if let Some(file) = self.log_file() {
            self.environment.extend(["PCMK_LOGFILE", "HA_LOGFILE"].map(|name| (name.into(), file.clone())));
        }
        self.set("OCF_OUTPUT_FORMAT", "text");
        let entries = self.environment.iter().filter(|(name, _)| {
            let name = name.as_bytes();
            !OWN_VARIABLES.iter().any(|own| name == own.as_bytes())
                && !OWN_PREFIXES.iter().any(|own| name.starts_with(own.as_bytes()))
        });
        let entries = entries.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        entries.map(c_string).collect()
    }
}

/// What comes from the environment has no NUL; from the command line, neither.
fn c_string(mut bytes: Vec<u8>) -> CString {
    bytes.retain(|&byte| byte != 0);
    CString::new(bytes).unwrap_or_default()
}

/// A time as Pacemaker writes it: a number and, unless it means seconds, a unit.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit.trim().to_ascii_lowercase().as_str() {
        "us" | "usec" => Some(number / 1000),
        "ms" | "msec" => Some(number),
        "" | "s" | "sec" => number.checked_mul(1000),
        "m" | "min" => number.checked_mul(60_000),
        "h" | "hr" => number.checked_mul(3_600_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
