// Configurations: a schema that is written once, checked by the host as JSON Schema and by TypeScript as a type.

class Schema {
  #json;
  required;

  constructor(json, required = true) {
    this.#json = json;
    this.required = required;
  }

  // What an operator reads about it.
  describe(description) {
    return new Schema({ ...this.#json, description }, this.required);
  }

  // Further keywords of JSON Schema, such as `minimum` or `pattern`.
  with(keywords) {
    return new Schema({ ...this.#json, ...keywords }, this.required);
  }

  toJSON() {
    return this.#json;
  }
}

export const string = () => new Schema({ type: "string" });
export const number = () => new Schema({ type: "number" });
export const integer = () => new Schema({ type: "integer" });
export const boolean = () => new Schema({ type: "boolean" });
export const enumeration = (...values) => new Schema({ enum: values });
export const array = (items) => new Schema({ type: "array", items: items.toJSON() });
export const map = (values) => new Schema({ type: "object", additionalProperties: values.toJSON() });
export const optional = (schema) => new Schema(schema.toJSON(), false);

// An object with these fields and no others: a misspelt setting is an error, not a surprise.
export function object(fields) {
  const entries = Object.entries(fields);
  const required = entries.filter(([, schema]) => schema.required).map(([name]) => name);
  return new Schema({
    type: "object",
    properties: Object.fromEntries(entries.map(([name, schema]) => [name, schema.toJSON()])),
    ...(required.length > 0 && { required }),
    additionalProperties: false,
  });
}

// The JSON Schema of a plugin; one that has no settings takes none.
export function schemaText(schema) {
  return JSON.stringify(schema ?? object({}));
}

// Reads a configuration; an absent one is an empty object.
export function parse(text) {
  return JSON.parse(text.trim() === "" ? "{}" : text) ?? {};
}
