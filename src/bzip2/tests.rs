use super::*;

/// The reference: levels 1 to 9.
fn reference(text: &[u8], level: u32) -> Vec<u8> {
    let mut packer = ::bzip2::Compress::new(::bzip2::Compression::new(level), 20);
    let mut out = Vec::with_capacity(text.len() * 2 + 1000);
    packer.compress_vec(text, &mut out, ::bzip2::Action::Finish).unwrap();
    out
}

fn read_by_reference(stream: &[u8], longest: usize) -> Vec<u8> {
    let mut unpacker = ::bzip2::Decompress::new(false);
    let mut out = Vec::with_capacity(longest + 100);
    assert_eq!(unpacker.decompress_vec(stream, &mut out), Ok(::bzip2::Status::StreamEnd));
    out
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new();
    while !packer.step(text) {}
    packer.finish()
}

fn unpack(stream: &[u8], longest: usize) -> Result<Vec<u8>, Error> {
    let mut unpacker = Unpacker::new();
    let mut text = Vec::new();
    while !unpacker.step(stream, &mut text, longest)? {
        assert!(text.len() <= longest);
    }
    Ok(text)
}

/// Texts of all kinds that a sort can find hard.
fn texts(length: usize) -> [(&'static str, Vec<u8>); 7] {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut runs = Vec::new();
    while runs.len() < length {
        let count = (random() >> 20) % 600;
        runs.resize(runs.len() + count as usize, random() as u8);
    }
    runs.truncate(length);
    let (mut fibonacci, mut before) = (vec![b'a'], vec![b'b']);
    while fibonacci.len() < length {
        let next = [&fibonacci[..], &before].concat();
        before = std::mem::replace(&mut fibonacci, next);
    }
    fibonacci.truncate(length);
    let mut xml = String::new();
    while xml.len() < length {
        let (a, b) = (random() % 1000, random() >> 40);
        xml +=
            &format!("<lrm_rsc_op id='rsc{a}_last_0' transition-key='{b}:0:7:{:x}' rc-code='7'/>", random());
    }
    xml.truncate(length);
    [
        ("runs", runs),
        ("fibonacci", fibonacci),
        ("xml", xml.into_bytes()),
        ("one", vec![b'a'; length]),
        ("two", (0..length).map(|_| random() as u8 & 1).collect()),
        ("all", (0..length).map(|_| (random() >> 32) as u8).collect()),
        ("pattern", b"<nvpair id='a' name='b'/>".iter().copied().cycle().take(length).collect()),
    ]
}

#[test]
fn the_reference_reads_what_is_written_and_the_other_way_round() {
    let lengths = (0..40).chain([254, 255, 256, 257, 1000, 99_980, 99_981, 99_982, 250_000]);
    for (kind, text) in lengths.flat_map(texts) {
        let length = text.len();
        let packed = pack(&text);
        assert!(read_by_reference(&packed, length) == text, "{length} bytes of {kind}");
        assert!(unpack(&packed, length).as_ref() == Ok(&text), "{length} bytes of {kind}");
        for level in [1, 4, 9] {
            let packed = reference(&text, level);
            assert!(unpack(&packed, length).as_ref() == Ok(&text), "{length} bytes of {kind}, level {level}");
            if length > 0 {
                assert_eq!(unpack(&packed, length - 1), Err(Error::TooLong));
            }
        }
    }
}

#[test]
fn it_is_nearly_as_short_as_the_reference() {
    for (kind, text) in texts(250_000) {
        let (ours, theirs) = (pack(&text).len(), reference(&text, 1).len());
        assert!(ours <= theirs + theirs / 20, "{kind}: {ours}, the reference {theirs}");
    }
}

#[test]
fn a_bomb_stops_at_the_length_that_was_told() {
    let bomb = reference(&vec![0; 40_000_000], 9);
    assert!(bomb.len() < 100);
    let mut unpacker = Unpacker::new();
    let mut text = Vec::new();
    let error = loop {
        match unpacker.step(&bomb, &mut text, 1_000_000) {
            Ok(done) => assert!(!done),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::TooLong);
    assert!(text.capacity() <= 2_000_000);
}

#[test]
fn whatever_is_changed_is_noticed() {
    let text = b"<a b='c'>some text that is a little longer, and has some of the same again and again</a>";
    let stream = pack(text);
    for at in 0..stream.len() {
        assert_ne!(unpack(&stream[..at], 1000).as_deref(), Ok(&text[..]), "cut at {at}");
        for bit in 0..8 {
            let mut damaged = stream.clone();
            damaged[at] ^= 1 << bit;
            // The level may be another, and the last byte has bits that nobody looks at.
            let is_same = unpack(&damaged, 1000).as_deref() == Ok(text);
            assert!(!is_same || at == 3 || at == stream.len() - 1, "bit {bit} at {at}");
        }
    }
    assert_eq!(unpack(&[&stream[..], &[0]].concat(), 1000), Err(Error::Malformed));
    assert_eq!(unpack(b"", 1000), Err(Error::Malformed));
    assert_eq!(unpack(b"BZh0", 1000), Err(Error::Malformed));
}

#[test]
fn a_big_text_takes_steps() {
    let text = vec![b'x'; 10_000_000];
    let mut packer = Packer::new();
    let mut steps = 1;
    while !packer.step(&text) {
        steps += 1;
    }
    let stream = packer.finish();
    // One block holds five bytes for each 255.
    assert_eq!(steps, 2 * (text.len() / 255 * 5).div_ceil(100_000) + 1);
    let mut unpacker = Unpacker::new();
    let (mut back, mut before) = (Vec::new(), 0);
    while !unpacker.step(&stream, &mut back, text.len()).unwrap() {
        assert!(back.len() - before <= 256 * 1024 + 255);
        before = back.len();
    }
    assert!(back == text);
}
