//! What the command line, the environment and settings files say, in this order
//! (daemon-lifecycle.md section 3).
//!
//! Nothing in it is a reason not to start: what makes no sense is named in a warning, with what is
//! done instead.

mod tools;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::agent::Place;
use crate::line;
use crate::log::{Escaped, Level, Line};

use super::arguments::Arguments;
use super::core::Settings;
use super::log::{Facility, NAME, Sinks};
use super::log_file::{FILES, Files};
use super::settings_file::SettingsFile;

/// The port that IANA gave Pacemaker Remote.
const DEFAULT_PORT: u16 = 3121;
/// Where the key is if nothing else is said.
const DEFAULT_KEY: &str = "/etc/pacemaker/authkey";
/// Where agents live if nothing else is said.
const DEFAULT_OCF_ROOT: &str = "/usr/lib/ocf";
/// Where the system bus is if nothing else is said.
const DEFAULT_BUS: &[u8] = b"/run/dbus/system_bus_socket";
/// A log file's permissions if nothing else is said.
const DEFAULT_LOG_MODE: u32 = 0o660;
/// Settings that are stock's for this daemon, and have no effect in this one.
const WITHOUT_EFFECT: &[&str] = &[
    "blackbox",
    "ca_file",
    "cert_file",
    "crl_file",
    "dh_max_bits",
    "dh_min_bits",
    "key_file",
    "remote_schema_directory",
    "schema_directory",
    "tls_priorities",
    "trace_blackbox",
    "trace_files",
    "trace_formats",
    "trace_functions",
    "trace_tags",
];
/// Settings that have an effect, are for the other daemons of a cluster, or are made by daemons for agents.
const KNOWN: &[&str] = &[
    "DEBUGLOG",
    "LOGFACILITY",
    "LOGFILE",
    "authkey_location",
    "callgrind_enabled",
    "cib_timeout",
    "cluster_type",
    "debug",
    "fail_fast",
    "ipc_buffer",
    "ipc_type",
    "logfacility",
    "logfile",
    "logfile_mode",
    "logpriority",
    "node_action_limit",
    "node_start_state",
    "panic_action",
    "remote_address",
    "remote_pid1",
    "remote_port",
    "service",
    "stderr",
    "valgrind_enabled",
];
/// This daemon's own, which begin with `PACELET_`.
const OWN: &[&str] = &["socket_dir", "tools", "tools_memory"];
/// What a service manager gives the daemon for itself.
const OWN_VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"];
/// The same, by how they begin.
const OWN_PREFIXES: [&str; 2] = ["LISTEN_", "WATCHDOG_"];

/// Everything that is decided before the daemon starts.
#[derive(Debug)]
pub struct Config {
    /// For [`super::Core`].
    pub settings: Settings,
    /// Where tools look for sockets that are files; `None`: they are abstract.
    pub socket_directory: Option<PathBuf>,
    /// Where the system bus is.
    pub bus: PathBuf,
    /// The host name or address to listen on, `None` for all.
    pub host: Option<String>,
    /// The port to listen on.
    pub port: u16,
    /// Where the key is.
    pub key: CString,
    /// Whether standard error is to be where standard output is.
    pub joins_stdout: bool,
    /// Where log lines go.
    pub sinks: Sinks,
    /// Where they go, too.
    pub log_files: Option<Files>,
    /// TCP_USER_TIMEOUT of cluster connections, in milliseconds, if there is a hardware watchdog.
    pub user_timeout_millis: Option<u32>,
    /// What children inherit, as `NAME=VALUE`.
    pub environment: Vec<CString>,
    /// What was odd.
    pub warnings: Vec<Line>,
}

/// What the machine that the daemon runs on is like.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// What there is in files; what counts more comes later.
    pub settings: Vec<SettingsFile>,
    /// Where the log file is if nothing else is said, if there is to be one.
    pub log_file: Option<&'static str>,
    /// What an image's author has added to the environment, if this is an image.
    pub image: Option<SettingsFile>,
    /// A first process looks after the daemon, whose output is where people look.
    pub is_kept: bool,
    /// Where the daemon was started.
    pub directory: PathBuf,
    /// Whether the system's libqb is told to use sockets that are files.
    pub has_file_sockets: bool,
    /// `/etc/os-release`, or nothing.
    pub os_release: Vec<u8>,
    /// Bytes free in `/dev/shm`, if that is known.
    pub shared_memory: Option<u64>,
    /// How much memory the daemon's control group may use, in bytes, if there is a limit.
    pub memory_limit: Option<u64>,
    /// Bytes of a page of memory.
    pub page_size: usize,
    /// Whether this is a container, or is said to be: its watchdog is not its own (daemon-lifecycle.md section 11).
    pub is_container: bool,
}

