//! embedded-tls, in process: AES-128-GCM, secp256r1, no session id.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use embedded_tls::blocking::TlsConnection;
use embedded_tls::{Aes128GcmSha256, TlsConfig, TlsContext, TlsError, UnsecureProvider};

use crate::server::{Entropy, Plan};
use crate::{PATIENCE, data, retrying};

struct Socket(TcpStream);

impl embedded_io::ErrorType for Socket {
    type Error = embedded_io::ErrorKind;
}

impl embedded_io::Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Self::Error> {
        retrying(|| self.0.read(to)).map_err(|_| embedded_io::ErrorKind::Other)
    }
}

impl embedded_io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        retrying(|| self.0.write(bytes)).map_err(|_| embedded_io::ErrorKind::Other)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Sends `data` and reads it back.
fn exchange(
    plan: Plan,
    identity: &[u8],
    key: &[u8],
    data: &[u8],
) -> (Result<Vec<u8>, TlsError>, crate::server::Report) {
    let server = plan.serve();
    let stream = TcpStream::connect(server.address).expect("a connection on loopback");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let (mut reading, mut writing) = (vec![0; 16_640], vec![0; 16_640]);
    let talk = || {
        let mut tls: TlsConnection<'_, _, Aes128GcmSha256> =
            TlsConnection::new(Socket(stream), &mut reading, &mut writing);
        let config = TlsConfig::new().with_psk(key, &[identity]);
        tls.open(TlsContext::new(&config, UnsecureProvider::new::<Aes128GcmSha256>(Entropy)))?;
        let mut back = Vec::new();
        for piece in data.chunks(10_000) {
            let mut sent = 0;
            while sent < piece.len() {
                sent += tls.write(&piece[sent..])?;
            }
            tls.flush()?;
            while back.len() % 10_000 != piece.len() % 10_000 || back.is_empty() {
                let mut part = [0; 4096];
                let count = tls.read(&mut part)?;
                back.extend_from_slice(&part[..count]);
            }
        }
        tls.close().map_err(|(_, error)| error)?;
        Ok(back)
    };
    let result = talk();
    (result, server.report())
}

#[test]
fn embedded_tls_exchanges_data() {
    for size in [1, 32, 4096, 65_535] {
        let (key, data) = (vec![5; size], data(1 << 20));
        let (back, report) = exchange(Plan::with_key(&key), b"lrmd", &key, &data);
        assert!(back.expect("a conversation") == data, "{report:?}");
        assert!(report.connected && report.closed && report.failure.is_none());
    }
}

#[test]
fn embedded_tls_wrong_key_and_unknown_identity_see_the_same() {
    for (identity, key) in [(&b"lrmd"[..], [8; 32]), (b"root", [7; 32])] {
        let (back, report) = exchange(Plan::with_key(&[7; 32]), identity, &key, b"");
        let error = format!("{:?}", back.expect_err("a failure"));
        assert!(error.contains("DecryptError"), "{error}");
        assert!(!report.connected);
    }
}
