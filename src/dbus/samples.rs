//! Real messages, for tests: from systemd 257.13 through dbus-daemon 1.16.2 as `busctl capture` shows
//! them, and from GLib 2.74.4 in both byte orders.

/// The reply to Hello, serial number 1: `:1.2`.
pub const HELLO_RETURN: &[u8] =
    b"l\x02\x01\x01\x09\0\0\0\x01\0\0\0=\0\0\0\x06\x01s\0\x04\0\0\0:1.2\0\0\0\0\x05\x01u\0\x01\
    \0\0\0\x08\x01g\0\x01s\0\0\x07\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\x04\0\0\0:1.\
    2\0";

/// An empty reply, to serial number 2.
pub const SUBSCRIBED: &[u8] =
    b"l\x02\x01\x01\0\0\0\0\x0d\0\0\0%\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.2\0\0\
    \0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0";

/// The reply to LoadUnit, serial number 2: good.service.
pub const UNIT: &[u8] =
    b"l\x02\x01\x012\0\0\0\x0f\0\0\0-\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.3\0\0\0\
    \0\x08\x01g\0\x01o\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0-\0\0\0/org/freedesktop/systemd1/\
    unit/good_2eservice\0";

/// The reply to StartUnit, serial number 2: job 128.
pub const JOB: &[u8] =
    b"l\x02\x01\x01&\0\0\0\x14\0\0\0-\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.4\0\0\0\
    \0\x08\x01g\0\x01o\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0!\0\0\0/org/freedesktop/systemd1/\
    job/128\0";

/// The signal that ends job 128: done.
pub const JOB_REMOVED: &[u8] =
    b"l\x04\x01\x01I\0\0\0\x15\0\0\0\x8d\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\
    \0\0\0\0\0\0\x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x03\x01s\0\
    \x0a\0\0\0JobRemoved\0\0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\0\0\x07\x01s\0\x04\0\0\0:1\
    .0\0\0\0\0\x80\0\0\0!\0\0\0/org/freedesktop/systemd1/job/128\0\0\0\x0c\0\0\0good.service\
    \0\0\0\0\x04\0\0\0done\0";

/// An error in reply to serial number 2.
pub const NO_SUCH_UNIT: &[u8] =
    b"l\x03\x01\x01$\0\0\0\x1f\0\0\0]\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.6\0\0\0\
    \0\x04\x01s\0#\0\0\0org.freedesktop.systemd1.NoSuchUnit\0\0\0\0\0\x08\x01g\0\x01s\0\0\x07\
    \x01s\0\x04\0\0\0:1.0\0\0\0\0\x1f\0\0\0Unit missing.service not found.\0";

/// The reply to Properties.Get, serial number 2: active.
pub const ACTIVE: &[u8] =
    b"l\x02\x01\x01\x0f\0\0\0\"\0\0\0-\0\0\0\x05\x01u\0\x02\0\0\0\x06\x01s\0\x04\0\0\0:1.9\0\0\
    \0\0\x08\x01g\0\x01v\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0\x01s\0\0\x06\0\0\0active\0";

/// [`JOB_REMOVED`], made by GLib, little endian.
pub const GLIB_JOB_REMOVED_LITTLE: &[u8] =
    b"l\x04\x01\x01I\0\0\0\x15\0\0\0\x8b\0\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0\x01\x01o\0\x19\
    \0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0\x02\x01s\0 \0\0\0org.freedesktop.systemd1.\
    Manager\0\0\0\0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\0\0\x03\x01s\0\x0a\0\0\0JobRemoved\0\
    \0\0\0\0\0\x80\0\0\0!\0\0\0/org/freedesktop/systemd1/job/128\0\0\0\x0c\0\0\0good.service\
    \0\0\0\0\x04\0\0\0done\0";

/// [`NO_SUCH_UNIT`], made by GLib, little endian.
pub const GLIB_NO_SUCH_UNIT_LITTLE: &[u8] =
    b"l\x03\x01\x01$\0\0\0\x1f\0\0\0`\0\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0\x04\x01s\0#\0\0\0\
    org.freedesktop.systemd1.NoSuchUnit\0\0\0\0\0\x06\x01s\0\x04\0\0\0:1.6\0\0\0\0\x08\x01g\0\
    \x01s\0\0\x05\x01u\0\x02\0\0\0\x1f\0\0\0Unit missing.service not found.\0";

/// [`ACTIVE`], made by GLib, little endian.
pub const GLIB_ACTIVE_LITTLE: &[u8] =
    b"l\x02\x01\x01\x0f\0\0\0\"\0\0\x000\0\0\0\x07\x01s\0\x04\0\0\0:1.0\0\0\0\0\x06\x01s\0\x04\
    \0\0\0:1.9\0\0\0\0\x08\x01g\0\x01v\0\0\x05\x01u\0\x02\0\0\0\x01s\0\0\x06\0\0\0active\0";

/// A call of StartUnit for good.service, made by GLib, little endian.
pub const GLIB_START_LITTLE: &[u8] =
    b"l\x01\0\x01 \0\0\0\x02\0\0\0\x9a\0\0\0\x01\x01o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\
    \0\0\0\0\0\x02\x01s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x06\x01s\0\x18\
    \0\0\0org.freedesktop.systemd1\0\0\0\0\0\0\0\0\x08\x01g\0\x02ss\0\x03\x01s\0\x09\0\0\0St\
    artUnit\0\0\0\0\0\0\0\x0c\0\0\0good.service\0\0\0\0\x07\0\0\0replace\0";

