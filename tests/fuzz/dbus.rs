//! What a bus and systemd's manager send: sessions made with GLib in both byte orders, in pieces.

use pacelet::dbus::connection::Error;
use pacelet::dbus::manager::Manager;
use pacelet::dbus::message::Message;
use pacelet::dbus::systemd::{Done, Reply, Request, RequestId};
use pacelet::time::Instant;

use crate::run::run;

const REQUESTS: [Request<'_>; 5] = [
    Request::Start("a.service"),
    Request::Load("a.service"),
    Request::Reload,
    Request::Stop("a.service"),
    Request::Restart("a.service"),
];
const NEVER: Instant = Instant::from_millis(u64::MAX);

/// What a session came to: each request's end in its order, and the error that ended it early.
#[derive(Debug, Default, PartialEq)]
struct Session {
    done: Vec<Done>,
    asked: u64,
    error: Option<Error>,
}

impl Session {
    fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut session = Self::default();
        let mut manager = Manager::new(0, NEVER);
        for request in REQUESTS {
            session.ask(&mut manager, request);
        }
        for piece in pieces {
            let received = manager.receive(piece);
            session.drain(&mut manager);
            manager.sent(usize::MAX);
            if let Err(error) = received {
                session.error = Some(error);
                break;
            }
        }
        manager.lost();
        session.drain(&mut manager);
        session
    }

    fn ask(&mut self, manager: &mut Manager, request: Request<'_>) {
        self.asked += 1;
        manager.ask(RequestId(self.asked), request, NEVER);
    }

    /// The ends of what was asked at once.
    fn first(&self) -> Vec<&Done> {
        self.done.iter().filter(|done| done.id.0 <= REQUESTS.len() as u64).collect()
    }

    fn drain(&mut self, manager: &mut Manager) {
        while let Some(done) = manager.poll() {
            if let Ok(Reply::Unit(unit)) = &done.result {
                self.ask(manager, Request::ActiveState(unit));
                self.ask(manager, Request::LoadState(unit));
            }
            self.done.push(done);
        }
    }
}

#[test]
fn dbus() {
    run("dbus", vec![], |input, rng| {
        if let Ok(message) = Message::parse(input) {
            let _ = message.body().skip(message.signature);
        }
        let byte_by_byte = Session::of(input.chunks(1));
        let mut rest = input;
        let pieces = std::iter::from_fn(|| {
            let (piece, after) = rest.split_at_checked(1 + rng.below(rest.len()))?;
            rest = after;
            Some(piece)
        });
        // The reply to what is asked only after a reply may be in one piece with that: too early, and
        // passed over. Nothing else depends on the pieces.
        let in_pieces = Session::of(pieces);
        assert_eq!(in_pieces.error, byte_by_byte.error);
        assert_eq!(in_pieces.first(), byte_by_byte.first());

        for session in [byte_by_byte, in_pieces] {
            let mut told: Vec<_> = session.done.iter().map(|done| done.id.0).collect();
            told.sort_unstable();
            let asked: Vec<_> = (1..=session.asked).collect();
            assert_eq!(told, asked, "each request is told about once");
        }
    });
}
