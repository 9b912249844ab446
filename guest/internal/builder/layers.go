package builder

import (
	"bufio"
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
	"pyro/guest/internal/guard"
)

const (
	readBytes = 1 << 20
	// In sectors of 512 bytes: the disk reads ahead while an archive is unpacked.
	readAheadSectors = 8192
)

func unpackLayers(ctx context.Context, top int, layers []*guestv1.Layer, output *reporter, log guard.Log) (entries uint64, err error) {
	var total uint64
	for _, layer := range layers {
		total += layer.SizeBytes
	}
	var done atomic.Uint64
	stop := reportProgress(log, output, &done, total)
	defer stop()
	for i, layer := range layers {
		unpacked, err := unpackLayer(ctx, top, layer, i > 0, &done)
		if err != nil {
			return 0, fmt.Errorf("layer %d: %w", i+1, err)
		}
		entries += unpacked.Entries
	}
	return entries, nil
}

// reportProgress sends how far the layers are until it is stopped, and then once more.
func reportProgress(log guard.Log, output *reporter, done *atomic.Uint64, total uint64) (stop func()) {
	stopped := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		log.Run("the progress of a build", func() {
			ticker := time.NewTicker(progressInterval)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					output.progress("unpack", done.Load(), total)
				case <-stopped:
					output.progress("unpack", done.Load(), total)
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

func unpackLayer(ctx context.Context, top int, layer *guestv1.Layer, hasLower bool, done *atomic.Uint64) (archive.Result, error) {
	device, err := os.Open(layer.Device)
	if err != nil {
		return archive.Result{}, err
	}
	defer device.Close()
	size, err := device.Seek(0, io.SeekEnd)
	if err != nil {
		return archive.Result{}, fmt.Errorf("find the size of %q: %w", layer.Device, err)
	}
	if layer.SizeBytes > uint64(size) {
		return archive.Result{}, fmt.Errorf("%q has %d bytes, the layer should have %d", layer.Device, size, layer.SizeBytes)
	}
	// Refused by what is no disk.
	_ = unix.IoctlSetInt(int(device.Fd()), unix.BLKRASET, readAheadSectors)
	from := &counting{io.NewSectionReader(device, 0, int64(layer.SizeBytes)), done}
	buffered := bufio.NewReaderSize(from, readBytes)
	unpacked, err := archive.Unpack(ctx, top, buffered, archive.Options{Layer: true, HasLower: hasLower})
	if err != nil {
		return unpacked, err
	}
	// What follows the archive's end is padding; it counts as done.
	done.Add(layer.SizeBytes - uint64(from.offset()))
	return unpacked, nil
}

// counting adds what is read to the count of all layers.
type counting struct {
	*io.SectionReader
	done *atomic.Uint64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.SectionReader.Read(p)
	c.done.Add(uint64(n))
	return n, err
}

func (c *counting) offset() int64 {
	at, err := c.Seek(0, io.SeekCurrent)
	if err != nil {
		return c.Size()
	}
	return at
}

func isDiskFull(err error) bool { return errors.Is(err, unix.ENOSPC) }
