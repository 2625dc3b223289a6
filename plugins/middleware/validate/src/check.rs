//! Holds a value to a schema, and says where it misses.
//!
//! The reason names what the schema wants and never what the value is: a rejection is logged, and arguments are not.

use std::cmp::Ordering;

use fairlead_plugin::Pointer;
use fairlead_plugin::prelude::*;
use serde_json::{Map, Number};

use crate::schema::{Schema, resolve};

/// Schemas that are entered and items that are compared for one value: far more than any call needs, and done within the
/// time of a hook. A schema can be small and take for ever (alternatives that refer to themselves).
const STEPS_MAX: u32 = 100_000;

/// References and alternatives inside of each other.
const DEPTH_MAX: u32 = 200;

/// Where and how a value misses a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) pointer: String,
    pub(crate) reason: String,
}

/// Why a value does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Miss {
    Violation(Violation),
    /// It takes too long to say.
    Endless,
}

type Held = Result<(), Miss>;

/// Holds a value to a schema; pointers begin with `base`.
pub(crate) fn check(schema: &Schema, base: &str, value: &Value) -> Held {
    let mut checker = Checker { schema, steps: 0, depth: 0 };
    checker.enter(&schema.root, &Pointer::root().key(base), value)
}

struct Checker<'a> {
    schema: &'a Schema,
    steps: u32,
    depth: u32,
}

impl<'a> Checker<'a> {
    fn enter(&mut self, schema: &'a Value, at: &Pointer, value: &Value) -> Held {
        self.step()?;
        if self.depth >= DEPTH_MAX {
            return Err(Miss::Endless);
        }
        self.depth += 1;
        let held = match schema {
            Value::Bool(false) => miss(at, "is not allowed here"),
            Value::Object(fields) => self.all(fields, at, value),
            _ => Ok(()),
        };
        self.depth -= 1;
        held
    }

    fn step(&mut self) -> Held {
        self.steps += 1;
        if self.steps > STEPS_MAX { Err(Miss::Endless) } else { Ok(()) }
    }

    /// Whether a value passes; what takes too long is neither.
    fn passes(&mut self, schema: &'a Value, at: &Pointer, value: &Value) -> Result<bool, Miss> {
        match self.enter(schema, at, value) {
            Ok(()) => Ok(true),
            Err(Miss::Violation(_)) => Ok(false),
            Err(Miss::Endless) => Err(Miss::Endless),
        }
    }

    fn all(&mut self, schema: &'a Map<String, Value>, at: &Pointer, value: &Value) -> Held {
        if let Some(wanted) = schema.get("type") {
            types(wanted, at, value)?;
        }
        if let Some(Value::Array(allowed)) = schema.get("enum")
            && !allowed.iter().any(|allowed| equal(allowed, value))
        {
            return miss(at, format!("is none of {}", short(&Value::from(allowed.clone()))));
        }
        if let Some(wanted) = schema.get("const")
            && !equal(wanted, value)
        {
            return miss(at, format!("is not {}", short(wanted)));
        }
        match value {
            Value::Number(number) => numbers(schema, at, number)?,
            Value::String(text) => self.text(schema, at, text)?,
            Value::Array(items) => self.array(schema, at, items)?,
            Value::Object(fields) => self.object(schema, at, fields)?,
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, at, value)
    }

