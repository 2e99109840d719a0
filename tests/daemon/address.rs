//! Where the daemon listens, in network namespaces of its own: addresses and interfaces that come late, and
//! machines without IPv6.

use super::*;

/// A daemon with a key in a network namespace that has only the loopback interface, after `script`; `None` where
/// that cannot be done.
fn daemon(place: &Place, address: Option<&str>, script: &str) -> Option<Daemon> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make network namespaces");
        return None;
    }
    place.write_key(KEY);
    let script = format!("ip link set lo up && {script} exec \"$0\" \"$@\"");
    Some(Daemon::start(place, |command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_owned()).collect();
        let mut inside = Command::new("unshare");
        inside.args(["-n", "sh", "-c", &script]).arg(program).args(arguments);
        inside.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inside.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("PCMK_remote_port", "3121");
        inside
            .env_remove("PCMK_remote_address")
            .envs(address.map(|address| ("PCMK_remote_address", address)));
        inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(place.path("log")).unwrap());
        *command = inside;
    }))
}

/// Runs a command in the daemon's namespace: whether it succeeds.
fn inside(daemon: &Daemon, command: &str) -> bool {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["-t", &daemon.process.id().to_string(), "-n", "bash", "-c", command]);
    nsenter.stderr(Stdio::null()).status().unwrap().success()
}

fn connects(daemon: &Daemon, address: &str) -> bool {
    inside(daemon, &format!("exec 3<>/dev/tcp/{address}/3121"))
}

#[test]
fn the_wildcard_is_both_families() {
    let place = Place::new("both");
    let Some(daemon) = daemon(&place, None, "") else { return };
    daemon.wait_for("successfully started");
    assert!(connects(&daemon, "127.0.0.1") && connects(&daemon, "::1"));
    assert!(daemon.log().contains("Listening on [::]:3121"));
}

#[test]
fn an_address_may_come_later() {
    for address in ["192.0.2.9", "2001:db8::9"] {
        let place = Place::new("later");
        let Some(daemon) = daemon(&place, Some(address), "") else { return };
        daemon.wait_for("which no interface has: nobody can connect before one has it");
        daemon.wait_for("successfully started");
        assert!(!connects(&daemon, address));
        assert!(inside(&daemon, &format!("ip address add {address} dev lo")));
        assert!(connects(&daemon, address), "{address}:\n{}", daemon.log());
    }
}

#[test]
fn an_interface_may_come_later() {
    let place = Place::new("interface");
    let Some(daemon) = daemon(&place, Some("fe80::1%late0"), "") else { return };
    daemon.wait_for(
        "[fe80::1%late0]:3121: interface: No such device (os error 19): trying again until it is there",
    );
    let make = "ip link add late0 type veth peer name other0 && ip link set late0 up && ip link set other0 up && \
                ip address add fe80::1/64 dev late0 nodad";
    if !inside(&daemon, make) {
        eprintln!("skipped: this kernel has no veth interfaces");
        return;
    }
    daemon.wait_for("successfully started");
    assert!(connects(&daemon, "fe80::1%late0"), "{}", daemon.log());
    assert_eq!(daemon.log().matches("trying again").count(), 1);
}

#[test]
fn ipv4_goes_without_ipv6() {
    let place = Place::new("no-ipv6");
    let script = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 &&";
    let Some(daemon) = daemon(&place, None, script) else { return };
    daemon.wait_for("successfully started");
    assert!(connects(&daemon, "127.0.0.1") && !connects(&daemon, "::1"), "{}", daemon.log());
}

#[test]
fn a_host_that_nobody_knows_is_status_100() {
    let place = Place::new("unknown-host");
    place.write_key(KEY);
    let mut daemon = Daemon::start(&place, |command| {
        command.env("PCMK_remote_address", "no such host");
    });
    assert_eq!(daemon.status().code(), Some(100));
    assert!(daemon.log().contains("down: PCMK_remote_address \"no such host\": "), "{}", daemon.log());
}
