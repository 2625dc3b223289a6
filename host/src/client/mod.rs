//! The command line's side of the API: HTTP over the daemon's Unix socket, one connection for each request.

pub(crate) mod daemon;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fairlead_core::problem::Problem;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::api::types::{DaemonInfo, OperationInfo};
use crate::api::{PROBLEM_JSON, ProblemDocument};
use crate::limits::{API_OPERATION_MAX, API_PLUGINS_MAX, API_START_MAX, SOCKET_PROBE_MAX};

/// Why the daemon did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error("no daemon listens at `{}`", socket.display())]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
    },
    /// It said no.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The daemon is of another version than this program.
    #[error("the daemon is fairlead {daemon}, this is fairlead {program}")]
    Version {
        /// Version of the daemon.
        daemon: String,
        /// Version of this program.
        program: &'static str,
    },
    /// It took too long.
    #[error("the daemon did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The connection broke.
    #[error("talk to the daemon")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered something that makes no sense.
    #[error("the daemon gave an answer that makes no sense ({0})")]
    Nonsense(String),
}

/// Talks to the daemon behind a socket.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    /// Nothing is opened yet.
    #[must_use]
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks who is there, and makes sure that it is the same version as this program: the two share their types.
    ///
    /// # Errors
    /// Nobody is there, or somebody else.
    pub(crate) async fn hello(&self) -> Result<DaemonInfo, ClientError> {
        let info = self.info().await?;
        let program = env!("CARGO_PKG_VERSION");
        if info.version != program {
            return Err(ClientError::Version { daemon: info.version, program });
        }
        Ok(info)
    }

    /// Asks who is there, whatever its version.
    ///
    /// # Errors
    /// Nobody answers.
    pub(crate) async fn info(&self) -> Result<DaemonInfo, ClientError> {
        within(SOCKET_PROBE_MAX, self.json(Method::GET, "/api/v1beta/version", NOTHING)).await
    }

    /// Reads.
    ///
    /// # Errors
    /// The daemon is not there, says no or takes too long.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        within(API_OPERATION_MAX, self.json(Method::GET, path, NOTHING)).await
    }

    /// Asks about plugins, which may have to be compiled.
    ///
    /// # Errors
    /// The daemon is not there, says no or takes too long.
    pub(crate) async fn get_plugins<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        within(API_PLUGINS_MAX, self.json(Method::GET, path, NOTHING)).await
    }

    /// Does something that may wait for a server to start.
    ///
    /// # Errors
    /// The daemon is not there, says no or takes too long.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        within(API_START_MAX, self.json(Method::POST, path, body)).await
    }

    /// Begins something that takes its time, and does not wait for it.
    ///
    /// # Errors
    /// The daemon is not there or says no.
    pub(crate) async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<OperationInfo, ClientError> {
        within(API_OPERATION_MAX, async {
            let bytes = self.send_preferring(method, path, body, Some("respond-async")).await?.collect().await?;
            serde_json::from_slice(&bytes).map_err(|error| ClientError::Nonsense(error.to_string()))
        })
        .await
    }

    /// Puts something in its place.
    ///
    /// # Errors
    /// The daemon is not there, says no or takes too long.
    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        within(API_OPERATION_MAX, self.json(Method::PUT, path, Some(body))).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// The daemon is not there, says no or takes too long.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        within(API_START_MAX, self.json(method, path, Some(body))).await
    }

    /// Removes, or ends: there is no answer to read.
    ///
    /// # Errors
    /// The daemon is not there, says no or takes too long.
    pub(crate) async fn finish(&self, method: Method, path: &str) -> Result<(), ClientError> {
        within(API_OPERATION_MAX, async { self.send(method, path, NOTHING).await.map(drop) }).await
    }

    /// Reads an answer that has no end.
    ///
    /// # Errors
    /// The daemon is not there or says no.
    pub(crate) async fn stream(&self, path: &str) -> Result<Chunks, ClientError> {
        within(API_OPERATION_MAX, self.send(Method::GET, path, NOTHING)).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let bytes = self.send(method, path, body).await?.collect().await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Nonsense(error.to_string()))
    }

    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Chunks, ClientError> {
        self.send_preferring(method, path, body, None).await
    }

    async fn send_preferring(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        preference: Option<&'static str>,
    ) -> Result<Chunks, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            // A path that does not fit is none where somebody listens; the daemon says what is wrong with it.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::InvalidInput => {
                ClientError::NoDaemon { socket: self.socket.clone() }
            }
            _ => ClientError::Connection(error.into()),
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, "fairlead");
        if let Some(preference) = preference {
            request = request.header("prefer", preference);
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| ClientError::Nonsense(error.to_string()))?.into()
            }
        };
        let request = request.body(Full::new(bytes)).map_err(|error| ClientError::Nonsense(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let is_problem =
            response.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes() == PROBLEM_JSON.as_bytes());
        let chunks = Chunks { response, _driver: driver };
        if status.is_success() {
            return Ok(chunks);
        }
        let bytes = chunks.collect().await?;
        match serde_json::from_slice::<ProblemDocument>(&bytes) {
            Ok(document) if is_problem => Err(ClientError::Problem(document.into())),
            _ => Err(ClientError::Nonsense(format!("status {status}"))),
        }
    }
}

