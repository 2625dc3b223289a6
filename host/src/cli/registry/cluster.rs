//! What the operator knows of registries: the schema of the type that reads them, that reader, the grants of an address, and what
//! their answers mean. The two crates are siblings, so they meet here.

use fairlead_operator::registry::Registries;
use fairlead_registry::offer;
use fairlead_registry::spec::RegistrySpec;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::add::grants;

/// All of it.
pub(crate) fn registries() -> Registries {
    Registries { schema: registry_schema, check, grants: |url, token| json!(grants(url, token)), read: offer::read }
}

/// The JSON Schema of one registry.
pub(crate) fn registry_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<RegistrySpec>().to_value()
}

fn check(registry: &Value) -> Result<(), String> {
    serde_json::from_value::<RegistrySpec>(registry.clone()).map(drop).map_err(|error| error.to_string())
}
