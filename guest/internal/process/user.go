package process

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/accounts"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// asUser says whom a request runs as, and tells its programs so where the environment has nothing of it.
func asUser(root rootdir.Root, message *guestv1.StartRequest, env []string) (*syscall.Credential, []string, error) {
	if message.User == "" {
		return credential(message.Uid, message.Gid, nil), env, nil
	}
	account, err := accounts.Find(root, message.User)
	if err != nil {
		return nil, nil, failure.New(failure.GuestUserNotFound,
			"add the user to the environment's /etc/passwd, or name one by number in the image's configuration", "%v", err)
	}
	env = withDefault(env, "HOME", account.Home)
	if account.Name != "" {
		env = withDefault(withDefault(env, "USER", account.Name), "LOGNAME", account.Name)
	}
	return credential(account.UID, account.GID, account.Groups), env, nil
}

func withDefault(env []string, name, value string) []string {
	for _, entry := range env {
		if strings.HasPrefix(entry, name+"=") {
			return env
		}
	}
	return append(env, name+"="+value)
}

// credential is nil where the agent's own user does: three system calls less, and tests need not be root. The kernel takes
// all capabilities from who is not root.
func credential(uid, gid uint32, groups []uint32) *syscall.Credential {
	if int(uid) == unix.Geteuid() && int(gid) == unix.Getegid() && len(groups) == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}
}
