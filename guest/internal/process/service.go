// Package process runs commands for the host. A command outlives the call that started it and the connection: its
// output waits in spools, its end is kept until the host removes it.
//
// Invariants:
//   - one supervisor goroutine per command decides its end; everything else asks;
//   - the end is reported when the first process has ended and what it left in the pipes is in the spools, whoever
//     else holds the pipes;
//   - a timeout leaves nothing of the command alive.
package process

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/workload"
)

// maxProcesses bounds the commands that the agent knows, ended ones included: each keeps its last output.
const maxProcesses = 4096

// Observer hears what commands do by themselves. Its methods return at once.
type Observer interface {
	ProcessExited(processID string, exit *guestv1.ExitStatus)
	OutOfMemory(processID string)
}

// Transform is what all output passes between the pipe and the spool, before anything else sees it. It may keep bytes
// back until the next call; end tells that there is none. What it returns is copied before the next call.
type Transform func(data []byte, end bool) []byte

// Options of a Service.
type Options struct {
	Workload *workload.Workload
	Root     rootdir.Root
	Observer Observer
	Log      guard.Log
	// Makes the transform of one stream of a command; nil, or a nil result, passes bytes as they are.
	NewTransform func(start *guestv1.StartRequest, stream guestv1.OutputStream) Transform
}

// Service is the ProcessService.
type Service struct {
	options Options
	// The life of the agent; commands end with it, not with a call.
	ctx    context.Context
	poller *poller

	mu        sync.Mutex
	processes map[string]*process
	// Made ahead for the next command; nil where there are none.
	spare *pipes
}

// New makes the service; the context is the agent's life.
func New(ctx context.Context, options Options) (*Service, error) {
	poller, err := newPoller()
	if err != nil {
		return nil, err
	}
	go options.Log.Run("the poller of output", func() { poller.run(ctx) })
	return &Service{options: options, ctx: ctx, poller: poller, processes: make(map[string]*process)}, nil
}

// find gives a started command.
func (s *Service) find(ctx context.Context, id string) (*process, error) {
	s.mu.Lock()
	p := s.processes[id]
	s.mu.Unlock()
	if p == nil {
		return nil, unknownProcess(id)
	}
	select {
	case <-p.started:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.startErr != nil {
		return nil, unknownProcess(id)
	}
	return p, nil
}

func unknownProcess(id string) *failure.Error {
	return failure.New(failure.ProcessNotFound, "it was removed or never started; list the commands that there are",
		"no command has the id %q", id)
}

// admit gives the entry of the id, and whether the caller is the one who must start it.
func (s *Service) admit(id string) (p *process, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.processes[id]; p != nil {
		return p, false, nil
	}
	if len(s.processes) >= maxProcesses {
		return nil, false, failure.New(failure.GuestProcessLimit, "remove commands that have ended",
			"the agent keeps %d commands already", maxProcesses)
	}
	p = newProcess(s, id)
	s.processes[id] = p
	return p, true, nil
}

func (s *Service) forget(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.processes[p.id] == p {
		delete(s.processes, p.id)
	}
}

func (s *Service) all() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*process, 0, len(s.processes))
	for _, p := range s.processes {
		all = append(all, p)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	return all
}

func checkID(id string) error {
	if len(id) == 0 || len(id) > 128 {
		return failure.New(failure.InvalidArgument, "use 1 to 128 bytes", "process_id has %d bytes", len(id))
	}
	return nil
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
		"pyro.guest.v1.ProcessService/Start":      call.Unary(s.Start),
		"pyro.guest.v1.ProcessService/Run":        call.ServerStream(s.Run),
		"pyro.guest.v1.ProcessService/ReadOutput": call.ServerStream(s.ReadOutput),
		"pyro.guest.v1.ProcessService/WriteInput": call.ClientStream(s.WriteInput, 2, func(m *guestv1.WriteInputRequest) *[]byte { return &m.Data }),
		"pyro.guest.v1.ProcessService/Signal":     call.Unary(s.Signal),
		"pyro.guest.v1.ProcessService/Get":        call.Unary(s.Get),
		"pyro.guest.v1.ProcessService/List":       call.Unary(s.List),
		"pyro.guest.v1.ProcessService/Remove":     call.Unary(s.Remove),
	}
}
