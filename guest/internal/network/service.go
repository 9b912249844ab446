// Package network is the machine's way out and in, without a network card: it captures the TCP connections and the name
// queries of programs, carries them to the host's gateway, and connects the host to the ports that are published.
//
// Invariants:
//   - there is no device but lo, so what the capture misses goes nowhere;
//   - the host decides: what is asked here is a wish, and root in the machine could ask it without us;
//   - a connection belongs to one epoch of the link, and is reset when that ends: a clone never goes on with it.
package network

import (
	"context"
	"sync"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

const (
	// maxConnections bounds the connections of programs at once, those that are being made too.
	maxConnections = 512
	// maxQueries bounds the name queries at once.
	maxQueries = 64
)

// Commands are what may open connections.
type Commands struct {
	// Their control groups' parent; nil where there are none.
	Group *cgroup.Group
	// The depth of a command's own group in the tree: 1 is a child of the root.
	Level int
	// OwnerOf names whose a group is, by its number; empty where nobody knows.
	OwnerOf func(number uint64) string
}

// Options of a Service.
type Options struct {
	Commands Commands
	// Rewrite changes a small file of the commands' root; the same content is not written, nil is no file.
	Rewrite func(path string, change func(old []byte) []byte) error
	// SetDefaults says what commands find in their environment, NAME=value, from now on.
	SetDefaults func(environment []string)
	Log         guard.Log
}

// Service is the NetworkService, and the caller of the GatewayService.
type Service struct {
	options     Options
	connections chan struct{}
	cache       cache
	refusals    seldom

	// One change at a time.
	configuring sync.Mutex
	outside     *outside

	mu      sync.Mutex
	current *call.Peer
	epoch   context.Context
}

// New makes the service; the machine has no network until Configure.
func New(options Options) *Service {
	return &Service{options: options, connections: make(chan struct{}, maxConnections)}
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.NetworkService/Configure": call.Unary(s.Configure),
		"pyro.guest.v1.NetworkService/Dial":      s.dialMethod(),
	}
}

// Serve takes the host of one epoch, until the epoch ends. It is for serve.Epochs.
func (s *Service) Serve(ctx context.Context, host *call.Peer) {
	s.mu.Lock()
	s.current, s.epoch = host, ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	if s.current == host {
		s.current, s.epoch = nil, nil
	}
	s.mu.Unlock()
}

// host is the host's side of the link, and the context that ends with it; nil while it is away.
func (s *Service) host() (*call.Peer, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.epoch
}

// Configure connects programs to the gateway, or cuts them off. What is so already stays, but for a cut: it resets
// whatever is left of connections.
func (s *Service) Configure(_ context.Context, request *guestv1.ConfigureNetworkRequest) (*guestv1.ConfigureNetworkResponse, error) {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	s.options.provide(request)
	if err := s.configure(request.Egress); err != nil {
		return nil, failure.From(err)
	}
	return &guestv1.ConfigureNetworkResponse{}, nil
}

func (s *Service) configure(egress bool) error {
	s.cache.clear()
	if !egress {
		if s.outside == nil {
			// The disk may be that of a machine that had a network.
			s.options.forgetResolver([]byte(noResolver))
			return nil
		}
		err := s.outside.close()
		s.outside = nil
		return err
	}
	if s.outside != nil {
		return s.outside.repair()
	}
	outside, err := s.openOutside()
	if err != nil {
		return err
	}
	s.outside = outside
	return nil
}
