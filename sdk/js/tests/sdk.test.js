import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Failure, Middleware, array, clock, deny, enumeration, integer, kv, log, next, object, optional, patch, reject, replace,
  respond, string, visitStrings,
} from "../src/index.js";
import { schemaText } from "../src/config.js";
import { lowered } from "../src/failure.js";
import { Harness } from "../src/testing.js";
import { decode, encode } from "../src/utf8.js";
import { settled } from "../src/verdict.js";

const plugin = (hooks, interests = [{ method: "tools/*", phases: ["request", "response", "error", "event"] }]) => {
  const Plugin = class extends Middleware {
    static manifest = { name: "a", version: "0.1.0", description: "a", interests };
  };
  Object.assign(Plugin.prototype, hooks);
  return new Harness(Plugin);
};

test("a schema is JSON Schema, and unknown fields are refused", () => {
  const config = object({
    words: array(string()).describe("Words"),
    mode: optional(enumeration("a", "b")),
    most: integer().with({ minimum: 1 }),
  });
  assert.deepEqual(JSON.parse(schemaText(config)), {
    type: "object",
    properties: {
      words: { type: "array", items: { type: "string" }, description: "Words" },
      mode: { enum: ["a", "b"] },
      most: { type: "integer", minimum: 1 },
    },
    required: ["words", "most"],
    additionalProperties: false,
  });
  assert.deepEqual(JSON.parse(schemaText()), { type: "object", properties: {}, additionalProperties: false });
});

test("a hook that returns nothing is a fault, and so is a promise", () => {
  for (const onRequest of [() => undefined, () => true, async () => next()]) {
    assert.throws(() => plugin({ onRequest }).request("tools/call", { name: "a" }), /no verdict/);
  }
  assert.equal(plugin({}).request("tools/call", { name: "a" }).verdict, "next");
});

test("verdicts have the shape of the contract", () => {
  assert.deepEqual(deny(1, "no"), { tag: "reject", val: { code: 1, message: "no", data: null, retryAfterMs: null } });
  assert.equal(reject({ code: 1, message: "no", data: { a: 1 }, retryAfterMs: 5 }).val.data, '{"a":1}');
  assert.deepEqual(respond([1]), { tag: "respond", val: "[1]" });
  assert.deepEqual(replace({}), { tag: "edit", val: { tag: "replace", val: "{}" } });
  assert.equal(settled(patch(), "onRequest").tag, "next");
  assert.deepEqual(settled(patch().set("/a", "b").remove("/c"), "onRequest").val.val, [
    { pointer: "/a", value: '"b"' },
    { pointer: "/c", value: null },
  ]);
});

test("an exception that nobody meant is a failure and never a decision", () => {
  assert.deepEqual(lowered(Failure.upstream("bad")), { tag: "upstream", val: "bad" });
  const { tag, val } = lowered(new TypeError("x is not a function"));
  assert.ok(tag === "internal" && val.startsWith("TypeError: x is not a function"), val);
  assert.equal(lowered("text").tag, "internal");
});

test("text survives the way to bytes and back, and bytes that are no text are refused", () => {
  for (const text of ["", "plain", "æøå ß", "漢字", "👩‍🚀 \u{10ffff}"]) {
    assert.deepEqual(encode(text), new TextEncoder().encode(text));
    assert.equal(decode(encode(text)), text);
  }
  assert.equal(decode(encode("\ud800")), "\ufffd");
  for (const bytes of [[0x80], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82]]) {
    assert.throws(() => decode(Uint8Array.from(bytes)), /no UTF-8/);
  }
});

test("every string is visited with its pointer", () => {
  const seen = [];
  visitStrings({ a: ["x", { "b/c~": "y" }], d: 1 }, (pointer, text) => seen.push([pointer, text]));
  assert.deepEqual(seen, [["/a/0", "x"], ["/a/1/b~1c~0", "y"]]);
});

test("the kit reads, patches, remembers and lets time pass", () => {
  const harness = plugin({
    onRequest(message) {
      log.info("asked");
      const count = kv.increment("count", 1, { ttlMs: 1000 });
      message.context.setAttribute("at", String(clock.nowMs()));
      return patch().set("/arguments/count", count).remove("/arguments/drop");
    },
  });
  const ask = () => harness.request("tools/call", { name: "a", arguments: { drop: 1, text: "t" } }).payload.arguments;
  assert.deepEqual(ask(), { text: "t", count: 1 });
  harness.now = 500;
  assert.equal(ask().count, 2);
  harness.now = 1000;
  assert.equal(ask().count, 1);
  assert.deepEqual([harness.attributes.at, harness.logs.length], ["1000", 3]);
});

test("a plugin is not called for what it did not ask for", () => {
  const harness = plugin({ onRequest: () => deny(1, "no") }, [{ method: "tools/call", target: "gh_*", phases: ["request"] }]);
  assert.equal(harness.request("tools/call", { name: "gh_issue" }).verdict, "reject");
  assert.equal(harness.request("tools/call", { name: "xgh_issue" }).verdict, "not-called");
  assert.equal(harness.response("tools/call", {}, { target: "gh_issue" }).verdict, "not-called");
});
