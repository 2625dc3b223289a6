//! Laying a pod template over another, the way `kubectl patch` does it by default: objects field by field, lists of named
//! things by their names, other lists as a whole; `null` takes away.

use serde_json::Value;

/// The fields by which elements of such lists are told apart, by the name of the list.
fn key_of(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

/// `base` with `patch` laid over it.
#[must_use]
pub fn overlay(base: &Value, patch: &Value) -> Value {
    merge("", base, patch)
}

fn merge(name: &str, base: &Value, patch: &Value) -> Value {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            let mut merged = base.clone();
            for (name, patch) in patch {
                if patch.is_null() {
                    merged.remove(name);
                    continue;
                }
                let value = base.get(name).map_or_else(|| patch.clone(), |base| merge(name, base, patch));
                merged.insert(name.clone(), value);
            }
            merged.into()
        }
        (Value::Array(base), Value::Array(patch)) => match key_of(name) {
            Some(key) => merge_list(key, base, patch).into(),
            None => patch.clone().into(),
        },
        (_, patch) => patch.clone(),
    }
}

fn merge_list(key: &str, base: &[Value], patch: &[Value]) -> Vec<Value> {
    let same = |a: &Value, b: &Value| a.get(key).is_some() && a.get(key) == b.get(key);
    let kept = base.iter().map(|base| match patch.iter().find(|patch| same(base, patch)) {
        Some(patch) => merge("", base, patch),
        None => base.clone(),
    });
    let added = patch.iter().filter(|patch| !base.iter().any(|base| same(base, patch))).cloned();
    kept.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_found_by_its_name_and_a_sidecar_is_added() {
        let base =
            json!({"spec": {"containers": [{"name": "mcp", "image": "a", "env": [{"name": "A", "value": "1"}]}]}});
        let patch = json!({"spec": {
            "nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "log", "image": "b"}, {"name": "mcp", "env": [{"name": "B", "value": "2"}]}],
        }});
        assert_eq!(
            overlay(&base, &patch),
            json!({"spec": {
                "nodeSelector": {"disk": "ssd"},
                "containers": [
                    {"name": "mcp", "image": "a", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                    {"name": "log", "image": "b"},
                ],
            }})
        );
    }

    #[test]
    fn null_takes_away() {
        assert_eq!(overlay(&json!({"a": 1, "b": 2}), &json!({"a": null})), json!({"b": 2}));
    }

    fn templates() -> impl Strategy<Value = Value> {
        let container = ("[a-c]", 0..3_u8).prop_map(|(name, image)| json!({"name": name, "image": image}));
        let containers = proptest::collection::vec(container, 0..3);
        (containers, proptest::option::of(0..3_u8)).prop_map(|(mut containers, other)| {
            containers.sort_by_key(|container| container["name"].to_string());
            containers.dedup_by_key(|container| container["name"].to_string());
            json!({"containers": containers, "other": other.unwrap_or_default()})
        })
    }

    proptest! {
        #[test]
        fn laid_over_twice_is_laid_over_once(base in templates(), patch in templates()) {
            let once = overlay(&base, &patch);
            prop_assert_eq!(overlay(&once, &patch), once);
        }
    }
}
