//! The stock daemons of several releases, in namespaces of their own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};

use crate::lab::{self, User};
use crate::servers::left_alone;
use crate::{KEY, PATIENCE, probe, probe_with};

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3121);

#[test]
fn stock_daemons() {
    for suite in ["bullseye", "bookworm", "trixie"] {
        lab::enter("stock::stock_daemons", suite, |lab| against_stock(lab, suite));
    }
}

fn against_stock(lab: &lab::Lab, suite: &str) {
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip of iproute2");
    assert!(lo.success());
    let daemon = "/tmp/pacemaker-remoted";
    fs::copy(lab.stock().join("usr/sbin/pacemaker-remoted"), lab.at(daemon)).expect("a copy");
    fs::write(lab.at("/tmp/key"), KEY).expect("the key");
    let start = |settings: &[&str]| {
        let fixed = ["env", "PCMK_authkey_location=/tmp/key", "PCMK_logfile=none", "PCMK_logfacility=none"];
        let mut running = lab.start(User::ROOT, &[&fixed, settings, &[daemon]].concat());
        let begin = Instant::now();
        while TcpStream::connect(ADDRESS).is_err() {
            let waits = running.is_alive() && begin.elapsed() < PATIENCE;
            assert!(waits, "{suite}: it does not listen: {:?}", running.end());
            sleep(Duration::from_millis(20));
        }
        running
    };

    let running = start(&[]);
    let probed = probe(ADDRESS);
    println!("{}", probed.table);
    probed.is_right();
    let unlike = ["alert 0 (close_notify)", "keys differ", "stock daemons answer all of them alike"];
    probe_with(b"another key", &ADDRESS.to_string(), &[]).fails(4, "tls", &unlike);
    let mut buffers = Buffers::new();
    let mut cluster =
        Client::connect(ADDRESS, &KEY, PATIENCE, &mut buffers, &mut Entropy::new()).expect("a connection");
    cluster.register("cluster").expect("a reply");
    left_alone(&mut cluster, ADDRESS);
    cluster.close();
    running.end();

    let running = start(&["PCMK_tls_priorities=NORMAL:-VERS-TLS1.3"]);
    probe(ADDRESS).fails(4, "tls", &["the server speaks TLS 1.2 at most", "PCMK_tls_priorities"]);
    running.end();
}
