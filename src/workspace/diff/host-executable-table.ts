/** A kind of file that programs on the host act upon, and why. */
export interface HostExecutableRule {
  /**
   * Trailing components of a path, in any directory and in any case: `*` stands for any characters of one component,
   * a last component `**` for everything below, `{a,b}` for one of them.
   */
  readonly paths: readonly string[];
  /** One line, read after the path. */
  readonly why: string;
  /** Where the content is known: whether it really holds what runs. */
  readonly only?: RegExp;
}

const GIT: readonly HostExecutableRule[] = [
  { paths: [".git/hooks/**"], why: "git runs it as a hook" },
  {
    paths: [".git/config", ".git/config.worktree", ".git/modules/**", ".gitconfig"],
    why: "git configuration: can name hooks, filters and programs that git runs",
  },
  {
    paths: [".husky/**", ".githooks/**", ".hooks/**"],
    why: "a directory of git hooks, once the project is set up",
  },
  {
    paths: [
      "{lefthook,.lefthook}{,-local}.{yml,yaml,toml,json}",
      ".pre-commit-config.{yml,yaml}",
      ".pre-commit-hooks.yaml",
      ".overcommit.yml",
      ".lintstagedrc*",
    ],
    why: "names commands that git hooks run",
  },
  {
    paths: [".gitattributes", ".git/info/attributes"],
    why: "chooses filters and drivers that git runs",
    only: /\b(?:filter|diff|merge)=/,
  },
  { paths: [".gitmodules"], why: "names repositories that git fetches and checks out" },
];

const EDITORS: readonly HostExecutableRule[] = [
  {
    paths: [".vscode/tasks.json", ".vscode/launch.json"],
    why: "an editor task: can run when the folder is opened",
  },
  {
    paths: [".vscode/settings.json", "*.code-workspace", ".zed/settings.json"],
    why: "editor settings: can name shells, interpreters and tools that the editor starts",
  },
  {
    paths: [".devcontainer/**", ".devcontainer.json"],
    why: "a development container: can run commands on the host (initializeCommand)",
  },
  {
    paths: [
      ".idea/runConfigurations/**",
      ".run/**",
      ".idea/{workspace,watcherTasks,externalDependencies,tools}.xml",
      ".idea/tools/**",
    ],
    why: "a run configuration or file watcher of the IDE",
  },
  {
    paths: [".zed/{tasks,debug}.json", ".fleet/run.json", "*.sublime-project", ".externalToolBuilders/**"],
    why: "editor tasks or build systems",
  },
  {
    paths: [
      ".exrc",
      ".vimrc",
      ".gvimrc",
      ".nvimrc",
      ".nvim.lua",
      ".lvimrc",
      ".dir-locals.el",
      ".dir-locals-2.el",
    ],
    why: "the editor reads it as a program when a file here is opened",
  },
];

const AGENTS: readonly HostExecutableRule[] = [
  {
    paths: [".claude/settings{,.local}.json", ".claude/hooks/**"],
    why: "agent settings: hooks and permissions on the host",
  },
  {
    paths: [
      ".mcp.json",
      "mcp.json",
      ".cursor/{mcp,hooks}.json",
      ".vscode/mcp.json",
      "opencode.{json,jsonc}",
      ".codex/**",
      ".gemini/**",
      ".cursor/hooks/**",
      ".roo/mcp.json",
      ".amazonq/**",
      ".kiro/**",
      ".continue/**",
      ".aider.conf.yml",
    ],
    why: "agent settings: can start servers, hooks and commands on the host",
  },
  {
    paths: [
      ".opencode/**",
      ".claude/**",
      ".agents/**",
      ".windsurf/**",
      ".clinerules/**",
      ".roo/**",
      ".cursor/**",
    ],
    why: "commands, plugins, skills or rules that an agent on the host follows",
  },
  {
    paths: [
      "CLAUDE{,.local}.md",
      "AGENTS{,.override}.md",
      "AGENT.md",
      "GEMINI.md",
      "QWEN.md",
      ".cursorrules",
      ".windsurfrules",
      ".clinerules",
      ".roorules",
      ".goosehints",
      ".github/copilot-instructions.md",
      ".github/instructions/**",
      ".github/prompts/**",
    ],
    why: "instructions that an agent on the host follows",
  },
];

