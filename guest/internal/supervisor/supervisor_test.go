package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/process"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/supervisor"
	"pyro/guest/internal/workload"
)

const (
	starting = guestv1.ServiceState_SERVICE_STATE_STARTING
	running  = guestv1.ServiceState_SERVICE_STATE_RUNNING
	exited   = guestv1.ServiceState_SERVICE_STATE_EXITED
	stopped  = guestv1.ServiceState_SERVICE_STATE_STOPPED
	failed   = guestv1.ServiceState_SERVICE_STATE_FAILED
)

var (
	theWorkload *workload.Workload
	hasCgroups  bool
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run has one reaper for the whole test process: there can be only one.
func run(m *testing.M) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	for fd := 3; fd < 1024; fd++ {
		unix.CloseOnExec(fd)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	theReaper := reaper.New()
	go theReaper.Run(ctx)
	var parent *cgroup.Group
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if root, err := cgroup.OpenRoot(mount); err == nil {
			if parent, err = root.Create(fmt.Sprintf("pyro-test-services-%d", os.Getpid())); err == nil {
				defer func() { _ = parent.Remove() }()
				break
			}
		}
	}
	if hasCgroups = parent != nil; !hasCgroups {
		fmt.Fprintln(os.Stderr, "no control groups can be made here: tests of whole trees are skipped")
	}
	theWorkload = workload.New(theReaper, parent, workload.Limits{})
	return m.Run()
}

type quiet struct{}

func (quiet) ProcessExited(string, *guestv1.ExitStatus) {}
func (quiet) OutOfMemory(string)                        {}

type agent struct {
	agenttest.SupervisorClient
	t   *testing.T
	dir string
}

