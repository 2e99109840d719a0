//! Building what we send in the handshake.

use super::group::Public;
use super::negotiate::Choice;

/// Types of handshake messages (RFC 8446 section 4).
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const FINISHED: u8 = 20;
pub(super) const KEY_UPDATE: u8 = 24;
const SERVER_HELLO: u8 = 2;
const ENCRYPTED_EXTENSIONS: u8 = 8;

/// EncryptedExtensions without extensions.
pub(super) const EMPTY_EXTENSIONS: [u8; 6] = [ENCRYPTED_EXTENSIONS, 0, 0, 2, 0, 0];
/// KeyUpdate with update_not_requested.
pub(super) const KEY_UPDATED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// Appends a ServerHello (RFC 8446 section 4.1.3).
pub(super) fn server_hello(
    choice: &Choice<'_>,
    identity: u16,
    public: &Public,
    session_id: &[u8],
    random: &[u8; 32],
    out: &mut Vec<u8>,
) {
    out.push(SERVER_HELLO);
    length24(out, |out| {
        out.extend_from_slice(&[3, 3]);
        out.extend_from_slice(random);
        // At most 32 bytes: the hello was checked.
        out.push(session_id.len() as u8);
        out.extend_from_slice(session_id);
        number(out, choice.suite as u16);
        out.push(0);
        length16(out, |out| {
            number(out, 43);
            length16(out, |out| number(out, 0x0304));
            number(out, 51);
            length16(out, |out| {
                number(out, choice.group as u16);
                length16(out, |out| out.extend_from_slice(public.bytes()));
            });
            number(out, 41);
            length16(out, |out| number(out, identity));
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
