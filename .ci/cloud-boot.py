#!/usr/bin/env python3
"""cloud-boot.py TOOLS GUEST PROGRAM USER-DATA: boots the user data once, in a guest of cloud-image, under emulation.

The values to fill in are filled in, and nothing else is changed. The guest fetches the program from this machine, joins
a broker that asks for the password, runs a plain task, refuses an encrypted one, and ends when it is switched off. What
the service may do in its sandbox is held against what it is meant to. Needs root, mosquitto with its clients, and
Python alone.
"""
import base64, hashlib, http.server, json, os, pathlib, shutil, socket, subprocess, sys, tempfile, threading, time

if len(sys.argv) != 5:
    sys.exit(__doc__)
TOOLS, GUEST, PROGRAM, USER_DATA = map(os.path.realpath, sys.argv[1:])
# On a machine that does much other work it takes twelve minutes.
PATIENCE = 1200
PREFIX = 'm/tenant/c/channel/control/'
PASSWORD = 'of this machine alone'
# A core module: (func (export "add") (param i32 i32) (result i32)).
ADD = bytes.fromhex('0061736d01000000' '01070160027f7f017f' '03020100' '0707010361646400' '00'
                    '0a09010700200020016a0b')
# What the service may do, and what stops it where it may not; see cloud-sandbox.py.
SANDBOX = {
    'report': 'ENXIO', 'sysfs': 'EROFS', 'cgroup': 'EROFS', 'run': 'EROFS', 'sysctl': 'EROFS', 'system': 'EROFS',
    'etc': 'EROFS', 'state': 'done', 'disk': 'EPERM', 'memory': 'EPERM', 'netlink': 'EAFNOSUPPORT',
    'packet': 'EAFNOSUPPORT', 'swaps': 'done', 'init': 'EACCES', 'capabilities': '0000000000000000',
    'credentials': 'credentials.toml'}


def fail(words):
    sys.exit(f'cloud-boot: {words}')


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


class Files(http.server.BaseHTTPRequestHandler):
    """What the guest fetches from this machine: its seed, and the program."""
    files = {}

    def do_GET(self):
        body = self.files.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header('Content-Length', str(len(body or b'')))
        self.end_headers()
        self.wfile.write(body or b'')

    def log_message(self, *_):
        pass


