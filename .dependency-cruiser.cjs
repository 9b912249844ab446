// The one-way doors between rooms, as ARCHITECTURE.md draws them.
const only = (room, allowed) => ({
  name: `${room}-imports-only-${allowed.length > 0 ? allowed.join("-") : "nothing"}`,
  severity: "error",
  from: { path: `^src/${room}/` },
  to: { path: "^src/", pathNot: [room, ...allowed].map((name) => `^src/${name}/`) },
});

module.exports = {
  forbidden: [
    { name: "no-circular", severity: "error", from: {}, to: { circular: true } },
    only("protocol", []),
    only("kit", ["protocol"]),
    only("vmm", ["protocol", "kit"]),
    only("image", ["protocol", "kit", "oci"]),
    only("network", ["protocol", "kit"]),
    only("oci", ["protocol", "kit"]),
    only("guest", ["protocol", "kit"]),
    only("workspace", ["protocol", "kit"]),
    // Pure rooms: no door to the rest of the workspace.
    only("workspace/patch", ["protocol", "kit"]),
    only("workspace/diff", ["protocol", "kit"]),
    only("workspace/secrets", ["protocol", "kit"]),
    only("build", ["protocol", "kit", "image", "workspace"]),
    only("daemon", ["protocol", "kit", "vmm", "image", "oci", "network", "guest", "workspace", "build"]),
    only("sdk", ["protocol", "kit"]),
    only("chat-hosts", ["protocol", "kit"]),
    only("operations", ["protocol", "kit", "sdk", "chat-hosts"]),
    only("cli", ["protocol", "kit", "sdk", "operations", "mcp"]),
    only("mcp", ["protocol", "kit", "sdk", "operations"]),
    only("integrations", ["protocol", "kit", "sdk", "operations", "mcp"]),
    // Starting stays quick: what a bundle's index names is loaded by every command, used or not.
    {
      name: "table-of-operations-brings-none-along",
      severity: "error",
      from: { path: "^src/operations/[^/]+\\.ts$" },
      to: { path: "^src/operations/[^/]+/", dynamic: false, dependencyTypesNot: ["type-only"] },
    },
    {
      name: "client-reads-descriptions-when-it-calls",
      severity: "error",
      from: { path: "^src/sdk/" },
      to: {
        path: "^src/protocol/gen/",
        pathNot: "/error_pb\\.ts$",
        dynamic: false,
        dependencyTypesNot: ["type-only"],
      },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
  },
};