/// Values of the types [`VALUES_SIGNATURE`], made by GLib, little endian.
pub const GLIB_VALUES_LITTLE: &[u8] =
    b"\x01\0\0\0\x01\0\0\0\xfe\xff\x03\0\xfc\xff\xff\xff\x05\0\0\0\0\0\0\0\xfa\xff\xff\xff\xff\
    \xff\xff\xff\x07\0\0\0\0\0\0\0\0\0\0\0\0\0!@\x04\0\0\0nine\0\0\0\0\x04\0\0\0/ten\0\x05a{\
    sv}\0/\0\0\0\x01\0\0\0k\0\x01u\0\0\0\0\x0b\0\0\0\x01\0\0\0l\0\x02as\0\0\0\x0f\0\0\0\x01\0\
    \0\0x\0\0\0\x02\0\0\0yz\0\0\x18\0\0\0\0\0\0\0\x01\0\0\0\x06\0\0\0\x01\0\0\0a\0\0\0\x02\0\
    \0\0\0\0\0\0\x01v\0\x04(ii)\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x0c\0\0\0\0\0\0\0,\0\0\0\
    \x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\
    \0\0\0\0\0";

/// [`JOB_REMOVED`], made by GLib, big endian.
pub const GLIB_JOB_REMOVED_BIG: &[u8] =
    b"B\x04\x01\x01\0\0\0I\0\0\0\x15\0\0\0\x8b\x07\x01s\0\0\0\0\x04:1.0\0\0\0\0\x01\x01o\0\0\0\
    \0\x19/org/freedesktop/systemd1\0\0\0\0\0\0\0\x02\x01s\0\0\0\0 org.freedesktop.systemd1.\
    Manager\0\0\0\0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\0\0\x03\x01s\0\0\0\0\x0aJobRemoved\0\
    \0\0\0\0\0\0\0\0\x80\0\0\0!/org/freedesktop/systemd1/job/128\0\0\0\0\0\0\x0cgood.service\
    \0\0\0\0\0\0\0\x04done\0";

/// [`NO_SUCH_UNIT`], made by GLib, big endian.
pub const GLIB_NO_SUCH_UNIT_BIG: &[u8] =
    b"B\x03\x01\x01\0\0\0$\0\0\0\x1f\0\0\0`\x07\x01s\0\0\0\0\x04:1.0\0\0\0\0\x04\x01s\0\0\0\0#\
    org.freedesktop.systemd1.NoSuchUnit\0\0\0\0\0\x06\x01s\0\0\0\0\x04:1.6\0\0\0\0\x08\x01g\0\
    \x01s\0\0\x05\x01u\0\0\0\0\x02\0\0\0\x1fUnit missing.service not found.\0";

/// [`ACTIVE`], made by GLib, big endian.
pub const GLIB_ACTIVE_BIG: &[u8] =
    b"B\x02\x01\x01\0\0\0\x0f\0\0\0\"\0\0\x000\x07\x01s\0\0\0\0\x04:1.0\0\0\0\0\x06\x01s\0\0\0\
    \0\x04:1.9\0\0\0\0\x08\x01g\0\x01v\0\0\x05\x01u\0\0\0\0\x02\x01s\0\0\0\0\0\x06active\0";

/// A call of StartUnit for good.service, made by GLib, big endian.
pub const GLIB_START_BIG: &[u8] =
    b"B\x01\0\x01\0\0\0 \0\0\0\x02\0\0\0\x9a\x01\x01o\0\0\0\0\x19/org/freedesktop/systemd1\0\0\
    \0\0\0\0\0\x02\x01s\0\0\0\0 org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0\x06\x01s\0\0\
    \0\0\x18org.freedesktop.systemd1\0\0\0\0\0\0\0\0\x08\x01g\0\x02ss\0\x03\x01s\0\0\0\0\x09\
    StartUnit\0\0\0\0\0\0\0\0\0\0\x0cgood.service\0\0\0\0\0\0\0\x07replace\0";

/// Values of the types [`VALUES_SIGNATURE`], made by GLib, big endian.
pub const GLIB_VALUES_BIG: &[u8] =
    b"\x01\0\0\0\0\0\0\x01\xff\xfe\0\x03\xff\xff\xff\xfc\0\0\0\x05\0\0\0\0\xff\xff\xff\xff\xff\
    \xff\xff\xfa\0\0\0\0\0\0\0\x07@!\0\0\0\0\0\0\0\0\0\x04nine\0\0\0\0\0\0\0\x04/ten\0\x05a{\
    sv}\0\0\0\0/\0\0\0\x01k\0\x01u\0\0\0\0\0\0\0\x0b\0\0\0\x01l\0\x02as\0\0\0\0\0\0\x0f\0\0\0\
    \x01x\0\0\0\0\0\0\x02yz\0\0\0\0\0\x18\0\0\0\0\x01\0\0\0\0\0\0\x06\0\0\0\x01a\0\0\0\x02\0\
    \0\0\0\0\0\0\x01v\0\x04(ii)\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x0c\0\0\0\0\0\0\0,\
    \0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\
    \0\0\0\x03";

/// The types of [`GLIB_VALUES_LITTLE`]: each that there is.
pub const VALUES_SIGNATURE: &str = "ybnqiuxtdsoga{sv}a(yas)v(ub)aax";
