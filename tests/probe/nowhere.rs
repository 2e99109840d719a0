//! Addresses behind which nobody is, in a network of the test's own.

use std::process::Command;

use crate::{KEY, probe_with};

/// Set in the namespaces.
const INSIDE: &str = "PACELET_PROBE_INSIDE";

/// Makes one address whose packets vanish, one that the network refuses and one that a firewall would.
const NETWORK: &str = "ip link set lo up && ip link add hole type veth peer name end && \
    ip address add 192.0.2.1/24 dev hole && ip link set hole up && ip link set end up && \
    ip neighbour add 192.0.2.7 lladdr 02:00:00:00:00:07 dev hole nud permanent && \
    ip route add unreachable 198.51.100.1 && ip route add prohibit 203.0.113.1";

#[test]
fn addresses_that_lead_nowhere() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let user =
        String::from_utf8(Command::new("id").arg("-u").output().expect("id").stdout).expect("a number");
    if user.trim() != "0" {
        assert!(std::env::var_os("CI").is_none(), "on CI this must not be skipped");
        println!("skipped: addresses that lead nowhere: run it as root, to make a network namespace");
        return;
    }
    let output = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe().expect("the test program's own path"))
        .args(["--exact", "nowhere::addresses_that_lead_nowhere", "--nocapture"])
        .env(INSIDE, "yes")
        .output()
        .expect("unshare of util-linux");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("test result: ok. 1 passed"), "{output:?}");
}

fn inside() {
    let made = Command::new("sh").args(["-c", NETWORK]).status().expect("a shell");
    assert!(made.success(), "cannot make the network: {NETWORK}");
    let probe = |target| probe_with(&KEY, target, &[]);
    probe("192.0.2.7").fails(
        3,
        "tcp",
        &["192.0.2.7:3121: connection timed out", "firewall", "cannot be told"],
    );
    probe("198.51.100.1").fails(3, "tcp", &["(os error 113)", "ip neigh"]);
    probe("203.0.113.1").fails(3, "tcp", &["(os error 13)", "own firewall"]);
    probe("[2001:db8::1]:9").fails(3, "tcp", &["[2001:db8::1]:9: ", "(os error ", "no route"]);
}
