//! The porter: takes connections at a Unix socket and carries them to a port of the network that it is in.
//!
//! It runs beside a server that has no network but its own loopback, and shares that. Nothing but the standard library, so
//! that it is one static file and an image is made of it alone. Usage: `porter SOCKET PORT`.
//!
//! A connection begins with one byte from the porter when the port has answered; without an answer it ends without one.

use std::io::{Write, copy};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(port)) = (arguments.next(), arguments.next().and_then(|port| port.parse::<u16>().ok())) else {
        eprintln!("usage: porter SOCKET PORT");
        std::process::exit(2);
    };
    let listener = match UnixListener::bind(&socket) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("listen at {socket}: {error}");
            std::process::exit(1);
        }
    };
    for stream in listener.incoming().flatten() {
        // A connection that cannot have a thread ends, and whoever made it may try again.
        let _ = thread::Builder::new().stack_size(64 * 1024).spawn(move || carry(stream, port));
    }
}

fn carry(mut near: UnixStream, port: u16) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).or_else(|_| TcpStream::connect(("::1", port))) else { return };
    let _ = far.set_nodelay(true);
    if near.write_all(b"+").is_err() {
        return;
    }
    let (Ok(mut from_near), Ok(mut to_far)) = (near.try_clone(), far.try_clone()) else { return };
    let there = thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        let _ = copy(&mut from_near, &mut to_far);
        let _ = to_far.shutdown(Shutdown::Write);
    });
    if there.is_ok() {
        let _ = copy(&mut far, &mut near);
    }
    let _ = near.shutdown(Shutdown::Both);
    let _ = far.shutdown(Shutdown::Both);
}
