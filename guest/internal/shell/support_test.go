package shell_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/shell"
	"pyro/guest/internal/workload"
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
	collector := reaper.New()
	go collector.Run(ctx)
	var parent *cgroup.Group
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		root, err := cgroup.OpenRoot(mount)
		if err != nil {
			continue
		}
		if parent, err = root.Create(fmt.Sprintf("pyro-shell-test-%d", os.Getpid())); err == nil {
			defer func() {
				if err := parent.Remove(); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
			}()
			break
		}
	}
	hasCgroups = parent != nil
	theWorkload = workload.New(collector, parent, workload.Limits{})
	return m.Run()
}

type fixture struct {
	t      *testing.T
	client agenttest.ShellClient
	next   int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	service := shell.New(ctx, shell.Options{
		Workload: theWorkload, Root: rootdir.New("/"), Log: guard.NewLog(os.Stderr),
	})
	f := &fixture{t: t, client: agenttest.ShellClient{Host: agenttest.Connect(t, service.Methods())}}
	// Before the connection goes.
	t.Cleanup(func() {
		list, err := f.client.List(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		for _, each := range list.Shells {
			f.close(each.ShellId, 0)
		}
	})
	return f
}

// open opens a shell; without words, a plain sh.
func (f *fixture) open(argv ...string) string {
	f.t.Helper()
	if len(argv) == 0 {
		argv = []string{"sh"}
	}
	f.next++
	request := &guestv1.OpenShellRequest{
		ShellId: fmt.Sprintf("shell-%d", f.next), Cwd: []byte("/"), Cols: 80, Rows: 24,
		Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid()),
		Env: [][]byte{[]byte("PATH=" + os.Getenv("PATH")), []byte("TERM=xterm"), []byte("PS1=$ ")},
	}
	for _, word := range argv {
		request.Argv = append(request.Argv, []byte(word))
	}
	opened, err := f.client.Open(f.t.Context(), request)
	if err != nil {
		f.t.Fatal(err)
	}
	if !opened.Shell.Running {
		f.t.Fatal("it does not run")
	}
	return request.ShellId
}

func (f *fixture) close(id string, grace time.Duration) *guestv1.ShellInfo {
	f.t.Helper()
	closed, err := f.client.Close(context.Background(), &guestv1.CloseShellRequest{ShellId: id, GraceMs: uint32(grace.Milliseconds())})
	if err != nil {
		f.t.Error(err)
		return nil
	}
	return closed.Shell
}

func (f *fixture) write(id, text string) {
	f.t.Helper()
	written, err := f.client.Write(f.t.Context(), &guestv1.WriteShellRequest{ShellId: id, Data: []byte(text), MaxWaitMs: 5000})
	if err != nil || written.AcceptedBytes != uint64(len(text)) {
		f.t.Fatal(written, err)
	}
}

type outcome struct {
	data   []byte
	first  uint64
	gaps   uint64
	sizes  []*guestv1.ShellSize
	resize []*guestv1.ShellSize
	end    *guestv1.ShellEnd
}

func (f *fixture) read(request *guestv1.ReadShellRequest) outcome {
	f.t.Helper()
	read, err := f.tryRead(f.t.Context(), request)
	if err != nil {
		f.t.Fatal(err)
	}
	return read
}

func (f *fixture) tryRead(ctx context.Context, request *guestv1.ReadShellRequest) (outcome, error) {
	download, err := f.client.Read(ctx, request)
	if err != nil {
		return outcome{}, err
	}
	defer download.Close()
	read := outcome{first: request.Offset}
	at := request.Offset
	for download.Receive() {
		switch event := download.Msg().Event.(type) {
		case *guestv1.ReadShellResponse_Sizes:
			read.sizes = event.Sizes.Sizes
		case *guestv1.ReadShellResponse_Resized:
			read.resize = append(read.resize, event.Resized)
		case *guestv1.ReadShellResponse_Chunk:
			if len(read.data) == 0 {
				read.first = event.Chunk.Offset
			}
			read.gaps += event.Chunk.Offset - at
			at = event.Chunk.Offset + uint64(len(event.Chunk.Data))
			read.data = append(read.data, event.Chunk.Data...)
		case *guestv1.ReadShellResponse_End:
			read.end = event.End
		}
	}
	return read, download.Err()
}

// settled reads all that there is once the shell waits for input or has exited.
func (f *fixture) settled(id string) outcome {
	f.t.Helper()
	return f.read(&guestv1.ReadShellRequest{ShellId: id, WaitForIdleMs: 10_000, MaxWaitMs: 20_000})
}

func (f *fixture) until(id, text string) outcome {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		read := f.read(&guestv1.ReadShellRequest{ShellId: id})
		if bytes.Contains(read.data, []byte(text)) {
			return read
		}
		if time.Now().After(end) {
			f.t.Fatalf("no %q in %q", text, read.data)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// alive tells whether a process runs whose command line has these words.
func alive(t *testing.T, words string) bool {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err == nil && strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), words) {
			return true
		}
	}
	return false
}
