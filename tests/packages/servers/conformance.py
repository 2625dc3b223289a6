"""The server that the conformance suite asks for, on the official Python SDK, which speaks both eras of MCP.
Usage: conformance.py stdio | http   (over HTTP on PORT, or a free port, printed as the first line)

The twin of conformance.mjs: names, texts and schemas are those that the suite's scenarios call for. What a tool asks its client
is written once; `need` turns it into a result that wants input, or into a request of the server for the older era.
"""

import asyncio
import base64
import json
import os
import socket
import sys
import uuid

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools.base import Tool
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.shared.exceptions import MCPError

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="


def text(value):
    return types.TextContent(type="text", text=value)


def image():
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri, mime_type, value):
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    return types.EmbeddedResource(type="resource", resource=resource)


def ask(message, properties, required):
    schema = {"type": "object", "properties": properties, "required": required}
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def field(name, kind, message="Please answer"):
    return ask(message, {name: {"type": kind}}, [name])


def sample(question, max_tokens=100):
    messages = [types.SamplingMessage(role="user", content=text(question))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=max_tokens))


ROOTS = types.ListRootsRequest()


async def need(ctx, state=None, **requests):
    """What the client answers, by name; or the result that asks it."""
    if ctx.protocol_version and ctx.protocol_version >= "2026":
        given = ctx.input_responses or {}
        if all(name in given for name in requests):
            return given
        return types.InputRequiredResult(input_requests=requests, request_state=state)
    # On the stream of the call: the other one may not be open yet.
    on = {"related_request_id": ctx.request_id}
    answers = {}
    for name, request in requests.items():
        match request:
            case types.ElicitRequest(params=params):
                answers[name] = await ctx.session.elicit_form(params.message, params.requested_schema, **on)
            case types.CreateMessageRequest(params=params):
                answers[name] = await ctx.session.create_message(params.messages, max_tokens=params.max_tokens, **on)
            case _:
                answers[name] = await ctx.session.list_roots()
    return answers


def wants(answers):
    return isinstance(answers, types.InputRequiredResult)


def accepted(answers, name):
    answer = answers.get(name) if answers else None
    return (answer.content or {}) if answer is not None and getattr(answer, "action", "") == "accept" else None


# Each tool: its function, its schema, and a description.
TOOLS = []
ANYTHING = {"type": "object"}


def tool(description, schema=ANYTHING):
    def register(act):
        made = Tool.from_function(act, description=description, structured_output=False)
        made.parameters = schema
        TOOLS.append(made)
        return act

    return register


@tool("Plain text")
def test_simple_text():
    return "This is a simple text response for testing."


@tool("An image")
def test_image_content():
    return [image()]


@tool("A sound")
def test_audio_content():
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@tool("An embedded resource")
def test_embedded_resource():
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@tool("Text, an image and a resource")
def test_multiple_content_types():
    mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return [text("Multiple content types test:"), image(), mixed]


@tool("Logs while it works")
async def test_tool_with_logging(ctx: Context):
    for data in ["Tool execution started", "Tool processing data", "Tool execution completed"]:
        await ctx.info(data)
        await asyncio.sleep(0.05)
    return "Tool with logging executed successfully"


@tool("Reports progress")
async def test_tool_with_progress(ctx: Context):
    for progress in [0, 50, 100]:
        await ctx.report_progress(progress, 100, f"Completed step {progress} of 100")
        await asyncio.sleep(0.05)
    return "done"


@tool("Fails")
def test_error_handling():
    raise RuntimeError("This tool intentionally returns an error for testing")


@tool("Closes the stream in the middle of the call")
async def test_reconnection(ctx: Context):
    await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return "Reconnection test completed successfully."


@tool("Asks the client for a completion", {"type": "object", "properties": {"prompt": {"type": "string"}}})
async def test_sampling(prompt: str, ctx: Context):
    answers = await need(ctx, input=sample(prompt))
    return answers if wants(answers) else f"LLM response: {answers['input'].content.text}"


async def elicited(ctx, message, properties, required, prefix):
    answers = await need(ctx, input=ask(message, properties, required))
    if wants(answers):
        return answers
    return f"{prefix}: action={answers['input'].action}, content={json.dumps(answers['input'].content or {})}"


