//! Reading a ClientHello (RFC 8446 section 4.1.2): its form only. What it offers is judged in
//! `negotiate`.

use sha2::{Digest, Sha256};

use super::codec::{Malformed, Reader, Seen, U16s};
use super::failure::Cause;
use super::schedule::Hash;

/// The longest hello, with its header. The largest that clients in use send is 3 KiB, with a
/// post-quantum key share.
pub(super) const MAX_HELLO: usize = 64 * 1024;

/// A hello where it was received. Every field that is looked at has the form that RFC 8446 gives
/// it; extensions that mean nothing to us are passed over unread.
#[derive(Debug)]
pub(super) struct ClientHello<'a> {
    pub(super) legacy_version: u16,
    pub(super) session_id: &'a [u8],
    pub(super) suites: U16s<'a>,
    pub(super) compression: &'a [u8],
    pub(super) versions: Option<U16s<'a>>,
    pub(super) groups: Option<U16s<'a>>,
    pub(super) shares: Option<Shares<'a>>,
    /// psk_key_exchange_modes.
    pub(super) modes: Option<&'a [u8]>,
    pub(super) psks: Option<OfferedPsks<'a>>,
    pub(super) signature_algorithms: bool,
    pub(super) early_data: bool,
    /// All before the extensions' length, and the extensions.
    fields: &'a [u8],
    list: Reader<'a>,
}

impl<'a> ClientHello<'a> {
    /// Reads a hello's body: what follows the four bytes of message type and length.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Cause> {
        let mut reader = Reader::new(body);
        let legacy_version = reader.u16()?;
        let _random = reader.array::<32>()?;
        let session_id = reader.vec8()?.rest();
        if session_id.len() > 32 {
            return Err(Malformed.into());
        }
        let mut hello = Self {
            legacy_version,
            session_id,
            suites: reader.vec16()?.u16s()?,
            compression: reader.vec8()?.rest(),
            versions: None,
            groups: None,
            shares: None,
            modes: None,
            psks: None,
            signature_algorithms: false,
            early_data: false,
            // `reader` is at the end of the fields, somewhere in `body`.
            fields: body.get(..body.len() - reader.rest().len()).unwrap_or_default(),
            list: Reader::new(&[]),
        };
        // A TLS 1.2 hello may end here.
        if !reader.is_empty() {
            hello.list = reader.vec16()?;
            hello.extensions(hello.list)?;
            reader.end()?;
        }
        Ok(hello)
    }

    /// A hash of all that a second hello must repeat (RFC 8446 section 4.1.2): everything but key_share,
    /// early_data, pre_shared_key and padding. A cookie may only come when one was sent, and we send none.
    pub(super) fn unchanging(&self) -> Hash {
        let mut hash = Sha256::new_with_prefix(self.fields);
        let mut list = self.list;
        // The form was checked, so the first error is the end.
        while let (Ok(number), Ok(data)) = (list.u16(), list.vec16()) {
            if !matches!(number, 21 | 41 | 42 | 51) {
                hash.update(number.to_be_bytes());
                // Its length was 16 bits wide.
                hash.update((data.rest().len() as u16).to_be_bytes());
                hash.update(data.rest());
            }
        }
        hash.finalize().into()
    }

    fn extensions(&mut self, mut list: Reader<'a>) -> Result<(), Cause> {
        let mut seen = Seen::new();
        while !list.is_empty() {
            let number = list.u16()?;
            let data = list.vec16()?;
            if !seen.insert(number) {
                return Err(Cause::Illegal("an extension twice"));
            }
            if self.psks.is_some() {
                return Err(Cause::Illegal("an extension after pre_shared_key"));
            }
            self.extension(number, data)?;
        }
        Ok(())
    }

    fn extension(&mut self, number: u16, mut data: Reader<'a>) -> Result<(), Cause> {
        match number {
            10 => self.groups = Some(data.vec16()?.u16s()?),
            13 => {
                data.vec16()?.u16s()?;
                self.signature_algorithms = true;
            }
            41 => {
                self.psks = Some(OfferedPsks::parse(&mut data)?);
            }
            42 => self.early_data = true,
            43 => self.versions = Some(data.vec8()?.u16s()?),
            45 => {
                let modes = data.vec8()?.rest();
                if modes.is_empty() {
                    return Err(Malformed.into());
                }
                self.modes = Some(modes);
            }
            51 => self.shares = Some(Shares::parse(data.vec16()?)?),
            _ => return Ok(()),
        }
        Ok(data.end()?)
    }
}

/// The list in key_share, whose form has been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares<'a>(Reader<'a>);

impl<'a> Shares<'a> {
    fn parse(list: Reader<'a>) -> Result<Self, Malformed> {
        let mut reader = list;
        while !reader.is_empty() {
            share(&mut reader)?;
        }
        Ok(Self(list))
    }

    /// Group numbers and shares in the client's order. A share may be empty: that is for its group
    /// to refuse.
    pub(super) fn iter(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut reader = self.0;
        // The form was checked, so the first error is the end.
        core::iter::from_fn(move || share(&mut reader).ok())
    }
}

fn share<'a>(reader: &mut Reader<'a>) -> Result<(u16, &'a [u8]), Malformed> {
    Ok((reader.u16()?, reader.vec16()?.rest()))
}

/// The contents of pre_shared_key, whose form has been checked: at least one identity, and as many
/// binders.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferedPsks<'a> {
    identities: Reader<'a>,
    binders: Reader<'a>,
}

impl<'a> OfferedPsks<'a> {
    fn parse(data: &mut Reader<'a>) -> Result<Self, Cause> {
        let psks = Self { identities: data.vec16()?, binders: data.vec16()? };
        let (mut identities, mut binders) = (psks.identities, psks.binders);
        let (mut identity_count, mut binder_count) = (0_u32, 0_u32);
        while !identities.is_empty() {
            identity(&mut identities)?;
            identity_count += 1;
        }
        while !binders.is_empty() {
            binder(&mut binders)?;
            binder_count += 1;
        }
        if identity_count == 0 || binder_count == 0 {
            return Err(Malformed.into());
        }
        if identity_count != binder_count {
            return Err(Cause::Illegal("a different number of binders and identities"));
        }
        Ok(psks)
    }

    /// Identities and binders, paired, in the client's order.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let Self { mut identities, mut binders } = self;
        // The form was checked, so the first error is the end of both.
        core::iter::from_fn(move || Some((identity(&mut identities).ok()?, binder(&mut binders).ok()?)))
    }

    /// Bytes that the list of binders takes at the end of the hello, with its length field; binders
    /// cover what is before (RFC 8446 section 4.2.11.2).
    pub(super) fn binders_length(self) -> usize {
        2 + self.binders.rest().len()
    }
}

fn identity<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let identity = reader.vec16()?.rest();
    let _obfuscated_ticket_age = reader.array::<4>()?;
    if identity.is_empty() { Err(Malformed) } else { Ok(identity) }
}

fn binder<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let binder = reader.vec8()?.rest();
    if binder.len() < 32 { Err(Malformed) } else { Ok(binder) }
}