func newAgent(t *testing.T) agent {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := guard.NewLog(os.Stderr)
	root := rootdir.New("/")
	processes, err := process.New(ctx, process.Options{Workload: theWorkload, Root: root, Observer: quiet{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	services := supervisor.New(ctx, supervisor.Options{Processes: processes, Root: root, Log: log})
	a := agent{agenttest.SupervisorClient{Host: agenttest.Connect(t, services.Methods())}, t, t.TempDir()}
	t.Cleanup(func() {
		for _, left := range a.list() {
			a.stop(left.Name, 0)
		}
		cancel()
	})
	return a
}

func (a agent) request(name, line string, readiness *guestv1.Readiness) *guestv1.StartServiceRequest {
	if readiness != nil {
		if readiness.TimeoutMs == 0 {
			readiness.TimeoutMs = 10_000
		}
		readiness.IntervalMs = 20
	}
	return &guestv1.StartServiceRequest{
		Name: name, StartId: fmt.Sprintf("%s-%d", name, time.Now().UnixNano()), Cwd: []byte(a.dir), Command: line,
		Argv: [][]byte{[]byte("/bin/sh"), []byte("-c"), []byte(line)}, Env: [][]byte{[]byte("PATH=" + os.Getenv("PATH"))},
		Readiness: readiness,
	}
}

func (a agent) start(name, line string, readiness *guestv1.Readiness) *guestv1.ServiceInfo {
	a.t.Helper()
	response, err := a.Start(context.Background(), a.request(name, line, readiness))
	if err != nil {
		a.t.Fatal(err)
	}
	return response.Service
}

func (a agent) settled(name string) *guestv1.ServiceInfo {
	a.t.Helper()
	response, err := a.Get(context.Background(), &guestv1.GetServiceRequest{Name: name, WaitMs: 20_000})
	if err != nil {
		a.t.Fatal(err)
	}
	return response.Service
}

// ended waits for a service to end by itself.
func (a agent) ended(name string) *guestv1.ServiceInfo {
	a.t.Helper()
	var generation uint64
	for range 100 {
		response, err := a.List(context.Background(), &guestv1.ListServicesRequest{AfterGeneration: generation, WaitMs: 10_000})
		if err != nil {
			a.t.Fatal(err)
		}
		generation = response.Generation
		for _, known := range response.Services {
			if known.Name == name && known.State != starting && known.State != running {
				return known
			}
		}
	}
	a.t.Fatalf("%q did not end", name)
	return nil
}

func (a agent) list() []*guestv1.ServiceInfo {
	a.t.Helper()
	response, err := a.List(context.Background(), &guestv1.ListServicesRequest{})
	if err != nil {
		a.t.Fatal(err)
	}
	return response.Services
}

func (a agent) stop(name string, graceMs uint32) *guestv1.ServiceInfo {
	a.t.Helper()
	response, err := a.Stop(context.Background(), &guestv1.StopServiceRequest{Name: name, GraceMs: graceMs})
	if err != nil {
		a.t.Fatal(err)
	}
	return response.Service
}

type logs struct {
	stdout, stderr           []byte
	stdoutOffset             uint64
	stdoutTotal, stderrTotal uint64
}

func (a agent) logs(name string) logs {
	a.t.Helper()
	download, err := a.Logs(context.Background(), &guestv1.ServiceLogsRequest{Name: name})
	if err != nil {
		a.t.Fatal(err)
	}
	defer download.Close()
	var got logs
	first := true
	for download.Receive() {
		switch event := download.Msg().Event.(type) {
		case *guestv1.ServiceLogsResponse_Chunk:
			if event.Chunk.Stream == guestv1.OutputStream_OUTPUT_STREAM_STDOUT {
				if first {
					got.stdoutOffset, first = event.Chunk.Offset, false
				}
				got.stdout = append(got.stdout, event.Chunk.Data...)
			} else {
				got.stderr = append(got.stderr, event.Chunk.Data...)
			}
		case *guestv1.ServiceLogsResponse_Totals:
			got.stdoutTotal, got.stderrTotal = event.Totals.StdoutBytes, event.Totals.StderrBytes
		}
	}
	if err := download.Err(); err != nil {
		a.t.Fatal(err)
	}
	return got
}

func expect(t *testing.T, info *guestv1.ServiceInfo, state guestv1.ServiceState, failure string) {
	t.Helper()
	if info.State != state || !strings.Contains(info.Failure, failure) || (failure == "") != (info.Failure == "") {
		t.Fatalf("it is %s (%q), not %s (%q)", info.State, info.Failure, state, failure)
	}
}

func alive(pid uint32) bool { return unix.Kill(int(pid), 0) == nil }

func file(name string) *guestv1.Readiness {
	return &guestv1.Readiness{By: &guestv1.Readiness_File{File: []byte(name)}}
}

func tcp(address string) *guestv1.Readiness {
	return &guestv1.Readiness{By: &guestv1.Readiness_TcpAddress{TcpAddress: address}}
}

func command(line string) *guestv1.Readiness {
	return &guestv1.Readiness{By: &guestv1.Readiness_Command{Command: []byte(line)}}
}

func TestOneWithoutReadinessRunsAtOnceAndIsStopped(t *testing.T) {
	a := newAgent(t)
	info := a.start("web", "echo out; echo err >&2; exec sleep 60", nil)
	expect(t, info, running, "")
	if info.Pid == 0 || info.ReadyAtNs != info.StartedAtNs {
		t.Errorf("it has %v", info)
	}
	for len(a.logs("web").stderr) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	if got := a.logs("web"); string(got.stdout) != "out\n" || string(got.stderr) != "err\n" || got.stdoutTotal != 4 || got.stderrTotal != 4 {
		t.Errorf("its logs are %+v", got)
	}
	after := a.stop("web", 5_000)
	expect(t, after, stopped, "")
	if after.End != guestv1.ServiceEnd_SERVICE_END_REQUESTED || after.Exit.Signal != "SIGTERM" || after.Pid != 0 || alive(info.Pid) {
		t.Errorf("after the stop: %v", after)
	}
	// A second stop is answered, and changes nothing; its logs are kept.
	if again := a.stop("web", 5_000); again.EndedAtNs != after.EndedAtNs {
		t.Errorf("it ended twice: %v", again)
	}
	if got := a.logs("web"); string(got.stdout) != "out\n" {
		t.Errorf("its logs are %+v after its end", got)
	}
}

func TestOneThatIgnoresTermIsKilledAfterTheGrace(t *testing.T) {
	a := newAgent(t)
	a.start("deaf", "trap '' TERM; echo deaf; while :; do sleep 1; done", nil)
	for len(a.logs("deaf").stdout) == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	if info := a.stop("deaf", 50); info.Exit.Signal != "SIGKILL" {
		t.Errorf("it ended %v", info.Exit)
	}
}

func TestOneThatEndsAfterItRanHasExited(t *testing.T) {
	a := newAgent(t)
	a.start("short", "exit 3", nil)
	info := a.ended("short")
	expect(t, info, exited, "")
	if info.Exit.Code != 3 || info.End != guestv1.ServiceEnd_SERVICE_END_EXITED || info.EndedAtNs == 0 {
		t.Errorf("it ended %v", info)
	}
}

func TestANameBelongsToOneThatLives(t *testing.T) {
	a := newAgent(t)
	first := a.request("web", "sleep 60", nil)
	started, err := a.Start(context.Background(), first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := a.Start(context.Background(), first)
	if err != nil || again.Service.Pid != started.Service.Pid {
		t.Errorf("a repeated start gave %v, %v", again, err)
	}
	if _, err := a.Start(context.Background(), a.request("web", "sleep 60", nil)); agenttest.CodeOf(err) != "SERVICE_EXISTS" {
		t.Errorf("a second one of the name: %v", err)
	}
	a.stop("web", 0)
	expect(t, a.start("web", "sleep 60", nil), running, "")
	if len(a.list()) != 1 {
		t.Errorf("%d are known", len(a.list()))
	}
	if _, err := a.Get(context.Background(), &guestv1.GetServiceRequest{Name: "none"}); agenttest.CodeOf(err) != "SERVICE_NOT_FOUND" {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestWhatCannotBeStartedIsNotKnown(t *testing.T) {
	a := newAgent(t)
	request := a.request("web", "", nil)
	request.Argv = [][]byte{[]byte("/no/such/command")}
	if _, err := a.Start(context.Background(), request); agenttest.CodeOf(err) != "COMMAND_NOT_FOUND" {
		t.Errorf("a command that is not there: %v", err)
	}
	for _, bad := range []*guestv1.Readiness{
		tcp("8000"),
		{By: &guestv1.Readiness_HttpUrl{HttpUrl: "https://localhost/"}},
		{By: &guestv1.Readiness_HttpUrl{HttpUrl: "http://u:p@localhost/"}},
		{By: &guestv1.Readiness_HttpUrl{HttpUrl: "http:///x"}},
		{By: &guestv1.Readiness_HttpUrl{HttpUrl: "http://[::1"}},
	} {
		if _, err := a.Start(context.Background(), a.request("web", "sleep 60", bad)); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
			t.Errorf("the readiness %v: %v", bad, err)
		}
	}
	if len(a.list()) != 0 {
		t.Errorf("%d are known", len(a.list()))
	}
}

func TestTheOneThatEndedFirstMakesRoom(t *testing.T) {
	a := newAgent(t)
	for i := range 65 {
		name := fmt.Sprintf("s%02d", i)
		a.start(name, "exit 0", nil)
		a.ended(name)
	}
	known := a.list()
	if len(known) != 64 || known[0].Name != "s01" {
		t.Errorf("%d are known from %q on", len(known), known[0].Name)
	}
}

func TestLogsKeepTheNewestAndCountTheRest(t *testing.T) {
	a := newAgent(t)
	request := a.request("spam", "seq 1 200000; exec sleep 60", nil)
	request.LogBytes = 64 << 10
	if _, err := a.Start(context.Background(), request); err != nil {
		t.Fatal(err)
	}
	const all = 1_288_895
	for a.logs("spam").stdoutTotal < all {
		time.Sleep(10 * time.Millisecond)
	}
	got := a.logs("spam")
	if got.stdoutTotal != all || got.stdoutOffset+uint64(len(got.stdout)) != all || len(got.stdout) > 64<<10 || !strings.HasSuffix(string(got.stdout), "\n200000\n") {
		t.Errorf("kept %d bytes from %d on, of %d", len(got.stdout), got.stdoutOffset, got.stdoutTotal)
	}
}

func TestOneThatForksAwayLivesOnInItsControlGroup(t *testing.T) {
	if !hasCgroups {
		t.Skip("no control groups here")
	}
	a := newAgent(t)
	a.start("daemon", "(sleep 0.3; echo late; sleep 0.1; touch ready; exec sleep 60) & exit 0", file("ready"))
	info := a.settled("daemon")
	expect(t, info, running, "")
	if !info.Forked || info.Pid != 0 || info.Exit.Code != 0 {
		t.Errorf("it is %v", info)
	}
	if got := a.logs("daemon"); string(got.stdout) != "late\n" {
		t.Errorf("its logs are %q", got.stdout)
	}
	expect(t, a.stop("daemon", 1_000), stopped, "")
}

func TestOneThatForkedAwayEndsWithItsLastProcess(t *testing.T) {
	if !hasCgroups {
		t.Skip("no control groups here")
	}
	a := newAgent(t)
	a.start("daemon", "sleep 0.4 & exit 0", nil)
	expect(t, a.ended("daemon"), exited, "")
}

func TestWhatIsLeftOfOneThatFailsIsEnded(t *testing.T) {
	if !hasCgroups {
		t.Skip("no control groups here")
	}
	a := newAgent(t)
	a.start("half", "setsid sleep 60 & echo $! > child; exit 1", nil)
	expect(t, a.ended("half"), exited, "")
	pid, _ := os.ReadFile(filepath.Join(a.dir, "child"))
	var child uint32
	_, _ = fmt.Sscan(string(pid), &child)
	if child == 0 || alive(child) {
		t.Errorf("its child %d is alive", child)
	}
}
