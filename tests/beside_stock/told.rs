//! What agents and alerts are told and run as, and which of their ends count: secrets, time-outs, degraded results.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};
use pacelet::tools::cluster::{Operation, Resource};

use crate::execs::AGENTS;
use crate::lab::{self, Lab};
use crate::{KEY, PATIENCE, RELEASES, await_port, end, prepare, start_pacelet, start_stock};

/// What both daemons see here is the same, though they have different roots.
const SHARED: &str = "/mnt";
const SECRETS: &str = "/var/lib/pacemaker/lrm/secrets";

/// Says what it is told, and ends as it is told.
const AGENT: &[u8] = b"#!/bin/sh
{
    env
    echo UMASK=$(umask)
    grep -E '^(Uid|Gid|Groups):' /proc/self/status
} >/mnt/agent
if [ -n \"$OCF_RESKEY_hang\" ]; then
    sleep 600 >/dev/null 2>&1 &
    echo $! >/mnt/child
    wait
fi
exit ${OCF_RESKEY_code:-0}
";
const ALERT: &[u8] = b"#!/bin/sh
{ env; grep -E '^(Uid|Gid|Groups):' /proc/self/status; } >\"$CRM_alert_recipient.part\"
mv \"$CRM_alert_recipient.part\" \"$CRM_alert_recipient\"
";

/// What of an environment must be the same in both; what else there is belongs to a daemon's settings.
const COMPARED: [&str; 6] = ["OCF_", "CRM_", "UMASK", "Uid:", "Gid:", "Groups:"];
/// What older releases did not tell, or told otherwise, or always: pacelet counts alerts by the old name only for a
/// cluster that uses such names.
const LATER: [&str; 3] = ["OCF_OUTPUT_FORMAT", "OCF_RA_VERSION_MINOR", "CRM_notify_node_sequence"];

/// Parameters, and the action they go to.
const CASES: [(&str, &[(&str, &str)]); 11] = [
    ("start", &[("plain", "a b=c'\"$"), ("with-dash.and.dot", ""), ("CRM_meta_timeout", "60000")]),
    ("monitor", &[("OCF_CHECK_LEVEL", "10")]),
    ("start", &[("password", "lrm://")]),
    ("start", &[("password", "lrm://x")]),
    ("start", &[("missing", "lrm://")]),
    ("monitor", &[("tampered", "lrm://")]),
    ("stop", &[("missing", "lrm://"), ("password", "lrm://"), ("tampered", "lrm://")]),
    ("monitor", &[("code", "190")]),
    ("monitor", &[("code", "191")]),
    ("monitor", &[("code", "192")]),
    ("monitor", &[("code", "10")]),
];

#[test]
fn agents_and_alerts() {
    for suite in RELEASES {
        lab::enter("told::agents_and_alerts", suite, |lab| compare(lab, suite));
    }
}

fn compare(lab: &Lab, suite: &str) {
    prepare(lab);
    install(lab);
    let mut stock = start_stock(lab, &[]);
    await_port(|| !stock.is_alive()).expect("the stock daemon listens");
    let theirs = ask();
    stock.end();
    let mut pacelet = start_pacelet(lab, &[]);
    await_port(|| pacelet.try_wait().unwrap().is_some()).expect("pacelet listens");
    let ours = ask();
    end(pacelet);
    for ((case, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        println!("{suite} {case}: stock {theirs:?}");
        println!("{suite} {case}: pacelet {ours:?}");
        let mut theirs = theirs.clone();
        if suite != "trixie" {
            // What came later than this release.
            for name in LATER.into_iter().chain(["uptime", "node_start_state"]) {
                theirs.remove(name);
                theirs.extend(ours.get_key_value(name).map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        // Before 2.1 a missing secret was an error of the configuration.
        if suite == "bullseye" && ours.get("rc").is_some_and(|rc| rc == "2") {
            assert_eq!(theirs.insert("rc".to_owned(), "2".to_owned()).as_deref(), Some("6"));
        }
        assert_eq!(*ours, theirs, "{suite} {case}");
    }
    assert_eq!(ours.len(), theirs.len());
}

fn install(lab: &Lab) {
    lab.mount_private(AGENTS);
    let script = |path: &Path, text: &[u8]| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    };
    script(&lab.at(AGENTS).join("test/tells"), AGENT);
    script(&lab.at("/tmp/alert"), ALERT);
    for place in [Path::new(SHARED), &lab.at(SHARED)] {
        lab.bind("/tmp", place);
    }
    // The root's users are pacelet's as well, and its secrets.
    lab.bind("/etc/passwd", Path::new("/etc/passwd"));
    lab.bind("/etc/group", Path::new("/etc/group"));
    let secrets = lab.at(SECRETS).join("r");
    fs::create_dir_all(&secrets).unwrap();
    for (name, text) in [
        ("password", "hunter2 \n"),
        ("password.sign", "2ab96390c7dbe3439de74d0c9b0b1767\n"),
        ("tampered", "hunter3\n"),
        ("tampered.sign", "2ab96390c7dbe3439de74d0c9b0b1767\n"),
    ] {
        fs::write(secrets.join(name), text).unwrap();
    }
    lab.mount_memory("/var/lib");
    fs::create_dir_all("/var/lib/pacemaker").unwrap();
    lab.bind("/var/lib/pacemaker", Path::new("/var/lib/pacemaker"));
}

type Told = BTreeMap<String, String>;

/// Everything that the daemon on the port tells and does.
fn ask() -> Vec<(String, Told)> {
    let mut buffers = Buffers::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 3121));
    let mut client = Client::connect(address, &KEY, PATIENCE, &mut buffers, &mut Entropy::new()).unwrap();
    let reply = client.register_guest("test").unwrap();
    let mut all = Vec::new();
    let mut registered = Told::new();
    // How long it has run differs.
    registered.extend(reply.attribute("uptime").map(|_| ("uptime".into(), "told".into())));
    registered.extend(reply.attribute("node_start_state").map(|state| ("node_start_state".into(), state)));
    all.push(("register".to_owned(), registered));
    client
        .register_resource(&Resource { id: "r", class: "ocf", provider: Some("test"), kind: "tells" })
        .unwrap();
    for (action, parameters) in CASES {
        all.push((format!("{action} {parameters:?}"), run(&mut client, action, 60_000, parameters)));
    }
    let kinds: [&[(&str, &str)]; 3] =
        [&[], &[("CRM_meta_on_fail", "block")], &[("CRM_meta_on_fail", "restart")]];
    for kind in kinds {
        let parameters = [kind, &[("hang", "1")]].concat();
        let mut told = run(&mut client, "monitor", 1500, &parameters);
        told.insert("descendant".to_owned(), descendant());
        all.push((format!("hang {kind:?}"), told));
    }
    for number in [1, 2] {
        all.push((format!("alert {number}"), alert(&mut client)));
    }
    client.close();
    all
}

fn run(client: &mut Client<'_>, action: &str, timeout: u32, parameters: &[(&str, &str)]) -> Told {
    let operation = Operation { resource: "r", action, interval: 0, timeout, user_data: "u", parameters };
    let call = client.execute(&operation).unwrap().number("lrmd_callid").unwrap();
    let completion = client.completion(call).unwrap();
    assert_eq!(completion.difference(&operation), None);
    let number = |number: Option<i64>| number.unwrap_or(-99).to_string();
    // Not by its output, of which Pacemaker 2.0 tells nothing when all is well. Without its secret it has not run.
    let file = Path::new(SHARED).join("agent");
    let mut told = listed(&fs::read_to_string(&file).unwrap_or_default());
    let _ = fs::remove_file(&file);
    told.insert("rc".to_owned(), number(completion.rc()));
    told.insert("status".to_owned(), number(completion.status()));
    told
}

/// What of an environment and of a process's state is compared.
fn listed(text: &str) -> Told {
    let lines = text.lines().filter(|line| COMPARED.iter().any(|beginning| line.starts_with(beginning)));
    // pacelet's agents are elsewhere.
    let lines = lines.filter(|line| !line.starts_with("OCF_RA_PATH"));
    lines
        .filter_map(|line| line.split_once(['=', ':']))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// What has become of what the agent left.
fn descendant() -> String {
    let child = fs::read_to_string(format!("{SHARED}/child")).unwrap();
    fs::remove_file(format!("{SHARED}/child")).unwrap();
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    let lives = || state().is_some_and(|state| state != 'Z');
    // It is killed with its group, but may end a moment later.
    let end = Instant::now() + Duration::from_secs(2);
    while lives() && Instant::now() < end {
        sleep(Duration::from_millis(10));
    }
    if !lives() {
        return "killed".to_owned();
    }
    std::process::Command::new("kill").arg("-9").arg(child.trim()).status().unwrap();
    "left".to_owned()
}

fn alert(client: &mut Client<'_>) -> Told {
    let file = format!("{SHARED}/told");
    let reply = client.request(|request| {
        request.attribute("t", "lrmd").attribute("lrmd_op", "lrmd_alert_exec");
        request.number("lrmd_timeout", 30_000).number("lrmd_callopt", 2);
        let mut data = request.child("lrmd_calldata");
        let mut alert = data.child("lrmd_alert");
        alert.attribute("lrmd_alert_id", "a1").attribute("lrmd_alert_path", &format!("{SHARED}/alert"));
        alert.number("lrmd_timeout", 30_000);
        alert
            .child("attributes")
            .attribute("CRM_alert_kind", "resource")
            .attribute("CRM_alert_desc", "not running: 7=7")
            .attribute("CRM_alert_version", "3.0.0")
            .attribute("CRM_alert_recipient", &file);
    });
    let mut told = Told::from([("rc".to_owned(), reply.unwrap().number("lrmd_rc").unwrap().to_string())]);
    let end = Instant::now() + PATIENCE;
    while !Path::new(&file).exists() {
        assert!(Instant::now() < end, "the alert does not come");
        sleep(Duration::from_millis(10));
    }
    told.extend(listed(&fs::read_to_string(&file).unwrap()));
    fs::remove_file(&file).unwrap();
    told
}

/// A cluster that counts on a watchdog which nobody feeds: the node ends, so that nobody takes it for a part of it.
#[test]
fn a_watchdog_that_nobody_feeds() {
    lab::enter("told::a_watchdog_that_nobody_feeds", "trixie", |lab| {
        prepare(lab);
        let mut stock = start_stock(lab, &[]);
        await_port(|| !stock.is_alive()).expect("the stock daemon listens");
        check_watchdog();
        await_end("stock", || !stock.is_alive());
        assert_eq!(stock.end().status.code(), Some(100));
        let mut pacelet = start_pacelet(lab, &[]);
        await_port(|| pacelet.try_wait().unwrap().is_some()).expect("pacelet listens");
        check_watchdog();
        await_end("pacelet", || pacelet.try_wait().unwrap().is_some());
        assert_eq!(pacelet.wait().unwrap().code(), Some(100));
    });
}

fn check_watchdog() {
    let mut buffers = Buffers::new();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 3121));
    let mut client = Client::connect(address, &KEY, PATIENCE, &mut buffers, &mut Entropy::new()).unwrap();
    client.register("test").unwrap();
    // There is no reply: what comes is the connection's end.
    let reply = client.request(|request| {
        request.attribute("t", "lrmd").attribute("lrmd_op", "lrmd_check");
        request.number("lrmd_timeout", 0).number("lrmd_callopt", 0);
        request.child("lrmd_calldata").child("lrmd_op").attribute("lrmd_watchdog", "10s");
    });
    assert!(reply.is_err());
}

fn await_end(name: &str, mut has_ended: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !has_ended() {
        assert!(Instant::now() < end, "{name} goes on");
        sleep(Duration::from_millis(10));
    }
}
