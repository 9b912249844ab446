package archive

import "fmt"

// Bounds of one entry.
const (
	maxPathBytes = 4095
	maxNameBytes = 255
	maxDepth     = 1024
	// Of the kernel (XATTR_NAME_MAX, XATTR_SIZE_MAX); file systems may keep less.
	maxXattrName  = 255
	maxXattrBytes = 64 << 10
	// What ext4 keeps of one file in any case, with blocks of 4 KiB.
	keptXattrBytes = 4 << 10
)

// Bounds of one archive.
const (
	// MaxEntries bounds the entries, in number.
	MaxEntries = 4_000_000
	// Of a layer: which entries are its own, and the times of its directories, are kept in memory until its end.
	maxLayerNames = 128 << 20
	// What an entry costs beside its name.
	nameOverhead = 32
)

// LimitError says that a bound was met, and which.
type LimitError struct {
	// The bound's name, for the user: "bytes", "entries", "depth", "name_length", "names", "pax_header", "xattr", and those
	// of package layer.
	Which  string
	Reason string
}

func (e *LimitError) Error() string { return e.Reason }

// The bounds that an archive can meet.
var (
	ErrNameTooLong = &LimitError{"name_length", fmt.Sprintf("its name is longer than %d bytes, or a part of it than %d", maxPathBytes, maxNameBytes)}
	ErrTooDeep     = &LimitError{"depth", fmt.Sprintf("its name has more than %d parts", maxDepth)}
	ErrTooLarge    = &LimitError{"bytes", "with it all is larger than the disk"}
	ErrTooMany     = &LimitError{"entries", "the archive has too many entries"}
	ErrNames       = &LimitError{"names", fmt.Sprintf("the names of the layer are longer than %d MiB together", maxLayerNames>>20)}
	// As much as archive/tar reads ahead of an entry.
	ErrPAXHeader = &LimitError{"pax_header", "the records or the long name before an entry have more than 1 MiB"}
	ErrXattr     = &LimitError{"xattr", fmt.Sprintf("an extended attribute's name is longer than %d bytes, its value than %d, or the disk keeps less", maxXattrName, maxXattrBytes)}
)
