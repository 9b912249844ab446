package shell

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Resize gives the terminal another size; the kernel tells the program.
func (s *Service) Resize(ctx context.Context, request *guestv1.ResizeShellRequest) (*guestv1.ResizeShellResponse, error) {
	size, err := checkedSize(request.Cols, request.Rows)
	if err != nil {
		return nil, err
	}
	found, err := s.find(ctx, request.ShellId)
	if err != nil {
		return nil, err
	}
	if found.hasEnded() {
		return nil, hasExited(found.id)
	}
	if err := found.resize(size); err != nil {
		if isOver(found) {
			return nil, hasExited(found.id)
		}
		return nil, internal("resize the terminal", err)
	}
	return &guestv1.ResizeShellResponse{Shell: found.info()}, nil
}

// isOver tells whether the program has ended, settled or not.
func isOver(s *shell) bool {
	select {
	case <-s.task.Done():
		return true
	default:
		return false
	}
}

func hasExited(id string) error {
	return failure.New(failure.ShellExited, "read what it left, close it, and open another one", "shell %q has exited", id)
}

// resize remembers from which byte on the size holds: the program may draw for it as soon as it has it, so that nothing
// is on its way from the terminal meanwhile.
func (s *shell) resize(size *unix.Winsize) error {
	s.sizing.Lock()
	defer s.sizing.Unlock()
	err := s.terminal.use(func(master, _ int) error {
		s.taking.Lock()
		defer s.taking.Unlock()
		if _, err := s.takeNow(master, RingBytes); err != nil {
			return err
		}
		if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, size); err != nil {
			return err
		}
		s.remember(size)
		return nil
	})
	for wake := range s.resized {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return err
}

// remember never changes a list that was given out.
func (s *shell) remember(size *unix.Winsize) {
	first, end := s.output.Extent()
	kept := s.sizes
	if last := len(kept) - 1; kept[last].Offset == end {
		kept = kept[:last]
	}
	next := &guestv1.ShellSize{Offset: end, Cols: uint32(size.Col), Rows: uint32(size.Row)}
	kept = slices.Concat(kept, []*guestv1.ShellSize{next})
	// What held only for bytes that are gone is of no use; nor are more than anybody can tell apart.
	for len(kept) > 1 && (kept[1].Offset <= first || len(kept) > maxSizes) {
		kept = kept[1:]
	}
	s.sizes = kept
}

// knownSizes is never changed afterwards.
func (s *shell) knownSizes() []*guestv1.ShellSize {
	s.sizing.Lock()
	defer s.sizing.Unlock()
	return s.sizes
}

func (s *shell) lastSize() *guestv1.ShellSize {
	s.sizing.Lock()
	defer s.sizing.Unlock()
	return s.sizes[len(s.sizes)-1]
}

// watchSizes tells the channel of new sizes until the result is called.
func (s *shell) watchSizes(wake chan<- struct{}) func() {
	s.sizing.Lock()
	defer s.sizing.Unlock()
	s.resized[wake] = struct{}{}
	return func() {
		s.sizing.Lock()
		defer s.sizing.Unlock()
		delete(s.resized, wake)
	}
}
