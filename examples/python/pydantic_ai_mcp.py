"""Pydantic AI: pyro's tools over MCP. Any framework for Python that speaks MCP takes the same command line.

npm install -g pyro-mcp && pip install -r requirements.txt && ANTHROPIC_API_KEY=… python pydantic_ai_mcp.py
"""

import asyncio
import os
import shlex

from fastmcp.client.transports import StdioTransport
from pydantic_ai import Agent, FunctionToolCallEvent
from pydantic_ai.mcp import MCPToolset

# Another command line, as in PYRO="npx -y pyro-mcp", where pyro is not installed for the whole machine.
program, *arguments = shlex.split(os.environ.get("PYRO", "pyro"))
server = StdioTransport(
    command=program,
    args=[*arguments, "mcp", "serve", "--profile", "vm-run"],
    keep_alive=False,
)


async def show(_context, events):
    async for event in events:
        if isinstance(event, FunctionToolCallEvent):
            print(f"-> {event.part.tool_name} {event.part.args}")


async def main():
    agent = Agent("anthropic:claude-opus-4-8", toolsets=[MCPToolset(server, include_instructions=True)])
    async with agent:
        result = await agent.run(
            "Which version of Python does debian:12 have? Run it to see.",
            event_stream_handler=show,
        )
    print(result.output)


asyncio.run(main())
