//! pacelet, other TLS servers, and servers without TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use pacelet::sys::entropy::Entropy;
use pacelet::tools::client::{Buffers, Client};

use crate::{KEY, PATIENCE, Scratch, Server, free_address, probe, probe_with};

#[test]
fn pacelet_is_right() {
    let (key, address) = (Scratch::new("key", &KEY), free_address());
    let _daemon = Server::pacelet(&key, address);
    probe(address).is_right();
    probe_with(&KEY, &format!("localhost:{}", address.port()), &[]).is_right();
    let json = probe_with(&KEY, &address.to_string(), &["--json"]);
    assert_eq!((json.status, &*json.faults), (0, ""), "{json:?}");
    assert!(json.table.starts_with(r#"{"ok":true,"steps":[{"name":"key","microseconds":"#), "{json:?}");
    assert_eq!(json.table.matches(r#""verdict":"right""#).count(), 6, "{json:?}");
    assert!(json.table.ends_with("],\"causes\":[]}\n"), "{json:?}");

    probe_with(b"another key", &address.to_string(), &[]).fails(
        4,
        "tls",
        &["alert 51 (decrypt_error)", "sha256sum", "lrmd"],
    );
    let json = probe_with(b"another key", &address.to_string(), &["--json"]);
    assert_eq!(json.status, 4, "{json:?}");
    assert!(json.table.starts_with(r#"{"ok":false,"#), "{json:?}");
    assert!(json.table.contains(r#""causes":["the keys differ: "#), "{json:?}");
}

#[test]
fn a_cluster_that_is_connected_stays_so() {
    let (key, address) = (Scratch::new("key", &KEY), free_address());
    let _daemon = Server::pacelet(&key, address);
    let mut buffers = Buffers::new();
    let mut cluster =
        Client::connect(address, &KEY, PATIENCE, &mut buffers, &mut Entropy::new()).expect("a connection");
    cluster.register("cluster").expect("a reply");
    left_alone(&mut cluster, address);
}

/// A probe leaves out what a cluster would notice, unless it is told to do it all the same.
pub fn left_alone(cluster: &mut Client<'_>, address: SocketAddr) {
    let is_take_over = |element: &pacelet::xml::Element<'_>| {
        element.attribute("lrmd_op").as_deref() == Some("lrmd_rsc_new_client")
    };
    let probed = probe(address);
    assert_eq!((probed.status, &*probed.faults), (0, ""), "{probed:?}");
    assert!(probed.table.contains("skipped: somebody is connected"), "{probed:?}");
    assert!(probed.table.ends_with("all 4 steps as a cluster expects, 2 skipped\n"), "{probed:?}");
    probe_with(b"another key", &address.to_string(), &[]).fails(4, "tls", &["keys differ"]);
    cluster.poke().expect("it is still connected");
    assert_eq!(cluster.take(&is_take_over), None);

    probe_with(&KEY, &address.to_string(), &["--register"]).is_right();
    cluster.poke().expect("it is still connected");
    assert!(cluster.take(&is_take_over).is_some(), "nobody told of the other client: is the rest needed?");
}

#[test]
fn nobody_listens() {
    probe(free_address()).fails(
        3,
        "tcp",
        &["Connection refused", "without a usable key", "PCMK_remote_port", "firewall"],
    );
}

#[test]
fn no_key_and_no_name() {
    let probed = probe_with(b"", "127.0.0.1:1", &[]);
    probed.fails(1, "key", &["it is empty"]);
    probe_with(&KEY, "no-such-host.invalid", &[]).fails(2, "name", &["/etc/hosts"]);
    for target in ["", "node:0", "node:x", "[::1"] {
        assert_eq!(probe_with(&KEY, target, &[]).status, 64, "{target}");
    }
    assert_eq!(probe_with(&KEY, "node", &["--unknown"]).status, 64);
}

/// A server that answers the first bytes of a connection, or the connection itself if `eager`, in this way.
fn fake(answer: &'static [u8], eager: bool, open: bool) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.expect("a connection");
            thread::spawn(move || {
                let mut hello = [0; 1024];
                if !eager {
                    let _ = stream.read(&mut hello);
                }
                let _ = stream.write_all(answer);
                if open {
                    thread::sleep(Duration::from_secs(5));
                }
                // An end without a reset.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read(&mut hello);
            });
        }
    });
    address
}

#[test]
fn other_services() {
    for (banner, eager, words) in [
        (
            &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..],
            true,
            "an SSH server answers, and says \"SSH-2.0-OpenSSH_9.2p1 Debian-2\"",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
            false,
            "an HTTP server answers, and says \"HTTP/1.1 400 Bad Request\"",
        ),
        (b"<html>bad</html>", false, "an HTTP server"),
        (b"220 mail.example.org ESMTP\r\n", true, "a mail or FTP server"),
        (b"J\0\0\0\x0a8.0.36\x1b[2J", true, "something without TLS answers, and says \"J\\x00\\x00\\x00"),
        (b"?", true, "something without TLS answers, and says \"?\""),
    ] {
        for open in [false, true] {
            probe(fake(banner, eager, open)).fails(4, "tls", &[words, "another service's"]);
        }
    }
}

#[test]
fn servers_that_say_nothing() {
    probe(fake(b"", false, true)).fails(4, "tls", &["nothing came within 1 s", "hangs"]);
    probe(fake(b"", false, false)).fails(4, "tls", &["closed without a word", "load balancer"]);
    probe(fake(b"", true, false)).fails(4, "tls", &["closed without a word"]);
}

#[test]
fn alerts_of_all_kinds() {
    for (alert, words) in [
        (&[21, 3, 3, 0, 2, 1, 0][..], ["alert 0 (close_notify)", "cannot be told from here"]),
        (&[21, 3, 3, 0, 2, 2, 40], ["alert 40 (handshake_failure)", "HTTPS"]),
        (&[21, 3, 3, 0, 2, 2, 70], ["alert 70 (protocol_version)", "wants certificates"]),
        (&[21, 3, 3, 0, 2, 2, 115], ["alert 115 (unknown_psk_identity)", "lrmd"]),
        (&[21, 3, 3, 0, 2, 2, 116], ["alert 116 (certificate_required)", "wants certificates"]),
        (&[21, 3, 3, 0, 2, 2, 200], ["alert 200 (of another kind)", "cannot be told from here"]),
    ] {
        probe(fake(alert, false, false)).fails(4, "tls", &words);
    }
}

/// What runs, at which the probe looks, and what it says.
fn look(program: &str, arguments: &[&str], package: &str, key: &[u8], step: (i32, &str), words: &[&str]) {
    let ran = Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if ran.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        println!("skipped: no {program}: apt-get install {package}");
        assert!(std::env::var_os("CI").is_none(), "on CI nothing is skipped");
        return;
    }
    let address = free_address();
    let port = address.port().to_string();
    println!("{program} {arguments:?}");
    let mut command = Command::new(program);
    // Neither may see the end of its input.
    command.args(arguments.iter().map(|word| word.replace("PORT", &port))).stdin(Stdio::piped());
    let _server = Server::start(&mut command, address);
    probe_with(key, &address.to_string(), &[]).fails(step.0, step.1, words);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TLS: (i32, &str) = (4, "tls");

#[test]
fn gnutls_servers() {
    let keys = Scratch::new("psk", format!("lrmd:{}\n", hex(&KEY)).as_bytes());
    let file = keys.0.to_str().expect("a path in UTF-8");
    let gnutls = |priority: &str, key: &[u8], step, words: &[&str]| {
        let arguments = ["--port", "PORT", "--pskpasswd", file, "--echo", "--quiet", "--priority", priority];
        look("gnutls-serv", &arguments, "gnutls-bin", key, step, words);
    };
    let old = ["the server speaks TLS 1.2 at most", "PCMK_tls_priorities"];
    gnutls("NORMAL:-VERS-TLS1.3:+DHE-PSK:+PSK", &KEY, TLS, &old);
    // Whether the key is right is not known then.
    gnutls("NORMAL:-VERS-TLS1.3:+DHE-PSK:+PSK", b"another key", TLS, &old);
    gnutls("NORMAL:-VERS-TLS1.3:-KX-ALL:+PSK", &KEY, TLS, &old);
    gnutls("NORMAL:+DHE-PSK:+PSK", b"another key", TLS, &["illegal_parameter", "keys differ"]);
    gnutls(
        "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305:+DHE-PSK:+PSK",
        &KEY,
        TLS,
        &["alert 40", "PCMK_tls_priorities"],
    );
    // The right key, and no such daemon.
    gnutls(
        "NORMAL:+DHE-PSK:+PSK",
        &KEY,
        (5, "register"),
        &["nothing came within 1 s", "no Pacemaker Remote daemon"],
    );
}

#[test]
fn openssl_servers() {
    let key = hex(&KEY);
    let psk =
        ["s_server", "-accept", "127.0.0.1:PORT", "-nocert", "-quiet", "-psk_identity", "lrmd", "-psk", &key];
    let openssl = |more: &[&str], key: &[u8], words: &[&str]| {
        look("openssl", &[&psk, more].concat(), "openssl", key, TLS, words);
    };
    openssl(&["-tls1_2"], &KEY, &["the server speaks TLS 1.2 at most"]);
    openssl(&["-tls1_3"], b"another key", &["refuses with alert", "keys differ"]);
}

#[test]
fn a_server_with_certificates() {
    let (key, certificate) = (Scratch::new("pem", b""), Scratch::new("pem", b""));
    let path = |file: &Scratch| file.0.to_str().expect("a path in UTF-8").to_owned();
    let (key, certificate) = (path(&key), path(&certificate));
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    make.args(["-subj", "/CN=probe", "-keyout", &key, "-out", &certificate]).stderr(Stdio::null());
    // Without OpenSSL it is skipped below.
    let _ = make.status();
    let server = ["s_server", "-accept", "127.0.0.1:PORT", "-key", &key, "-cert", &certificate, "-www"];
    look("openssl", &server, "openssl", &KEY, TLS, &["certificates"]);
    let old = [&server[..], &["-tls1_2"]].concat();
    look("openssl", &old, "openssl", &KEY, TLS, &["alert 70 (protocol_version)", "certificates"]);
}
