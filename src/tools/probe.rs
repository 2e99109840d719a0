//! `pacelet probe`: can a cluster reach this Pacemaker Remote daemon, and if not, what is in its way?
//!
//! Six steps, as a cluster node takes them: read the key, look the name up, TCP, TLS, register, poke. Each is
//! timed; at the first that goes wrong the probe says what it saw, and what may have caused that, including
//! what cannot be told apart from outside. The exit status is the number of that step.
//!
//! It must not disturb a cluster that is connected. A daemon tells its clients of every new one as soon as the
//! TLS handshake is complete (executor-api.md section 6.4), whoever it is and whatever it registers as; a cluster
//! node takes that for a take-over and drops its connection, and then the node may be fenced. So unless it is
//! certain that nobody is connected, the handshake stops where both ends have proved that they have the key,
//! and the rest is left out: see [`neighbours`].

mod causes;
mod neighbours;
mod old_hello;
mod target;

use std::ffi::CString;
use std::fmt::{self, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use argh::FromArgs;
use zeroize::Zeroizing;

use self::neighbours::Neighbours;
use self::target::Target;
use super::client::{self, Buffers, Client};
use super::cluster::protocol_version;
use super::report::{self, Report, Seen, Wrong};
use crate::log::Escaped;
use crate::sys::entropy::Entropy;
use crate::sys::key_file;

/// What the probe calls itself.
const NAME: &str = "pacelet-probe";

/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;

/// How long an answer may take at most, in seconds.
const LONGEST_TIMEOUT: u64 = 3600;

/// Tell whether a cluster can reach a Pacemaker Remote daemon, and what is in its way.
///
/// A cluster that is connected is not disturbed: the last two steps are left out unless the daemon
/// runs on this machine and nobody is connected to it.
#[derive(FromArgs, Debug)]
#[argh(
    example = "{command_name} node5 --key /etc/pacemaker/authkey",
    note = "HOST is a name, an IPv4 address or an IPv6 address, the latter in brackets if a port follows:
  node5  node5:3121  192.0.2.5  2001:db8::5  [2001:db8::5]:3121

The look-up of a name has a time limit of its own, which /etc/resolv.conf sets.",
    error_code(1, "the key file cannot be read"),
    error_code(2, "the name is not known"),
    error_code(3, "there is no TCP connection"),
    error_code(4, "there is no TLS connection, or the key is another"),
    error_code(5, "the daemon does not take the registration"),
    error_code(6, "the daemon does not answer the poke"),
    error_code(64, "the command line is wrong")
)]
struct Arguments {
    /// where the daemon is, as HOST or HOST:PORT; the port is 3121 unless said otherwise
    #[argh(positional)]
    target: String,

    /// the cluster's key file (default /etc/pacemaker/authkey)
    #[argh(option, default = "String::from(\"/etc/pacemaker/authkey\")")]
    key: String,

    /// give up on an answer after so many seconds, 1 to 3600 (default 5)
    #[argh(option, default = "5")]
    timeout: u64,

    /// register and poke even if a cluster may be connected, which may then drop its connection and fence
    /// the node
    #[argh(switch)]
    register: bool,

    /// print the figures as JSON
    #[argh(switch)]
    json: bool,
}

/// Runs the program; gives its exit status: 0, the number of the step that went wrong, or 64 for a wrong
/// command line.
pub fn main(arguments: &[&str]) -> u8 {
    let arguments = match Arguments::from_args(&["pacelet probe"], arguments) {
        Ok(arguments) => arguments,
        Err(exit) => {
            let usage = exit.status.is_err();
            report::print(usage, &exit.output);
            return if usage { 64 } else { 0 };
        }
    };
    let Some(target) = Target::parse(&arguments.target) else {
        report::print(true, "the target must be HOST or HOST:PORT: see pacelet probe --help");
        return 64;
    };
    let mut report = Report::new(arguments.json);
    // Whatever went wrong is in the report.
    let _ = probe(&arguments, &target, &mut report);
    report.finish();
    // There are six steps.
    report.wrong().map_or(0, |step| u8::try_from(step).unwrap_or(u8::MAX))
}

