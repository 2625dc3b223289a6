//! Between the generated bindings and the traits: parses the configuration, keeps the instance, passes hooks on.
//!
//! A component holds one plugin and is called by one thread at a time; the instance lives in a thread-local, which is a
//! plain static there. No panic is caught: it must stay a trap.

use std::cell::RefCell;
use std::marker::PhantomData;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;

#[cfg(target_family = "wasm")]
use crate::bindings::exports::fairlead::middleware::hooks;
use crate::bindings::exports::fairlead::registry_source::source;
use crate::bindings::exports::fairlead::types::manifest;
use crate::bindings::exports::fairlead::update_policy::policy;
use crate::{Failure, Kind, Manifest, Middleware, RegistrySource, UpdatePolicy};

#[cfg(target_family = "wasm")]
use crate::{Interest, Message, Rejection, Verdict};

/// The encoded types of the worlds (see `build.rs`).
pub mod world {
    macro_rules! encoded {
        ($(#[$doc:meta])* $name:ident, $file:literal) => {
            $(#[$doc])*
            pub const $name: [u8; include_bytes!(concat!(env!("OUT_DIR"), $file)).len()] =
                *include_bytes!(concat!(env!("OUT_DIR"), $file));
        };
    }
    encoded!(
        /// `fairlead:worlds/middleware`
        MIDDLEWARE,
        "/middleware.component-type"
    );
    encoded!(
        /// `fairlead:worlds/update-policy`
        UPDATE_POLICY,
        "/update-policy.component-type"
    );
    encoded!(
        /// `fairlead:worlds/registry-source`
        REGISTRY_SOURCE,
        "/registry-source.component-type"
    );
}

/// Exports a [`Middleware`].
#[derive(Debug)]
pub struct MiddlewareGuest<P>(PhantomData<P>);

/// Exports an [`UpdatePolicy`].
#[derive(Debug)]
pub struct UpdatePolicyGuest<P>(PhantomData<P>);

/// Exports a [`RegistrySource`].
#[derive(Debug)]
pub struct RegistrySourceGuest<P>(PhantomData<P>);

impl<P: Middleware> manifest::Guest for MiddlewareGuest<P> {
    fn describe() -> Manifest {
        complete(P::manifest(), Kind::Middleware, schema::<P::Config>())
    }

    fn validate_config(config: String) -> Result<Vec<String>, String> {
        P::validate(parse(&config)?)
    }
}

impl<P: UpdatePolicy> manifest::Guest for UpdatePolicyGuest<P> {
    fn describe() -> Manifest {
        complete(P::manifest(), Kind::UpdatePolicy, schema::<P::Config>())
    }

    fn validate_config(config: String) -> Result<Vec<String>, String> {
        P::validate(&parse(&config)?)
    }
}

impl<P: RegistrySource> manifest::Guest for RegistrySourceGuest<P> {
    fn describe() -> Manifest {
        complete(P::manifest(), Kind::RegistrySource, schema::<P::Config>())
    }

    fn validate_config(config: String) -> Result<Vec<String>, String> {
        P::validate(parse(&config)?)
    }
}

#[cfg(target_family = "wasm")]
impl<P: Middleware> hooks::Guest for MiddlewareGuest<P> {
    fn configure(config: String) -> Result<Vec<Interest>, Failure> {
        let plugin = P::new(parse(&config).map_err(Failure::Config)?)?;
        let interests = plugin.interests();
        MIDDLEWARE.replace(Some(Box::new(plugin)));
        Ok(interests)
    }

    fn on_request(head: hooks::Head, context: &hooks::Context, body: &hooks::Body) -> Result<Verdict, Failure> {
        with_middleware(|plugin| plugin.request(&Message::new(&head, context, Some(body))))
    }

    fn on_response(head: hooks::Head, context: &hooks::Context, body: &hooks::Body) -> Result<Verdict, Failure> {
        with_middleware(|plugin| plugin.response(&Message::new(&head, context, Some(body))))
    }

    fn on_error(head: hooks::Head, context: &hooks::Context, error: Rejection) -> Result<Verdict, Failure> {
        with_middleware(|plugin| plugin.error(&Message::new(&head, context, None), &error))
    }

    fn on_event(head: hooks::Head, context: &hooks::Context, body: &hooks::Body) -> Result<Verdict, Failure> {
        with_middleware(|plugin| plugin.event(&Message::new(&head, context, Some(body))))
    }
}

impl<P: UpdatePolicy> policy::Guest for UpdatePolicyGuest<P> {
    fn decide(facts: policy::Facts, config: String) -> Result<policy::Verdict, Failure> {
        P::decide(&facts, &parse(&config).map_err(Failure::Config)?)
    }
}

impl<P: RegistrySource> source::Guest for RegistrySourceGuest<P> {
    fn configure(config: String) -> Result<source::Features, Failure> {
        let source = P::new(parse(&config).map_err(Failure::Config)?)?;
        let features = source.features();
        SOURCE.replace(Some(Box::new(source)));
        Ok(features)
    }

    fn enumerate(request: source::Request) -> Result<source::Answer, Failure> {
        with_source(|source| source.page(&request))
    }

    fn transform(entry: source::Entry) -> Result<Option<source::Entry>, Failure> {
        with_source(|source| source.rewrite(entry))
    }
}

// === the instance ===

/// [`Middleware`] without its associated type, so that one static can hold any plugin.
#[cfg(target_family = "wasm")]
trait AnyMiddleware {
    fn request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure>;
    fn response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure>;
    fn error(&mut self, message: &Message<'_>, error: &Rejection) -> Result<Verdict, Failure>;
    fn event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure>;
}

#[cfg(target_family = "wasm")]
impl<P: Middleware> AnyMiddleware for P {
    fn request(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        self.on_request(message)
    }

    fn response(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        self.on_response(message)
    }

    fn error(&mut self, message: &Message<'_>, error: &Rejection) -> Result<Verdict, Failure> {
        self.on_error(message, error)
    }

    fn event(&mut self, message: &Message<'_>) -> Result<Verdict, Failure> {
        self.on_event(message)
    }
}

/// [`RegistrySource`] without its associated type.
trait AnySource {
    fn page(&mut self, request: &source::Request) -> Result<source::Answer, Failure>;
    fn rewrite(&mut self, entry: source::Entry) -> Result<Option<source::Entry>, Failure>;
}

impl<P: RegistrySource> AnySource for P {
    fn page(&mut self, request: &source::Request) -> Result<source::Answer, Failure> {
        self.enumerate(request)
    }

    fn rewrite(&mut self, entry: source::Entry) -> Result<Option<source::Entry>, Failure> {
        self.transform(entry)
    }
}

thread_local! {
    #[cfg(target_family = "wasm")]
    static MIDDLEWARE: RefCell<Option<Box<dyn AnyMiddleware>>> = const { RefCell::new(None) };
    static SOURCE: RefCell<Option<Box<dyn AnySource>>> = const { RefCell::new(None) };
}

#[cfg(target_family = "wasm")]
fn with_middleware(ask: impl FnOnce(&mut dyn AnyMiddleware) -> Result<Verdict, Failure>) -> Result<Verdict, Failure> {
    MIDDLEWARE.with_borrow_mut(|plugin| match plugin {
        Some(plugin) => ask(plugin.as_mut()),
        None => Err(not_configured()),
    })
}

fn with_source<T>(ask: impl FnOnce(&mut dyn AnySource) -> Result<T, Failure>) -> Result<T, Failure> {
    SOURCE.with_borrow_mut(|source| match source {
        Some(source) => ask(source.as_mut()),
        None => Err(not_configured()),
    })
}

fn not_configured() -> Failure {
    Failure::Internal("called before `configure`".to_owned())
}

// === manifest and configuration ===

fn complete(mut manifest: Manifest, kind: Kind, schema: String) -> Manifest {
    manifest.kind = kind;
    manifest.config_schema = schema;
    manifest
}

/// The JSON Schema (2020-12) of a configuration, as JSON text.
pub(crate) fn schema<C: JsonSchema>() -> String {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<C>().to_value().to_string()
}

/// Reads a configuration; an absent one is an empty object.
pub(crate) fn parse<C: DeserializeOwned>(config: &str) -> Result<C, String> {
    let config = match config.trim() {
        "" | "null" => "{}",
        text => text,
    };
    serde_json::from_str(config).map_err(|error| error.to_string())
}
