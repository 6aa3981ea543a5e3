"""cloud-sandbox.py: looks at the sandbox of proplet.service from inside, and says what it may do (see cloud-boot)."""
import errno, os, pathlib, socket


def tried(action):
    """The name of what an action fails with."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno]
    return 'done'


def write(path):
    return lambda: pathlib.Path(path).write_bytes(b'')


def capabilities():
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith(('CapEff', 'CapBnd', 'CapAmb'))]


looks = {
    # The kernel's own answer where no driver gives reports: what lies before it let the request through.
    'report': tried(lambda: os.mkdir('/sys/kernel/config/tsm/report/look')),
    'sysfs': tried(write('/sys/power/state')),
    'cgroup': tried(write('/sys/fs/cgroup/cgroup.procs')),
    'run': tried(lambda: os.mkdir('/run/look')),
    'sysctl': tried(write('/proc/sys/kernel/core_pattern')),
    'system': tried(write('/usr/local/bin/look')),
    'etc': tried(write('/etc/proplet/look')),
    'state': tried(write('/var/lib/proplet/look')),
    'disk': tried(lambda: os.open('/dev/vda', os.O_RDONLY)),
    'memory': tried(lambda: os.open('/dev/mem', os.O_RDONLY)),
    'netlink': tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    'packet': tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    'swaps': tried(lambda: pathlib.Path('/proc/swaps').read_text()),
    'init': tried(lambda: pathlib.Path('/proc/1/environ').read_bytes()),
    'capabilities': '+'.join(sorted(set(capabilities()))),
    'credentials': '+'.join(sorted(os.listdir(os.environ['CREDENTIALS_DIRECTORY']))),
}
os.unlink('/var/lib/proplet/look')
print('sandbox:', ' '.join(f'{name}={found}' for name, found in looks.items()), flush=True)
