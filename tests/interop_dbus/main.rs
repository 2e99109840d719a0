//! Jobs of a real systemd, followed by our D-Bus client to their ends; `daemon`: by the daemon, beside the stock one.
//!
//! `tests/systemd/boot.py` boots the systemd in namespaces of its own; its bus is reached through
//! `/proc/<pid>/root`. What needs more than one uid or a second program runs inside by `nsenter`.

mod daemon;
mod faults;
mod systemd;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant as Clock};

use pacelet::dbus::connection::Error;
use pacelet::dbus::manager::Manager;
use pacelet::dbus::systemd::{
    ActiveState, Done, Failure, JobResult, LoadState, Reply, Request, RequestId, UnitPath,
};
use pacelet::time::Instant;

use systemd::Systemd;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn jobs_of_a_real_systemd() {
    let Some(mut systemd) = Systemd::boot() else { return };
    systemd.run("mkfifo /run/pacelet-release");
    starts_and_stops(&systemd);
    tells_how_jobs_fail(&systemd);
    tells_what_is_missing(&systemd);
    merged_jobs_end_together(&systemd);
    a_deadline_passes(&systemd);
    a_systemd_that_hangs(&systemd);
    reload_goes_before_start(&systemd);
    a_forged_end_is_not_believed(&systemd);
    a_job_outlives_a_new_systemd_process(&systemd);
    a_new_systemd_process_answers_again(&systemd);
    another_user_is_refused(&systemd);
    a_lost_bus_fails_requests(&systemd);
    systemd.shut_down();
}

fn starts_and_stops(systemd: &Systemd) {
    let mut client = connect(systemd);
    let unit = client.load("pacelet-good.service");
    assert_eq!(unit.as_str(), "/org/freedesktop/systemd1/unit/pacelet_2dgood_2eservice");
    assert_eq!(client.ask(Request::LoadState(&unit)), Ok(Reply::LoadState(LoadState::Loaded)));
    assert_eq!(client.active(&unit), ActiveState::Other("inactive".into()));

    assert_eq!(client.ask(Request::Start("pacelet-good.service")), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.active(&unit), ActiveState::Active);
    // Nothing to do: a job all the same.
    assert_eq!(client.ask(Request::Start("pacelet-good.service")), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.ask(Request::Restart("pacelet-good.service")), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.active(&unit), ActiveState::Active);

    assert_eq!(client.ask(Request::Stop("pacelet-good.service")), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.active(&unit), ActiveState::Other("inactive".into()));
}

fn tells_how_jobs_fail(systemd: &Systemd) {
    let mut client = connect(systemd);
    let result = |word: &str| Ok(Reply::Job(JobResult::Other(word.into())));
    assert_eq!(client.ask(Request::Start("pacelet-bad.service")), result("failed"));
    let unit = client.load("pacelet-bad.service");
    assert_eq!(client.active(&unit), ActiveState::Other("failed".into()));
    assert_eq!(client.ask(Request::Start("pacelet-needy.service")), result("dependency"));
    assert_eq!(client.ask(Request::Start("pacelet-late.service")), Ok(Reply::Job(JobResult::Timeout)));

    let start = client.begin(Request::Start("pacelet-held.service"));
    let unit = client.load("pacelet-held.service");
    client.wait_until_activating(&unit);
    assert_eq!(client.ask(Request::Stop("pacelet-held.service")), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.end(start), result("canceled"));
}

fn tells_what_is_missing(systemd: &Systemd) {
    let mut client = connect(systemd);
    for request in [Request::Start("pacelet-missing.service"), Request::Stop("pacelet-missing.service")] {
        let Err(Failure::Error(error)) = client.ask(request) else { panic!("{request:?} did not fail") };
        assert_eq!(&*error.name, "org.freedesktop.systemd1.NoSuchUnit");
        assert!(error.is_missing_unit());
    }
    let unit = client.load("pacelet-missing.service");
    assert_eq!(client.active(&unit), ActiveState::Other("inactive".into()));
    let not_found = Reply::LoadState(LoadState::Other("not-found".into()));
    assert_eq!(client.ask(Request::LoadState(&unit)), Ok(not_found));

    let Err(Failure::Error(error)) = client.ask(Request::Load("no unit name")) else { panic!("no error") };
    assert_eq!(&*error.name, "org.freedesktop.DBus.Error.InvalidArgs");
    assert!(!error.is_missing_unit());
}

