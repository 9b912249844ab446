package system

import (
	"bytes"
	"testing"
)

func FuzzHostsWith(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\n127.0.1.1 old\n"), "box")
	f.Add([]byte(nil), "box")
	f.Fuzz(func(t *testing.T, old []byte, hostname string) {
		if !validHostname(hostname) || hostname == "" {
			return
		}
		once := hostsWith(old, hostname)
		if !bytes.HasSuffix(once, []byte("127.0.1.1\t"+hostname+"\n")) {
			t.Errorf("%q", once)
		}
		if twice := hostsWith(once, hostname); !bytes.Equal(once, twice) {
			t.Errorf("%q and then %q", once, twice)
		}
	})
}
