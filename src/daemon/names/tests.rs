use super::*;
use crate::agent::Place;
use crate::daemon::core::{Event, Settings};
use crate::proxy::Limits;
use crate::sys::entropy::Entropy;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

#[test]
fn each_cell() {
    let name = Name::Crmd;
    let closed = Names::default;
    let asked = || {
        let mut names = closed();
        assert!(names.start(name, at(0)));
        names
    };
    let waiting = || {
        let mut names = asked();
        assert_eq!(names.refused(name, true, at(0)), Verdict::Warn);
        names
    };
    let open = || {
        let mut names = asked();
        assert!(!names.serving(name));
        names
    };
    for (mut names, starts, verdict, lasting, due, deadline) in [
        (closed(), true, Verdict::Ignore, Verdict::Ignore, false, None),
        (asked(), false, Verdict::Warn, Verdict::GiveUp, false, None),
        (waiting(), false, Verdict::Ignore, Verdict::Ignore, true, Some(at(INTERVAL))),
        (open(), false, Verdict::Ignore, Verdict::Ignore, false, None),
    ] {
        assert_eq!(names.deadline(), deadline);
        assert_eq!({ names }.refused(name, true, at(0)), verdict);
        assert_eq!({ names }.refused(name, false, at(0)), lasting);
        assert!(!{ names }.is_due(name, at(INTERVAL - 1)));
        assert_eq!({ names }.is_due(name, at(INTERVAL)), due);
        let before = names.states;
        assert!(!names.serving(name));
        let is_asked = matches!(before[name as usize], State::Asked { .. });
        assert_eq!(names.states == before, !is_asked);
        let mut names = Names { states: before, has_warned: false };
        assert_eq!(names.start(name, at(5)), starts);
    }
}

#[test]
fn patience_ends() {
    let mut names = Names::default();
    assert!(names.start(Name::Attrd, at(0)));
    let mut now = 0;
    while names.refused(Name::Attrd, true, at(now)) != Verdict::GiveUp {
        now += INTERVAL;
        assert!(names.is_due(Name::Attrd, at(now)));
    }
    assert_eq!(now, PATIENCE);
}

fn core(tools: Option<Limits>) -> Core {
    let place = Place { agent_path: Vec::new(), ocf_root: c"/".to_owned() };
    Core::new(Settings { place, node_start_state: None, tools, watchdog: None })
}

fn tell(core: &mut Core, event: Event<'_>, millis: u64) -> Vec<Effect> {
    core.handle(event, Now { mono: at(millis), epoch: 0 }, &mut Entropy::new());
    std::iter::from_fn(|| core.poll()).collect()
}

fn asked_for(effects: &[Effect]) -> Vec<Name> {
    let names = effects.iter().filter_map(|effect| match effect {
        Effect::Serve(name) => Some(*name),
        _ => None,
    });
    names.collect()
}

fn exits(effects: &[Effect]) -> Option<ExitCode> {
    effects.iter().find_map(|effect| match effect {
        Effect::Exit(code) => Some(*code),
        _ => None,
    })
}

fn failed(name: Name, taken: bool) -> Event<'static> {
    Event::ServeFailed { name, reason: "the reason".to_owned(), taken }
}

#[test]
fn all_names_are_asked_for_unless_there_are_to_be_none() {
    assert_eq!(asked_for(&tell(&mut core(None), Event::Start, 0)), []);
    let mut core = core(Some(Limits::default()));
    assert_eq!(asked_for(&tell(&mut core, Event::Start, 0)), Name::ALL);
    for name in Name::ALL {
        assert_eq!(tell(&mut core, Event::Serving(name), 0), []);
    }
    assert_eq!(core.deadline(), None);
}

#[test]
fn a_taken_name_is_told_once_and_had_later() {
    let mut core = core(Some(Limits::default()));
    tell(&mut core, Event::Start, 0);
    let mut lines = Vec::new();
    for name in Name::ALL {
        lines.extend(tell(&mut core, failed(name, true), 0));
    }
    let told = lines.iter().filter(|effect| {
        matches!(effect, Effect::Log(line) if line.level == crate::log::Level::Warning && line.text.contains("the reason"))
    });
    assert_eq!(told.count(), 1);
    assert_eq!(core.deadline(), Some(at(INTERVAL)));
    assert_eq!(asked_for(&tell(&mut core, Event::Wake, INTERVAL - 1)), []);
    assert_eq!(asked_for(&tell(&mut core, Event::Wake, INTERVAL)), Name::ALL);
    let lines = Name::ALL.map(|name| tell(&mut core, Event::Serving(name), INTERVAL).len());
    assert_eq!(lines, [0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn who_cannot_have_them_ends_as_stock_does() {
    for (name, code) in [(Name::Lrmd, ExitCode::Fatal), (Name::Pacemakerd, ExitCode::OsError)] {
        let mut now = core(Some(Limits::default()));
        tell(&mut now, Event::Start, 0);
        assert_eq!(exits(&tell(&mut now, failed(name, false), 0)), Some(code));

        let mut later = core(Some(Limits::default()));
        tell(&mut later, Event::Start, 0);
        for second in 0..PATIENCE / INTERVAL {
            assert_eq!(exits(&tell(&mut later, failed(name, true), second * INTERVAL)), None);
            assert_eq!(asked_for(&tell(&mut later, Event::Wake, (second + 1) * INTERVAL)), [name]);
        }
        assert_eq!(exits(&tell(&mut later, failed(name, true), PATIENCE)), Some(code));
    }
}
