package builder

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/workload"
)

const (
	outputBytes = 32 << 10
	// Of a step's output, for its error.
	tailBytes   = 4 << 10
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// runStep runs one command as root in the unpacked tree. When it ends nothing of it is left.
func (s *Service) runStep(ctx context.Context, step *guestv1.BuildStep, output *reporter) error {
	output.progress(&guestv1.BuildProgress{Phase: step.Argv[0]})
	read, write, err := outputPipe()
	if err != nil {
		return err
	}
	defer read.Close()
	task, err := s.startStep(ctx, step, write)
	_ = unix.Close(write)
	if err != nil {
		return failure.New(failure.EnvironmentBuildFailed, "check that the image has that command", "start the step %q: %v", step.Argv[0], err)
	}
	defer s.endStep(ctx, task, step)
	killed := context.AfterFunc(ctx, func() { _ = task.SignalTree(unix.SIGKILL) })
	defer killed()
	// Daemons that package scripts started hold the pipe, and would keep the image mounted.
	var ending sync.WaitGroup
	defer ending.Wait()
	ending.Go(func() {
		<-task.Done()
		_ = task.SignalTree(unix.SIGKILL)
	})
	tail, err := copyOutput(read, output)
	if err != nil {
		_ = task.SignalTree(unix.SIGKILL)
		return err
	}
	<-task.Done()
	if status := task.Status(); !status.Exited() || status.ExitStatus() != 0 {
		return failure.New(failure.EnvironmentBuildFailed, "the step's output says why", "the step %q ended with %s:\n%s",
			strings.Join(step.Argv, " "), statusText(status), tail)
	}
	return nil
}

func (s *Service) endStep(ctx context.Context, task *workload.Task, step *guestv1.BuildStep) {
	if err := task.KillTree(context.WithoutCancel(ctx)); err != nil {
		s.options.Log.Printf("end the step %q: %v", step.Argv[0], err)
	}
	_ = task.Release()
}

// outputPipe gives a read end that the runtime waits for and a write end that blocks, as commands expect.
func outputPipe() (read *os.File, write int, err error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.SetNonblock(ends[0], true); err != nil {
		_ = unix.Close(ends[0])
		_ = unix.Close(ends[1])
		return nil, -1, fmt.Errorf("make a pipe non-blocking: %w", err)
	}
	return os.NewFile(uintptr(ends[0]), "output"), ends[1], nil
}

func (s *Service) startStep(ctx context.Context, step *guestv1.BuildStep, write int) (*workload.Task, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	env := step.Env
	if len(env) == 0 {
		env = []string{defaultPath}
	}
	path := step.Argv[0]
	if !strings.Contains(path, "/") {
		if path, err = findInTarget(path, env); err != nil {
			return nil, err
		}
	}
	return s.options.Workload.Start(ctx, workload.Spec{
		Path: path, Argv: step.Argv, Env: env, Dir: "/", Chroot: targetPath,
		Files: []uintptr{null.Fd(), uintptr(write), uintptr(write)},
	})
}

func findInTarget(name string, env []string) (string, error) {
	search := strings.TrimPrefix(defaultPath, "PATH=")
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			search = value
		}
	}
	root := rootdir.New(targetPath)
	for directory := range strings.SplitSeq(search, ":") {
		candidate := directory + "/" + name
		if stat, err := root.Stat(candidate); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG && stat.Mode&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%q is in no directory of %s", name, search)
}

// copyOutput passes the output on to its end.
func copyOutput(read *os.File, output *reporter) (tail []byte, err error) {
	buffer := make([]byte, outputBytes)
	for {
		n, err := read.Read(buffer)
		if n > 0 {
			tail = append(tail, buffer[:n]...)
			tail = tail[max(0, len(tail)-tailBytes):]
			if err := output.send(&guestv1.BuildImageResponse{Event: &guestv1.BuildImageResponse_Output{Output: buffer[:n]}}); err != nil {
				return tail, err
			}
		}
		if err == io.EOF {
			return tail, nil
		}
		if err != nil {
			return tail, fmt.Errorf("read the output of a step: %w", err)
		}
	}
}

func statusText(status syscall.WaitStatus) string {
	if status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
