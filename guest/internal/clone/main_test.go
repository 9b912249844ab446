package clone

import (
	"os"
	"testing"

	"pyro/guest/internal/confined"
)

func TestMain(m *testing.M) { os.Exit(confined.Run(m)) }
