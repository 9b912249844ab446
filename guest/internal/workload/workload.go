// Package workload runs commands where the agent can hold all of them: each in a session and a control group of its
// own, all groups under one parent that is frozen before a save and thawed after a restore.
//
// Outside of a machine, in tests, there may be no control groups; then a command is its process group, nothing can be
// frozen, and what leaves the process group escapes.
package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/reaper"
)

// Bound of the wait for the kernel to end or freeze what it was told to.
const settleTime = 10 * time.Second

// ErrCannotFreeze says that there are no control groups here.
var ErrCannotFreeze = errors.New("commands cannot be frozen: no control groups here")

// Workload is all commands of the machine.
type Workload struct {
	reaper *reaper.Reaper
	// Nil where there are no control groups.
	parent *cgroup.Group
	limits Limits
	serial atomic.Uint64

	mu    sync.Mutex
	tasks map[*Task]struct{}
	// Made ahead for the next command; nil where there is none.
	spare *cgroup.Group
	// Closed when commands may be started; a start within a frozen group would stop half-way, inside of fork.
	thawed chan struct{}
	frozen bool
	// Starts that are under way.
	starting sync.WaitGroup
	// NAME=value, of those who are not given the name otherwise.
	defaults []string
}

// Limits are the knobs of each command's control group.
type Limits struct {
	// Processes and threads; 0 leaves the kernel's limit.
	MaxProcesses int
}

// New runs commands under the given group, which may be nil.
func New(reaper *reaper.Reaper, parent *cgroup.Group, limits Limits) *Workload {
	thawed := make(chan struct{})
	close(thawed)
	return &Workload{
		reaper: reaper, parent: parent, limits: limits,
		tasks: make(map[*Task]struct{}), thawed: thawed,
	}
}

// Spec is what to execute. The errors of a wrong one are plain errnos.
type Spec struct {
	// Whose it is: the id of the process or shell, as the host knows it.
	Owner string
	Path  string
	Argv  []string
	Env   []string
	Dir   string
	Files []uintptr
	// Empty for the agent's own root.
	Chroot     string
	Credential *syscall.Credential
	// The first of the files is a terminal, and becomes the controlling one of the session.
	Terminal bool
}

// SetDefaults says what the environment of each command has from now on, NAME=value, unless the command's own has the
// name. A command with a root of its own gets none of it.
func (w *Workload) SetDefaults(environment []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.defaults = slices.Clone(environment)
}

func (w *Workload) environment(spec Spec) []string {
	w.mu.Lock()
	defaults := w.defaults
	w.mu.Unlock()
	if spec.Chroot != "" {
		return spec.Env
	}
	env := slices.Clone(spec.Env)
	for _, entry := range defaults {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc(spec.Env, func(own string) bool { return strings.HasPrefix(own, name+"=") }) {
			env = append(env, entry)
		}
	}
	return env
}

// Start forks and executes in a new session and group; it waits while commands are frozen.
func (w *Workload) Start(ctx context.Context, spec Spec) (*Task, error) {
	if err := w.enter(ctx); err != nil {
		return nil, err
	}
	defer w.starting.Done()
	task := &Task{workload: w, owner: spec.Owner}
	attr := &syscall.SysProcAttr{Setsid: true, Chroot: spec.Chroot, Credential: spec.Credential, Setctty: spec.Terminal}
	if w.parent != nil {
		group, err := w.takeGroup()
		if err != nil {
			return nil, err
		}
		task.group = group
		attr.UseCgroupFD, attr.CgroupFD = true, group.FD()
	}
	giveFiles(spec)
	child, err := w.reaper.Start(spec.Path, spec.Argv, &syscall.ProcAttr{
		Dir: spec.Dir, Env: w.environment(spec), Files: spec.Files, Sys: attr,
	})
	if err != nil {
		task.removeGroup()
		return nil, err
	}
	task.Child = child
	w.mu.Lock()
	w.tasks[task] = struct{}{}
	w.mu.Unlock()
	return task, nil
}

// giveFiles makes pipes and terminals those of the user who gets them, as other programs that start some do: whoever opens them once
// more, by /dev/stdout, is asked whose they are.
func giveFiles(spec Spec) {
	if spec.Credential == nil || spec.Credential.Uid == 0 {
		return
	}
	for _, fd := range spec.Files {
		var stat unix.Stat_t
		if unix.Fstat(int(fd), &stat) == nil && (stat.Mode&unix.S_IFMT == unix.S_IFIFO || spec.Terminal) {
			_ = unix.Fchown(int(fd), int(spec.Credential.Uid), -1)
		}
	}
}

