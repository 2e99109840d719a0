//! `HOST` or `HOST:PORT`, the way people write it.

/// The port of Pacemaker Remote.
const PORT: u16 = 3121;

/// Where the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// A name or an address, without brackets; an IPv6 address may have a zone, as in `fe80::1%eth0`.
    pub(super) host: &'a str,
    /// 1 to 65535.
    pub(super) port: u16,
}

impl<'a> Target<'a> {
    /// Reads it: brackets are for IPv6 addresses, which without them are the whole text.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => PORT,
            // `u16::from_str` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        (!host.is_empty() && port != 0).then_some(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_it() {
        for (text, host, port) in [
            ("node5", "node5", 3121),
            ("node5:1", "node5", 1),
            ("192.0.2.5", "192.0.2.5", 3121),
            ("192.0.2.5:65535", "192.0.2.5", 65535),
            ("::1", "::1", 3121),
            ("2001:db8::5", "2001:db8::5", 3121),
            ("[2001:db8::5]", "2001:db8::5", 3121),
            ("[2001:db8::5]:9", "2001:db8::5", 9),
            ("fe80::1%eth0", "fe80::1%eth0", 3121),
            ("[fe80::1%eth0]:9", "fe80::1%eth0", 9),
        ] {
            assert_eq!(Target::parse(text), Some(Target { host, port }), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            ":",
            ":3121",
            "node5:",
            "node5:0",
            "node5:65536",
            "node5:+1",
            "node5:x",
            "[]",
            "[]:1",
            "[::1",
            "[::1]3121",
            "[::1]:",
        ] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }
}