fn merged_jobs_end_together(systemd: &Systemd) {
    let mut client = connect(systemd);
    let first = client.begin(Request::Start("pacelet-held.service"));
    let second = client.begin(Request::Start("pacelet-held.service"));
    client.load("pacelet-held.service");
    systemd.release();
    assert_eq!(client.end(first), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.end(second), Ok(Reply::Job(JobResult::Done)));
}

fn a_deadline_passes(systemd: &Systemd) {
    let mut client = connect(systemd);
    let start = client.begin_within(Request::Start("pacelet-held.service"), Duration::from_millis(200));
    assert_eq!(client.end(start), Err(Failure::Deadline));
    let unit = client.load("pacelet-held.service");
    client.wait_until_activating(&unit);
    assert_eq!(client.ask(Request::Stop("pacelet-held.service")), Ok(Reply::Job(JobResult::Done)));
}

/// systemd hangs and comes back; meanwhile more is asked than the 128 calls that a bus lets a client
/// have open.
fn a_systemd_that_hangs(systemd: &Systemd) {
    let mut client = connect(systemd);
    client.load("pacelet-good.service");
    systemd.signal("STOP");
    let names: Vec<_> = (0..500).map(|number| format!("pacelet-missing-{number}.service")).collect();
    let loads: Vec<_> = names.iter().map(|name| client.begin(Request::Load(name))).collect();
    let late = client.begin_within(Request::Load("pacelet-good.service"), Duration::from_millis(300));
    assert_eq!(client.end(late), Err(Failure::Deadline));
    systemd.signal("CONT");
    for load in loads {
        let result = client.end(load);
        assert!(matches!(result, Ok(Reply::Unit(_))), "{result:?}");
    }
}

fn reload_goes_before_start(systemd: &Systemd) {
    let mut client = connect(systemd);
    systemd.run("printf '[Service]\\nExecStart=/bin/sleep 600\\n' > /run/systemd/system/pacelet-new.service");
    let reload = client.begin(Request::Reload);
    let start = client.begin(Request::Start("pacelet-new.service"));
    assert_eq!(client.end(start), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.end(reload), Ok(Reply::Reloaded));
}

/// Another user sends everyone on the bus the signal that the job is done; it fails.
fn a_forged_end_is_not_believed(systemd: &Systemd) {
    let mut client = connect(systemd);
    let start = client.begin(Request::Start("pacelet-held-bad.service"));
    client.load("pacelet-held-bad.service");
    systemd.run(
        "set -eu
        job=$(systemctl list-jobs --no-legend pacelet-held-bad.service | sed 's/^ *\\([0-9]*\\).*/\\1/')
        for peer in $(busctl list --unique --no-legend | sed 's/ .*//'); do
            setpriv --reuid=65534 --clear-groups busctl emit --destination=$peer \
                /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager JobRemoved uoss \
                $job /org/freedesktop/systemd1/job/$job pacelet-held-bad.service done
        done",
    );
    systemd.release();
    assert_eq!(client.end(start), Ok(Reply::Job(JobResult::Other("failed".into()))));
}

fn a_job_outlives_a_new_systemd_process(systemd: &Systemd) {
    let mut client = connect(systemd);
    let start = client.begin(Request::Start("pacelet-held.service"));
    let unit = client.load("pacelet-held.service");
    client.wait_until_activating(&unit);
    systemd.run("systemctl daemon-reexec");
    systemd.release();
    assert_eq!(client.end(start), Ok(Reply::Job(JobResult::Done)));
    assert_eq!(client.ask(Request::Start("pacelet-good.service")), Ok(Reply::Job(JobResult::Done)));
}

/// What systemd has taken but not answered when it leaves the bus fails in a way of its own; what
/// comes while it is away is held by the bus.
fn a_new_systemd_process_answers_again(systemd: &Systemd) {
    let mut client = connect(systemd);
    for _ in 0..3 {
        let mut disconnects = 0;
        let mut reexec = systemd.spawn("systemctl daemon-reexec");
        while reexec.try_wait().unwrap().is_none() {
            match client.ask(Request::Load("pacelet-good.service")) {
                Ok(_) => {}
                Err(Failure::Error(error)) if error.is_disconnect() => disconnects += 1,
                Err(failure) => panic!("{failure:?}"),
            }
        }
        assert!(disconnects <= 1);
    }
}

