//! The daemon's command line (daemon-lifecycle.md section 2).
//!
//! Stock accepts what GLib and getopt accept: `--port=3121`, `-p3121`, `-VVp 3121`, `-$`. The
//! parser knows only `--port 3121`, so [`normalise`] writes everything in that way first.

use std::ffi::OsStr;
use std::fmt;

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

    /// accepted and not used
    #[argh(option, arg_name = "file")]
    pub output_to: Vec<String>,
}

/// Why the daemon is not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// This was asked for: print it and exit with status 0.
    Answer(String),
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
        let words = arguments
            .into_iter()
            .map(|word| word.to_str().ok_or_else(|| Fault::NotText(word.to_string_lossy().into_owned())));
        let usage =
            |fault: Fault| Stop::Usage(format!("{fault}\nRun {program} --help for more information.\n"));
        let words = words.collect::<Result<Vec<_>, _>>().map_err(usage)?;
        let words = normalise(&words).map_err(usage)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let quiet = words.windows(2).any(|pair| pair == ["--output-as", "none"]);
        let answer = |text: String| Stop::Answer(if quiet { String::new() } else { text });
        let parsed = Self::from_args(&[program], &words).map_err(|exit| match exit.status {
            Ok(()) => answer(exit.output),
            Err(()) => Stop::Usage(exit.output),
        })?;
        if parsed.version {
            return Err(answer(format!("{version}\n")));
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

const OPTIONS: [Known; 9] = [
    known("logfile", Some('l'), true, Some("--logfile")),
    known("port", Some('p'), true, Some("--port")),
    known("verbose", Some('V'), false, Some("--verbose")),
    known("version", Some('$'), false, Some("--version")),
    known("help", Some('?'), false, Some("--help")),
    known("help-all", Some('h'), false, Some("--help")),
    known("output-as", None, true, Some("--output-as")),
    known("output-to", None, true, Some("--output-to")),
    // 1.1 had a hidden option without a meaning.
    known("", Some('r'), false, None),
];

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    NotText(String),
    Unknown(String),
    NeedsValue(String),
    HasValue(String),
    Positional(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(word) => write!(f, "The argument {word:?} is not UTF-8."),
            Self::Unknown(option) => write!(f, "There is no option {option:?}."),
            Self::NeedsValue(option) => write!(f, "The option {option:?} needs a value."),
            Self::HasValue(option) => write!(f, "The option {option:?} takes no value."),
            Self::Positional(word) => write!(f, "The argument {word:?} is neither an option nor its value."),
        }
    }
}

/// Every option by its long name, every value in a word of its own.
fn normalise(words: &[&str]) -> Result<Vec<String>, Fault> {
    let mut normal = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let option = OPTIONS.iter().find(|known| known.long == name && !name.is_empty());
            let option = option.ok_or_else(|| Fault::Unknown(format!("--{name}")))?;
            match (option.value, attached) {
                (false, Some(_)) => return Err(Fault::HasValue(format!("--{name}"))),
                (false, None) => push(&mut normal, option, None),
                (true, Some(value)) => push(&mut normal, option, Some(value)),
                (true, None) => {
                    let value = words.next().ok_or_else(|| Fault::NeedsValue(format!("--{name}")))?;
                    push(&mut normal, option, Some(value));
                }
            }
            continue;
        }
        let Some(mut cluster) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return Err(Fault::Positional((*word).to_owned()));
        };
        while let Some(letter) = cluster.chars().next() {
            cluster = cluster.get(letter.len_utf8()..).unwrap_or_default();
            let option = OPTIONS.iter().find(|known| known.short == Some(letter));
            let option = option.ok_or_else(|| Fault::Unknown(format!("-{letter}")))?;
            if !option.value {
                push(&mut normal, option, None);
                continue;
            }
            let value = match std::mem::take(&mut cluster) {
                "" => words.next().ok_or_else(|| Fault::NeedsValue(format!("-{letter}")))?,
                attached => attached,
            };
            push(&mut normal, option, Some(value));
        }
    }
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
        ] {
            assert_eq!(parse(words), Ok(expected.clone()), "{words:?}");
        }
        assert_eq!(parse(&[]), Ok(Arguments::default()));
        assert_eq!(parse(&["-l", "a", "--logfile=b=c", "-ld"]).unwrap().logfile, ["a", "b=c", "d"]);
        // A value may look like an option.
        assert_eq!(parse(&["-l", "-V"]).unwrap().logfile, ["-V"]);
        assert_eq!(parse(&["--port="]).unwrap().port, [""]);
    }

    #[test]
    fn version_and_help_answer() {
        for words in [&["-$"][..], &["--version"], &["-V$"], &["--output-as=text", "--version"]] {
            assert_eq!(parse(words), Err(Stop::Answer("pacelet 1\n".into())), "{words:?}");
        }
        for words in [&["-?"][..], &["--help"], &["--help-all"], &["-h"], &["-V", "-?"]] {
            let Err(Stop::Answer(text)) = parse(words) else { panic!("{words:?}") };
            for word in ["--port", "PCMK_remote_address", "SIGTERM", "pacemaker-remoted"] {
                assert!(text.contains(word), "{word} is not in\n{text}");
            }
        }
        assert_eq!(parse(&["--output-as", "none", "-$"]), Err(Stop::Answer(String::new())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (words, expected) in [
            (&["--prt"][..], "There is no option \"--prt\"."),
            (&["-x"], "There is no option \"-x\"."),
            (&["-Vx"], "There is no option \"-x\"."),
            (&["--"], "There is no option \"--\"."),
            (&["--port"], "The option \"--port\" needs a value."),
            (&["-Vp"], "The option \"-p\" needs a value."),
            (&["--verbose=3"], "The option \"--verbose\" takes no value."),
            (&["start"], "The argument \"start\" is neither an option nor its value."),
            (&["-"], "The argument \"-\" is neither an option nor its value."),
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
