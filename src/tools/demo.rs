//! `pacelet demo`: one command that shows a newcomer the whole round, and tells whether it is right.
//!
//! It makes a key, starts the daemon on a free port of the loopback interface, and acts as the cluster:
//! registers a resource, starts it, monitors it, breaks it, sees that noticed, recovers it, stops it, and
//! ends the daemon in the orderly way. Each step is checked as a cluster's controller would take it. The
//! agent it uses is this same program under another name, so nothing else has to be there: no shell, no
//! agents, no configuration.
//!
//! With `--against` it does the same to a daemon that runs already, on this machine or another.

pub mod agent;
mod process;

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;
use rand_core::{CryptoRngCore, RngCore};

use self::process::{Daemon, Directory};
use super::client::{Buffers, Client};
use super::cluster::{Operation, Resource, protocol_version};
use super::report::{self, Report, Seen, Wrong};
use crate::log::Escaped;
use crate::sys::entropy::Entropy;

/// How long a key the demo makes: what Pacemaker's documentation recommends.
const KEY_LENGTH: usize = 4096;

/// The resource's name.
const ID: &str = "pacelet-demo";

/// How often the resource is monitored, in milliseconds.
const INTERVAL: u32 = 200;

/// How long an operation may take, in milliseconds.
const TIMEOUT: u32 = 20_000;

/// OCF: the resource does not run.
const NOT_RUNNING: i64 = 7;

/// `lrmd_rc` for a resource nobody has registered.
const UNKNOWN: i64 = -19;

/// Act as a cluster towards a Pacemaker Remote daemon, and show what happens and how long it takes.
#[derive(FromArgs, Debug)]
struct Arguments {
    /// use the daemon at this HOST:PORT instead of starting one; needs --key
    #[argh(option)]
    against: Option<String>,

    /// the key file of that daemon
    #[argh(option)]
    key: Option<PathBuf>,

    /// the OCF agent to use with that daemon, which must keep its state in the file that its parameter
    /// "state" names (default pacemaker:Dummy)
    #[argh(option, default = "String::from(\"pacemaker:Dummy\")")]
    agent: String,

    /// give up on an answer after so many seconds (default 10)
    #[argh(option, default = "10")]
    patience: u64,

    /// print the figures as JSON
    #[argh(switch)]
    json: bool,
}

/// Runs the program; gives its exit status: 0 if each step went as a cluster expects, 1 if not, 64 for a
/// wrong command line.
pub fn main(arguments: &[&str]) -> u8 {
    let arguments = match Arguments::from_args(&["pacelet demo"], arguments) {
        Ok(arguments) => arguments,
        Err(exit) => {
            let usage = exit.status.is_err();
            report::print(usage, &exit.output);
            return if usage { 64 } else { 0 };
        }
    };
    let mut report = Report::new(arguments.json);
    let played = match (&arguments.against, &arguments.key) {
        (None, None) => with_own_daemon(&arguments, &mut report),
        (Some(against), Some(key)) => against_daemon(&arguments, against, key, &mut report),
        _ => {
            report::print(true, "--against and --key belong together: name both, or none to start a daemon.");
            return 64;
        }
    };
    report.finish();
    if played.is_ok() { 0 } else { 1 }
}

/// Starts a daemon and plays the whole round.
fn with_own_daemon(arguments: &Arguments, report: &mut Report) -> Result<(), Wrong> {
    let patience = Duration::from_secs(arguments.patience);
    let mut entropy = Entropy::new();
    let (directory, key) = report.step("make a key", || {
        let mut key = vec![0; KEY_LENGTH];
        entropy.fill_bytes(&mut key);
        let directory = Directory::new(&mut entropy)?;
        directory.write("authkey", &key)?;
        Ok(((directory, key), format!("{KEY_LENGTH} random bytes that only this user can read").into()))
    })?;
    let mut daemon = report.step("start the daemon", || {
        let daemon = Daemon::start(&directory, patience)?;
        let seen = format!("process {} takes connections at {}", daemon.process(), daemon.address());
        Ok((daemon, seen.into()))
    })?;
    let state = directory.path().join("state");
    let resource = Resource { id: ID, class: "ocf", provider: Some("pacelet"), kind: "demo" };
    let mut buffers = Buffers::new();
    let played = (|| {
        let mut client = connect(daemon.address(), &key, patience, &mut buffers, &mut entropy, report)?;
        round(&mut client, &resource, &state, report)?;
        report.step("end the daemon", || {
            daemon.terminate();
            client.shutdown_request()?;
            right("lrmd_rc", client.acknowledge_shutdown()?.number("lrmd_rc"), 0)?;
            client.close();
            daemon.wait(patience)?;
            Ok(((), "SIGTERM, it asked, was told to go, and ended with status 0".into()))
        })
    })();
    if played.is_err() {
        report.log(&daemon.log());
    }
    played
}