// enter counts a start in, once commands are not frozen.
func (w *Workload) enter(ctx context.Context) error {
	for {
		w.mu.Lock()
		if !w.frozen {
			w.starting.Add(1)
			w.mu.Unlock()
			return nil
		}
		thawed := w.thawed
		w.mu.Unlock()
		select {
		case <-thawed:
		case <-ctx.Done():
			return fmt.Errorf("commands are frozen: %w", ctx.Err())
		}
	}
}

// takeGroup gives the group that was made ahead, or makes one.
func (w *Workload) takeGroup() (*cgroup.Group, error) {
	w.mu.Lock()
	group := w.spare
	w.spare = nil
	w.mu.Unlock()
	if group != nil {
		return group, nil
	}
	return w.createGroup()
}

// Replenish makes the next command's group ahead, which is most of what a start takes besides fork and exec. A failure
// is for that start to meet.
func (w *Workload) Replenish() {
	w.mu.Lock()
	needed := w.parent != nil && w.spare == nil
	w.mu.Unlock()
	if !needed {
		return
	}
	group, err := w.createGroup()
	if err != nil {
		return
	}
	w.mu.Lock()
	if w.spare == nil {
		w.spare, group = group, nil
	}
	w.mu.Unlock()
	if group != nil {
		_ = group.Remove()
		group.Close()
	}
}

func (w *Workload) createGroup() (*cgroup.Group, error) {
	group, err := w.parent.Create("command-" + strconv.FormatUint(w.serial.Add(1), 10))
	if err != nil {
		return nil, err
	}
	// Either may lack its controller; the command runs without the bound then, as on a plain host.
	if w.limits.MaxProcesses > 0 {
		_ = group.Set("pids.max", strconv.Itoa(w.limits.MaxProcesses))
	}
	_ = group.Set("memory.oom.group", "1")
	return group, nil
}

// OwnerOf tells whose the control group of that number is; empty where it is nobody's.
func (w *Workload) OwnerOf(group uint64) string {
	w.mu.Lock()
	tasks := slices.Collect(maps.Keys(w.tasks))
	w.mu.Unlock()
	for _, task := range tasks {
		if task.hasGroup(group) {
			return task.owner
		}
	}
	return ""
}

// SetFrozen freezes or thaws all commands and waits until it is so. While frozen, none is started.
func (w *Workload) SetFrozen(ctx context.Context, frozen bool) error {
	if w.parent == nil {
		return ErrCannotFreeze
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if frozen {
		w.setGate(true)
		w.starting.Wait()
	}
	err := w.parent.SetFrozen(ctx, frozen)
	if err != nil && frozen {
		// Neither frozen nor thawed is worse than thawed.
		err = errors.Join(err, w.parent.Set("cgroup.freeze", "0"))
		frozen = false
	}
	if !frozen {
		w.setGate(false)
	}
	return err
}

func (w *Workload) setGate(frozen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if frozen == w.frozen {
		return
	}
	w.frozen = frozen
	if frozen {
		w.thawed = make(chan struct{})
	} else {
		close(w.thawed)
	}
}

// StopAll ends every command: TERM, after the grace KILL. Afterwards none is left, and none is started any more.
func (w *Workload) StopAll(ctx context.Context, grace time.Duration) error {
	w.setGate(true)
	w.starting.Wait()
	tasks := w.running()
	if grace > 0 && len(tasks) > 0 {
		if w.parent != nil {
			_ = w.parent.Set("cgroup.freeze", "0")
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		for _, task := range tasks {
			_ = task.SignalTree(unix.SIGTERM)
			_ = task.SignalTree(unix.SIGCONT)
		}
		for _, task := range tasks {
			select {
			case <-task.Done():
				continue
			case <-timer.C:
			case <-ctx.Done():
			}
			break
		}
	}
	if w.parent != nil {
		if err := w.parent.Kill(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, settleTime)
		defer cancel()
		return w.parent.WaitEmpty(ctx)
	}
	for _, task := range tasks {
		_ = task.KillTree(ctx)
	}
	return nil
}

func (w *Workload) running() []*Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	tasks := make([]*Task, 0, len(w.tasks))
	for task := range w.tasks {
		tasks = append(tasks, task)
	}
	return tasks
}
