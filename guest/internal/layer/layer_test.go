package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/layer"
)

func TestABlobIsAppliedWhateverItsCompressionAndBothDigestsAreTold(t *testing.T) {
	// What follows an archive's end counts for the diff ID.
	content := append(pack(t, file("etc/motd", strings.Repeat("welcome ", 10_000))), make([]byte, 10_240)...)
	skipped := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	for name, test := range map[string]struct {
		compression layer.Compression
		blob        []byte
	}{
		"a tar":                             {layer.None, content},
		"gzip":                              {layer.Gzip, gzipped(t, content)},
		"gzip of several members":           {layer.Gzip, gzipped(t, content[:700], content[700:90_000], content[90_000:], nil)},
		"zstd":                              {layer.Zstd, zstandard(t, content)},
		"zstd of several frames":            {layer.Zstd, zstandard(t, content[:700], content[700:])},
		"zstd between frames to be skipped": {layer.Zstd, append(append(bytes.Clone(skipped), zstandard(t, content)...), skipped...)},
	} {
		for behind, padding := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 5000), "another blob": bytes.Repeat(test.blob, 2)} {
			t.Run(name+", and behind it "+behind, func(t *testing.T) {
				p := newPlace(t)
				disk := append(bytes.Clone(test.blob), padding...)
				result, err := p.applyFrom(bytes.NewReader(disk), int64(len(test.blob)), test.compression, layer.Options{})
				if err != nil || result.Digest != digest(test.blob) || result.DiffID != digest(content) || result.TarBytes != int64(len(content)) {
					t.Fatal(result, err)
				}
				if got, err := os.ReadFile(filepath.Join(p.root, "etc/motd")); err != nil || len(got) != 80_000 {
					t.Error(len(got), err)
				}
			})
		}
	}
}

func TestAnEmptyTarIsALayer(t *testing.T) {
	for compression, blob := range map[layer.Compression][]byte{
		layer.None: make([]byte, 1024), layer.Gzip: gzipped(t, make([]byte, 1024)), layer.Zstd: zstandard(t, make([]byte, 1024)),
	} {
		if result, err := newPlace(t).apply(blob, compression); err != nil || result.DiffID != digest(make([]byte, 1024)) {
			t.Error(compression, result, err)
		}
	}
}

func TestABlobThatIsNotWhatItIsToldToBeIsNamed(t *testing.T) {
	content := pack(t, file("f", "x"))
	blobs := map[layer.Compression][]byte{layer.None: content, layer.Gzip: gzipped(t, content), layer.Zstd: zstandard(t, content)}
	for found, blob := range blobs {
		for told := range blobs {
			if told == found {
				continue
			}
			p := newPlace(t)
			result, err := p.apply(blob, told)
			mismatch, ok := errors.AsType[*layer.TypeError](err)
			if !ok || mismatch.Told != told || mismatch.Found != found || result.Digest != digest(blob) || result.DiffID != "" {
				t.Errorf("%s told to be %s: %v %v", found, told, result, err)
			}
			if got := tree(t, p.root); len(got) != 1 {
				t.Errorf("%v", got)
			}
		}
	}
	// A name may begin as gzip does.
	odd := pack(t, file("\x1f\x8bname", "x"))
	if _, err := newPlace(t).apply(odd, layer.None); err != nil {
		t.Error(err)
	}
}

func TestMediaTypesOfLayers(t *testing.T) {
	for mediaType, want := range map[string]layer.Compression{
		"application/vnd.oci.image.layer.v1.tar":            layer.None,
		"application/vnd.oci.image.layer.v1.tar+gzip":       layer.Gzip,
		"application/vnd.oci.image.layer.v1.tar+zstd":       layer.Zstd,
		"application/vnd.docker.image.rootfs.diff.tar.gzip": layer.Gzip,
	} {
		if got, ok := layer.CompressionOf(mediaType); !ok || got != want {
			t.Errorf("%s: %q %v", mediaType, got, ok)
		}
	}
	for _, mediaType := range []string{"", "application/vnd.oci.image.layer.v1.tar+xz", "application/vnd.oci.image.config.v1+json"} {
		if _, ok := layer.CompressionOf(mediaType); ok {
			t.Errorf("%q is a layer", mediaType)
		}
	}
}

