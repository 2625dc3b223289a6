/** Write Fairlead plugins in JavaScript or TypeScript. */

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

// === configuration ===

/** The schema of a part of a configuration, which is also its type. */
export interface Schema<T> {
  /** What an operator reads about it. */
  describe(description: string): Schema<T>;
  /** Further keywords of JSON Schema, such as `minimum` or `pattern`. */
  with(keywords: { [name: string]: Json }): Schema<T>;
  toJSON(): Json;
  readonly required: boolean;
}

/** The type of a configuration: `type Config = Infer<typeof config>`. */
export type Infer<S> = S extends Schema<infer T> ? T : never;

type Fields<F extends Record<string, Schema<unknown>>> = {
  [N in keyof F as undefined extends Infer<F[N]> ? never : N]: Infer<F[N]>;
} & { [N in keyof F as undefined extends Infer<F[N]> ? N : never]?: Infer<F[N]> };

export function string(): Schema<string>;
export function number(): Schema<number>;
export function integer(): Schema<number>;
export function boolean(): Schema<boolean>;
export function enumeration<T extends string>(...values: T[]): Schema<T>;
export function array<T>(items: Schema<T>): Schema<T[]>;
export function map<T>(values: Schema<T>): Schema<Record<string, T>>;
/** A field that may be absent. */
export function optional<T>(schema: Schema<T>): Schema<T | undefined>;
/** An object with these fields and no others: a misspelt setting is an error. */
export function object<F extends Record<string, Schema<unknown>>>(fields: F): Schema<Fields<F>>;

// === manifest ===

/** The moments at which a middleware can be called. */
export type Phase = "request" | "response" | "error" | "event";

/** What a middleware wants to be called for. The host never calls it for anything else. */
export interface Interest {
  /** A method or a pattern with `*`: `tools/call`, `tools/*`, `*`. */
  method: string;
  /** A pattern for the name of a tool or prompt, or the URI of a resource. */
  target?: string;
  phases: Phase[];
}

/** Something that the host gives only when the operator granted it. */
export interface Capability {
  name: "kv" | "secrets" | "secrets-reveal" | "http" | (string & {});
  scope?: string[];
  /** One sentence for the person who grants it. */
  reason?: string;
}

/** Who the plugin is and what it wants. */
export interface Manifest {
  /** Lower-case letters, digits and `-`; at most 63 characters. */
  name: string;
  version: string;
  /** One sentence: what it is for. */
  description: string;
  interests?: Interest[];
  capabilities?: Capability[];
  attributes?: Record<string, string>;
}

// === middleware ===

/** Decides what a request, a response or a streamed event may do. A hook that is not written lets the message go on. */
export abstract class Middleware<C = unknown> {
  static manifest: Manifest;
  static config?: Schema<any>;
  /** Checks what a schema cannot say, and warns. The default builds an instance and has no warnings. */
  static validate(config: any): string[];
  readonly config: C;
  /** Builds an instance. Throw `Failure.config` when the configuration cannot be used. */
  constructor(config: C);
  /** What this instance wants to be called for: the interests of the manifest or fewer. */
  interests(): Interest[];
  /** A request or notification on its way to the server. */
  onRequest(message: Message): Returned;
  /** A result on its way back. */
  onResponse(message: Message): Returned;
  /** A JSON-RPC error on its way back. The message has no body. */
  onError(message: Message, error: Rejection): Returned;
  /** A message that the server sent on a stream. */
  onEvent(message: Message): Returned;
}

/** What a hook returns. Returning nothing is a fault: a forgotten `return` must let nobody through. */
export type Returned = Verdict | Patch;

declare const verdict: unique symbol;

/** What shall happen to a message; made by the functions below. */
export interface Verdict {
  readonly [verdict]: true;
}

/** The code of a refusal that needs no finer one. */
export const REJECTED: 4030;

/** Go on, unchanged. */
export function next(): Verdict;
/** Refuse, with a JSON-RPC error code and a text for the person at the client. */
export function deny(code: number, message: string): Verdict;
/** Refuse, with everything that a refusal can say. */
export function reject(rejection: Rejection): Verdict;
/** Answer with this result. */
export function respond(result: unknown): Verdict;
/** Go on with another payload. */
export function replace(payload: unknown): Verdict;
/** Go on with some places changed. An empty patch changes nothing. */
export function patch(): Patch;

/** A refusal: a decision, not a fault. */
export interface Rejection {
  code: number;
  message: string;
  /** Sent as `error.data`. */
  data?: unknown;
  /** How long the client should wait before it tries again. */
  retryAfterMs?: number;
}

/** A list of changes, applied in order. */
export class Patch {
  /** Puts a value at an RFC 6901 pointer, whose parent must exist. */
  set(pointer: string, value: unknown): this;
  /** Like `set`, with JSON text that is put there as it is. */
  setJson(pointer: string, json: string): this;
  /** Removes what is at a pointer. */
  remove(pointer: string): this;
  readonly isEmpty: boolean;
}

/** The message under decision. Lent for one call of a hook: keep nothing of it. */
export class Message {
  /** Method of the request; for a response, that of the request it answers. */
  readonly method: string;
  /** Name of the tool or prompt, or URI of the resource, when the method has one. */
  readonly target: string | undefined;
  /** Length of the payload in bytes. */
  readonly size: number;
  readonly context: Context;
  /** The whole payload as JSON text; `null` where there is none. */
  read(): string;
  /** The whole payload, parsed. */
  parse(): any;
  /** The JSON text at an RFC 6901 pointer. */
  pointer(pointer: string): string | undefined;
  /** The value at a pointer, parsed. Cheaper than `parse`. */
  at(pointer: string): any;
  /** The string at a pointer; nothing when there is none or something else. The cheapest of all. */
  text(pointer: string): string | undefined;
}

