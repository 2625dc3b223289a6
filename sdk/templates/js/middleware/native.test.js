// The middleware as plain JavaScript, without Wasm and without a host: `npm install && npm test`. What runs in the real host
// is in `cases.json`: `fairlead plugin test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Harness } from "fairlead-plugin/testing";

import {{type}} from "../plugin.js";

const call = (args) => ({ name: "note", arguments: args });

test("a forbidden word is found wherever it stands", () => {
  const plugin = new Harness({{type}}, { words: ["secret"] });
  assert.equal(plugin.request("tools/call", call({ text: "hello" })).verdict, "next");
  assert.equal(plugin.request("tools/call", call({ text: "A SECRET" })).code, 4030);
  assert.equal(plugin.request("tools/call", call({ list: [{ text: "secrets" }] })).code, 4030);
  assert.equal(plugin.request("tools/list", {}).verdict, "not-called");
});

test("an empty word is refused", () => {
  assert.throws(() => new Harness({{type}}, { words: [""] }), /empty word/);
});
