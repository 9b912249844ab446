package process

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/spool"
	"pyro/guest/internal/workload"
)

// process is one command, from its admission to its removal.
type process struct {
	service *Service
	id      string

	// Closed when the start has succeeded or failed; all fields of the next group are written before.
	started  chan struct{}
	startErr error

	task *workload.Task
	// Nil when the command has none to write to.
	stdin          *os.File
	stdout, stderr *spool.Spool
	pumps          [2]*pump
	// Holds a token: one writer of standard input at a time.
	stdinTurn chan struct{}

	// Closed when the end is known; exit is written before.
	ended chan struct{}
	exit  *guestv1.ExitStatus

	removing sync.Mutex
	removed  bool
}

func newProcess(s *Service, id string) *process {
	return &process{
		service: s, id: id,
		started:   make(chan struct{}),
		stdinTurn: make(chan struct{}, 1),
		ended:     make(chan struct{}),
	}
}

// run gives the command its pumps and its supervisor.
func (p *process) run(task *workload.Task, pipes *pipes, message *guestv1.StartRequest) {
	p.task, p.stdin = task, pipes.stdin
	p.stdout, p.stderr, p.pumps = p.service.pumps(pipes, message)
	log := p.service.options.Log
	timeout := time.Duration(message.TimeoutMs) * time.Millisecond
	grace := time.Duration(message.KillGraceMs) * time.Millisecond
	go log.Run("a supervisor", func() { p.supervise(p.service.ctx, timeout, grace) })
}

// maxSpoolBytes bounds what a request may ask for.
const maxSpoolBytes = 64 << 20

// supervise waits for the end of the first process, by force after the timeout, and settles everything.
func (p *process) supervise(ctx context.Context, timeout, grace time.Duration) {
	timedOut := !p.waitFor(ctx, timeout)
	if timedOut {
		_ = p.task.SignalGroup(unix.SIGTERM)
		// A stopped process would sleep through the grace.
		_ = p.task.SignalGroup(unix.SIGCONT)
		if grace > 0 {
			p.waitFor(ctx, grace)
		}
		if err := p.task.KillTree(ctx); err != nil {
			p.service.options.Log.Printf("end the command %q after its timeout: %v", p.id, err)
		}
	}
	<-p.task.Done()
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	for _, pump := range p.pumps {
		pump.drain()
	}
	for _, pump := range p.pumps {
		<-pump.done
	}
	p.settle(timedOut)
}

// waitFor waits for the end of the first process; 0 waits for ever. False means that the time was over first.
func (p *process) waitFor(ctx context.Context, limit time.Duration) bool {
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-p.task.Done():
		return true
	case <-over:
		return false
	case <-ctx.Done():
		return true
	}
}

func (p *process) settle(timedOut bool) {
	exit := exitStatus(p.task.Status())
	exit.TimedOut = timedOut
	// The kernel takes the whole of a command (memory.oom.group): one that ended well lost nobody.
	exit.OutOfMemory = (exit.Signal != "" || exit.Code != 0) && p.task.OutOfMemory()
	exit.DurationUs = uint64(p.task.Duration().Microseconds())
	exit.StdoutBytes, exit.StdoutDroppedBytes = p.stdout.Totals()
	exit.StderrBytes, exit.StderrDroppedBytes = p.stderr.Totals()
	p.exit = exit
	close(p.ended)
	// Whoever waits for the end goes first: what follows takes longer than telling it.
	time.Sleep(settlePause)
	observer := p.service.options.Observer
	if exit.OutOfMemory {
		observer.OutOfMemory(p.id)
	}
	observer.ProcessExited(p.id, exit)
	if !p.task.Alive() {
		// A descendant that appears after this look is impossible: nothing is left to fork it.
		_ = p.task.Release()
	}
	p.service.Replenish()
}

// settlePause is several times what the end of a command takes on its way to the port.
const settlePause = 5 * time.Millisecond

// remove ends what lives of the command and gives back all it held. A second caller waits for the first.
func (p *process) remove(ctx context.Context) error {
	p.removing.Lock()
	defer p.removing.Unlock()
	if p.removed {
		return nil
	}
	if p.task.Alive() {
		if err := p.task.KillTree(ctx); err != nil {
			return err
		}
	}
	// A writer that waits for a reader waits in vain.
	p.stdout.Unbound()
	p.stderr.Unbound()
	select {
	case <-p.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.removed = true
	for _, pump := range p.pumps {
		pump.close()
	}
	err := p.task.Release()
	p.service.forget(p)
	return err
}

func (p *process) info() *guestv1.ProcessInfo {
	info := &guestv1.ProcessInfo{ProcessId: p.id, Pid: uint32(p.task.PID())}
	select {
	case <-p.ended:
		info.Exit = p.exit
	default:
		info.Running = true
	}
	info.StdoutBytes, _ = p.stdout.Totals()
	info.StderrBytes, _ = p.stderr.Totals()
	return info
}
