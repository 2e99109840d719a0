//! What is told of agents and init scripts that cannot be run.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};
use pacelet::tools::cluster::{Operation, Resource};

use crate::lab::{self, Lab};
use crate::{KEY, PATIENCE, RELEASES, await_port, end, prepare, start_pacelet, start_stock};

/// Where stock looks for agents.
pub const AGENTS: &str = "/usr/lib/ocf/resource.d";

const OUTPUT: &str = "lrmd_rsc_output";
const REASON: &str = "lrmd_rsc_exit_reason";

/// How it goes with an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It runs.
    Runs,
    /// It cannot be found. Releases before 2.1 told an error of the look-up by its errno.
    Missing,
    /// It is there, and the system call that executes it fails.
    Fails,
}

/// Provider and type, and how it goes.
const CASES: [(&str, &str, Kind); 13] = [
    ("test", "good", Kind::Runs),
    ("test", "reason", Kind::Runs),
    ("test", "no-interpreter-named", Kind::Runs),
    ("test", "no-program", Kind::Runs),
    ("test", "missing", Kind::Missing),
    ("nobody", "any", Kind::Missing),
    ("file", "any", Kind::Missing),
    ("test", "dangling", Kind::Missing),
    ("test", "loop", Kind::Missing),
    ("closed", "any", Kind::Missing),
    ("test", "not-executable", Kind::Fails),
    ("test", "directory", Kind::Fails),
    ("test", "interpreter-missing", Kind::Fails),
];

fn install(lab: &Lab) {
    lab.mount_private(AGENTS);
    let at = |name: &str| lab.at(AGENTS).join(name);
    for directory in ["test", "closed", "test/directory"] {
        fs::create_dir(at(directory)).unwrap();
    }
    let write = |name: &str, text: &[u8], mode: u32| {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    };
    write("test/good", b"#!/bin/sh\nexit 0\n", 0o755);
    write("test/reason", b"#!/bin/sh\necho ocf-exit-reason:because >&2\nexit 6\n", 0o755);
    write("test/no-interpreter-named", b"exit 3\n", 0o755);
    write("test/no-program", b"\x7fELF\n", 0o755);
    write("test/not-executable", b"#!/bin/sh\nexit 0\n", 0o644);
    write("test/interpreter-missing", b"#!/no/such/interpreter\n", 0o755);
    write("closed/any", b"#!/bin/sh\nexit 0\n", 0o755);
    write("file", b"", 0o644);
    symlink("/nowhere", at("test/dangling")).unwrap();
    symlink("loop", at("test/loop")).unwrap();
    // Root's by right, but not for who has lost the right to look everywhere.
    chown(at("closed"), Some(1), Some(1)).unwrap();
    fs::set_permissions(at("closed"), Permissions::from_mode(0o0)).unwrap();
}

/// What was told of one run.
#[derive(Debug)]
struct Told {
    rc: Option<i64>,
    status: Option<i64>,
    reason: Option<String>,
    /// The attributes there are, by name.
    names: BTreeSet<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<i64>| number.unwrap_or(-1);
        let reason = self.reason.as_deref().unwrap_or("-");
        write!(f, "{}/{} {reason}", number(self.rc), number(self.status))
    }
}

/// Both are looked for in the same way, but not told of.
const CLASSES: [&str; 2] = ["ocf", "lsb"];

