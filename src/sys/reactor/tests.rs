use std::cell::RefCell;
use std::time::{Duration, Instant as StdInstant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::super::testing::block_on;
use super::*;

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
}

fn source(reactor: &Rc<Reactor>, fd: OwnedFd, class: Class) -> Source {
    Source::new(reactor, fd, class, Interest::Read).unwrap()
}

async fn read(source: &Source, buffer: &mut [u8]) -> usize {
    loop {
        let wanted = buffer.len();
        if let Some(count) = source.attempt_read(wanted, |fd| rustix::io::read(fd, &mut *buffer)).unwrap() {
            return count;
        }
        source.readable().await;
    }
}

#[test]
fn bytes_wake_their_reader() {
    let reactor = Reactor::new().unwrap();
    let (read_end, write_end) = pipe();
    let source = source(&reactor, read_end, Class::Urgent);
    let executor = LocalExecutor::new();
    executor
        .spawn(async {
            sleep_until(&reactor, clock::monotonic().after(20)).await;
            rustix::io::write(&write_end, b"late").unwrap();
        })
        .detach();
    let mut buffer = [0; 16];
    assert_eq!(block_on(&reactor, &executor, read(&source, &mut buffer)), 4);
    assert_eq!(&buffer[..4], b"late");
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (read_end, write_end) = pipe();
    rustix::io::write(&write_end, b"last").unwrap();
    drop(write_end);
    let source = source(&reactor, read_end, Class::Urgent);
    let mut buffer = [0; 16];
    assert_eq!(block_on(&reactor, &executor, read(&source, &mut buffer)), 4);
    assert_eq!(block_on(&reactor, &executor, read(&source, &mut buffer)), 0);
}

#[test]
fn an_end_that_comes_after_the_last_bytes_is_seen() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (read_end, write_end) = pipe();
    rustix::io::write(&write_end, b"last").unwrap();
    let source = source(&reactor, read_end, Class::Urgent);
    let mut buffer = [0; 16];
    assert_eq!(block_on(&reactor, &executor, read(&source, &mut buffer)), 4);
    drop(write_end);
    assert_eq!(block_on(&reactor, &executor, read(&source, &mut buffer)), 0);
}

#[test]
fn a_full_pipe_holds_the_writer_until_it_is_read() {
    let reactor = Reactor::new().unwrap();
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let ours = Source::new(&reactor, ours, Class::Urgent, Interest::ReadWrite).unwrap();
    let theirs = source(&reactor, theirs, Class::Urgent);
    let executor = LocalExecutor::new();
    const TOTAL: usize = 4 << 20;
    executor
        .spawn(async {
            let mut left = TOTAL;
            let mut waits = 0;
            while left > 0 {
                match ours.attempt_write(|fd| rustix::io::write(fd, &vec![7; left])).unwrap() {
                    Some(count) => left -= count,
                    None => {
                        waits += 1;
                        ours.writable().await;
                    }
                }
            }
            assert!(waits > 0, "a socket does not hold 4 MiB");
        })
        .detach();
    let total = block_on(&reactor, &executor, async {
        let mut buffer = vec![0; 65536];
        let mut total = 0;
        while total < TOTAL {
            total += read(&theirs, &mut buffer).await;
        }
        total
    });
    assert_eq!(total, TOTAL);
}

#[test]
fn urgent_goes_before_patient_whatever_was_first() {
    let reactor = Reactor::new().unwrap();
    let order = Rc::new(RefCell::new(Vec::new()));
    let mut keep = Vec::new();
    let timer = Timer::new(&reactor);
    timer.set(Some(clock::monotonic()));
    let executor = LocalExecutor::new();
    for (name, class) in [
        ("patient 1", Class::Patient),
        ("urgent 1", Class::Urgent),
        ("patient 2", Class::Patient),
        ("urgent 2", Class::Urgent),
    ] {
        let (read_end, write_end) = pipe();
        rustix::io::write(&write_end, b"x").unwrap();
        keep.push(write_end);
        let source = source(&reactor, read_end, class);
        let order = order.clone();
        executor
            .spawn(async move {
                source.readable().await;
                order.borrow_mut().push(name);
            })
            .detach();
    }
    executor
        .spawn(async {
            timer.expired().await;
            order.borrow_mut().push("timer");
        })
        .detach();
    reactor.run(&executor, || order.borrow().len() == 5).unwrap();
    assert_eq!(*order.borrow(), ["urgent 1", "urgent 2", "timer", "patient 1", "patient 2"]);
}

