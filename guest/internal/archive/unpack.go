// Package archive unpacks tar streams as root inside the machine: seeds into a directory, and image layers, with their
// whiteouts, into a root file system.
//
// Invariants:
//   - nothing is made, changed or removed outside of the directory, whatever the archive or the tree holds;
//   - link texts, modes, owners, times and extended attributes are kept as they are;
//   - an entry that cannot be unpacked ends the unpacking with its name and the reason.
//
// The process's umask must be 022.
package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const bufferBytes = 256 << 10

// Options of Unpack.
type Options struct {
	// An image layer: whiteouts hide, links on the way are followed as within a root, a directory may be replaced.
	Layer bool
	// There are layers below for whiteouts to hide.
	HasLower bool
	// Bound of all file contents of the archive together, holes of sparse files included; 0 means the size of the disk.
	MaxBytes int64
	// Bound of the entries; 0 means MaxEntries.
	MaxEntries uint64
	// Whom all of it is to belong to, whatever the archive says; nil: to whom that says, and directories on the way to us.
	Owner *Owner
}

// Owner is a user and a group.
type Owner struct{ UID, GID int }

// Result counts what was unpacked.
type Result struct {
	Entries uint64
	// Of file contents.
	Bytes uint64
}

// Unpack unpacks the stream into the directory behind the descriptor, which stays the caller's.
func Unpack(ctx context.Context, top int, from io.Reader, options Options) (Result, error) {
	tree, err := newTree(top, options.Layer)
	if err != nil {
		return Result{}, err
	}
	defer tree.forget()
	tree.owner = options.Owner
	var disk unix.Statfs_t
	if err := unix.Fstatfs(top, &disk); err != nil {
		return Result{}, fmt.Errorf("find the size of the disk: %w", err)
	}
	u := &unpacker{
		options: options, tree: tree, tar: newStream(from),
		bytesLeft: options.MaxBytes,
		uid:       unix.Geteuid(), gid: unix.Getegid(),
		namesLeft: maxLayerNames,
		buffer:    make([]byte, bufferBytes),
	}
	if u.options.MaxEntries == 0 {
		u.options.MaxEntries = MaxEntries
	}
	if u.bytesLeft == 0 {
		u.bytesLeft = int64(min(disk.Blocks*uint64(disk.Bsize), 1<<62))
	}
	if options.Layer && options.HasLower {
		u.layer = &layerState{own: make(map[string]struct{})}
	}
	err = u.run(ctx)
	return u.result, err
}

type unpacker struct {
	options Options
	tree    *tree
	tar     *stream
	// Nil where there are no lower layers.
	layer *layerState
	// Of Options.MaxBytes and maxLayerNames.
	bytesLeft, namesLeft int64
	// Ours; files are born with them.
	uid, gid int
	buffer   []byte
	result   Result
}

func (u *unpacker) run(ctx context.Context) error {
	for {
		header, err := u.tar.next()
		if err == io.EOF {
			return u.setDirectoryTimes()
		}
		if errors.Is(err, tar.ErrFieldTooLong) {
			err = ErrPAXHeader
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return fmt.Errorf("after %d entries: %w", u.result.Entries, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if u.result.Entries == u.options.MaxEntries {
			return ErrTooMany
		}
		u.result.Entries++
		if header.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := u.entry(ctx, header); err != nil {
			return &EntryError{header.Name, err}
		}
	}
}

func (u *unpacker) entry(ctx context.Context, header *tar.Header) error {
	name, err := cleanName(header.Name, u.options.Layer)
	if err != nil {
		return err
	}
	if name == "" {
		return u.topEntry(header)
	}
	if !isID(header.Uid) || !isID(header.Gid) {
		return fmt.Errorf("%w: %d:%d", ErrOwner, header.Uid, header.Gid)
	}
	if owner := u.options.Owner; owner != nil {
		header.Uid, header.Gid = owner.UID, owner.GID
	}
	directoryName, base := splitName(name)
	if handled, err := u.whiteout(directoryName, base); handled {
		return err
	}
	parent, err := u.tree.directory(directoryName)
	if err != nil {
		return err
	}
	canonical := joinName(parent.canonical, base)
	if u.options.Layer {
		if u.namesLeft -= int64(len(canonical)) + nameOverhead; u.namesLeft < 0 {
			return ErrNames
		}
	}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse, tar.TypeCont: //nolint:staticcheck // old archives have RegA
		err = u.file(ctx, header, parent, base)
	case tar.TypeDir:
		err = u.directory(header, parent, base)
	case tar.TypeSymlink:
		err = u.symlink(header, parent, base)
	case tar.TypeLink:
		err = u.hardLink(header, directoryName, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		err = u.node(header, parent, base)
	default:
		return fmt.Errorf("%w: %q", ErrUnknownType, header.Typeflag)
	}
	if err == nil {
		u.layer.add(canonical)
	}
	return err
}

// topEntry is the directory itself. A layer says what the root is like; of a seed, the directory stays the guest's.
func (u *unpacker) topEntry(header *tar.Header) error {
	if header.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the directory itself is no directory", ErrUnknownType)
	}
	if !u.options.Layer {
		return nil
	}
	fd, err := unix.Openat(u.tree.top, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	u.tree.times[""] = timeOf(header)
	return u.attributes(fd, header, true, true)
}

// isID: the highest number means "nobody's change" to the kernel, and higher ones would come out as lower.
func isID(id int) bool { return id >= 0 && id < 1<<32-1 }

// clear makes room for an entry that replaces something. A seed overwrites, but never deletes a directory's content.
func (u *unpacker) clear(parent *directory, base string) error {
	canonical := joinName(parent.canonical, base)
	delete(u.tree.times, canonical)
	defer u.tree.forget()
	if u.options.Layer {
		_, err := removeAll(parent.fd, base, canonical, nil)
		return err
	}
	err := unix.Unlinkat(parent.fd, base, 0)
	if err == unix.EISDIR || err == unix.EPERM {
		err = unix.Unlinkat(parent.fd, base, unix.AT_REMOVEDIR)
	}
	if err == unix.ENOTEMPTY {
		return ErrNotEmpty
	}
	return err
}

// replacing makes something; where that exists it makes room and tries once more. The directory is found again by where it
// is: the name that led to it may lead through the link that was replaced.
func (u *unpacker) replacing(parent *directory, base string, make func(parent *directory) error) error {
	err := make(parent)
	if err != unix.EEXIST {
		return err
	}
	canonical := parent.canonical
	if err := u.clear(parent, base); err != nil {
		return err
	}
	if parent, err = u.tree.directory(canonical); err != nil {
		return err
	}
	return make(parent)
}

func (u *unpacker) setDirectoryTimes() error {
	times := u.tree.settle()
	for _, name := range slices.Sorted(maps.Keys(times)) {
		directoryName, base := splitName(name)
		if base == "" {
			base = "."
		}
		parent, err := u.tree.lookup(directoryName)
		if err == nil && u.options.Layer && !isDirectory(parent.fd, base) {
			continue
		}
		if err == nil {
			err = setTime(parent.fd, base, times[name])
		}
		// What a later entry replaced or removed has no time.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, ErrOutside) {
			return &EntryError{name, err}
		}
	}
	return nil
}

func timeOf(header *tar.Header) unix.Timespec {
	return unix.Timespec{Sec: header.ModTime.Unix(), Nsec: int64(header.ModTime.Nanosecond())}
}

func newFile(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }
