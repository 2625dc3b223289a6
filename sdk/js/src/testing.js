// The test kit: a middleware as plain JavaScript, with a host of fakes. What runs in the real host is a table of cases.

import { Message } from "./message.js";
import { install } from "./host.js";
import { settled } from "./verdict.js";
import { encode } from "./utf8.js";

const RESULT = { request: "params", event: "params", response: "result" };

export class Harness {
  #plugin;
  #identity;

  constructor(Plugin, config = {}) {
    this.logs = [];
    this.attributes = {};
    this.headers = {};
    this.now = 0;
    this.store = new Map();
    install(this.#host());
    Plugin.validate(config);
    this.#plugin = new Plugin(config);
  }

  get identity() {
    return this.#identity?.subject;
  }

  as(subject, claims = {}) {
    this.#identity = { subject, claims };
    return this;
  }

  request(method, params, more) {
    return this.#ask("request", method, params, more);
  }

  response(method, result, more) {
    return this.#ask("response", method, result, more);
  }

  event(method, params, more) {
    return this.#ask("event", method, params, more);
  }

  error(method, error, more) {
    return this.#ask("error", method, error, more);
  }

  #ask(phase, method, payload, { target = payload?.name ?? payload?.uri ?? null } = {}) {
    const interests = this.#plugin.interests().filter((interest) => interest.phases.includes(phase));
    if (!interests.some((interest) => covers(interest, method, target))) return { verdict: "not-called" };
    const body = phase in RESULT ? bodyOf(payload) : undefined;
    const message = new Message({ method, target, size: body?.size() ?? 0 }, this.#context(), body);
    const hook = `on${phase[0].toUpperCase()}${phase.slice(1)}`;
    const returned = phase === "error" ? this.#plugin.onError(message, payload) : this.#plugin[hook](message);
    return told(settled(returned, hook), payload);
  }

  #context() {
    const claim = (name) => this.#identity?.claims?.[name];
    return {
      requestId: () => "1",
      server: () => "server",
      tenant: () => "default",
      session: () => "session-1",
      identity: () => this.#identity?.subject ?? null,
      protocolVersion: () => "2025-11-25",
      remainingMs: () => 1000,
      claim: (name) => (claim(name) === undefined ? null : JSON.stringify(claim(name))),
      header: (name) => this.headers[name] ?? null,
      attribute: (name) => this.attributes[name] ?? null,
      setAttribute: (name, value) => {
        this.attributes[name] = value;
      },
      setIdentity: (subject, claims) => {
        this.as(subject, Object.fromEntries(claims.map(([name, text]) => [name, JSON.parse(text)])));
      },
    };
  }

  #host() {
    const live = (key) => {
      const entry = this.store.get(key);
      return entry && (entry.until ?? Infinity) > this.now ? entry : undefined;
    };
    const put = (key, value, ttlMs) => {
      const version = (this.store.get(key)?.version ?? 0) + 1;
      this.store.set(key, { value, version, until: ttlMs === null ? undefined : this.now + ttlMs });
      return version;
    };
    return {
      log: { enabled: () => true, write: (level, message) => this.logs.push(`${level}: ${message}`) },
      clock: { nowMs: () => this.now, monotonicNs: () => this.now * 1e6 },
      metrics: { add() {}, set() {}, observe() {} },
      secrets: {
        open() {
          throw { tag: "not-found" };
        },
      },
      kv: {
        get: (key) => {
          const entry = live(key);
          return entry ? { value: bytes(entry.value), version: entry.version } : null;
        },
        set: put,
        compareAndSet: (key, expected, value, ttlMs) =>
          (live(key)?.version ?? null) === expected ? put(key, value, ttlMs) : null,
        increment: (key, by, ttlMs) => {
          const entry = live(key);
          const sum = (entry?.value ?? 0) + by;
          if (entry) entry.value = sum;
          else put(key, sum, ttlMs);
          return sum;
        },
        delete: (key) => void this.store.delete(key),
        keys: (prefix, after, limit) =>
          [...this.store.keys()].filter((key) => key.startsWith(prefix) && key > (after ?? "") && live(key)).sort().slice(0, limit),
      },
    };
  }
}

const bytes = (value) => (typeof value === "number" ? encode(String(value)) : value);

const glob = (pattern, text) =>
  new RegExp(`^${pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`, "s").test(text);

const covers = (interest, method, target) =>
  glob(interest.method, method) && (interest.target === undefined || (target !== null && glob(interest.target, target)));

function bodyOf(payload) {
  const text = payload === undefined ? "" : JSON.stringify(payload);
  const at = (pointer) => {
    const tokens = pointer.split("/").slice(1).map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
    return tokens.reduce((value, token) => (value === null || typeof value !== "object" ? undefined : value[token]), payload);
  };
  return {
    size: () => encode(text).length,
    read: () => text,
    pointer: (pointer) => (at(pointer) === undefined ? null : JSON.stringify(at(pointer))),
    text: (pointer) => (typeof at(pointer) === "string" ? at(pointer) : null),
  };
}

function told({ tag, val }, payload) {
  switch (tag) {
    case "reject":
      return {
        verdict: "reject",
        code: val.code,
        message: val.message,
        ...(val.data !== null && { data: JSON.parse(val.data) }),
        ...(val.retryAfterMs !== null && { retryAfterMs: val.retryAfterMs }),
      };
    case "respond":
      return { verdict: "respond", payload: JSON.parse(val) };
    case "edit":
      return { verdict: "edit", payload: val.tag === "replace" ? JSON.parse(val.val) : patched(payload, val.val) };
    default:
      return { verdict: "next" };
  }
}

function patched(payload, operations) {
  const copy = { root: structuredClone(payload) };
  for (const { pointer, value } of operations) {
    const tokens = `/root${pointer}`.split("/").slice(1).map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
    const last = tokens.pop();
    const parent = tokens.reduce((place, token) => place?.[token], copy);
    if (parent === null || typeof parent !== "object") throw new Error(`the parent of \`${pointer}\` is not there`);
    if (value === null) Array.isArray(parent) ? parent.splice(Number(last), 1) : delete parent[last];
    else if (Array.isArray(parent) && last === "-") parent.push(JSON.parse(value));
    else parent[last] = JSON.parse(value);
  }
  return copy.root;
}
