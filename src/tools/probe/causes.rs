//! What may have caused what was seen, the likeliest first, with what to do. What looks the same from outside
//! is listed together: nothing here claims more than the probe can know.

use std::fmt;
use std::io::ErrorKind;

use super::old_hello::Answer;
use crate::log::Escaped;
use crate::tools::client::{Error, Failure, First, is_record};
use crate::tools::report::Wrong;

/// The alert of a server that has another key (RFC 8446 section 6.2).
const DECRYPT_ERROR: u8 = 51;

pub(super) const KEY: &str = "\
    only root may read the cluster's key: run the probe as root, or name a copy with --key\n\
    this machine has no key yet: copy it from a cluster node";

pub(super) const NAME: &str = "\
    the name is misspelt, or neither in /etc/hosts nor known to the name servers in /etc/resolv.conf\n\
    the name servers do not answer\n\
    the cluster may know the name and this machine not: it is the cluster nodes' look-up that counts";

pub(super) const REFUSED: &str = "\
    the daemon does not run: see systemctl status pacemaker_remote on the node\n\
    pacelet runs without a usable key, and opens its port when there is one: its log says why\n\
    it listens at another port (PCMK_remote_port) or only at another address (PCMK_remote_address): see \
     ss -tln on the node\n\
    it is about to end, and takes no new connections\n\
    a firewall refuses in its place, which looks the same from here";

const UNREACHED: &str = "\
    the address is wrong, or its machine is down: does it answer ping?\n\
    a firewall on the way or on the node drops what comes for this port: it must be open for TCP\n\
    which of these it is cannot be told from here: ss -tln on the node shows whether the daemon listens";

const NO_ROUTE: &str = "\
    the node's machine is down, or nobody has this address: ip neigh shows FAILED for it on the same \
     network\n\
    there is no route from this machine: see ip route get ADDRESS\n\
    a firewall rejects it, with the answer a router would give";

const FORBIDDEN: &str = "\
    this machine's own firewall or security policy does not let the probe out";

const OTHER_SERVICE: &str = "\
    the port is another service's: the daemon's is 3121 unless PCMK_remote_port says otherwise on the \
     node\n\
    the address is another machine's";

/// What one answer may mean if it is about the key.
const OTHER_KEY: &str = "\
    the keys differ: compare sha256sum of the key file here and on the node; a newline at the end counts\n\
    the daemon still uses an older key: stock daemons keep it for 60 s, from 3.0.2 on until they are \
     restarted\n\
    it has the key but knows nobody by the name lrmd, so it is no Pacemaker Remote daemon; that looks \
     the same";

/// Stock daemons give one answer to everything.
const ANYTHING: &str = "\
    the keys differ: compare sha256sum of the key file here and on the node; a newline at the end counts\n\
    the daemon has no key, or cannot read it: its log says so\n\
    its policy (PCMK_tls_priorities, or crypto-policies of the system) allows neither \
     TLS_AES_128_GCM_SHA256 with P-256, all that this probe speaks; a cluster node speaks more\n\
    it wants certificates (PCMK_cert_file and so on), and this probe has none\n\
    which of these it is cannot be told from here: stock daemons answer all of them alike";

const NOTHING_IN_COMMON: &str = "\
    it wants certificates: Pacemaker with PCMK_cert_file and so on, or another service at this port, \
     such as HTTPS\n\
    its policy (PCMK_tls_priorities, or crypto-policies of the system) allows neither \
     TLS_AES_128_GCM_SHA256 with P-256, all that this probe speaks; a cluster node speaks more";

const POLICY: &str = "\
    its policy (PCMK_tls_priorities, or crypto-policies of the system) allows neither \
     TLS_AES_128_GCM_SHA256 with P-256, all that this probe speaks; a cluster node speaks more";

const OLD_TLS: &str = "\
    its GnuTLS is older than 3.6.5, as on Red Hat 7 and Debian 9\n\
    TLS 1.3 is switched off there, by PCMK_tls_priorities or by crypto-policies of the system\n\
    a cluster node that speaks TLS 1.2, too, may well connect: whether the key is right was not tried";

const CERTIFICATES: &str = "\
    it wants certificates: Pacemaker with PCMK_cert_file and so on, where no key is of use\n\
    the port is another service's, such as HTTPS: the daemon's is 3121 unless PCMK_remote_port says \
     otherwise";

const SILENT: &str = "\
    the daemon is stopped or hangs, and the kernel takes connections in its place: see ps -o stat,wchan \
     -C pacemaker-remoted on the node\n\
    the port is that of a service without TLS that waits for its client to begin\n\
    something on the way takes the connection and drops what is in it";

const CUT: &str = "\
    a load balancer, proxy or port forwarding took the connection, and does not reach the daemon behind \
     it\n\
    the daemon ended just now, or a stock daemon has no usable TLS settings: see its log\n\
    the port is another service's that does not take this machine or TLS";

pub(super) const REGISTRATION_REFUSED: &str = "\
    lrmd_rc -71 says that it finds protocol version 1.2 too old; other numbers are its errno\n\
    it is no Pacemaker Remote daemon, but has the same key";

