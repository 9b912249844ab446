package builder

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/archive"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

func packError(t *testing.T, mounted bool, request *guestv1.PackImageRequest) error {
	t.Helper()
	service := New(Options{RootMounted: func() bool { return mounted }, Log: guard.NewLog(os.Stderr)})
	client := agenttest.BuilderClient{Host: agenttest.Connect(t, service.Methods())}
	stream, err := client.PackImage(context.Background(), request)
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		t.Errorf("a message: %v", stream.Msg())
	}
	return stream.Err()
}

func TestABadRequestToPackIsRefused(t *testing.T) {
	for name, request := range map[string]*guestv1.PackImageRequest{
		"no device":        {},
		"a file":           {Device: "/etc/passwd"},
		"a way out of dev": {Device: "/dev/../etc/passwd"},
		"too many names":   {Device: "/dev/vda", LeaveOutEmpty: make([]string, 17)},
	} {
		if err := packError(t, false, request); agenttest.CodeOf(err) != string(failure.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := packError(t, true, &guestv1.PackImageRequest{Device: "/dev/vda"}); agenttest.CodeOf(err) != string(failure.InvalidArgument) {
		t.Error("in a machine with an environment:", err)
	}
}

func TestAFailureOfPackingSaysWhatToDo(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	for want, err := range map[failure.Code]error{
		failure.EnvironmentNotPortable: &archive.PortabilityError{Path: "a/.wh.b", Reason: "of its name"},
		failure.EnvironmentDamaged:     errors.Join(errors.New("read"), unix.EUCLEAN),
		failure.Internal:               unix.EPERM,
	} {
		if got := packFailure(ctx, err); agenttest.CodeOf(got) != string(want) {
			t.Errorf("%v: %v", want, got)
		}
	}
	cancel()
	if got := packFailure(ctx, unix.EIO); got != context.Canceled {
		t.Error(got)
	}
}
