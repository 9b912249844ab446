package process_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	"pyro/guest/internal/workload"
)

var (
	theReaper   *reaper.Reaper
	theWorkload *workload.Workload
	hasCgroups  bool
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run has one reaper for the whole test process: there can be only one.
func run(m *testing.M) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	// What this process inherited is not to be taken for the agent's.
	for fd := 3; fd < 1024; fd++ {
		unix.CloseOnExec(fd)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	theReaper = reaper.New()
	go theReaper.Run(ctx)
	var parent *cgroup.Group
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if root, err := cgroup.OpenRoot(mount); err == nil {
			if parent, err = root.Create(fmt.Sprintf("pyro-test-%d", os.Getpid())); err == nil {
				defer func() {
					// The last commands' supervisors have made the next group by then.
					time.Sleep(100 * time.Millisecond)
					if err := parent.Remove(); err != nil {
						fmt.Fprintln(os.Stderr, err)
					}
				}()
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

type observer struct{ exited chan string }

func (o observer) ProcessExited(id string, _ *guestv1.ExitStatus) {
	select {
	case o.exited <- id:
	default:
	}
}
func (observer) OutOfMemory(string) {}

type agent struct {
	agenttest.ProcessClient
	t        testing.TB
	observer observer
}

func newAgent(t *testing.T, adjust ...func(*process.Options)) agent {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	options := process.Options{
		Workload: theWorkload, Root: rootdir.New("/"),
		Observer: observer{make(chan string, 16)}, Log: guard.NewLog(os.Stderr),
	}
	for _, change := range adjust {
		change(&options)
	}
	service, err := process.New(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	client := agenttest.ProcessClient{Host: agenttest.Connect(t, service.Methods())}
	a := agent{client, t, options.Observer.(observer)}
	t.Cleanup(func() {
		list, err := client.List(context.Background(), &guestv1.ListRequest{})
		if err != nil {
			t.Error(err)
		} else {
			for _, left := range list.Processes {
				a.remove(left.ProcessId)
			}
		}
		cancel()
	})
	return a
}

func argv(words ...string) [][]byte {
	out := make([][]byte, len(words))
	for i, word := range words {
		out[i] = []byte(word)
	}
	return out
}

var nextID = struct {
	sync.Mutex
	n int
}{}

func freshID() string {
	nextID.Lock()
	defer nextID.Unlock()
	nextID.n++
	return fmt.Sprintf("p%d", nextID.n)
}

func shell(script string) *guestv1.StartRequest {
	return &guestv1.StartRequest{
		ProcessId: freshID(), Argv: argv("sh", "-c", script), Env: argv("PATH=/usr/bin:/bin"), Cwd: []byte("/"),
		OutputPolicy: guestv1.OutputPolicy_OUTPUT_POLICY_BLOCK,
		Uid:          uint32(os.Geteuid()), Gid: uint32(os.Getegid()),
	}
}

func (a agent) start(request *guestv1.StartRequest) string {
	a.t.Helper()
	if _, err := a.Start(context.Background(), request); err != nil {
		a.t.Fatal(err)
	}
	return request.ProcessId
}

func (a agent) remove(id string) {
	a.t.Helper()
	if _, err := a.Remove(context.Background(), &guestv1.RemoveRequest{ProcessId: id}); err != nil {
		a.t.Error(err)
	}
}

type result struct {
	stdout, stderr []byte
	exit           *guestv1.ExitStatus
}

func (a agent) read(id string) result {
	a.t.Helper()
	r, err := a.tryRead(context.Background(), id, 0, 0)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

func (a agent) tryRead(ctx context.Context, id string, stdoutOffset, stderrOffset uint64) (result, error) {
	stream, err := a.ReadOutput(ctx, &guestv1.ReadOutputRequest{
		ProcessId: id, StdoutOffset: stdoutOffset, StderrOffset: stderrOffset,
	})
	if err != nil {
		return result{}, err
	}
	defer stream.Close()
	var r result
	for stream.Receive() {
		if r.exit != nil {
			return r, fmt.Errorf("a message after the exit: %v", stream.Msg())
		}
		if exit := stream.Msg().GetExit(); exit != nil {
			r.exit = exit
			continue
		}
		chunk := stream.Msg().GetChunk()
		if chunk.Stream == guestv1.OutputStream_OUTPUT_STREAM_STDOUT {
			r.stdout = append(r.stdout, chunk.Data...)
		} else {
			r.stderr = append(r.stderr, chunk.Data...)
		}
	}
	return r, stream.Err()
}

func (a agent) run(request *guestv1.StartRequest) result {
	a.t.Helper()
	return a.read(a.start(request))
}

func TestACommandGivesItsOutputsAndItsExitCode(t *testing.T) {
	a := newAgent(t)
	r := a.run(shell("echo out; echo err >&2; exit 7"))
	if string(r.stdout) != "out\n" || string(r.stderr) != "err\n" || r.exit.Code != 7 || r.exit.Signal != "" {
		t.Fatalf("%q %q %v", r.stdout, r.stderr, r.exit)
	}
	if r.exit.StdoutBytes != 4 || r.exit.StderrBytes != 4 || r.exit.DurationUs == 0 {
		t.Fatalf("%v", r.exit)
	}
	select {
	case <-a.observer.exited:
	case <-time.After(10 * time.Second):
		t.Fatal("the end was not reported")
	}
}

func TestACommandRunsInOneExchange(t *testing.T) {
	a := newAgent(t)
	stream, err := a.Run(context.Background(), shell("echo out; exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetStarted().GetPid() == 0 {
		t.Fatalf("it does not begin with the start: %v %v", stream.Msg(), stream.Err())
	}
	if !stream.Receive() || string(stream.Msg().GetChunk().GetData()) != "out\n" {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	if !stream.Receive() || stream.Msg().GetExit().GetCode() != 7 {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	if stream.Receive() || stream.Err() != nil {
		t.Fatalf("more after the exit: %v %v", stream.Msg(), stream.Err())
	}
}

func TestARunThatCannotStartSaysWhyAndOneThatIsLeftGoesOn(t *testing.T) {
	a := newAgent(t)
	missing := shell("")
	missing.Argv = [][]byte{[]byte("/no/such/command")}
	stream, err := a.Run(context.Background(), missing)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if stream.Receive() || stream.Err() == nil {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	request := shell("echo out; sleep 0.2; echo put")
	left, err := a.Run(context.Background(), request)
	if err != nil || !left.Receive() {
		t.Fatal(err)
	}
	_ = left.Close()
	if r := a.read(request.ProcessId); string(r.stdout) != "out\nput\n" || r.exit.Code != 0 {
		t.Fatalf("%q %v", r.stdout, r.exit)
	}
}

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

func TestACommandStartsWithCleanSignalsAndOnlyItsOwnDescriptors(t *testing.T) {
	a := newAgent(t)
	r := a.run(shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd"))
	for line := range strings.Lines(string(r.stdout)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ":")
		// What the test's own parent ignored is not the agent's doing.
		if found && name == "SigBlk" && strings.Trim(value, "\t0") != "" {
			t.Errorf("blocked signals: %s", value)
		}
	}
	if !strings.HasSuffix(string(r.stdout), "\n0\n1\n2\n3\n") {
		t.Errorf("descriptors: %q", r.stdout)
	}
}

func TestTheEnvironmentIsWhatWasGivenAndTheLastOfANameCounts(t *testing.T) {
	a := newAgent(t)
	request := shell("")
	request.Argv = argv("/usr/bin/env")
	request.Env = argv("A=1", "B=x=y", "A=2", "C=")
	if r := a.run(request); string(r.stdout) != "B=x=y\nA=2\nC=\n" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestARepeatedStartIsAnsweredWithTheSameCommand(t *testing.T) {
	a := newAgent(t)
	request := shell("sleep 1000")
	pids := make(chan uint32, 8)
	var starts sync.WaitGroup
	for range cap(pids) {
		starts.Go(func() {
			response, err := a.Start(context.Background(), request)
			if err != nil {
				t.Error(err)
				return
			}
			pids <- response.Pid
		})
	}
	starts.Wait()
	close(pids)
	first := <-pids
	for pid := range pids {
		if pid != first {
			t.Fatalf("%d and %d", first, pid)
		}
	}
}

func TestWhatCannotBeStartedSaysWhy(t *testing.T) {
	a := newAgent(t)
	directory := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "x", 0o644)
	noInterpreter := write("no-interpreter", "#!/nowhere/sh\n", 0o755)
	garbage := write("garbage", "\x00\x01garbage", 0o755)
	for name, test := range map[string]struct {
		change func(*guestv1.StartRequest)
		code   string
	}{
		"no command":               {func(r *guestv1.StartRequest) { r.Argv = nil }, "INVALID_ARGUMENT"},
		"an empty command":         {func(r *guestv1.StartRequest) { r.Argv = argv("") }, "INVALID_ARGUMENT"},
		"no id":                    {func(r *guestv1.StartRequest) { r.ProcessId = "" }, "INVALID_ARGUMENT"},
		"a NUL":                    {func(r *guestv1.StartRequest) { r.Argv = argv("echo", "a\x00b") }, "INVALID_ARGUMENT"},
		"an entry without a name":  {func(r *guestv1.StartRequest) { r.Env = argv("=x") }, "INVALID_ARGUMENT"},
		"an entry without a value": {func(r *guestv1.StartRequest) { r.Env = argv("X") }, "INVALID_ARGUMENT"},
		"a relative directory":     {func(r *guestv1.StartRequest) { r.Cwd = []byte("x") }, "INVALID_ARGUMENT"},
		"a missing command":        {func(r *guestv1.StartRequest) { r.Argv = argv("no-such-command") }, "COMMAND_NOT_FOUND"},
		"a missing path":           {func(r *guestv1.StartRequest) { r.Argv = argv("/no/such") }, "COMMAND_NOT_FOUND"},
		"no execute permission":    {func(r *guestv1.StartRequest) { r.Argv = argv(plain) }, "COMMAND_NOT_EXECUTABLE"},
		"a directory":              {func(r *guestv1.StartRequest) { r.Argv = argv("/tmp") }, "COMMAND_NOT_EXECUTABLE"},
		"a missing interpreter":    {func(r *guestv1.StartRequest) { r.Argv = argv(noInterpreter) }, "COMMAND_NOT_EXECUTABLE"},
		"no program":               {func(r *guestv1.StartRequest) { r.Argv = argv(garbage) }, "COMMAND_NOT_EXECUTABLE"},
		"found in PATH, not executable": {func(r *guestv1.StartRequest) {
			r.Argv, r.Env = argv("plain"), argv("PATH=/nowhere:"+directory)
		}, "COMMAND_NOT_EXECUTABLE"},
		"a missing directory":    {func(r *guestv1.StartRequest) { r.Cwd = []byte("/no/such") }, "WORKING_DIRECTORY_NOT_FOUND"},
		"a file as directory":    {func(r *guestv1.StartRequest) { r.Cwd = []byte(plain) }, "WORKING_DIRECTORY_NOT_FOUND"},
		"a descriptor's link":    {func(r *guestv1.StartRequest) { r.Cwd = []byte("/proc/self/fd/0") }, "WORKING_DIRECTORY_NOT_FOUND"},
		"an argument too large":  {func(r *guestv1.StartRequest) { r.Argv = argv("true", strings.Repeat("x", 131072)) }, "ARGUMENT_TOO_LARGE"},
		"an entry too large":     {func(r *guestv1.StartRequest) { r.Env = argv("X=" + strings.Repeat("x", 131070)) }, "ARGUMENT_TOO_LARGE"},
		"arguments of 10 MB":     {func(r *guestv1.StartRequest) { r.Argv = many(80, 131071) }, "ARGUMENT_TOO_LARGE"},
		"arguments of 3 MB":      {func(r *guestv1.StartRequest) { r.Argv = many(30, 100000) }, "ARGUMENT_TOO_LARGE"},
		"too many small entries": {func(r *guestv1.StartRequest) { r.Argv = many(100001, 1) }, "ARGUMENT_TOO_LARGE"},
	} {
		request := shell("true")
		test.change(request)
		_, err := a.Start(context.Background(), request)
		if code := agenttest.CodeOf(err); code != test.code {
			t.Errorf("%s: %q (%v)", name, code, err)
		}
	}
	// None of them is remembered.
	list, err := a.List(context.Background(), &guestv1.ListRequest{})
	if err != nil || len(list.Processes) != 0 {
		t.Fatalf("%v %v", list, err)
	}
}

func many(count, size int) [][]byte {
	out := argv("true")
	text := bytes.Repeat([]byte("x"), size)
	for range count {
		out = append(out, text)
	}
	return out
}

func TestTheLargestArgumentPasses(t *testing.T) {
	a := newAgent(t)
	request := shell(`printf %s "$1" | wc -c`)
	request.Argv = append(request.Argv, []byte("sh"), bytes.Repeat([]byte("x"), 131071))
	if r := a.run(request); string(bytes.TrimSpace(r.stdout)) != "131071" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestArgumentsAndOutputNeedNotBeText(t *testing.T) {
	a := newAgent(t)
	request := shell(`printf %s "$1"`)
	request.Argv = append(request.Argv, []byte("sh"), []byte("\xff\xfe\x80"))
	if r := a.run(request); string(r.stdout) != "\xff\xfe\x80" {
		t.Fatalf("%q", r.stdout)
	}
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

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not come about within 10 s")
}
