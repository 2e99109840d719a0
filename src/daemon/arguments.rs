//! The daemon's command line (daemon-lifecycle.md section 2).
//!
//! Stock accepts what GLib (3.x) and getopt (2.x) accept: `--port=3121`, `-p3121`, `-VVp 3121`, `-$`, and words
//! that mean nothing. What one of both accepts is accepted here. The parser knows only `--port 3121`, so [`normalise`]
//! writes everything in that way first.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use argh::FromArgs;

/// Serve this machine to a Pacemaker cluster as a remote node. It stays in the foreground, and is
/// configured by the environment, as the stock daemon is.
#[derive(FromArgs, Clone, Debug, Default, PartialEq, Eq)]
#[argh(note = "\
Settings come from the environment, or else from /etc/sysconfig/pacemaker or /etc/default/pacemaker (and sbd
beside it), one NAME=value a line:
  PCMK_authkey_location   file with the cluster's key (default /etc/pacemaker/authkey)
  PCMK_remote_address     listen only there (default: everywhere, IPv6 and IPv4)
  PCMK_remote_port        TCP port (default 3121)
  PCMK_node_start_state   start in \"standby\" or \"online\" (default: what the cluster remembers)
  PCMK_logfacility        syslog facility, or none (default daemon)
  PCMK_logpriority        least important syslog level (default notice)
  PCMK_logfile            write the log to this file, or none (default
                          /var/log/pacemaker/pacemaker.log, where that directory is)
  PCMK_logfile_mode       its permissions (default 0660)
  PCMK_stderr             yes: log to standard error, too
  PCMK_debug              yes: log details for debugging
  PCMK_remote_pid1        full: as process 1 of a container does; vars: read /etc/pacemaker/pcmk-init.env
  PCMK_ipc_buffer         longest message of tools on this machine, in bytes, if they ask for less
                          (default 131072)
  PACELET_tools           no: serve no tools on this machine
  PACELET_tools_memory    bytes of shared memory for their sessions (default 128 MiB, less on small
                          machines)
  PACELET_socket_dir      where their sockets are, if /etc/libqb/force-filesystem-sockets is there
                          (default /tmp on Debian and its kin, else /var/run)
  SBD_WATCHDOG_TIMEOUT    seconds; what a cluster node does not acknowledge in half of it ends its
                          connection (default 90 seconds)
  OCF_ROOT                what agents are told about where they live (default /usr/lib/ocf)
  OCF_RA_PATH             directories of agents, separated by colons (default $OCF_ROOT/resource.d)

SIGTERM asks the cluster to move everything away and then ends the daemon; SIGINT ends it at once.")]
#[argh(error_code(0, "ended in an orderly way"))]
#[argh(error_code(64, "the command line is wrong"))]
#[argh(error_code(100, "it cannot run, and need not be started again before that is changed"))]
pub struct Arguments {
    /// write the log to this file, too; may be repeated
    #[argh(option, short = 'l', arg_name = "file")]
    pub logfile: Vec<String>,

    /// listen on this TCP port, whatever PCMK_remote_port says
    #[argh(option, short = 'p', arg_name = "port")]
    pub port: Vec<String>,

    /// log to standard error; twice: with details for debugging
    #[argh(switch, short = 'V')]
    pub verbose: u8,

    /// print the version and end
    #[argh(switch)]
    pub version: bool,

    /// how --version and --help print: text, xml (the same as text) or none
    #[argh(option, arg_name = "kind")]
    pub output_as: Vec<String>,

    /// where --version prints to
    #[argh(option, arg_name = "file")]
    pub output_to: Vec<String>,

    /// what means nothing, but is no reason not to start
    #[argh(positional, hidden_help)]
    pub ignored: Vec<String>,
}

/// Why the daemon is not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// This was asked for: print it, to the file if one is named, and exit with status 0.
    Answer(String, Option<PathBuf>),
    /// What was asked for cannot be given: print why, and exit with status 1.
    Failed(String),
    /// The command line is wrong: print why, and exit with status [`USAGE`].
    Usage(String),
}

/// The exit status for a wrong command line.
pub const USAGE: u8 = 64;

impl Arguments {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// When the daemon is not to start: see [`Stop`].
    pub fn parse<'a>(
        program: &str,
        version: &str,
        arguments: impl IntoIterator<Item = &'a OsStr>,
    ) -> Result<Self, Stop> {
        let words =
            arguments.into_iter().map(|word| word.to_str().ok_or_else(|| word.to_string_lossy().into()));
        let words = normalise(words)
            .map_err(|fault| Stop::Usage(format!("{fault}\nRun {program} --help for more information.\n")))?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let parsed = Self::from_args(&[program], &words).map_err(|exit| match exit.status {
            Ok(()) => Stop::Answer(exit.output, None),
            Err(()) => Stop::Usage(exit.output),
        })?;
        let answer = match parsed.output_as.last().map_or("text", String::as_str) {
            "text" | "xml" => format!("{version}\n"),
            "none" => String::new(),
            other => {
                return Err(Stop::Failed(format!(
                    "There is no output {other:?}: it is text, xml or none.\n"
                )));
            }
        };
        if parsed.version {
            let file = parsed.output_to.last().filter(|file| *file != "-");
            return Err(Stop::Answer(answer, file.map(PathBuf::from)));
        }
        Ok(parsed)
    }
}

