//! Secrets: parameters whose value is `lrm://`, because the real one is in a file of this node
//! (executor-semantics.md section 6.6).
//!
//! Only the child reads it, after the fork: it is never in the daemon, so neither in a log nor in what the cluster
//! is told, which is the parameter as it came.
#![forbid(unsafe_code)]

use std::ffi::CString;

use md5::{Digest, Md5};

use super::is_path_part;
use super::ocf::concat;

/// The value that stands for a secret.
pub(super) const PLACEHOLDER: &str = "lrm://";

/// Where `cibsecret` keeps them: a directory for each resource, with two files for each parameter.
const DIRECTORY: &[u8] = b"/var/lib/pacemaker/lrm/secrets/";

/// A parameter whose value the child looks up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// `NAME=`, with which the entry of the environment begins that the value belongs to.
    pub entry: CString,
    /// The file with the value.
    pub file: CString,
    /// The file that says by [`is_signed`] whether the value is the one that was meant.
    pub signature: CString,
}

impl Secret {
    /// Longer ones are refused, in bytes: with its name it must fit into what Linux takes for one variable.
    pub const LIMIT: usize = 64 * 1024;

    /// Longest signature that is looked at, in bytes.
    pub const SIGNATURE_LIMIT: usize = 128;

    /// `None` if there can be none by such names: they would lead out of the directory.
    pub(super) fn of(resource: &str, parameter: &str, entry: &[u8]) -> Option<Self> {
        let usable = is_path_part(resource) && is_path_part(parameter);
        let path = [DIRECTORY, resource.as_bytes(), b"/", parameter.as_bytes()].concat();
        let (file, signature) = (concat(&[&path])?, concat(&[&path, b".sign"])?);
        usable.then_some(Self { entry: concat(&[entry])?, file, signature })
    }
}

/// What counts of a file's content: all but white space at its end.
pub fn trimmed(content: &[u8]) -> &[u8] {
    content.trim_ascii_end()
}

/// Whether a signature, the hexadecimal MD5 of the value, is that of this value. It tells a file that was only
/// half copied; against somebody who may write there it is no protection.
pub fn is_signed(value: &[u8], signature: &[u8]) -> bool {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    // Neither allocates nor panics: it is called between fork and exec.
    let digest = Md5::digest(value);
    let digits = digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.eq(signature.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_digits_of_either_case_and_nothing_else() {
        assert!(is_signed(b"abc", b"900150983cd24fb0d6963f7d28e17f72"));
        assert!(is_signed(b"abc", b"900150983CD24FB0D6963F7D28E17F72"));
        assert!(!is_signed(b"abc", b"900150983cd24fb0d6963f7d28e17f7"));
        assert!(!is_signed(b"abc", b"900150983cd24fb0d6963f7d28e17f720"));
        assert!(!is_signed(b"abc", b""));
        assert_eq!(trimmed(b" a b \t\n"), b" a b");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let found = Secret::of("web", "password", b"OCF_RESKEY_password=").unwrap();
        assert_eq!(found.file.as_c_str(), c"/var/lib/pacemaker/lrm/secrets/web/password");
        assert_eq!(found.signature.as_c_str(), c"/var/lib/pacemaker/lrm/secrets/web/password.sign");
        for (resource, parameter) in [
            ("..", "p"),
            (".", "p"),
            ("", "p"),
            ("a/b", "p"),
            ("a", "../../../../etc/shadow"),
            ("a", ".."),
            ("a", ""),
        ] {
            assert_eq!(Secret::of(resource, parameter, b"p="), None, "{resource} {parameter}");
        }
        assert_eq!(Secret::of(&"x".repeat(256), "p", b"p="), None);
    }
}
