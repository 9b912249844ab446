#!/bin/sh
# Two packs, each from a clean clone of what is committed, have the same bytes, wherever they lie. The kernel package is
# taken from runtime/cache; everything else is made anew. npm packs modes as the umask left them: there is one umask.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
pack() {
    umask 022
    git clone --quiet --no-hardlinks . "$scratch/$1"
    [ ! -d runtime/cache ] || cp -R runtime/cache "$scratch/$1/runtime/"
    (
        cd "$scratch/$1"
        npm ci --silent --no-fund --no-audit
        npm pack --silent --pack-destination "$scratch" >&2
    )
    mv "$scratch"/pyro-mcp-*.tgz "$scratch/$1.tgz"
}
pack first
pack a-second-one
sha256sum "$scratch/first.tgz" "$scratch/a-second-one.tgz" | sed "s|$scratch/||"
cmp "$scratch/first.tgz" "$scratch/a-second-one.tgz" && exit 0
# Which of their files differ, in contents or in what the archive says of them.
for name in first a-second-one; do
    mkdir "$scratch/$name.content"
    tar xzf "$scratch/$name.tgz" -C "$scratch/$name.content"
    tar tvzf "$scratch/$name.tgz" >"$scratch/$name.content/listing"
done
diff -r "$scratch/first.content" "$scratch/a-second-one.content" | head -40 >&2
exit 1