func TestADamagedBlobIsAnErrorThatStillTellsItsDigest(t *testing.T) {
	content := pack(t, file("f", strings.Repeat("some text ", 1000)))
	flipped := func(blob []byte, at int) []byte {
		blob = bytes.Clone(blob)
		blob[(at+len(blob))%len(blob)] ^= 1
		return blob
	}
	gz, zst := gzipped(t, content), zstandard(t, content)
	for name, test := range map[string]struct {
		compression layer.Compression
		blob        []byte
	}{
		"a wrong sum of gzip":        {layer.Gzip, flipped(gz, -8)},
		"a wrong length of gzip":     {layer.Gzip, flipped(gz, -1)},
		"gzip cut off":               {layer.Gzip, gz[:len(gz)-20]},
		"gzip without its sum":       {layer.Gzip, gz[:len(gz)-8]},
		"gzip and something else":    {layer.Gzip, append(bytes.Clone(gz), "something else"...)},
		"a gzip of no tar":           {layer.Gzip, gzipped(t, bytes.Repeat([]byte("no tar "), 200))},
		"a wrong sum of zstd":        {layer.Zstd, flipped(zst, -1)},
		"zstd cut off":               {layer.Zstd, zst[:len(zst)-5]},
		"zstd and something else":    {layer.Zstd, append(bytes.Clone(zst), "something else"...)},
		"a tar cut off":              {layer.None, content[:3000]},
		"a tar with a wrong header":  {layer.None, flipped(content, 3)},
		"nothing at all, as gzip":    {layer.Gzip, nil},
		"a member of gzip cut short": {layer.Gzip, append(bytes.Clone(gz), gz[:5]...)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			result, err := p.apply(test.blob, test.compression)
			if err == nil || result.DiffID != "" || result.Digest != digest(test.blob) {
				t.Errorf("%+v %v", result, err)
			}
			p.checkCanary()
		})
	}
}

func TestASourceThatEndsOrFailsIsNoBlob(t *testing.T) {
	blob := gzipped(t, pack(t, file("f", "x")))
	p := newPlace(t)
	if result, err := p.applyFrom(bytes.NewReader(blob), int64(len(blob))+1, layer.Gzip, layer.Options{}); !errors.Is(err, layer.ErrSource) || result.Digest != "" {
		t.Error(result, err)
	}
	broken := io.MultiReader(bytes.NewReader(blob[:20]), failing{})
	if result, err := p.applyFrom(broken, int64(len(blob)), layer.Gzip, layer.Options{}); !errors.Is(err, unix.EIO) || !errors.Is(err, layer.ErrSource) || result.Digest != "" {
		t.Error(result, err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, unix.EIO }

func TestACallerWhoLeavesEndsIt(t *testing.T) {
	p := newPlace(t)
	root, err := unix.Open(p.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	ctx, cancel := context.WithCancel(context.Background())
	// An archive that ended, and zeros without end behind it.
	from := &repeated{block: make([]byte, 1<<20), every: func(read int64) {
		if read > 8<<20 {
			cancel()
		}
	}}
	blob := layer.Blob{From: from, SizeBytes: 1 << 40, Compression: layer.None}
	if _, err := layer.Apply(ctx, root, blob, layer.Options{Limits: layer.DefaultLimits()}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if from.read > 64<<20 {
		t.Errorf("%d bytes were read", from.read)
	}
}

// repeated gives a block again and again.
type repeated struct {
	head, block []byte
	read        int64
	every       func(read int64)
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.head)
	if r.head = r.head[n:]; n == 0 {
		n = copy(p, r.block[r.read%int64(len(r.block)):])
		r.read += int64(n)
	}
	if r.every != nil {
		r.every(r.read)
	}
	return n, nil
}
