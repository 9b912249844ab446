package boot

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"pyro/guest/internal/cgroup"
	"pyro/guest/internal/workload"
)

// Groups are the control groups of the machine: one for the agent, one above all commands.
type Groups struct {
	Commands *cgroup.Group
	Limits   workload.Limits
}

const mib = 1 << 20

// commandLimits says how much of the machine its commands may take, so that the agent can always act: a fork bomb in
// one command leaves processes for the others, and all commands together leave memory for agent and kernel.
func commandLimits(memoryBytes uint64) (processesEach, processesAll int, memoryAll uint64) {
	// A process costs some 100 KiB of kernel memory and more of its own. pid_max of a small machine is 32,768.
	processesEach = int(min(max(memoryBytes/mib*4, 1024), 30_000))
	processesAll = processesEach + 1024
	memoryAll = memoryBytes - min(24*mib+memoryBytes/64, memoryBytes/4)
	return processesEach, processesAll, memoryAll
}

// makeGroups moves the agent into a group of its own, out of the reach of what the commands do to theirs.
// PID 1 needs no oom_score_adj: the kernel never takes init, and children would inherit the value.
func makeGroups() (*Groups, error) {
	root, err := cgroup.OpenRoot("/sys/fs/cgroup")
	if err != nil {
		return nil, err
	}
	// A kernel may lack a controller; the machine runs without that bound then.
	// Not io: nothing is bounded by it, and each group's first access to each disk would be longer.
	for _, controller := range []string{"+cpu", "+memory", "+pids"} {
		_ = root.Set("cgroup.subtree_control", controller)
	}
	agent, err := root.Create("agent")
	if err != nil {
		return nil, err
	}
	if err := agent.Set("cgroup.procs", "0"); err != nil {
		return nil, err
	}
	// Under a fork bomb the agent still gets its turn.
	_ = agent.Set("cpu.weight", "10000")
	agent.Close()
	commands, err := root.Create("pyro")
	if err != nil {
		return nil, err
	}
	for _, controller := range []string{"+memory", "+pids"} {
		_ = commands.Set("cgroup.subtree_control", controller)
	}
	memory, err := totalMemory()
	if err != nil {
		return nil, err
	}
	each, all, bytes := commandLimits(memory)
	_ = commands.Set("pids.max", strconv.Itoa(all))
	_ = commands.Set("memory.max", strconv.FormatUint(bytes, 10))
	return &Groups{Commands: commands, Limits: workload.Limits{MaxProcesses: each}}, nil
}

func totalMemory() (uint64, error) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the size of the memory: %w", err)
	}
	return parseTotalMemory(content)
}

func parseTotalMemory(meminfo []byte) (uint64, error) {
	for line := range bytes.Lines(meminfo) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == "MemTotal:" {
			kib, err := strconv.ParseUint(string(fields[1]), 10, 64)
			return kib * 1024, err
		}
	}
	return 0, fmt.Errorf("no MemTotal in /proc/meminfo")
}
