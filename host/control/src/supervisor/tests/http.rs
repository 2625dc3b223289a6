//! Servers that speak HTTP, on the real clock: a socket does not wait for a paused one.

use super::*;

fn http(world: &World, port: u16) -> Arc<Supervisor> {
    let spec = spec(&format!(r#"{{"kind":"streamable-http","port":{port}}}"#));
    let backoff = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
    let supervisor = Supervisor::spawn(SupervisorConfig { backoff, ..world.config(spec) });
    supervisor.start();
    supervisor
}

/// A port on which nobody listens until the socket does.
async fn port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn an_http_server_is_launched_unasked_and_reached_once_its_port_is_open() {
    let (socket, port) = port().await;
    let world = World::default();
    let supervisor = http(&world, port);
    let mut process = world.runtime.next().await;
    process.say("listening soon\n").await;
    let mut endpoint = supervisor.http_endpoint();
    assert!(futures_util::poll!(&mut endpoint).is_pending());
    let _listener = socket.listen(8).unwrap();
    assert_eq!(endpoint.await, Ok(format!("http://127.0.0.1:{port}/mcp")));
    assert!(matches!(supervisor.open_stdio().await, Err(Unavailable::Failed(_))));
    tokio::join!(supervisor.stop(LONG), process.behave());
    assert_eq!(supervisor.http_endpoint().await, Err(Unavailable::Stopped));
    assert_eq!(world.logs.lines(&LogSource::Stdout), [(1, "listening soon".to_owned())]);
}

#[tokio::test]
async fn an_http_server_that_ends_is_brought_back_and_probed_again() {
    let (_socket, port) = port().await;
    let world = World::default();
    let supervisor = http(&world, port);
    for restarts in 1..=3 {
        let mut process = world.runtime.next().await;
        supervisor.mark_ready(profile());
        let mut status = supervisor.status();
        process.end(Exit::Code(0));
        let counted = status.wait_for(|status| status.restarts == restarts);
        timeout(LONG, counted).await.unwrap().unwrap();
        phase(&supervisor, ServerPhase::Starting).await;
    }
    let process = world.runtime.next().await;
    tokio::join!(supervisor.stop(LONG), process.behave());
}

#[tokio::test]
async fn an_http_server_that_does_not_answer_is_ended_and_launched_anew() {
    let (_socket, port) = port().await;
    let world = World::default();
    let supervisor = http(&world, port);
    let process = world.runtime.next().await;
    supervisor.mark_not_ready("no answer");
    process.behave().await;
    let process = world.runtime.next().await;
    tokio::join!(supervisor.stop(LONG), process.behave());
    assert_eq!(world.runtime.launches(), 2);
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::default();
    let supervisor = http(&world, port);
    let named = format!("port {port} is taken by another process");
    let mut status = supervisor.status();
    let named = status.wait_for(|status| status.reason.as_ref() == Some(&named));
    timeout(LONG, named).await.unwrap().unwrap();
    assert_eq!(world.runtime.launches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stdio_server_has_no_endpoint() {
    let supervisor = started(&World::default());
    assert!(matches!(supervisor.http_endpoint().await, Err(Unavailable::Failed(_))));
}
