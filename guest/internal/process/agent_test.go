package process_test

import (
	"context"
	"fmt"
	"os"
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
