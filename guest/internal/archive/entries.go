package archive

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// modeOf is permissions, setuid, setgid and sticky.
func modeOf(header *tar.Header) uint32 { return uint32(header.Mode) & 0o7777 }

// bornWith tells whether a file made with this mode under the umask 022 has it already.
func bornWith(mode uint32) bool { return mode&0o7022 == 0 }

func (u *unpacker) ownerDiffers(header *tar.Header, setgid bool) bool {
	// Only root may give files away; tests are not always.
	return u.uid == 0 && (header.Uid != u.uid || header.Gid != u.gid || setgid)
}

// attributes sets owner, mode and extended attributes, in this order: a change of owner clears setuid and file
// capabilities. changed says that the mode is not what it was made with, marked that there may be attributes already.
func (u *unpacker) attributes(fd int, header *tar.Header, changed, marked bool) error {
	mode := modeOf(header)
	if u.ownerDiffers(header, changed) {
		if err := changeOwner(fd, header.Uid, header.Gid); err != nil {
			return fmt.Errorf("set its owner: %w", err)
		}
	}
	if marked && u.options.Layer {
		if err := opened(fd).dropXattrs(header); err != nil {
			return err
		}
	}
	if changed || !bornWith(mode) {
		if err := changeMode(fd, mode); err != nil {
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	if !hasXattrs(header) {
		return nil
	}
	return opened(fd).setXattrs(header)
}

func (u *unpacker) file(ctx context.Context, header *tar.Header, parent *directory, base string) error {
	if header.Size > u.bytesLeft {
		return fmt.Errorf("%w: it has %d bytes, and of the disk's there are %d left", ErrTooLarge, header.Size, u.bytesLeft)
	}
	u.bytesLeft -= header.Size
	setgid, acl := parent.setgid, parent.acl
	at := parent.fd
	fd := -1
	err := u.replacing(parent, base, func(parent *directory) (err error) {
		at = parent.fd
		fd, err = createFile(at, base, modeOf(header)&0o777)
		return err
	})
	if err != nil {
		return err
	}
	defer closeFile(fd)
	if isSparse(header) {
		err = u.copySparse(ctx, fd, header.Size)
	} else {
		err = u.copy(ctx, fd)
	}
	if err != nil {
		return err
	}
	if err := u.attributes(fd, header, setgid || acl, acl); err != nil {
		return err
	}
	return setTimeOf(fd, timeOf(header))
}

func (u *unpacker) copy(ctx context.Context, fd int) error {
	if content := u.tar.small(); content != nil {
		u.result.Bytes += uint64(len(content))
		return writeAll(writeSome, fd, content)
	}
	moved, err := u.tar.moveTo(ctx, fd)
	u.result.Bytes += uint64(moved)
	if err != nil {
		return err
	}
	for {
		n, err := u.tar.Read(u.buffer)
		if n > 0 {
			if err := writeAll(writeSome, fd, u.buffer[:n]); err != nil {
				return err
			}
			u.result.Bytes += uint64(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == len(u.buffer) && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func writeAll(write func(fd int, data []byte) (int, error), fd int, data []byte) error {
	for len(data) > 0 {
		n, err := write(fd, data)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write it: %w", err)
		}
		data = data[n:]
	}
	return nil
}

func isSparse(header *tar.Header) bool {
	if header.Typeflag == tar.TypeGNUSparse {
		return true
	}
	_, major := header.PAXRecords["GNU.sparse.major"]
	_, size := header.PAXRecords["GNU.sparse.size"]
	return major || size
}

// copySparse leaves holes where there are only zeros.
func (u *unpacker) copySparse(ctx context.Context, fd int, size int64) error {
	const block = 4096
	for offset := int64(0); offset < size; {
		n, err := io.ReadFull(u.tar, u.buffer[:min(int64(len(u.buffer)), size-offset)])
		if err != nil {
			return err
		}
		for begin := 0; begin < n; begin += block {
			part := u.buffer[begin:min(begin+block, n)]
			if allZero(part) {
				continue
			}
			if _, err := unix.Pwrite(fd, part, offset+int64(begin)); err != nil {
				return fmt.Errorf("write it: %w", err)
			}
			u.result.Bytes += uint64(len(part))
		}
		offset += int64(n)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return unix.Ftruncate(fd, size)
}

func allZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

func (u *unpacker) directory(header *tar.Header, parent *directory, base string) error {
	at, setgid, acl := parent.fd, parent.setgid, parent.acl
	canonical := joinName(parent.canonical, base)
	existed := false
	err := makeDirectory(at, base, modeOf(header)&0o777)
	if err == unix.EEXIST {
		existed = true
		var stat unix.Stat_t
		if err := unix.Fstatat(at, base, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		err = nil
		if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = u.replacing(parent, base, func(parent *directory) error {
				at = parent.fd
				return makeDirectory(at, base, modeOf(header)&0o777)
			})
		}
	}
	if err != nil {
		return err
	}
	fd, err := unix.Openat(at, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := u.attributes(fd, header, existed || setgid || acl, existed || acl); err != nil {
		_ = unix.Close(fd)
		return err
	}
	u.tree.times[canonical] = timeOf(header)
	_, err = u.tree.keep(canonical, fd)
	return err
}

func (u *unpacker) symlink(header *tar.Header, parent *directory, base string) error {
	if header.Linkname == "" || len(header.Linkname) > maxPathBytes {
		return ErrLinkTarget
	}
	at := parent.fd
	err := u.replacing(parent, base, func(parent *directory) error {
		at = parent.fd
		return makeSymlink(header.Linkname, at, base)
	})
	if err != nil {
		return err
	}
	return u.nodeAttributes(header, at, base, false)
}

func (u *unpacker) node(header *tar.Header, parent *directory, base string) error {
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[header.Typeflag]
	device := 0
	if header.Typeflag != tar.TypeFifo {
		// As many bits as the kernel's dev_t has for each.
		if header.Devmajor < 0 || header.Devmajor >= 1<<12 || header.Devminor < 0 || header.Devminor >= 1<<20 {
			return fmt.Errorf("%w: %d:%d", ErrDevice, header.Devmajor, header.Devminor)
		}
		device = int(unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor)))
	}
	at, acl := parent.fd, parent.acl
	err := u.replacing(parent, base, func(parent *directory) error {
		at = parent.fd
		return unix.Mknodat(at, base, kind|modeOf(header)&0o777, device)
	})
	if err != nil {
		return err
	}
	return u.nodeAttributes(header, at, base, acl)
}

// nodeAttributes is for what is not opened: links, devices, pipes. acl says that it may have inherited an access list.
func (u *unpacker) nodeAttributes(header *tar.Header, at int, base string, acl bool) error {
	if u.ownerDiffers(header, true) {
		if err := unix.Fchownat(at, base, header.Uid, header.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("set its owner: %w", err)
		}
	}
	if acl {
		if err := named(at, base).dropXattrs(header); err != nil {
			return err
		}
	}
	if header.Typeflag != tar.TypeSymlink && (acl || !bornWith(modeOf(header))) {
		if err := unix.Fchmodat(at, base, modeOf(header), 0); err != nil {
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	if hasXattrs(header) {
		if err := named(at, base).setXattrs(header); err != nil {
			return err
		}
	}
	return setTime(at, base, timeOf(header))
}

func (u *unpacker) hardLink(header *tar.Header, directoryName, base string) error {
	target, err := cleanName(header.Linkname, u.options.Layer)
	if err != nil || target == "" {
		return fmt.Errorf("%w: its link target %q", orLinkTarget(err), clipName(header.Linkname))
	}
	targetDirectory, targetBase := splitName(target)
	link := func() error {
		from, err := u.tree.lookup(targetDirectory)
		if err != nil {
			return err
		}
		// The second look-up may close what the first one opened.
		fromFD, err := unix.FcntlInt(uintptr(from.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fromFD)
		to, err := u.tree.directory(directoryName)
		if err != nil {
			return err
		}
		err = unix.Linkat(fromFD, targetBase, to.fd, base, 0)
		if err != unix.EEXIST {
			return err
		}
		if same, err := sameFile(fromFD, targetBase, to.fd, base); same || err != nil {
			return err
		}
		canonical := to.canonical
		if err := u.clear(to, base); err != nil {
			return err
		}
		if to, err = u.tree.directory(canonical); err != nil {
			return err
		}
		return unix.Linkat(fromFD, targetBase, to.fd, base, 0)
	}
	if err := link(); err != nil {
		return fmt.Errorf("link it to %q: %w", clipName(header.Linkname), err)
	}
	return nil
}

func orLinkTarget(err error) error {
	if err == nil {
		return ErrLinkTarget
	}
	return err
}

func isDirectory(at int, name string) bool {
	var stat unix.Stat_t
	return unix.Fstatat(at, name, &stat, unix.AT_SYMLINK_NOFOLLOW) == nil && stat.Mode&unix.S_IFMT == unix.S_IFDIR
}

func sameFile(at1 int, name1 string, at2 int, name2 string) (bool, error) {
	var one, two unix.Stat_t
	if err := unix.Fstatat(at1, name1, &one, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if err := unix.Fstatat(at2, name2, &two, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	return one.Dev == two.Dev && one.Ino == two.Ino, nil
}
