// Command pyro-agent is the init of the machine: it makes the machine, and does for the host what has to be done
// inside (proto/pyro/guest/v1/guest.proto).
package main

import (
	"fmt"
	"os"

	"pyro/guest/internal/boot"
	"pyro/guest/internal/guard"
)

// version is set by the linker.
var version = "0.0.0-dev"

func main() {
	log := guard.NewLog(os.Stderr)
	if os.Getpid() != 1 {
		log.Printf("this is the init of a virtual machine; it does nothing elsewhere")
		os.Exit(1)
	}
	begin := boot.Uptime()
	// PID 1 must not return: the kernel would panic. Whatever failed is on the console before the power goes.
	log.Run("the machine", func() {
		if err := runMachine(begin, log); err != nil {
			log.Printf("cannot go on: %v", err)
		}
	})
	if err := boot.PowerOff(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "pyro-agent: power off:", err)
	}
	select {}
}
