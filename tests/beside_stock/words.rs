//! The command line, in every spelling that stock accepts.

use std::io::Read as _;
use std::process::ExitStatus;

use crate::lab::{self, Lab};
use crate::{RELEASES, await_port, end, prepare, start_pacelet, start_stock};

/// What comes of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A daemon that listens on this port.
    Port(u16),
    /// An end with this status.
    End {
        status: i32,
        /// Something was written to standard output.
        answer: bool,
        /// Something was written to standard error.
        complaint: bool,
    },
}

use Outcome::Port;

const ANSWER: Outcome = Outcome::End { status: 0, answer: true, complaint: false };
const SILENCE: Outcome = Outcome::End { status: 0, answer: false, complaint: false };
const USAGE: Outcome = Outcome::End { status: 64, answer: false, complaint: true };
const FAILED: Outcome = Outcome::End { status: 1, answer: false, complaint: true };

/// Words, what comes of them in 2.0.5 and 2.1.5, which use getopt, in 3.0.0, which uses GLib, and here: what one of
/// them accepts.
const TABLE: &[(&[&str], Outcome, Outcome, Outcome)] = &[
    (&[], Port(3121), Port(3121), Port(3121)),
    // Long and short, joined and apart.
    (&["--port", "3125"], Port(3125), Port(3125), Port(3125)),
    (&["--port=3125"], Port(3125), Port(3125), Port(3125)),
    (&["-p", "3125"], Port(3125), Port(3125), Port(3125)),
    (&["-p3125"], Port(3125), Port(3125), Port(3125)),
    (&["-Vp3125"], Port(3125), Port(3125), Port(3125)),
    (&["-p", "1", "-p", "3125"], Port(3125), Port(3125), Port(3125)),
    (&["--verbose", "-VVV"], Port(3121), Port(3121), Port(3121)),
    (&["-l", "/dev/null", "--logfile=/dev/null"], Port(3121), Port(3121), Port(3121)),
    // A value may look like an option.
    (&["--port", "--version"], Port(3121), Port(3121), Port(3121)),
    (&["-p", "-$"], Port(3121), Port(3121), Port(3121)),
    // Ports that are none, and those with something around them.
    (&["-p=3125"], Port(3121), Port(3121), Port(3121)),
    (&["--port="], Port(3121), Port(3121), Port(3121)),
    (&["-p", ""], Port(3121), Port(3121), Port(3121)),
    (&["-p", "abc"], Port(3121), Port(3121), Port(3121)),
    (&["-p", "0"], Port(3121), Port(3121), Port(3121)),
    (&["-p", "-1"], Port(3121), Port(3121), Port(3121)),
    (&["-p", "70000"], Port(3121), Port(3121), Port(3121)),
    (&["-p", "0x10"], Port(3121), Port(3121), Port(3121)),
    (&["-p", " 3125"], Port(3125), Port(3125), Port(3125)),
    (&["-p", "3125x"], Port(3125), Port(3125), Port(3125)),
    // Words that mean nothing, and the end of options.
    (&["start"], Port(3121), Port(3121), Port(3121)),
    (&["start", "--port=3125", "stop"], Port(3125), Port(3125), Port(3125)),
    (&["-", ""], Port(3121), Port(3121), Port(3121)),
    (&["--"], Port(3121), Port(3121), Port(3121)),
    (&["-p", "3125", "--", "-p", "3126", "-$", "-x"], Port(3125), Port(3125), Port(3125)),
    (&["help"], Port(3121), Port(3121), Port(3121)),
    // Abbreviations.
    (&["--po=3125"], Port(3125), USAGE, Port(3125)),
    (&["--vers"], ANSWER, USAGE, ANSWER),
    (&["--ver"], USAGE, USAGE, USAGE),
    // Version.
    (&["-$"], ANSWER, ANSWER, ANSWER),
    (&["--version"], ANSWER, ANSWER, ANSWER),
    (&["-V$"], ANSWER, ANSWER, ANSWER),
    (&["-$V"], ANSWER, ANSWER, ANSWER),
    (&["start", "--version", "stop"], ANSWER, ANSWER, ANSWER),
    (&["--version=1"], USAGE, ANSWER, ANSWER),
    (&["-$", "-x"], ANSWER, USAGE, USAGE),
    // Help.
    (&["--help"], ANSWER, ANSWER, ANSWER),
    (&["-?"], USAGE, ANSWER, ANSWER),
    (&["-V?"], USAGE, ANSWER, ANSWER),
    (&["-?", "-x"], USAGE, ANSWER, ANSWER),
    (&["-h"], USAGE, ANSWER, ANSWER),
    (&["--help-all"], USAGE, ANSWER, ANSWER),
    (&["--help-output"], USAGE, ANSWER, ANSWER),
    (&["--help=1"], USAGE, USAGE, USAGE),
    // What is wrong.
    (&["--prt=1"], USAGE, USAGE, USAGE),
    (&["-x"], USAGE, USAGE, USAGE),
    (&["-Vx"], USAGE, USAGE, USAGE),
    (&["-x", "-?"], USAGE, USAGE, USAGE),
    (&["--port"], USAGE, USAGE, USAGE),
    (&["-p"], USAGE, USAGE, USAGE),
    (&["--verbose=3"], USAGE, Port(3121), Port(3121)),
    // The form of answers.
    (&["--output-as=text", "-$"], USAGE, ANSWER, ANSWER),
    (&["--output-as", "none", "-$"], USAGE, SILENCE, SILENCE),
    (&["--output-as=html", "-$"], USAGE, FAILED, FAILED),
    (&["--output-as=html"], USAGE, FAILED, FAILED),
    (&["--output-as"], USAGE, USAGE, USAGE),
    (&["--output-to=/dev/null", "-$"], USAGE, SILENCE, SILENCE),
    (&["--output-to=-", "-$"], USAGE, ANSWER, ANSWER),
    (&["--output-to=/nowhere/file", "-$"], USAGE, FAILED, FAILED),
    // 1.1 had a hidden option without a meaning.
    (&["-r"], USAGE, USAGE, Port(3121)),
];