@tool("Asks the user", {"type": "object", "properties": {"message": {"type": "string"}}})
async def test_elicitation(message: str, ctx: Context):
    return await elicited(ctx, message, {"response": {"type": "string"}}, ["response"], "User response")


@tool("Asks the user, with defaults")
async def test_elicitation_sep1034_defaults(ctx: Context):
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await elicited(ctx, "Please review the fields", properties, [], "Elicitation completed")


def titled(*names):
    return [{"const": f"value{place}", "title": name} for place, name in enumerate(names, 1)]


@tool("Asks the user to choose")
async def test_elicitation_sep1330_enums(ctx: Context):
    three = ["option1", "option2", "option3"]
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    first, second, third = "First Option", "Second Option", "Third Option"
    many = {"type": "array", "minItems": 1, "maxItems": 3}
    properties = {
        "untitledSingle": {"type": "string", "enum": three},
        "titledSingle": {"type": "string", "oneOf": titled(first, second, third)},
        "legacyEnum": {"type": "string", **legacy},
        "untitledMulti": {**many, "items": {"type": "string", "enum": three}},
        "titledMulti": {**many, "items": {"anyOf": titled("First Choice", "Second Choice", "Third Choice")}},
    }
    return await elicited(ctx, "Please choose", properties, [], "Elicitation completed")


SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@tool("A schema with the vocabulary of 2020-12", SCHEMA_2020_12)
def json_schema_2020_12_tool(name: str = "", phone: str = "", email: str = ""):
    return f"JSON Schema 2020-12 tool called with: {json.dumps({'name': name, 'phone': phone, 'email': email})}"


MIRRORED = {"region": {"type": "string", "x-mcp-header": "Region"}, "level": {"type": "integer"}}


@tool("Mirrors an argument into a header", {"type": "object", "properties": MIRRORED})
def test_x_mcp_header(region: str = "<none>", level: int = 0):
    return f"region={region}"


@tool("Streams nothing but its result")
def test_streaming_elicitation():
    return "no requests on this stream"


@tool("Logs for those who want it")
async def test_logging_tool(ctx: Context):
    await ctx.info("test_logging_tool ran")
    return "logged"


@tool("Asks for a completion")
async def test_missing_capability(ctx: Context):
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs sampling", data)
    answers = await need(ctx, llm_answer=sample("Reply with the single word: pong", 16))
    return answers if wants(answers) else "done"


@tool("Asks for a name")
async def test_input_required_result_elicitation(ctx: Context):
    answers = await need(ctx, user_name=field("name", "string", "What is your name?"))
    return answers if wants(answers) else f"Hello, {accepted(answers, 'user_name').get('name')}!"


@tool("Asks a model")
async def test_input_required_result_sampling(ctx: Context):
    answers = await need(ctx, capital_question=sample("What is the capital of France?"))
    return answers if wants(answers) else f"Sampling response: {answers['capital_question'].content.text}"


@tool("Asks for roots")
async def test_input_required_result_list_roots(ctx: Context):
    answers = await need(ctx, client_roots=ROOTS)
    return answers if wants(answers) else f"Client exposed {len(answers['client_roots'].roots)} root(s)"


async def confirmed(ctx, done):
    answers = await need(ctx, state=uuid.uuid4().hex, confirm=field("ok", "boolean"))
    return answers if wants(answers) else done


@tool("Asks with a state")
async def test_input_required_result_request_state(ctx: Context):
    return await confirmed(ctx, "state-ok: confirmed")


@tool("Takes no state that it has not given")
async def test_input_required_result_tampered_state(ctx: Context):
    return await confirmed(ctx, "integrity-ok")


@tool("Asks three things at once")
async def test_input_required_result_multiple_inputs(ctx: Context):
    wanted = {"user_name": field("name", "string"), "greeting": sample("Generate a greeting", 50), "client_roots": ROOTS}
    answers = await need(ctx, state=uuid.uuid4().hex, **wanted)
    if wants(answers):
        return answers
    name = accepted(answers, "user_name").get("name")
    return f"{answers['greeting'].content.text} {name}, {len(answers['client_roots'].roots)} root(s) visible"


