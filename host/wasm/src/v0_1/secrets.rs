//! `fairlead:host/secrets`: handles, never values, unless seeing the value was granted by name.

use fairlead_core::secret::SecretValue;
use wasmtime::component::Resource;

use super::bindings::secrets::{self, Error};
use crate::limits::SECRETS_OPEN_MAX;
use crate::state::View;

/// Where the secret goes in the template of a header.
const SECRET_GOES_HERE: &str = "{}";

/// An open secret.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Secret {
    name: String,
    value: SecretValue,
}

impl secrets::Host for View<'_> {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Secret>, Error>> {
        if !self.owner.grants.may_open(&name) {
            return Ok(Err(Error::Denied));
        }
        let Some(source) = &self.owner.services.secrets else {
            return Ok(Err(Error::Unavailable("this host has no secrets".to_owned())));
        };
        if *self.secrets_open >= SECRETS_OPEN_MAX {
            return Ok(Err(Error::Other(format!("{SECRETS_OPEN_MAX} secrets are open, which is the limit"))));
        }
        match source.open(&self.owner.scope.tenant, &name) {
            Ok(Some(value)) => {
                *self.secrets_open += 1;
                Ok(Ok(self.table.push(Secret { name, value })?))
            }
            Ok(None) => Ok(Err(Error::NotFound)),
            Err(error) => Ok(Err(Error::Unavailable(error.to_string()))),
        }
    }
}

impl secrets::HostSecret for View<'_> {
    /// A placeholder within the template; see [`crate::placeholders`].
    fn as_header(&mut self, secret: Resource<Secret>, template: String) -> wasmtime::Result<String> {
        let name = &self.table.get(&secret)?.name;
        let placeholder = self.owner.placeholders.of(name);
        let placeholder = placeholder.ok_or_else(|| wasmtime::Error::msg("the system gives no random numbers"))?;
        Ok(template.replace(SECRET_GOES_HERE, &placeholder))
    }

    fn reveal(&mut self, secret: Resource<Secret>) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let secret = self.table.get(&secret)?;
        if !self.owner.grants.may_reveal(&secret.name) {
            return Ok(Err(Error::Denied));
        }
        Ok(Ok(secret.value.reveal().to_vec()))
    }

    fn drop(&mut self, secret: Resource<Secret>) -> wasmtime::Result<()> {
        self.table.delete(secret)?;
        *self.secrets_open = self.secrets_open.saturating_sub(1);
        Ok(())
    }
}
