package confined_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/confined"
)

func TestMain(m *testing.M) { os.Exit(confined.Run(m)) }

func TestOnlyTemporaryFilesCanBeWritten(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root is confined")
	}
	if err := os.WriteFile(filepath.Join(t.TempDir(), "file"), nil, 0o600); err != nil {
		t.Error(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, directory := range []string{"/", "/etc", "/usr", "/var", "/dev/shm", home, "."} {
		path := filepath.Join(directory, "pyro-confined-test")
		if err := os.WriteFile(path, nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v instead of EROFS", path, err)
			_ = os.Remove(path)
		}
	}
}
