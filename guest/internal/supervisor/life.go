package supervisor

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/process"
)

const (
	// How often a service that forked away is looked at, and one that is being ended.
	treePause    = 250 * time.Millisecond
	endPause     = 20 * time.Millisecond
	stateRunning = guestv1.ServiceState_SERVICE_STATE_RUNNING
)

// service is one start of one service.
type service struct {
	supervisor *Service
	name       string
	request    *guestv1.StartServiceRequest
	launched   *process.Launched
	startedAt  time.Time
	// Takes the grace of the first stop.
	stop chan time.Duration
	// Closed when none of it lives and all below is settled.
	ended chan struct{}

	// Under the supervisor's lock.
	state            guestv1.ServiceState
	readyAt, endedAt time.Time
	end              guestv1.ServiceEnd
	exit             *guestv1.ExitStatus
	failure          string
	forked           bool
}

// live is the service's life: it decides each of its states.
func (v *service) live(ctx context.Context, check *check) {
	checking, leave := context.WithCancel(ctx)
	defer leave()
	var ready chan error
	if check != nil {
		ready = make(chan error, 1)
		go v.supervisor.options.Log.Run("a readiness check", func() { ready <- check.wait(checking) })
	}
	mainDone := v.launched.Task.Done()
	var look <-chan time.Time
	for {
		select {
		case <-mainDone:
			mainDone = nil
			// With 0 it may have left a daemon behind; any other end is that of all of it.
			if v.launched.Task.Status().ExitStatus() != 0 || !v.launched.Task.Alive() {
				v.endedByItself(ctx)
				return
			}
			v.supervisor.change(func() { v.forked, v.exit = true, v.launched.Exit() })
			ticker := time.NewTicker(treePause)
			defer ticker.Stop()
			look = ticker.C
		case <-look:
			if !v.launched.Task.Alive() {
				v.endedByItself(ctx)
				return
			}
		case err := <-ready:
			ready = nil
			if err == nil {
				v.supervisor.change(func() { v.state, v.readyAt = stateRunning, time.Now() })
				continue
			}
			v.endTree(ctx, failGrace)
			v.settle(guestv1.ServiceState_SERVICE_STATE_FAILED, guestv1.ServiceEnd_SERVICE_END_NOT_READY, err.Error())
			return
		case grace := <-v.stop:
			leave()
			v.endTree(ctx, grace)
			v.settle(guestv1.ServiceState_SERVICE_STATE_STOPPED, guestv1.ServiceEnd_SERVICE_END_REQUESTED, "")
			return
		case <-ctx.Done():
			return
		}
	}
}

// failGrace is what a service gets that was not ready in time: it may want to say something.
const failGrace = 2 * time.Second

// endedByItself settles one whose first process has ended, with all that is left of it.
func (v *service) endedByItself(ctx context.Context) {
	v.endTree(ctx, 0)
	exit := v.launched.Exit()
	if v.state == stateRunning {
		v.settle(guestv1.ServiceState_SERVICE_STATE_EXITED, guestv1.ServiceEnd_SERVICE_END_EXITED, "")
		return
	}
	v.settle(guestv1.ServiceState_SERVICE_STATE_FAILED, guestv1.ServiceEnd_SERVICE_END_EXITED_BEFORE_READY,
		fmt.Sprintf("it ended %s before it was ready", howItEnded(exit)))
}

func howItEnded(exit *guestv1.ExitStatus) string {
	switch {
	case exit.OutOfMemory:
		return "for want of memory"
	case exit.Signal != "":
		return "by " + exit.Signal
	default:
		return fmt.Sprintf("with exit code %d", exit.Code)
	}
}

// endTree leaves none of it alive: TERM to all of it, after the grace KILL.
func (v *service) endTree(ctx context.Context, grace time.Duration) {
	task := v.launched.Task
	if grace > 0 && task.Alive() {
		_ = task.SignalTree(unix.SIGTERM)
		// A stopped process would sleep through the grace.
		_ = task.SignalTree(unix.SIGCONT)
		for deadline := time.Now().Add(grace); task.Alive() && time.Now().Before(deadline) && ctx.Err() == nil; {
			time.Sleep(endPause)
		}
	}
	// Also where only its first process has ended, with no control group to see the rest by.
	if err := task.KillTree(ctx); err != nil {
		v.supervisor.options.Log.Printf("end the service %q: %v", v.name, err)
	}
}

// settle is its last change; nothing of it is alive.
func (v *service) settle(state guestv1.ServiceState, end guestv1.ServiceEnd, reason string) {
	v.launched.Drain()
	exit := v.launched.Exit()
	v.launched.Close()
	v.supervisor.change(func() {
		v.state, v.end, v.failure, v.exit, v.endedAt = state, end, reason, exit, time.Now()
		close(v.ended)
	})
}

func isAlive(state guestv1.ServiceState) bool {
	return state == guestv1.ServiceState_SERVICE_STATE_STARTING || state == stateRunning
}

func (v *service) isAlive() bool { return isAlive(v.state) }

func stateName(state guestv1.ServiceState) string {
	if state == guestv1.ServiceState_SERVICE_STATE_STARTING {
		return "starting"
	}
	return "running"
}

// info is under the supervisor's lock.
func (v *service) info() *guestv1.ServiceInfo {
	info := &guestv1.ServiceInfo{
		Name: v.name, StartId: v.request.StartId, Command: v.request.Command, Cwd: v.request.Cwd,
		Readiness: v.request.Readiness, State: v.state, StartedAtNs: v.startedAt.UnixNano(),
		ReadyAtNs: nanos(v.readyAt), EndedAtNs: nanos(v.endedAt), End: v.end, Exit: v.exit, Failure: v.failure, Forked: v.forked,
	}
	if v.exit == nil {
		info.Pid = uint32(v.launched.Task.PID())
	}
	return info
}

func nanos(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixNano()
}