    fn combined(&mut self, schema: &'a Map<String, Value>, at: &Pointer, value: &Value) -> Held {
        if let Some(Value::String(reference)) = schema.get("$ref")
            && let Some(target) = resolve(&self.schema.root, reference)
        {
            self.enter(target, at, value)?;
        }
        for part in list(schema, "allOf").unwrap_or_default() {
            self.enter(part, at, value)?;
        }
        if let Some(parts) = list(schema, "anyOf") {
            let mut first = None;
            for part in parts {
                match self.enter(part, at, value) {
                    Ok(()) => {
                        first = None;
                        break;
                    }
                    Err(Miss::Endless) => return Err(Miss::Endless),
                    // The deepest place is where the alternative that was meant was missed.
                    Err(miss) => first = Some(deeper(first, miss)),
                }
            }
            if let Some(deepest) = first {
                return alternatives(at, parts.len(), deepest);
            }
        }
        if let Some(parts) = list(schema, "oneOf") {
            let (mut matched, mut first) = (0, None);
            for part in parts {
                match self.enter(part, at, value) {
                    Ok(()) => matched += 1,
                    Err(Miss::Endless) => return Err(Miss::Endless),
                    Err(miss) => first = Some(deeper(first, miss)),
                }
            }
            match (matched, first) {
                (1, _) => {}
                (0, Some(deepest)) => return alternatives(at, parts.len(), deepest),
                _ => return miss(at, format!("is {matched} of {} alternatives, not one", parts.len())),
            }
        }
        if let Some(part) = schema.get("not")
            && self.passes(part, at, value)?
        {
            return miss(at, "is what it must not be");
        }
        if let Some(condition) = schema.get("if") {
            let branch = if self.passes(condition, at, value)? { "then" } else { "else" };
            if let Some(part) = schema.get(branch) {
                self.enter(part, at, value)?;
            }
        }
        Ok(())
    }

    fn text(&self, schema: &Map<String, Value>, at: &Pointer, text: &str) -> Held {
        let length = text.chars().count() as u64;
        count(schema, at, "minLength", "maxLength", length, "characters")?;
        match schema.get("pattern") {
            Some(Value::String(pattern)) if !self.matches(pattern, text) => {
                miss(at, format!("does not match `{pattern:.100}`"))
            }
            _ => Ok(()),
        }
    }

    /// A pattern that was not understood is only kept by a lenient schema, and there matches.
    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.schema.patterns.get(pattern).map_or(self.schema.lenient, |regex| regex.is_match(text))
    }

    fn array(&mut self, schema: &'a Map<String, Value>, at: &Pointer, items: &[Value]) -> Held {
        count(schema, at, "minItems", "maxItems", items.len() as u64, "items")?;
        let prefix = list(schema, "prefixItems").unwrap_or_default();
        for (index, item) in items.iter().enumerate() {
            if let Some(part) = prefix.get(index).or_else(|| schema.get("items")) {
                self.enter(part, &at.clone().index(index), item)?;
            }
        }
        if let Some(part) = schema.get("contains") {
            let mut found = 0;
            for (index, item) in items.iter().enumerate() {
                found += u64::from(self.passes(part, &at.clone().index(index), item)?);
            }
            let least = schema.get("minContains").and_then(Value::as_u64).unwrap_or(1);
            let most = schema.get("maxContains").and_then(Value::as_u64).unwrap_or(u64::MAX);
            if found < least || found > most {
                return miss(at, "has too few or too many of the items that it must contain");
            }
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            for (index, item) in items.iter().enumerate() {
                for other in items.iter().take(index) {
                    self.step()?;
                    if equal(item, other) {
                        return miss(&at.clone().index(index), "is there twice");
                    }
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, schema: &'a Map<String, Value>, at: &Pointer, fields: &Map<String, Value>) -> Held {
        count(schema, at, "minProperties", "maxProperties", fields.len() as u64, "fields")?;
        let required = |names: Option<&Value>| {
            let names = names.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            match names.into_iter().find(|name| !fields.contains_key(*name)) {
                Some(name) => miss(&at.clone().key(name), "is required and missing"),
                None => Ok(()),
            }
        };
        required(schema.get("required"))?;
        let (properties, patterns) = (map(schema, "properties"), map(schema, "patternProperties"));
        for (name, value) in fields {
            let place = at.clone().key(name);
            let mut known = false;
            if let Some(part) = properties.and_then(|properties| properties.get(name)) {
                known = true;
                self.enter(part, &place, value)?;
            }
            for (pattern, part) in patterns.into_iter().flatten() {
                if self.matches(pattern, name) {
                    known = true;
                    self.enter(part, &place, value)?;
                }
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) if !known => return miss(&place, "is no field of this object"),
                Some(part) if !known => self.enter(part, &place, value)?,
                _ => {}
            }
            if let Some(part) = schema.get("propertyNames") {
                self.enter(part, &place, &Value::from(name.as_str()))?;
            }
            required(map(schema, "dependentRequired").and_then(|needs| needs.get(name)))?;
        }
        for (name, part) in map(schema, "dependentSchemas").into_iter().flatten() {
            if fields.contains_key(name) {
                self.enter(part, at, &Value::Object(fields.clone()))?;
            }
        }
        Ok(())
    }
}

// === the smaller questions ===

fn list<'a>(schema: &'a Map<String, Value>, word: &str) -> Option<&'a [Value]> {
    schema.get(word).and_then(Value::as_array).map(Vec::as_slice)
}

