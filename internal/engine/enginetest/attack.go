package enginetest

import (
	"testing"

	"slipway.dev/slipway/internal/engine"
)

// Python returns a task that runs a Python program, with the engine's limits
// and the internet.
func Python(name, script string) engine.Task {
	k := Task("app", name, ProgramPass)
	k.Command = []string{"/usr/bin/python3", "-c", script}
	k.Egress, k.Limits = engine.EgressInternet, engine.Limits{}
	return k
}

// RunTask runs a task to its end and returns what it printed; exit is nil when
// it was lost.
func RunTask(t *testing.T, e engine.Engine, k engine.Task) (printed string, exit *engine.Exit) {
	t.Helper()
	h := Harness{Engine: e}
	h.apply(t, k)
	exit = h.ended(t, k.ID).Exit
	return h.printed(t, k.ID), exit
}

// Printed returns the lines of all replicas, so far.
func Printed(t *testing.T, e engine.Engine, ref engine.Ref) string {
	t.Helper()
	return (&Harness{Engine: e}).printed(t, ref)
}

// Attack is a Python program that tries what a sandbox must not allow. It
// prints what worked, then "done"; CLOSED lists, as host:port, what must not
// be reached.
const Attack = `
import os, ctypes, socket, glob
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, fn):
    try:
        r = fn()
    except BaseException as e:
        return
    if r: print('ALLOWED', name, r)
def sys(n, *a):
    r = libc.syscall(n, *a)
    return r >= 0
tried('uid', lambda: os.getuid() < 100000 or os.geteuid() < 100000 or 0 in os.getgroups())
st = dict(l.split(':\t') for l in open('/proc/self/status').read().splitlines() if ':\t' in l)
for c in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'):
    tried(c, lambda: int(st[c], 16) != 0 and st[c])
tried('no_new_privs', lambda: st['NoNewPrivs'] != '1')
tried('seccomp', lambda: st['Seccomp'] != '2')
tried('setuid', lambda: os.setuid(0) is None)
tried('unshare user', lambda: libc.unshare(0x10000000) == 0)
tried('unshare net', lambda: libc.unshare(0x40000000) == 0)
tried('clone user', lambda: sys(56, 0x10000000 | 17, 0, 0, 0, 0))
tried('mount', lambda: libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0)
tried('ptrace init', lambda: libc.ptrace(16, 1, 0, 0) == 0)
tried('keyctl', lambda: sys(250, 0, -3, 0))
tried('bpf', lambda: sys(321, 0, 0, 0))
tried('private folder', lambda: os.listdir('/run/slipway'))
tried('spec', lambda: open('/run/slipway/spec.json').read())
tried('init environ', lambda: open('/proc/1/environ').read())
tried('init root', lambda: os.listdir('/proc/1/root'))
tried('shadow', lambda: open('/etc/shadow').read())
tried('private keys', lambda: os.listdir('/etc/ssl/private'))
tried('host root', lambda: os.listdir('/root'))
tried('host home', lambda: [h for h in os.listdir('/home') if h != 'app'])
tried('host var', lambda: os.path.exists('/var/lib/dpkg'))
for d in ('/', '/usr', '/app', '/env', '/etc', '/dev', '/sys', '/proc/sys/kernel', '/run', '/var', '/home'):
    tried('write ' + d, lambda: open(d + '/slipway-test', 'w'))
tried('write sysctl', lambda: open('/proc/sys/kernel/core_pattern', 'w'))
tried('write oom', lambda: os.write(os.open('/proc/self/oom_score_adj', os.O_WRONLY), b'-1000'))
tried('mknod', lambda: os.mknod('/tmp/sda', 0o60600, os.makedev(8, 0)) is None)
tried('disk', lambda: [d for d in os.listdir('/dev') if d.startswith(('sd', 'vd', 'nvme', 'mem', 'kmsg'))])
tried('others', lambda: [p for p in glob.glob('/proc/[0-9]*') if int(p[6:]) not in (1, os.getpid())])
tried('cgroups', lambda: os.listdir('/sys/fs/cgroup'))
for target in os.environ['CLOSED'].split():
    host, port = target.rsplit(':', 1)
    def conn():
        s = socket.create_connection((host, int(port)), timeout=2); return target
    tried('connect', conn)
tried('raw socket', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tried('ipv6', lambda: [l for l in open('/proc/net/if_inet6')])
for d in ('/tmp', '/var/tmp', os.path.expanduser('~'), '/dev/shm'):
    open(d + '/mine', 'w').write('x')
print('done')
`