impl Config {
    /// Reads settings files, over which the daemon's environment goes, and over that the command line.
    pub fn new(
        arguments: &Arguments,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        machine: &Machine,
    ) -> Self {
        let mut reader = Reader { environment: BTreeMap::new(), warnings: Vec::new() };
        for file in &machine.settings {
            let (settings, warnings) = file.parse();
            reader.environment.extend(settings);
            reader.warnings.extend(warnings);
        }
        reader.environment.extend(environment);
        machine.image.iter().for_each(|file| reader.add(file));
        reader.warn_of_others();
        for word in &arguments.ignored {
            let word = Escaped(word.as_bytes());
            reader.warnings.push(line!(
                Warning,
                "The argument \"{word}\" is neither an option nor its value: ignoring it"
            ));
        }
        if let Some(port) = arguments.port.last() {
            reader.set("PCMK_remote_port", port);
        }
        let debug = reader.enabled("debug") || arguments.verbose > 1;
        let joins_stdout = machine.is_kept && reader.option("stderr").is_none();
        let stderr = joins_stdout || reader.enabled("stderr") || arguments.verbose > 0;
        let facility = reader.facility();
        let priority = reader.priority();
        let ocf_root = reader.ocf_root();
        let log_file = reader.log_file(machine.log_file);
        let watchdog = reader.watchdog();
        Self {
            settings: Settings {
                place: Place { agent_path: reader.agent_path(&ocf_root), ocf_root },
                node_start_state: reader.node_start_state(),
                tools: reader.tools(machine),
                watchdog: (!machine.is_container).then(|| watchdog.unwrap_or_default()),
            },
            socket_directory: reader.socket_directory(machine),
            bus: reader.bus(),
            host: reader.text("remote_address"),
            port: reader.port(),
            key: reader.key(),
            joins_stdout,
            sinks: Sinks {
                syslog: facility.map(|facility| (facility, priority)),
                stderr: stderr.then_some(if debug { Level::Debug } else { Level::Info }),
            },
            log_files: {
                // It does not stay where it was started.
                let more = arguments.logfile.iter().map(|file| machine.directory.join(file).into());
                reader.log_files(log_file.iter().cloned().chain(more).collect(), debug)
            },
            user_timeout_millis: user_timeout(watchdog),
            environment: reader.for_children(facility, log_file.as_deref(), debug),
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

    /// Adds what the environment does not have yet (daemon-lifecycle.md section 8). What is for the dynamic linker
    /// would be for agents only, all of them.
    fn add(&mut self, file: &SettingsFile) {
        let (settings, warnings) = file.parse();
        self.warnings.extend(warnings);
        for (name, value) in settings {
            if name.as_bytes().starts_with(b"LD_") {
                let (name, path) = (Escaped(name.as_bytes()), &file.path);
                self.warnings
                    .push(line!(Warning, "{name} is not taken from {path}: set it where it is needed"));
            } else {
                self.environment.entry(name).or_insert(value);
            }
        }
    }

    /// An option under its new or its old name; an empty one is none. Values are bytes without NUL.
    fn option(&self, option: &str) -> Option<&[u8]> {
        let find = |prefix: &str| self.environment.get(&OsString::from(format!("{prefix}{option}")));
        let value = find("PCMK_").or_else(|| find("HA_"))?;
        Some(value.as_bytes()).filter(|value| !value.is_empty())
    }

    /// An option of this daemon's own.
    fn own(&self, option: &str) -> Option<Vec<u8>> {
        let value = self.environment.get(&OsString::from(format!("PACELET_{option}")));
        value.map(|value| value.as_bytes().to_vec())
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
        if let Some(port) = std::str::from_utf8(&value).ok().and_then(port_of) {
            return port;
        }
        // As in stock, what stands around a number does not keep it from counting.
        let text = String::from_utf8_lossy(&value);
        let text = text.trim_start().trim_start_matches('+');
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let port = text.get(..end).and_then(port_of).unwrap_or(DEFAULT_PORT);
        self.warn("PCMK_remote_port", &value, "a number from 1 to 65535", &format!("listening on {port}"));
        port
    }

    fn key(&self) -> CString {
        let value = self.option("authkey_location").unwrap_or(DEFAULT_KEY.as_bytes());
        c_string(value.to_vec())
    }

    /// The first address that is a file: other ones are not for this machine's bus.
    fn bus(&self) -> PathBuf {
        let value = self.environment.get(&OsString::from("DBUS_SYSTEM_BUS_ADDRESS"));
        let mut addresses =
            value.map_or(&b""[..], |value| value.as_bytes()).split(|byte| b";,".contains(byte));
        let path = addresses.find_map(|address| address.strip_prefix(b"unix:path="));
        OsStr::from_bytes(path.unwrap_or(DEFAULT_BUS)).into()
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

    /// After how many milliseconds without its care the hardware watchdog ends this node.
    fn watchdog(&mut self) -> Option<u64> {
        let value = self.environment.get(&OsString::from("SBD_WATCHDOG_TIMEOUT"))?.as_bytes().to_vec();
        let millis = std::str::from_utf8(&value).ok().and_then(milliseconds);
        if millis.is_none() && !value.is_empty() {
            let wanted = "a time, such as \"5\" or \"5s\"";
            self.warn("SBD_WATCHDOG_TIMEOUT", &value, wanted, "going on without it");
        }
        millis
    }

    /// What a node does when it joins is the cluster's business, so anything is handed on.
    fn node_start_state(&mut self) -> Option<String> {
        let state = self.text("node_start_state")?;
        if !["default", "online", "standby"].contains(&state.as_str()) {
            let wanted = "default, online or standby";
            self.warn(
                "PCMK_node_start_state",
                state.as_bytes(),
                wanted,
                "telling the cluster so all the same",
            );
        }
        Some(state)
    }

    /// The detail log: what is named, or else the usual one.
    fn log_file(&mut self, usual: Option<&str>) -> Option<OsString> {
        match self.option("logfile").map(<[u8]>::to_vec) {
            None => usual.map(OsString::from),
            Some(file) if file == b"none" || file == b"/dev/null" => None,
            Some(file) if file.starts_with(b"/") => Some(OsStr::from_bytes(&file).to_owned()),
            Some(file) => {
                self.warn("PCMK_logfile", &file, "an absolute path or \"none\"", "writing no log file");
                None
            }
        }
    }

    fn log_files(&mut self, mut paths: Vec<OsString>, debug: bool) -> Option<Files> {
        let mode = self.log_file_mode();
        for path in paths.drain(paths.len().min(FILES)..) {
            let path = Escaped(path.as_bytes());
            self.warnings.push(line!(Warning, "There are more than {FILES} log files: ignoring {path}"));
        }
        let paths: Vec<_> = paths.into_iter().map(|path| c_string(path.into_vec())).collect();
        let least = if debug { Level::Debug } else { Level::Info };
        Some(Files { paths, mode, least }).filter(|files| !files.paths.is_empty())
    }

    fn log_file_mode(&mut self) -> u32 {
        let Some(value) = self.option("logfile_mode").map(<[u8]>::to_vec) else { return DEFAULT_LOG_MODE };
        let mode = std::str::from_utf8(&value).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
        mode.filter(|&mode| mode <= 0o777).unwrap_or_else(|| {
            let instead = format!("using {DEFAULT_LOG_MODE:o}");
            self.warn("PCMK_logfile_mode", &value, "an octal number from 0 to 777", &instead);
            DEFAULT_LOG_MODE
        })
    }

    /// Somebody may wait for what they do.
    fn warn_of_others(&mut self) {
        for (name, value) in &self.environment {
            let own = name.as_bytes().strip_prefix(b"PACELET_");
            let Some(option) = own.or_else(|| name.as_bytes().strip_prefix(b"PCMK_")) else { continue };
            let is_in = |list: &[&str]| list.iter().any(|known| known.as_bytes() == option);
            let known = if own.is_some() { OWN } else { KNOWN };
            let what = match (is_in(known), own.is_none() && is_in(WITHOUT_EFFECT)) {
                (true, _) => continue,
                (_, true) if value.is_empty() => continue,
                (_, true) => "has no effect in this daemon",
                _ => "is no setting that this daemon knows",
            };
            let (name, value) = (Escaped(name.as_bytes()), Escaped(value.as_bytes()));
            self.warnings.push(line!(Warning, "{name} is \"{value}\" but {what}: ignoring it"));
        }
    }

    /// What children get (executor-semantics.md section 6.3).
    fn for_children(
        &mut self,
        facility: Option<Facility>,
        log_file: Option<&OsStr>,
        debug: bool,
    ) -> Vec<CString> {
        self.set("PCMK_service", NAME);
        let name = facility.map_or("none", Facility::name);
        for prefix in ["PCMK", "HA"] {
            self.environment.entry(format!("{prefix}_logfacility").into()).or_insert_with(|| name.into());
            if facility.is_some() {
                self.set(&format!("{prefix}_LOGFACILITY"), name);
            }
        }
        // Agents write to the same file.
        if let Some(file) = log_file {
            for prefix in ["PCMK", "HA"] {
                self.environment.entry(format!("{prefix}_logfile").into()).or_insert_with(|| file.into());
                self.environment.insert(format!("{prefix}_LOGFILE").into(), file.into());
                if debug {
                    self.environment.insert(format!("{prefix}_DEBUGLOG").into(), file.into());
                }
            }
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

/// Half of what the watchdog allows (remote-protocol.md section 4).
fn user_timeout(watchdog: Option<u64>) -> Option<u32> {
    let half = u32::try_from(watchdog? / 2).unwrap_or(u32::MAX);
    Some(half).filter(|&half| half > 0)
}

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port > 0)
}

/// A time as Pacemaker writes it: a number and, unless it means seconds, a unit.
pub(super) fn milliseconds(text: &str) -> Option<u64> {
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
