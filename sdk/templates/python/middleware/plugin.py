"""{{name}}: refuses calls whose arguments contain a forbidden word."""

from dataclasses import dataclass

from fairlead_plugin import Failure, Interest, Manifest, Message, Middleware, Verdict, described, export, visit_strings

FORBIDDEN = 4030
"""JSON-RPC code of a refusal. Codes of your own lie outside of -32768 to -32000."""


@dataclass
class Config:
    """What an operator configures. The host checks it against the JSON Schema that is derived from here."""

    words: list[str] = described("Words that no argument may contain, in whatever case")


@export
class {{type}}(Middleware[Config]):
    """The middleware. It is built once for each instance, and an instance may be thrown away between any two calls: what
    must be remembered belongs into `kv`."""

    # Ask for little: it is never called for anything else, and what nobody asks for is not even parsed.
    manifest = Manifest(
        name="{{name}}",
        version="0.1.0",
        description="Refuses calls whose arguments contain a forbidden word",
        interests=[Interest("tools/call", "request")],
    )
    config_type = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if "" in config.words:
            raise Failure.config("`words` has an empty word, which every text contains")
        self.words = [word.lower() for word in config.words]

    def on_request(self, message: Message) -> Verdict:
        for pointer, text in visit_strings(message.at("/arguments"), "/arguments"):
            lower = text.lower()
            if any(word in lower for word in self.words):
                return Verdict.deny(FORBIDDEN, f"`{pointer}` contains a forbidden word")
        # A hook that returns nothing is a fault, so that a forgotten `return` lets nobody through.
        return Verdict.next()
