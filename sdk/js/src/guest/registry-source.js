// From a class to the exports of the world `registry-source`.

import clock from "fairlead:host/clock@0.1.0";
import kv from "fairlead:host/kv@0.1.0";
import log from "fairlead:host/log@0.1.0";
import metrics from "fairlead:host/metrics@0.1.0";
import secrets from "fairlead:host/secrets@0.1.0";

import { parse } from "../config.js";
import { lowered } from "../failure.js";
import { install } from "../host.js";
import { manifestOf } from "./manifest.js";

export function guest(Plugin) {
  install({ clock, kv, log, metrics, secrets });
  let plugin;

  const guarded = (doing) => (argument) => {
    try {
      return doing(argument);
    } catch (thrown) {
      throw lowered(thrown);
    }
  };

  return {
    manifest: manifestOf(Plugin, "registry-source"),
    source: {
      configure: guarded((config) => {
        plugin = new Plugin(parse(config));
        const features = plugin.features();
        return Object.fromEntries(["incremental", "versions", "removals"].map((name) => [name, features.includes(name)]));
      }),
      enumerate: guarded(({ cursor, since, limit, etag }) =>
        answered(
          plugin.enumerate({
            cursor: cursor ?? undefined,
            since: since ?? undefined,
            limit: Number(limit),
            etag: etag ?? undefined,
          }),
        ),
      ),
      transform: guarded((entry) => {
        const kept = plugin.transform({ ...entry, attributes: Object.fromEntries(entry.attributes) });
        return kept == null ? null : entryOf(kept);
      }),
    },
  };
}

function answered(answer) {
  if (answer === "unmodified") return { tag: "unmodified" };
  if (typeof answer?.resync === "string") return { tag: "resync", val: answer.resync };
  if (!Array.isArray(answer?.entries)) throw new TypeError("enumerate returned no page");
  const { entries, removed = [], next, checkpoint, etag } = answer;
  return {
    tag: "page",
    val: {
      entries: entries.map(entryOf),
      removed: removed.map(({ name, version }) => [name, version ?? null]),
      next: next ?? null,
      checkpoint: checkpoint ?? null,
      etag: etag ?? null,
    },
  };
}

const entryOf = ({ name, version, serverJson, status = "active", isLatest = true, attributes = {}, ...more }) => ({
  name,
  version,
  status,
  serverJson,
  publishedMs: more.publishedMs ?? null,
  updatedMs: more.updatedMs ?? null,
  isLatest,
  attributes: Object.entries(attributes),
});