const REGISTRATION: &str = "\
    the daemon hangs or is overloaded: see its log, and ps -o stat,wchan -C pacemaker-remoted on the node\n\
    a stock daemon from 3.0.2 on does not answer a client whose protocol version it does not take\n\
    it is no Pacemaker Remote daemon, but has the same key; that looks the same";

const OTHER_PROTOCOL: &str = "\
    it is no Pacemaker Remote daemon, but another server with the same key";

pub(super) const POKE: &str = "\
    the daemon hangs or is overloaded: a cluster takes the node for lost when that lasts; see its log";

/// What a connection that does not come about may mean.
pub(super) fn of_connection(error: &Error) -> &'static str {
    let Error::Connect(_, error) = error else { return "" };
    match error.kind() {
        ErrorKind::ConnectionRefused => REFUSED,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => UNREACHED,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => NO_ROUTE,
        ErrorKind::PermissionDenied => FORBIDDEN,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => CUT,
        _ => "",
    }
}

/// Whether a failed handshake leaves open if the server speaks TLS 1.3 at all.
pub(super) fn asks_for_more(error: &Error) -> bool {
    match error {
        Error::Handshake(Failure::Timeout(_), first) if first.is_empty() => false,
        Error::Handshake(_, first) => {
            first.first().is_none_or(|&kind| is_record(kind)) && !matches!(alert(first), Some(DECRYPT_ERROR))
        }
        _ => false,
    }
}

/// What a failed handshake means, given what the server says to TLS 1.2.
pub(super) fn of_handshake(error: &Error, old: Option<Answer>) -> Wrong {
    let Error::Handshake(failure, first) = error else { return error.to_string().into() };
    if first.first().is_some_and(|&kind| !is_record(kind)) {
        let line = first.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let seen = format!("{} answers, and says \"{}\"", service(first), Escaped(line));
        return Wrong::from(seen).with_causes(OTHER_SERVICE);
    }
    if let Some(Answer::Takes(version)) = old {
        let seen = format!("the server speaks {} at most, and this probe only TLS 1.3", Version(version));
        return Wrong::from(seen).with_causes(OLD_TLS);
    }
    if let Some(alert) = alert(first) {
        let (name, causes) = match (meaning(alert), old) {
            // Without any key it would not have taken the suites of TLS 1.2.
            ((name, NOTHING_IN_COMMON), Some(Answer::KnowsBetter)) => (name, POLICY),
            // It has refused these suites as well, so its age is not all there is to it.
            ((name, OLD_TLS), Some(Answer::Refuses)) => (name, CERTIFICATES),
            ((name, causes), _) => (name, causes),
        };
        return Wrong::from(format!("the server refuses with alert {alert} ({name})")).with_causes(causes);
    }
    let causes = match failure {
        Failure::Timeout(_) => SILENT,
        Failure::Closed => CUT,
        // It has answered, but not with what the key makes: so it did not take the offer to use the key.
        Failure::Tls(_) => CERTIFICATES,
    };
    let seen = match failure {
        Failure::Tls(error) => format!("the server does not use the key ({error:?})"),
        Failure::Closed if first.is_empty() => "the connection is closed without a word".to_owned(),
        other => other.to_string(),
    };
    Wrong::from(seen).with_causes(causes)
}

/// What it means that there is no reply to a registration.
pub(super) fn of_registration(error: &Error) -> Wrong {
    let causes = if matches!(error, Error::Connection(_)) { REGISTRATION } else { OTHER_PROTOCOL };
    Wrong::from(error.to_string()).with_causes(causes)
}

/// Whose banner it is.
fn service(banner: &[u8]) -> &'static str {
    let names: [(&[u8], _); 4] = [
        (b"SSH-", "an SSH server"),
        (b"HTTP/", "an HTTP server"),
        (b"<", "an HTTP server"),
        (b"220", "a mail or FTP server"),
    ];
    for (start, name) in names {
        if banner.starts_with(start) {
            return name;
        }
    }
    "something without TLS"
}

/// A version of TLS by its number on the wire.
struct Version(u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x0300 => f.write_str("SSL 3.0"),
            version @ 0x0301..=0x0304 => write!(f, "TLS 1.{}", version - 0x0301),
            version => write!(f, "version {version:#06x}"),
        }
    }
}

/// The alert in a record that is not encrypted (RFC 8446 section 6).
fn alert(first: &First) -> Option<u8> {
    match first.as_slice() {
        [21, _, _, _, _, _, alert, ..] => Some(*alert),
        _ => None,
    }
}

/// An alert's name (RFC 8446 section 6.2), and what may have caused it.
fn meaning(alert: u8) -> (&'static str, &'static str) {
    match alert {
        0 => ("close_notify", ANYTHING),
        20 => ("bad_record_mac", OTHER_KEY),
        40 => ("handshake_failure", NOTHING_IN_COMMON),
        47 => ("illegal_parameter", OTHER_KEY),
        DECRYPT_ERROR => ("decrypt_error", OTHER_KEY),
        70 => ("protocol_version", OLD_TLS),
        71 => ("insufficient_security", NOTHING_IN_COMMON),
        109 => ("missing_extension", CERTIFICATES),
        112 => ("unrecognized_name", CERTIFICATES),
        115 => ("unknown_psk_identity", OTHER_KEY),
        116 => ("certificate_required", CERTIFICATES),
        _ => ("of another kind", ANYTHING),
    }
}
