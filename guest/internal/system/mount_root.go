package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/accounts"
	"pyro/guest/internal/failure"
)

// MountRoot makes the environment's disk the root directory, once. An identity that comes along is given first. A repeated
// call for the same disk gives it anew: the machine may have been saved since it was mounted.
func (s *Service) MountRoot(_ context.Context, message *guestv1.MountRootRequest) (*guestv1.MountRootResponse, error) {
	if message.Filesystem != "ext4" {
		return nil, failure.New(failure.InvalidArgument, "use ext4", "the file system %q is not supported", message.Filesystem)
	}
	if !strings.HasPrefix(message.Device, "/dev/") || strings.Contains(message.Device, "..") {
		return nil, failure.New(failure.InvalidArgument, "name a device, for example /dev/vda", "%q is no device", message.Device)
	}
	if message.Identity != nil {
		if err := checkIdentity(message.Identity); err != nil {
			return nil, err
		}
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	begin := time.Now()
	if s.root == message.Device {
		if err := s.takeOver(message); err != nil {
			return nil, failure.From(err)
		}
		return &guestv1.MountRootResponse{DurationMs: uint32(time.Since(begin).Milliseconds())}, nil
	}
	if s.root != "" {
		return nil, failure.New(failure.InvalidArgument, "start another machine", "the machine has its root on %q already", s.root)
	}
	if message.Identity != nil {
		if _, err := s.personalize(message.Identity); err != nil {
			return nil, failure.From(err)
		}
	}
	begin = time.Now()
	if err := s.options.Machine.SwitchRoot(message.Device, message.Filesystem); err != nil {
		return nil, mountFailure(message.Device, err)
	}
	s.root = message.Device
	if !s.options.OwnsRoot {
		return &guestv1.MountRootResponse{}, nil
	}
	if message.AsIs {
		if err := s.options.Machine.UncoverTmp(); err != nil {
			return nil, failure.From(fmt.Errorf("show the environment's /tmp: %w", err))
		}
		return &guestv1.MountRootResponse{}, nil
	}
	s.writeIdentity()
	if message.CreateWorkspace {
		if err := s.makeWorkspace(message.WorkspaceUser); err != nil {
			return nil, failure.From(err)
		}
	}
	return &guestv1.MountRootResponse{DurationMs: uint32(time.Since(begin).Milliseconds())}, nil
}

// takeOver makes a mounted root that of the machine which asks; the caller holds changing.
func (s *Service) takeOver(message *guestv1.MountRootRequest) error {
	if message.Identity == nil {
		return nil
	}
	if stored, err := s.personalize(message.Identity); err != nil || stored || !s.options.OwnsRoot {
		return err
	}
	if _, err := s.letGo(); err != nil {
		return err
	}
	s.writeIdentity()
	return nil
}

func mountFailure(device string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOTBLK):
		return failure.New(failure.InvalidArgument, "attach the disk before the machine starts", "there is no disk %q: %v", device, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EIO), errors.Is(err, unix.EBADMSG):
		return failure.New(failure.EnvironmentDamaged, "pull the environment again, which repairs it", "the disk %q holds no good ext4 file system: %v", device, err)
	default:
		return failure.From(err)
	}
}

// makeWorkspace makes /workspace where it is missing. One that is root's, made now or by the image, is given to the user.
func (s *Service) makeWorkspace(user string) error {
	if err := s.makeTop("workspace"); err != nil || user == "" {
		return err
	}
	account, err := accounts.Find(s.options.Root, user)
	if err != nil {
		// The machine is good for looking at the reason; a command says it.
		s.options.Log.Printf("give /workspace away: %v", err)
		return nil
	}
	fd, err := s.options.Root.Open("/workspace", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		// A link, or no directory: the image's own, and nothing of ours to give away.
		s.options.Log.Printf("give /workspace away: %v", err)
		return nil
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Uid != 0 || account.UID == 0 {
		return err
	}
	return unix.Fchownat(fd, "", int(account.UID), int(account.GID), unix.AT_EMPTY_PATH)
}

// makeTop makes a directory of the root where nothing has its name.
func (s *Service) makeTop(name string) error {
	top, err := s.options.Root.Open("/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	if err := unix.Mkdirat(top, name, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("make /%s: %w", name, err)
	}
	return nil
}
