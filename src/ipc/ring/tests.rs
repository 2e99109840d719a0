use super::*;
use crate::ipc::sim::{MACHINES, Moment, Sim};

/// A ring of 1024 words for messages of up to 1000 bytes.
const SMALL: (u32, usize) = (1000, 4096);

fn reader(machine: Machine) -> (Reader<Sim>, Sim) {
    let geometry = Geometry::new(SMALL.0, SMALL.1);
    let memory = Sim::new(geometry, machine);
    (Reader::new(memory.clone(), geometry, machine), memory)
}

fn writer(machine: Machine) -> (Writer<Sim>, Sim) {
    let geometry = Geometry::new(SMALL.0, SMALL.1);
    let memory = Sim::new(geometry, machine);
    (Writer::new(memory.clone(), geometry, machine), memory)
}

/// Messages of all sizes up to the longest, each unlike its neighbours.
fn messages() -> impl Iterator<Item = Vec<u8>> {
    (0..3000_u32).map(|n| {
        let size = n.wrapping_mul(2_654_435_761) % (SMALL.0 + 1);
        (0..size).map(|at| (n + at) as u8).collect()
    })
}

#[test]
fn requests_around_the_end_many_times() {
    for machine in MACHINES {
        let (mut reader, client) = reader(machine);
        let mut sent = std::collections::VecDeque::new();
        let mut message = vec![1, 2, 3];
        assert_eq!(reader.next(&mut message), Ok(false));
        for (round, next) in messages().enumerate() {
            while !client.send(&next) {
                assert_eq!(reader.next(&mut message), Ok(true));
                assert_eq!(Some(&message), sent.pop_front().as_ref(), "{machine:?}");
            }
            sent.push_back(next);
            assert!(reader.has_more());
            // Now and then all of them, so that empty rings of every position come up.
            while round % 7 == 0 && reader.next(&mut message) == Ok(true) {
                assert_eq!(Some(&message), sent.pop_front().as_ref(), "{machine:?}");
            }
        }
    }
}

#[test]
fn answers_around_the_end_many_times() {
    for machine in MACHINES {
        let (mut writer, client) = writer(machine);
        let mut sent = std::collections::VecDeque::new();
        let mut full = 0;
        for (round, next) in messages().enumerate() {
            let (head, body) = next.split_at(next.len() / 3);
            while writer.write(&[head, body]) == Ok(Written::Full) {
                full += 1;
                assert_eq!(client.receive(), sent.pop_front(), "{machine:?}");
            }
            sent.push_back(next);
            assert_eq!(client.count() as usize, sent.len());
            while round % 7 == 0 && !sent.is_empty() {
                assert_eq!(client.receive(), sent.pop_front(), "{machine:?}");
            }
        }
        assert!(full > 100, "the ring was full {full} times only");
        while let Some(message) = client.receive() {
            assert_eq!(Some(message), sent.pop_front());
        }
        assert!(sent.is_empty());
    }
}

#[test]
fn a_write_wakes_who_waits() {
    for machine in MACHINES {
        let (mut writer, client) = writer(machine);
        client.mark_waiting();
        assert_eq!(writer.write(&[b"head", b"body"]), Ok(Written::Done));
        assert!(client.is_marked_waiting(), "{machine:?}");
        assert_eq!(client.count(), 1);
        let value = if machine == MACHINES[1] { 8212 } else { 8208 };
        assert_eq!(*client.woken.borrow(), [value], "{machine:?}");
        assert_eq!(client.receive().as_deref(), Some(&b"headbody"[..]));
    }
}

#[test]
fn a_request_leaves_the_mark_of_waiters() {
    for machine in MACHINES {
        let (mut reader, client) = reader(machine);
        client.mark_waiting();
        assert!(client.send(b"request"));
        assert_eq!(reader.next(&mut Vec::new()), Ok(true));
        assert!(client.is_marked_waiting(), "{machine:?}");
        assert_eq!(client.count(), 0);
    }
}

#[test]
fn the_longest_message_and_one_byte_more() {
    let (mut writer, client) = writer(Machine::NATIVE);
    let longest = vec![7; SMALL.0 as usize];
    assert_eq!(writer.write(&[&longest]), Ok(Written::Done));
    assert_eq!(writer.write(&[&longest, b"x"]), Ok(Written::TooLong));
    assert_eq!(client.receive(), Some(longest.clone()));
    assert_eq!(client.receive(), None);

    let (mut reader, client) = reader(Machine::NATIVE);
    let mut message = Vec::new();
    assert!(client.send(&longest));
    assert_eq!(reader.next(&mut message), Ok(true));
    assert_eq!(message, longest);
    assert!(client.send(&[&longest[..], b"x"].concat()));
    assert_eq!(reader.next(&mut message), Err(Trouble::Peer(Breach::Size(SMALL.0 + 1))));
}

