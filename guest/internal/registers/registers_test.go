package registers

import (
	"os"
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWipingAllThreadsMakesNoMoreThanItsBound(t *testing.T) {
	// As the reaper does: without a receiver the signal is ignored.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	defer signal.Stop(signals)
	WipeAll()
	before := threads()
	for range 100 {
		WipeAll()
	}
	if len(signals) == 0 {
		t.Error("no signal came")
	}
	after := threads()
	if after <= maxStanding+2*asleep {
		return
	}
	t.Errorf("%d threads became %d", before, after)
}
