//! Each cell of the tables in the room's header, and what comes of it.

use super::*;
use crate::trial;

const UNEXPECTED: Result<(), Option<Alert>> = Err(Some(Alert::UNEXPECTED_MESSAGE));
const NOT_OURS: Result<(), Option<Alert>> = Err(Some(Alert::BAD_RECORD_MAC));
const CLOSE: [u8; 2] = [1, 0];

/// In the order of the columns: the beginning of a message, what middleboxes want to see, a farewell, bytes.
fn in_the_clear() -> [Vec<u8>; 4] {
    [record(HANDSHAKE, &[1]), record(CHANGE_CIPHER_SPEC, &[1]), record(ALERT, &CLOSE), record(DATA, &[1; 40])]
}

fn comes_of(mut host: Host, bytes: &[u8]) -> Result<(), Option<Alert>> {
    host.receive(bytes).map_err(|failure| failure.alert)
}

#[test]
fn each_is_reached() {
    type Row = (fn() -> Host, [Result<(), Option<Alert>>; 4]);
    let rows: [Row; 4] = [
        (|| Host::new(&KEY), [Ok(()), UNEXPECTED, Ok(()), UNEXPECTED]),
        (|| retry::asked(&retry::shareless(X25519)).0, [Ok(()), Ok(()), Ok(()), UNEXPECTED]),
        (|| answered(&ordinary()).0, [UNEXPECTED, Ok(()), Ok(()), NOT_OURS]),
        (|| connected(&ordinary()).0, [UNEXPECTED, UNEXPECTED, UNEXPECTED, NOT_OURS]),
    ];
    for (state, outcomes) in rows {
        for (bytes, outcome) in in_the_clear().iter().zip(outcomes) {
            assert_eq!(comes_of(state(), bytes), outcome, "{:?}: {bytes:?}", state().server);
        }
    }

    type OpenedRow = (fn() -> (Host, Client), u8, [Result<(), Option<Alert>>; 4]);
    let rows: [OpenedRow; 2] = [
        (|| answered(&ordinary()), 20, [Ok(()), UNEXPECTED, Ok(()), UNEXPECTED]),
        (|| connected(&ordinary()), 24, [Ok(()), UNEXPECTED, Ok(()), Ok(())]),
    ];
    for (state, message, outcomes) in rows {
        let contents =
            [(HANDSHAKE, &[message][..]), (CHANGE_CIPHER_SPEC, &[1]), (ALERT, &CLOSE), (DATA, b"data")];
        for ((kind, content), outcome) in contents.into_iter().zip(outcomes) {
            let (host, mut client) = state();
            let seen = format!("{:?}: {kind} {content:?}", host.server);
            assert_eq!(comes_of(host, &client.seal(kind, content)), outcome, "{seen}");
        }
    }

    let header = include_str!("../mod.rs");
    let (_, opened) = header.split_once("in a record that was opened:").unwrap();
    for (table, source) in [("records", header), ("opened records", opened)] {
        println!("{}", trial::compare(table, source, &trial::reached()).unwrap());
    }
}