@tool("Asks twice")
async def test_input_required_result_multi_round(ctx: Context):
    state = json.loads(ctx.request_state) if ctx.request_state else {"round": 0}
    if state["round"] == 2:
        color = (accepted(ctx.input_responses, "step2") or {}).get("color", "unknown")
        return f"Multi-round complete: {state['name']} likes {color}"
    if state["round"] == 0:
        requests, state = {"step1": field("name", "string")}, {"round": 1}
    else:
        name = (accepted(ctx.input_responses, "step1") or {}).get("name", "unknown")
        requests, state = {"step2": field("color", "string")}, {"round": 2, "name": name}
    state["nonce"] = uuid.uuid4().hex
    return types.InputRequiredResult(input_requests=requests, request_state=json.dumps(state))


@tool("Asks only what the client can answer")
async def test_input_required_result_capabilities(ctx: Context):
    can = ctx.client_capabilities or types.ClientCapabilities()
    possible = {
        "user_name": (can.elicitation, field("name", "string")),
        "greeting": (can.sampling, sample("Generate a short greeting", 50)),
        "client_roots": (can.roots, ROOTS),
    }
    requests = {name: request for name, (capability, request) in possible.items() if capability is not None}
    if ctx.input_responses or not requests:
        return "answered"
    return types.InputRequiredResult(input_requests=requests)


@tool("Says that the tools have changed")
async def test_trigger_tool_change(ctx: Context):
    await ctx.notify_tools_changed()
    return "said"


@tool("Says that the prompts have changed")
async def test_trigger_prompt_change(ctx: Context):
    await ctx.notify_prompts_changed()
    return "said"


@tool("Says that the watched resource has changed")
async def test_trigger_resource_update(ctx: Context):
    await ctx.notify_resource_updated("test://watched-resource")
    return "said"


server = MCPServer("conformance-server", version="1.0.0", tools=TOOLS, log_level="ERROR")


@server.resource("test://static-text", mime_type="text/plain")
def static_text():
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary():
    return base64.b64decode(PNG)


@server.resource("test://watched-resource", mime_type="text/plain")
def watched():
    return "Watched resource content"


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str):
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.prompt(description="A prompt of the suite")
def test_simple_prompt():
    return [UserMessage(text("This is a simple prompt for testing."))]


@server.prompt(description="A prompt of the suite")
def test_prompt_with_arguments(arg1: str, arg2: str):
    return [UserMessage(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]


@server.prompt(description="A prompt of the suite")
def test_prompt_with_embedded_resource(resourceUri: str):
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(resource), UserMessage(text("Please process the embedded resource above."))]


@server.prompt(description="A prompt of the suite")
def test_prompt_with_image():
    return [UserMessage(image()), UserMessage(text("Please analyze the image above."))]


@server.prompt(description="A prompt of the suite")
async def test_input_required_result_prompt(ctx: Context):
    answers = await need(ctx, user_context=field("context", "string"))
    if wants(answers):
        return answers
    return [UserMessage(text(f"Use the following context: {accepted(answers, 'user_context').get('context')}"))]


@server.completion()
async def complete(_ref, _argument, _context):
    return types.Completion(values=[], total=0, has_more=False)


async def nothing(_ctx, _params):
    return types.EmptyResult()


low = server._lowlevel_server
low.add_request_handler("resources/subscribe", types.SubscribeRequestParams, nothing)
low.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, nothing)
low.add_request_handler("logging/setLevel", types.SetLevelRequestParams, nothing)


class Events(EventStore):
    """What a resumable stream is replayed from."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        place = int(last_event_id)
        stream = self.events[place - 1][0]
        for number, (owner, message) in enumerate(self.events[place:], place + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


if sys.argv[1] == "http":
    port = int(os.environ.get("PORT", "0"))
    if port == 0:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    print(json.dumps({"port": port}), flush=True)
    server.run("streamable-http", host="127.0.0.1", port=port, event_store=Events(), retry_interval=500)
else:
    server.run("stdio")
