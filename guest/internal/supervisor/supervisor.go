// Package supervisor keeps long-running programs of the guest by a name: it starts them, sees when they are ready, keeps
// the newest of what they print, and ends their whole tree.
//
// Invariants:
//   - one goroutine per service decides its state (life.go); everything else asks or tells it;
//   - a service that is not starting or running has no process left alive;
//   - what was ready before a service began is not taken for its own.
package supervisor

import (
	"context"
	"sort"
	"sync"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/process"
	"pyro/guest/internal/rootdir"
)

const (
	// maxServices bounds those that are known, ended ones included; the one that ended first makes room.
	maxServices = 64
	// defaultLogBytes bounds what is kept of each stream: the oldest bytes go first.
	defaultLogBytes = 512 << 10
	// maxWait bounds a call that waits for a change.
	maxWait = time.Minute
)

// Options of a Service.
type Options struct {
	// Starts what is supervised, and the commands that check readiness.
	Processes *process.Service
	Root      rootdir.Root
	Log       guard.Log
}

// Service is the SupervisorService.
type Service struct {
	options Options
	// The life of the agent; services end with it, not with a call.
	ctx context.Context

	// Held over a start: of two for one name the second one sees the first.
	starting sync.Mutex

	mu         sync.Mutex
	services   map[string]*service
	generation uint64
	// Closed, and made anew, with each generation.
	changed chan struct{}
}

// New makes it; the context is the agent's life.
func New(ctx context.Context, options Options) *Service {
	return &Service{
		options: options, ctx: ctx,
		services: make(map[string]*service), generation: 1, changed: make(chan struct{}),
	}
}

func (s *Service) find(name string) (*service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.services[name]; known != nil {
		return known, nil
	}
	return nil, failure.New(failure.ServiceNotFound, "list the services that there are", "no service has the name %q", name)
}

// change makes a change under the lock that all states are read under, and tells who waits for one.
func (s *Service) change(alter func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alter()
	s.generation++
	close(s.changed)
	s.changed = make(chan struct{})
}

// add makes a started service known under its name, in place of one that ended.
func (s *Service) add(added *service) {
	s.change(func() {
		s.services[added.name] = added
		if len(s.services) > maxServices {
			delete(s.services, s.oldestEnded().name)
		}
	})
}

// checkRoom refuses what would be one too many, all others being alive.
func (s *Service) checkRoom(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.services) < maxServices || s.services[name] != nil || s.oldestEnded() != nil {
		return nil
	}
	return failure.New(failure.GuestProcessLimit, "stop one of them first", "%d services run already", len(s.services))
}

// oldestEnded is under the lock; nil where all are alive.
func (s *Service) oldestEnded() (oldest *service) {
	for _, known := range s.services {
		if known.isAlive() {
			continue
		}
		if oldest == nil || known.endedAt.Before(oldest.endedAt) {
			oldest = known
		}
	}
	return oldest
}

// Get answers with one service, or once it is no longer starting.
func (s *Service) Get(ctx context.Context, request *guestv1.GetServiceRequest) (*guestv1.GetServiceResponse, error) {
	known, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	err = s.waitFor(ctx, request.WaitMs, func() bool { return known.state != guestv1.ServiceState_SERVICE_STATE_STARTING })
	if err != nil {
		return nil, err
	}
	return &guestv1.GetServiceResponse{Service: s.info(known)}, nil
}

// List answers with all services by their names, at once or when the generation is another.
func (s *Service) List(ctx context.Context, request *guestv1.ListServicesRequest) (*guestv1.ListServicesResponse, error) {
	if err := s.waitFor(ctx, request.WaitMs, func() bool { return s.generation != request.AfterGeneration }); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	response := &guestv1.ListServicesResponse{Generation: s.generation}
	for _, known := range s.services {
		response.Services = append(response.Services, known.info())
	}
	sort.Slice(response.Services, func(i, j int) bool { return response.Services[i].Name < response.Services[j].Name })
	return response, nil
}

// waitFor waits, at most so long, until what is looked at under the lock is so; the time's end is no error.
func (s *Service) waitFor(ctx context.Context, waitMs uint32, isSo func() bool) error {
	timer := time.NewTimer(min(time.Duration(waitMs)*time.Millisecond, maxWait))
	defer timer.Stop()
	for {
		s.mu.Lock()
		so, changed := isSo(), s.changed
		s.mu.Unlock()
		if so || waitMs == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Service) info(known *service) *guestv1.ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return known.info()
}

// Stop ends a service and answers when none of it lives; one that has ended stays what it was.
func (s *Service) Stop(ctx context.Context, request *guestv1.StopServiceRequest) (*guestv1.StopServiceResponse, error) {
	known, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	grace := min(time.Duration(request.GraceMs)*time.Millisecond, maxWait)
	select {
	case known.stop <- grace:
	default:
		// Another stop is on its way; both wait for the end.
	}
	select {
	case <-known.ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &guestv1.StopServiceResponse{Service: s.info(known)}, nil
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.SupervisorService/Start":       call.Unary(s.Start),
		"pyro.guest.v1.SupervisorService/Get":         call.Unary(s.Get),
		"pyro.guest.v1.SupervisorService/List":        call.Unary(s.List),
		"pyro.guest.v1.SupervisorService/Logs":        call.ServerStream(s.Logs),
		"pyro.guest.v1.SupervisorService/Stop":        call.Unary(s.Stop),
		"pyro.guest.v1.SupervisorService/RewriteLogs": call.Unary(s.RewriteLogs),
	}
}