/// An option as stock writes it.
struct Known {
    long: &'static str,
    short: Option<char>,
    value: bool,
    /// How the parser calls it, `None` if it is ignored.
    canonical: Option<&'static str>,
}

const fn known(
    long: &'static str,
    short: Option<char>,
    value: bool,
    canonical: Option<&'static str>,
) -> Known {
    Known { long, short, value, canonical }
}

const HELP: &str = "--help";

const OPTIONS: [Known; 11] = [
    known("logfile", Some('l'), true, Some("--logfile")),
    known("port", Some('p'), true, Some("--port")),
    known("verbose", Some('V'), false, Some("--verbose")),
    known("version", Some('$'), false, Some("--version")),
    known("help", Some('?'), false, Some(HELP)),
    // What came after getopt, which is the one that takes abbreviations.
    known("help-all", None, false, Some(HELP)),
    known("help-output", None, false, Some(HELP)),
    known("", Some('h'), false, Some(HELP)),
    known("output-as", None, true, Some("--output-as")),
    known("output-to", None, true, Some("--output-to")),
    // 1.1 had a hidden option without a meaning.
    known("", Some('r'), false, None),
];

/// The option of this name, or the one whose name begins so.
fn find_long(name: &str) -> Result<&'static Known, Fault> {
    let unknown = || Fault::Unknown(format!("--{name}"));
    if name.is_empty() {
        return Err(unknown());
    }
    if let Some(option) = OPTIONS.iter().find(|known| known.long == name) {
        return Ok(option);
    }
    let mut begins = OPTIONS.iter().filter(|known| known.short.is_some() && known.long.starts_with(name));
    match (begins.next(), begins.next()) {
        (Some(option), None) => Ok(option),
        (Some(_), Some(_)) => Err(Fault::Ambiguous(format!("--{name}"))),
        (None, _) => Err(unknown()),
    }
}

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    NotText(String),
    Unknown(String),
    Ambiguous(String),
    NeedsValue(String),
    HasValue(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(word) => write!(f, "The argument {word:?} is not UTF-8."),
            Self::Unknown(option) => write!(f, "There is no option {option:?}."),
            Self::Ambiguous(option) => write!(f, "The option {option:?} is short for more than one."),
            Self::NeedsValue(option) => write!(f, "The option {option:?} needs a value."),
            Self::HasValue(option) => write!(f, "The option {option:?} takes no value."),
        }
    }
}

/// Every option by its long name, every value in a word of its own, and last what is neither. A word is text, or what
/// a word that is none looks like.
fn normalise<'a>(mut words: impl Iterator<Item = Result<&'a str, String>>) -> Result<Vec<String>, Fault> {
    let mut normal = Vec::new();
    let mut ignored = vec!["--".to_owned()];
    let mut shown = |word: Result<&str, String>| ignored.push(word.map_or_else(|other| other, str::to_owned));
    while let Some(word) = words.next() {
        let word = match word {
            Ok("--") => {
                words.by_ref().for_each(&mut shown);
                break;
            }
            Ok(word) if word.len() > 1 && word.starts_with('-') => word,
            Err(word) if word.starts_with('-') => return Err(Fault::NotText(word)),
            other => {
                shown(other);
                continue;
            }
        };
        let mut value_of = |option: String| match words.next() {
            Some(value) => value.map_err(Fault::NotText),
            None => Err(Fault::NeedsValue(option)),
        };
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let option = find_long(name)?;
            match (option.value, attached) {
                (false, Some(_)) if option.canonical == Some(HELP) => {
                    return Err(Fault::HasValue(format!("--{name}")));
                }
                (false, _) => push(&mut normal, option, None),
                (true, Some(value)) => push(&mut normal, option, Some(value)),
                (true, None) => push(&mut normal, option, Some(value_of(format!("--{name}"))?)),
            }
        } else {
            let mut cluster = word.get(1..).unwrap_or_default();
            while let Some(letter) = cluster.chars().next() {
                cluster = cluster.get(letter.len_utf8()..).unwrap_or_default();
                let option = OPTIONS.iter().find(|known| known.short == Some(letter));
                let option = option.ok_or_else(|| Fault::Unknown(format!("-{letter}")))?;
                if !option.value {
                    push(&mut normal, option, None);
                    continue;
                }
                let value = match std::mem::take(&mut cluster) {
                    "" => value_of(format!("-{letter}"))?,
                    attached => attached,
                };
                push(&mut normal, option, Some(value));
            }
        }
        // Help is given at once, whatever follows.
        if normal.last().is_some_and(|last| last == HELP) {
            return Ok(vec![HELP.to_owned()]);
        }
    }
    normal.append(&mut ignored);
    Ok(normal)
}

