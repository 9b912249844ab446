package process

import (
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// defaultPath is searched when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// shellPath is what runs a line.
const shellPath = "/bin/sh"

// finder looks for a command as execvp(3) would, within the root directory; exec's own error would not say which of
// its inputs was missing.
type finder struct {
	root rootdir.Root
	cwd  string
}

// checkDirectory also makes it, where it is missing and the caller wants that.
func (f *finder) checkDirectory(make bool) error {
	if f.cwd == "" {
		f.cwd = "/"
	}
	if !path.IsAbs(f.cwd) || strings.IndexByte(f.cwd, 0) >= 0 {
		return failure.New(failure.InvalidArgument, "use an absolute path in the guest", "the working directory %q is not absolute", f.cwd)
	}
	stat, err := f.root.Stat(f.cwd)
	if make && errors.Is(err, unix.ENOENT) {
		if err = f.makeDirectory(); err == nil {
			stat, err = f.root.Stat(f.cwd)
		}
	}
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		return failure.New(failure.WorkingDirectoryNotFound, "make it first, or choose another working directory",
			"the working directory %q cannot be used: %v", f.cwd, reason(err))
	}
	return nil
}

func (f *finder) makeDirectory() error {
	everywhere, err := f.root.Within("")
	if err != nil {
		return err
	}
	fd, _, err := everywhere.OpenOrMake(f.cwd)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// command gives the path for exec: what holds a slash is taken as it is, relative to the working directory.
func (f *finder) command(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		switch state, err := f.look(name); {
		case state == usable:
			return name, nil
		case state == missing && name == shellPath:
			return "", NoShell()
		case state == missing:
			return "", failure.New(failure.CommandNotFound, "check the path; relative ones begin at the working directory",
				"the command %q does not exist: %v", name, reason(err))
		default:
			return "", notExecutable(name, err)
		}
	}
	var refused string
	var refusedBy error
	for _, directory := range strings.Split(searchPath(env), ":") {
		candidate := name
		if directory != "" {
			candidate = directory + "/" + name
		}
		switch state, err := f.look(candidate); {
		case state == usable:
			return executable(candidate), nil
		case state == unusable && refused == "":
			refused, refusedBy = candidate, err
		}
	}
	if refused != "" {
		return "", notExecutable(refused, refusedBy)
	}
	return "", failure.New(failure.CommandNotFound, "install it in the guest, or give its full path",
		"the command %q is in no directory of PATH (%s)", name, searchPath(env))
}

// NoShell says that there is nothing to read a line: images of one program have none.
func NoShell() error {
	return failure.New(failure.NoShellInEnvironment, "run one of its programs by itself: argv in place of a line, on the command line after `--`",
		"the environment has no shell (%s)", shellPath)
}

func notExecutable(name string, err error) error {
	return failure.New(failure.CommandNotExecutable, "make it executable (chmod +x), or run it by its interpreter",
		"%q cannot be executed: %v", name, reason(err))
}

// executable keeps exec from taking a bare name for a path of its own making.
func executable(candidate string) string {
	if strings.Contains(candidate, "/") {
		return candidate
	}
	return "./" + candidate
}

type lookState int

const (
	missing lookState = iota
	unusable
	usable
)

func (f *finder) look(candidate string) (lookState, error) {
	if !path.IsAbs(candidate) {
		candidate = f.cwd + "/" + candidate
	}
	stat, err := f.root.Stat(candidate)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENAMETOOLONG):
		return missing, err
	case err != nil:
		return unusable, err
	case stat.Mode&unix.S_IFMT == unix.S_IFDIR:
		return unusable, unix.EISDIR
	case stat.Mode&unix.S_IFMT != unix.S_IFREG || stat.Mode&0o111 == 0:
		return unusable, unix.EACCES
	default:
		return usable, nil
	}
}

func searchPath(env []string) string {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, "PATH="); ok {
			return value
		}
	}
	return defaultPath
}

// reason is the errno alone: its path is in the message already.
func reason(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}