class Broker:
    """mosquitto, with a Manager beside it."""

    def __init__(self, work):
        self.port, self.lines = free_port(), work / 'messages'
        (work / 'passwords').touch(mode=0o600)
        for name, password in (('proplet-1', PASSWORD), ('manager', 'manager')):
            run('mosquitto_passwd', '-b', work / 'passwords', name, password)
        (work / 'mosquitto.conf').write_text(
            f'user root\nlistener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {work}/passwords\n')
        start('mosquitto', '-c', work / 'mosquitto.conf', output=work / 'mosquitto.log')
        self.client = ['-h', '127.0.0.1', '-p', str(self.port), '-u', 'manager', '-P', 'manager']
        until = time.monotonic() + 30
        while subprocess.run(['mosquitto_pub', *self.client, '-t', 'up', '-n'], stderr=subprocess.DEVNULL).returncode:
            if time.monotonic() > until:
                fail('mosquitto does not listen')
            time.sleep(0.2)
        start('mosquitto_sub', *self.client, '-v', '-t', PREFIX + '#', output=self.lines)

    def publish(self, topic, message):
        run('mosquitto_pub', *self.client, '-t', PREFIX + topic, '-m', json.dumps(message))

    def wait(self, topic, wanted, guest):
        """The first message on a topic with these members."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for line in self.lines.read_text().splitlines(keepends=True):
                found, _, text = line.partition(' ')
                if found == PREFIX + topic and line.endswith('\n'):
                    message = json.loads(text)
                    if all(message.get(key) == value for key, value in wanted.items()):
                        return message
            if 'proplet is not installed' in guest.console() or guest.process.poll() is not None:
                break
            time.sleep(0.5)
        fail(f'no {topic} {wanted}:\n{guest.console()}')


class Guest:
    """QEMU, in the tools tree and in mounts of its own."""

    def __init__(self, work, seed):
        self.log, self.monitor = work / 'console', work / 'monitor'
        for name in ('root.img', 'vmlinuz', 'initrd'):
            run('cp', '--sparse=always', f'{GUEST}/{name}', work / name)
        script = ('mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --bind "$2" "$1/mnt" && '
                  'exec chroot "$1" /bin/sh -c \'cd /mnt && exec "$@"\' sh "${@:3}"')
        qemu = ['qemu-system-x86_64', '-machine', 'q35,vmport=off', '-accel', 'tcg,thread=multi', '-cpu', 'max',
                '-smp', '2', '-m', '1G', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
                '-kernel', 'vmlinuz', '-initrd', 'initrd', '-append',
                'root=LABEL=root rw console=ttyS0 quiet systemd.show_status=0 systemd.journald.forward_to_console=1 '
                f'ds=nocloud;s={seed}',
                '-drive', 'if=none,id=root,file=root.img,format=raw,cache=unsafe',
                '-device', 'virtio-blk-pci,drive=root', '-device', 'virtio-rng-pci',
                '-netdev', 'user,id=n0,ipv6=off', '-device', 'virtio-net-pci,netdev=n0,romfile=',
                '-chardev', 'stdio,id=con,signal=off', '-serial', 'chardev:con',
                '-qmp', 'unix:monitor,server=on,wait=off']
        self.process = start('unshare', '-m', '--propagation', 'private', 'bash', '-c', script, 'bash', TOOLS, work,
                             *qemu, output=self.log)

    def console(self):
        return self.log.read_text(errors='replace')

    def line(self, words):
        """The first line of the console from these words on."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for line in self.console().splitlines():
                if words in line:
                    return line[line.index(words):].strip()
            if self.process.poll() is not None:
                break
            time.sleep(0.5)
        fail(f'{words!r} is not on the console:\n{self.console()}')

    def switch_off(self):
        """Presses the power button, and waits for the end."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.monitor))
            for command in ('qmp_capabilities', 'system_powerdown'):
                monitor.sendall(json.dumps({'execute': command}).encode())
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                fail(f'the guest does not end:\n{self.console()}')


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def start(*command, output):
    with open(output, 'wb') as file:
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    running.append(process)
    return process


def filled_in(broker_port, address, program):
    """The user data with values of this machine."""
    text = pathlib.Path(USER_DATA).read_text()
    for value, own in {
            '"mqtts://broker.example"': f'"tcp://10.0.2.2:{broker_port}"',
            'api_key = "key"': f'api_key = "{PASSWORD}"',
            "address='https://downloads.example/proplet'": f"address='{address}'",
            "sha256='" + 64 * '0' + "'": f"sha256='{hashlib.sha256(program).hexdigest()}'"}.items():
        if text.count(value) != 1:
            fail(f'{USER_DATA} has {value} {text.count(value)} times, not once')
        text = text.replace(value, own)
    return text


def tasks(broker, guest):
    task = {'state': 0, 'cli_args': None, 'proplet_id': 'proplet-1'}
    broker.publish('manager/start', task | {
        'id': 'plain', 'name': 'add', 'inputs': ['40', '2'], 'encrypted': False,
        'file': base64.b64encode(ADD).decode()})
    result = broker.wait('proplet/results', {'task_id': 'plain'}, guest)
    if result.get('error') or result.get('results') != '42':
        fail(f'40 + 2 gave {result}')
    print('plain task:', json.dumps(result), flush=True)
    broker.publish('manager/start', task | {
        'id': 'sealed', 'name': 'run', 'encrypted': True, 'image_url': 'registry.example/sealed:1',
        'kbs_resource_path': 'default/key/1'})
    result = broker.wait('proplet/results', {'task_id': 'sealed'}, guest)
    if 'no-tee' not in (result.get('error') or ''):
        fail(f'an encrypted task was not refused with no-tee: {result}')
    print('encrypted task:', json.dumps(result), flush=True)


def main(work):
    broker = Broker(work)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f'http://10.0.2.2:{server.server_port}/'
    program = pathlib.Path(PROGRAM).read_bytes()
    user_data = filled_in(broker.port, base + 'proplet', program)
    Files.files = {'/user-data': user_data.encode(), '/meta-data': b'instance-id: once\nlocal-hostname: guest\n',
                   '/vendor-data': b'', '/network-config': b'', '/proplet': program}
    begin = time.monotonic()
    guest = Guest(work, base)
    found = broker.wait('proplet/create', {'proplet_id': 'proplet-1'}, guest)
    print(f'discovery message after {time.monotonic() - begin:.0f} s: {json.dumps(found)}', flush=True)
    looked = dict(part.split('=', 1) for part in guest.line('sandbox: ').split()[1:])
    print('sandbox:', looked, flush=True)
    if looked != SANDBOX:
        fail(f'the sandbox is not {SANDBOX}')
    print('systemd:', guest.line('Takes tasks from'), '/', guest.line('Started proplet.service'), flush=True)
    tasks(broker, guest)
    guest.switch_off()
    for words in ('Received SIGTERM', 'Proplet stopped', 'proplet.service: Deactivated successfully'):
        print('switched off:', guest.line(words), flush=True)
    print(f'all of it took {time.monotonic() - begin:.0f} s')


running = []
if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        try:
            main(pathlib.Path(folder))
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
