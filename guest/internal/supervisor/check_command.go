package supervisor

import (
	"context"
	"errors"
	"fmt"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// commandProbe is ready when a command ends with 0. Whatever it started is ended with it, or when its time is over.
type commandProbe struct {
	supervisor *Service
	request    *guestv1.StartServiceRequest
	line       []byte
}

func (p *commandProbe) look(ctx context.Context) error {
	launched, err := p.supervisor.launchCheck(ctx, p.request, p.line)
	if err != nil {
		if known, ok := errors.AsType[*failure.Error](err); ok {
			return fmt.Errorf("the check cannot be run: %w", known)
		}
		return err
	}
	var late error
	select {
	case <-launched.Task.Done():
	case <-ctx.Done():
		late = fmt.Errorf("the check %q did not end in time", clip(p.line))
	}
	// Not the call's context: that one may be over.
	if err := launched.Task.KillTree(p.supervisor.ctx); err != nil {
		p.supervisor.options.Log.Printf("end a readiness check of %q: %v", p.request.Name, err)
	}
	launched.Drain()
	exit := launched.Exit()
	launched.Close()
	switch {
	case late != nil:
		return late
	case exit.Code == 0 && exit.Signal == "":
		return nil
	default:
		return fmt.Errorf("the check %q ended %s", clip(p.line), howItEnded(exit))
	}
}

func clip(text []byte) []byte { return text[:min(len(text), 80)] }
