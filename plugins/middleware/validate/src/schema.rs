//! A JSON Schema (2020-12) that is understood from end to end, or refused with the place that is not.
//!
//! A subset of its own, because a guard has ten milliseconds: a library for all of JSON Schema brings a backtracking regex
//! engine, a resolver of references and fractions, and no bound on how long one value may take. What makes a subset safe is
//! that it never guesses: a keyword that is neither checked nor known to say nothing about what is valid makes the schema
//! unclear, as do a reference to elsewhere and a pattern that cannot be compiled.

use std::collections::{BTreeSet, HashMap};

use fairlead_plugin::Pointer;
use fairlead_plugin::prelude::*;
use regex_lite::Regex;

/// Deepest nesting of a schema.
const DEPTH_MAX: usize = 64;

/// Longest pattern that is compiled.
const PATTERN_BYTES_MAX: usize = 1024;

/// Keywords that say nothing about what is valid (`format` by definition, unless a vocabulary says otherwise).
const ANNOTATIONS: [&str; 16] = [
    "$schema",
    "$comment",
    "$anchor",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "markdownDescription",
];

/// Names of types.
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

/// A schema that can be checked against.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) root: Value,
    pub(crate) patterns: HashMap<String, Regex>,
    pub(crate) lenient: bool,
}

/// Why a schema cannot be checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unclear {
    /// Where, in the schema.
    pub(crate) pointer: String,
    pub(crate) reason: String,
}

impl Schema {
    /// Reads a schema. A lenient one passes over keywords that it does not know.
    pub(crate) fn new(root: Value, lenient: bool) -> Result<Self, Unclear> {
        let mut audit = Audit { root: &root, lenient, patterns: HashMap::new(), followed: BTreeSet::new() };
        audit.schema(&root, &Pointer::root(), 0)?;
        let patterns = audit.patterns;
        Ok(Self { root, patterns, lenient })
    }
}

/// The part of a schema that a reference inside of it names.
pub(crate) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let fragment = reference.strip_prefix('#')?;
    // An escaped fragment would have to be decoded; no program that makes schemas writes one.
    if fragment.contains('%') { None } else { root.pointer(fragment) }
}

struct Audit<'a> {
    root: &'a Value,
    lenient: bool,
    patterns: HashMap<String, Regex>,
    followed: BTreeSet<&'a str>,
}

impl<'a> Audit<'a> {
    fn schema(&mut self, schema: &'a Value, at: &Pointer, depth: usize) -> Result<(), Unclear> {
        if depth > DEPTH_MAX {
            return Err(unclear(at, format!("is nested deeper than {DEPTH_MAX}")));
        }
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(fields) => {
                fields.iter().try_for_each(|(word, value)| self.keyword(word, value, &at.clone().key(word), depth))
            }
            _ => Err(unclear(at, "is neither an object nor a boolean")),
        }
    }

    fn keyword(&mut self, word: &'a str, value: &'a Value, at: &Pointer, depth: usize) -> Result<(), Unclear> {
        match word {
            "type" => types(value, at),
            "enum" => expect(value.is_array(), at, "is no array"),
            "const" => Ok(()),
            "required" => expect(strings(value), at, "is no array of strings"),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                expect(value.is_number(), at, "is no number")
            }
            "multipleOf" => expect(value.as_f64().is_some_and(|step| step > 0.0), at, "is no number above 0"),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" | "minContains"
            | "maxContains" => expect(value.is_u64(), at, "is no count"),
            "uniqueItems" => expect(value.is_boolean(), at, "is no boolean"),
            "pattern" => match value {
                Value::String(pattern) => self.pattern(pattern, at),
                _ => Err(unclear(at, "is no string")),
            },
            "items" | "additionalProperties" | "propertyNames" | "contains" | "not" | "if" | "then" | "else" => {
                self.schema(value, at, depth + 1)
            }
            "properties" | "dependentSchemas" | "$defs" | "definitions" => self.each(value, at, depth),
            "patternProperties" => {
                for pattern in value.as_object().into_iter().flat_map(|fields| fields.keys()) {
                    self.pattern(pattern, at)?;
                }
                self.each(value, at, depth)
            }
            "dependentRequired" => {
                let fine = value.as_object().is_some_and(|fields| fields.values().all(strings));
                expect(fine, at, "is no object of arrays of strings")
            }
            "prefixItems" | "allOf" | "anyOf" | "oneOf" => match value {
                Value::Array(schemas) => schemas
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, schema)| self.schema(schema, &at.clone().index(index), depth + 1)),
                _ => Err(unclear(at, "is no array")),
            },
            "$ref" => self.reference(value, at, depth),
            // At the root it only names the schema; further in it moves what `#` means.
            "$id" if depth == 0 => Ok(()),
            _ if self.lenient || ANNOTATIONS.contains(&word) || word.starts_with("x-") => Ok(()),
            _ => Err(unclear(at, "is a keyword that is not understood")),
        }
    }

    fn each(&mut self, value: &'a Value, at: &Pointer, depth: usize) -> Result<(), Unclear> {
        let Value::Object(fields) = value else { return Err(unclear(at, "is no object")) };
        fields.iter().try_for_each(|(name, schema)| self.schema(schema, &at.clone().key(name), depth + 1))
    }

    fn pattern(&mut self, pattern: &str, at: &Pointer) -> Result<(), Unclear> {
        if self.patterns.contains_key(pattern) {
            return Ok(());
        }
        match Regex::new(pattern) {
            Ok(regex) if pattern.len() <= PATTERN_BYTES_MAX => {
                self.patterns.insert(pattern.to_owned(), regex);
                Ok(())
            }
            _ if self.lenient => Ok(()),
            _ => Err(unclear(at, "is a regular expression that is not understood")),
        }
    }

    fn reference(&mut self, value: &'a Value, at: &Pointer, depth: usize) -> Result<(), Unclear> {
        let target = value.as_str().and_then(|reference| Some((reference, resolve(self.root, reference)?)));
        match target {
            // What a reference leads to need not stand where schemas stand.
            Some((reference, schema)) if self.followed.insert(reference) => self.schema(schema, at, depth + 1),
            Some(_) => Ok(()),
            None if self.lenient => Ok(()),
            None => Err(unclear(at, "leads to nothing inside of the schema")),
        }
    }
}

fn types(value: &Value, at: &Pointer) -> Result<(), Unclear> {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let fine = match value {
        Value::Array(names) => names.iter().all(known),
        other => known(other),
    };
    expect(fine, at, "is no type")
}

fn strings(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_string))
}

fn expect(fine: bool, at: &Pointer, reason: &str) -> Result<(), Unclear> {
    if fine { Ok(()) } else { Err(unclear(at, reason)) }
}

fn unclear(at: &Pointer, reason: impl Into<String>) -> Unclear {
    Unclear { pointer: at.to_string(), reason: reason.into() }
}
