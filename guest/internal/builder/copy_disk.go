package builder

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/clone"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

const (
	sourcePath = "/source"
	basePath   = "/base"
)

// CopyDisk makes a file system of what a disk holds that is to be kept.
func (s *Service) CopyDisk(ctx context.Context, request *guestv1.CopyDiskRequest, stream call.Sends[*guestv1.CopyDiskResponse]) error {
	devices := []string{request.SourceDevice, request.TargetDevice}
	if request.BaseDevice != "" {
		devices = append(devices, request.BaseDevice)
	}
	for _, device := range devices {
		if !strings.HasPrefix(device, "/dev/") || strings.Contains(device, "..") {
			return failure.New(failure.InvalidArgument, "name a device, for example /dev/vdb", "%q is no device", device)
		}
	}
	if s.options.RootMounted() || !s.building.TryLock() {
		return failure.New(failure.InvalidArgument, "start a machine for the copy alone", "the machine is in use already")
	}
	defer s.building.Unlock()
	result, err := copyDisk(ctx, request, stream)
	if err != nil {
		return copyFailure(ctx, err)
	}
	return stream.Send(&guestv1.CopyDiskResponse{Event: &guestv1.CopyDiskResponse_Result{Result: result}})
}

func copyDisk(ctx context.Context, request *guestv1.CopyDiskRequest, stream call.Sends[*guestv1.CopyDiskResponse]) (result *guestv1.BuildResult, err error) {
	source, err := mountToRead(request.SourceDevice, sourcePath, "")
	if err != nil {
		return nil, err
	}
	defer source.unmount()
	target, err := mountTarget(request.TargetDevice)
	if err != nil {
		return nil, err
	}
	defer target.finishInto(&result, &err)
	kept := newKept(request.Provided)
	done := &copied{stream: stream, total: source.usedBytes()}
	options := clone.Options{Skip: kept.skip, Rewrite: kept.rewrite, Progress: done.add}
	if request.WithContent {
		options.Tell = func(path, target string, data []byte) error { return tell(stream, path, target, data) }
		if request.BaseDevice != "" {
			// Nobody can write a journal there, and none is needed: it was made whole.
			base, err := mountToRead(request.BaseDevice, basePath, "noload")
			if err != nil {
				return nil, err
			}
			defer base.unmount()
			options.Known = base.has
		}
	}
	entries, err := clone.Tree(ctx, source.top, target.top, options)
	if err != nil {
		return nil, err
	}
	return &guestv1.BuildResult{EntryCount: entries}, nil
}

// readable is a mounted disk of somebody else's: nothing on it is run, and no device of it is opened.
type readable struct {
	top  int
	path string
}

func mountToRead(device, path, options string) (*readable, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("make the mount point of a disk: %w", err)
	}
	const flags = unix.MS_RDONLY | unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := unix.Mount(device, path, "ext4", flags, options); err != nil {
		return nil, fmt.Errorf("mount the disk %q: %w", device, err)
	}
	top, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Unmount(path, unix.MNT_DETACH)
		return nil, fmt.Errorf("open the root of the disk %q: %w", device, err)
	}
	return &readable{top, path}, nil
}

func (r *readable) unmount() {
	_ = unix.Close(r.top)
	_ = unix.Unmount(r.path, unix.MNT_DETACH)
}

// usedBytes is 0 where it cannot be found out.
func (r *readable) usedBytes() uint64 {
	var disk unix.Statfs_t
	if unix.Fstatfs(r.top, &disk) != nil {
		return 0
	}
	return (disk.Blocks - disk.Bfree) * uint64(disk.Bsize)
}

// has tells whether a file of another disk, which was written over this one, is the one here: the time of its last change is
// the kernel's word, and differs by nanoseconds once it was written to.
func (r *readable) has(path string, stat *unix.Statx_t) bool {
	const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
	fd, err := rootdir.OpenAt(r.top, path, unix.O_PATH|unix.O_NOFOLLOW, 0, resolve)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var here unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &here) != nil {
		return false
	}
	return here.Ino == stat.Ino && here.Mode == stat.Mode && here.Size == stat.Size && here.Ctime == stat.Ctime && here.Mtime == stat.Mtime
}

func tell(stream call.Sends[*guestv1.CopyDiskResponse], path, target string, data []byte) error {
	part := &guestv1.CopiedPart{Data: data}
	if data == nil {
		part.Path, part.LinkTarget = []byte(path), []byte(target)
	}
	return stream.Send(&guestv1.CopyDiskResponse{Event: &guestv1.CopyDiskResponse_Part{Part: part}})
}

// copied sends how far a copy is, now and then.
type copied struct {
	stream      call.Sends[*guestv1.CopyDiskResponse]
	done, total uint64
	next        time.Time
}

func (c *copied) add(bytes int) {
	c.done += uint64(bytes)
	now := time.Now()
	if now.Before(c.next) {
		return
	}
	c.next = now.Add(progressInterval)
	// A host that is gone ends the call's context.
	_ = c.stream.Send(&guestv1.CopyDiskResponse{Event: &guestv1.CopyDiskResponse_Progress{Progress: &guestv1.BuildProgress{
		Phase: "copy", BytesDone: min(c.done, c.total), BytesTotal: c.total,
	}}})
}

func copyFailure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case isDiskFull(err):
		return failure.New(failure.GuestDiskFull, "delete what is not needed from the disk, and try again", "the copy does not fit: %v", err)
	default:
		return failure.New(failure.EnvironmentBuildFailed, "`pyro doctor` examines this host; what is damaged on the disk has to be deleted first", "%v", err)
	}
}
