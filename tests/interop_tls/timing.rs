//! A wrong key and an unknown identity, told apart by the clock? The daemon as a process, over loopback.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::client::{CHACHA, HANDSHAKE, Hello, X25519, record};
use crate::daemon::Daemon;
use crate::retrying;

/// As many handshakes of each kind as the figures need to mean something; below, only bytes are compared.
const ENOUGH: usize = 10_000;

/// How far the distributions may be apart. What is left, 0.02 to 0.04, are 100 to 300 ns in 60 µs: less than one
/// needs to know in any network, and less than a formatted log line takes, which would be 0.06.
const APART: f64 = 0.05;

const KEY: [u8; 4096] = [7; 4096];

/// What is answered to a hello, and the nanoseconds from its first byte to the alert and to the end.
fn refusal(daemon: &Daemon, hello: &[u8]) -> (Vec<u8>, [u64; 2]) {
    let mut stream = daemon.connect();
    let mut answer = vec![0; 64];
    let start = Instant::now();
    stream.write_all(hello).expect("room for a hello");
    let count = retrying(|| stream.read(&mut answer)).expect("an alert");
    let alert = start.elapsed();
    answer.truncate(count);
    retrying(|| stream.read_to_end(&mut answer)).expect("an orderly end");
    let nanoseconds = |time: Duration| time.as_nanos() as u64;
    (answer, [nanoseconds(alert), nanoseconds(start.elapsed())])
}

/// The largest distance of two cumulative distributions (Kolmogorov and Smirnov). Sorts.
fn distance(one: &mut [u64], other: &mut [u64]) -> f64 {
    one.sort_unstable();
    other.sort_unstable();
    let share = |all: &[u64], value| all.partition_point(|&its| its <= value) as f64 / all.len() as f64;
    let both = one.iter().chain(&*other);
    both.map(|&value| (share(one, value) - share(other, value)).abs()).fold(0.0, f64::max)
}

#[test]
fn distances() {
    assert_eq!(distance(&mut [3, 1, 2], &mut [1, 2, 3]), 0.0);
    assert_eq!(distance(&mut [1, 2], &mut [3, 4]), 1.0);
    assert_eq!(distance(&mut [1, 2, 3, 4], &mut [3, 4, 5, 6]), 0.5);
}

/// The kinds take turns, in an order that changes, so that whatever else the machine does meets all of them. The
/// wrong key comes twice: how far it is from itself is what chance does.
#[test]
fn timing() {
    let count =
        std::env::var("PACELET_TIMING_HANDSHAKES").map_or(100, |count| count.parse().expect("a number"));
    let daemon = Daemon::start("timing", &KEY);
    let hello = |key: u8, identity: &[u8]| {
        let mut hello = Hello::new(&[key; 4096], CHACHA, X25519);
        hello.identities = Some(vec![identity.to_vec()]);
        record(HANDSHAKE, &hello.message())
    };
    let kinds = [hello(8, b"lrmd"), hello(7, b"root"), hello(8, b"root"), hello(8, b"lrmd")];
    let names = ["wrong key", "unknown identity", "both", "wrong key again"];
    let mut times: [[Vec<u64>; 2]; 4] = Default::default();
    let mut order = [0, 1, 2, 3];
    let mut random = 1_u64;
    for _ in 0..count {
        for at in (1..order.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(at, (random >> 33) as usize % (at + 1));
        }
        for kind in order {
            let (answer, [alert, end]) = refusal(&daemon, &kinds[kind]);
            assert_eq!(answer, [21, 3, 3, 0, 2, 2, 51], "{}", names[kind]);
            times[kind][0].push(alert);
            times[kind][1].push(end);
        }
    }
    // Two samples of one distribution are further apart than this in one of a thousand measurements.
    let limit = 1.95 * (2.0 / count as f64).sqrt();
    let mut apart = Vec::new();
    let [wrong, others @ ..] = &mut times;
    for (at, event) in ["alert", "end"].into_iter().enumerate() {
        let quantiles = |all: &[u64]| [10, 25, 50, 75, 90].map(|percent| all[all.len() * percent / 100]);
        wrong[at].sort_unstable();
        let ours = quantiles(&wrong[at]);
        println!("{event}: quantiles of 10, 25, 50, 75, 90 % in ns: {}: {ours:?}", names[0]);
        for (other, name) in others.iter_mut().zip(&names[1..]) {
            let far = distance(&mut wrong[at], &mut other[at]);
            let mut differences = [0; 5];
            for ((difference, its), ours) in differences.iter_mut().zip(quantiles(&other[at])).zip(ours) {
                *difference = its as i64 - ours as i64;
            }
            println!("{event}: {name}: {differences:+?}; distance {far:.4}, by chance at most {limit:.4}");
            if far > APART {
                apart.push(format!("{event}: {name}: {far:.4}"));
            }
        }
    }
    if count < ENOUGH {
        return println!("{count} handshakes of each kind: too few to judge times");
    }
    assert!(apart.is_empty(), "can be told apart: {apart:?}; more than {APART}");
}
