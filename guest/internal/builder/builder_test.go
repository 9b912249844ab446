package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

func buildError(t *testing.T, mounted bool, request *guestv1.BuildImageRequest) error {
	t.Helper()
	log := guard.NewLog(os.Stderr)
	service := New(Options{RootMounted: func() bool { return mounted }, Log: log})
	client := agenttest.BuilderClient{Host: agenttest.Connect(t, service.Methods())}
	stream, err := client.BuildImage(context.Background(), request)
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		t.Errorf("a message: %v", stream.Msg())
	}
	return stream.Err()
}

func TestABadRequestIsRefused(t *testing.T) {
	for name, request := range map[string]*guestv1.BuildImageRequest{
		"no target":          {},
		"a file as target":   {TargetDevice: "/etc/passwd"},
		"a way out of /dev":  {TargetDevice: "/dev/../etc/passwd"},
		"a file as layer":    {TargetDevice: "/dev/vda", Layers: []*guestv1.Layer{{Device: "/etc/passwd"}}},
		"too many layers":    {TargetDevice: "/dev/vda", Layers: make([]*guestv1.Layer, 300)},
		"a step of no words": {TargetDevice: "/dev/vda", Steps: []*guestv1.BuildStep{{}}},
	} {
		for i := range request.Layers {
			if request.Layers[i] == nil {
				request.Layers[i] = &guestv1.Layer{Device: "/dev/vdb"}
			}
		}
		if err := buildError(t, false, request); agenttest.CodeOf(err) != string(failure.InvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMachineWithAnEnvironmentBuildsNothing(t *testing.T) {
	err := buildError(t, true, &guestv1.BuildImageRequest{TargetDevice: "/dev/vda"})
	if agenttest.CodeOf(err) != string(failure.InvalidArgument) {
		t.Fatal(err)
	}
}

func archiveFile(t *testing.T, name, content string) (path string, size uint64) {
	t.Helper()
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "layer")
	// A disk is larger than the archive on it, and what follows is not zero.
	if err := os.WriteFile(path, append(bytes.Clone(out.Bytes()), bytes.Repeat([]byte("garbage"), 1000)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, uint64(out.Len())
}

func TestALayerIsReadAsFarAsItGoes(t *testing.T) {
	target := t.TempDir()
	top, err := unix.Open(target, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	var done atomic.Uint64
	var total uint64
	for i, content := range []string{"one", "two"} {
		path, size := archiveFile(t, "f"+content, content)
		total += size
		result, err := unpackLayer(context.Background(), top, &guestv1.Layer{Device: path, SizeBytes: size}, i > 0, &done)
		if err != nil || result.Entries != 1 {
			t.Fatal(result, err)
		}
	}
	if done.Load() != total {
		t.Errorf("%d of %d bytes", done.Load(), total)
	}
	if content, err := os.ReadFile(filepath.Join(target, "ftwo")); err != nil || string(content) != "two" {
		t.Error(string(content), err)
	}
	path, _ := archiveFile(t, "f", "x")
	if _, err := unpackLayer(context.Background(), top, &guestv1.Layer{Device: path, SizeBytes: 1 << 40}, false, &done); err == nil {
		t.Error("a layer larger than its disk was accepted")
	}
}
