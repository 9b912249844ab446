package diagnostics

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

const maxSpawns = 100_000

// SpawnLoop measures fork, exec, exit and wait of a command, without anything around it. The command is a path.
func (s *Service) SpawnLoop(ctx context.Context, request *guestv1.SpawnLoopRequest) (*guestv1.SpawnLoopResponse, error) {
	argv, count := request.Argv, request.Count
	if len(argv) == 0 || count > maxSpawns {
		return nil, failure.New(failure.InvalidArgument, "give the path of a command, and a count up to 100000",
			"%d words, %d times", len(argv), count)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, failure.From(fmt.Errorf("open /dev/null: %w", err))
	}
	defer unix.Close(null)
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{uintptr(null), uintptr(null), uintptr(null)},
		Sys: &syscall.SysProcAttr{Chroot: s.root.Chroot()},
	}
	response := &guestv1.SpawnLoopResponse{DurationUs: make([]uint32, 0, count)}
	for range count {
		child, err := s.reaper.Start(argv[0], argv, attr)
		if errors.Is(err, syscall.ENOENT) {
			return nil, failure.New(failure.CommandNotFound, "give the full path", "there is no %q", argv[0])
		}
		if err != nil {
			return nil, failure.From(fmt.Errorf("start %q: %w", argv[0], err))
		}
		select {
		case <-child.Done():
		case <-ctx.Done():
			_ = s.reaper.Kill(child)
			return nil, ctx.Err()
		}
		response.DurationUs = append(response.DurationUs, uint32(child.Duration().Microseconds()))
	}
	return response, nil
}
