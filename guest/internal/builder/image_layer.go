package builder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/archive"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/layer"
)

const otherImage = "ask who made the image, or use another one: another tag, or the same of another registry"

var isDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString

// checkLayer refuses a layer that could not be told to be good.
func checkLayer(number int, from *guestv1.Layer) error {
	if from.OffsetBytes > math.MaxInt64 || from.SizeBytes > math.MaxInt64-from.OffsetBytes {
		return failure.New(failure.InvalidArgument, "use the layer's own size", "layer %d has %d bytes from %d on", number, from.SizeBytes, from.OffsetBytes)
	}
	if from.MediaType == "" {
		if from.Digest != "" || from.DiffId != "" {
			return failure.New(failure.InvalidArgument, "say its media type too", "layer %d has a digest and no media type", number)
		}
		return nil
	}
	if _, ok := layer.CompressionOf(from.MediaType); !ok {
		return failure.New(failure.InvalidArgument, "use an image with layers of tar, tar+gzip or tar+zstd",
			"layer %d has the media type %q, which is none of a layer", number, from.MediaType)
	}
	if isProven(from) {
		return nil
	}
	for name, value := range map[string]string{"digest": from.Digest, "diff ID": from.DiffId} {
		if !isDigest(value) {
			return failure.New(failure.InvalidArgument, `use "sha256:" and 64 hexadecimal digits`, "layer %d has the %s %q", number, name, value)
		}
	}
	return nil
}

// isProven says whether the host has unpacked the blob and proven both digests: hashing it again would take as long as its
// unpacking where the processor is emulated.
func isProven(from *guestv1.Layer) bool {
	compression, _ := layer.CompressionOf(from.MediaType)
	return compression == layer.None && from.Digest == "" && from.DiffId == ""
}

// imageLayer applies a layer of an image, and finds out whether it was the one that it should be.
func (u *unpacking) imageLayer(ctx context.Context, from *guestv1.Layer, disk *archive.Disk, hasLower bool) (archive.Result, error) {
	options := layer.Options{HasLower: hasLower, Limits: u.limits}
	if isProven(from) {
		applied, err := layer.ApplyTar(ctx, u.top, disk, options)
		return applied, imageLayerFailure(err)
	}
	compression, _ := layer.CompressionOf(from.MediaType)
	blob := layer.Blob{From: disk, SizeBytes: int64(from.SizeBytes), Compression: compression}
	result, err := layer.Apply(ctx, u.top, blob, options)
	// A damaged blob fails in many ways; this is the one that says so.
	if result.Digest != "" && result.Digest != from.Digest {
		return result.Applied, failure.New(failure.BlobDigestMismatch, "pull the image again: what this host holds of it is damaged",
			"it has the digest %s, and should have %s", result.Digest, from.Digest)
	}
	if err != nil {
		return result.Applied, imageLayerFailure(err)
	}
	if result.DiffID != from.DiffId {
		return result.Applied, failure.New(failure.ImageDiffIDMismatch, otherImage,
			"its tar has the digest %s, and by the image's configuration should have %s", result.DiffID, from.DiffId)
	}
	return result.Applied, nil
}

// imageLayerFailure tells what is the image's fault; the rest stays as it is.
func imageLayerFailure(err error) error {
	if err == nil {
		return nil
	}
	if mismatch, ok := errors.AsType[*layer.TypeError](err); ok {
		return failure.New(failure.ImageLayerTypeMismatch, otherImage, "%v", mismatch)
	}
	if limit, ok := errors.AsType[*archive.LimitError](err); ok {
		return failure.New(failure.ImageLimitExceeded, "use a smaller image; one of usual contents comes nowhere near",
			"it exceeds the limit %q: %v", limit.Which, err)
	}
	for _, other := range []error{layer.ErrSource, context.Canceled, context.DeadlineExceeded, unix.ENOSPC, unix.EIO, unix.EROFS, unix.ENOMEM} {
		if errors.Is(err, other) {
			return err
		}
	}
	return failure.New(failure.ImageLayerInvalid, otherImage, "it cannot be unpacked: %v", err)
}

// inLayer says in which layer it was.
func inLayer(number int, err error) error {
	if known, ok := errors.AsType[*failure.Error](err); ok && known.Detail != nil {
		return failure.New(failure.Code(known.Detail.Code), known.Detail.Hint, "layer %d: %w", number, err)
	}
	return fmt.Errorf("layer %d: %w", number, err)
}
