#!/usr/bin/env python3
"""vm-boot.py FOLDER [--figures]: boots the VM image that `.ci/vm FOLDER` built under emulation, and talks to the daemon
in it.

The firmware is the one for SNP, with the table of hashes that QEMU would give it put into memory, so it checks what it
boots as on SNP hardware. The image must join a broker on this machine, run a plain task and refuse an encrypted one.
Images and command lines that the table does not list must not get as far as the first process, and an image whose
command line was changed, with a table for it, must switch itself off. Needs root, mosquitto, and Python alone.

With --figures it boots the image five times and says in JSON how long that takes, and how much memory.
"""
import base64, json, os, pathlib, shutil, signal, socket, statistics, struct, subprocess, sys, tempfile, time

if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ['--figures']):
    sys.exit(__doc__)
FOLDER = pathlib.Path(sys.argv[1]).resolve()
QEMU = pathlib.Path(__file__).resolve().parent / 'vm-qemu'
IMAGE, OTHER = FOLDER / 'image/proplet.efi', FOLDER / 'other/proplet.efi'
# Under emulation on an idle machine it takes some 10 s; a machine that does other work, minutes.
PATIENCE = 600
PREFIX = 'm/tenant/c/channel/control/'
# A core module: (func (export "add") (param i32 i32) (result i32)).
ADD = bytes.fromhex('0061736d01000000' '01070160027f7f017f' '03020100' '0707010361646400' '00'
                    '0a09010700200020016a0b')


def fail(words):
    sys.exit(f'vm-boot: {words}')


class Peer:
    """As much of MQTT 3.1.1 as a Manager needs."""

    def __init__(self, port):
        for _ in range(100):
            try:
                self.socket = socket.create_connection(('127.0.0.1', port))
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        else:
            fail('mosquitto does not listen')
        self.seen, self.buffer = [], b''
        self.send(0x10, self.text('MQTT') + bytes([4, 2, 0, 0]) + self.text('manager'))
        self.send(0x82, b'\0\1' + self.text(PREFIX + '#') + b'\0')

    @staticmethod
    def text(text):
        return struct.pack('>H', len(text)) + text.encode()

    def send(self, kind, body):
        length, rest = b'', len(body)
        while True:
            rest, digit = rest >> 7, rest & 127
            length += bytes([digit | (0x80 if rest else 0)])
            if not rest:
                break
        self.socket.sendall(bytes([kind]) + length + body)

    def publish(self, topic, message):
        self.send(0x30, self.text(PREFIX + topic) + json.dumps(message).encode())

    def packets(self):
        """Takes whole packets off the buffer."""
        while len(self.buffer) >= 2:
            length = shift = 0
            at = 1
            while at < len(self.buffer):
                digit = self.buffer[at]
                length |= (digit & 127) << shift
                at, shift = at + 1, shift + 7
                if not digit & 0x80:
                    break
            else:
                return
            if len(self.buffer) < at + length:
                return
            packet, self.buffer = (self.buffer[0], self.buffer[at:at + length]), self.buffer[at + length:]
            yield packet

    def read(self, seconds):
        """Keeps what arrives within a time."""
        self.socket.settimeout(max(seconds, 0.01))
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            return
        if not data:
            fail('mosquitto closed the connection')
        self.buffer += data
        for kind, body in self.packets():
            if kind >> 4 == 3:
                size = struct.unpack('>H', body[:2])[0]
                # Quality of service 0 was asked for: no packet identifier.
                self.seen.append((body[2:2 + size].decode().removeprefix(PREFIX), json.loads(body[2 + size:])))

    def wait(self, topic, wanted, vm):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for found, message in self.seen:
                if found == topic and all(message.get(key) == value for key, value in wanted.items()):
                    return message
            if vm.process.poll() is not None:
                fail(f'{vm.name} ended while {topic} {wanted} was awaited:\n{vm.console()}')
            self.read(1)
        fail(f'no {topic} {wanted} in {PATIENCE} s:\n{vm.console()}')


