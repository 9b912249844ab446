# An upgrade that goes wrong.
rm -rf cases
rm /usr/bin/make
echo 'exit 3' > /etc/profile
rm -r /usr/local/bin
