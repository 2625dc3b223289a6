// From a class to the exports of the world `update-policy`. Nothing of the host is put in but the log: a policy is pure.

import log from "fairlead:host/log@0.1.0";

import { parse } from "../config.js";
import { lowered } from "../failure.js";
import { install } from "../host.js";
import { manifestOf } from "./manifest.js";

export function guest(Plugin) {
  install({ log });
  return {
    manifest: manifestOf(Plugin, "update-policy"),
    policy: {
      decide(facts, config) {
        try {
          const { trace = [], ...decision } = Plugin.decide(facts, parse(config));
          return { decision: decided(decision), trace };
        } catch (thrown) {
          throw lowered(thrown);
        }
      },
    },
  };
}

function decided({ decision, pin, detail = "", ...more }) {
  switch (decision) {
    case "up-to-date":
      return { tag: "up-to-date" };
    case "hold":
      return { tag: "hold", val: { reason: more.reason ?? "other", detail, pin: pin ?? null, until: more.until ?? null } };
    case "notify":
      return { tag: "notify", val: { pin, detail, urgent: more.urgent ?? false } };
    case "update": {
      const { strategy = "surge-then-switch", onFailure = "roll-back" } = more;
      const { minReadyMs = 10_000, deadlineMs = 300_000, drainMs = 30_000 } = more;
      return { tag: "update", val: { pin, strategy, onFailure, minReadyMs, deadlineMs, drainMs } };
    }
    case "rollback":
      return { tag: "rollback", val: { pin, detail } };
    default:
      throw new TypeError(`decide returned no decision but ${decision}`);
  }
}
