// What the host offers, one object for each interface of `fairlead:host`. Who serves it is put in once: the contract in a
// component, fakes in a test.

import { Failure } from "./failure.js";
import { decode, encode } from "./utf8.js";

let host;

// For `guest/*.js` and `testing.js` only.
export function install(interfaces) {
  host = interfaces;
}

const pairs = (fields) => Object.entries(fields ?? {}).map(([name, value]) => [name, String(value)]);

export const log = {
  enabled: (level) => host.log.enabled(level),
  write: (level, message, fields) => host.log.write(level, String(message), pairs(fields)),
  debug: (message, fields) => log.write("debug", message, fields),
  info: (message, fields) => log.write("info", message, fields),
  warn: (message, fields) => log.write("warn", message, fields),
  error: (message, fields) => log.write("error", message, fields),
};

export const clock = {
  nowMs: () => host.clock.nowMs(),
  monotonicNs: () => host.clock.monotonicNs(),
};

// Asks the host, and turns what it throws into a failure that says what to do.
function asked(doing) {
  try {
    return doing();
  } catch (error) {
    throw failure(error);
  }
}

function failure(error) {
  // Some engines throw the value of the contract, others wrap it.
  const { tag, val } = error?.payload ?? error;
  switch (tag) {
    case "denied":
      return Failure.config("the attachment was not granted this (`kv` or the secret)");
    case "not-found":
      return Failure.config("no secret has this name");
    case "quota":
      return Failure.unavailable(`the state of the attachment is full: ${val}`);
    case "too-large":
      return Failure.internal("a key or a value was too large");
    case "wrong-type":
      return Failure.internal("a stored value is not what was expected");
    case "unavailable":
      return Failure.unavailable(val);
    case "other":
      return new Failure("other", val);
    default:
      return error;
  }
}

const bytes = (value) => (typeof value === "string" ? encode(value) : value);

export const kv = {
  get: (key) => asked(() => host.kv.get(key)) ?? undefined,
  getText: (key) => {
    const entry = kv.get(key);
    return entry && decode(entry.value);
  },
  set: (key, value, { ttlMs } = {}) => asked(() => host.kv.set(key, bytes(value), ttlMs ?? null)),
  compareAndSet: (key, expected, value, { ttlMs } = {}) =>
    asked(() => host.kv.compareAndSet(key, expected ?? null, bytes(value), ttlMs ?? null)) ?? undefined,
  increment: (key, by = 1, { ttlMs } = {}) => asked(() => host.kv.increment(key, by, ttlMs ?? null)),
  delete: (key) => asked(() => host.kv.delete(key)),
  keys: (prefix, { after, limit } = {}) => asked(() => host.kv.keys(prefix, after ?? null, limit ?? 1000)),
};

class Secret {
  #inner;

  constructor(inner) {
    this.#inner = inner;
  }

  asHeader(template) {
    return this.#inner.asHeader(template);
  }

  reveal() {
    return asked(() => this.#inner.reveal());
  }
}

export const secrets = {
  open: (name) => new Secret(asked(() => host.secrets.open(name))),
};

export const metrics = {
  add: (name, by = 1, labels) => host.metrics.add(name, by, pairs(labels)),
  set: (name, value, labels) => host.metrics.set(name, value, pairs(labels)),
  observe: (name, value, labels) => host.metrics.observe(name, value, pairs(labels)),
};
