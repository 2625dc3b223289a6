//! Where a connection goes, and where it does not.

#![allow(clippy::unwrap_used, reason = "what cannot be made here is a broken test")]

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_core::BoxFuture;
use fairlead_core::address::AddressClass;
use fairlead_core::dial::{Admission, Anywhere, DialError, Dialer as _, Endpoint, PublicOnly};
use fairlead_dial::{NetDialer, Resolve, Roots};
use parking_lot::Mutex;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A name service that says something else each time.
struct Fickle(Mutex<VecDeque<Vec<IpAddr>>>);

impl Fickle {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

impl Resolve for Fickle {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async { self.0.lock().pop_front().ok_or_else(|| io::Error::other("asked once too often")) })
    }
}

/// Allows one address.
struct Only(IpAddr);

impl Admission for Only {
    fn admits(&self, address: IpAddr) -> bool {
        address == self.0
    }
}

fn endpoint(host: &str, port: u16, tls: bool) -> Endpoint {
    Endpoint { host: host.to_owned(), port, tls }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_name_that_leads_home_is_refused_with_what_it_leads_to() {
    let (_listener, port) = listener().await;
    for (address, class) in [
        ("127.0.0.1", AddressClass::Loopback),
        ("::ffff:127.0.0.1", AddressClass::Loopback),
        ("10.0.0.1", AddressClass::Private),
        ("169.254.169.254", AddressClass::LinkLocal),
    ] {
        let dialer = NetDialer::new().with_resolver(Fickle::new(&[&[address]]));
        let error = dialer.dial(&endpoint("rebinding.test", port, false), &PublicOnly).await.unwrap_err();
        assert!(matches!(&error, DialError::Forbidden { class: found, .. } if *found == class), "{error}");
        let error = NetDialer::new().dial(&endpoint(address, port, false), &PublicOnly).await.unwrap_err();
        assert!(matches!(error, DialError::Forbidden { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    let (listener, port) = listener().await;
    let allowed: IpAddr = "127.0.0.1".parse().unwrap();
    // Asked a second time, the name would lead elsewhere; and what is not allowed in the first answer is passed over.
    let names = Fickle::new(&[&["127.0.0.2", "127.0.0.1"], &["127.0.0.3"]]);
    let dialer = NetDialer::new().with_resolver(Arc::clone(&names) as Arc<dyn Resolve>);
    let dialed = dialer.dial(&endpoint("rebinding.test", port, false), &Only(allowed)).await.unwrap();
    assert_eq!(dialed.peer.ip(), allowed);
    assert_eq!(names.0.lock().len(), 1, "the name was resolved once");
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn who_is_not_believed_gets_nothing() {
    let made = rcgen::generate_simple_self_signed(vec!["service.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (listener, port) = listener().await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.write_all(b"hello").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    let dialer = |names: &[&[&str]]| NetDialer::new().with_resolver(Fickle::new(names));
    let believing = |names| dialer(names).with_roots(Roots::with_pem(made.cert.pem().as_bytes()).unwrap());
    let home: &[&[&str]] = &[&["127.0.0.1"]];

    let mut dialed = believing(home).dial(&endpoint("service.test", port, true), &Anywhere).await.unwrap();
    let mut heard = String::new();
    dialed.stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hello");
    let error = believing(home).dial(&endpoint("other.test", port, true), &Anywhere).await.unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error}");
    let error = dialer(home).dial(&endpoint("service.test", port, true), &Anywhere).await.unwrap_err();
    assert!(matches!(error, DialError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_with_where() {
    let (taken, port) = listener().await;
    drop(taken);
    let error = NetDialer::new().dial(&endpoint("127.0.0.1", port, false), &Anywhere).await.unwrap_err();
    assert_eq!(error.to_string(), format!("connect to http://127.0.0.1:{port}"));
    let silent = NetDialer::new().with_resolver(Fickle::new(&[]));
    let error = silent.dial(&endpoint("no.test", port, false), &Anywhere).await.unwrap_err();
    assert!(error.to_string().contains("`no.test` cannot be resolved"), "{error}");
}

#[test]
fn a_file_without_a_certificate_is_no_authority() {
    assert!(Roots::with_pem(b"").is_err());
    assert!(Roots::with_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
}
