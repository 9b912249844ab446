// Package cgroup is what the agent needs of control groups, version 2. A group is held by a descriptor of its
// directory, so that root in the guest, who may mount what it likes over /sys, does not lead the agent astray.
package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Group is one control group.
type Group struct {
	parent *Group
	name   string
	fd     int
}

// OpenRoot opens the directory where the hierarchy is mounted.
func OpenRoot(path string) (*Group, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the control group %q: %w", path, err)
	}
	group := &Group{name: path, fd: fd}
	if _, err := group.read("cgroup.procs"); err != nil {
		group.Close()
		return nil, err
	}
	return group, nil
}

// Create makes a child group, or takes the one that is there.
func (g *Group) Create(name string) (*Group, error) {
	if err := unix.Mkdirat(g.fd, name, 0o755); err != nil && err != unix.EEXIST {
		return nil, fmt.Errorf("make the control group %q: %w", name, err)
	}
	return g.open(name)
}

func (g *Group) open(name string) (*Group, error) {
	fd, err := unix.Openat(g.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open the control group %q: %w", name, err)
	}
	return &Group{parent: g, name: name, fd: fd}, nil
}

// FD is for clone3; it stays the group's.
func (g *Group) FD() int { return g.fd }

// Number is what the kernel calls the group's id: the number of its directory's inode.
func (g *Group) Number() (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(g.fd, &stat); err != nil {
		return 0, fmt.Errorf("look at the control group %q: %w", g.name, err)
	}
	return stat.Ino, nil
}

// Close gives the descriptor back; the group stays.
func (g *Group) Close() {
	if g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
	}
}

// Set writes one control file.
func (g *Group) Set(file, value string) error {
	fd, err := unix.Openat(g.fd, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s of the control group %q: %w", file, g.name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return fmt.Errorf("write %q to %s of the control group %q: %w", value, file, g.name, err)
	}
	return nil
}

func (g *Group) read(file string) ([]byte, error) {
	fd, err := unix.Openat(g.fd, file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s of the control group %q: %w", file, g.name, err)
	}
	defer unix.Close(fd)
	// Most fit at once, and the kernel says so by the next read.
	content := make([]byte, 0, 512)
	for {
		n, err := unix.Read(fd, content[len(content):cap(content)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, fmt.Errorf("read %s of the control group %q: %w", file, g.name, err)
		case n == 0:
			return content, nil
		}
		content = slices.Grow(content[:len(content)+n], 512)
	}
}

// Value reads one number of a "key value" file such as memory.events.
func (g *Group) Value(file, key string) (uint64, error) {
	content, err := g.read(file)
	if err != nil {
		return 0, err
	}
	return flatValue(content, key)
}

func flatValue(content []byte, key string) (uint64, error) {
	for line := range bytes.Lines(content) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if ok && string(name) == key {
			return strconv.ParseUint(string(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("no %q in %q", key, content)
}

// Kill ends every process of the group and of the groups in it at once, frozen and stopped ones too.
func (g *Group) Kill() error { return g.Set("cgroup.kill", "1") }

// Populated tells whether a process lives in the group or in a group in it.
func (g *Group) Populated() (bool, error) {
	value, err := g.Value("cgroup.events", "populated")
	return value != 0, err
}

// WaitEmpty waits until no process lives in the group.
func (g *Group) WaitEmpty(ctx context.Context) error { return g.waitEvent(ctx, "populated", 0) }

// SetFrozen freezes or thaws the group and waits until that is so.
func (g *Group) SetFrozen(ctx context.Context, frozen bool) error {
	value, want := "0", uint64(0)
	if frozen {
		value, want = "1", 1
	}
	if err := g.Set("cgroup.freeze", value); err != nil {
		return err
	}
	return g.waitEvent(ctx, "frozen", want)
}

// waitEvent sleeps in poll(2): the kernel wakes it at each change of cgroup.events.
func (g *Group) waitEvent(ctx context.Context, key string, want uint64) error {
	fd, err := unix.Openat(g.fd, "cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup.events of the control group %q: %w", g.name, err)
	}
	defer unix.Close(fd)
	// Bounds how late the end of the context is seen.
	const wakeMs = 50
	var buffer [256]byte
	for {
		n, err := unix.Pread(fd, buffer[:], 0)
		if err != nil {
			return fmt.Errorf("read cgroup.events of the control group %q: %w", g.name, err)
		}
		if value, err := flatValue(buffer[:n], key); err != nil || value == want {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the control group %q did not reach %s %d: %w", g.name, key, want, ctx.Err())
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll, wakeMs); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll cgroup.events of the control group %q: %w", g.name, err)
		}
	}
}

// Signal sends a signal to every process of the group and of the groups in it. A process that is being forked meanwhile
// may be missed; Kill misses none.
func (g *Group) Signal(signal unix.Signal) error {
	content, err := g.read("cgroup.procs")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(content) {
		pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		// 0 stands for a process of another pid namespace.
		if err == nil && pid > 0 {
			_ = unix.Kill(pid, signal)
		}
	}
	return g.eachChild(func(child *Group) error { return child.Signal(signal) })
}

// Remove removes the group and the groups in it, all of which must be empty.
func (g *Group) Remove() error {
	if err := unix.Unlinkat(g.parent.fd, g.name, unix.AT_REMOVEDIR); err == nil || err == unix.ENOENT {
		return nil
	}
	if err := g.eachChild((*Group).Remove); err != nil {
		return err
	}
	if err := unix.Unlinkat(g.parent.fd, g.name, unix.AT_REMOVEDIR); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove the control group %q: %w", g.name, err)
	}
	return nil
}

func (g *Group) eachChild(do func(*Group) error) error {
	fd, err := unix.Openat(g.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("list the control group %q: %w", g.name, err)
	}
	handle := os.NewFile(uintptr(fd), g.name)
	defer handle.Close()
	entries, err := handle.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("list the control group %q: %w", g.name, err)
	}
	var failures []error
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		child, err := g.open(entry.Name())
		if err == nil {
			err = do(child)
			child.Close()
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}