fn map<'a>(schema: &'a Map<String, Value>, word: &str) -> Option<&'a Map<String, Value>> {
    schema.get(word).and_then(Value::as_object)
}

fn types(wanted: &Value, at: &Pointer, value: &Value) -> Held {
    let is = |name: &str| match name {
        "integer" => match value {
            Value::Number(number) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
            _ => false,
        },
        "number" => value.is_number(),
        other => name_of(value) == other,
    };
    match wanted {
        Value::String(name) if !is(name) => miss(at, format!("is of type {}, not {name}", name_of(value))),
        Value::Array(names) if !names.iter().filter_map(Value::as_str).any(is) => {
            miss(at, format!("is of type {}, none of {}", name_of(value), short(wanted)))
        }
        _ => Ok(()),
    }
}

const fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn numbers(schema: &Map<String, Value>, at: &Pointer, number: &Number) -> Held {
    use Ordering::{Equal, Greater, Less};
    for (word, allowed, what) in [
        ("minimum", [Greater, Equal], "is less than"),
        ("maximum", [Less, Equal], "is more than"),
        ("exclusiveMinimum", [Greater, Greater], "is not more than"),
        ("exclusiveMaximum", [Less, Less], "is not less than"),
    ] {
        if let Some(Value::Number(bound)) = schema.get(word)
            && !compare(number, bound).is_some_and(|order| allowed.contains(&order))
        {
            return miss(at, format!("{what} {bound}"));
        }
    }
    match schema.get("multipleOf") {
        Some(Value::Number(step)) if !is_multiple(number, step) => miss(at, format!("is no multiple of {step}")),
        _ => Ok(()),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Exact where both are integers.
fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn is_multiple(number: &Number, step: &Number) -> bool {
    if let (Some(number), Some(step)) = (whole(number), whole(step)) {
        return number.checked_rem(step) == Some(0);
    }
    let quotient = number.as_f64().zip(step.as_f64()).map(|(number, step)| number / step);
    // 0.3 is a multiple of 0.1 to everybody but a processor.
    quotient.is_some_and(|quotient| (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0))
}

/// Equality of JSON Schema: 1 is 1.0, and the order of fields does not count.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

fn count(schema: &Map<String, Value>, at: &Pointer, least: &str, most: &str, length: u64, what: &str) -> Held {
    let bound = |word| schema.get(word).and_then(Value::as_u64);
    match (bound(least), bound(most)) {
        (Some(least), _) if length < least => miss(at, format!("has fewer than {least} {what}")),
        (_, Some(most)) if length > most => miss(at, format!("has more than {most} {what}")),
        _ => Ok(()),
    }
}

fn deeper(known: Option<Miss>, new: Miss) -> Miss {
    let depth = |miss: &Miss| match miss {
        Miss::Violation(violation) => violation.pointer.matches('/').count(),
        Miss::Endless => 0,
    };
    match known {
        Some(known) if depth(&known) >= depth(&new) => known,
        _ => new,
    }
}

fn alternatives(at: &Pointer, number: usize, deepest: Miss) -> Held {
    match deepest {
        Miss::Violation(violation) if violation.pointer != at.as_str() => Err(Miss::Violation(violation)),
        _ => miss(at, format!("is none of {number} alternatives")),
    }
}

fn short(value: &Value) -> String {
    format!("{:.100}", value.to_string())
}

fn miss(at: &Pointer, reason: impl Into<String>) -> Held {
    Err(Miss::Violation(Violation { pointer: at.to_string(), reason: reason.into() }))
}
