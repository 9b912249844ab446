// Package builder makes a root file system of image layers or of another machine's disk, and a layer of a root file system, inside a machine that exists for nothing else: hostile
// archives and package scripts are root here, and only here.
//
// Invariants:
//   - the target is unmounted, and everything written, before the result is sent, and also after every failure;
//   - one build at a time, and only in a machine without an environment.
package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/workload"
)

const (
	maxLayers = 256
	maxSteps  = 64
	// At most so often progress is sent.
	progressInterval = 200 * time.Millisecond
)

// Options of a Service.
type Options struct {
	Workload *workload.Workload
	// Whether the machine has an environment mounted.
	RootMounted func() bool
	Log         guard.Log
}

// Service is the BuilderService.
type Service struct {
	options  Options
	building sync.Mutex
}

// New makes the service.
func New(options Options) *Service { return &Service{options: options} }

// BuildImage unpacks the layers onto the target and runs the steps in it.
func (s *Service) BuildImage(ctx context.Context, request *guestv1.BuildImageRequest, stream call.Sends[*guestv1.BuildImageResponse]) error {
	if err := checkRequest(request); err != nil {
		return err
	}
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	// A host that is gone ends the build: its target is garbage then.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	output := &reporter{stream: stream, cancel: cancel}
	result, err := s.build(ctx, request, output)
	if err != nil {
		return buildFailure(ctx, err)
	}
	return output.send(&guestv1.BuildImageResponse{Event: &guestv1.BuildImageResponse_Result{Result: result}})
}

// begin takes the machine for one call.
func (s *Service) begin() (end func(), err error) {
	if s.options.RootMounted() || !s.building.TryLock() {
		return nil, failure.New(failure.InvalidArgument, "start a machine for the build alone", "the machine is in use already")
	}
	return s.building.Unlock, nil
}

func (s *Service) build(ctx context.Context, request *guestv1.BuildImageRequest, output *reporter) (result *guestv1.BuildResult, err error) {
	target, err := mountTarget(request.TargetDevice)
	if err != nil {
		return nil, err
	}
	defer target.finishInto(&result, &err)
	result = &guestv1.BuildResult{}
	if result.EntryCount, err = unpackLayers(ctx, target.top, request.Layers, output, s.options.Log); err != nil {
		return nil, err
	}
	if len(request.Steps) == 0 {
		return result, nil
	}
	if err := target.mountForSteps(); err != nil {
		return nil, err
	}
	for _, step := range request.Steps {
		if err := s.runStep(ctx, step, output); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func checkRequest(request *guestv1.BuildImageRequest) error {
	if len(request.Layers) > maxLayers || len(request.Steps) > maxSteps {
		return failure.New(failure.InvalidArgument, "use fewer", "%d layers and %d steps are more than %d and %d",
			len(request.Layers), len(request.Steps), maxLayers, maxSteps)
	}
	devices := []string{request.TargetDevice}
	for _, layer := range request.Layers {
		devices = append(devices, layer.Device)
	}
	for _, device := range devices {
		if err := checkDevice(device); err != nil {
			return err
		}
	}
	for i, layer := range request.Layers {
		if err := checkLayer(i+1, layer); err != nil {
			return err
		}
	}
	for _, step := range request.Steps {
		if len(step.Argv) == 0 || step.Argv[0] == "" {
			return failure.New(failure.InvalidArgument, "name a command", "a step has no command")
		}
	}
	return nil
}

func checkDevice(device string) error {
	if !strings.HasPrefix(device, "/dev/") || strings.Contains(device, "..") {
		return failure.New(failure.InvalidArgument, "name a device, for example /dev/vdb", "%q is no device", device)
	}
	return nil
}

func buildFailure(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*failure.Error](err); ok {
		return failure.From(err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if isDiskFull(err) {
		return failure.New(failure.GuestDiskFull, "give the image a larger disk", "the image does not fit: %v", err)
	}
	return failure.New(failure.EnvironmentBuildFailed, "pull it again; if that fails too, the image is not usable", "build the image: %v", err)
}

// reporter serialises what is sent.
type reporter struct {
	mu     sync.Mutex
	stream call.Sends[*guestv1.BuildImageResponse]
	cancel func()
}

func (r *reporter) send(message *guestv1.BuildImageResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.stream.Send(message); err != nil {
		r.cancel()
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func (r *reporter) progress(progress *guestv1.BuildProgress) {
	_ = r.send(&guestv1.BuildImageResponse{Event: &guestv1.BuildImageResponse_Progress{Progress: progress}})
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.BuilderService/BuildImage": call.ServerStream(s.BuildImage),
		"pyro.guest.v1.BuilderService/PackImage":  call.ServerStream(s.PackImage),
		"pyro.guest.v1.BuilderService/CopyDisk":   call.ServerStream(s.CopyDisk),
	}
}
