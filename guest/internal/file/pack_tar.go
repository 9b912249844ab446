package file

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/quick"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/walk"
)

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

// quickBytes is the most of a file that is read while nothing else of the agent runs.
const quickBytes = 64 << 10

// packer makes a tar in the room of chunks: content is read where it is sent from.
type packer struct {
	ctx    context.Context
	asked  string
	stream call.Sends[*guestv1.PackTarResponse]
	chunk  *call.Chunk
	room   []byte
	used   int
	heads  tarHeads
	// Used again for each entry.
	head tarHead
	stat unix.Stat_t
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
	if err := p.entry(".", &stat, handle, "", opened{open: open}); err != nil {
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
		open := func() (int, error) {
			if at.Local {
				return quick.Open(at.Parent, at.Name)
			}
			const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
			return unix.Openat(at.Parent, string(at.Name), flags, 0)
		}
		err := p.entry(string(at.Path), at.Stat, at.Parent, string(at.Name), opened{open, at.Local})
		if walk.Vanished(err) {
			return nil
		}
		return err
	}, func(path []byte, err error) error {
		return failure.New(failure.GuestFileRefused, "pack a smaller part of it", "%q below %q: %v", path, p.asked, err)
	})
}

// opened is a file to pack: how it is opened, and whether quick.Local allows to read it so.
type opened struct {
	open  func() (int, error)
	local bool
}

func (o opened) fstat(fd int, stat *unix.Stat_t) error {
	if o.local {
		return quick.Fstat(fd, stat)
	}
	return unix.Fstat(fd, stat)
}

func (o opened) close(fd int) {
	if o.local {
		quick.Close(fd)
		return
	}
	_ = unix.Close(fd)
}

// entry packs one thing. An error that says that it vanished comes before anything of it is in the archive.
func (p *packer) entry(name string, stat *unix.Statx_t, directory int, base string, from opened) error {
	head := &p.head
	*head = tarHead{
		name: name, mode: uint32(stat.Mode & 0o7777), uid: stat.Uid, gid: stat.Gid,
		seconds: stat.Mtime.Sec, nanoseconds: int64(stat.Mtime.Nsec),
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.file(head, from)
	case unix.S_IFDIR:
		head.kind = '5'
	case unix.S_IFLNK:
		head.kind = '2'
		target, err := readLink(directory, base)
		if err != nil {
			return err
		}
		head.link = target
	default:
		p.leftOut++
		return nil
	}
	return p.bytes(p.heads.of(head))
}

func (p *packer) file(head *tarHead, from opened) error {
	fd, err := from.open()
	if err != nil {
		return fmt.Errorf("open %q: %w", head.name, err)
	}
	defer from.close(fd)
	// Of what is open: between the look and the opening it may have become something else.
	stat := &p.stat
	if err := from.fstat(fd, stat); err != nil {
		return fmt.Errorf("look at %q: %w", head.name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.ENOENT
	}
	head.kind, head.size = '0', stat.Size
	if err := p.bytes(p.heads.of(head)); err != nil {
		return err
	}
	for left := head.size; left > 0; {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		room, err := p.space()
		if err != nil {
			return err
		}
		room = room[:min(left, int64(len(room)))]
		var n int
		if from.local && len(room) <= quickBytes {
			n, err = quick.Read(fd, room)
		} else {
			n, err = unix.Read(fd, room)
		}
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			return failure.New(failure.GuestFileChanged, "let what writes to it end, and try again", "%s shrank while it was read", p.said(head.name))
		}
		if err != nil {
			return failure.From(fmt.Errorf("read %s: %v", p.said(head.name), err))
		}
		p.used += n
		left -= int64(n)
	}
	return p.zeros(int(-head.size & (tarBlockBytes - 1)))
}

func (p *packer) said(name string) string {
	if name == "." {
		return fmt.Sprintf("%q", p.asked)
	}
	return fmt.Sprintf("%q", strings.TrimSuffix(p.asked, "/")+"/"+name)
}

func (p *packer) bytes(data []byte) error {
	for len(data) > 0 {
		room, err := p.space()
		if err != nil {
			return err
		}
		n := copy(room, data)
		p.used += n
		data = data[n:]
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
