//! `fairlead:middleware/exchange`: the message and its surroundings.
//!
//! There is one call at a time in an instance, so both resources are nothing but names for it: no table, no allocation.

use fairlead_core::header::{HeaderError as Refused, header_name, header_value};
use fairlead_core::json;
use fairlead_core::limits::{ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, UPSTREAM_HEADER_BYTES_MAX, UPSTREAM_HEADERS_MAX};
use fairlead_core::middleware::Identity;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::bindings::exchange::HeaderError;
use super::bindings::{Attributes, exchange, types};
use crate::limits::CLAIMS_MAX;
use crate::state::View;

/// Stands for the payload of the call under way.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Body;

/// Stands for the surroundings of the call under way.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Context;

/// Lends both resources to a guest for one call.
pub(super) fn lend() -> (Resource<Context>, Resource<Body>) {
    (Resource::new_borrow(0), Resource::new_borrow(0))
}

impl types::Host for View<'_> {}

impl exchange::Host for View<'_> {}

impl exchange::HostBody for View<'_> {
    fn size(&mut self, _: Resource<Body>) -> Result<u64> {
        Ok(u64::try_from(self.exchange.text()?.len()).unwrap_or(u64::MAX))
    }

    fn read(&mut self, _: Resource<Body>) -> Result<String> {
        Ok(self.exchange.text()?.to_owned())
    }

    /// A pointer or a payload that is not well formed leads nowhere, like one to what is not there.
    fn pointer(&mut self, _: Resource<Body>, pointer: String) -> Result<Option<String>> {
        Ok(json::find(self.exchange.text()?, &pointer).ok().flatten().map(str::to_owned))
    }

    fn text(&mut self, _: Resource<Body>, pointer: String) -> Result<Option<String>> {
        let found = json::find(self.exchange.text()?, &pointer).ok().flatten();
        Ok(found.and_then(json::decode_string).map(Into::into))
    }

    fn drop(&mut self, _: Resource<Body>) -> Result<()> {
        Ok(())
    }
}

impl exchange::HostContext for View<'_> {
    fn request_id(&mut self, _: Resource<Context>) -> Result<Option<String>> {
        let id = self.exchange.call()?.origin.request_id.as_ref();
        Ok(id.map(|id| String::from_utf8_lossy(id).into_owned()))
    }

    fn server(&mut self, _: Resource<Context>) -> Result<String> {
        Ok(self.exchange.call()?.server.name.to_string())
    }

    fn tenant(&mut self, _: Resource<Context>) -> Result<String> {
        Ok(self.owner.scope.tenant.to_string())
    }

    fn session(&mut self, _: Resource<Context>) -> Result<Option<String>> {
        Ok(self.exchange.call()?.origin.session.as_deref().map(str::to_owned))
    }

    fn identity(&mut self, _: Resource<Context>) -> Result<Option<String>> {
        Ok(self.exchange.call()?.notes.identity.as_ref().map(|identity| identity.subject.clone()))
    }

    fn claim(&mut self, _: Resource<Context>, name: String) -> Result<Option<String>> {
        let identity = self.exchange.call()?.notes.identity.as_ref();
        Ok(identity.and_then(|identity| value(&identity.claims, &name)))
    }

    fn header(&mut self, _: Resource<Context>, name: String) -> Result<Option<String>> {
        Ok(self.exchange.call()?.origin.headers.get(&name).map(str::to_owned))
    }

    fn protocol_version(&mut self, _: Resource<Context>) -> Result<Option<String>> {
        Ok(self.exchange.call()?.origin.protocol_version.as_deref().map(str::to_owned))
    }

    fn attribute(&mut self, _: Resource<Context>, name: String) -> Result<Option<String>> {
        Ok(value(&self.exchange.call()?.notes.attributes, &name))
    }

    fn set_attribute(&mut self, _: Resource<Context>, name: String, value: String) -> Result<()> {
        let attributes = &mut self.exchange.call_mut()?.notes.attributes;
        let room = attributes.len() < ATTRIBUTES_MAX;
        let fits = name.len().saturating_add(value.len()) <= ATTRIBUTE_BYTES_MAX;
        match attributes.iter_mut().find(|(known, _)| *known == name) {
            Some(attribute) if fits => attribute.1 = value,
            None if fits && room => attributes.push((name, value)),
            _ => self.owner.counts.attribute_dropped(),
        }
        Ok(())
    }

    /// Who calls is never cut short: a half identity is a wrong one, so what is over the bounds is a fault.
    fn set_identity(&mut self, _: Resource<Context>, subject: String, claims: Attributes) -> Result<()> {
        let too_long = |(name, value): &(String, String)| name.len().saturating_add(value.len()) > ATTRIBUTE_BYTES_MAX;
        if subject.len() > ATTRIBUTE_BYTES_MAX || claims.len() > CLAIMS_MAX || claims.iter().any(too_long) {
            return Err(wasmtime::Error::msg(format!(
                "an identity has at most {CLAIMS_MAX} claims, and {ATTRIBUTE_BYTES_MAX} bytes in each text"
            )));
        }
        self.exchange.call_mut()?.notes.identity = Some(Identity { subject, claims });
        Ok(())
    }

    fn remaining_ms(&mut self, _: Resource<Context>) -> Result<u32> {
        Ok(self.exchange.remaining_ms())
    }

    fn set_upstream_header(
        &mut self,
        _: Resource<Context>,
        name: String,
        value: String,
    ) -> Result<std::result::Result<(), HeaderError>> {
        let name = match header_name(&name) {
            Ok(name) => name,
            Err(Refused::Reserved(_)) => return Ok(Err(HeaderError::Reserved)),
            Err(error) => return Ok(Err(HeaderError::Invalid(error.to_string()))),
        };
        let value = match self.owner.fill(&value, None) {
            Ok(value) => value,
            Err(error) => return Ok(Err(HeaderError::Secret(error.to_string()))),
        };
        if let Err(error) = header_value(&name, value.reveal()) {
            return Ok(Err(HeaderError::Invalid(error.to_string())));
        }
        let headers = &mut self.exchange.call_mut()?.notes.upstream_headers;
        headers.retain(|(known, _)| *known != name);
        let fits = name.len().saturating_add(value.reveal().len()) <= UPSTREAM_HEADER_BYTES_MAX;
        if !fits || headers.len() >= UPSTREAM_HEADERS_MAX {
            return Ok(Err(HeaderError::TooMany));
        }
        headers.push((name, value));
        Ok(Ok(()))
    }

    fn drop(&mut self, _: Resource<Context>) -> Result<()> {
        Ok(())
    }
}

fn value(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}
