"""One question, by the official Python SDK. Usage: ask.py URL TOOL ARGUMENTS"""

import asyncio
import json
import sys

from mcp.client.client import Client

URL, TOOL, ARGUMENTS = sys.argv[1:4]


async def main():
    async with Client(URL) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool(TOOL, json.loads(ARGUMENTS))
        said = result.model_dump_json()
        print(json.dumps({"server": client.server_info.name, "tools": tools, "said": said}))


asyncio.run(main())
