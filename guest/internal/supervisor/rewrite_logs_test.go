package supervisor_test

import (
	"testing"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func TestLogsOfAServiceThatEndedAreRewrittenAndOfNoOther(t *testing.T) {
	a := newAgent(t)
	chunks := []*guestv1.OutputChunk{
		{Stream: guestv1.OutputStream_OUTPUT_STREAM_STDOUT, Offset: 4, Data: []byte("****")},
		{Stream: guestv1.OutputStream_OUTPUT_STREAM_STDERR, Data: []byte("ERR")},
	}
	rewrite := func(startID string) string {
		_, err := a.RewriteLogs(t.Context(), &guestv1.RewriteLogsRequest{Name: "web", StartId: startID, Chunks: chunks})
		return agenttest.CodeOf(err)
	}
	if got := rewrite("none"); got != "SERVICE_NOT_FOUND" {
		t.Error(got)
	}
	a.start("web", "echo key=abcd; echo err >&2; exec sleep 60", nil)
	for len(a.logs("web").stderr) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	id := a.settled("web").StartId
	if got := rewrite(id); got != "SERVICE_NOT_FOUND" {
		t.Errorf("one that lives: %q", got)
	}
	a.stop("web", 0)
	if got := rewrite("another"); got != "SERVICE_NOT_FOUND" {
		t.Errorf("another start's: %q", got)
	}
	if got := a.logs("web"); string(got.stdout) != "key=abcd\n" {
		t.Errorf("%q", got.stdout)
	}
	if got := rewrite(id); got != "" {
		t.Error(got)
	}
	if got := a.logs("web"); string(got.stdout) != "key=****\n" || string(got.stderr) != "ERR\n" || got.stdoutTotal != 9 {
		t.Errorf("%q %q", got.stdout, got.stderr)
	}
}
