"""What bench/guest/run and bench/guest/programs share: running a machine, reading what it says, comparing."""
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
HERE = os.path.join(ROOT, "bench", "guest")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "vivarium")
MACHINES = ("native", "qemu", "ours")


def fail(sentence):
    sys.exit(f"bench/guest: {sentence}")


def split_command(text):
    """'PATH [run] [linux] ARGUMENTS' or 'PATH,ARGUMENTS' as (program, further arguments of `viv run`)."""
    words = shlex.split(text.replace(",", " ", 1) if " " not in text.split(",")[0] else text)
    if not words:
        fail("--viv wants NAME=PATH[,ARGUMENTS]")
    program, words = words[0], words[1:]
    while words and words[0] in ("run", "linux"):
        words = words[1:]
    if not os.path.exists(program) and shutil.which(program) is None:
        fail(f"there is no {program}; --viv wants NAME=PATH[,ARGUMENTS]")
    return (["dotnet", program] if program.endswith(".dll") else [program]), words


class Result:
    """What one machine said: the best ns per operation, the checksum, and what went wrong."""

    def __init__(self):
        self.ns, self.sums, self.faults = {}, {}, []

    def add(self, name, ns, checksum):
        self.ns[name] = min(ns, self.ns.get(name, ns))
        if self.sums.setdefault(name, checksum) != checksum:
            self.faults.append(f"{name}: the checksum differs between rounds")


def run_machine(machine, command, result, log, boot_seconds, bench_seconds):
    """Runs one machine to its DONE and reads its lines; one that stays silent for too long is killed."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    current, cause, done, tail = None, "", False, []
    silent = threading.Event()

    def kill():
        silent.set()
        process.kill()

    timer = threading.Timer(boot_seconds, kill)
    timer.start()
    for raw in process.stdout:
        line = raw.decode("latin1").strip()
        words = line.split()
        tail = (tail + [line])[-15:]
        if not words or words[0] not in ("BEGIN", "BENCH", "FAIL", "CAUSE", "DONE"):
            continue
        timer.cancel()
        timer = threading.Timer(bench_seconds, kill)
        timer.start()
        if words[0] == "BEGIN":
            current, cause = words[1], ""
            if sys.stderr.isatty():
                print(f"\r{machine}: {current:40}", end="\r", file=sys.stderr, flush=True)
        elif words[0] == "BENCH" and len(words) == 5:
            result.add(words[1], int(words[2]) / 1000, words[4])
        elif words[0] == "CAUSE":
            cause = line[6:]
        elif words[0] == "FAIL":
            result.faults.append(f"{' '.join(words[1:])} {cause}".strip())
        elif words[0] == "DONE":
            done = True
    process.wait()
    timer.cancel()
    if not done:
        how = f"was silent for {bench_seconds if current else boot_seconds} s" if silent.is_set() else f"ended with code {process.returncode}"
        result.faults.append(f"{current or 'start'}: the machine {how}; its last lines:\n      " + "\n      ".join(tail))


def geometric(values):
    values = [value for value in values if value]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def scaled(value, scale):
    return None if value is None else value * scale


def shown(value, width=9):
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:{width}.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"


def print_table(names, results, vivs, unit, scale):
    ours = vivs[0] if vivs and vivs[0] in results else None
    pairs = [(name, "native") for name in [*vivs, "qemu"]] + [(name, "qemu") for name in vivs] + [(name, ours) for name in vivs[1:]]
    pairs = [pair for pair in pairs if pair[0] in results and pair[1] in results]
    width = max([12, *(len(f"{a}/{b}") + 1 for a, b in pairs)])

    def ratio(name, pair):
        a, b = (results[machine].ns.get(name) for machine in pair)
        return a / b if a and b else None

    print(f"\n{unit:24}" + "".join(f"{name:>12}" for name in results) + "".join(f"{f'{a}/{b}':>{width}}" for a, b in pairs))
    group = None
    for name in names:
        if name.split("/")[0] != group:
            group = name.split("/")[0]
            print(f"{group}:")
        times = "".join(shown(scaled(result.ns.get(name), scale), 12) for result in results.values())
        print(f"  {name.split('/')[1]:22}{times}" + "".join(shown(ratio(name, pair), width) for pair in pairs))
    if pairs:
        print("geometric means:")
        groups = list(dict.fromkeys(name.split("/")[0] for name in names))
        for group in groups if len(groups) > 1 else []:
            means = (geometric([ratio(name, pair) for name in names if name.startswith(group + "/")]) for pair in pairs)
            print(f"  {group:22}{'':{12 * len(results)}}" + "".join(shown(mean, width) for mean in means))
        print(f"  {'all':22}{'':{12 * len(results)}}" + "".join(shown(geometric([ratio(name, pair) for name in names]), width) for pair in pairs))
    for pair in pairs:
        worst = sorted(((ratio(name, pair), name) for name in names if ratio(name, pair)), reverse=True)
        if pair[1] == "qemu":
            slower = [f"{name} {shown(value, 0)}" for value, name in worst if value > 1]
            print(f"{pair[0]} slower than QEMU: {', '.join(slower) or 'nowhere'}")
        elif len(worst) > 3:
            print(f"worst of {pair[0]}/{pair[1]}: " + ", ".join(f"{name} {shown(value, 0)}" for value, name in worst[:6]))


def print_markdown(names, results, vivs, unit, scale):
    """The same for a document: the times, the ratios to native and to QEMU, and the geometric means."""
    pairs = [(name, base) for base in MACHINES[:2] for name in [*vivs, "qemu"] if base in results and name in results and name != base]

    def ratios(names):
        return "".join(f" | {shown(geometric([results[a].ns.get(name, 0) / results[b].ns[name] for name in names if name in results[b].ns]), 0)}" for a, b in pairs)

    print(f"\n| {unit} | {' | '.join(results)}{''.join(f' | {a}/{b}' for a, b in pairs)} |\n|{'---|' * (1 + len(results) + len(pairs))}")
    for name in names:
        times = "".join(f" | {shown(scaled(result.ns.get(name), scale), 0)}" for result in results.values())
        print(f"| {name}{times}{ratios([name])} |")
    groups = list(dict.fromkeys(name.split("/")[0] for name in names))
    for group in [*(groups if len(groups) > 1 else []), ""]:
        print(f"| **{group or 'all'}**, geometric mean{' |' * len(results)}{ratios([name for name in names if name.startswith(group)])} |")


def check(results):
    """All machines must have the same checksums; the first machine's are the measure (native, when it is there)."""
    faults, (reference, measure) = [], next(iter(results.items()))
    for machine, result in results.items():
        faults += [f"{machine}: {fault}" for fault in result.faults]
        for name, checksum in result.sums.items():
            if checksum != measure.sums.get(name, checksum):
                faults.append(f"{machine}: {name}: checksum {checksum}, but {measure.sums[name]} on {reference}")
        missing = [name for name in measure.ns if name not in result.ns]
        if missing and not result.faults:
            faults.append(f"{machine}: no result for {', '.join(missing)}")
    return faults