/** Where a message comes from and where it goes to. */
export class Context {
  readonly requestId: string | undefined;
  readonly server: string;
  readonly tenant: string;
  readonly session: string | undefined;
  readonly identity: string | undefined;
  readonly protocolVersion: string | undefined;
  readonly remainingMs: number;
  claim(name: string): any;
  header(name: string): string | undefined;
  attribute(name: string): string | undefined;
  setAttribute(name: string, value: string): void;
  setIdentity(subject: string, claims?: Record<string, unknown>): void;
}

/** The plugin could not do its work. Never a decision: the host answers it with the failure mode of the attachment. */
export class Failure extends Error {
  constructor(kind: "config" | "upstream" | "unavailable" | "internal" | "other", message: string);
  readonly kind: string;
  static config(message: string): Failure;
  static upstream(message: string): Failure;
  static unavailable(message: string): Failure;
  static internal(message: string): Failure;
}

/** Calls `visit` for every string in a value, keys excepted, with the RFC 6901 pointer of its place. */
export function visitStrings(value: unknown, visit: (pointer: string, text: string) => void, pointer?: string): void;

// === host ===

type Level = "trace" | "debug" | "info" | "warn" | "error";
type Texts = Record<string, unknown>;

/** Structured log records. Never put a secret or the arguments of a call into one. */
export const log: Record<"debug" | "info" | "warn" | "error", (message: string, fields?: Texts) => void> & {
  enabled(level: Level): boolean;
  write(level: Level, message: string, fields?: Texts): void;
};

/** Time. */
export const clock: { nowMs(): number; monotonicNs(): number };

/** Small state that outlives an instance, scoped to (tenant, attachment). Needs the capability `kv`. Throws `Failure`. */
export const kv: {
  get(key: string): { value: Uint8Array; version: number } | undefined;
  getText(key: string): string | undefined;
  set(key: string, value: string | Uint8Array, options?: { ttlMs?: number }): number;
  compareAndSet(
    key: string,
    expected: number | undefined,
    value: string | Uint8Array,
    options?: { ttlMs?: number },
  ): number | undefined;
  /** Only a new or expired counter takes `ttlMs`. */
  increment(key: string, by?: number, options?: { ttlMs?: number }): number;
  delete(key: string): void;
  keys(prefix: string, options?: { after?: string; limit?: number }): string[];
};

/** Secrets by reference. Needs the capability `secrets`. */
export const secrets: {
  open(name: string): {
    /** A placeholder for a header such as `Bearer {}`; the host puts the value in when the request leaves. */
    asHeader(template: string): string;
    /** The value itself. Needs `secrets-reveal`. */
    reveal(): Uint8Array;
  };
};

/** Metrics. The host prefixes the name with that of the plugin. */
export const metrics: {
  add(name: string, by?: number, labels?: Texts): void;
  set(name: string, value: number, labels?: Texts): void;
  observe(name: string, value: number, labels?: Texts): void;
};

// === registry source ===

/** Yields entries of an MCP registry, page by page. One instance for each synchronisation. */
export abstract class RegistrySource<C = unknown> {
  static manifest: Manifest;
  static config?: Schema<any>;
  static validate(config: any): string[];
  readonly config: C;
  constructor(config: C);
  features(): ("incremental" | "versions" | "removals")[];
  /** One page. The same request may come again after a failure and must give the same entries. */
  abstract enumerate(request: PageRequest): Page | "unmodified" | { resync: string };
  /** Keeps, changes or drops one entry of another source. */
  transform(entry: Entry): Entry | undefined;
}

export interface PageRequest {
  cursor?: string;
  since?: string;
  limit: number;
  etag?: string;
}

export interface Page {
  entries: Entry[];
  removed?: { name: string; version?: string }[];
  next?: string;
  checkpoint?: string;
  etag?: string;
}

export interface Entry {
  name: string;
  version: string;
  /** The document: `server.json` as JSON text. */
  serverJson: string;
  status?: "active" | "deprecated" | "deleted";
  publishedMs?: number;
  updatedMs?: number;
  isLatest?: boolean;
  attributes?: Record<string, string>;
}

// === update policy ===

/** Decides whether, when and how a newer artifact replaces the running one: a pure function of facts. */
export abstract class UpdatePolicy {
  static manifest: Manifest;
  static config?: Schema<any>;
  static validate(config: any): string[];
  static decide(facts: Facts, config: any): Decision;
}

/** The facts of the contract (`wit/deps/fairlead-update-policy/policy.wit`), with its names in camel case. */
export type Facts = any;

/** What to do. */
export type Decision = { trace?: string[] } & (
  | { decision: "up-to-date" }
  | { decision: "hold"; reason?: string; detail?: string; pin?: string; until?: number }
  | { decision: "notify"; pin: string; detail?: string; urgent?: boolean }
  | {
      decision: "update";
      pin: string;
      strategy?: "surge-then-switch" | "rolling" | "recreate";
      onFailure?: "roll-back" | "leave" | "scale-to-zero";
      minReadyMs?: number;
      deadlineMs?: number;
      drainMs?: number;
    }
  | { decision: "rollback"; pin: string; detail?: string }
);
