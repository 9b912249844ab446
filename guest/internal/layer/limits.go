package layer

import (
	"fmt"

	"pyro/guest/internal/archive"
)

// Limits bound what the layers of one image are together.
type Limits struct {
	// Of the tars, uncompressed.
	TarBytes int64
	// Of the tars, in number; at least one.
	Entries uint64
}

// DefaultLimits are twice the disk of an environment (16 GiB), and twice the inodes on it.
func DefaultLimits() *Limits { return &Limits{TarBytes: 32 << 30, Entries: 2 << 20} }

const (
	// As many bytes of tar one byte of a blob may come to, once the tar has ratioFree: gzip ends at 1,032 by itself, zstd
	// does not, and images of real things stay below 20 as a whole.
	ratioMost = 200
	// A layer that is little but one preallocated file is no bomb.
	ratioFree = 1 << 30
	// What zstd looks back on: 128 MiB is the most that its own tools write and read unasked (--ultra -22, --long=27).
	windowMost = 128 << 20
)

// The bounds that a blob can meet, beside those of package archive.
var (
	errTarBytes = &archive.LimitError{Which: "image_bytes", Reason: fmt.Sprintf("the layers of the image are larger than %d GiB together", DefaultLimits().TarBytes>>30)}
	errRatio    = &archive.LimitError{Which: "ratio", Reason: fmt.Sprintf("it is larger than %d GiB and %d times its compressed bytes", ratioFree>>30, ratioMost)}
	errWindow   = &archive.LimitError{Which: "zstd_window", Reason: fmt.Sprintf("its zstd window is larger than %d MiB", windowMost>>20)}
)