def add_options(parser):
    parser.add_argument("names", nargs="*", help="words in the names of the benchmarks to run")
    parser.add_argument("--only", default=",".join(MACHINES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--viv", action="append", default=[], metavar="NAME=PATH[,ARGUMENTS]", help="an executable or .dll; may be repeated")
    parser.add_argument("--qemu-cpu", default="", help="processor model for QEMU; its default otherwise")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--markdown", action="store_true", help="print the table once more as Markdown")
    parser.add_argument("--list", action="store_true")


def chosen_machines(options, packages):
    """The kinds of machine to run, and the vivs by name as (program, further arguments of `viv run`)."""
    only = set(options.only.split(","))
    if not only <= set(MACHINES):
        fail("--only takes native, qemu and ours, with commas between")
    for program, package in [*packages, *[("qemu-system-x86_64", "qemu-system-x86")] * ("qemu" in only)]:
        shutil.which(program) or fail(f"there is no {program} here; apt-get install {package}")
    texts = options.viv or [f"ours={os.environ.get('VIV') or os.path.join(ROOT, 'viv')}"]
    if any("=" not in text.split("/")[0].split(" ")[0] for text in texts):
        fail("--viv wants NAME=PATH[,ARGUMENTS]")
    vivs = {name: split_command(command) for name, _, command in (text.partition("=") for text in texts)} if "ours" in only else {}
    if not vivs.keys().isdisjoint(MACHINES[:2]):
        fail("native and qemu are no names for a viv")
    for command, _ in vivs.values():
        # Builds it if need be.
        subprocess.run([*command, "--version"], check=True, stdout=subprocess.DEVNULL)
    return only, vivs


def fetch_guest(vivs, guest):
    """A guest is fetched, or made, by running it once."""
    command = next(iter(vivs.values()), ([os.path.join(ROOT, "viv")], []))[0]
    subprocess.run([*command, "run", guest, "--timeout", "1ms", "--serial", "none"], stdin=subprocess.DEVNULL)


def compile_suite(work):
    """The suite as the one program of a tree in a folder, /init; returns its path."""
    program = os.path.join(work, "tree", "init")
    os.mkdir(os.path.dirname(program))
    sources = [os.path.join(HERE, name + ".c") for name in ("main", "integer", "memory", "float", "code", "kernel")]
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-pthread", "-o", program, *sources], check=True)
    return program


def pack_initramfs(tree, file):
    names = [os.path.relpath(os.path.join(folder, name), tree) for folder, folders, files in os.walk(tree) for name in folders + files]
    with open(file, "wb") as packed:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input="".join(f"{name}\n" for name in names).encode(), stdout=packed, cwd=tree, check=True)


def qemu_command(options, memory, append, kernel, initrd):
    return [
        "qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-smp", "1", "-m", str(memory), "-nodefaults", "-display", "none",
        "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", append,
        *(["-cpu", options.qemu_cpu] if options.qemu_cpu else []),
    ]


def run_by_turns(commands, rounds, boot_seconds, bench_seconds):
    results = {name: Result() for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            with tempfile.TemporaryFile() as log:
                before = len(results[name].faults)
                run_machine(name, command, results[name], log, boot_seconds, bench_seconds)
                log.seek(0)
                if len(results[name].faults) > before and (said := log.read().decode("latin1").strip()):
                    results[name].faults.append(f"it said: {said[-1000:]}")
    if sys.stderr.isatty():
        print(f"\r{'':60}\r", end="", file=sys.stderr)
    return results


def report(options, names, results, vivs, unit="ns per operation", scale=1):
    """Prints the table and what is wrong, and ends with 1 if anything is."""
    print_table(names, results, list(vivs), unit, scale)
    if options.markdown:
        print_markdown(names, results, list(vivs), unit, scale)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({name: result.ns for name, result in results.items()}, file, indent=1)
    if faults := check(results):
        print("\nWRONG:")
        for fault in faults:
            print(f"  {fault}")
        sys.exit(1)
    if len(results) > 1:
        print("\nall checksums agree")
