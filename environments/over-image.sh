#!/bin/sh
# Runs as root in a machine with a network, whose root is the distribution's own image: for hosts whose apt fetches no
# Debian packages. Its arguments are what apt is asked to install.
set -eu
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

# Nothing may start a service here.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
# An image for containers leaves out and deletes what a whole Debian has.
rm -f /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/docker*

# What this host trusts must not come to be in the environment's own list of authorities.
rm -f /usr/local/share/ca-certificates/pyro-host.crt

# The sources that pyro gave this machine of its host, where there are any, take the place of the image's own.
given=/etc/apt/sources.list.d/pyro-host.sources
drop_own_sources() {
  rm -f /etc/apt/sources.list
  find /etc/apt/sources.list.d -type f ! -path "$given" -delete
}
if [ -s "$given" ]; then drop_own_sources; fi

# The image is thrown away when this fails, so nothing is gained by syncing each file.
apt() { apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Options::=--force-unsafe-io --no-install-recommends "$@"; }
apt update --error-on=any
apt dist-upgrade
# What the image has besides, and nothing that is asked for needs, goes.
apt-mark -qq auto $(dpkg-query -W -f '${Package} ') >/dev/null
apt install "$@"
apt autoremove --purge -o APT::AutoRemove::RecommendsImportant=false -o APT::AutoRemove::SuggestsImportant=false

# dpkg says by its silence that every package is whole.
broken=$(dpkg --audit)
if [ -n "$broken" ]; then
  echo "$broken" >&2
  exit 1
fi
drop_own_sources
# All of them were asked for, as where apt makes the environment.
rm -f /var/lib/apt/extended_states
apt-get clean
