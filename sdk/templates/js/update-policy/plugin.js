// {{name}}: takes an update when it is old enough and nothing speaks against it.

import { UpdatePolicy, integer, object } from "fairlead-plugin";

const HOUR_MS = 60 * 60 * 1000;

// The policy: a pure function. It has no clock and no state, the time is in the facts; so every decision can be replayed.
export default class {{type}} extends UpdatePolicy {
  static manifest = {
    name: "{{name}}",
    version: "0.1.0",
    description: "Takes an update when it is old enough",
  };

  static config = object({
    age_hours: integer()
      .with({ minimum: 0, maximum: 8760 })
      .describe("Hours since the host first saw a candidate before it is taken"),
  });

  static validate(config) {
    return config.age_hours === 0 ? ["`age_hours` is 0: every update is taken at once"] : [];
  }

  static decide(facts, config) {
    const candidate = facts.candidates.find(({ pin }) => !facts.running.digests.includes(pin));
    if (!candidate) return { decision: "up-to-date" };
    const { pin } = candidate;
    // What is not known is not good, but only what is known to be bad is held here.
    if (candidate.signature === "bad") {
      return { decision: "hold", reason: "unverified", detail: "its signature is bad", pin };
    }
    const ripe = candidate.firstSeen + config.age_hours * HOUR_MS;
    if (facts.now < ripe) {
      return { decision: "hold", reason: "too-young", detail: "it is not old enough", pin, until: ripe };
    }
    return { decision: "update", pin };
  }
}
