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

func TestAReaderResumesByOffsetAndMissesNothing(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo done >&2"))
	var expected bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&expected, "line %d\n", i)
	}
	var received []byte
	var exit *guestv1.ExitStatus
	for exit == nil {
		ctx, cancel := context.WithCancel(context.Background())
		stream, err := a.ReadOutput(ctx, &guestv1.ReadOutputRequest{ProcessId: id, StdoutOffset: uint64(len(received))})
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; n < 3 && stream.Receive(); n++ {
			if chunk := stream.Msg().GetChunk(); chunk.GetStream() == guestv1.OutputStream_OUTPUT_STREAM_STDOUT {
				if chunk.Offset != uint64(len(received)) {
					t.Fatalf("a gap at %d: %d", len(received), chunk.Offset)
				}
				received = append(received, chunk.Data...)
			}
			exit = stream.Msg().GetExit()
		}
		cancel()
		_ = stream.Close()
	}
	if !bytes.Equal(received, expected.Bytes()) {
		t.Fatalf("%d of %d bytes", len(received), expected.Len())
	}
}

func TestSeveralReadersEachGetEverything(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("sleep 0.2; head -c 3000000 /dev/zero"))
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			r, err := a.tryRead(context.Background(), id, 0, 0)
			if err != nil || len(r.stdout) != 3000000 || r.exit == nil {
				t.Errorf("%d bytes, %v, %v", len(r.stdout), r.exit, err)
			}
		})
	}
	readers.Wait()
}

func TestUnwatchedOutputIsDroppedAndCountedExactly(t *testing.T) {
	a := newAgent(t)
	request := shell("head -c 5000000 /dev/zero")
	request.OutputPolicy = guestv1.OutputPolicy_OUTPUT_POLICY_DROP_OLDEST
	request.SpoolBytes = 1 << 20
	id := a.start(request)
	eventually(t, func() bool {
		response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
		return err == nil && !response.Process.Running
	})
	r := a.read(id)
	if r.exit.StdoutBytes != 5000000 || uint64(len(r.stdout))+r.exit.StdoutDroppedBytes != 5000000 || r.exit.StdoutDroppedBytes < 2<<20 {
		t.Fatalf("%d bytes read, %v", len(r.stdout), r.exit)
	}
}

func TestABlockedCommandWaitsForItsReader(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("head -c 20000000 /dev/zero"))
	eventually(t, func() bool {
		response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
		return err == nil && response.Process.StdoutBytes > 3<<20
	})
	response, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id})
	if err != nil || !response.Process.Running || response.Process.StdoutBytes > 4<<20 {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); len(r.stdout) != 20000000 || r.exit.StdoutDroppedBytes != 0 {
		t.Fatalf("%d bytes, %v", len(r.stdout), r.exit)
	}
}

func TestABlockedCommandCanBeRemoved(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("head -c 20000000 /dev/zero"))
	a.remove(id)
	if _, err := a.Get(context.Background(), &guestv1.GetRequest{ProcessId: id}); agenttest.CodeOf(err) != "PROCESS_NOT_FOUND" {
		t.Fatal(err)
	}
	a.remove(id)
}

func TestOutputPassesTheTransformBeforeTheSpool(t *testing.T) {
	a := newAgent(t, func(options *process.Options) {
		options.NewTransform = func(_ *guestv1.StartRequest, stream guestv1.OutputStream) process.Transform {
			if stream != guestv1.OutputStream_OUTPUT_STREAM_STDOUT {
				return nil
			}
			var held []byte
			return func(data []byte, end bool) []byte {
				held = append(held, data...)
				if !end {
					return nil
				}
				return bytes.ReplaceAll(held, []byte("secret"), []byte("[REDACTED]"))
			}
		}
	})
	r := a.run(shell("printf sec; sleep 0.1; echo ret; echo secret >&2"))
	if string(r.stdout) != "[REDACTED]\n" || string(r.stderr) != "secret\n" || r.exit.StdoutBytes != 11 {
		t.Fatalf("%q %q %v", r.stdout, r.stderr, r.exit)
	}
}

func (a agent) writeInput(id string, chunks ...string) (*guestv1.WriteInputResponse, error) {
	stream := a.WriteInput(context.Background())
	for i, chunk := range chunks {
		message := &guestv1.WriteInputRequest{Data: []byte(chunk), End: i == len(chunks)-1}
		if i == 0 {
			message.ProcessId = id
		}
		if err := stream.Send(message); err != nil {
			break
		}
	}
	response, err := stream.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return response, nil
}

func TestInputReachesTheCommandAndEnds(t *testing.T) {
	a := newAgent(t)
	request := shell("cat; echo end")
	request.OpenStdin = true
	id := a.start(request)
	response, err := a.writeInput(id, "hello ", "world\n")
	if err != nil || response.AcceptedBytes != 12 || response.ClosedByProcess {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); string(r.stdout) != "hello world\nend\n" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestInputCanBeLargerThanEveryBuffer(t *testing.T) {
	a := newAgent(t)
	request := shell("sleep 0.2; wc -c")
	request.OpenStdin = true
	id := a.start(request)
	chunks := make([]string, 64)
	for i := range chunks {
		chunks[i] = strings.Repeat("x", 256<<10)
	}
	response, err := a.writeInput(id, chunks...)
	if err != nil || response.AcceptedBytes != 16<<20 {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); string(bytes.TrimSpace(r.stdout)) != "16777216" {
		t.Fatalf("%q", r.stdout)
	}
}

func TestACommandThatClosesItsInputIsSaid(t *testing.T) {
	a := newAgent(t)
	for _, script := range []string{"exec <&-; sleep 1000", "head -c 1 >/dev/null", "exit 0", "sleep 0.1"} {
		request := shell(script)
		request.OpenStdin = true
		id := a.start(request)
		chunks := make([]string, 64)
		for i := range chunks {
			chunks[i] = strings.Repeat("x", 64<<10)
		}
		response, err := a.writeInput(id, chunks...)
		if err != nil || !response.ClosedByProcess || response.AcceptedBytes >= 4<<20 {
			t.Errorf("%s: %v %v", script, response, err)
		}
		a.remove(id)
	}
}

func TestACommandWithoutInputReadsItsEnd(t *testing.T) {
	a := newAgent(t)
	id := a.start(shell("cat; echo end"))
	if r := a.read(id); string(r.stdout) != "end\n" {
		t.Fatalf("%q", r.stdout)
	}
	if _, err := a.writeInput(id, "x"); agenttest.CodeOf(err) != "INVALID_ARGUMENT" {
		t.Fatal(err)
	}
}

func TestAWriterThatWentAwayLeavesTheInputToTheNext(t *testing.T) {
	a := newAgent(t)
	request := shell("sleep 0.5; wc -c")
	request.OpenStdin = true
	id := a.start(request)
	ctx, cancel := context.WithCancel(context.Background())
	stream := a.WriteInput(ctx)
	_ = stream.Send(&guestv1.WriteInputRequest{ProcessId: id, Data: make([]byte, 1<<20)})
	cancel()
	_, _ = stream.CloseAndReceive()
	if response, err := a.writeInput(id, "tail"); err != nil || response.AcceptedBytes != 4 {
		t.Fatalf("%v %v", response, err)
	}
	if r := a.read(id); r.exit.Code != 0 {
		t.Fatalf("%v", r.exit)
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
