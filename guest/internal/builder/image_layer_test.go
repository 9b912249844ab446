package builder

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/layer"
)

func sha256Of(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func compressed(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := writer.Write(data)
	if err == nil {
		err = writer.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// device is a disk with the blob somewhere on it, and the layer that says where.
func device(t *testing.T, blob []byte, diffID string) *guestv1.Layer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	disk := bytes.Join([][]byte{bytes.Repeat([]byte("before"), 1000), blob, make([]byte, 777)}, nil)
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return &guestv1.Layer{
		Device: path, OffsetBytes: 6000, SizeBytes: uint64(len(blob)), MediaType: gzipType, Digest: sha256Of(blob), DiffId: diffID,
	}
}

func unpackImage(t *testing.T, limits *layer.Limits, layers ...*guestv1.Layer) (entries uint64, err error) {
	t.Helper()
	top, err := unix.Open(t.TempDir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(top)
	u := &unpacking{top: top, limits: limits}
	for i, each := range layers {
		result, err := u.layer(context.Background(), each, i > 0)
		if err != nil {
			return entries, inLayer(i+1, err)
		}
		entries += result.Entries
	}
	var total uint64
	for _, each := range layers {
		total += each.SizeBytes
	}
	if u.done.Load() != total {
		t.Errorf("%d of %d bytes are done", u.done.Load(), total)
	}
	return entries, nil
}

func TestLayersOfAnImageAreUnpackedFromWhereTheyLie(t *testing.T) {
	path, size := archiveFile(t, "f", "content")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = content[:size]
	plain := device(t, content, sha256Of(content))
	plain.MediaType = "application/vnd.docker.image.rootfs.diff.tar"
	proven := provenTar(t, content)
	if err := checkLayer(1, proven); err != nil {
		t.Error(err)
	}
	entries, err := unpackImage(t, layer.DefaultLimits(), device(t, compressed(t, content), sha256Of(content)), plain, proven)
	if err != nil || entries != 3 {
		t.Fatal(entries, err)
	}
}

// provenTar is a tar that the host has unpacked from its blob and proven.
func provenTar(t *testing.T, content []byte) *guestv1.Layer {
	t.Helper()
	proven := device(t, content, "")
	proven.MediaType, proven.Digest = "application/vnd.oci.image.layer.v1.tar", ""
	return proven
}

func TestOnlyAPlainTarMayHaveNoDigests(t *testing.T) {
	packed := device(t, compressed(t, []byte("x")), "")
	packed.Digest = ""
	half := provenTar(t, []byte("x"))
	half.DiffId = sha256Of([]byte("x"))
	for name, each := range map[string]*guestv1.Layer{"compressed": packed, "with a diff ID alone": half} {
		if got := agenttest.CodeOf(checkLayer(1, each)); got != string(failure.InvalidArgument) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestEachFaultOfALayerHasItsCode(t *testing.T) {
	path, size := archiveFile(t, "f", "content")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content = content[:size]
	diffID := sha256Of(content)
	changed := func(change func(l *guestv1.Layer)) *guestv1.Layer {
		l := device(t, compressed(t, content), diffID)
		change(l)
		return l
	}
	hostile, hostileSize := archiveFile(t, "../outside", "x")
	outside, err := os.ReadFile(hostile)
	if err != nil {
		t.Fatal(err)
	}
	outside = outside[:hostileSize]
	for name, test := range map[string]struct {
		layer  *guestv1.Layer
		limits *layer.Limits
		code   failure.Code
	}{
		"another blob":        {changed(func(l *guestv1.Layer) { l.Digest = diffID }), layer.DefaultLimits(), failure.BlobDigestMismatch},
		"a damaged blob":      {changed(func(l *guestv1.Layer) { l.OffsetBytes++ }), layer.DefaultLimits(), failure.BlobDigestMismatch},
		"another tar":         {changed(func(l *guestv1.Layer) { l.DiffId = l.Digest }), layer.DefaultLimits(), failure.ImageDiffIDMismatch},
		"told to be zstd":     {changed(func(l *guestv1.Layer) { l.MediaType = "application/vnd.oci.image.layer.v1.tar+zstd" }), layer.DefaultLimits(), failure.ImageLayerTypeMismatch},
		"a way out":           {device(t, compressed(t, outside), sha256Of(outside)), layer.DefaultLimits(), failure.ImageLayerInvalid},
		"a proven way out":    {provenTar(t, outside), layer.DefaultLimits(), failure.ImageLayerInvalid},
		"proven, too large":   {provenTar(t, content), &layer.Limits{TarBytes: 100, Entries: 10}, failure.ImageLimitExceeded},
		"no tar":              {device(t, compressed(t, []byte("no tar")), diffID), layer.DefaultLimits(), failure.ImageLayerInvalid},
		"more than the image": {changed(func(*guestv1.Layer) {}), &layer.Limits{TarBytes: 100, Entries: 10}, failure.ImageLimitExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpackImage(t, test.limits, test.layer)
			if got := agenttest.CodeOf(buildFailure(context.Background(), err)); got != string(test.code) {
				t.Errorf("%s: %v", got, err)
			}
			t.Log(err)
		})
	}
}
