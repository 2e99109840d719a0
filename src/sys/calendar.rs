//! The local time of day, for people.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// A moment as the machine's own clock on the wall shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// 0 for January.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

impl Local {
    /// This many seconds after 1970. **Reads the time zone's file**, so it may wait for a disk.
    #[allow(deprecated, reason = "musl's own type, whatever its size: what does not fit has no local time")]
    pub fn at(epoch: u64) -> Option<Self> {
        let time = libc::time_t::try_from(epoch).ok()?;
        let mut parts = MaybeUninit::uninit();
        // SAFETY: both places are valid, and the result is used only if the call says that it has filled it in.
        let parts: libc::tm = unsafe {
            if libc::localtime_r(&time, parts.as_mut_ptr()).is_null() {
                return None;
            }
            parts.assume_init()
        };
        let part = |number: libc::c_int| u8::try_from(number).ok();
        Some(Self {
            month: part(parts.tm_mon)?,
            day: part(parts.tm_mday)?,
            hour: part(parts.tm_hour)?,
            minute: part(parts.tm_min)?,
            second: part(parts.tm_sec)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::isolated;

    unsafe extern "C" {
        fn tzset();
    }

    #[test]
    fn it_is_the_zones_time() {
        isolated(|| {
            // SAFETY: this process has one thread.
            unsafe {
                std::env::set_var("TZ", "XYZ-5:30");
                tzset();
            }
            let expected = Local { month: 10, day: 21, hour: 5, minute: 29, second: 59 };
            assert_eq!(Local::at(1_795_219_199), Some(expected));
        });
    }
}
