//! The REST API: what can be asked of the daemon, over a Unix socket that only its owner may open, and over TCP with a
//! token where that is asked for.
//!
//! Handlers are thin: they read a request, ask the application and say what it said. Each route stands beside its
//! description, and the OpenAPI document is made of those.

mod access;
mod catalogue;
mod chains;
mod clients;
mod documents;
mod extract;
mod groups;
mod listen;
mod openapi;
mod operations;
mod plugins;
mod problem;
mod registries;
mod secrets;
mod system;
mod tenants;
pub(crate) mod types;
mod updates;
mod workloads;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use fairlead_core::problem::{Problem, ProblemKind};
use http::{Method, StatusCode};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

pub(crate) use catalogue::{Admission, Gate, Passage, Visitors, serve_catalogue};
pub(crate) use listen::{ListenError, listen};
pub(crate) use problem::{PROBLEM_JSON, ProblemDocument, Refusal};

use crate::app::App;
use crate::door;
use crate::limits::{API_BODY_BYTES_MAX, API_OPERATION_MAX, API_PLUGINS_MAX, API_START_MAX};
use openapi::Doors;

/// Answers until `stop`, then finishes what is under way.
///
/// # Errors
/// The socket breaks.
pub(crate) async fn serve(listener: UnixListener, app: Arc<App>, stop: CancellationToken) -> io::Result<()> {
    let router = router(app).layer(from_fn(access::as_owner));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// The same over TCP, for whoever has a token.
///
/// # Errors
/// The listener breaks.
pub(crate) async fn serve_tokens(listener: TcpListener, app: Arc<App>, stop: CancellationToken) -> io::Result<()> {
    let router = router(Arc::clone(&app)).layer(from_fn_with_state(app, access::by_token));
    door::serve(listener, router, stop).await
}

fn router(app: Arc<App>) -> Router {
    let doors = groups::doors(clients::doors(secrets::doors(workloads::doors(Doors::new()))));
    let doors = system::doors(plugins::doors(operations::doors(doors)));
    let doors = updates::doors(documents::doors(chains::doors(tenants::doors(doors))));
    let doors = registries::doors(doors);
    let (router, description) = doors.finish();
    let description = Arc::new(description);
    let openapi = move || {
        let description = Arc::clone(&description);
        async move { axum::Json(description.document()) }
    };
    router
        .route("/api/openapi.json", axum::routing::get(openapi))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&app), owned))
        .layer(from_fn(within_deadline))
        .with_state(app)
}

async fn unknown_path(request: Request) -> Refusal {
    let detail = format!("there is no `{}` in this API", request.uri().path());
    Problem::new(ProblemKind::NotFound, detail).hint("`/api/openapi.json` describes what there is").into()
}

async fn unknown_method(request: Request) -> Refusal {
    let detail = format!("`{}` does not take {}", request.uri().path(), request.method());
    let problem = Problem::new(ProblemKind::BadRequest, detail).hint("`/api/openapi.json` describes what it takes");
    Refusal::with_status(problem, StatusCode::METHOD_NOT_ALLOWED)
}

/// An answer in time, even if it says that there is none. The deadline is for the head of an answer: a followed log has no
/// end.
async fn within_deadline(request: Request, next: Next) -> Response {
    let limit = deadline(&request);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("not done within {} s; it goes on in the background", limit.as_secs());
            Refusal::from(Problem::new(ProblemKind::Timeout, detail)).into_response()
        }
    }
}

fn deadline(request: &Request) -> Duration {
    match (request.method(), request.uri().path()) {
        (&Method::GET, plugins::PATH) => API_PLUGINS_MAX,
        (&Method::GET, _) => API_OPERATION_MAX,
        _ => API_START_MAX,
    }
}

/// What was begun is brought to its end, also when the one who asked has gone: half a change is the worst answer.
async fn owned(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if *request.method() == Method::GET {
        return next.run(request).await;
    }
    let operation = {
        let app = Arc::clone(&app);
        async move {
            let response = next.run(request).await;
            // What is no operation (`apply`, say) may make and remove servers too.
            app.sync_clients().await;
            response
        }
    };
    app.tasks().spawn(operation).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an operation broke off");
        let detail = "the operation broke off; the log of the daemon says why";
        Refusal::from(Problem::new(ProblemKind::Internal, detail)).into_response()
    })
}
