package supervisor

import (
	"context"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/process"
)

// Start starts a service, and answers before it is ready. A repeated call with its start_id gives the same one.
func (s *Service) Start(ctx context.Context, request *guestv1.StartServiceRequest) (*guestv1.StartServiceResponse, error) {
	if len(request.Name) == 0 || len(request.Name) > 64 {
		return nil, failure.New(failure.InvalidArgument, "use 1 to 64 bytes", "the name has %d bytes", len(request.Name))
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	if known, err := s.find(request.Name); err == nil {
		info := s.info(known)
		switch {
		case info.StartId == request.StartId:
			return &guestv1.StartServiceResponse{Service: info}, nil
		case isAlive(info.State):
			return nil, failure.New(failure.ServiceExists, "stop it first, or use another name",
				"a service with the name %q is %s", request.Name, stateName(info.State))
		}
	}
	if err := s.checkRoom(request.Name); err != nil {
		return nil, err
	}
	started, err := s.start(ctx, request)
	if err != nil {
		return nil, err
	}
	return &guestv1.StartServiceResponse{Service: s.info(started)}, nil
}

func (s *Service) start(ctx context.Context, request *guestv1.StartServiceRequest) (*service, error) {
	// Before it begins: the check looks at what is there already.
	check, err := s.newCheck(ctx, request)
	if err != nil {
		return nil, err
	}
	logBytes := request.LogBytes
	if logBytes == 0 {
		logBytes = defaultLogBytes
	}
	launched, err := s.options.Processes.Launch(ctx, &guestv1.StartRequest{
		Argv: request.Argv, Env: request.Env, Cwd: request.Cwd, User: request.User,
		OutputPolicy: guestv1.OutputPolicy_OUTPUT_POLICY_DROP_OLDEST, SpoolBytes: logBytes,
	})
	if err != nil {
		return nil, err
	}
	started := &service{
		supervisor: s, name: request.Name, launched: launched,
		// Without the environment, which may hold secrets: what a service was given does not outlive it.
		request: &guestv1.StartServiceRequest{
			StartId: request.StartId, Command: request.Command, Cwd: request.Cwd, Readiness: request.Readiness,
		},
		startedAt: time.Now(), state: guestv1.ServiceState_SERVICE_STATE_RUNNING,
		stop: make(chan time.Duration, 1), ended: make(chan struct{}),
	}
	if check != nil {
		started.state = guestv1.ServiceState_SERVICE_STATE_STARTING
	} else {
		started.readyAt = started.startedAt
	}
	s.add(started)
	go s.options.Log.Run("a service", func() { started.live(s.ctx, check) })
	return started, nil
}

// launchCheck starts a command of the readiness, as and where the service is.
func (s *Service) launchCheck(ctx context.Context, request *guestv1.StartServiceRequest, line []byte) (*process.Launched, error) {
	how := "-lc"
	if request.NoLogin {
		how = "-c"
	}
	return s.options.Processes.Launch(ctx, &guestv1.StartRequest{
		Argv: [][]byte{[]byte("/bin/sh"), []byte(how), line}, Env: request.Env, Cwd: request.Cwd, User: request.User,
		OutputPolicy: guestv1.OutputPolicy_OUTPUT_POLICY_DROP_OLDEST, SpoolBytes: 1,
	})
}
