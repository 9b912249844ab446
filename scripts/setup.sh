#!/bin/sh
# Makes sure that this machine has what pyro needs from the system, and the project what it needs from npm.
# Installs what is missing through apt and npm; names the fix where it cannot. Quick when nothing is missing.
# With --for-tests also what only tests use: a registry, tools that make images, network namespaces, a browser.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() {
    printf 'setup: %s\n  hint: %s\n' "$1" "$2" >&2
    exit 1
}

for_tests=
[ "${1:-}" != --for-tests ] || for_tests='docker-registry docker-registry
skopeo skopeo
umoci umoci
busybox busybox-static
openssl openssl
ip iproute2
chromium chromium'

# Tool, and the Debian package that brings it. An ordinary user's PATH may lack the sbin directories.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin
export PATH
missing=
while read -r tool package; do
    [ -z "$tool" ] || command -v "$tool" >/dev/null 2>&1 || missing="$missing $package"
done <<LIST
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
mmdebstrap mmdebstrap
newuidmap uidmap
mke2fs e2fsprogs
flock util-linux
setpriv util-linux
make make
xz xz-utils
git git
$for_tests
LIST
# qemu-system-x86 only recommends the firmware's option ROMs; the kernel loader needs one of them.
[ -e /usr/share/qemu/linuxboot_dma.bin ] || [ -e /usr/share/seabios/bios-256k.bin ] || missing="$missing qemu-system-data seabios"

# Debian's Python makes no environments of its own without this package; an example in Python runs in one.
[ -z "$for_tests" ] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3 python3-venv"

install_packages() {
    if [ "$(id -u)" = 0 ]; then root=
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then root=sudo
    else return 1
    fi
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 &&
        # shellcheck disable=SC2086
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $1 >&2
}

if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 ||
        fail "missing:$missing, and this machine has no apt-get" "install them with your package manager; docs/limitations.md lists the hosts that are tested"
    say "installing system packages:$missing"
    install_packages "$missing" ||
        fail "the system packages$missing are missing" "run: sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing"
fi

command -v node >/dev/null 2>&1 || fail "Node.js is missing" "install Node.js 20.19 or newer: https://nodejs.org/en/download"
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js $(node --version) is too old" "install Node.js 20.19 or newer: https://nodejs.org/en/download"
command -v go >/dev/null 2>&1 || fail "Go is missing" "install Go 1.26 or newer: https://go.dev/dl/ (only building from a checkout needs it)"

if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
    say "installing npm packages"
    npm ci --no-fund --no-audit --loglevel=error >&2 || npm ci --no-fund --no-audit --loglevel=error >&2 ||
        fail "npm could not install the packages of package-lock.json" "see the lines above; behind a proxy set it with: npm config set proxy URL"
    touch node_modules/.package-lock.json
fi