#[test]
fn the_command_line() {
    for suite in RELEASES {
        lab::enter("words::the_command_line", suite, |lab| compare(lab, suite == "trixie"));
    }
}

fn compare(lab: &Lab, is_new: bool) {
    prepare(lab);
    let mut wrong = Vec::new();
    for &(words, old, new, here) in TABLE {
        let (stock, expected) = (stock(lab, words), if is_new { new } else { old });
        if stock != expected {
            wrong.push(format!("{words:?}: stock does {stock:?}, not {expected:?}"));
        }
        let ours = pacelet(lab, words);
        if ours != here {
            wrong.push(format!("{words:?}: pacelet does {ours:?}, not {here:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn stock(lab: &Lab, words: &[&str]) -> Outcome {
    let mut daemon = start_stock(lab, words);
    let port = await_port(|| !daemon.is_alive());
    let tool = daemon.end();
    port.map_or_else(|| ended(tool.status, &tool.output, &tool.errors), Port)
}

fn pacelet(lab: &Lab, words: &[&str]) -> Outcome {
    let mut daemon = start_pacelet(lab, words);
    if let Some(port) = await_port(|| daemon.try_wait().expect("a child of this process").is_some()) {
        end(daemon);
        return Port(port);
    }
    let (mut output, mut errors) = (String::new(), String::new());
    daemon.stdout.take().expect("a pipe").read_to_string(&mut output).expect("text");
    daemon.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    ended(daemon.wait().expect("a child of this process"), &output, &errors)
}

fn ended(status: ExitStatus, output: &str, errors: &str) -> Outcome {
    let status = status.code().expect("it ended by itself");
    Outcome::End { status, answer: !output.is_empty(), complaint: !errors.is_empty() }
}
