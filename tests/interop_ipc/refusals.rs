//! What stock tools say of the daemon while no cluster is connected (ipc.md section C.6), and who can have its names.

use std::time::{Duration, Instant};

use super::daemon::{self, Daemon};
use super::lab::{self, Lab, Tool, User};
use super::sessions;

/// How long the stock daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

fn in_each_release(test: &str, body: impl Fn(&Lab)) {
    for suite in ["bullseye", "bookworm", "trixie"] {
        lab::enter(&format!("refusals::{test}"), suite, &body);
    }
}

const TOOLS: [&[&str]; 10] = [
    &["cibadmin", "-Q"],
    &["crm_mon", "-1"],
    &["attrd_updater", "-n", "foo", "-U", "1"],
    &["attrd_updater", "-n", "foo", "-Q"],
    &["crm_resource", "-l"],
    &["crm_attribute", "-n", "a", "-v", "1"],
    &["stonith_admin", "-L"],
    &["crm_node", "-n"],
    &["crmadmin", "-D"],
    &["crmadmin", "-P"],
];

/// The stock daemon in its root; it looks for a prime if it is not told to be content with a small one.
const STOCK: [&str; 6] = [
    "env",
    "PCMK_authkey_location=/tmp/no-key",
    "PCMK_logfile=none",
    "PCMK_logfacility=none",
    "PCMK_dh_max_bits=512",
    "/tmp/pacemaker-remoted",
];

/// What they say, run by root and by Pacemaker's user.
fn answers(lab: &Lab) -> Vec<(String, Tool)> {
    let users = [User::ROOT, lab.hacluster()];
    let runs = TOOLS.iter().flat_map(|command| users.map(|user| (command, user)));
    let told = runs.map(|(command, user)| {
        let mut tool = lab.run(user, command);
        // The time of day.
        tool.output.truncate(tool.output.find("(last updated").unwrap_or(tool.output.len()));
        (format!("{} as {}", command.join(" "), user.uid), tool)
    });
    told.collect()
}

#[test]
fn without_a_cluster_tools_hear_of_it_as_from_stock() {
    in_each_release("without_a_cluster_tools_hear_of_it_as_from_stock", |lab| {
        std::fs::copy(lab.stock().join("usr/sbin/pacemaker-remoted"), lab.at(STOCK[5])).expect("a copy");
        let mut stock = lab.start(User::ROOT, &STOCK);
        let start = Instant::now();
        while !daemon::serves_tools() {
            assert!(
                start.elapsed() < PATIENCE && stock.is_alive(),
                "stock serves no tools: {:?}",
                stock.end()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let expected = answers(lab);
        let ended = stock.end();
        assert_eq!(expected[0].1.status.code(), Some(102), "{expected:?} {ended:?}");

        let daemon = Daemon::start(&[]);
        for ((what, tool), (_, stock)) in answers(lab).into_iter().zip(expected) {
            assert_eq!(tool, stock, "{what}, this daemon's on the left");
        }
        assert_eq!(sessions(lab), [] as [String; 0]);
        assert!(!daemon.log().contains("error:"), "{}", daemon.log());
        assert!(daemon.terminate().success());
    });
}

#[test]
fn names_belong_to_one_daemon() {
    lab::enter("refusals::names_belong_to_one_daemon", "trixie", |_| {
        let first = Daemon::start(&[]);
        let port = [("PCMK_remote_port", "3122")];
        let second = Daemon::launch(&port);
        let holder = format!("held by process {} (", first.pid());
        second.wait_for(&holder);
        assert_eq!(second.log().matches("warning: Tools of this node cannot connect").count(), 1);
        assert!(first.terminate().success());
        second.wait_for("Tools of this node can connect now");
        assert!(second.terminate().success());
        // Without tools any number of daemons can be.
        let quiet = Daemon::launch(&[("PACELET_tools", "no")]);
        quiet.wait_for("the port stays closed");
        assert!(!quiet.log().contains("Tools of this node"));
    });
}

/// What the next daemon does with the files of one that was killed.
#[test]
fn files_of_a_dead_daemon_go() {
    lab::enter("refusals::files_of_a_dead_daemon_go", "trixie", |lab| {
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        for (name, file) in
            [("qb-999999-1-2-a", "qb-event-crmd-data"), ("qb-999999-1-2-b", "qb-event-cmap-data")]
        {
            let directory = std::path::Path::new("/dev/shm").join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join(file), "").unwrap();
            let times = std::fs::FileTimes::new().set_modified(old);
            std::fs::File::open(&directory).unwrap().set_times(times).unwrap();
        }
        let daemon = Daemon::start(&[]);
        daemon.wait_for("Removed the files of 1 sessions");
        assert_eq!(sessions(lab), ["qb-999999-1-2-b"]);
    });
}

/// Where abstract sockets are not wanted, stock tools look for files, and find the same daemon.
#[test]
fn sockets_may_be_files() {
    in_each_release("sockets_may_be_files", |lab| {
        let daemon = Daemon::start(&[]);
        let expected = answers(lab);
        assert!(daemon.terminate().success());

        lab.use_file_sockets("/mnt");
        let daemon = Daemon::start(&[("PACELET_socket_dir", "/mnt")]);
        let sockets = std::fs::read_to_string("/proc/net/unix").expect("/proc");
        assert!(!sockets.contains(" @crmd"), "{sockets}");
        for ((what, tool), (_, expected)) in answers(lab).into_iter().zip(expected) {
            assert_eq!(tool, expected, "{what}, by files on the left");
        }
        assert!(daemon.log().contains("Refused attrd"), "{}", daemon.log());
        assert_eq!(sessions(lab), [] as [String; 0]);
        // A daemon that is killed leaves its sockets, and the next one takes their place.
        drop(daemon);
        assert!(std::path::Path::new("/mnt/crmd").exists());
        let daemon = Daemon::launch(&[("PACELET_socket_dir", "/mnt")]);
        daemon.wait_until("it serves no tools", || {
            lab.run(User::ROOT, TOOLS[3]);
            daemon.log().contains("Refused attrd")
        });
        assert!(daemon.terminate().success());
        assert!(!std::path::Path::new("/mnt/crmd").exists());
    });
}
