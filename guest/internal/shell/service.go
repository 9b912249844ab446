// Package shell keeps terminals for the host: programs with a pseudo-terminal of their own, which outlive the calls that
// opened and read them, and the connection.
//
// Invariants:
//   - what a terminal shows is always taken out of it, whoever reads: a shell never waits for a reader, and a reader
//     that vanishes costs nothing; what nobody has read in time is dropped, and its offsets say so;
//   - all that a terminal shows goes through one place (shell.take), all that is typed through another (shell.write);
//   - a shell's exit and its last output are kept until it is closed; closing leaves nothing of its tree alive.
package shell

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"

	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/workload"
)

// Bounds, as in src/protocol/limits.ts.
const (
	// MaxShells bounds the shells that the agent keeps, those that have exited included.
	MaxShells = 128
	// RingBytes is what is kept of what a terminal showed.
	RingBytes = 1 << 20
	// MaxCols and MaxRows bound a terminal's size.
	MaxCols = 1000
	MaxRows = 500
	// maxSizes bounds the sizes that are remembered of one terminal.
	maxSizes = 1024
	// maxWriteBytes bounds what one call types.
	maxWriteBytes = 64 << 10
)

// Options of a Service.
type Options struct {
	Workload *workload.Workload
	Root     rootdir.Root
	Log      guard.Log
}

// Service is the ShellService.
type Service struct {
	options Options
	// The life of the agent; shells end with it, not with a call.
	ctx context.Context

	mu     sync.Mutex
	shells map[string]*shell
	serial uint64
}

// New makes the service; the context is the agent's life.
func New(ctx context.Context, options Options) *Service {
	return &Service{options: options, ctx: ctx, shells: make(map[string]*shell)}
}

// find gives an opened shell.
func (s *Service) find(ctx context.Context, id string) (*shell, error) {
	s.mu.Lock()
	found := s.shells[id]
	s.mu.Unlock()
	if found == nil {
		return nil, unknownShell(id)
	}
	select {
	case <-found.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if found.openErr != nil {
		return nil, unknownShell(id)
	}
	return found, nil
}

func unknownShell(id string) *failure.Error {
	return failure.New(failure.ShellNotFound, "it was closed or never opened; open another one", "there is no shell %q", id)
}

// admit gives the entry of the id, and whether the caller is the one who must open it.
func (s *Service) admit(id string) (found *shell, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.shells[id]; found != nil {
		return found, false, nil
	}
	if len(s.shells) >= MaxShells {
		return nil, false, failure.New(failure.GuestProcessLimit, "close shells that are not needed any more",
			"there are %d shells already", MaxShells)
	}
	s.serial++
	found = newShell(s, id, s.serial)
	s.shells[id] = found
	return found, true, nil
}

func (s *Service) forget(gone *shell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shells[gone.id] == gone {
		delete(s.shells, gone.id)
	}
}

// all gives the shells in the order in which they were opened.
func (s *Service) all() []*shell {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*shell, 0, len(s.shells))
	for _, each := range s.shells {
		all = append(all, each)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].serial < all[j].serial })
	return all
}

func internal(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return failure.From(fmt.Errorf("%s: %w", what, err))
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.ShellService/Open":    call.Unary(s.Open),
		"pyro.guest.v1.ShellService/Read":    call.ServerStream(s.Read),
		"pyro.guest.v1.ShellService/Write":   call.Unary(s.Write),
		"pyro.guest.v1.ShellService/Signal":  call.Unary(s.Signal),
		"pyro.guest.v1.ShellService/Resize":  call.Unary(s.Resize),
		"pyro.guest.v1.ShellService/Close":   call.Unary(s.Close),
		"pyro.guest.v1.ShellService/List":    call.Unary(s.List),
		"pyro.guest.v1.ShellService/Rewrite": call.Unary(s.Rewrite),
	}
}
