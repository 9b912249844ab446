package process

import (
	"context"
	"sync"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/spool"
	"pyro/guest/internal/workload"
)

// Launched is a command that runs without a supervisor of this package: whoever launched it decides its end, drains it
// then, and closes it.
type Launched struct {
	Task           *workload.Task
	Stdout, Stderr *spool.Spool
	pumps          [2]*pump
	draining       sync.Once
}

// Launch starts a command as Start does, without input, and keeps it from being found by an id: of the request only what
// is executed, the policy and the bound count. The context is that of the start alone.
func (s *Service) Launch(ctx context.Context, message *guestv1.StartRequest) (*Launched, error) {
	spec, err := SpecOf(s.options.Root, message)
	if err != nil {
		return nil, err
	}
	pipes, err := s.takePipes(false)
	if err != nil {
		return nil, internal("open pipes", err)
	}
	defer pipes.closeChildEnds()
	spec.Files = pipes.childEnds()
	task, err := s.options.Workload.Start(ctx, spec)
	if err != nil {
		pipes.closeAgentEnds()
		return nil, StartFailure(spec, err)
	}
	l := &Launched{Task: task}
	l.Stdout, l.Stderr, l.pumps = s.pumps(pipes, message)
	return l, nil
}

// pumps begins to carry both outputs into spools.
func (s *Service) pumps(pipes *pipes, message *guestv1.StartRequest) (stdout, stderr *spool.Spool, pumps [2]*pump) {
	policy := spool.Block
	if message.OutputPolicy == guestv1.OutputPolicy_OUTPUT_POLICY_DROP_OLDEST {
		policy = spool.DropOldest
	}
	bound := int(min(message.SpoolBytes, maxSpoolBytes))
	stdout, stderr = spool.New(policy, bound), spool.New(policy, bound)
	pumps = [2]*pump{
		newPump(pipes.output[0], s.poller, stdout, s.transform(message, guestv1.OutputStream_OUTPUT_STREAM_STDOUT)),
		newPump(pipes.output[1], s.poller, stderr, s.transform(message, guestv1.OutputStream_OUTPUT_STREAM_STDERR)),
	}
	for _, pump := range pumps {
		go s.options.Log.Run("an output pump", pump.run)
	}
	return stdout, stderr, pumps
}

func (s *Service) transform(message *guestv1.StartRequest, stream guestv1.OutputStream) Transform {
	if make := s.options.NewTransform; make != nil {
		return make(message, stream)
	}
	return nil
}

// Drain waits until the spools have what is in the pipes now; for when nothing of the command is alive.
func (l *Launched) Drain() {
	l.draining.Do(func() {
		for _, pump := range l.pumps {
			pump.drain()
		}
	})
	for _, pump := range l.pumps {
		<-pump.done
	}
}

// Close gives back what it holds besides the spools; after Drain.
func (l *Launched) Close() {
	for _, pump := range l.pumps {
		pump.close()
	}
	_ = l.Task.Release()
}

// Exit is how its first process ended, and what was written until now; after that end.
func (l *Launched) Exit() *guestv1.ExitStatus {
	exit := exitStatus(l.Task.Status())
	exit.OutOfMemory = l.Task.OutOfMemory()
	exit.DurationUs = uint64(l.Task.Duration().Microseconds())
	exit.StdoutBytes, _ = l.Stdout.Totals()
	exit.StderrBytes, _ = l.Stderr.Totals()
	return exit
}
