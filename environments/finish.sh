#!/bin/sh
# Runs as root in the builder VM, in the finished tree, whichever way it was made: removes what belongs to the
# making and not to the environment, then gives the freed blocks back so that the image stays small.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

rm -f /usr/sbin/policy-rc.d /etc/apt/sources.list.d/0000*.sources /etc/apt/sources.list.d/0000*.list \
  /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /var/lib/systemd/random-seed
rm -f /var/log/dpkg.log /var/log/bootstrap.log /var/log/alternatives.log /var/cache/ldconfig/aux-cache
rm -rf /var/lib/apt/lists /var/cache/apt /var/log/apt
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial /var/log/apt
chmod 700 /var/lib/apt/lists/partial /var/cache/apt/archives/partial
if grep -q '^_apt:' /etc/passwd; then chown _apt /var/lib/apt/lists/partial /var/cache/apt/archives/partial; fi

rm -rf /.pyro-build
sync
# Fails where the builder's disk cannot discard; then the image is only larger.
fstrim / 2>/dev/null || true
