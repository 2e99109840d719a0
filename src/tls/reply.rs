//! Building what we send in the handshake.

use super::group::Group;
use super::suite::Suite;

/// Types of handshake messages (RFC 8446 section 4).
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const FINISHED: u8 = 20;
pub(super) const KEY_UPDATE: u8 = 24;
pub(super) const MESSAGE_HASH: u8 = 254;
const SERVER_HELLO: u8 = 2;
const ENCRYPTED_EXTENSIONS: u8 = 8;

/// EncryptedExtensions without extensions.
pub(super) const EMPTY_EXTENSIONS: [u8; 6] = [ENCRYPTED_EXTENSIONS, 0, 0, 2, 0, 0];
/// KeyUpdate with update_not_requested.
pub(super) const KEY_UPDATED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// What makes a ServerHello a HelloRetryRequest: its random, SHA-256 of "HelloRetryRequest" (RFC 8446
/// section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Appends a ServerHello (RFC 8446 section 4.1.3); `share` is our group and key share, `None` with `psk_ke`.
pub(super) fn server_hello(
    suite: Suite,
    share: Option<(Group, &[u8])>,
    identity: u16,
    session_id: &[u8],
    random: &[u8; 32],
    out: &mut Vec<u8>,
) {
    hello(suite, session_id, random, out, |out| {
        if let Some((group, public)) = share {
            number(out, 51);
            length16(out, |out| {
                number(out, group as u16);
                length16(out, |out| out.extend_from_slice(public));
            });
        }
        number(out, 41);
        length16(out, |out| number(out, identity));
    });
}

/// Appends a HelloRetryRequest for a share of a group (RFC 8446 section 4.1.4).
pub(super) fn hello_retry_request(suite: Suite, group: Group, session_id: &[u8], out: &mut Vec<u8>) {
    hello(suite, session_id, &RETRY, out, |out| {
        number(out, 51);
        length16(out, |out| number(out, group as u16));
    });
}

/// What the two have in common; `extensions` appends those that they have not.
fn hello(
    suite: Suite,
    session_id: &[u8],
    random: &[u8; 32],
    out: &mut Vec<u8>,
    extensions: impl FnOnce(&mut Vec<u8>),
) {
    out.push(SERVER_HELLO);
    length24(out, |out| {
        out.extend_from_slice(&[3, 3]);
        out.extend_from_slice(random);
        // At most 32 bytes: the hello was checked.
        out.push(session_id.len() as u8);
        out.extend_from_slice(session_id);
        number(out, suite as u16);
        out.push(0);
        length16(out, |out| {
            number(out, 43);
            length16(out, |out| number(out, 0x0304));
            extensions(out);
        });
    });
}

fn number(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// Puts a 16-bit length before what `content` appends.
fn length16(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    content(out);
    // The two bytes were appended above; everything we build is far below 64 KiB.
    let length = (out.len() - start - 2) as u16;
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

/// Puts a 24-bit length before what `content` appends.
fn length24(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(0);
    length16(out, content);
}