#[test]
fn urgent_work_without_end_does_not_starve_a_patient_task() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let (read_end, write_end) = pipe();
    rustix::io::write(&write_end, b"x").unwrap();
    let patient = source(&reactor, read_end, Class::Patient);
    let ticks = Rc::new(Cell::new(0));
    let busy = ticks.clone();
    executor
        .spawn(async move {
            loop {
                busy.set(busy.get() + 1);
                yield_now().await;
            }
        })
        .detach();
    block_on(&reactor, &executor, patient.readable());
    assert!(ticks.get() <= 3 * TICKS_PER_TURN, "epoll is asked after every {TICKS_PER_TURN} ticks");
}

#[test]
fn a_patient_task_that_passes_its_turn_lets_urgent_ones_go_first() {
    let reactor = Reactor::new().unwrap();
    let (patient_end, patient_write) = pipe();
    let (urgent_end, urgent_write) = pipe();
    rustix::io::write(&patient_write, b"xx").unwrap();
    let patient = source(&reactor, patient_end, Class::Patient);
    let urgent = source(&reactor, urgent_end, Class::Urgent);
    let order = RefCell::new(Vec::new());
    let executor = LocalExecutor::new();
    executor
        .spawn(async {
            let mut byte = [0];
            assert_eq!(read(&patient, &mut byte).await, 1);
            order.borrow_mut().push("patient");
            rustix::io::write(&urgent_write, b"x").unwrap();
            patient.pass_turn().await;
            assert_eq!(read(&patient, &mut byte).await, 1);
            order.borrow_mut().push("patient again");
        })
        .detach();
    executor
        .spawn(async {
            urgent.readable().await;
            order.borrow_mut().push("urgent");
        })
        .detach();
    reactor.run(&executor, || order.borrow().len() == 3).unwrap();
    assert_eq!(*order.borrow(), ["patient", "urgent", "patient again"]);
}

#[test]
fn deadlines_come_in_order_and_never_early() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    let start = clock::monotonic();
    let started = StdInstant::now();
    for delay in [30, 10, 20] {
        let (reactor, order) = (reactor.clone(), order.clone());
        executor
            .spawn(async move {
                sleep_until(&reactor, start.after(delay)).await;
                // The clock that deadlines are made from is rounded down by less than a millisecond.
                assert!(started.elapsed() + Duration::from_millis(1) >= Duration::from_millis(delay));
                order.borrow_mut().push(delay);
            })
            .detach();
    }
    reactor.run(&executor, || order.borrow().len() == 3).unwrap();
    assert_eq!(*order.borrow(), [10, 20, 30]);
}

#[test]
fn a_deadline_can_be_moved_and_taken_away() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let timer = Timer::new(&reactor);
    let now = clock::monotonic();
    timer.set(Some(now));
    timer.set(None);
    timer.set(Some(now.after(1_000_000)));
    timer.set(Some(now.after(5)));
    block_on(&reactor, &executor, timer.expired());
    assert!(clock::monotonic() >= now.after(5));
    assert!(reactor.timers.borrow().is_empty());
    timer.set(Some(now.after(1_000_000)));
    drop(timer);
    assert!(reactor.timers.borrow().is_empty());
}

#[test]
fn a_notification_before_the_wait_is_not_lost() {
    let reactor = Reactor::new().unwrap();
    let notifier = Notifier::default();
    let executor = LocalExecutor::new();
    notifier.notify();
    block_on(&reactor, &executor, notifier.notified());
    executor.spawn(async { notifier.notify() }).detach();
    block_on(&reactor, &executor, notifier.notified());
}

#[test]
fn an_event_for_a_former_owner_of_the_index_is_dropped() {
    let mut slots = Slots::default();
    let slot = |class| Rc::new(Slot::new(class));
    let first = slots.insert(slot(Class::Urgent));
    slots.remove(first);
    let second = slots.insert(slot(Class::Patient));
    assert_eq!(first as u32, second as u32, "the index is used again");
    assert!(slots.find(EventData::new_u64(first)).is_none());
    assert!(slots.find(EventData::new_u64(second)).is_some());
}
