// Package reaper owns every wait of the agent. PID 1 inherits the orphans of the whole machine, and a wait for "any
// child" must not take the status that a command's supervisor waits for; so there is exactly one place that waits.
//
// Invariants:
//   - a child is known to the reaper before the reaper can see its end (one lock around fork and around wait);
//   - a pid is signalled only while it has not been waited for, so it cannot belong to somebody else;
//   - the reaper sleeps until SIGCHLD; it never polls.
package reaper

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reaper starts children and collects them and all orphans.
type Reaper struct {
	// Held over fork+exec and over each wait.
	mu       sync.Mutex
	children map[int]*Child
	orphans  atomic.Uint64
	signals  chan os.Signal
}

// New makes a reaper that listens for SIGCHLD from now on; Run does its work.
func New() *Reaper {
	r := &Reaper{children: make(map[int]*Child), signals: make(chan os.Signal, 1)}
	signal.Notify(r.signals, unix.SIGCHLD)
	return r
}

// Run collects children until the context ends.
func (r *Reaper) Run(ctx context.Context) {
	defer signal.Stop(r.signals)
	for {
		r.collect()
		select {
		case <-r.signals:
		case <-ctx.Done():
			return
		}
	}
}

// Orphans counts the processes that were not started here and ended as children of the agent.
func (r *Reaper) Orphans() uint64 { return r.orphans.Load() }

func (r *Reaper) collect() {
	for {
		r.mu.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG|unix.WALL, nil)
		if err == syscall.EINTR {
			r.mu.Unlock()
			continue
		}
		if err != nil || pid <= 0 {
			r.mu.Unlock()
			return
		}
		child := r.children[pid]
		delete(r.children, pid)
		if child != nil {
			child.reaped = true
		}
		r.mu.Unlock()
		if child == nil {
			r.orphans.Add(1)
			continue
		}
		child.status = status
		child.ended = time.Now()
		close(child.done)
	}
}

// Child is a process that was started here.
type Child struct {
	pid     int
	started time.Time
	done    chan struct{}

	// Guarded by the reaper's lock.
	reaped bool

	// Written before done is closed.
	status syscall.WaitStatus
	ended  time.Time
}

// PID is the process's number; it may belong to another process once Done is closed.
func (c *Child) PID() int { return c.pid }

// Done is closed when the process has ended and was waited for.
func (c *Child) Done() <-chan struct{} { return c.done }

// Status is how it ended; only after Done.
func (c *Child) Status() syscall.WaitStatus { return c.status }

// Duration is the wall time from fork to end; only after Done.
func (c *Child) Duration() time.Duration { return c.ended.Sub(c.started) }

// Start forks and executes. The error is the plain errno of fork, chroot, chdir or exec.
func (r *Reaper) Start(path string, argv []string, attr *syscall.ProcAttr) (*Child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	child := &Child{started: time.Now(), done: make(chan struct{})}
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	child.pid = pid
	r.children[pid] = child
	return child, nil
}

// SignalGroup sends a signal to the process group that the child leads; nothing when the child has ended.
func (r *Reaper) SignalGroup(child *Child, signal unix.Signal) error {
	return r.signal(child, -child.pid, signal)
}

// Kill ends the child by force, if it has not ended.
func (r *Reaper) Kill(child *Child) error { return r.signal(child, child.pid, unix.SIGKILL) }

func (r *Reaper) signal(child *Child, to int, signal unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if child.reaped {
		return nil
	}
	if err := unix.Kill(to, signal); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}
