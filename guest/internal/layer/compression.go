package layer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compression of a layer's tar.
type Compression string

// The compressions of layers.
const (
	None Compression = "none"
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// The media types of layers: of the OCI image specification (media-types.md), with those that were not to be
// distributed, and of Docker's manifests (image manifest version 2, schema 2).
var mediaTypes = map[string]Compression{
	"application/vnd.oci.image.layer.v1.tar":                       None,
	"application/vnd.oci.image.layer.v1.tar+gzip":                  Gzip,
	"application/vnd.oci.image.layer.v1.tar+zstd":                  Zstd,
	"application/vnd.oci.image.layer.nondistributable.v1.tar":      None,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": Gzip,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": Zstd,
	"application/vnd.docker.image.rootfs.diff.tar":                 None,
	"application/vnd.docker.image.rootfs.diff.tar.gzip":            Gzip,
	"application/vnd.docker.image.rootfs.diff.tar.zstd":            Zstd,
	"application/vnd.docker.image.rootfs.foreign.diff.tar":         None,
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    Gzip,
}

// CompressionOf is what a media type says; false where it is none of a layer.
func CompressionOf(mediaType string) (Compression, bool) {
	compression, ok := mediaTypes[mediaType]
	return compression, ok
}

// TypeError says that a blob is not what it is told to be.
type TypeError struct {
	Told, Found Compression
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("it is told to be a tar with compression %q, and begins as one with %q", e.Told, e.Found)
}

// Of magic numbers: a tar has its own at 257.
const sniffBytes = 265

// sniff tells a blob's compression by its first bytes; what is neither gzip nor zstd may be a tar, which its reader finds out.
func sniff(head []byte) Compression {
	switch {
	case len(head) >= 262 && string(head[257:262]) == "ustar":
		return None
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	// A frame (RFC 8878, 3.1.1), or one to be skipped (3.1.2).
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return Zstd
	default:
		return None
	}
}

// open gives the tar behind the compression, and what ends it.
func (c Compression) open(from *bufio.Reader) (io.Reader, func(), error) {
	head, err := from.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	if found := sniff(head); found != c {
		return nil, nil, &TypeError{c, found}
	}
	switch c {
	case Gzip:
		reader, err := gzip.NewReader(from)
		if err != nil {
			return nil, nil, fmt.Errorf("open the gzip stream: %w", err)
		}
		return reader, func() { _ = reader.Close() }, nil
	case Zstd:
		// No goroutines of its own: a builder has one processor.
		reader, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(windowMost))
		if err != nil {
			return nil, nil, fmt.Errorf("open the zstd stream: %w", err)
		}
		return reader, reader.Close, nil
	default:
		return from, func() {}, nil
	}
}
