//! Who may do what: decided in one place, before any handler, from what stands beside the route.
//!
//! A route that says nothing about access is for the owner of the daemon alone, so one that was forgotten is closed, not
//! open. The tenant of a request is `tenant` in its query, in its path, or at the root of its body, and nowhere else: then
//! no handler can overlook the border. What lies across it is not there (404); what a role may not do is refused (403).

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fairlead_core::name::TenantName;
use fairlead_core::problem::{Problem, ProblemKind};
use fairlead_core::tenant::{Caller, Role};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Uri};
use serde_json::Value;

use super::problem::Refusal;
use crate::app::App;

/// For whom a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// For everybody, even without a token.
    Everybody,
    /// For those of the tenant that the request names, and those of the platform, with this role or more.
    Tenant(Role),
    /// For those of the platform with this role or more. To a tenant it is not there.
    Platform(Role),
}

impl Access {
    /// As the OpenAPI document tells it.
    pub(crate) fn told(self) -> Value {
        match self {
            Self::Everybody => serde_json::json!({"of": "everybody"}),
            Self::Tenant(role) => serde_json::json!({"of": "tenant", "role": role}),
            Self::Platform(role) => serde_json::json!({"of": "platform", "role": role}),
        }
    }
}

/// The name that the tenant of a request has, in a query, a path and a body.
pub(super) const TENANT: &str = "tenant";

/// Stands before each handler.
pub(super) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admitted(access, &mut parts).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => Refusal::from(problem).into_response(),
    }
}

async fn admitted(access: Access, parts: &mut Parts) -> Result<(), Problem> {
    let required = match access {
        Access::Everybody => return Ok(()),
        Access::Tenant(role) | Access::Platform(role) => role,
    };
    let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(unknown_caller)?;
    match (&caller.tenant, access) {
        (None, _) | (_, Access::Everybody) => {}
        (Some(_), Access::Platform(_)) => return Err(not_there()),
        (Some(own), Access::Tenant(_)) => {
            parts.uri = within(own, &parts.uri).ok_or_else(not_there)?;
            let names = RawPathParams::from_request_parts(parts, &()).await.ok();
            let foreign = names.iter().flatten().any(|(name, value)| name == TENANT && value != own.as_str());
            if foreign {
                return Err(not_there());
            }
        }
    }
    if caller.role < required {
        let detail = format!("this needs the role `{required}`, and the token has the role `{}`", caller.role);
        return Err(Problem::new(ProblemKind::Forbidden, detail).hint("ask an admin of the tenant for a token"));
    }
    Ok(())
}

/// The address of a request with the tenant of its caller in the query, where it may say another one.
fn within(own: &TenantName, uri: &Uri) -> Option<Uri> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let mut named = pairs.iter().filter(|(name, _)| name == TENANT).peekable();
    if named.peek().is_some() {
        return named.all(|(_, value)| value == own.as_str()).then(|| uri.clone());
    }
    let query = match uri.query().unwrap_or_default() {
        "" => format!("{TENANT}={own}"),
        query => format!("{query}&{TENANT}={own}"),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The tenant of a body: that of its caller, where it says none; `None` where it says another one.
pub(super) fn within_body(own: &TenantName, mut body: Value) -> Option<Value> {
    if let Some(fields) = body.as_object_mut() {
        match fields.get(TENANT) {
            None => {
                fields.insert(TENANT.to_owned(), own.as_str().into());
            }
            Some(Value::String(named)) if named == own.as_str() => {}
            Some(_) => return None,
        }
    }
    Some(body)
}

/// What is said of everything that is not there for a caller, whether it exists or not.
pub(super) fn not_there() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no such thing")
}

fn unknown_caller() -> Problem {
    Problem::new(ProblemKind::Unauthorized, "this needs a token")
        .hint("send `Authorization: Bearer …`; `fairlead token create` makes one")
}

/// Whoever comes over the socket is its owner.
pub(super) async fn as_owner(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::owner());
    next.run(request).await
}

/// Whoever comes over the network is whom their token says.
pub(super) async fn by_token(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        token.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let Some((_, token)) = token {
        match app.caller(token.trim()) {
            Some(caller) => {
                request.extensions_mut().insert(caller);
            }
            None => {
                let problem = Problem::new(ProblemKind::Unauthorized, "this token is not good")
                    .hint("it was withdrawn or has ended; `fairlead token create` makes another");
                return Refusal::from(problem).into_response();
            }
        }
    }
    let mut response = next.run(request).await;
    if response.status() == http::StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Who asks, for the few handlers whose answer depends on it.
#[derive(Debug)]
pub(super) struct By(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(|| unknown_caller().into())
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::api::openapi::{Doors, Operation};

    fn red() -> TenantName {
        TenantName::new("red").unwrap()
    }

    fn query(uri: &str) -> Option<String> {
        within(&red(), &uri.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn the_tenant_of_a_query_is_filled_in_and_never_another() {
        assert_eq!(query("/a").as_deref(), Some("/a?tenant=red"));
        assert_eq!(query("/a?x=1").as_deref(), Some("/a?x=1&tenant=red"));
        assert_eq!(query("/a?tenant=red").as_deref(), Some("/a?tenant=red"));
        for foreign in
            ["/a?tenant=blue", "/a?tenant=red&tenant=blue", "/a?%74enant=blue", "/a?tenant=", "/a?x&tenant=blue"]
        {
            assert_eq!(query(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn the_tenant_of_a_body_is_filled_in_and_never_another() {
        assert_eq!(within_body(&red(), json!({"a": 1})), Some(json!({"a": 1, "tenant": "red"})));
        assert_eq!(within_body(&red(), json!({"tenant": "red"})), Some(json!({"tenant": "red"})));
        for foreign in [json!({"tenant": "blue"}), json!({"tenant": null}), json!({"tenant": ["red"]})] {
            assert_eq!(within_body(&red(), foreign), None);
        }
    }

    async fn status(router: &Router, path: &str, caller: Option<Caller>) -> StatusCode {
        let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        tower::ServiceExt::oneshot(router.clone(), request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_route_is_open_to_those_it_is_for_and_to_nobody_when_it_says_nothing() {
        let door = |doors: Doors<()>, path, access: Option<Access>| {
            let operation = Operation::new("get", path, "x", "x");
            let operation = access.into_iter().fold(operation, Operation::access);
            doors.door(operation, get(async || StatusCode::NO_CONTENT))
        };
        let doors = door(Doors::new(), "/all", Some(Access::Everybody));
        let doors = door(doors, "/tenant", Some(Access::Tenant(Role::Operator)));
        let doors = door(doors, "/tenants/{tenant}", Some(Access::Tenant(Role::Viewer)));
        let (router, _) = door(doors, "/forgotten", None).finish();
        let of = |role| Some(Caller { tenant: Some(red()), role, token: None });
        for (path, caller, expected) in [
            ("/all", None, 204),
            ("/tenant", None, 401),
            ("/tenant", of(Role::Viewer), 403),
            ("/tenant", of(Role::Operator), 204),
            ("/tenant?tenant=blue", of(Role::Admin), 404),
            ("/tenant?tenant=blue", Some(Caller::owner()), 204),
            ("/tenants/red", of(Role::Viewer), 204),
            ("/tenants/blue", of(Role::Viewer), 404),
            ("/forgotten", of(Role::Admin), 404),
            ("/forgotten", Some(Caller { tenant: None, role: Role::Operator, token: None }), 403),
            ("/forgotten", Some(Caller::owner()), 204),
        ] {
            assert_eq!(status(&router, path, caller.clone()).await.as_u16(), expected, "{path} {caller:?}");
        }
    }
}