/// Plays what can be played with a daemon that is not ours.
fn against_daemon(
    arguments: &Arguments,
    against: &str,
    key: &Path,
    report: &mut Report,
) -> Result<(), Wrong> {
    let patience = Duration::from_secs(arguments.patience);
    let mut entropy = Entropy::new();
    let (address, key) = report.step("read the key", || {
        let key = fs::read(key).map_err(|error| format!("cannot read {}: {error}", key.display()))?;
        let address = resolve(against).map_err(|error| format!("cannot resolve {against}: {error}"))?;
        let seen = format!("{} bytes", key.len());
        Ok(((address, key), seen.into()))
    })?;
    // A directory that exists on every machine: the daemon may run on another one.
    let state = PathBuf::from(format!("/tmp/pacelet-demo-{:016x}", entropy.next_u64()));
    let (provider, kind) = arguments.agent.split_once(':').unwrap_or(("heartbeat", &arguments.agent));
    let resource = Resource { id: ID, class: "ocf", provider: Some(provider), kind };
    let mut buffers = Buffers::new();
    let mut client = connect(address, &key, patience, &mut buffers, &mut entropy, report)?;
    let played = round(&mut client, &resource, &state, report);
    // Gone already, unless a step went wrong.
    let _ = fs::remove_file(&state);
    client.close();
    played
}

fn resolve(host_and_port: &str) -> io::Result<SocketAddr> {
    host_and_port.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn connect<'b>(
    address: SocketAddr,
    key: &[u8],
    patience: Duration,
    buffers: &'b mut Buffers,
    entropy: &mut dyn CryptoRngCore,
    report: &mut Report,
) -> Result<Client<'b>, Wrong> {
    let mut client = report.step("connect", || {
        let client = Client::connect(address, key, patience, buffers, entropy)?;
        Ok((client, "TLS 1.3 with the key, P-256, AES-128-GCM".into()))
    })?;
    report.step("register", || {
        let reply = client.register(&format!("pacemaker-remote-{address}"))?;
        let version = protocol_version(&reply)?;
        Ok(((), format!("protocol {}", Escaped(version.as_bytes())).into()))
    })?;
    Ok(client)
}

