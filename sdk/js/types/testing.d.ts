/** The test kit: a middleware as plain JavaScript, with a host of fakes. */

import type { Rejection } from "./index.js";

/** What came of one message. */
export interface Outcome {
  verdict: "next" | "edit" | "respond" | "reject" | "not-called";
  /** What goes on after an edit, or the result of `respond`. */
  payload?: any;
  code?: number;
  message?: string;
  data?: any;
  retryAfterMs?: number;
}

/** A middleware in a host of fakes. One at a time: the fakes are shared by the whole process. */
export class Harness<C = any> {
  constructor(plugin: new (config: C) => unknown, config?: C);
  /** The time, in milliseconds; set it to let time pass. */
  now: number;
  readonly logs: string[];
  readonly attributes: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly identity: string | undefined;
  /** Who calls from now on. */
  as(subject: string, claims?: Record<string, unknown>): this;
  request(method: string, params?: unknown, more?: { target?: string }): Outcome;
  response(method: string, result: unknown, more?: { target?: string }): Outcome;
  event(method: string, params?: unknown, more?: { target?: string }): Outcome;
  error(method: string, error: Rejection, more?: { target?: string }): Outcome;
}
