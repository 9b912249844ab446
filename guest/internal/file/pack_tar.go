package file

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/walk"
)

const tarBlockBytes = 512

// PackTar streams a thing and what lies below it as one tar.
func (s *Service) PackTar(ctx context.Context, request *guestv1.PackTarRequest, stream call.Sends[*guestv1.PackTarResponse]) error {
	name, err := checkPath(request.Path)
	if err != nil {
		return err
	}
	view, err := s.view(request.Within)
	if err != nil {
		return err
	}
	handle, err := view.Open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return accessFailure(name, err)
	}
	defer unix.Close(handle)
	p := &packer{ctx: ctx, asked: name, stream: stream, chunk: call.NewChunk(1)}
	if err := p.all(view, handle); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return failure.From(err)
	}
	return nil
}

// packer makes a tar in the room of chunks: content is read where it is sent from.
type packer struct {
	ctx    context.Context
	asked  string
	stream call.Sends[*guestv1.PackTarResponse]
	chunk  *call.Chunk
	room   []byte
	used   int
	header bytes.Buffer
	// Devices, FIFOs and sockets.
	leftOut uint64
}

func (p *packer) all(view rootdir.View, handle int) error {
	var stat unix.Statx_t
	if err := unix.Statx(handle, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &stat); err != nil {
		return accessFailure(p.asked, err)
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFLNK, unix.S_IFDIR:
	default:
		return notRegular(p.asked, uint32(stat.Mode))
	}
	open := func() (int, error) {
		return unix.Open(fmt.Sprintf("/proc/self/fd/%d", handle), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err := p.entry(".", &stat, handle, "", open); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := p.below(handle); err != nil {
			return err
		}
	}
	// Two empty blocks end an archive.
	if err := p.zeros(2 * tarBlockBytes); err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	return p.stream.Send(&guestv1.PackTarResponse{LeftOut: p.leftOut})
}

func (p *packer) below(handle int) error {
	fd, err := walk.Open(handle, []byte("."))
	if err != nil {
		return accessFailure(p.asked, err)
	}
	defer unix.Close(fd)
	return walk.Down(fd, true, func(at walk.Visited) error {
		err := p.entry(string(at.Path), at.Stat, at.Parent, string(at.Name), func() (int, error) {
			const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
			return unix.Openat(at.Parent, string(at.Name), flags, 0)
		})
		if walk.Vanished(err) {
			return nil
		}
		return err
	}, func(path []byte, err error) error {
		return failure.New(failure.GuestFileRefused, "pack a smaller part of it", "%q below %q: %v", path, p.asked, err)
	})
}

// entry packs one thing. An error that says that it vanished comes before anything of it is in the archive.
func (p *packer) entry(name string, stat *unix.Statx_t, directory int, base string, open func() (int, error)) error {
	header := &tar.Header{
		Name: name, Mode: int64(stat.Mode & 0o7777), Uid: int(stat.Uid), Gid: int(stat.Gid), Format: tar.FormatPAX,
		ModTime: time.Unix(stat.Mtime.Sec, int64(stat.Mtime.Nsec)),
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.file(header, open)
	case unix.S_IFDIR:
		header.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		header.Typeflag = tar.TypeSymlink
		target, err := readLink(directory, base)
		if err != nil {
			return err
		}
		header.Linkname = target
	default:
		p.leftOut++
		return nil
	}
	return p.head(header)
}

func (p *packer) file(header *tar.Header, open func() (int, error)) error {
	fd, err := open()
	if err != nil {
		return fmt.Errorf("open %q: %w", header.Name, err)
	}
	defer unix.Close(fd)
	// Of what is open: between the look and the opening it may have become something else.
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return fmt.Errorf("look at %q: %w", header.Name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.ENOENT
	}
	header.Typeflag, header.Size = tar.TypeReg, stat.Size
	if err := p.head(header); err != nil {
		return err
	}
	for left := stat.Size; left > 0; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		room, err := p.space()
		if err != nil {
			return err
		}
		n, err := unix.Read(fd, room[:min(left, int64(len(room)))])
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			return failure.New(failure.GuestFileChanged, "let what writes to it end, and try again", "%s shrank while it was read", p.said(header.Name))
		}
		if err != nil {
			return failure.From(fmt.Errorf("read %s: %v", p.said(header.Name), err))
		}
		p.used += n
		left -= int64(n)
	}
	return p.zeros(int(-stat.Size & (tarBlockBytes - 1)))
}

func (p *packer) said(name string) string {
	if name == "." {
		return fmt.Sprintf("%q", p.asked)
	}
	return fmt.Sprintf("%q", strings.TrimSuffix(p.asked, "/")+"/"+name)
}

// head writes what comes before an entry's content. Each has a tar writer of its own, which never sees the content.
func (p *packer) head(header *tar.Header) error {
	p.header.Reset()
	if err := tar.NewWriter(&p.header).WriteHeader(header); err != nil {
		return failure.New(failure.GuestFileRefused, "rename it, or pack another part", "%s cannot be packed: %v", p.said(header.Name), err)
	}
	for p.header.Len() > 0 {
		room, err := p.space()
		if err != nil {
			return err
		}
		n, err := p.header.Read(room)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		p.used += n
	}
	return nil
}

func (p *packer) zeros(count int) error {
	for count > 0 {
		room, err := p.space()
		if err != nil {
			return err
		}
		n := min(count, len(room))
		clear(room[:n])
		p.used += n
		count -= n
	}
	return nil
}

// space gives what is free of the chunk, never nothing.
func (p *packer) space() ([]byte, error) {
	if p.used == len(p.room) {
		if err := p.flush(); err != nil {
			return nil, err
		}
		room, err := p.chunk.Begin(&guestv1.PackTarResponse{})
		if err != nil {
			return nil, err
		}
		p.room = room
	}
	return p.room[p.used:], nil
}

func (p *packer) flush() error {
	if p.used == 0 {
		return nil
	}
	err := p.stream.SendChunk(p.chunk, p.used)
	p.room, p.used = nil, 0
	return err
}
