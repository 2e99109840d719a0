//! Events in random order, and what holds whatever the order is.

use std::collections::BTreeMap;

use super::*;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// What is known of a session from outside.
struct Seen {
    session: Option<String>,
    provider: Option<ConnId>,
    layout: Layout,
    /// The edge was told that there is something, and has not come to the end of it.
    delivering: bool,
    wanted: bool,
    /// The numbers of the last request sent, of the last one passed on, and of what the tool read last, by ring.
    asked: i32,
    passed: i32,
    /// The next part of a request that has begun.
    parts: Vec<Vec<u8>>,
    sent: [u32; 2],
    read: [u32; 2],
}

struct World {
    lab: Lab,
    random: Random,
    next: u64,
    seen: BTreeMap<ToolId, Seen>,
    ended: Vec<(Option<ConnId>, String)>,
}

impl World {
    fn tool(&mut self) -> Option<ToolId> {
        let count = self.seen.len() as u64;
        if count == 0 {
            return None;
        }
        let place = self.random.below(count) as usize;
        self.seen.keys().nth(place).copied()
    }

    /// Holds what is to be done against what is known.
    fn look(&mut self) {
        for action in self.lab.drain() {
            match action {
                Action::Tool(Errand::Admit { .. }) | Action::Tool(Errand::Refuse { .. }) => {
                    panic!("nobody asked")
                }
                Action::Tool(Errand::Deliver(tool)) => {
                    self.seen.get_mut(&tool).expect("it lives").delivering = true
                }
                Action::Tool(Errand::Take(tool)) => {
                    assert!(!std::mem::replace(&mut self.seen.get_mut(&tool).unwrap().wanted, true));
                }
                Action::Tool(Errand::Dismiss(tool)) => drop(self.seen.remove(&tool).expect("ended once")),
                Action::Execute { tool, id, .. } => self.passed(tool, id),
                Action::Send(provider, message) => {
                    let session = attribute(&message, "lrmd_ipc_session");
                    let own = |seen: &Seen| seen.session.as_ref() == Some(&session);
                    let tool = self.seen.iter().find(|(_, seen)| own(seen)).map(|(&tool, _)| tool);
                    match attribute(&message, "lrmd_ipc_op").as_str() {
                        "request" => {
                            let tool = tool.expect("it lives");
                            assert_eq!(self.seen[&tool].provider, Some(provider));
                            self.passed(tool, attribute(&message, "lrmd_ipc_msg_id").parse().unwrap());
                        }
                        "destroy" => {
                            self.ended.retain(|ended| *ended != (Some(provider), session.clone()));
                        }
                        other => panic!("{other}"),
                    }
                }
                Action::Log(_) => {}
            }
        }
        for (&tool, seen) in &mut self.seen {
            let wants = self.lab.proxy.wants(tool);
            assert!(seen.wanted || !wants, "it was told that it may be taken");
            seen.wanted = wants;
            assert!(
                seen.delivering || self.lab.proxy.outgoing(tool).is_none(),
                "it was told that there is something"
            );
        }
        assert_eq!(self.lab.proxy.sessions.len(), self.seen.len());
        assert!(self.lab.proxy.sessions.keys().eq(self.seen.keys()));
    }

    fn passed(&mut self, tool: ToolId, id: i32) {
        let seen = self.seen.get_mut(&tool).expect("it lives");
        assert!(id > seen.passed && id <= seen.asked, "in order, each once");
        seen.passed = id;
    }

