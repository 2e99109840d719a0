//! Compressed messages: nothing panics or becomes longer than was told, and what is read is what the reference
//! implementation reads.

use pacelet::bzip2::{Packer, Unpacker};

use crate::run::run;

const LONGEST: usize = 10_000;

fn pack(text: &[u8]) -> Vec<u8> {
    let mut packer = Packer::new();
    while !packer.step(text) {}
    packer.finish()
}

fn unpack(stream: &[u8]) -> Option<Vec<u8>> {
    let mut unpacker = Unpacker::new();
    let mut text = Vec::new();
    loop {
        match unpacker.step(stream, &mut text, LONGEST) {
            Ok(true) => return Some(text),
            Ok(false) => assert!(text.len() <= LONGEST),
            Err(error) => {
                assert!(text.len() <= LONGEST && !error.to_string().is_empty());
                return None;
            }
        }
    }
}

fn reference(stream: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(LONGEST + 1);
    match bzip2::Decompress::new(false).decompress_vec(stream, &mut text) {
        Ok(bzip2::Status::StreamEnd) => Some(text),
        _ => None,
    }
}

#[test]
fn bzip2() {
    let texts = [&b""[..], b"<a/>\0", &[b'x'; 3000], b"<a b='c'><a b='c'><a b='c'/></a></a>\0"];
    let seeds = texts.map(pack).to_vec();
    run("bzip2", seeds, |input, rng| {
        if let Some(text) = unpack(input) {
            assert!(reference(input).as_ref() == Some(&text));
        }
        // The input as a text: slower.
        if rng.one_in(20) {
            let stream = pack(input);
            assert!(unpack(&stream).as_deref() == Some(input));
            assert!(reference(&stream).as_deref() == Some(input));
        }
    });
}
