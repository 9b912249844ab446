package file

import (
	"context"
	"errors"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// maxChanges bounds one commit: each may keep three descriptors open until its end.
const maxChanges = 1000

// Commit makes a set of changes in their order, all or none. Content is staged first, and what files must hold is
// looked at, before anything has changed; then each step notes how it is undone, and is when a later one fails.
func (s *Service) Commit(ctx context.Context, stream call.Receives[*guestv1.CommitRequest]) (*guestv1.CommitResponse, error) {
	c := &commit{touched: make(map[string]bool)}
	defer c.close()
	if err := c.receive(ctx, s.options.Root, stream); err != nil {
		return nil, err
	}
	// What the host sent whole is done whole: from here on its leaving ends nothing.
	if err := c.apply(); err != nil {
		if failed := c.undo(); failed != nil {
			return nil, failure.New(failure.Internal, "reset the workspace, or look at the files", "a commit failed (%v) and could not be undone: %v", err, failed)
		}
		return nil, err
	}
	c.settle()
	return &guestv1.CommitResponse{Changed: uint32(len(c.steps))}, nil
}

// dataOfCommit is where the content of a message goes: it carries a change or content.
func dataOfCommit(m *guestv1.CommitRequest) *[]byte {
	if m.Step != nil {
		return new([]byte)
	}
	data := &guestv1.CommitRequest_Data{}
	m.Step = data
	return &data.Data
}

// commit is a set of changes under way.
type commit struct {
	view  rootdir.View
	steps []*step
	// Paths that steps before change.
	touched map[string]bool
	// The newest last.
	undos []undo
}

// undo takes one step back, or drops what was kept for that.
type undo struct {
	back   func() error
	forget func()
}

// receive stages all changes. It changes nothing but for temporary files, which close removes.
func (c *commit) receive(ctx context.Context, root rootdir.Root, stream call.Receives[*guestv1.CommitRequest]) error {
	for first := true; stream.Receive(); first = false {
		message := stream.Msg()
		if first {
			var err error
			if c.view, err = viewOf(root, message.Within); err != nil {
				return err
			}
		}
		switch sent := message.Step.(type) {
		case *guestv1.CommitRequest_Change:
			if err := c.begin(sent.Change); err != nil {
				return err
			}
		case *guestv1.CommitRequest_Data:
			if len(sent.Data) == 0 {
				continue
			}
			if len(c.steps) == 0 || c.steps[len(c.steps)-1].staged == nil {
				return failure.New(failure.InvalidArgument, "begin a WRITE before its content", "content of no file")
			}
			last := c.steps[len(c.steps)-1]
			if err := last.staged.write(sent.Data); err != nil {
				return accessFailure(last.path, err)
			}
		}
	}
	if n := len(c.steps); n > 0 && c.steps[n-1].staged != nil {
		c.steps[n-1].staged.rest()
	}
	return errors.Join(stream.Err(), ctx.Err())
}

// begin takes a change: checks what it says, makes room for its content, and looks at the file that it is about.
func (c *commit) begin(change *guestv1.FileChange) error {
	if len(c.steps) == maxChanges {
		return failure.New(failure.ArgumentTooLarge, "commit in several parts", "more than %d changes", maxChanges)
	}
	s, err := newStep(change)
	if err != nil {
		return err
	}
	if n := len(c.steps); n > 0 && c.steps[n-1].staged != nil {
		c.steps[n-1].staged.rest()
	}
	c.steps = append(c.steps, s)
	if s.kind == guestv1.FileChange_KIND_WRITE {
		if err := s.stage(c.view); err != nil {
			return accessFailure(s.path, err)
		}
	}
	if !c.depends(s.path) {
		if s.seen, err = s.check(c.view); err != nil {
			return err
		}
	}
	c.touched[s.path] = true
	if s.to != "" {
		c.touched[s.to] = true
	}
	return nil
}

// depends tells whether an earlier step may change what has that path: it, something above it, or below it. Links may
// hide more of that; what was looked at is compared again when its turn comes.
func (c *commit) depends(path string) bool {
	for i := len(path); i > 0; i-- {
		if (i == len(path) || path[i] == '/') && c.touched[path[:i]] {
			return true
		}
	}
	return false
}

func (c *commit) apply() error {
	for _, s := range c.steps {
		if err := s.apply(c); err != nil {
			return accessFailure(s.path, err)
		}
	}
	return nil
}

func (c *commit) noteUndo(u undo) { c.undos = append(c.undos, u) }

// undo takes back what was done, the last first. What cannot be is named; the rest is tried all the same.
func (c *commit) undo() error {
	var failed []error
	for i := len(c.undos) - 1; i >= 0; i-- {
		if err := c.undos[i].back(); err != nil {
			failed = append(failed, err)
		}
	}
	c.undos = nil
	return errors.Join(failed...)
}

// settle drops what was kept for an undo.
func (c *commit) settle() {
	// The last first here too: a directory is closed when nothing in it is to be dropped any more.
	for i := len(c.undos) - 1; i >= 0; i-- {
		if c.undos[i].forget != nil {
			c.undos[i].forget()
		}
	}
	c.undos = nil
}

func (c *commit) close() {
	for _, s := range c.steps {
		s.close()
	}
}