    fn ask(&mut self) {
        let names = [Name::CibRw, Name::Attrd, Name::Lrmd, Name::Pacemakerd];
        let name = names[self.random.below(4) as usize];
        let provider = [None, Some(OLD), Some(NEW)][self.random.below(3) as usize];
        let tool = ToolId(self.next);
        self.next += 1;
        let actions = self.lab.asks(tool, name, 1, provider);
        let session = match &actions[..] {
            [Action::Tool(Errand::Refuse { .. })] => {
                return assert!(name == Name::Pacemakerd || name != Name::Lrmd && provider.is_none());
            }
            [Action::Tool(Errand::Admit { .. })] => None,
            [Action::Send(to, new), Action::Tool(Errand::Admit { .. })] => {
                assert_eq!((Some(*to), attribute(new, "lrmd_ipc_op").as_str()), (provider, "new"));
                Some(attribute(new, "lrmd_ipc_session"))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(session.is_none(), name == Name::Lrmd);
        let provider = provider.filter(|_| session.is_some());
        let seen = Seen {
            session,
            provider,
            layout: LAYOUTS[self.random.below(2) as usize],
            delivering: false,
            wanted: true,
            asked: 0,
            passed: 0,
            parts: Vec::new(),
            sent: [0; 2],
            read: [0; 2],
        };
        let wanted = self.lab.proxy.wants(tool);
        self.seen.insert(tool, Seen { wanted, ..seen });
    }

    fn request(&mut self, tool: ToolId) {
        let big = self.random.below(20) == 0;
        let kind = self.random.below(12);
        let seen = self.seen.get_mut(&tool).unwrap();
        if !seen.wanted {
            return;
        }
        if seen.parts.is_empty() {
            seen.asked += 1;
            let text = match (kind, big) {
                (0, _) => "<a>".to_owned(),
                (_, true) => ["<a>", &"<b c='d'/>".repeat(40_000), "</a>"].concat(),
                (_, false) => "<a b='c'/>".to_owned(),
            };
            seen.parts = match (seen.layout, kind) {
                (Layout::Classic, 1..4) => {
                    vec![compressed(seen.asked, text.as_bytes(), text.len() as u32 + 1)]
                }
                (Layout::Parts, 1..4) => parts(seen.asked, text.as_bytes(), text.len() / 3),
                (layout, _) => vec![message(layout, seen.asked, 0x200, text.as_bytes())],
            };
            if kind == 11 {
                seen.parts[0][8] ^= 1;
            }
            seen.parts.reverse();
        }
        let message = seen.parts.pop().unwrap();
        self.lab.proxy.request(tool, &message, self.lab.now);
    }

    fn answer(&mut self, tool: ToolId) {
        let (is_event, is_big, is_wrong) =
            (self.random.below(2) == 0, self.random.below(30) == 0, self.random.below(10) == 0);
        let (lab, seen) = (&mut self.lab, self.seen.get_mut(&tool).unwrap());
        let number = &mut seen.sent[usize::from(is_event)];
        let mut text = number.to_string().into_bytes();
        if is_big {
            text.resize(200_000, b' ');
        }
        let whole = 0..text.len();
        match (&seen.session, seen.provider, is_event) {
            (Some(_), Some(_), true) if is_wrong => lab.proxy.event(ConnId(3), "x", text, whole, lab.now),
            (Some(session), Some(provider), true) => {
                *number += 1;
                lab.proxy.event(provider, session, text, whole, lab.now);
            }
            (Some(session), Some(provider), false) => {
                *number += 1;
                lab.proxy.response(provider, session, 1, text, whole, lab.now);
            }
            (_, _, is_event) => {
                *number += 1;
                if is_event {
                    lab.proxy.notify(tool, text, lab.now)
                } else {
                    lab.proxy.respond(tool, 1, text, lab.now)
                }
            }
        }
    }

    /// What the edge does when it was told that there is something.
    fn deliver(&mut self, tool: ToolId) {
        while self.seen.get(&tool).is_some_and(|seen| seen.delivering) {
            let Some((ring, _, flags, text)) = self.lab.offer(tool) else {
                self.seen.get_mut(&tool).unwrap().delivering = false;
                return;
            };
            let is_full = self.random.below(8) == 0;
            let seen = self.seen.get_mut(&tool).unwrap();
            if is_full {
                seen.delivering = false;
                self.lab.proxy.delivered(tool, Delivery::Full, self.lab.now);
                return self.look();
            }
            // Of what goes in parts only the first says which it is.
            if let Ok(number) = std::str::from_utf8(&text).unwrap().trim().parse::<u32>() {
                assert_eq!(number, seen.read[ring as usize], "in order, each once, flags {flags:#x}");
                seen.read[ring as usize] += 1;
            }
            self.lab.proxy.delivered(tool, Delivery::Done, self.lab.now);
        }
    }

    fn end(&mut self, tool: ToolId) {
        let seen = self.seen.remove(&tool).unwrap();
        if let Some(session) = seen.session {
            self.ended.push((seen.provider, session));
        }
        self.lab.proxy.gone(tool, None, self.lab.now);
        self.look();
        assert_eq!(self.ended, [], "its provider was told");
    }

    fn step(&mut self) {
        let Some(tool) = self.tool() else { return self.ask() };
        match self.random.below(100) {
            0..8 if self.seen.len() < 12 => self.ask(),
            0..40 => self.request(tool),
            40..70 => self.answer(tool),
            70..85 => self.deliver(tool),
            85..92 => self.lab.proxy.resume(self.lab.now),
            92..96 => {
                self.lab.now = self.lab.now.after(self.random.below(2000));
                self.lab.proxy.wake(self.lab.now);
            }
            96 => {
                let busy = self.random.below(2) == 0;
                self.lab.proxy.set_busy([OLD, NEW][self.random.below(2) as usize], busy);
            }
            97 => self.end(tool),
            98 => {
                if let Seen { session: Some(session), provider: Some(provider), .. } = &self.seen[&tool] {
                    self.lab.proxy.destroy(*provider, session, self.lab.now);
                }
            }
            _ if self.random.below(20) == 0 => {
                self.lab.proxy.provider_gone([OLD, NEW][self.random.below(2) as usize])
            }
            _ => {}
        }
        self.look();
    }
}

#[test]
fn whatever_comes_in_whatever_order() {
    for seed in 1..20 {
        let (lab, random) = (Lab::new(), Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed)));
        let mut world = World { lab, random, next: 1, seen: BTreeMap::new(), ended: Vec::new() };
        for _ in 0..1500 {
            world.step();
        }
        // All that waits comes out, and nothing is left.
        world.lab.proxy.set_busy(OLD, false);
        world.lab.proxy.set_busy(NEW, false);
        world.look();
        for _ in 0..500 {
            world.lab.proxy.resume(world.lab.now);
            world.look();
            for tool in world.seen.keys().copied().collect::<Vec<_>>() {
                world.deliver(tool);
            }
            world.lab.now = world.lab.now.after(20);
            world.lab.proxy.wake(world.lab.now);
            world.look();
        }
        for (tool, seen) in &world.seen {
            let session = &world.lab.proxy.sessions[tool];
            if session.incoming.layout().is_some() {
                assert_eq!((seen.read, session.outbox.held()), (seen.sent, 0), "seed {seed}");
                assert_eq!(session.outbox.deadline(), None);
            }
        }
        assert!(!world.lab.proxy.is_reading());
        while let Some(tool) = world.tool() {
            world.end(tool);
        }
        assert_eq!((world.lab.proxy.checked(), world.lab.proxy.deadline()), (0, None));
    }
}
