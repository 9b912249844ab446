package layer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

func newHash() hash.Hash { return sha256.New() }

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// ErrSource is a failure of the source: it says nothing of the blob.
var ErrSource = errors.New("read the blob")

// stored reads a blob's bytes as they are stored.
type stored struct {
	from   io.Reader
	hash   hash.Hash
	count  int64
	failed bool
}

func (s *stored) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.hash.Write(p[:n])
	s.count += int64(n)
	if err != nil && err != io.EOF {
		s.failed = true
		err = fmt.Errorf("%w: %w", ErrSource, err)
	}
	return n, err
}

// unpacked reads the tar of a blob, within the bounds.
type unpacked struct {
	from   io.Reader
	stored *stored
	// Nil where the tar is the blob: under emulation a hash of it takes as long as its unpacking.
	hash   hash.Hash
	count  int64
	limits *Limits
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	if u.hash != nil {
		u.hash.Write(p[:n])
	}
	u.count += int64(n)
	switch {
	case u.count > u.limits.TarBytes:
		return n, errTarBytes
	case u.count > ratioFree && u.count/ratioMost > u.stored.count:
		return n, errRatio
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return n, errWindow
	}
	return n, err
}
