"""The official Python SDK (`mcp`) against server-everything. Usage: python.py URL [MARKER]
or, over stdio: python.py stdio MARKER COMMAND [ARGS...]. A URL that ends in /sse is spoken to over HTTP+SSE.

The same steps as exercise.mjs, and the same report. The client is used as it comes: it asks for the newest revision
first and falls back to the handshake.
"""

import asyncio
import json
import os
import sys

import mcp_types as types
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters

ENDPOINT = sys.argv[1]
MARKER = sys.argv[2] if len(sys.argv) > 2 else "marker"
asked = {"sampling": 0, "elicitation": 0, "roots": 0}


async def sampling(_context, _params):
    asked["sampling"] += 1
    content = types.TextContent(type="text", text=MARKER)
    return types.CreateMessageResult(model="none", role="assistant", stop_reason="endTurn", content=content)


async def elicitation(_context, _params):
    asked["elicitation"] += 1
    return types.ElicitResult(action="accept", content={"name": MARKER, "check": True})


async def roots(_context):
    asked["roots"] += 1
    return types.ListRootsResult(roots=[types.Root(uri=f"file:///{MARKER}", name=MARKER)])


def server():
    if ENDPOINT == "stdio":
        return StdioServerParameters(command=sys.argv[3], args=sys.argv[4:], env=dict(os.environ))
    return sse_client(ENDPOINT) if ENDPOINT.endswith("/sse") else ENDPOINT


def texts(result):
    return "\n".join(part.text for part in result.content if part.type == "text")


async def refused(client):
    try:
        return (await client.call_tool("no-such-tool", {})).is_error
    except Exception:
        return True


async def main():
    client = Client(
        server(), sampling_callback=sampling, elicitation_callback=elicitation, list_roots_callback=roots
    )
    async with client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        resources = [resource.uri for resource in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
        prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
        resource = await client.read_resource(resources[0])
        prompt = await client.get_prompt("args-prompt", {"city": MARKER})
        echo = await client.call_tool("echo", {"message": MARKER})
        total = await client.call_tool("get-sum", {"a": 2, "b": 40})

        progress = []

        async def on_progress(step, _total, _message):
            progress.append(step)

        arguments = {"duration": 1, "steps": 4}
        long = await client.call_tool("trigger-long-running-operation", arguments, progress_callback=on_progress)
        sampled = await client.call_tool("trigger-sampling-request", {"prompt": "hello"})
        elicited = await client.call_tool("trigger-elicitation-request", {})
        report = {
            "server": client.server_info.name,
            "session": client.protocol_version < "2026",
            "tools": sorted(tools),
            "resources": len(resources),
            "templates": len(templates),
            "prompts": sorted(prompts),
            "resource": len(resource.contents),
            "prompt": prompt.messages[0].content.text,
            "echo": texts(echo),
            "sum": texts(total),
            "progress": progress,
            "long": texts(long),
            "sampling": MARKER in texts(sampled),
            "elicitation": MARKER in texts(elicited),
            "unknown": "refused" if await refused(client) else "accepted",
            "asked": asked,
        }
    print(json.dumps(report))


asyncio.run(main())