fn push(normal: &mut Vec<String>, option: &Known, value: Option<&str>) {
    let Some(canonical) = option.canonical else { return };
    normal.push(canonical.to_owned());
    normal.extend(value.map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, Stop> {
        Arguments::parse("pacemaker-remoted", "pacelet 1", words.iter().map(OsStr::new))
    }

    #[test]
    fn every_way_to_write_an_option_is_the_same() {
        let expected =
            Arguments { port: vec!["1".into(), "3121".into()], verbose: 2, ..Arguments::default() };
        for words in [
            &["--port=1", "-p3121", "-VV"][..],
            &["--port", "1", "-p", "3121", "-V", "-V"],
            &["-Vp1", "-rVp", "3121"],
            &["--verbose", "--port=1", "--verbose", "--port=3121"],
            // As getopt: what is unmistakable.
            &["--po=1", "--verb", "--verbo", "--p", "3121"],
            // As GLib: a value where none is wanted is none.
            &["--verbose=1", "--port=1", "--verbose=no", "--port=3121", "--"],
        ] {
            assert_eq!(parse(words), Ok(expected.clone()), "{words:?}");
        }
        assert_eq!(parse(&[]), Ok(Arguments::default()));
        assert_eq!(parse(&["-l", "a", "--logfile=b=c", "-ld"]).unwrap().logfile, ["a", "b=c", "d"]);
        // A value may look like an option.
        assert_eq!(parse(&["-l", "-V"]).unwrap().logfile, ["-V"]);
        assert_eq!(parse(&["--port="]).unwrap().port, [""]);
        assert_eq!(parse(&["-p=1"]).unwrap().port, ["=1"]);
    }

    #[test]
    fn what_means_nothing_is_ignored() {
        let expected = ["start", "-", "", "help", "-x", "--", "-$"].map(str::to_owned).to_vec();
        let words = ["start", "-p1", "-", "", "--", "help", "-x", "--", "-$"];
        let expected = Arguments { port: vec!["1".into()], ignored: expected, ..Arguments::default() };
        assert_eq!(parse(&words), Ok(expected));
        let word = OsStr::from_bytes(b"\xff");
        let parsed = Arguments::parse("pacemaker-remoted", "", [word]);
        assert_eq!(parsed.unwrap().ignored, ["\u{fffd}"]);
    }

    #[test]
    fn version_and_help_answer() {
        let answer = |text: &str, file: Option<&str>| Err(Stop::Answer(text.into(), file.map(PathBuf::from)));
        for words in
            [&["-$"][..], &["--version"], &["-V$"], &["--output-as=text", "--version"], &["--vers", "x"]]
        {
            assert_eq!(parse(words), answer("pacelet 1\n", None), "{words:?}");
        }
        for words in [
            &["-?"][..],
            &["--help"],
            &["--help-all"],
            &["-h"],
            &["-V", "-?"],
            &["--help-output"],
            &["-?", "-x"],
        ] {
            let Err(Stop::Answer(text, None)) = parse(words) else { panic!("{words:?}") };
            for word in ["--port", "PCMK_remote_address", "SIGTERM", "pacemaker-remoted"] {
                assert!(text.contains(word), "{word} is not in\n{text}");
            }
        }
        assert_eq!(parse(&["--output-as", "none", "-$"]), answer("", None));
        assert_eq!(parse(&["--output-to=/x", "-$"]), answer("pacelet 1\n", Some("/x")));
        assert_eq!(parse(&["--output-to", "-", "-$"]), answer("pacelet 1\n", None));
        for words in [&["--output-as=html", "-$"][..], &["--output-as=html"]] {
            assert!(matches!(parse(words), Err(Stop::Failed(text)) if text.contains("html")), "{words:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, expected) in [
            (&["--prt"][..], "There is no option \"--prt\"."),
            (&["-x"], "There is no option \"-x\"."),
            (&["-Vx"], "There is no option \"-x\"."),
            (&["--=x"], "There is no option \"--\"."),
            (&["--ver"], "The option \"--ver\" is short for more than one."),
            (&["--output=x"], "There is no option \"--output\"."),
            (&["-$", "-x"], "There is no option \"-x\"."),
            (&["--port"], "The option \"--port\" needs a value."),
            (&["-Vp"], "The option \"-p\" needs a value."),
            (&["--help=3"], "The option \"--help\" takes no value."),
        ] {
            let Err(Stop::Usage(text)) = parse(words) else { panic!("{words:?}") };
            assert!(text.starts_with(expected), "{words:?}: {text}");
            assert!(text.ends_with("Run pacemaker-remoted --help for more information.\n"), "{text}");
        }
        let word = OsStr::from_bytes(b"-l\xff");
        let stop = Arguments::parse("pacemaker-remoted", "", [word]).unwrap_err();
        assert!(matches!(stop, Stop::Usage(text) if text.contains("is not UTF-8")));
    }

    #[test]
    fn many_vs_do_not_overflow() {
        let many = ["-VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV"; 8];
        assert_eq!(parse(&many).unwrap().verbose, u8::MAX);
    }
}
