package workload

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/reaper"
)

// Task is one command: its first process, and all that came of it.
type Task struct {
	*reaper.Child
	workload *Workload
	owner    string
	// Held for writing by Release alone: nobody uses the group's descriptor when it goes.
	using sync.RWMutex
	// Nil where there are no control groups, and after Release.
	group *cgroup.Group
}

// SignalGroup reaches the process group that the first process leads.
func (t *Task) SignalGroup(signal unix.Signal) error {
	return t.workload.reaper.SignalGroup(t.Child, signal)
}

// SignalTree reaches every process of the command, also those that left the process group or the session.
func (t *Task) SignalTree(signal unix.Signal) error {
	t.using.RLock()
	defer t.using.RUnlock()
	return t.signalTree(signal)
}

func (t *Task) signalTree(signal unix.Signal) error {
	switch {
	case t.group == nil:
		return t.SignalGroup(signal)
	case signal == unix.SIGKILL:
		return t.group.Kill()
	default:
		return t.group.Signal(signal)
	}
}

// KillTree ends every process of the command by force and waits until none lives and the first one was collected.
func (t *Task) KillTree(ctx context.Context) error {
	t.using.RLock()
	defer t.using.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := t.signalTree(unix.SIGKILL); err != nil {
		return err
	}
	select {
	case <-t.Done():
	case <-ctx.Done():
		return fmt.Errorf("process %d did not end after SIGKILL: %w", t.PID(), ctx.Err())
	}
	if t.group == nil {
		return nil
	}
	return t.group.WaitEmpty(ctx)
}

// OutOfMemory tells whether the kernel's out-of-memory killer took a process of the command.
func (t *Task) OutOfMemory() bool {
	t.using.RLock()
	defer t.using.RUnlock()
	if t.group == nil {
		return false
	}
	kills, err := t.group.Value("memory.events", "oom_kill")
	return err == nil && kills > 0
}

// Alive tells whether any process of the command lives; without control groups only the first one counts.
func (t *Task) Alive() bool {
	t.using.RLock()
	defer t.using.RUnlock()
	select {
	case <-t.Done():
	default:
		return true
	}
	if t.group == nil {
		return false
	}
	populated, err := t.group.Populated()
	return err == nil && populated
}

func (t *Task) hasGroup(number uint64) bool {
	t.using.RLock()
	defer t.using.RUnlock()
	if t.group == nil {
		return false
	}
	own, err := t.group.Number()
	return err == nil && own == number
}

// Release gives the control group back. Only when nothing of the command is alive; a second call does nothing.
func (t *Task) Release() error {
	t.workload.mu.Lock()
	delete(t.workload.tasks, t)
	t.workload.mu.Unlock()
	return t.removeGroup()
}

func (t *Task) removeGroup() error {
	t.using.Lock()
	defer t.using.Unlock()
	if t.group == nil {
		return nil
	}
	err := t.group.Remove()
	t.group.Close()
	t.group = nil
	return err
}
