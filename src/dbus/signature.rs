//! Signatures: what says of which types values are (D-Bus specification, "Type System").

use super::marshal::Malformed;

/// How deep arrays may nest in a signature, and, counted apart, structures.
pub const NESTING_MAX: u8 = 32;

/// Says whether this is a signature.
pub fn check(signature: &str) -> Result<(), Malformed> {
    let mut rest = signature.as_bytes();
    while !rest.is_empty() {
        (_, rest) = split(rest)?;
    }
    Ok(())
}

/// The alignment of a value of this single type; for a number, also its size.
pub fn alignment(single: &[u8]) -> Result<usize, Malformed> {
    match single.first() {
        Some(b'y' | b'g' | b'v') => Ok(1),
        Some(b'n' | b'q') => Ok(2),
        Some(b'i' | b'u' | b'b' | b'h' | b's' | b'o' | b'a') => Ok(4),
        Some(b'x' | b't' | b'd' | b'(' | b'{') => Ok(8),
        _ => Err(Malformed::Signature),
    }
}

/// Cuts the first single complete type off.
pub fn split(types: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let length = type_length(types, 0, 0)?;
    types.split_at_checked(length).ok_or(Malformed::Signature)
}

/// At most the length of `types`: only bytes that were seen are counted, so that cutting by it is safe.
fn type_length(types: &[u8], arrays: u8, structs: u8) -> Result<usize, Malformed> {
    match types {
        [b'a', ..] if arrays == NESTING_MAX => Err(Malformed::Depth),
        [b'a', b'{', entry @ ..] => {
            let key = match entry.first() {
                Some(b'a' | b'(' | b'v') => return Err(Malformed::Signature),
                _ => type_length(entry, arrays + 1, structs)?,
            };
            if structs == NESTING_MAX {
                return Err(Malformed::Depth);
            }
            let value = type_length(&entry[key..], arrays + 1, structs + 1)?;
            match entry.get(key + value) {
                Some(b'}') => Ok(2 + key + value + 1),
                _ => Err(Malformed::Signature),
            }
        }
        [b'a', element @ ..] => type_length(element, arrays + 1, structs).map(|length| 1 + length),
        [b'(', ..] if structs == NESTING_MAX => Err(Malformed::Depth),
        [b'(', b')', ..] => Err(Malformed::Signature),
        [b'(', fields @ ..] => {
            let mut length = 0;
            while fields.get(length) != Some(&b')') {
                length += type_length(&fields[length..], arrays, structs + 1)?;
            }
            Ok(1 + length + 1)
        }
        [
            b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h',
            ..,
        ] => Ok(1),
        _ => Err(Malformed::Signature),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures() {
        for good in ["", "s", "uoss", "a{sv}", "a(yv)", "aai", "(i(ss)a{s(uv)})v", "ybnqiuxtdsogvh"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "a", "(", ")", "()", "(i", "{sv}", "a{s}", "a{sss}", "a{vs}", "a{(i)s}", "a{ais}", "z", "a}",
            "(i}", "a{sv",
        ] {
            assert_eq!(check(bad), Err(Malformed::Signature), "{bad}");
        }
    }

    #[test]
    fn signatures_nest_to_a_limit() {
        let arrays = |count| "a".repeat(count) + "y";
        let structs = |count| "(".repeat(count) + "y" + &")".repeat(count);
        let entries = |count| "a{y".repeat(count) + "y" + &"}".repeat(count);
        for (what, nested) in
            [("arrays", &arrays as &dyn Fn(usize) -> String), ("structs", &structs), ("entries", &entries)]
        {
            assert_eq!(check(&nested(32)), Ok(()), "{what}");
            assert_eq!(check(&nested(33)), Err(Malformed::Depth), "{what}");
        }
        assert_eq!(check(&("a".repeat(32) + &structs(32))), Ok(()));
    }
}