/// The life of a resource, as a cluster leads it.
fn round(
    client: &mut Client<'_>,
    resource: &Resource<'_>,
    state: &Path,
    report: &mut Report,
) -> Result<(), Wrong> {
    let path = state.display().to_string();
    let probe = [
        ("CRM_meta_timeout", "20000"),
        ("crm_feature_set", "3.20.0"),
        ("state", path.as_str()),
        // It must come back as it is, or the cluster restarts the resource for nothing.
        ("pacelet_demo", "<\"'&'\"> ü"),
    ];
    let mut monitor = vec![("CRM_meta_interval", "200")];
    monitor.extend(probe);
    let run = |action, interval| Operation {
        resource: ID,
        action,
        interval,
        timeout: TIMEOUT,
        user_data: "1:2:3:pacelet-demo",
        parameters: if interval == 0 { &probe } else { &monitor },
    };

    report.step("ask for the resource", || {
        let reply = client.resource_info(ID)?;
        right("lrmd_rc", reply.number("lrmd_rc"), UNKNOWN)?;
        Ok(((), "not registered yet".into()))
    })?;
    report.step("register the resource", || {
        right("lrmd_rc", client.register_resource(resource)?.number("lrmd_rc"), 0)?;
        client.generic("lrmd_rsc_register", Some(ID))?;
        let reply = client.resource_info(ID)?;
        right("lrmd_rc", reply.number("lrmd_rc"), 0)?;
        for (name, sent) in [
            ("lrmd_rsc_id", resource.id),
            ("lrmd_class", resource.class),
            ("lrmd_provider", resource.provider.unwrap_or_default()),
            ("lrmd_type", resource.kind),
        ] {
            let back = reply.attribute(name).unwrap_or_default();
            if back != sent {
                return Err(format!("{name} is {back:?} instead of {sent:?}").into());
            }
        }
        Ok((
            (),
            format!("{}:{}:{}", resource.class, resource.provider.unwrap_or_default(), resource.kind).into(),
        ))
    })?;
    report.step("probe", || Ok(((), execute(client, &run("monitor", 0), NOT_RUNNING)?.1)))?;
    report.step("start", || Ok(((), execute(client, &run("start", 0), 0)?.1)))?;
    let monitoring = report.step("monitor every 200 ms", || execute(client, &run("monitor", INTERVAL), 0))?;
    report.step("break it", || match fs::remove_file(state) {
        Ok(()) => {
            let seen = completion(client, monitoring, &run("monitor", INTERVAL), NOT_RUNNING)?;
            Ok(((), format!("the monitor tells: {seen}").into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(((), Seen::Skipped("its state is kept on another machine")))
        }
        Err(error) => Err(format!("cannot remove {path}: {error}").into()),
    })?;
    report.step("cancel the monitor", || cancel(client, monitoring))?;
    report.step("recover: stop", || Ok(((), execute(client, &run("stop", 0), 0)?.1)))?;
    report.step("recover: start", || Ok(((), execute(client, &run("start", 0), 0)?.1)))?;
    let monitoring = report.step("monitor again", || execute(client, &run("monitor", INTERVAL), 0))?;
    report.step("cancel the monitor", || cancel(client, monitoring))?;
    report.step("stop", || Ok(((), execute(client, &run("stop", 0), 0)?.1)))?;
    report.step("unregister the resource", || {
        right("lrmd_rc", client.unregister_resource(ID)?.number("lrmd_rc"), 0)?;
        client.generic("lrmd_rsc_unregister", Some(ID))?;
        right("lrmd_rc", client.resource_info(ID)?.number("lrmd_rc"), UNKNOWN)?;
        Ok(((), "not registered any more".into()))
    })?;
    report.step("poke", || {
        right("lrmd_rc", client.poke()?.number("lrmd_rc"), 0)?;
        Ok(((), "alive".into()))
    })
}

/// Has an operation executed, and waits for its result. Gives its call id, and the result in words.
fn execute(client: &mut Client<'_>, operation: &Operation<'_>, rc: i64) -> Result<(i64, Seen), Wrong> {
    let reply = client.execute(operation)?;
    let call_id = match reply.number("lrmd_rc") {
        Some(call_id) if call_id > 0 => call_id,
        other => return Err(format!("expected a call id, got {other:?}").into()),
    };
    right("lrmd_callid", reply.number("lrmd_callid"), call_id)?;
    let early =
        client.take(&|element| element.attribute("lrmd_callid") == reply.root().attribute("lrmd_callid"));
    if early.is_some() {
        return Err("the result came before the reply: a cluster cannot tell whose it is".into());
    }
    completion(client, call_id, operation, rc).map(|seen| (call_id, seen.into()))
}

/// Waits for a result and checks it. Gives it in words.
fn completion(
    client: &mut Client<'_>,
    call_id: i64,
    operation: &Operation<'_>,
    rc: i64,
) -> Result<String, Wrong> {
    let completion = client.completion(call_id)?;
    if completion.rc() != Some(rc) {
        let reason = completion.message().attribute("lrmd_rsc_exit_reason");
        return Err(Wrong::values(&words(Some(rc)), &words(completion.rc()), reason.as_deref()));
    }
    right("lrmd_exec_op_status", completion.status(), 0)?;
    match completion.difference(operation) {
        Some(difference) => Err(format!("the result does not belong to the operation: {difference}").into()),
        None => Ok(words(Some(rc))),
    }
}

/// Cancels the recurring monitor, as a cluster does before it does anything else to a resource.
fn cancel(client: &mut Client<'_>, call_id: i64) -> Result<((), Seen), Wrong> {
    right("lrmd_rc", client.cancel(ID, "monitor", INTERVAL)?.number("lrmd_rc"), 0)?;
    // What it found in the meantime does not matter any more.
    loop {
        match client.completion(call_id)?.status() {
            Some(1) => return Ok(((), "cancelled".into())),
            Some(0) => {}
            other => {
                return Err(Wrong::values("lrmd_exec_op_status 1 (cancelled)", &format!("{other:?}"), None));
            }
        }
    }
}

/// A number must have the value that a cluster expects.
fn right(name: &str, seen: Option<i64>, expected: i64) -> Result<(), Wrong> {
    if seen == Some(expected) {
        return Ok(());
    }
    let seen = seen.map_or_else(|| format!("no {name}"), |seen| format!("{name} {seen}"));
    Err(Wrong::values(&format!("{name} {expected}"), &seen, None))
}

/// An OCF exit code in words.
fn words(rc: Option<i64>) -> String {
    let Some(rc) = rc else { return "no rc".to_owned() };
    let meaning = match rc {
        0 => "ok",
        1 => "error",
        2 => "invalid parameter",
        3 => "unimplemented",
        4 => "insufficient privileges",
        5 => "not installed",
        6 => "not configured",
        NOT_RUNNING => "not running",
        8 => "promoted",
        9 => "failed promoted",
        _ => "unknown",
    };
    format!("rc {rc} ({meaning})")
}
