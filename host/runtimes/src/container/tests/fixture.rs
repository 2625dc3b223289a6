//! The one program of the test image: static, so that it needs nothing beside itself. Not a module of the crate; the tests
//! compile it with `rustc`. Its first argument says what it does.

use std::alloc::{Layout, alloc};
use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn signal(signal: i32, handler: usize) -> usize;
}

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match what.as_str() {
        "echo" => echo(),
        "exit" => std::process::exit(rest[0].parse().unwrap()),
        "both" => both(rest[0].parse().unwrap()),
        "flood" => flood(),
        "stubborn" => stubborn(),
        "eat" => eat(),
        "breed" => breed(),
        "environment" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "look" => look(&rest),
        "serve" => serve(&rest[0]),
        "connect" => connect(&rest[0]),
        other => panic!("what is {other:?}?"),
    }
}

/// Lines in, lines out, until stdin ends.
fn echo() {
    for line in std::io::stdin().lock().lines() {
        println!("{}", line.unwrap());
        std::io::stdout().flush().unwrap();
    }
    eprintln!("stdin ended");
}

/// So many bytes on both outputs, by turns.
fn both(bytes: usize) {
    let block = 1000;
    for _ in 0..bytes / block {
        std::io::stdout().write_all(&vec![b'o'; block]).unwrap();
        std::io::stderr().write_all(&vec![b'e'; block]).unwrap();
    }
}

/// Writes without end, and says on stderr how much when nobody takes it any more.
fn flood() {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        let block = [b'x'; 4096];
        while std::io::stdout().write_all(&block).is_ok() {
            WRITTEN.fetch_add(block.len() as u64, Ordering::Relaxed);
        }
    });
    let (mut last, mut since) = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let now = WRITTEN.load(Ordering::Relaxed);
        if now != last || now == 0 {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > Duration::from_millis(500) {
            eprintln!("{now}");
            since = Instant::now();
        }
    }
}

/// Does not end when asked to.
fn stubborn() {
    // SIGTERM is 15, SIG_IGN is 1.
    unsafe { signal(15, 1) };
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// Takes memory without end.
fn eat() {
    let layout = Layout::from_size_align(1 << 20, 4096).unwrap();
    loop {
        let block = unsafe { alloc(layout) };
        for page in (0..layout.size()).step_by(4096) {
            unsafe { block.add(page).write_volatile(1) };
        }
    }
}

/// Starts threads until it may not.
fn breed() {
    let mut threads = 0;
    while threads < 10_000 && std::thread::Builder::new().stack_size(64 * 1024).spawn(std::thread::park).is_ok() {
        threads += 1;
    }
    println!("{threads}");
}

/// What it can see and do: `status`, `routes`, `read PATH`, `write PATH`, by pairs.
fn look(what: &[String]) {
    for what in what {
        let (verb, path) = what.split_once(' ').unwrap_or((what, ""));
        let outcome = match verb {
            "status" => {
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                let wanted = ["Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"];
                let lines = status.lines().filter(|line| wanted.iter().any(|name| line.split(':').next() == Some(name)));
                lines.map(|line| line.split_whitespace().take(2).collect::<String>()).collect::<Vec<_>>().join(" ")
            }
            "interfaces" => {
                let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
                let names = devices.lines().skip(2).filter_map(|line| line.split(':').next());
                names.map(str::trim).collect::<Vec<_>>().join(" ")
            }
            "default-routes" => {
                let routes = std::fs::read_to_string("/proc/net/route").unwrap();
                routes.lines().skip(1).filter(|line| line.split_whitespace().nth(1) == Some("00000000")).count().to_string()
            }
            "connect" => reached(path),
            "resolve" => match std::net::ToSocketAddrs::to_socket_addrs(&(path, 80)) {
                Ok(_) => "resolved".to_owned(),
                Err(_) => "unknown".to_owned(),
            },
            "ask" => asked(path),
            "socket" => match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => "reached".to_owned(),
                Err(_) => "out of reach".to_owned(),
            },
            "read" => std::fs::read_to_string(path).map_or_else(|error| error.kind().to_string(), |text| text.trim().to_owned()),
            "write" => std::fs::write(path, "written").map_or_else(|error| error.kind().to_string(), |()| "done".to_owned()),
            other => panic!("what is {other:?}?"),
        };
        println!("{what}: {outcome}");
    }
}

/// Answers every connection with what it was told.
fn serve(port: &str) {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = [0; 5];
        // Somebody may only want to know whether this listens.
        if stream.read_exact(&mut line).is_ok() {
            let _ = stream.write_all(&line);
        }
    }
}

/// Whether an address can be reached.
fn connect(address: &str) {
    println!("{}", reached(address));
}

fn reached(address: &str) -> String {
    let reached = TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2));
    if reached.is_ok() { "reached".to_owned() } else { "out of reach".to_owned() }
}

/// Whether a name server answers there, over UDP.
fn asked(address: &str) -> String {
    let question = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
    let local = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let answer = std::net::UdpSocket::bind(local).and_then(|socket| {
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(question, address)?;
        socket.recv(&mut [0; 512])
    });
    if answer.is_ok() { "answered".to_owned() } else { "out of reach".to_owned() }
}