const PACKAGES: readonly HostExecutableRule[] = [
  {
    paths: ["package.json"],
    why: "package scripts: run by npm install and npm test",
    only: /"(?:scripts|bin|lint-staged|husky|simple-git-hooks|pre-commit|gypfile|packageManager)"\s*:/,
  },
  {
    paths: ["composer.json", "deno.{json,jsonc}"],
    why: "package scripts or tasks",
    only: /"(?:scripts|tasks|plugins|allow-plugins)"\s*:/,
  },
  {
    paths: [".npmrc", ".yarnrc", ".yarnrc.yml", "bunfig.toml", "pnpm-workspace.yaml"],
    why: "package manager settings: can choose registries, shells and programs",
  },
  {
    paths: [
      ".pnpmfile.{cjs,mjs,js}",
      ".yarn/{releases,plugins,sdks}/**",
      ".pnp.{cjs,loader.mjs}",
      "binding.gyp",
    ],
    why: "code that the package manager runs",
  },
  {
    paths: [
      "setup.py",
      "conftest.py",
      "noxfile.py",
      "tasks.py",
      "fabfile.py",
      "dodo.py",
      "{site,user}customize.py",
      "*.pth",
    ],
    why: "Python code that installing, testing or starting Python here runs",
  },
  {
    paths: ["pyproject.toml"],
    why: "build backend, plugins or tasks that Python tools run",
    only: /^\s*\[(?:build-system|tool\.(?:poe|pdm|hatch|taskipy|poetry|pytest|tox|uv|pixi))\b/m,
  },
  {
    paths: ["setup.cfg", "tox.ini", "pytest.ini", ".pylintrc", "pixi.toml"],
    why: "Python tool settings: can name plugins and commands",
  },
  {
    paths: ["build.rs", ".cargo/config{,.toml}", "rust-toolchain{,.toml}"],
    why: "cargo runs it, or a program that it names",
  },
  {
    paths: [
      "Gemfile",
      "Rakefile",
      "*.gemspec",
      "*.rake",
      ".irbrc",
      ".pryrc",
      "Podfile",
      "Fastfile",
      "Dangerfile",
      "Brewfile",
    ],
    why: "Ruby code that bundler, rake or the like runs",
  },
  {
    paths: [
      "*.gradle{,.kts}",
      "gradlew{,.bat}",
      "gradle/wrapper/**",
      "pom.xml",
      "mvnw{,.cmd}",
      ".mvn/**",
      "build.sbt",
      "project/*.sbt",
      "build.xml",
      "build.sc",
    ],
    why: "a build of the Java world: runs its plugins and tasks",
  },
  {
    paths: [
      "*.{csproj,fsproj,vbproj,vcxproj,sln}",
      "*.{targets,props}",
      "Directory.Build.*",
      "mix.exs",
      "rebar.config{,.script}",
      "dune-project",
      "Setup.hs",
      "build.zig",
      "Package.swift",
      "build.boot",
      "project.clj",
    ],
    why: "a build file: building runs what it says",
  },
  {
    paths: ["*.config.{js,cjs,mjs,ts,mts,cts}", ".*rc.{js,cjs,mjs,ts}", "{gulpfile,gruntfile}.*"],
    why: "JavaScript that a build, lint or test tool loads",
  },
];

const BUILDS: readonly HostExecutableRule[] = [
  {
    paths: ["Makefile", "GNUmakefile", "Makefile.{am,in,inc,common,local}", "*.{mk,mak}"],
    why: "make runs its recipes",
  },
  {
    paths: [
      "justfile",
      ".justfile",
      "*.just",
      "Taskfile{,.dist}.{yml,yaml}",
      "Earthfile",
      "Tiltfile",
      "Procfile",
      "Vagrantfile",
      "magefile.go",
      "Snakefile",
    ],
    why: "a task runner runs what it says",
  },
  {
    paths: [
      "CMakeLists.txt",
      "*.cmake",
      "CMakePresets.json",
      "configure",
      "configure.ac",
      "meson.build",
      "SConstruct",
      "SConscript",
      "wscript",
      "BUILD{,.bazel}",
      "WORKSPACE{,.bazel}",
      "MODULE.bazel",
      ".bazelrc",
      "*.bzl",
    ],
    why: "a build system runs what it says",
  },
  {
    paths: [
      "Dockerfile",
      "Dockerfile.*",
      "*.dockerfile",
      "Containerfile",
      "{docker-,}compose{,.*}.{yml,yaml}",
    ],
    why: "builds or starts containers on the host, with the mounts that it asks for",
  },
  {
    paths: [
      ".github/workflows/**",
      ".github/actions/**",
      ".gitlab-ci.yml",
      ".gitlab/**",
      ".circleci/**",
      "Jenkinsfile",
      "azure-pipelines.{yml,yaml}",
      ".travis.yml",
      "bitbucket-pipelines.yml",
      ".drone.{yml,jsonnet}",
      ".woodpecker{,.yml,.yaml}",
      ".woodpecker/**",
      ".buildkite/**",
      "appveyor.yml",
      ".cirrus.yml",
      ".forgejo/workflows/**",
      ".gitea/workflows/**",
    ],
    why: "CI runs it, with the project's credentials, once it is pushed",
  },
];

const SHELLS: readonly HostExecutableRule[] = [
  {
    paths: [".envrc", ".direnvrc", ".autoenv.zsh"],
    why: "the shell runs it on entering the directory, once allowed",
  },
  {
    paths: [
      "{mise,.mise}{,.local}.toml",
      ".mise/**",
      ".config/mise/**",
      ".tool-versions",
      "flake.nix",
      "{shell,default,devenv}.nix",
      ".nvmrc",
    ],
    why: "chooses or builds the tools that run here",
  },
  {
    paths: [
      ".{bash,zsh,k}rc",
      ".{bash_,}{profile,login,logout,aliases}",
      ".z{shenv,profile,login,logout}",
      ".gdbinit",
      ".lldbinit",
      ".inputrc",
      ".tmux.conf",
      ".screenrc",
    ],
    why: "a shell, debugger or terminal runs it at start when it lies in a home or working directory",
  },
  {
    paths: ["*.desktop", "*.{service,timer,socket}", "crontab", "cron.*/**", ".ssh/**"],
    why: "the desktop, systemd, cron or ssh act upon it where it is installed",
  },
];

/** In the order in which they are asked: the first that fits gives the reason. */
export const HOST_EXECUTABLE_RULES: readonly HostExecutableRule[] = [
  ...GIT,
  ...EDITORS,
  ...AGENTS,
  ...PACKAGES,
  ...BUILDS,
  ...SHELLS,
];
