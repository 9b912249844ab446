// Command pyro-agent is the init of the machine: it makes the machine, and does for the host what has to be done
// inside (proto/pyro/guest/v1/guest.proto).
//
// As PID 1 it takes no arguments. Outside of a machine, for tests:
//
//	pyro-agent -listen unix:PATH [-root DIR]
//
// serves the same services over HTTP/2 on a unix socket, without a link, mounts, modules or identity.
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
		if err := runOutside(os.Args[1:], log); err != nil {
			log.Printf("%v", err)
			os.Exit(1)
		}
		return
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
