package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/walk"
)

// Packing keeps these rules:
//   - the same tree gives the same bytes: entries in byte order of their paths, nothing of when or where it was packed;
//   - nothing but regular files and directories is opened, and no link followed;
//   - what a layer cannot say ends it with a PortabilityError, but for sockets, which are counted.

// PackOptions of Pack.
type PackOptions struct {
	// Names at the top that are left out where they are empty directories of root's.
	LeaveOutEmpty []string
}

// Packed is what was packed.
type Packed struct {
	Entries uint64
	// Sockets.
	LeftOut uint64
}

// PortabilityError says that a file is none that a layer can have.
type PortabilityError struct {
	Path, Reason string
}

func (e *PortabilityError) Error() string {
	return fmt.Sprintf("no image can hold %q: %s", clipName(e.Path), e.Reason)
}

const copyBytes = 256 << 10

// Pack writes the tree below the directory behind the descriptor, which stays the caller's, as one layer. Nobody may
// change the tree meanwhile.
func Pack(ctx context.Context, root int, to io.Writer, options PackOptions) (Packed, error) {
	p := &packer{
		ctx: ctx, tar: tar.NewWriter(to), options: options, buffer: make([]byte, copyBytes),
		names: make([]byte, maxXattrBytes), links: make(map[uint64]string),
	}
	var stat unix.Statx_t
	if err := unix.Statx(root, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &stat); err != nil {
		return p.packed, fmt.Errorf("look at the root directory: %w", err)
	}
	top, err := walk.Open(root, []byte("."))
	if err != nil {
		return p.packed, fmt.Errorf("open the root directory: %w", err)
	}
	defer unix.Close(top)
	if err := p.entry("./", top, ".", &stat); err != nil {
		return p.packed, fmt.Errorf("pack the root directory: %w", err)
	}
	err = walk.Down(top, true, func(at walk.Visited) error {
		path := string(at.Path)
		if err := p.entry(path, at.Parent, string(at.Name), at.Stat); err != nil {
			return packFailure(path, err)
		}
		return nil
	}, func(path []byte, err error) error { return &PortabilityError{string(path), err.Error()} })
	if err != nil {
		return p.packed, err
	}
	if err := p.tar.Close(); err != nil {
		return p.packed, fmt.Errorf("end the tar: %w", err)
	}
	return p.packed, nil
}

func packFailure(path string, err error) error {
	if _, said := errors.AsType[*PortabilityError](err); said {
		return err
	}
	return fmt.Errorf("pack %q: %w", clipName(path), err)
}

type packer struct {
	ctx     context.Context
	tar     *tar.Writer
	options PackOptions
	buffer  []byte
	// Room for the names of one file's extended attributes.
	names []byte
	// By inode, the first path of what has several: one file system is packed.
	links  map[uint64]string
	packed Packed
}

var tarTypes = map[uint16]byte{
	unix.S_IFREG: tar.TypeReg, unix.S_IFDIR: tar.TypeDir, unix.S_IFLNK: tar.TypeSymlink,
	unix.S_IFCHR: tar.TypeChar, unix.S_IFBLK: tar.TypeBlock, unix.S_IFIFO: tar.TypeFifo,
}

// entry packs one thing: path is its name in the archive, base the one in the open directory at.
func (p *packer) entry(path string, at int, base string, stat *unix.Statx_t) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return &PortabilityError{path, "in a layer, a name that begins with " + whiteoutPrefix + " says that another file is gone"}
	}
	kind, known := tarTypes[stat.Mode&unix.S_IFMT]
	if !known {
		p.packed.LeftOut++
		return nil
	}
	if kind == tar.TypeDir {
		if leave, err := p.isLeftOut(path, at, base, stat); leave || err != nil {
			return err
		}
	}
	p.packed.Entries++
	header := &tar.Header{
		Typeflag: kind, Name: path, Mode: int64(stat.Mode & 0o7777), Uid: int(stat.Uid), Gid: int(stat.Gid),
		ModTime: time.Unix(stat.Mtime.Sec, int64(stat.Mtime.Nsec)),
	}
	if kind != tar.TypeDir && stat.Nlink > 1 {
		if first, seen := p.links[stat.Ino]; seen {
			header.Typeflag, header.Linkname = tar.TypeLink, first
			return p.write(header)
		}
		p.links[stat.Ino] = path
	}
	if err := p.xattrs(header, at, base); err != nil {
		return err
	}
	switch kind {
	case tar.TypeReg:
		return p.file(header, at, base, stat)
	case tar.TypeDir:
		header.Name = strings.TrimSuffix(path, "/") + "/"
	case tar.TypeSymlink:
		target, err := linkTarget(at, base)
		if err != nil {
			return err
		}
		header.Linkname = target
	case tar.TypeChar, tar.TypeBlock:
		header.Devmajor, header.Devminor = int64(stat.Rdev_major), int64(stat.Rdev_minor)
	}
	return p.write(header)
}

// write writes a header; times finer than a second and extended attributes take the extended format, all else chooses
// by itself.
func (p *packer) write(header *tar.Header) error {
	if len(header.PAXRecords) > 0 || header.ModTime.Nanosecond() != 0 {
		header.Format = tar.FormatPAX
	}
	return p.tar.WriteHeader(header)
}

func (p *packer) file(header *tar.Header, at int, base string, stat *unix.Statx_t) error {
	header.Size = int64(stat.Size)
	if err := p.write(header); err != nil {
		return err
	}
	fd, err := unix.Openat(at, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), base)
	defer file.Close()
	_, err = io.CopyBuffer(p.tar, UntilDone(p.ctx, file), p.buffer)
	return err
}

// isLeftOut: an empty directory of root's at the top, by one of the names.
func (p *packer) isLeftOut(path string, at int, base string, stat *unix.Statx_t) (bool, error) {
	if !slices.Contains(p.options.LeaveOutEmpty, path) || stat.Uid != 0 || stat.Gid != 0 {
		return false, nil
	}
	fd, err := walk.Open(at, []byte(base))
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	entries, err := walk.NewReader().Read(fd)
	return len(entries) == 0, err
}

// xattrs adds the extended attributes, access lists and capabilities among them, as records that all tools know.
func (p *packer) xattrs(header *tar.Header, at int, base string) error {
	path := named(at, base).path
	n, err := unix.Llistxattr(path, p.names)
	if err == unix.ENOTSUP || err == nil && n == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list its extended attributes: %w", err)
	}
	header.PAXRecords = make(map[string]string)
	value := make([]byte, maxXattrBytes)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(p.names[:n]), "\x00"), "\x00") {
		if strings.Contains(name, "=") {
			return &PortabilityError{header.Name, fmt.Sprintf("its extended attribute %q has a = in its name", clipName(name))}
		}
		size, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return fmt.Errorf("read its extended attribute %q: %w", clipName(name), err)
		}
		header.PAXRecords[xattrPrefix+name] = string(value[:size])
	}
	return nil
}

func linkTarget(at int, base string) (string, error) {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(at, base, target)
	if err != nil {
		return "", fmt.Errorf("read the link: %w", err)
	}
	return string(target[:n]), nil
}