fn another_user_is_refused(systemd: &Systemd) {
    let mut client = Client::connect(systemd, 65533);
    let load = client.begin(Request::Load("pacelet-good.service"));
    assert_eq!(client.end(load), Err(Failure::Lost));
    assert!(matches!(client.error, Some(Error::Refused(_))), "{:?}", client.error);
}

fn a_lost_bus_fails_requests(systemd: &Systemd) {
    let mut client = connect(systemd);
    let start = client.begin(Request::Start("pacelet-held.service"));
    client.load("pacelet-held.service");
    systemd.run("systemctl kill --signal=KILL dbus.service");
    assert_eq!(client.end(start), Err(Failure::Lost));
    assert_eq!(client.error, None);

    // The bus is started again by its socket, and systemd comes back to it.
    let again = Clock::now();
    loop {
        let mut client = connect(systemd);
        match client.ask(Request::Load("pacelet-good.service")) {
            Ok(_) => return,
            Err(failure) => assert!(again.elapsed() < LIMIT, "still {failure:?}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn connect(systemd: &Systemd) -> Client {
    Client::connect(systemd, 0)
}

/// Real input and output around a [`Manager`]: a blocking socket with a timeout.
struct Client {
    socket: UnixStream,
    manager: Manager,
    began: Clock,
    last: u64,
    done: BTreeMap<RequestId, Result<Reply, Failure>>,
    closed: bool,
    error: Option<Error>,
}

impl Client {
    fn connect(systemd: &Systemd, uid: u32) -> Self {
        let path = format!("/proc/{}/root/run/dbus/system_bus_socket", systemd.pid);
        let socket =
            UnixStream::connect(&path).unwrap_or_else(|error| panic!("connecting to {path}: {error}"));
        let manager = Manager::new(uid, Instant::from_millis(5000));
        let done = BTreeMap::new();
        Self { socket, manager, began: Clock::now(), last: 0, done, closed: false, error: None }
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.began.elapsed().as_millis() as u64)
    }

    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Failure> {
        let id = self.begin(request);
        self.end(id)
    }

    fn load(&mut self, unit: &str) -> UnitPath {
        match self.ask(Request::Load(unit)) {
            Ok(Reply::Unit(path)) => path,
            other => panic!("loading {unit}: {other:?}"),
        }
    }

    fn active(&mut self, unit: &UnitPath) -> ActiveState {
        match self.ask(Request::ActiveState(unit)) {
            Ok(Reply::ActiveState(state)) => state,
            other => panic!("asking for the state of {unit:?}: {other:?}"),
        }
    }

    /// A job that was queued has not changed its unit yet.
    fn wait_until_activating(&mut self, unit: &UnitPath) {
        let began = Clock::now();
        while self.active(unit) != ActiveState::Activating {
            assert!(began.elapsed() < LIMIT, "{unit:?} is not being started");
        }
    }

    fn begin(&mut self, request: Request<'_>) -> RequestId {
        self.begin_within(request, LIMIT)
    }

    fn begin_within(&mut self, request: Request<'_>, limit: Duration) -> RequestId {
        self.last += 1;
        let id = RequestId(self.last);
        let deadline = self.now().after(limit.as_millis() as u64);
        self.manager.ask(id, request, deadline);
        id
    }

    fn end(&mut self, id: RequestId) -> Result<Reply, Failure> {
        loop {
            while let Some(Done { id, result }) = self.manager.poll() {
                assert!(self.done.insert(id, result).is_none(), "{id:?} was told twice");
            }
            match self.done.remove(&id) {
                Some(result) => return result,
                None if self.closed => panic!("{id:?} was not told of when the connection ended"),
                None => self.step(),
            }
        }
    }

    fn step(&mut self) {
        if self.write().and_then(|()| self.read()).is_err() {
            self.closed = true;
            self.manager.lost();
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let count = self.manager.outgoing().len();
        self.socket.write_all(self.manager.outgoing())?;
        self.manager.sent(count);
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let left = self.manager.deadline().map_or(0, |deadline| deadline.since(self.now()));
        self.socket.set_read_timeout(Some(Duration::from_millis(left.max(1))))?;
        let mut bytes = [0; 4096];
        let result = match self.socket.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.manager.receive(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.manager.wake(self.now()),
            Err(error) => return Err(error),
        };
        self.closed = result.is_err();
        self.error = result.err();
        Ok(())
    }
}
