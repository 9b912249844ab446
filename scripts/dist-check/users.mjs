import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { must, run } from "./run.mjs";

const NAME = "pyro-dist-check";
/** Where the system, not the caller, keeps programs; journeys begin with these alone. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Where root's pyro, or a process of its, could leave something. */
const SHARED = ["/run", "/var/lib", "/var/cache"];
/** Root's pyro keeps its things here. */
const SYSTEM_PLACES = ["/var/lib/pyro", "/var/cache/pyro"];
/** Processes and temporary files of their own: what a journey leaves is seen, and ends with it. */
const ALONE = [
  "unshare",
  "--mount",
  "--propagation",
  "private",
  "--pid",
  "--fork",
  "--kill-child",
  "--mount-proc",
];

const MOUNTS = ["/tmp", "/dev/shm"].map((place) => `mount -t tmpfs -o mode=1777 tmpfs ${place} && `).join("");

/** An ordinary user made for this, with a range of subordinate ids as useradd gives. */
export function ordinaryUser(home) {
  removeUser();
  run("useradd", ["--create-home", "--skel", "/dev/null", "--home-dir", home, NAME]);
  const launcher = [...ALONE, "sh", "-c", `${MOUNTS}"$@"`, "sh", "runuser", "-u", NAME, "--"];
  return { ...journeys("an ordinary user", home, launcher), remove: removeUser };
}

function removeUser() {
  if (!readFileSync("/etc/passwd", "utf8").includes(`\n${NAME}:`)) return;
  run("userdel", ["--force", "--remove", NAME], { stdio: "ignore" });
}

/**
 * Root, with places of its own mounted over the system's: a pyro of this host is left alone. As on hardened hosts its
 * umask keeps others out, also the users that its machines run as.
 */
export function rootUser(directory) {
  const home = join(directory, "home");
  const made = SYSTEM_PLACES.filter((place) => !existsSync(place));
  for (const place of [home, ...made, ...SYSTEM_PLACES.map((place) => join(directory, place))])
    mkdirSync(place, { recursive: true, mode: 0o700 });
  const mounts = SYSTEM_PLACES.map((place) => `mount --bind '${join(directory, place)}' '${place}' && `);
  const launcher = [...ALONE, "sh", "-c", `umask 027 && ${MOUNTS}${mounts.join("")}"$@"`, "sh"];
  const remove = () => made.forEach((place) => rmdirSync(place));
  return { ...journeys("root", home, launcher), remove };
}

/** Whoever runs this, with another home. */
export function thisUser(home) {
  mkdirSync(home);
  return { ...journeys("this user", home, []), remove: () => undefined };
}

/**
 * @param home of the one who makes the journey, empty
 * @param launcher what makes a command theirs
 */
function journeys(label, home, launcher) {
  const before = new Set(shared());
  return {
    label,
    run: (program, args) => {
      const env = { HOME: home, PATH, LANG: "C.UTF-8", ...(launcher.length > 0 ? { ALONE: "1" } : {}) };
      const [first, ...rest] = [...launcher, program, ...args];
      const { status } = spawnSync(first, rest, { env, cwd: home, stdio: ["ignore", "inherit", "inherit"] });
      must(status === 0, `the journey of ${label} ended with ${status}: see above`);
    },
    /** Nothing of theirs lies outside of their home. */
    proveGone: () => {
      const files = shared().filter((path) => !before.has(path) && /pyro|qemu/i.test(path));
      must(files.length === 0, `left behind outside of the home: ${files.join(", ")}`);
    },
  };
}

function shared() {
  return SHARED.filter((place) => existsSync(place)).flatMap((place) =>
    readdirSync(place).map((name) => join(place, name)),
  );
}