/// Runs everything by the daemon on that port, for which the agents are there.
fn ask(port: u16, agents: &str) -> Vec<Told> {
    let mut buffers = Buffers::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut client = Client::connect(address, &KEY, PATIENCE, &mut buffers, &mut Entropy::new()).unwrap();
    // A provider would be asked for schemas.
    client.register_guest("test").unwrap();
    let mut all = Vec::new();
    for (class, (provider, kind, _)) in CLASSES.iter().flat_map(|class| CASES.map(|case| (*class, case))) {
        let id = format!("{class}-{provider}-{kind}");
        let script = format!("{agents}/{provider}/{kind}");
        let resource = match class {
            "ocf" => Resource { id: &id, class, provider: Some(provider), kind },
            _ => Resource { id: &id, class, provider: None, kind: &script },
        };
        client.register_resource(&resource).unwrap();
        for (action, interval) in [("start", 0), ("monitor", 0), ("monitor", 60_000)] {
            let operation = Operation {
                resource: &id,
                action,
                interval,
                timeout: 60_000,
                user_data: "u",
                parameters: &[],
            };
            let call = client.execute(&operation).unwrap().number("lrmd_callid").unwrap();
            let completion = client.completion(call).unwrap();
            let message = completion.message();
            all.push(Told {
                rc: completion.rc(),
                status: completion.status(),
                reason: message.attribute(REASON),
                names: message.root().attributes().map(|attribute| attribute.name.to_owned()).collect(),
            });
        }
    }
    client.close();
    all
}

#[test]
fn agents_that_cannot_be_run() {
    for suite in RELEASES {
        lab::enter("execs::agents_that_cannot_be_run", suite, |lab| compare(lab, suite));
    }
}

fn compare(lab: &Lab, suite: &str) {
    prepare(lab);
    install(lab);
    let mut stock = start_stock(lab, &[]);
    await_port(|| !stock.is_alive()).expect("the stock daemon listens");
    let theirs = ask(3121, AGENTS);
    stock.end();
    let mut pacelet = start_pacelet(lab, &[]);
    await_port(|| pacelet.try_wait().unwrap().is_some()).expect("pacelet listens");
    let ours = ask(3121, lab.at(AGENTS).to_str().unwrap());
    end(pacelet);
    let cases = CLASSES.iter().flat_map(|class| CASES.map(|case| (*class, case)));
    let cases = cases.flat_map(|case| [case; 3]);
    for ((class, (provider, kind, how)), (theirs, ours)) in cases.zip(theirs.iter().zip(&ours)) {
        println!("{suite} {class}:{provider}/{kind}: stock {theirs}, pacelet {ours}");
        check(suite == "bullseye", class, how, theirs, ours);
    }
}

/// `is_old`: before 2.1, which made no reasons of its own.
fn check(is_old: bool, class: &str, how: Kind, theirs: &Told, ours: &Told) {
    let mut names = theirs.names.clone();
    // 2.0 looks for a reason in what a script says as well.
    let is_old_script = is_old && class == "lsb";
    if is_old_script {
        names.remove(REASON);
    }
    if is_old && class == "ocf" && how == Kind::Missing {
        // One answer to all errors of the look-up came with 2.1.
        assert_eq!((ours.rc, ours.status), (Some(5), Some(7)));
    } else {
        assert_eq!((ours.rc, ours.status), (theirs.rc, theirs.status));
    }
    if how != Kind::Runs {
        names.insert(REASON.to_owned());
    }
    // Stock repeats its own reason as if the agent had written it.
    if how == Kind::Fails {
        names.remove(OUTPUT);
    }
    assert_eq!(ours.names, names);
    match (how, &theirs.reason) {
        // Ours adds the errno's text, or is that text: stock calls every error of the look-up a missing file.
        (Kind::Fails, Some(reason)) => {
            assert!(ours.reason.as_ref().is_some_and(|own| own.starts_with(&format!("{reason} ("))));
        }
        // Its path, which ours always names, is longer there.
        (Kind::Missing, Some(reason)) if class == "lsb" => {
            assert!(ours.reason.as_ref().is_some_and(|own| own.ends_with(reason.as_str())));
        }
        (Kind::Missing, Some(reason)) => {
            let agent = |reason: &str| reason.split_once(": ").map(|(agent, _)| agent.to_owned());
            assert_eq!(ours.reason.as_deref().and_then(agent), agent(reason));
        }
        (Kind::Fails, None) => assert!(is_old || class == "lsb"),
        (Kind::Missing, None) => assert!(is_old),
        (Kind::Runs, reason) => assert!(is_old_script || ours.reason == *reason),
    }
}
