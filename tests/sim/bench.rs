//! A bench for one thing at a time: a daemon, an ideal network, agents that succeed at once, and a healthy client
//! that pokes each second and is answered in the same millisecond, whatever others do.

use pacelet::proxy::ToolId;
use pacelet::remote::ConnId;

use super::children::Script;
use super::link::Peer;
use super::network::Path;
use super::request::{Ask, Request};
use super::world::{Acting, IDENTITY, KEY, Notice, World};
use super::xml::Element;

/// A daemon with one healthy client.
pub struct Bench {
    pub world: World,
    pub healthy: ConnId,
    last_id: i64,
    asked: u64,
    answered: u64,
    /// What others were told.
    told: Vec<(ConnId, Element)>,
    gone: Vec<ConnId>,
    /// What tools read: responses with their numbers, and events.
    pub tools_told: Vec<(ToolId, Option<i32>, String)>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_, _| Script::quiet(10, 0))
    }

    /// One whose agents do something else.
    pub fn with(acting: Acting) -> Self {
        let mut world = World::new(0, acting, false);
        world.start().unwrap();
        let healthy = world.connect(Path::IDEAL, KEY, IDENTITY).unwrap().unwrap();
        let mut bench = Self {
            world,
            healthy,
            last_id: 0,
            asked: 0,
            answered: 0,
            told: Vec::new(),
            gone: Vec::new(),
            tools_told: Vec::new(),
        };
        bench.world.pass(0).unwrap();
        bench.register(healthy, "1.2");
        bench.pass(10);
        bench.world.lines.clear();
        bench
    }

    /// Another client that knows the key, not registered yet.
    pub fn client(&mut self) -> ConnId {
        let conn = self.world.connect(Path::IDEAL, KEY, IDENTITY).unwrap().unwrap();
        self.pass(10);
        self.world.lines.clear();
        conn
    }

    pub fn registered_client(&mut self) -> ConnId {
        let conn = self.client();
        self.register(conn, "1.2");
        self.pass(10);
        self.told.clear();
        conn
    }

    pub fn raw(&mut self) -> ConnId {
        self.world.connect_raw().unwrap().unwrap()
    }

    pub fn register(&mut self, conn: ConnId, version: &'static str) {
        let ask = Ask::Register { version, provider: true };
        self.request(conn, Some(format!("node{}", conn.0)), ask);
    }

    pub fn request(&mut self, conn: ConnId, name: Option<String>, ask: Ask) {
        self.last_id += 1;
        self.asked += u64::from(conn == self.healthy);
        self.world.request(conn, Request { id: self.last_id, name, ask });
    }

    /// Lets time pass; the healthy client pokes each second, and is answered in the same millisecond.
    pub fn pass(&mut self, millis: u64) {
        let mut left = millis;
        loop {
            self.request(self.healthy, None, Ask::Poke);
            self.world.pass(0).unwrap();
            self.world.pass(left.min(1000)).unwrap();
            while let Some(notice) = self.world.notices.pop_front() {
                match notice {
                    Notice::Message(conn, message) if conn == self.healthy => {
                        self.answered += u64::from(message.name == "lrmd_reply");
                    }
                    // All hear of the healthy one's pokes.
                    Notice::Message(_, message) if message.get("lrmd_op") == Some("lrmd_rsc_poke") => {}
                    Notice::Message(conn, message) => self.told.push((conn, message)),
                    Notice::Gone(conn) => self.gone.push(conn),
                    Notice::Tool(tool, number, content) => {
                        self.tools_told.push((tool, number, content.to_string()));
                    }
                    Notice::Opened(_) | Notice::Timer(_) => {}
                }
            }
            assert_eq!(self.answered, self.asked, "the healthy client waits");
            self.world.oracle.overdue(self.world.now).unwrap();
            left = left.saturating_sub(1000);
            if left == 0 {
                return;
            }
        }
    }

    /// The one line that was logged since the last time, with its level.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let lines: Vec<_> =
            self.world.lines.drain(..).map(|line| format!("{}: {}", line.level.name(), line.text)).collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        lines.concat()
    }

    /// What came back to somebody who is no client, and whether it was closed.
    pub fn answer(&mut self, conn: ConnId) -> (Vec<u8>, bool) {
        match self.world.link(conn).map(|link| &link.peer) {
            Some(Peer::Raw { answer, closed }) => (answer.clone(), *closed),
            _ => panic!("it is none"),
        }
    }

    /// What a client was told since the last time.
    pub fn told(&mut self, conn: ConnId) -> Vec<String> {
        let (own, others) = std::mem::take(&mut self.told).into_iter().partition(|(to, _)| *to == conn);
        self.told = others;
        let own: Vec<(ConnId, Element)> = own;
        own.into_iter().map(|(_, message)| message.to_string()).collect()
    }

    pub fn is_gone(&self, conn: ConnId) -> bool {
        self.gone.contains(&conn)
    }
}
