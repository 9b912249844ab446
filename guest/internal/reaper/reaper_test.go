package reaper_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/reaper"
)

// TestMain makes the test process what PID 1 is to its machine: the parent of all orphans.
func TestMain(m *testing.M) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, r *reaper.Reaper, script string) *reaper.Child {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := null.Fd()
	child, err := r.Start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{
		Env: []string{"PATH=/usr/bin:/bin"}, Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		t.Error(err)
		return nil
	}
	return child
}

func running(t *testing.T) *reaper.Reaper {
	t.Helper()
	r := reaper.New()
	ctx, cancel := context.WithCancel(context.Background())
	var loop sync.WaitGroup
	loop.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); loop.Wait() })
	return r
}

func TestAThousandDoubleForksLeaveNoZombieAndStealNoExitCode(t *testing.T) {
	r := running(t)
	const count = 1000
	var callers sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range count {
		slots <- struct{}{}
		callers.Go(func() {
			defer func() { <-slots }()
			// Two processes more, both orphaned at once, one of them through a second fork.
			child := start(t, r, fmt.Sprintf("(exit 9) & ( (exit 8) & ) & exit %d", i%256))
			if child == nil {
				return
			}
			<-child.Done()
			if status := child.Status(); !status.Exited() || status.ExitStatus() != i%256 {
				t.Errorf("%d: %v", i, status)
			}
		})
	}
	callers.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for left := children(t); len(left) > 0; left = children(t) {
		if time.Now().After(deadline) {
			t.Fatalf("children are left: %v", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if r.Orphans() == 0 {
		t.Fatal("no orphan was collected: the test did not test")
	}
}

func children(t *testing.T) []string {
	t.Helper()
	var all []string
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		content, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err == nil {
			all = append(all, strings.Fields(string(content))...)
		}
	}
	return all
}

func TestAChildThatEndsAtOnceIsNotMissed(t *testing.T) {
	r := running(t)
	for range 200 {
		child := start(t, r, "exit 3")
		<-child.Done()
		if child.Status().ExitStatus() != 3 || child.Duration() <= 0 {
			t.Fatalf("%v %v", child.Status(), child.Duration())
		}
	}
}

func TestASignalAfterTheEndReachesNobody(t *testing.T) {
	r := running(t)
	child := start(t, r, "exit 0")
	<-child.Done()
	if err := r.SignalGroup(child, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestAFailedStartIsCollected(t *testing.T) {
	r := running(t)
	before := len(children(t))
	if _, err := r.Start("/no/such", []string{"x"}, &syscall.ProcAttr{}); err != syscall.ENOENT {
		t.Fatal(err)
	}
	if left := children(t); len(left) > before {
		t.Fatal("children are left: " + strconv.Itoa(len(left)))
	}
}
