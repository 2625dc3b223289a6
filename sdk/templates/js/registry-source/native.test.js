// The source as plain JavaScript: `npm install && npm test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import {{type}} from "../plugin.js";

const server = (name) => ({ name, version: "1.0.0", description: "an example" });

test("pages follow each other to the end", () => {
  const source = new {{type}}({ servers: ["a/1", "a/2", "a/3"].map(server) });
  const first = source.enumerate({ limit: 2 });
  assert.deepEqual(first.entries.map((entry) => entry.name), ["a/1", "a/2"]);
  const last = source.enumerate({ limit: 2, cursor: first.next });
  assert.deepEqual([last.entries[0].name, last.next], ["a/3", undefined]);
});

test("a name has exactly one slash", () => {
  assert.throws(() => new {{type}}({ servers: [server("time")] }), /exactly one/);
});
