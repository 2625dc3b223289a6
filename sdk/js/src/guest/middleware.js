// From a class to the exports of the world `middleware`.

import clock from "fairlead:host/clock@0.1.0";
import kv from "fairlead:host/kv@0.1.0";
import log from "fairlead:host/log@0.1.0";
import metrics from "fairlead:host/metrics@0.1.0";
import secrets from "fairlead:host/secrets@0.1.0";

import { parse } from "../config.js";
import { lowered } from "../failure.js";
import { install } from "../host.js";
import { Message } from "../message.js";
import { settled } from "../verdict.js";
import { interest, manifestOf } from "./manifest.js";

export function guest(Plugin) {
  install({ clock, kv, log, metrics, secrets });
  let plugin;

  const hook = (name) => (head, context, last) => {
    try {
      const isError = name === "onError";
      const message = new Message(head, context, isError ? undefined : last);
      return settled(isError ? plugin.onError(message, rejection(last)) : plugin[name](message), name);
    } catch (thrown) {
      throw lowered(thrown);
    }
  };

  return {
    manifest: manifestOf(Plugin, "middleware"),
    hooks: {
      configure(config) {
        try {
          plugin = new Plugin(parse(config));
          return plugin.interests().map(interest);
        } catch (thrown) {
          throw lowered(thrown);
        }
      },
      onRequest: hook("onRequest"),
      onResponse: hook("onResponse"),
      onError: hook("onError"),
      onEvent: hook("onEvent"),
    },
  };
}

const rejection = ({ code, message, data, retryAfterMs }) => ({
  code,
  message,
  data: data == null ? undefined : JSON.parse(data),
  retryAfterMs: retryAfterMs ?? undefined,
});
