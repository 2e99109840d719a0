//! The TLS server's first message: hellos of real clients, cut in pieces and broken.

use pacelet::tls::{Psk, Server};
use rand_core::{CryptoRng, RngCore};

use crate::rng::Rng;
use crate::run::run;

/// The generator as the engine's entropy.
struct Entropy<'a>(&'a mut Rng);

impl RngCore for Entropy<'_> {
    fn next_u32(&mut self) -> u32 {
        self.0.next() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next()
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        to.fill_with(|| self.0.byte());
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Entropy<'_> {}

#[test]
fn hello() {
    let psk = Psk::new(&[7; 32]).unwrap();
    run("hello", vec![], |input, rng| {
        let mut server = Server::new();
        let (mut plaintext, mut out) = (Vec::new(), Vec::new());
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + rng.below(rest.len()));
            rest = after;
            if server.receive(piece, Some(&psk), &mut Entropy(rng), &mut plaintext, &mut out).is_err() {
                break;
            }
        }
        assert!(plaintext.is_empty(), "data without a key");
        assert!(!server.is_connected());
    });
}
