package shell

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: the agent's side of it, and the program's.
type terminal struct {
	// Does not block; Go's poller waits for it.
	master *os.File
	number uint32

	// Over each use of the descriptors beside the master's own reads and writes: they are not closed meanwhile.
	mu sync.Mutex
	// The program's side, which the agent only asks about; it never reads from it. -1 once closed.
	slave  int
	closed bool
}

// openTerminal makes one of the given size. Root in the guest may have put anything at /dev/ptmx: what is no terminal is
// refused, and nothing waits for it.
func openTerminal(size *unix.Winsize) (*terminal, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	master, err := unix.Open("/dev/ptmx", flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	made, err := unlockTerminal(master, size)
	if err != nil {
		_ = unix.Close(master)
		return nil, err
	}
	return made, nil
}

func unlockTerminal(master int, size *unix.Winsize) (*terminal, error) {
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("/dev/ptmx is no terminal: %w", err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock a terminal: %w", err)
	}
	// By the master, not by a path that may have been replaced.
	slave, err := openPeer(master)
	if err != nil {
		return nil, fmt.Errorf("open the other side of a terminal: %w", err)
	}
	if err := prepareTerminal(master, slave, size); err != nil {
		_ = unix.Close(slave)
		return nil, err
	}
	return &terminal{master: os.NewFile(uintptr(master), "terminal"), number: number, slave: slave}, nil
}

func openPeer(master int) (int, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return -1, errno
	}
	return int(peer), nil
}

func prepareTerminal(master, slave int, size *unix.Winsize) error {
	if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, size); err != nil {
		return fmt.Errorf("set the size of a terminal: %w", err)
	}
	modes, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("ask for the modes of a terminal: %w", err)
	}
	// Erasing a character of several bytes erases it whole.
	modes.Iflag |= unix.IUTF8
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, modes); err != nil {
		return fmt.Errorf("set the modes of a terminal: %w", err)
	}
	return nil
}

// use calls f with both descriptors, unless the terminal is closed.
func (t *terminal) use(f func(master, slave int) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return os.ErrClosed
	}
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd), t.slave) }); err != nil {
		return err
	}
	return inner
}

// foreground is the process group that a key's signal would reach.
func (t *terminal) foreground() (group int, err error) {
	err = t.use(func(master, _ int) error {
		group, err = unix.IoctlGetInt(master, unix.TIOCGPGRP)
		return err
	})
	return group, err
}

// signal reaches the foreground process group, by the kernel itself where it can.
func (t *terminal) signal(number unix.Signal) error {
	return t.use(func(master, _ int) error {
		switch number {
		case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP:
			return unix.IoctlSetInt(master, unix.TIOCSIG, int(number))
		}
		group, err := unix.IoctlGetInt(master, unix.TIOCGPGRP)
		if err != nil || group <= 1 {
			return err
		}
		if err := unix.Kill(-group, number); err != nil && err != unix.ESRCH {
			return err
		}
		return nil
	})
}

// readable tells whether a read would not wait: on the program's side, that something was typed and is not read yet.
// Asking makes the kernel pass on what is under way.
func readable(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0 && poll[0].Revents&unix.POLLIN != 0
	}
}

func (t *terminal) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	_ = unix.Close(t.slave)
	t.slave = -1
	_ = t.master.Close()
}