#[test]
fn nothing_is_written_into_a_full_ring() {
    let (mut writer, client) = writer(Machine::NATIVE);
    let mut count = 0;
    while writer.write(&[&[1; 100]]) == Ok(Written::Done) {
        count += 1;
    }
    // 1024 words of which 27 are a chunk's, and 28 have to be free.
    assert_eq!(count, 37);
    let point = client.header_word(RingHeader::WRITE_POINT);
    assert_eq!(writer.write(&[&[1; 100]]), Ok(Written::Full));
    assert_eq!((client.count(), client.header_word(RingHeader::WRITE_POINT)), (count, point));
    // A shorter one still fits.
    assert_eq!(writer.write(&[b"x"]), Ok(Written::Done));
}

#[test]
fn a_semaphore_raised_for_nothing() {
    let mut message = Vec::new();
    let (mut reader, client) = reader(Machine::NATIVE);
    client.post();
    assert_eq!(reader.next(&mut message), Err(Trouble::Peer(Breach::Magic(0))));

    // The place of a request that was read already is not read again.
    let (mut reader, client) = self::reader(Machine::NATIVE);
    assert!(client.send(b"once"));
    assert_eq!(reader.next(&mut message), Ok(true));
    client.set_header_word(RingHeader::READ_POINT, 0);
    client.post();
    assert_eq!(reader.next(&mut message), Err(Trouble::Peer(Breach::Magic(0))));
}

#[test]
fn a_semaphore_taken_away_meanwhile() {
    for machine in MACHINES {
        let (mut reader, client) = reader(machine);
        let mut message = Vec::new();
        assert!(client.send(b"request"));
        client.plan(Moment::BeforeAdd, |client| assert!(client.take()));
        assert_eq!(reader.next(&mut message), Ok(true));
        assert_eq!(message, b"request");
        // The count is nonsense now, and the next look finds nothing.
        assert_eq!(reader.next(&mut message), Err(Trouble::Peer(Breach::Magic(0))), "{machine:?}");
    }
}

#[test]
fn forged_sizes() {
    for size in [SMALL.0 + 1, 4096, 0x8000_0000, u32::MAX] {
        let (mut reader, client) = reader(Machine::NATIVE);
        assert!(client.send(b"request"));
        client.set_word(0, size);
        let mut message = Vec::new();
        assert_eq!(reader.next(&mut message), Err(Trouble::Peer(Breach::Size(size))));
        assert_eq!(message.capacity(), 0, "nothing may be allocated for it");
    }
}

#[test]
fn a_size_is_read_once() {
    let (mut reader, client) = reader(Machine::NATIVE);
    assert!(client.send(b"request"));
    client.plan(Moment::AfterRead, |client| client.set_word(0, u32::MAX));
    let mut message = Vec::new();
    assert_eq!(reader.next(&mut message), Ok(true));
    assert_eq!(message, b"request");
    // And where the next one begins does not depend on it, either.
    assert!(client.send(b"next"));
    assert_eq!(reader.next(&mut message), Ok(true));
    assert_eq!(message, b"next");
}

#[test]
fn forged_points() {
    // Those that this side owns are not read at all.
    let (mut reader, client) = reader(Machine::NATIVE);
    let mut message = Vec::new();
    for content in [b"one", b"two"] {
        assert!(client.send(content));
        client.set_header_word(RingHeader::READ_POINT, u32::MAX);
        client.set_header_word(RingHeader::WORDS, 3);
        assert_eq!(reader.next(&mut message), Ok(true));
        assert_eq!(message, content);
    }
    let (mut writer, client) = writer(Machine::NATIVE);
    assert_eq!(writer.write(&[b"one"]), Ok(Written::Done));
    client.set_header_word(RingHeader::WRITE_POINT, u32::MAX);
    client.set_header_word(RingHeader::WORDS, 0);
    assert_eq!(writer.write(&[b"two"]), Ok(Written::Done));
    assert_eq!(client.header_word(RingHeader::WRITE_POINT), 6);

    // The client's is checked.
    for point in [1024, 1025, u32::MAX] {
        client.set_header_word(RingHeader::READ_POINT, point);
        assert_eq!(writer.write(&[b"x"]), Err(Trouble::Peer(Breach::ReadPoint(point))));
    }
    // One that lies inside the ring can only spoil what the client itself has not read: `Sim` fails
    // the test if a write leaves the file.
    for point in (0..1024).chain(0..1024) {
        client.set_header_word(RingHeader::READ_POINT, point);
        let _ = writer.write(&[&[3; 1000]]).expect("no trouble");
    }
}

#[test]
fn a_file_cut_short() {
    let (mut reader, client) = reader(Machine::NATIVE);
    assert!(client.send(b"request"));
    client.cut(10);
    assert_eq!(reader.next(&mut Vec::new()), Err(Trouble::Peer(Breach::Cut)));
    let (mut writer, client) = writer(Machine::NATIVE);
    client.cut(0);
    assert_eq!(writer.write(&[b"response"]), Ok(Written::Done));
    assert_eq!(client.receive().as_deref(), Some(&b"response"[..]));
}

#[test]
fn a_client_can_be_held_back() {
    for (machine, at) in MACHINES.into_iter().zip([8240, 8240, 8224, 8224]) {
        let (reader, client) = reader(machine);
        reader.hold(true);
        assert_eq!(client.header_word(at), 1);
        reader.hold(false);
        assert_eq!(client.header_word(at), 0);
    }
}
