package file

import (
	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// entryOf describes what was looked at; the link's target is read by the directory and the name.
func entryOf(path []byte, stat *unix.Statx_t, directory int, name string) (*guestv1.FileEntry, error) {
	entry := &guestv1.FileEntry{
		Path: path, Type: typeOf(stat.Mode), SizeBytes: stat.Size, Mode: uint32(stat.Mode) & 0o7777,
		MtimeNs: stat.Mtime.Sec*1e9 + int64(stat.Mtime.Nsec),
	}
	if entry.Type == guestv1.FileType_FILE_TYPE_SYMLINK {
		target, err := readLink(directory, name)
		if err != nil {
			return nil, err
		}
		entry.LinkTarget = []byte(target)
	}
	return entry, nil
}

func typeOf(mode uint16) guestv1.FileType {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return guestv1.FileType_FILE_TYPE_FILE
	case unix.S_IFDIR:
		return guestv1.FileType_FILE_TYPE_DIRECTORY
	case unix.S_IFLNK:
		return guestv1.FileType_FILE_TYPE_SYMLINK
	default:
		return guestv1.FileType_FILE_TYPE_OTHER
	}
}
