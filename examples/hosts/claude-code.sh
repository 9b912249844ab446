claude mcp add --scope user pyro -- pyro mcp serve
