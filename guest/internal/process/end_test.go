package process_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
)

func TestEveryExitCodeAndSignalIsExact(t *testing.T) {
	a := newAgent(t)
	for _, code := range []uint32{0, 1, 2, 100, 126, 127, 128, 130, 255} {
		if r := a.run(shell(fmt.Sprintf("exit %d", code))); r.exit.Code != code || r.exit.Signal != "" {
			t.Errorf("%d: %v", code, r.exit)
		}
	}
	for _, name := range []string{"HUP", "INT", "QUIT", "ABRT", "KILL", "SEGV", "PIPE", "TERM", "USR1"} {
		r := a.run(shell("ulimit -c 0; kill -" + name + " $$"))
		if r.exit.Signal != "SIG"+name || r.exit.Code != 0 {
			t.Errorf("%s: %v", name, r.exit)
		}
	}
	if r := a.run(shell("kill -40 $$")); r.exit.Signal != "SIGRTMIN+6" {
		t.Errorf("%v", r.exit)
	}
}

func (a agent) signal(id, name string, wholeTree bool) error {
	_, err := a.Signal(context.Background(), &guestv1.SignalRequest{ProcessId: id, Signal: name, WholeTree: wholeTree})
	return err
}

func TestASignalReachesTheProcessGroup(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("trap 'echo trapped; exit 5' INT; echo ready; while :; do sleep 0.05; done"))
	a.waitOutput(id, "ready\n")
	if err := a.signal(id, "SIGINT", false); err != nil {
		t.Fatal(err)
	}
	if r := a.read(id); r.exit.Code != 5 || string(r.stdout) != "ready\ntrapped\n" {
		t.Fatalf("%q %v", r.stdout, r.exit)
	}
	if err := a.signal(id, "SIGINT", false); err != nil {
		t.Fatalf("to one that has ended: %v", err)
	}
	if err := a.signal(id, "SIGNONSENSE", false); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Fatal(err)
	}
}

// waitOutput waits until the command has printed at least that.
func (a agent) waitOutput(id, text string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := a.ReadOutput(ctx, &guestv1.ReadOutputRequest{ProcessId: id})
	if err != nil {
		a.t.Fatal(err)
	}
	defer stream.Close()
	var got []byte
	for stream.Receive() {
		if got = append(got, stream.Msg().GetChunk().GetData()...); bytes.Contains(got, []byte(text)) {
			return
		}
	}
	a.t.Fatalf("%q never came: %q %v", text, got, stream.Err())
}

func TestATimeoutEndsTheCommandAndKeepsItsOutput(t *testing.T) {
	a := newAgent(t)
	request := shell("echo partial; sleep 1000")
	request.TimeoutMs, request.KillGraceMs = 300, 2000
	r := a.run(request)
	if !r.exit.TimedOut || r.exit.Signal != "SIGTERM" || string(r.stdout) != "partial\n" {
		t.Fatalf("%q %v", r.stdout, r.exit)
	}
}

func TestATimeoutEndsWhatIgnoresTerm(t *testing.T) {
	a := newAgent(t)
	request := shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
	request.TimeoutMs, request.KillGraceMs = 300, 200
	if r := a.run(request); !r.exit.TimedOut || r.exit.Signal != "SIGKILL" {
		t.Fatalf("%v", r.exit)
	}
}

func TestATimeoutEndsAStoppedCommand(t *testing.T) {
	a := newAgent(t)
	request := shell("kill -STOP $$; sleep 1000")
	request.TimeoutMs, request.KillGraceMs = 300, 5000
	if r := a.run(request); !r.exit.TimedOut || r.exit.Signal != "SIGTERM" {
		t.Fatalf("%v", r.exit)
	}
}

func TestATimeoutLeavesNothingOfTheTree(t *testing.T) {
	if !hasCgroups {
		t.Skip("no control groups can be made here")
	}
	a := newAgent(t)
	pids := filepath.Join(t.TempDir(), "pids")
	request := shell(fmt.Sprintf(
		`for i in 1 2 3; do setsid sh -c 'trap "" TERM; echo $$ >> %[1]s; while :; do sleep 0.05; done' & done
		 setsid sh -c 'echo $$ >> %[1]s; kill -STOP $$' &
		 wait`, pids))
	request.TimeoutMs, request.KillGraceMs = 1000, 200
	r := a.run(request)
	content, err := os.ReadFile(pids)
	if err != nil || !r.exit.TimedOut {
		t.Fatalf("%v %v", r.exit, err)
	}
	listed := strings.Fields(string(content))
	if len(listed) != 4 {
		t.Fatalf("%q", content)
	}
	for _, pid := range listed {
		if state, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
			t.Errorf("%s lives: %s", pid, state)
		}
	}
}

func TestRemoveEndsWhatTheCommandLeftBehind(t *testing.T) {
	if !hasCgroups {
		t.Skip("no control groups can be made here")
	}
	a := newAgent(t)
	id := a.start(shell("setsid sleep 1000 & echo $!; exit 0"))
	r := a.read(id)
	pid := string(bytes.TrimSpace(r.stdout))
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Fatal("the daemon did not outlive its command")
	}
	a.remove(id)
	eventually(t, func() bool { _, err := os.Stat("/proc/" + pid); return err != nil })
}

func TestWhileFrozenNothingRunsAndNothingStarts(t *testing.T) {
	if !hasCgroups {
		t.Skip("no control groups can be made here")
	}
	a := newAgent(t)
	id := a.start(shell("while :; do echo x; sleep 0.01; done"))
	a.waitOutput(id, "x\n")
	if err := theWorkload.SetFrozen(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	count := func() uint64 {
		response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
		if err != nil {
			t.Fatal(err)
		}
		return response.Process.StdoutBytes
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	before := count()
	if _, err := a.Start(ctx, shell("true")); err == nil {
		t.Error("a command was started in a frozen machine")
	}
	if after := count(); after > before+64 {
		t.Errorf("%d bytes more while frozen", after-before)
	}
	if err := theWorkload.SetFrozen(context.Background(), false); err != nil {
		t.Fatal(err)
	}
	before = count()
	eventually(t, func() bool { return count() > before })
}

func TestTwoHundredCommandsLeaveNoDescriptorsBehind(t *testing.T) {
	a := newAgent(t)
	cycle := func(n int) {
		for range n {
			request := shell("echo x")
			request.OpenStdin = true
			id := a.start(request)
			if r := a.read(id); string(r.stdout) != "x\n" {
				t.Fatalf("%q", r.stdout)
			}
			a.remove(id)
		}
	}
	cycle(5)
	// What is made ahead for the next command is made behind the end of one.
	time.Sleep(100 * time.Millisecond)
	before := descriptors(t)
	cycle(200)
	eventually(t, func() bool { return descriptors(t) <= before+2 })
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestTheExitDoesNotWaitForWhoeverElseHoldsThePipes(t *testing.T) {
	a := newAgent(t)
	r := a.run(shell("echo before; sleep 1000 & echo after; exit 3"))
	if string(r.stdout) != "before\nafter\n" || r.exit.Code != 3 {
		t.Fatalf("%q %v", r.stdout, r.exit)
	}
}

func TestWhatLiesInThePipeAtTheEndIsStillDelivered(t *testing.T) {
	a := newAgent(t)
	for range 20 {
		r := a.run(shell("sleep 1000 & head -c 200000 /dev/zero"))
		if len(r.stdout) != 200000 || r.exit.StdoutBytes != 200000 {
			t.Fatalf("%d bytes, %v", len(r.stdout), r.exit)
		}
	}
}

func TestADaemonOutlivesItsCommandAndMayGoOnWriting(t *testing.T) {
	a := newAgent(t)
	marker := filepath.Join(t.TempDir(), "marker")
	id := a.start(shell(fmt.Sprintf("(while [ ! -e %s.go ]; do sleep 0.01; done; head -c 1000000 /dev/zero && echo alive > %s) & exit 0", marker, marker)))
	if r := a.read(id); r.exit.Code != 0 || len(r.stdout) != 0 {
		t.Fatalf("%v", r)
	}
	if err := os.WriteFile(marker+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { content, _ := os.ReadFile(marker); return string(content) == "alive\n" })
	a.remove(id)
}
