//! Agents that do what real ones do, and what they should not.

use pacelet::agent::{Ending, Step, Stream};

use super::random::Random;

/// What one process is going to do.
#[derive(Clone, Debug)]
pub struct Script {
    /// When it writes what, in milliseconds after its start, in order.
    pub output: Vec<(u64, Stream, Vec<u8>)>,
    /// When and how it ends by itself.
    pub end: (u64, Ending),
    /// How long it outlives SIGKILL, as in an uninterruptible sleep.
    pub outlives: u64,
}

impl Script {
    /// It ends with this status after so many milliseconds, and says nothing.
    pub fn quiet(after: u64, status: u8) -> Self {
        Self { output: Vec::new(), end: (after, Ending::Exited(status)), outlives: 0 }
    }

    /// By chance, and by what it was asked to do.
    pub fn random(random: &mut Random, action: &str) -> Self {
        let end = (duration(random, action), ending(random, action));
        let outlives = match random.below(20) {
            0 => random.between(4_990, 200_000),
            1..4 => random.between(1, 3_000),
            _ => 0,
        };
        let mut output = Vec::new();
        if !matches!(end.1, Ending::NotRun(..)) && random.percent(35) {
            for _ in 0..random.between(1, 3) {
                let stream = if random.percent(60) { Stream::Stdout } else { Stream::Stderr };
                output.push((random.between(0, end.0), stream, text(random)));
            }
            output.sort_by_key(|(at, ..)| *at);
        }
        Self { output, end, outlives }
    }
}

fn is_status(action: &str) -> bool {
    matches!(action, "monitor" | "status")
}

fn duration(random: &mut Random, action: &str) -> u64 {
    match random.below(60) {
        // It hangs.
        0 => 600_000,
        1 => 0,
        2..5 => random.between(5_000, 40_000),
        5..9 => random.between(500, 5_000),
        _ if is_status(action) => random.between(2, 60),
        _ => random.between(5, 800),
    }
}

fn ending(random: &mut Random, action: &str) -> Ending {
    match random.below(50) {
        0 => Ending::Signalled(*random.pick(&[6, 9, 11, 15, 63])),
        1 => Ending::Exited(*random.pick(&[1, 2, 3, 4, 5, 6, 8, 9, 10, 127, 189, 190, 191, 193, 255])),
        2 => *random.pick(&[
            Ending::NotRun(Step::Lookup, 2),
            Ending::NotRun(Step::Lookup, 13),
            Ending::NotRun(Step::Exec, 13),
            Ending::NotRun(Step::Exec, 2),
            Ending::NotRun(Step::Fork, 11),
            Ending::NotRun(Step::Pipe, 24),
        ]),
        3..10 if action == "monitor" => Ending::Exited(7),
        3..10 if action == "status" => Ending::Exited(*random.pick(&[3, 3, 1, 4, 150, 151])),
        _ => Ending::Exited(0),
    }
}

fn text(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => {
            let mut binary = vec![0; random.between(1, 300) as usize];
            rand_core::RngCore::fill_bytes(random, &mut binary);
            binary
        }
        1 => b"<&>\"'\tone\r\n\x1b[31mred\x1b[0m \x00 \xff\xfe \xc3\xa9\n".to_vec(),
        2 if random.once_in(8) => {
            vec![*random.pick(b"x&\n\xe9"); random.between(20_000, 700_000) as usize]
        }
        3..14 => format!("ocf-exit-reason:disk {} is \"full\" & broken\n", random.below(9)).into_bytes(),
        14 => b"ocf-exit-reason:\n".to_vec(),
        _ => format!("line {}\n", random.below(1000)).into_bytes(),
    }
}
