package walk

import (
	"golang.org/x/sys/unix"

	"pyro/guest/internal/quick"
)

// Visited is one entry on the way down; good until visit returns.
type Visited struct {
	// Directory that the entry is in, and its name there.
	Parent int
	// A NUL lies behind its last byte.
	Name []byte
	// From the top, without a slash in front.
	Path []byte
	Stat *unix.Statx_t
	// quick.Local of the directory.
	Local bool
}

// Down visits all that lies below an open directory. An error of visit ends it. What is too much or too deep is given
// to problem with the path of the directory, which says whether to go on (nil) without that.
func Down(top int, recursive bool, visit func(Visited) error, problem func(path []byte, err error) error) error {
	d := &descent{reader: NewReader(), recursive: recursive, visit: visit, problem: problem}
	return d.directory(top, 0)
}

type descent struct {
	reader    *Reader
	recursive bool
	visit     func(Visited) error
	problem   func([]byte, error) error
	path      []byte
	stat      unix.Statx_t
}

func (d *descent) directory(fd, depth int) error {
	entries, err := d.reader.Read(fd)
	if err == ErrTooManyNames {
		err = d.problem(d.path, err)
	}
	if err != nil {
		return err
	}
	local := quick.Local(fd)
	base := len(d.path)
	defer func() { d.path = d.path[:base] }()
	for _, entry := range Sort(entries) {
		if entry.Below && !d.recursive {
			continue
		}
		d.path = d.path[:base]
		if base > 0 {
			d.path = append(d.path, '/')
		}
		d.path = append(d.path, entry.Name...)
		if entry.Below {
			err = d.below(fd, entry.Name, depth+1)
		} else if err = entry.Look(fd, local, &d.stat); err == nil {
			err = d.visit(Visited{fd, entry.Name, d.path, &d.stat, local})
		} else if Vanished(err) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *descent) below(parent int, name []byte, depth int) error {
	if depth > MaxDepth || len(d.path) > MaxPathBytes-256 {
		return d.problem(d.path, ErrTooDeep)
	}
	fd, err := Open(parent, name)
	if err != nil {
		if Vanished(err) {
			return nil
		}
		return err
	}
	defer unix.Close(fd)
	return d.directory(fd, depth)
}
