// Package layer reads the blob of an image layer (OCI image specification, layer.md) and applies it to a root file system,
// by package archive.
//
// Invariants:
//   - of the source, the blob's own bytes are read and nothing behind them;
//   - both digests are of the whole blob: its compressed bytes, and the tar with all that follows its end;
//   - memory stays flat whatever the blob says: each bound is named in an archive.LimitError.
//
// What was applied is good only when the caller finds both digests right.
package layer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"pyro/guest/internal/archive"
)

// Read at once: the disk below reads ahead, and hashes like long runs.
const readBytes = 1 << 20

// Blob is one layer as it is stored.
type Blob struct {
	From io.Reader
	// Exact; what the source has behind that many bytes is not the blob's.
	SizeBytes   int64
	Compression Compression
}

// Options of Apply.
type Options struct {
	// There are layers below for whiteouts to hide.
	HasLower bool
	// Of all layers of the image together; what this one uses is taken off.
	Limits *Limits
}

// Result is what a blob came to.
type Result struct {
	// Of the blob as it is stored, "sha256:…".
	Digest string
	// Of the tar in it; empty where the blob could not be applied whole.
	DiffID string
	// Bytes of that tar.
	TarBytes int64
	Applied  archive.Result
}

// Apply applies the blob to the root directory behind the descriptor, which stays the caller's. Where the blob's content
// is at fault, the result still has the digest: it tells a damaged blob from a bad one.
func Apply(ctx context.Context, root int, blob Blob, options Options) (Result, error) {
	stored := &stored{from: io.LimitReader(blob.From, blob.SizeBytes), hash: newHash()}
	result, err := apply(ctx, root, bufio.NewReaderSize(stored, readBytes), stored, blob.Compression, options)
	if _, limited := errors.AsType[*archive.LimitError](err); limited || ctx.Err() != nil || stored.failed {
		return result, err
	}
	if _, drainErr := io.Copy(io.Discard, stored); drainErr != nil {
		return result, drainErr
	}
	if stored.count != blob.SizeBytes {
		return result, fmt.Errorf("%w: it ends after %d of %d bytes", ErrSource, stored.count, blob.SizeBytes)
	}
	result.Digest = digestOf(stored.hash)
	if err == nil && blob.Compression == None {
		result.DiffID = result.Digest
	}
	return result, err
}

func apply(ctx context.Context, root int, buffered *bufio.Reader, stored *stored, compression Compression, options Options) (Result, error) {
	decompressed, closeDecompressed, err := compression.open(buffered)
	if err != nil {
		return Result{}, err
	}
	defer closeDecompressed()
	tar := &unpacked{from: decompressed, stored: stored, limits: options.Limits}
	if compression != None {
		tar.hash = newHash()
	}
	applied, err := options.unpack(ctx, root, tar)
	result := Result{Applied: applied}
	if err == nil {
		// Behind the archive's end: padding that the diff ID counts, and the sums of the compression.
		_, err = io.Copy(io.Discard, archive.UntilDone(ctx, tar))
	}
	options.Limits.TarBytes -= tar.count
	if result.TarBytes = tar.count; err != nil {
		return result, err
	}
	if tar.hash != nil {
		result.DiffID = digestOf(tar.hash)
	}
	return result, nil
}

// ApplyTar applies a layer's tar that was proven to be the right one: nothing of it is hashed, which under emulation takes
// as long as its unpacking.
func ApplyTar(ctx context.Context, root int, tar *archive.Disk, options Options) (archive.Result, error) {
	head := make([]byte, sniffBytes)
	n, err := tar.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return archive.Result{}, fmt.Errorf("%w: %w", ErrSource, err)
	}
	if found := sniff(head[:n]); found != None {
		return archive.Result{}, &TypeError{None, found}
	}
	if options.Limits.TarBytes -= tar.Size(); options.Limits.TarBytes < 0 {
		return archive.Result{}, errTarBytes
	}
	return options.unpack(ctx, root, tar)
}

func (o Options) unpack(ctx context.Context, root int, tar io.Reader) (archive.Result, error) {
	applied, err := archive.Unpack(ctx, root, tar, archive.Options{
		Layer: true, HasLower: o.HasLower, MaxEntries: o.Limits.Entries,
	})
	o.Limits.Entries -= min(applied.Entries, o.Limits.Entries)
	return applied, err
}
