package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
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

const gzipType = "application/vnd.oci.image.layer.v1.tar+gzip"

var someDigest = "sha256:" + strings.Repeat("0", 64)

func of(layer *guestv1.Layer) *guestv1.BuildImageRequest {
	layer.Device = "/dev/vdb"
	return &guestv1.BuildImageRequest{TargetDevice: "/dev/vda", Layers: []*guestv1.Layer{layer}}
}

func TestABadRequestIsRefused(t *testing.T) {
	for name, request := range map[string]*guestv1.BuildImageRequest{
		"no target":          {},
		"a file as target":   {TargetDevice: "/etc/passwd"},
		"a way out of /dev":  {TargetDevice: "/dev/../etc/passwd"},
		"a file as layer":    {TargetDevice: "/dev/vda", Layers: []*guestv1.Layer{{Device: "/etc/passwd"}}},
		"too many layers":    {TargetDevice: "/dev/vda", Layers: make([]*guestv1.Layer, 300)},
		"a step of no words": {TargetDevice: "/dev/vda", Steps: []*guestv1.BuildStep{{}}},
		"an unknown type":    of(&guestv1.Layer{MediaType: "application/x-xz", Digest: someDigest, DiffId: someDigest}),
		"no digest":          of(&guestv1.Layer{MediaType: gzipType, DiffId: someDigest}),
		"no diff ID":         of(&guestv1.Layer{MediaType: gzipType, Digest: someDigest}),
		"a short digest":     of(&guestv1.Layer{MediaType: gzipType, Digest: "sha256:00", DiffId: someDigest}),
		"a digest for a tar": of(&guestv1.Layer{Digest: someDigest}),
		"an offset too far":  of(&guestv1.Layer{OffsetBytes: 1 << 63, SizeBytes: 1 << 63}),
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
	u := &unpacking{top: top}
	var total uint64
	for i, content := range []string{"one", "two"} {
		path, size := archiveFile(t, "f"+content, content)
		total += size
		result, err := u.layer(context.Background(), &guestv1.Layer{Device: path, SizeBytes: size}, i > 0)
		if err != nil || result.Entries != 1 {
			t.Fatal(result, err)
		}
	}
	if u.done.Load() != total {
		t.Errorf("%d of %d bytes", u.done.Load(), total)
	}
	if content, err := os.ReadFile(filepath.Join(target, "ftwo")); err != nil || string(content) != "two" {
		t.Error(string(content), err)
	}
	path, _ := archiveFile(t, "f", "x")
	for _, larger := range []*guestv1.Layer{{SizeBytes: 1 << 40}, {SizeBytes: 1, OffsetBytes: 1 << 40}, {SizeBytes: 8000, OffsetBytes: 3000}} {
		larger.Device = path
		if _, err := u.layer(context.Background(), larger, false); agenttest.CodeOf(err) != string(failure.InvalidArgument) {
			t.Errorf("a layer larger than its disk: %v", err)
		}
	}
}
