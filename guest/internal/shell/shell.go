package shell

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/process"
	"pyro/guest/internal/spool"
	"pyro/guest/internal/workload"
)

// shell is one terminal and its program, from its admission until it is closed.
type shell struct {
	service *Service
	id      string
	serial  uint64

	// Closed when opening has succeeded or failed; all fields of the next group are written before.
	opened   chan struct{}
	openErr  error
	task     *workload.Task
	terminal *terminal
	argv     [][]byte
	cwd      []byte
	openedAt time.Time

	output *spool.Spool
	// Closed when the program has ended and its last output is in the spool; exit is written before.
	ended chan struct{}
	exit  *guestv1.ShellExit

	// Over each take of what the terminal shows: nothing is on its way while it is held.
	taking     sync.Mutex
	lastOutput time.Time

	// Holds a token: one writer at a time.
	writing chan struct{}
	written answers

	sizing  sync.Mutex
	sizes   []*guestv1.ShellSize
	resized map[chan<- struct{}]struct{}

	closing sync.Mutex
	closed  bool
}

func newShell(s *Service, id string, serial uint64) *shell {
	return &shell{
		service: s, id: id, serial: serial,
		opened:  make(chan struct{}),
		output:  spool.New(spool.DropOldest, RingBytes),
		ended:   make(chan struct{}),
		writing: make(chan struct{}, 1),
		resized: make(map[chan<- struct{}]struct{}),
	}
}

// run gives the shell its pump and its supervisor.
func (s *shell) run() {
	log := s.service.options.Log
	pumped := make(chan struct{})
	go log.Run("a terminal's pump", func() {
		defer close(pumped)
		s.pump()
	})
	go log.Run("a shell's supervisor", func() { s.supervise(pumped) })
}

// Between two rounds of a terminal that shows without pause the pump waits, so that small writes gather: each round
// costs the readers a message.
const (
	gatherBytes = 16 << 10
	gatherTime  = 4 * time.Millisecond
)

// pump takes what the terminal shows, until it is closed or its last user is gone.
func (s *shell) pump() {
	raw, err := s.terminal.master.SyscallConn()
	if err != nil {
		return
	}
	for {
		round := 0
		var readErr error
		err := raw.Read(func(fd uintptr) bool {
			var n int
			n, readErr = s.take(int(fd), gatherBytes)
			round += n
			return n > 0 || readErr != nil
		})
		if err != nil || readErr != nil {
			return
		}
		if round >= gatherBytes {
			time.Sleep(gatherTime)
		}
	}
}

// take moves what the terminal shows now into the spool, at most about so many bytes. No error and no bytes: there is
// nothing now.
func (s *shell) take(master, limit int) (taken int, err error) {
	s.taking.Lock()
	defer s.taking.Unlock()
	return s.takeNow(master, limit)
}

// takeNow is take for who holds the lock. All output of a shell comes by here.
func (s *shell) takeNow(master, limit int) (taken int, err error) {
	for taken < limit {
		n, err := unix.Read(master, s.output.Reserve())
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return taken, nil
		case err != nil:
			return taken, err
		case n <= 0:
			return taken, os.ErrClosed
		}
		s.output.Commit(n)
		s.lastOutput = time.Now()
		taken += n
	}
	return taken, nil
}

// supervise waits for the end of the program and settles everything. What the program left running goes on until the
// shell is closed.
func (s *shell) supervise(pumped <-chan struct{}) {
	<-s.task.Done()
	// The end of a session's leader hangs its terminal up: what was shown before is still there, and nothing comes after.
	_ = s.terminal.use(func(master, _ int) error {
		_, err := s.take(master, RingBytes)
		return err
	})
	s.terminal.close()
	<-pumped
	s.output.CloseWrite()
	status := s.task.Status()
	s.exit = &guestv1.ShellExit{}
	if status.Signaled() {
		s.exit.Signal = process.SignalName(status.Signal())
	} else {
		s.exit.Code = uint32(status.ExitStatus())
	}
	close(s.ended)
	if !s.task.Alive() {
		_ = s.task.Release()
	}
}

func (s *shell) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// close ends what lives of the shell: HUP, after the grace KILL. A second caller waits for the first.
func (s *shell) close(ctx context.Context, grace time.Duration) error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return nil
	}
	if s.task.Alive() {
		_ = s.task.SignalTree(unix.SIGHUP)
		// What is stopped would sleep through it.
		_ = s.task.SignalTree(unix.SIGCONT)
		s.waitGone(ctx, grace)
		if err := s.task.KillTree(ctx); err != nil {
			return err
		}
	}
	select {
	case <-s.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.closed = true
	err := s.task.Release()
	s.service.forget(s)
	return err
}

// waitGone waits until nothing of the tree lives, at most so long. Jobs end after their shell, and nobody is told of them.
func (s *shell) waitGone(ctx context.Context, grace time.Duration) {
	const step = 5 * time.Millisecond
	for end := time.Now().Add(grace); time.Now().Before(end) && s.task.Alive() && ctx.Err() == nil; {
		time.Sleep(step)
	}
}

func (s *shell) info() *guestv1.ShellInfo {
	info := &guestv1.ShellInfo{
		ShellId: s.id, Pid: uint32(s.task.PID()), Argv: s.argv, Cwd: s.cwd, OpenedUnixMs: s.openedAt.UnixMilli(),
	}
	if s.hasEnded() {
		info.Exit = s.exit
	} else {
		info.Running = true
	}
	info.FirstByte, info.TotalBytes = s.output.Extent()
	s.sizing.Lock()
	defer s.sizing.Unlock()
	size := s.sizes[len(s.sizes)-1]
	info.Cols, info.Rows = size.Cols, size.Rows
	return info
}