const NOTHING: Option<&()> = None;

/// The body of an answer, as it comes. Dropping it closes the connection.
pub(crate) struct Chunks {
    response: Response<Incoming>,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Chunks {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.response.body_mut().frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => return Err(broken(error)),
            }
        }
    }

    async fn collect(mut self) -> Result<Vec<u8>, ClientError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Connection(error.into())
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(ClientError::Timeout(limit)))
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::routing::get;
    use fairlead_core::problem::ProblemKind;
    use tokio::net::UnixListener;

    use super::*;
    use crate::api::Refusal;

    /// A daemon that says what it is told to say.
    struct Daemon {
        client: Client,
        _server: JoinSet<io::Result<()>>,
        _directory: tempfile::TempDir,
    }

    fn daemon(router: axum::Router) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, router).await });
        Daemon { client: Client::new(&socket), _server: server, _directory: directory }
    }

    #[tokio::test]
    async fn a_daemon_of_another_version_is_recognised_and_can_still_be_asked_who_it_is() {
        let info = DaemonInfo {
            version: "9.9.9".into(),
            pid: 1,
            address: "a".into(),
            socket: "s".into(),
            api_address: None,
            registry_address: None,
        };
        let daemon = daemon(axum::Router::new().route("/api/v1beta/version", get(async || Json(info))));
        let error = daemon.client.hello().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the daemon is fairlead 9.9.9, this is fairlead {}", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(daemon.client.info().await.unwrap().version, "9.9.9");
    }

    #[tokio::test]
    async fn a_problem_arrives_as_it_was_sent() {
        let problem = Problem::new(ProblemKind::Conflict, "there is one").hint("choose another").at("/name");
        let sent = problem.clone();
        let daemon = daemon(axum::Router::new().route("/x", get(async || Refusal::from(sent))));
        match daemon.client.get::<()>("/x").await.unwrap_err() {
            ClientError::Problem(received) => assert_eq!(received, problem),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_said_and_where_nobody_listens_too() {
        let daemon = daemon(axum::Router::new().route("/x", get(async || "hello")));
        assert!(matches!(daemon.client.get::<u32>("/x").await, Err(ClientError::Nonsense(_))));
        assert!(matches!(daemon.client.get::<u32>("/y").await, Err(ClientError::Nonsense(_))));
        let nobody = Client::new(Path::new("/no/such/socket"));
        assert!(matches!(nobody.hello().await, Err(ClientError::NoDaemon { .. })));
        let too_long = Client::new(Path::new(&"x".repeat(200)));
        assert!(matches!(too_long.hello().await, Err(ClientError::NoDaemon { .. })));
    }
}
