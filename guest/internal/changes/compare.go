// Package changes says what differs between a directory and what it was in another tree: the baseline's disk, of which
// the machine's own is a copy on write.
//
// Invariants:
//   - changes come in byte order of their paths, each path once;
//   - no link is followed, and of files only regular ones are opened;
//   - what nobody touched is not read: see untouched.
package changes

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/quick"
	"pyro/guest/internal/walk"
)

// Absent is in place of the descriptor of a directory that is not there.
const Absent = -1

// HashedBytes is the size above which the content of a file is not hashed.
const HashedBytes = 64 << 20

// Options of a comparison.
type Options struct {
	// Takes the changes; its error ends the comparison.
	Emit func(*guestv1.Change) error
	// Tells by two looks that nobody touched a thing in between; untouched where it is nil. Tests that compare two plain
	// directories bring another.
	Untouched func(before, after *unix.Statx_t) bool
	// Fills in what Untouched compares of an inode of the first tree, false where it cannot; nil: each is looked at by name.
	Inode func(number uint64, into *unix.Statx_t) bool
}

// Comparison compares trees.
type Comparison struct {
	ctx     context.Context
	options Options
	reader  *walk.Reader
	path    []byte
	// Used again for each entry.
	before, after unix.Statx_t
	sides         [2]side
	// The directories that are compared are both quick.Local.
	local   bool
	buffers [2][]byte
	// Entries that were looked at.
	Examined uint64
}

// New makes one.
func New(ctx context.Context, options Options) *Comparison {
	if options.Untouched == nil {
		options.Untouched = untouched
	}
	return &Comparison{ctx: ctx, options: options, reader: walk.NewReader()}
}

// untouched: the machine's disk began as the baseline's, block for block, so a file that is still the same inode with
// the same change time has not been written to, truncated, renamed, linked or had its mode changed since. Linux sets
// the change time by itself, to the nanosecond (of a clock that ticks every few milliseconds), at each of these; no
// program can choose it. Setting the machine's clock back does not help: the one write would have to come in the very
// tick whose nanoseconds the baseline has, of about 10^8 in an hour. Nor can a write fall into the same tick as the
// seed's: between them writes were held and the host copied nothing faster than a tick. Root in the guest can forge it
// by writing to the disk below the file system; it can lie to this agent in easier ways, and fools only its own diff.
func untouched(before, after *unix.Statx_t) bool {
	return before.Ino == after.Ino && before.Ctime == after.Ctime && before.Mtime == after.Mtime &&
		before.Size == after.Size && before.Mode == after.Mode
}

// One compares a single entry of two open directories, and what lies below it. prefix is the path of the directories
// in the changes, without a slash at its end.
func (c *Comparison) One(before, after int, prefix, name string) error {
	c.path = append(c.path[:0], prefix...)
	entry := walk.Entry{Name: append([]byte(name), 0)[:len(name)], Type: unix.DT_UNKNOWN}
	kept := c.enter(entry.Name)
	if err := c.entry(before, after, entry); err != nil {
		return c.named(err)
	}
	c.leave(kept)
	entry.Below = true
	return c.named(c.below(before, after, entry.Name, 1))
}

// Directories compares what lies in two open directories; one of them may be Absent.
func (c *Comparison) Directories(before, after int) error {
	c.path = c.path[:0]
	return c.named(c.directories(before, after, 0))
}

// named says where a comparison ended.
func (c *Comparison) named(err error) error {
	if err == nil || c.ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("compare %q: %w", c.path, err)
}

func (c *Comparison) directories(before, after, depth int) error {
	olds, news, isSame, err := c.names(before, after)
	if err != nil {
		return err
	}
	local := (before == Absent || quick.Local(before)) && (after == Absent || quick.Local(after))
	for len(olds) > 0 || len(news) > 0 {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		order := 0
		switch {
		case len(olds) == 0:
			order = 1
		case len(news) == 0:
			order = -1
		default:
			order = walk.Compare(olds[0], news[0])
		}
		beforeIn, afterIn := before, after
		var entry walk.Entry
		if order <= 0 {
			entry, olds = olds[0], olds[1:]
		} else {
			beforeIn = Absent
		}
		if order >= 0 {
			entry, news = news[0], news[1:]
		} else {
			afterIn = Absent
		}
		if entry.Below {
			err = c.below(beforeIn, afterIn, entry.Name, depth+1)
		} else if c.local = local; isSame && c.inodeIsUntouched(after, entry) {
			c.Examined++
		} else {
			kept := c.enter(entry.Name)
			if err = c.entry(beforeIn, afterIn, entry); err == nil {
				c.leave(kept)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inodeIsUntouched tells so of an entry of a directory that nobody touched: the name is the same inode in both trees.
func (c *Comparison) inodeIsUntouched(after int, entry walk.Entry) bool {
	return c.options.Inode != nil && entry.Type != unix.DT_DIR && entry.Look(after, c.local, &c.after) == nil &&
		c.options.Inode(c.after.Ino, &c.before) && c.options.Untouched(&c.before, &c.after)
}

// names lists both directories, or one of them where nobody has touched it: then they are the same.
func (c *Comparison) names(before, after int) (olds, news []walk.Entry, isSame bool, err error) {
	if after != Absent {
		if news, err = c.reader.Read(after); err != nil {
			return nil, nil, false, err
		}
		news = walk.Sort(news)
	}
	if before == Absent {
		return nil, news, false, nil
	}
	if after != Absent && c.isUntouched(before, after) {
		return news, news, true, nil
	}
	if olds, err = c.reader.Read(before); err != nil {
		return nil, nil, false, err
	}
	return walk.Sort(olds), news, false, nil
}

func (c *Comparison) isUntouched(before, after int) bool {
	self := [2]byte{'.', 0}
	return walk.Stat(before, self[:1], &c.before) == nil && walk.Stat(after, self[:1], &c.after) == nil &&
		c.options.Untouched(&c.before, &c.after)
}

// below goes down where the name is a directory, in one of the trees or both.
func (c *Comparison) below(before, after int, name []byte, depth int) error {
	kept := c.enter(name)
	if depth > walk.MaxDepth {
		return walk.ErrTooDeep
	}
	fds := [2]int{before, after}
	for i, parent := range fds {
		if parent == Absent {
			continue
		}
		fd, err := walk.Open(parent, name)
		if err != nil && !walk.Vanished(err) {
			return err
		}
		if fds[i] = Absent; err == nil {
			fds[i] = fd
			defer unix.Close(fd)
		}
	}
	if fds[0] == Absent && fds[1] == Absent {
		c.leave(kept)
		return nil
	}
	if err := c.directories(fds[0], fds[1], depth); err != nil {
		return err
	}
	c.leave(kept)
	return nil
}

// enter goes on to a name in the directory; after an error the path stays, to be named.
func (c *Comparison) enter(name []byte) (kept int) {
	kept = len(c.path)
	if kept > 0 {
		c.path = append(c.path, '/')
	}
	c.path = append(c.path, name...)
	return kept
}

func (c *Comparison) leave(kept int) { c.path = c.path[:kept] }
