//! The daemon's end in all its ways (daemon-lifecycle.md section 6).

use super::generate::Generator;
use super::network::Path;
use super::oracle::Checked;
use super::random::Random;
use super::request::Ask;
use super::scenario::{LEAVE, MINUTE, Play, TERMINATE};
use super::world::{IDENTITY, KEY};
use super::xml::Element;

/// What the cluster does when the daemon is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finale {
    /// No cluster is there.
    Alone,
    /// It takes the resources away, then disconnects.
    Acknowledged,
    /// It will not stop anything.
    Refused,
    /// It is older than the question.
    Old,
    /// It takes its time to answer, or never does.
    Silent,
    /// It answers, and is lost.
    Lost,
    /// Two are there, and the one that is asked leaves first.
    Asked,
    /// Two are there, and the one that is not asked leaves first: nobody is asked again.
    Other,
}

impl Finale {
    pub fn choose(random: &mut Random) -> Self {
        use Finale::*;
        *random.pick(&[Alone, Acknowledged, Acknowledged, Refused, Old, Silent, Lost, Asked, Other])
    }

    /// Who is needed comes back.
    pub fn begin(self, play: &mut Play) -> Checked {
        for number in [0, 1] {
            let is_needed = number == 0 && self != Self::Alone || matches!(self, Self::Asked | Self::Other);
            if is_needed {
                play.controllers[number].version = if self == Self::Old { "1.0" } else { "1.1" };
                let path = Path::random(&mut play.random);
                play.controllers[number].conn = play.world.connect(path, KEY, IDENTITY)?;
            }
        }
        play.world.timer(10_000, TERMINATE);
        Ok(())
    }

    /// A controller has been told something.
    pub fn told(self, play: &mut Play, number: usize, message: &Element) {
        if message.get("lrmd_ipc_op") != Some("shutdown_req") {
            return;
        }
        let ack = Ask::forward("shutdown_ack", None);
        let nack = Ask::forward("shutdown_nack", None);
        let while_ = play.random.between(1_000, 5 * MINUTE);
        match self {
            Self::Acknowledged | Self::Lost => {
                play.ask(number, ack);
                for name in Generator::RESOURCES {
                    let stop = play.generator.execute(name.into(), "stop", 0);
                    play.ask(number, Ask::Execute(stop));
                }
                play.ask(number, Ask::Unregister("web".into()));
                play.world.timer(while_, LEAVE + number as u64);
            }
            Self::Refused => play.ask(number, nack),
            Self::Silent => play.world.timer(2 * while_, LEAVE + number as u64),
            Self::Asked if play.controllers[1 - number].conn.is_none() => play.ask(number, nack),
            Self::Asked => play.world.timer(while_, LEAVE + number as u64),
            Self::Other => {
                play.world.timer(while_, LEAVE + 1 - number as u64);
                play.world.timer(2 * while_, LEAVE + number as u64);
            }
            Self::Old | Self::Alone => {}
        }
    }

    /// A timer has rung.
    pub fn ring(self, play: &mut Play, timer: u64) -> Checked {
        if timer == TERMINATE {
            play.world.terminate()?;
            // Once more changes nothing.
            if play.world.exited.is_none() && play.random.percent(30) {
                play.world.terminate()?;
            }
            return Ok(());
        }
        let number = (timer - LEAVE) as usize;
        if self == Self::Lost {
            play.cut(number);
        } else {
            play.leave(number);
        }
        Ok(())
    }
}
