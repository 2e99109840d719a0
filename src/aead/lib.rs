//! The record ciphers of pacelet's TLS.
#![no_std]
#![forbid(unsafe_code)]
