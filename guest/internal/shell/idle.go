package shell

import (
	"context"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// How often a shell is looked at while somebody waits for it: each look costs some system calls.
const (
	firstLook = 2 * time.Millisecond
	lastLook  = 25 * time.Millisecond
)

// waitIdle waits until nothing was shown for so long, counted from now at the earliest, or until the program in the
// foreground waits for input.
func (s *shell) waitIdle(ctx context.Context, quiet, limit time.Duration) (guestv1.ShellIdle, error) {
	begun := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	seen, pause := begun, firstLook
	for {
		select {
		case <-s.ended:
			return guestv1.ShellIdle_SHELL_IDLE_EXITED, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timer.C:
		}
		if s.waitsForInput() {
			return guestv1.ShellIdle_SHELL_IDLE_INPUT, nil
		}
		now, last := time.Now(), s.shownAt()
		since := begun
		if last.After(begun) {
			since = last
		}
		left := min(quiet-now.Sub(since), limit-now.Sub(begun))
		switch {
		case now.Sub(since) >= quiet:
			return guestv1.ShellIdle_SHELL_IDLE_QUIET, nil
		case left <= 0:
			return guestv1.ShellIdle_SHELL_IDLE_TIMEOUT, nil
		case last != seen:
			seen, pause = last, firstLook
		default:
			pause = min(2*pause, lastLook)
		}
		timer.Reset(min(pause, left))
	}
}

func (s *shell) shownAt() time.Time {
	s.taking.Lock()
	defer s.taking.Unlock()
	return s.lastOutput
}

// waitsForInput tells whether a program in the foreground waits for the terminal's next input, all that was typed is
// read, and all that it showed before is taken. In this order: a program that went on in between is seen to.
func (s *shell) waitsForInput() bool {
	var idle bool
	group, err := s.terminal.foreground()
	if err != nil || group <= 1 {
		return false
	}
	_ = s.terminal.use(func(master, slave int) error {
		if readable(slave) || !groupReads(group, s.terminal.number) || readable(slave) {
			return nil
		}
		s.taking.Lock()
		defer s.taking.Unlock()
		idle = !readable(master)
		return nil
	})
	return idle
}
