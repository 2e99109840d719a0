//! The header of a cluster's message: what is accepted is consistent, and encodes to the same bytes.

use pacelet::wire::header::{Header, LEN, LIMIT, LIMIT_UNREGISTERED, View};

use crate::run::run;

const SEEDS: &[&[u8]] = &[
    b"\xBD\xDB\xDA\xBA\x01\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xF6\0\0\0\x28\0\0\0\0\0\0\0\xCE\0\0\0",
    b"\xBA\xDA\xDB\xBD\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\xF6\0\0\0\x28\0\0\0\0\0\0\0\xCE",
    b"\xBD\xDB\xDA\xBA\x01\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x27\0\0\0\x28\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF",
];

#[test]
fn header() {
    run("header", SEEDS.iter().map(|seed| seed.to_vec()).collect(), |input, _| check(input));
}

fn check(input: &[u8]) {
    let Some(bytes) = input.first_chunk::<LEN>() else { return };
    for limit in [0, 41, LIMIT_UNREGISTERED, LIMIT, u32::MAX] {
        match View::new_checked(bytes, limit) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(Header::parse(bytes, limit), Err(error));
            }
            Ok(view) => {
                let total = u64::from(view.payload()) + LEN as u64;
                assert!(view.payload() > 0 && total <= u64::from(limit));
                let header = Header::parse(bytes, limit).expect("the view was good");
                assert_eq!((header.id, header.payload), (view.id(), view.payload()));
                let again = header.encode_in(view.order());
                // All but the version and the flags, which nobody looks at.
                assert_eq!(again[..4], bytes[..4]);
                assert_eq!(again[8..16], bytes[8..16]);
                assert_eq!(again[24..], bytes[24..]);
            }
        }
    }
}
