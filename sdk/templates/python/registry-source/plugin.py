"""{{name}}: yields the MCP servers that its configuration names, one page after the other."""

import json
from dataclasses import asdict, dataclass

from fairlead_plugin import Failure, Manifest, RegistrySource, described, export
from fairlead_plugin.registry import Answer, Entry, Page, Request


@dataclass
class Server:
    """One server."""

    name: str = described("Name as in `server.json`: reverse DNS with one `/`")
    version: str = described("Version as in `server.json`")
    description: str = described("One sentence")


@dataclass
class Config:
    """What an operator configures."""

    servers: list[Server] = described("The servers, in order")


@export
class {{type}}(RegistrySource[Config]):
    """The source. One instance for each synchronisation; nothing is kept between two of them but cursor, checkpoint and
    `kv`."""

    manifest = Manifest("{{name}}", "0.1.0", "Yields the MCP servers that its configuration names")
    config_type = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        for server in config.servers:
            if server.name.count("/") != 1:
                raise Failure.config(f"the name `{server.name}` needs exactly one `/`")

    def enumerate(self, request: Request) -> Answer:
        # The cursor is ours: here the place in the list. The same request must give the same entries.
        if request.cursor is not None and not request.cursor.isdecimal():
            raise Failure.upstream("the cursor is none of mine")
        start, servers = int(request.cursor or 0), self.config.servers
        end = start + max(request.limit, 1)
        entries = [Entry(server.name, server.version, json.dumps(asdict(server))) for server in servers[start:end]]
        return Page(entries, next=str(end) if end < len(servers) else None)
