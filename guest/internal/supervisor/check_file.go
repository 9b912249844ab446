package supervisor

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/rootdir"
)

// fileProbe is ready when there is a file that was not there before, or was touched since.
type fileProbe struct {
	root   rootdir.Root
	path   string
	before stamp
}

// stamp tells one state of a file from another; the zero stamp is that of none.
type stamp struct {
	device, inode uint64
	changed       unix.Timespec
}

func newFileProbe(root rootdir.Root, path string) *fileProbe {
	p := &fileProbe{root: root, path: path}
	p.before, _ = p.stamp()
	return p
}

func (p *fileProbe) stamp() (stamp, error) {
	stat, err := p.root.Stat(p.path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{stat.Dev, stat.Ino, stat.Ctim}, nil
}

func (p *fileProbe) look(context.Context) error {
	now, err := p.stamp()
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("there is no file %q", p.path)
	case err != nil:
		return fmt.Errorf("the file %q cannot be looked at: %w", p.path, err)
	case now == p.before:
		return fmt.Errorf("the file %q was there before the service began, and was not touched since", p.path)
	}
	return nil
}
