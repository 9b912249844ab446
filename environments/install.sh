#!/bin/sh
# Runs as root in the builder VM, in the unpacked tree, where the host could only fetch packages: the essential ones
# are unpacked but not configured, all of them lie in /.pyro-build/debs. What debootstrap's second stage does.
set -eu
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

# Nothing may start a service in the builder.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
# mawk's own link comes from its configuration, which other packages' scripts run before.
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
[ -e /var/lib/dpkg/status ] || : >/var/lib/dpkg/status

# The image is thrown away when this fails, so nothing is gained by syncing each file.
dpkg --force-depends --force-unsafe-io --install /.pyro-build/debs/*.deb
dpkg --force-unsafe-io --configure --pending

# dpkg says by its silence that every package is whole.
broken=$(dpkg --audit)
if [ -n "$broken" ]; then
  echo "$broken" >&2
  exit 1
fi
