"""The doorkeeper in Python. It exists in four languages with one table of cases, `../cases.json`."""

from dataclasses import dataclass
from typing import Optional

from fairlead_plugin import (
    Capability, Failure, Interest, Manifest, Message, Middleware, Rejection, Verdict, described, export, kv,
)

BLOCKED = 4030
NAMELESS = 4000
TOO_MANY = 4290
MINUTE_MS = 60_000
BY = "doorkeeper.by"


@dataclass
class Config:
    """What an operator configures. What is absent is not guarded."""

    blocked: list[str] = described("Tools that nobody may call; `*` at the end stands for any rest", default=[])
    mask: list[str] = described("Places of texts that the server must not see, as JSON pointers", default=[])
    perMinute: Optional[int] = described("Calls of one caller in a minute", default=None, minimum=1)
    maxResultBytes: Optional[int] = described("Largest result that a client gets", default=None, minimum=0)
    trustHeader: Optional[str] = described("Header that says who calls, where nothing else does", default=None)


@export
class Doorkeeper(Middleware[Config]):
    manifest = Manifest(
        name="doorkeeper",
        version="0.1.0",
        description="blocks tools, limits callers, masks arguments, withholds large results",
        interests=[
            Interest("tools/call", "request", "response", "error"),
            Interest("notifications/message", "event"),
        ],
        capabilities=[Capability("kv", "counts the calls of each caller")],
    )
    config_type = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if "" in config.blocked:
            raise Failure.config("`blocked` has an empty pattern, which blocks nothing")
        for pointer in config.mask:
            if not pointer.startswith("/"):
                raise Failure.config(f"`{pointer}` in `mask` is no JSON pointer")

    @classmethod
    def validate(cls, config: Config) -> list[str]:
        cls(config)
        idle = not config.blocked and not config.mask and config.perMinute is None and config.maxResultBytes is None
        return ["nothing is guarded"] if idle else []

    def on_request(self, message: Message) -> Verdict:
        tool, config = message.target, self.config
        if tool is None:
            return Verdict.deny(NAMELESS, "the call names no tool")
        who = self._who(message)
        if any(_matches(pattern, tool) for pattern in config.blocked):
            data = {"tool": tool, "tenant": message.context.tenant}
            return Verdict.reject(Rejection(BLOCKED, f"`{tool}` is blocked", data))
        if config.perMinute is not None and kv.increment(f"calls/{who}", ttl_ms=MINUTE_MS) > config.perMinute:
            return Verdict.reject(Rejection(TOO_MANY, f"too many calls by {who}", retry_after_ms=MINUTE_MS))
        if tool == "ping":
            return Verdict.respond({"content": [{"type": "text", "text": "pong"}]})
        other = message.text("/arguments/redirect")
        if other is not None:
            return Verdict.replace({"name": other, "arguments": {}})
        message.context.set_attribute(BY, who)
        patch = Verdict.patch()
        for pointer in config.mask:
            if message.text(pointer) is not None:
                patch.set(pointer, "***")
        if message.pointer("/arguments/drop") is not None:
            patch.remove("/arguments/drop")
        return patch

    def on_response(self, message: Message) -> Verdict:
        most = self.config.maxResultBytes
        if most is not None and message.size > most:
            text = f"{message.size} bytes were withheld"
            return Verdict.replace({"content": [{"type": "text", "text": text}], "isError": True})
        who = message.context.attribute(BY)
        if who is not None and message.pointer("/isError") == "true":
            return Verdict.patch().set("/by", who)
        return Verdict.next()

    def on_error(self, message: Message, error: Rejection) -> Verdict:
        match error.code:
            case -32601:
                return Verdict.reject(Rejection(4040, "there is no such tool", error.data))
            case 5001:
                return Verdict.respond({"content": [], "isError": True})
        return Verdict.next()

    def on_event(self, message: Message) -> Verdict:
        if message.text("/level") == "debug":
            return Verdict.deny(1, "debug is not for clients")
        if (message.text("/data") or "").startswith("secret:"):
            return Verdict.patch().set("/data", "***")
        return Verdict.next()

    def _who(self, message: Message) -> str:
        context, header = message.context, self.config.trustHeader
        known = context.identity
        if known is not None:
            return known
        named = context.header(header) if header is not None else None
        if named is None:
            return "anonymous"
        context.set_identity(named, {"via": "header"})
        return named


def _matches(pattern: str, tool: str) -> bool:
    return tool.startswith(pattern[:-1]) if pattern.endswith("*") else tool == pattern
