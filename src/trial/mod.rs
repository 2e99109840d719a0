//! What the simulation (`tests/sim`) may switch on in the code it judges: bugs, and notes of which cells of the
//! tables in the modules' headers were reached.
//!
//! Only with the feature `trial`, which no file that is shipped can have: it does not compile without debug
//! assertions. Otherwise [`is`] is a constant and [`reach`] does nothing: nothing is left of either.
#![forbid(unsafe_code)]

mod mutant;
#[cfg(any(test, feature = "trial"))]
mod table;

pub use self::mutant::Mutant;
#[cfg(any(test, feature = "trial"))]
pub use self::table::{Cell, compare, reach, reached};

#[cfg(all(feature = "trial", not(debug_assertions)))]
compile_error!(
    "the feature `trial` puts bugs into the daemon: it is for tests/sim alone, never for a release"
);

/// After how many records TLS takes new keys: what the variable of this name said when a trial was built, so that
/// a real controller sees some.
#[cfg(feature = "trial")]
pub const UPDATE_AFTER: Option<u64> = match option_env!("PACELET_UPDATE_AFTER") {
    None => None,
    Some(text) => match u64::from_str_radix(text, 10) {
        Ok(records) => Some(records),
        Err(_) => panic!("PACELET_UPDATE_AFTER is not a number"),
    },
};
/// As many as is right.
#[cfg(not(feature = "trial"))]
pub const UPDATE_AFTER: Option<u64> = None;

#[cfg(feature = "trial")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether the code is to have this bug, in this thread.
#[cfg(feature = "trial")]
pub fn is(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Never.
#[cfg(not(feature = "trial"))]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}

/// In this state of a table this event happens.
#[cfg(not(any(test, feature = "trial")))]
#[inline(always)]
pub const fn reach(_table: &'static str, _state: &'static str, _event: &'static str) {}

/// From now on the code has this bug, or none, in this thread.
#[cfg(feature = "trial")]
pub fn mutate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}