class Vm:
    """One QEMU, in the tools tree and in mounts of its own."""

    def __init__(self, work, name, image, table, more=(), memory='768M'):
        self.name, self.log = name, work / f'{name}.console'
        shutil.copy(image, work / f'{name}.efi')
        # The table is where this firmware looks for it.
        arguments = ['-name', name, '-bios', 'firmware.fd', '-kernel', f'{name}.efi',
                     '-device', f'loader,addr=0x810c00,file={table},force-raw=on', *more]
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(
                [QEMU, FOLDER / 'tools', work, *arguments], env=os.environ | {'MEMORY': memory},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running.append(self.process)

    def console(self):
        return self.log.read_text(errors='replace')

    def cpu(self):
        """Processor time of QEMU so far, in seconds. It says how far a guest may be on a machine that is busy, too."""
        if self.process.poll() is not None:
            fail(f'{self.name}: QEMU ended:\n{self.console()}')
        fields = pathlib.Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def peak(self):
        """The most memory that QEMU has had so far, in MiB: the machine's, as far as it was touched, and its own."""
        status = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
        line = next(line for line in status.splitlines() if line.startswith('VmHWM:'))
        return int(line.split()[1]) // 1024

    def stop(self):
        self.process.kill()
        self.process.wait()


def tool(*arguments):
    subprocess.run([FOLDER / 'builder', *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def free_port():
    # Below those that the system gives to whoever asks for any.
    for port in range(20000 + os.getpid() % 10000, 32768):
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(('127.0.0.1', port))
                return port
            except OSError:
                pass
    sys.exit('no port is free')


def prepare(work, port):
    shutil.copy(FOLDER / 'firmware/OVMF.amdsev.fd', work / 'firmware.fd')
    (work / 'settings.toml').write_text(
        'version = "0.1.0"\nalgorithm = "sha256"\n[data]\n"proplet.toml" = \'\'\'\n[proplet]\n'
        'tenant_id = "tenant"\nchannel_id = "channel"\nentity_id = "vm-1"\n\'\'\'\n')
    (work / 'operator.toml').write_text(
        'version = "0.1.0"\n[environment]\n'
        f'PROPLET_MQTT_ADDRESS = "tcp://10.0.2.2:{port}"\nPROPLET_API_KEY = "key"\n')
    tool('init-data', work / 'settings.toml', '--out', work / 'initdata.img')
    tool('operator', work / 'operator.toml', '--out', work / 'operator.img')
    image = pathlib.Path(IMAGE).read_bytes()
    parts = image.split(b'loglevel=3')
    if len(parts) != 2:
        fail(f'{IMAGE} has its command line {len(parts) - 1} times, not once')
    (work / 'command-line').write_bytes(b'loglevel=4'.join(parts))
    tool('hash-table', IMAGE, '--out', work / 'table')
    tool('hash-table', work / 'command-line', '--out', work / 'table-command-line')


TASK = {'state': 0, 'cli_args': None, 'proplet_id': 'vm-1'}


def first_result(peer, vm, begin):
    """Waits for the machine to join and has it run a plain task. Gives seconds until each, and those of a processor."""
    peer.wait('proplet/create', {'proplet_id': 'vm-1'}, vm)
    discovery, cpu = time.monotonic() - begin, vm.cpu()
    peer.publish('manager/start', TASK | {
        'id': 'plain', 'name': 'add', 'inputs': ['40', '2'], 'encrypted': False,
        'file': base64.b64encode(ADD).decode()})
    result = peer.wait('proplet/results', {'task_id': 'plain'}, vm)
    if result.get('error') or result.get('results') != '42':
        fail(f'40 + 2 gave {result}')
    return discovery, time.monotonic() - begin, cpu


def boots(work, peer):
    begin = time.monotonic()
    vm = Vm(work, 'image', IMAGE, 'table')
    discovery, first, cpu = first_result(peer, vm, begin)
    print(f'discovery message after {discovery:.1f} s, {cpu:.1f} s of a processor; first result after {first:.1f} s')
    peer.publish('manager/start', TASK | {
        'id': 'sealed', 'name': 'run', 'encrypted': True, 'image_url': 'registry.example/sealed:1',
        'kbs_resource_path': 'default/key/1'})
    result = peer.wait('proplet/results', {'task_id': 'sealed'}, vm)
    if 'no-tee' not in (result.get('error') or ''):
        fail(f'an encrypted task was not refused with no-tee: {result}')
    print(f'encrypted task: {json.dumps(result)}')
    vm.stop()
    return cpu


def does_not_boot(work, peer, cpu):
    """Gives each machine several times the processor time with which the good image had joined.

    The firmware stops in a loop. A machine that ends has not been tried.
    """
    peer.seen.clear()
    vms = [Vm(work, 'changed-archive', OTHER, 'table'),
           Vm(work, 'changed-command-line', work / 'command-line', 'table'),
           Vm(work, 'further-command-line', IMAGE, 'table', ['-append', 'init=/bin/sh'])]
    until = time.monotonic() + PATIENCE
    while any(vm.cpu() < 3 * cpu for vm in vms):
        if time.monotonic() > until:
            fail(f'machines that should not boot were not given {3 * cpu:.0f} s of a processor: '
                 f'{[vm.cpu() for vm in vms]}')
        peer.read(1)
    created = [message for topic, message in peer.seen if topic == 'proplet/create']
    for vm in vms:
        if 'init:' in vm.console() or created:
            fail(f'{vm.name} was booted: {created}\n{vm.console()}')
        print(f'{vm.name}: not booted in {vm.cpu():.1f} s of a processor')
        vm.stop()


def switches_off(work):
    vm = Vm(work, 'own-table', work / 'command-line', 'table-command-line')
    try:
        vm.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        fail(f'a changed command line did not end in power-off:\n{vm.console()}')
    lines = [line for line in vm.console().splitlines() if 'POWER OFF' in line]
    if not lines or 'command line' not in lines[0]:
        fail(f'a changed command line was not what ended the machine:\n{vm.console()}')
    print(lines[0])


def figures(work, peer):
    """Medians of five boots, and the smallest memory that is enough."""
    runs = []
    for _ in range(5):
        peer.seen.clear()
        begin = time.monotonic()
        vm = Vm(work, 'image', IMAGE, 'table')
        runs.append((*first_result(peer, vm, begin), vm.peak()))
        vm.stop()
    discovery, first, cpu, peak = map(statistics.median, zip(*runs))
    build = min(float(line) for line in os.environ.get('BUILD_SECONDS', 'nan').split())
    print(json.dumps({
        'image_mib': round(IMAGE.stat().st_size / 2 ** 20, 1),
        'program_mib': round((FOLDER / 'proplet').stat().st_size / 2 ** 20, 1),
        'build_without_firmware_s': round(build, 1),
        'exec_to_discovery_s': round(discovery, 1),
        'exec_to_first_result_s': round(first, 1),
        'each_exec_to_discovery_s': [round(run[0], 1) for run in runs],
        'processor_until_discovery_s': round(cpu, 1),
        'memory_of_the_vm_mib': 768,
        'peak_memory_of_qemu_mib': peak,
        'smallest_memory_mib': smallest(work, peer, max(run[1] for run in runs)),
        'load_average': os.getloadavg()[0],
    }, indent=2))


def smallest(work, peer, usual):
    """The smallest of some sizes of memory with which the image comes up and runs a task, which usually takes so long."""
    global PATIENCE
    # Some of those that are too small stop without an end.
    PATIENCE = max(60, 5 * usual)
    for memory in (192, 256, 320, 384, 512):
        peer.seen.clear()
        vm = Vm(work, 'image', IMAGE, 'table', memory=f'{memory}M')
        try:
            first_result(peer, vm, time.monotonic())
            return memory
        except SystemExit:
            # It ended, or its daemon did.
            continue
        finally:
            vm.stop()
    return None


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        port = free_port()
        prepare(work, port)
        (work / 'mosquitto.conf').write_text(f'user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n')
        running.append(subprocess.Popen(['mosquitto', '-c', work / 'mosquitto.conf'],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            peer = Peer(port)
            if '--figures' in sys.argv:
                figures(work, peer)
                return
            cpu = boots(work, peer)
            does_not_boot(work, peer, cpu)
            switches_off(work)
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()


running = []
if __name__ == '__main__':
    main()