fn probe(arguments: &Arguments, target: &Target, report: &mut Report) -> Result<(), Wrong> {
    let timeout = Duration::from_secs(arguments.timeout.clamp(1, LONGEST_TIMEOUT));
    let mut entropy = Entropy::new();
    let key = report.step("key", || read_key(&arguments.key))?;
    let addresses = report.step("name", || look_up(target))?;
    let stream = report.step("tcp", || connect(&addresses, timeout))?;
    let address = stream.peer_addr().map_err(|error| Wrong::from(error.to_string()))?;

    let neighbours = if arguments.register { Neighbours::None } else { Neighbours::of(&stream) };
    if let Some(reason) = neighbours.obstacle() {
        report.step("tls", || {
            client::prove(stream, &key, timeout, &mut entropy)
                .map_err(|error| refused(&error, address, timeout))?;
            Ok(((), "TLS 1.3 up to the daemon's proof that it has the same key".into()))
        })?;
        report.step("register", || Ok(((), Seen::Skipped(reason))))?;
        return report.step("poke", || Ok(((), Seen::Skipped("not registered"))));
    }
    let mut buffers = Buffers::new();
    let mut client = report.step("tls", || {
        let client = Client::over(stream, &key, timeout, &mut buffers, &mut entropy)
            .map_err(|error| refused(&error, address, timeout))?;
        Ok((client, "TLS 1.3, both ends have the same key".into()))
    })?;
    report.step("register", || {
        let reply = client.register_guest(NAME).map_err(|error| causes::of_registration(&error))?;
        let version = protocol_version(&reply)
            .map_err(|seen| Wrong::from(seen).with_causes(causes::REGISTRATION_REFUSED))?;
        let up = reply.number("uptime").map(|seconds| format!(", running for {seconds} s"));
        Ok(((), format!("protocol {}{}", Escaped(version.as_bytes()), up.unwrap_or_default()).into()))
    })?;
    report.step("poke", || match client.poke() {
        Ok(reply) if reply.number("lrmd_rc") == Some(0) => Ok(((), "alive".into())),
        Ok(reply) => Err(Wrong::from(format!("an unexpected reply: {reply:?}")).with_causes(causes::POKE)),
        Err(error) => Err(Wrong::from(error).with_causes(causes::POKE)),
    })?;
    client.close();
    Ok(())
}

fn read_key(path: &str) -> Result<(Zeroizing<Vec<u8>>, Seen), Wrong> {
    let name = CString::new(path).map_err(|_| "a path with a NUL in it")?;
    let key = key_file::read(&name).map_err(|refusal| {
        Wrong::from(format!("{}: {refusal}", Escaped(path.as_bytes()))).with_causes(causes::KEY)
    })?;
    let seen = format!("{}, {} bytes", Escaped(path.as_bytes()), key.bytes.len());
    Ok((key.bytes, seen.into()))
}

fn look_up(target: &Target) -> Result<(Vec<SocketAddr>, Seen), Wrong> {
    let addresses: Vec<_> = (target.host, target.port)
        .to_socket_addrs()
        .map(|addresses| addresses.take(ADDRESSES).collect())
        .map_err(|error| Wrong::from(error.to_string()).with_causes(causes::NAME))?;
    let mut seen = String::new();
    for address in &addresses {
        note(&mut seen, format_args!("{address}"));
    }
    Ok((addresses, seen.into()))
}

/// Adds to a list of things seen.
fn note(seen: &mut String, more: fmt::Arguments<'_>) {
    if !seen.is_empty() {
        seen.push_str(", ");
    }
    // A string takes everything.
    let _ = seen.write_fmt(more);
}

/// Tries one address after the other, as a cluster node does.
fn connect(addresses: &[SocketAddr], timeout: Duration) -> Result<(TcpStream, Seen), Wrong> {
    let mut failures = String::new();
    let mut causes = causes::NAME;
    for &address in addresses {
        match client::connect(address, timeout) {
            Ok(stream) => {
                let own = stream.local_addr().map_err(|error| Wrong::from(error.to_string()))?;
                if own != address {
                    return Ok((stream, format!("{address} from {own}").into()));
                }
                // Nobody listening, the kernel may have given the port to this end, which then talks to itself.
                note(&mut failures, format_args!("{address}: nobody listens"));
                causes = causes::REFUSED;
            }
            Err(error) => {
                note(&mut failures, format_args!("{error}"));
                causes = causes::of_connection(&error);
            }
        }
    }
    Err(Wrong::from(failures).with_causes(causes))
}

/// What a failed handshake says, with a second look at what else the daemon may speak if it leaves that open.
fn refused(error: &client::Error, address: SocketAddr, timeout: Duration) -> Wrong {
    let old = causes::asks_for_more(error).then(|| old_hello::ask(address, timeout));
    causes::of_handshake(error, old.flatten())
}
