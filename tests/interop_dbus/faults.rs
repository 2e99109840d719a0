//! The daemon while systemd or the bus goes away, hangs or comes back.

use std::time::{Duration, Instant};

use pacelet::tools::client::{Buffers, Client};
use pacelet::tools::cluster::Resource;

use crate::daemon::{Daemon, OURS, begin, enter_network, install, result, run};
use crate::systemd::Systemd;

const DONE: (i64, i64) = (0, 0);

#[test]
fn units_outlive_what_they_are_asked_by() {
    let Some(mut systemd) = Systemd::boot() else { return };
    install(&systemd);
    enter_network(&systemd);
    let mut buffers = Buffers::new();
    let pacelet = Daemon::start(&systemd, OURS, &[]);
    let mut client = pacelet.connect(&mut buffers);
    for (id, class, kind) in [
        ("held", "systemd", "pacelet-held"),
        ("good", "systemd", "pacelet-good"),
        ("either", "service", "pacelet-both.service"),
        ("script", "lsb", "pacelet-script"),
    ] {
        client.register_resource(&Resource { id, class, provider: None, kind }).unwrap();
    }
    a_probe_waits_until_a_unit_has_started(&systemd, &mut client);
    monitors_do_not_notice_a_new_systemd_process(&systemd, &mut client);
    a_start_outlives_a_new_systemd_process(&systemd, &mut client);
    a_start_outlives_its_bus(&systemd, &mut client);
    nothing_waits_for_a_systemd_that_hangs(&systemd, &mut client);
    without_a_bus_all_else_works(&systemd, &mut client);
    assert!(!pacelet.log().contains("please report"), "{}", pacelet.log());
    drop(pacelet);
    systemd.shut_down();
}

fn a_probe_waits_until_a_unit_has_started(systemd: &Systemd, client: &mut Client<'_>) {
    systemd.run("systemctl start --no-block pacelet-held.service");
    let probe = begin(client, "held", "monitor", 0, 30_000);
    systemd.run("until systemctl show -P ActiveState pacelet-held.service | grep -qx activating; do sleep 0.05; done; sleep 0.5");
    systemd.release();
    // What is no service of lasting state is inactive after its start.
    let completion = client.completion(probe).unwrap();
    assert_eq!(result(&completion), (7, 0));
    assert!(completion.message().number("lrmd_exec_time").unwrap() >= 500);
}

/// Its first result, and nothing else for as long as it is asked for in vain.
fn monitors_do_not_notice_a_new_systemd_process(systemd: &Systemd, client: &mut Client<'_>) {
    for id in ["good", "either"] {
        assert_eq!(result(&run(client, id, "start", 0, 20_000)), DONE);
        assert_eq!(result(&run(client, id, "monitor", 20, 20_000)), DONE);
    }
    for _ in 0..3 {
        systemd.run("systemctl daemon-reexec");
        systemd.run("systemctl reset-failed; systemctl restart dbus.service");
    }
    for id in ["good", "either"] {
        let none = client.take(&|element| {
            element.attribute("lrmd_rsc_id").as_deref() == Some(id)
                && element.attribute("lrmd_op").as_deref() == Some("lrmd_rsc_exec")
        });
        assert!(none.is_none(), "{:?}", none.map(|message| format!("{:?}", message.root())));
        // And goes on: the next change is told.
    }
    let told = begin_waiting(client, "good");
    systemd.run("systemctl kill --signal=KILL pacelet-good.service");
    assert_eq!(result(&client.completion(told).unwrap()).0, 7);
    for id in ["good", "either"] {
        client.cancel(id, "monitor", 20).unwrap();
    }
    assert_eq!(result(&run(client, "either", "stop", 0, 20_000)), DONE);
}

/// The number of a monitor's results.
fn begin_waiting(client: &mut Client<'_>, id: &str) -> i64 {
    // Asked for again it is told again, by its new number.
    let call = begin(client, id, "monitor", 20, 20_000);
    assert_eq!(result(&client.completion(call).unwrap()), DONE);
    call
}

fn a_start_outlives_a_new_systemd_process(systemd: &Systemd, client: &mut Client<'_>) {
    let start = begin(client, "held", "start", 0, 30_000);
    systemd.run(
        "until systemctl show -P ActiveState pacelet-held.service | grep -qx activating; do sleep 0.05; done",
    );
    systemd.run("systemctl daemon-reexec");
    systemd.release();
    assert_eq!(result(&client.completion(start).unwrap()), DONE);
}

fn a_start_outlives_its_bus(systemd: &Systemd, client: &mut Client<'_>) {
    for signal in ["KILL", "TERM"] {
        let start = begin(client, "held", "start", 0, 30_000);
        systemd.run("until systemctl show -P ActiveState pacelet-held.service | grep -qx activating; do sleep 0.05; done");
        // So many starts of it are too many, else.
        systemd.run("systemctl reset-failed");
        systemd.run(&format!("systemctl kill --signal={signal} dbus.service; sleep 1"));
        systemd.release();
        let completion = client.completion(start).unwrap();
        let reason = completion.message().attribute("lrmd_rsc_exit_reason");
        assert_eq!((result(&completion), reason), (DONE, None), "{signal}");
    }
    assert_eq!(result(&run(client, "held", "stop", 0, 20_000)), DONE);
}

fn nothing_waits_for_a_systemd_that_hangs(systemd: &Systemd, client: &mut Client<'_>) {
    systemd.signal("STOP");
    let hanging = begin(client, "good", "monitor", 0, 1_000);
    let begun = Instant::now();
    assert_eq!(result(&run(client, "script", "start", 0, 20_000)), DONE);
    for _ in 0..100 {
        client.poke().unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    let completion = client.completion(hanging).unwrap();
    let reason = completion.message().attribute("lrmd_rsc_exit_reason").unwrap();
    assert_eq!(result(&completion), (1, 2));
    assert_eq!(reason, "monitor action for systemd unit pacelet-good did not complete in time");
    systemd.signal("CONT");
    assert_eq!(result(&run(client, "good", "start", 0, 20_000)), DONE);
}

fn without_a_bus_all_else_works(systemd: &Systemd, client: &mut Client<'_>) {
    systemd.run("systemctl stop dbus.socket dbus.service");
    let completion = run(client, "good", "monitor", 0, 20_000);
    let reason = completion.message().attribute("lrmd_rsc_exit_reason").unwrap();
    assert_eq!(result(&completion), (1, 4));
    assert!(reason.starts_with("No DBus connection (/run/dbus/system_bus_socket: connect: "), "{reason}");
    assert_eq!(result(&run(client, "script", "monitor", 0, 20_000)), DONE);
    assert_eq!(result(&run(client, "script", "stop", 0, 20_000)), DONE);
    // Whoever wants it next finds it.
    systemd.run("systemctl start dbus.socket");
    assert_eq!(result(&run(client, "good", "monitor", 0, 20_000)), DONE);
    assert_eq!(result(&run(client, "good", "stop", 0, 20_000)), DONE);
}
