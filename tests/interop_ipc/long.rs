//! Long messages, both ways: as long as was agreed on, compressed, and in parts.

use super::cluster::{Answer, Cluster, Seen};
use super::lab::{Lab, Tool, User};
use super::{CIB_LONGEST, LONGEST, in_each_release, replies, requests, ring_len};

/// So many resources make an answer that is a little shorter than what clients of the CIB agree on…
const FITTING: usize = 3_900;
/// …and so many one of 10 MB.
const MANY: usize = 76_000;
/// 3 MB.
const UPLOADED: usize = 22_500;

/// A client with the header that no release of Debian has: the oldest that has it is Pacemaker 3.0.1.
pub const CLIENT: &str = include_str!("parts.py");

fn downloads(lab: &Lab, cluster: &Cluster, count: usize) -> usize {
    let cib = lab.run(User::ROOT, &["cibadmin", "-Q"]);
    assert!(cib.status.success(), "{:?} {}\n{}", cib.status, cib.errors, cluster.daemon.log());
    assert_eq!(cib.output.matches("<primitive ").count(), count);
    cib.output.len()
}

#[test]
fn a_message_almost_as_long_as_was_agreed_on() {
    in_each_release("long::a_message_almost_as_long_as_was_agreed_on", |lab| {
        let cluster = Cluster::start(|request| replies::answer_at_length(request, FITTING));
        let length = downloads(lab, &cluster, FITTING);
        assert!(length > CIB_LONGEST as usize * 4 / 5, "{length} bytes");
        cluster.finish(lab);
    });
}

/// What does not fit uncompressed.
#[test]
fn a_message_that_has_to_be_compressed() {
    in_each_release("long::a_message_that_has_to_be_compressed", |lab| {
        let cluster = Cluster::start(|request| replies::answer_at_length(request, 3 * FITTING));
        downloads(lab, &cluster, 3 * FITTING);
        cluster.finish(lab);
    });
}

/// The same 10 MB in one piece, to who has agreed on that, as with `PCMK_ipc_buffer` in the tools' environment.
#[test]
fn a_message_of_10_mb_in_one_piece() {
    in_each_release("long::a_message_of_10_mb_in_one_piece", |lab| {
        let cluster = Cluster::start(|request| replies::answer_at_length(request, MANY));
        let tool = lab.run(User::ROOT, &["PCMK_ipc_buffer=16777216", "cibadmin", "-Q"]);
        assert!(tool.status.success(), "{:?} {}\n{}", tool.status, tool.errors, cluster.daemon.log());
        assert_eq!(tool.output.matches("<primitive ").count(), MANY);
        assert!(tool.output.len() > 10_000_000, "{} bytes", tool.output.len());
        let seen = cluster.finish(lab);
        let rings: Vec<_> = requests(&seen).map(|(_, _, files)| files.len).collect();
        assert!(!rings.is_empty() && rings.iter().all(|len| *len == ring_len(16 << 20)), "{rings:?}");
    });
}

/// With what is agreed on by default: 10 MB down, as a response and as an event, and 3 MB up.
#[test]
fn parts_have_no_such_limit() {
    in_each_release("long::parts_have_no_such_limit", |lab| {
        let cib = format!("<answer>{}</answer>", replies::resources(MANY));
        let answer = cib.clone();
        let cluster = Cluster::start(move |request| match request.wants_response {
            true => vec![Answer::Response(answer.clone())],
            false => vec![Answer::Event(answer.clone())],
        });
        let question = format!("<question>{}</question>", replies::resources(UPLOADED));
        std::fs::write(lab.at("/tmp/question"), &question).expect("a private directory");
        for kind in ["response", "event"] {
            let command = ["python3", "-c", CLIENT, kind, "/tmp/question", "1", "0"];
            let Tool { status, output, errors } = lab.run(User::ROOT, &command);
            assert!(status.success(), "{status} {errors}\n{}", cluster.daemon.log());
            // Header and NUL go with each.
            let count = cib.len().div_ceil(LONGEST as usize - 41);
            let (parts, text) = output.split_once('\n').expect("two lines");
            assert_eq!(parts, count.to_string());
            assert!(
                text.strip_suffix('\n') == Some(cib.as_str()),
                "{kind}: {} bytes instead of {}",
                text.len(),
                cib.len()
            );
        }
        let seen = cluster.finish(lab);
        let whole = |seen: &&Seen| matches!(seen, Seen::Request { length, .. } if *length == question.len());
        assert_eq!(seen.iter().filter(whole).count(), 2, "{seen:?}");
    });
}
