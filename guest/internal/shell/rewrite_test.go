package shell_test

import (
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func TestTheOutputOfAShellThatExitedIsRewritten(t *testing.T) {
	f := newFixture(t)
	runs := f.open("sh", "-c", "printf key=abcd; sleep 60")
	ended := f.open("sh", "-c", "printf key=abcd")
	f.read(&guestv1.ReadShellRequest{ShellId: ended, Follow: true})
	for id, want := range map[string]string{runs: "SHELL_NOT_FOUND", ended: "", "none": "SHELL_NOT_FOUND"} {
		_, err := f.client.Rewrite(t.Context(), &guestv1.RewriteShellRequest{ShellId: id, Offset: 4, Data: []byte("****")})
		if got := agenttest.CodeOf(err); got != want {
			t.Errorf("%q: %q", id, got)
		}
	}
	if read := f.read(&guestv1.ReadShellRequest{ShellId: ended, Follow: true}); string(read.data) != "key=****" {
		t.Errorf("%q", read.data)
	}
}
