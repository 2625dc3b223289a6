// The policy as plain JavaScript: `npm install && npm test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import {{type}} from "../plugin.js";

const facts = (now) => ({
  now,
  running: { digests: ["sha256:old"] },
  candidates: [{ pin: "sha256:new", firstSeen: 0, signature: "unknown" }],
});

test("an update is taken when it is old enough", () => {
  const decide = (now) => {{type}}.decide(facts(now), { age_hours: 1 }).decision;
  assert.deepEqual([decide(0), decide(3_600_000)], ["hold", "update"]);
});
