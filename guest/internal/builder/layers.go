package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/archive"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/layer"
)

// In sectors of 512 bytes: the disk reads ahead while an archive is unpacked.
const readAheadSectors = 8192

// unpacking is what the layers of one build share.
type unpacking struct {
	top    int
	limits *layer.Limits
	total  uint64
	// Bytes of the layers as they are stored, and the layer that is being unpacked, from 1.
	done    atomic.Uint64
	current atomic.Uint32
}

func unpackLayers(ctx context.Context, top int, layers []*guestv1.Layer, output *reporter, log guard.Log) (entries uint64, err error) {
	u := &unpacking{top: top, limits: layer.DefaultLimits()}
	for _, each := range layers {
		u.total += each.SizeBytes
	}
	stop := u.report(log, output)
	defer stop()
	for i, each := range layers {
		u.current.Store(uint32(i + 1))
		unpacked, err := u.layer(ctx, each, i > 0)
		if err != nil {
			return 0, inLayer(i+1, err)
		}
		entries += unpacked.Entries
	}
	return entries, nil
}

// report sends how far the layers are until it is stopped, and then once more.
func (u *unpacking) report(log guard.Log, output *reporter) (stop func()) {
	stopped := make(chan struct{})
	send := func() {
		output.progress(&guestv1.BuildProgress{
			Phase: "unpack", BytesDone: u.done.Load(), BytesTotal: u.total, Layer: u.current.Load(),
		})
	}
	var reporting sync.WaitGroup
	reporting.Go(func() {
		log.Run("the progress of a build", func() {
			ticker := time.NewTicker(progressInterval)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					send()
				case <-stopped:
					send()
					return
				}
			}
		})
	})
	return func() {
		close(stopped)
		reporting.Wait()
	}
}

// layer unpacks one layer over those before it.
func (u *unpacking) layer(ctx context.Context, from *guestv1.Layer, hasLower bool) (archive.Result, error) {
	if err := prepareDisk(from); err != nil {
		return archive.Result{}, err
	}
	before := u.done.Load()
	disk, err := archive.OpenDisk(from.Device, int64(from.OffsetBytes), int64(from.SizeBytes), func(bytes int) { u.done.Add(uint64(bytes)) })
	if err != nil {
		return archive.Result{}, err
	}
	defer disk.Close()
	var unpacked archive.Result
	if from.MediaType != "" {
		unpacked, err = u.imageLayer(ctx, from, disk, hasLower)
	} else {
		unpacked, err = archive.Unpack(ctx, u.top, disk, archive.Options{Layer: true, HasLower: hasLower})
	}
	// What follows the archive's end is padding; it counts as done.
	u.done.Store(before + from.SizeBytes)
	return unpacked, err
}

// prepareDisk tells a disk to read ahead, once it is known to have the whole layer.
func prepareDisk(from *guestv1.Layer) error {
	device, err := os.Open(from.Device)
	if err != nil {
		return err
	}
	defer device.Close()
	size, err := device.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("find the size of %q: %w", from.Device, err)
	}
	if from.OffsetBytes > uint64(size) || from.SizeBytes > uint64(size)-from.OffsetBytes {
		return failure.New(failure.InvalidArgument, "attach the whole layer",
			"%q has %d bytes, the layer should have %d from %d on", from.Device, size, from.SizeBytes, from.OffsetBytes)
	}
	// Refused by what is no disk.
	_ = unix.IoctlSetInt(int(device.Fd()), unix.BLKRASET, readAheadSectors)
	return nil
}

func isDiskFull(err error) bool { return errors.Is(err, unix.ENOSPC) }
