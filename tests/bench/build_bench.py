#!/usr/bin/env python3
"""Times whole builds by farm and by other builders, side by side.

Each run of a workload is done by every builder in turn, so that what else the machine does falls on
all of them; a floor (the least that the kernel lets anybody get away with) is timed in between.
Results are a table and, with --json, a file; docs/performance.md has those of one day. Call it with
the directory of optimised programs (bazel build --config=release) as --programs. Needs root,
busybox-static and, for the peers, the Debian packages docker.io and buildah; a peer that is not
installed is left out, and said so.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BASE = "localhost/bench:base"
CHAIN_SHORT, CHAIN_LONG = 2, 30  # RUN steps; the difference gives the cost of one
SLEEPERS, SLEEP_SECONDS = 8, 3
FILES_PER_DIRECTORY = 100
# A client that remembers digests by a file's times does so only once these have settled.
SETTLE_SECONDS = 2.5
START_TIMEOUT_SECONDS = 60


def check(command, **options):
    """Runs a command that must succeed; its output, on failure, is the message."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n"
                         + done.stdout.decode(errors="replace")[-4000:])
    return done.stdout.decode(errors="replace")


def timed(command, **options):
    start = time.perf_counter()
    check(command, **options)
    return time.perf_counter() - start


def first_line(text):
    return text.strip().splitlines()[0] if text.strip() else "?"


def wait_for(what, is_ready):
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start in {START_TIMEOUT_SECONDS} s")
        time.sleep(0.05)


class Farm:
    """A local farm of its own: farm's client starts it, stop() ends it."""

    name = "farm"

    def __init__(self, work, programs):
        self.farm = str(programs / "farm")
        self.env = dict(os.environ, HOME=str(work), FARM_LOCAL_DIR=str(work / "local"),
                        FARM_PROGRAMS_DIR=str(programs))
        for name in ("FARM_ADDR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            self.env.pop(name, None)
        config = work / ".config" / "farm"
        config.mkdir(parents=True)
        (config / "local-worker.yaml").write_text(f"slots: {SLEEPERS}\n")

    def version(self):
        return first_line(check([self.farm, "--version"], env=self.env))

    def import_base(self, tar):
        check([self.farm, "import", tar, BASE], env=self.env)

    def build(self, context, dockerfile):
        return timed([self.farm, "build", "--progress=plain", "-f", dockerfile, context],
                     env=self.env)

    def print_version(self):
        return timed([self.farm, "--version"], env=self.env)

    def stop(self):
        subprocess.run([self.farm, "local", "stop"], env=self.env, check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Docker:
    """Docker's engine with the BuildKit in it, in a directory of its own."""

    name = "docker"
    # By its full name: a newer client that is first in PATH may lack BuildKit.
    client = "/usr/bin/docker"

    @staticmethod
    def available():
        return bool(shutil.which("dockerd") and shutil.which("containerd")
                    and os.access(Docker.client, os.X_OK))

    def __init__(self, work, _programs):
        self.work = work
        self.env = dict(os.environ, HOME=str(work), DOCKER_BUILDKIT="1",
                        DOCKER_HOST=f"unix://{work}/d.sock", BUILDKIT_PROGRESS="plain")
        self.daemons = []
        self._start("containerd", "--root", work / "c", "--state", work / "cs",
                    "--address", work / "c.sock")
        wait_for("containerd", (work / "c.sock").exists)
        self._start("dockerd", "-H", f"unix://{work}/d.sock", "--data-root", work / "data",
                    "--exec-root", work / "exec", "--pidfile", work / "d.pid",
                    "--containerd", work / "c.sock", "--iptables=false", "--ip6tables=false",
                    "--bridge=none")
        wait_for("dockerd", lambda: subprocess.run(
            [self.client, "version"], env=self.env, check=False, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL).returncode == 0)

    def _start(self, program, *args):
        with open(self.work / f"{program}.log", "wb") as log:
            self.daemons.append(subprocess.Popen(
                [program, *map(str, args)], stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def version(self):
        return first_line(check([self.client, "version", "--format",
                                 "docker {{.Server.Version}}"], env=self.env))

    def import_base(self, tar):
        check([self.client, "import", tar, BASE], env=self.env)

    def build(self, context, dockerfile):
        return timed([self.client, "build", "--network=host", "-f", dockerfile, context],
                     env=self.env)

    def print_version(self):
        return timed([self.client, "--version"], env=self.env)

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


class Buildah:
    """buildah has no daemon: each build is a process."""

    name = "buildah"

    @staticmethod
    def available():
        return bool(shutil.which("buildah"))

    def __init__(self, work, _programs):
        self.env = dict(os.environ, HOME=str(work), BUILDAH_ISOLATION="chroot")
        self.command = ["buildah", "--root", str(work / "root"), "--runroot", str(work / "run"),
                        "--storage-driver", "overlay"]

    def version(self):
        return first_line(check(["buildah", "--version"]))

    def import_base(self, tar):
        root = check([*self.command, "from", "scratch"], env=self.env).strip()
        check([*self.command, "add", root, tar, "/"], env=self.env)
        check([*self.command, "commit", "--rm", root, BASE], env=self.env)

    def build(self, context, dockerfile):
        return timed([*self.command, "build", "--layers", f"--jobs={SLEEPERS}", "--network=host",
                      "-f", dockerfile, context], env=self.env)

    def print_version(self):
        return timed(["buildah", "--version"])

    def stop(self):
        pass


class Bench:
    """What the workloads share: builders, a directory, and the figures so far."""

    def __init__(self, builders, work, runs):
        self.builders = builders
        self.work = work
        self.runs = runs
        self.seconds = {}  # workload -> builder -> [seconds]
        self.serial = 0

    def note(self, workload, builder, seconds):
        self.seconds.setdefault(workload, {}).setdefault(builder, []).append(seconds)

    def unique(self):
        """A word that no build has seen: what holds it can hit no cache."""
        self.serial += 1
        return f"{os.getpid()}-{time.time_ns()}-{self.serial}"

    def context(self, name, dockerfile):
        directory = self.work / "contexts" / name
        directory.mkdir(parents=True, exist_ok=True)
        self.write_dockerfile(directory, dockerfile)
        return directory

    def write_dockerfile(self, directory, text):
        (directory / "Dockerfile").write_text(text)

    def build(self, builder, directory):
        os.sync()  # Nobody waits for what another one left to be written.
        return builder.build(str(directory), str(directory / "Dockerfile"))

    def floor_of_process(self, workload):
        self.note(workload, "floor", timed(["/bin/true"]))


def run_steps(nonce, count):
    return f"FROM {BASE}\n" + "".join(f"RUN : {nonce} {i}\n" for i in range(count))


def no_op(bench):
    """B1: the tutorial's Dockerfile again."""
    directory = bench.context(
        "tutorial", f"FROM {BASE}\nRUN mkdir /cc\nRUN touch /cc/zz\nCMD [\"/bin/bash\"]\n")
    repeat_cached(bench, "B1", directory)


def cached_chain(bench):
    """B3: thirty steps, all cached."""
    repeat_cached(bench, "B3", bench.context("chain", run_steps(bench.unique(), CHAIN_LONG)))


def repeat_cached(bench, workload, directory):
    for builder in bench.builders:
        bench.build(builder, directory)
    for _ in range(max(bench.runs, 10)):
        bench.floor_of_process(workload)
        for builder in bench.builders:
            bench.note(workload, builder.name, bench.build(builder, directory))


def trivial_runs(bench):
    """B2: what one more RUN costs that does nothing."""
    directory = bench.context("runs", "")
    for _ in range(bench.runs):
        bench.floor_of_process("B2")
        for builder in bench.builders:
            seconds = []
            for count in (CHAIN_SHORT, CHAIN_LONG):
                bench.write_dockerfile(directory, run_steps(bench.unique(), count))
                seconds.append(bench.build(builder, directory))
            bench.note("B2", builder.name,
                       (seconds[1] - seconds[0]) / (CHAIN_LONG - CHAIN_SHORT))


def parallel_stages(bench):
    """B4: eight stages that sleep at once, then eight COPY --from."""
    directory = bench.context("stages", "")
    for _ in range(bench.runs):
        bench.note("B4", "floor", SLEEP_SECONDS)
        for builder in bench.builders:
            nonce = bench.unique()
            stages = "".join(
                f"FROM {BASE} AS s{i}\nRUN sleep {SLEEP_SECONDS}; echo {nonce} > /out{i}\n"
                for i in range(SLEEPERS))
            copies = "".join(f"COPY --from=s{i} /out{i} /\n" for i in range(SLEEPERS))
            bench.write_dockerfile(directory, f"{stages}FROM {BASE}\n{copies}")
            bench.note("B4", builder.name, bench.build(builder, directory))


def make_tree(directory, nonce, files, tree_bytes):
    """Files of tree_bytes in all, most of them small, as sources are; none seen before."""
    rng = random.Random(1)
    sizes = [rng.lognormvariate(0, 1.2) for _ in range(files)]
    scale = tree_bytes / sum(sizes)
    noise = rng.randbytes(4 << 20)
    tree = directory / "tree"
    for i, weight in enumerate(sizes):
        parent = tree / f"d{i // FILES_PER_DIRECTORY:04}"
        if i % FILES_PER_DIRECTORY == 0:
            parent.mkdir(parents=True)
        head = f"{nonce} {i}\n".encode()
        size = max(len(head), int(weight * scale))
        begin = rng.randrange(len(noise) // 2)
        body = noise[begin:begin + size - len(head)]
        (parent / f"f{i:05}").write_bytes(head + body.ljust(size - len(head), b"x"))
    return tree


def big_copy(bench):
    """B5: COPY of a large tree; B6: again, nothing changed; B7: one file changed."""
    copy_tree(bench, ("B5", "B6", "B7"), 20_000, 172_000_000)


def huge_copy(bench):
    """C5 to C7: the same with a tree five times as large."""
    copy_tree(bench, ("C5", "C6", "C7"), 100_000, 1_000_000_000)


def copy_tree(bench, names, files, tree_bytes):
    cold, same, changed_one = names
    for run in range(bench.runs):
        directory = bench.context(f"{cold}-{run}", f"FROM {BASE}\nCOPY tree /tree\n")
        tree = make_tree(directory, bench.unique(), files, tree_bytes)
        os.sync()
        time.sleep(SETTLE_SECONDS)
        bench.note(cold, "floor", timed(["cp", "-a", str(tree), str(bench.work / f"{cold}{run}")]))
        for builder in bench.builders:
            bench.note(cold, builder.name, bench.build(builder, directory))
        for _ in range(3):
            bench.note(same, "floor",
                       timed(["find", str(directory), "-printf", "%s %T@ %C@ %i\n"]))
            for builder in bench.builders:
                bench.note(same, builder.name, bench.build(builder, directory))
        changed = tree / "d0100" / "f10000"
        with changed.open("ab") as file:
            file.write(b"changed\n")
        time.sleep(SETTLE_SECONDS)
        bench.note(changed_one, "floor",
                   timed(["cp", "-al", str(tree), str(bench.work / f"{changed_one}{run}")]))
        for builder in bench.builders:
            bench.note(changed_one, builder.name, bench.build(builder, directory))


def print_version(bench):
    """B17: the client says its version."""
    for _ in range(max(bench.runs, 10)):
        bench.floor_of_process("B17")
        for builder in bench.builders:
            bench.note("B17", builder.name, builder.print_version())


# Name, what it does, target in seconds, what the floor is.
WORKLOADS = {
    "B1": (no_op, "no-op rebuild", 0.030, "/bin/true"),
    "B2": (trivial_runs, "one more trivial RUN", 0.020, "/bin/true"),
    "B3": (cached_chain, "30 cached steps", 0.039, "/bin/true"),
    "B4": (parallel_stages, "8 stages of sleep 3", 3.3, "sleep 3"),
    "B5": (big_copy, "COPY 20,000 files, cold", 3.0, "cp -a"),
    "B6": (None, "the same, unchanged", 0.25, "find -printf"),
    "B7": (None, "the same, one file changed", 1.0, "cp -al"),
    "B17": (print_version, "--version", 0.010, "/bin/true"),
    "C5": (huge_copy, "COPY 100,000 files, cold", 15.0, "cp -a"),
    "C6": (None, "the same, unchanged", 1.25, "find -printf"),
    "C7": (None, "the same, one file changed", 5.0, "cp -al"),
}


def summarise(seconds):
    """Per workload and builder: least and median, and farm's ratios."""
    rows = []
    for workload, by_builder in seconds.items():
        _, title, target, floor = WORKLOADS[workload]
        row = {"workload": workload, "title": title, "target_seconds": target, "floor": floor,
               "builders": {name: {"min": min(values), "median": statistics.median(values),
                                   "runs": len(values)} for name, values in by_builder.items()}}
        farm = row["builders"]["farm"]
        row["min_to_target"] = farm["min"] / target
        row["median_to_target"] = farm["median"] / target
        row["median_to"] = {name: farm["median"] / figures["median"]
                            for name, figures in row["builders"].items() if name != "farm"}
        rows.append(row)
    return rows


def shown(figures):
    if figures is None:
        return "-"
    return f"{figures['min'] * 1000:,.1f} / {figures['median'] * 1000:,.1f}"


def print_table(rows, names):
    columns = ["workload", "floor", *names, "target", "farm:target",
               *(f"farm:{name}" for name in names if name != "farm")]
    table = [columns]
    for row in rows:
        builders = row["builders"]
        table.append([
            f"{row['workload']} {row['title']}",
            shown(builders.get("floor")),
            *(shown(builders.get(name)) for name in names),
            f"{row['target_seconds'] * 1000:,.0f}",
            f"{row['median_to_target']:.2f}",
            *(f"{row['median_to'][name]:.3f}" if name in row["median_to"] else "-"
              for name in names if name != "farm")])
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    print("ms, least / median of the runs; ratios are of medians")
    for line in table:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))))


def busybox_root(work):
    """A root file system of busybox and its names, as a tar."""
    root = work / "busybox"
    (root / "bin").mkdir(parents=True)
    for name in ("etc", "tmp", "root", "usr", "var"):
        (root / name).mkdir()
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for name in check(["/bin/busybox", "--list"]).split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    tar = str(work / "busybox.tar")
    check(["tar", "--numeric-owner", "--owner=0", "--group=0", "-C", str(root), "-cf", tar, "."])
    return tar


def unmount_below(work):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in reversed(points):
        if point.startswith(f"{work}/"):
            subprocess.run(["umount", "-l", point], check=False)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, required=True,
                        help="directory with farm, farm-coordinator, farm-worker, farm-sandbox")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workloads", default="B1,B2,B3,B4,B5,B17",
                        help="comma-separated; B5 brings B6 and B7, C5 the like [%(default)s]")
    parser.add_argument("--peers", default="docker,buildah", help="[%(default)s]; none for farm")
    parser.add_argument("--work", type=pathlib.Path, default=None,
                        help="where trees and stores go; its file system is part of the figures")
    parser.add_argument("--json", type=pathlib.Path, help="write all figures here, too")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        raise SystemExit("build_bench: must be run as root, as the builders are")
    peers = []
    for kind in (Docker, Buildah):
        if kind.name not in arguments.peers.split(","):
            continue
        if kind.available():
            peers.append(kind)
        else:
            print(f"{kind.name} is not installed: left out", file=sys.stderr)
    work = pathlib.Path(tempfile.mkdtemp(prefix="farm-bench-", dir=arguments.work))
    builders = []
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, work, ignore_errors=True)
        cleanup.callback(unmount_below, work)
        tar = busybox_root(work)
        for kind in (Farm, *peers):
            directory = work / kind.name
            directory.mkdir()
            builder = kind(directory, arguments.programs.resolve())
            cleanup.callback(builder.stop)
            builder.import_base(tar)
            builders.append(builder)
        bench = Bench(builders, work, arguments.runs)
        for name in arguments.workloads.split(","):
            workload = WORKLOADS.get(name, (None,))[0]
            if workload is None:
                raise SystemExit(f"build_bench: no workload {name}; there are: "
                                 + ", ".join(n for n, w in WORKLOADS.items() if w[0]))
            workload(bench)
        rows = summarise(bench.seconds)
        versions = {builder.name: builder.version() for builder in builders}
    names = [builder.name for builder in builders]
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, Linux {platform.release()}; "
          + ", ".join(versions.values()))
    print_table(rows, names)
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
             "processors": os.cpu_count(), "kernel": platform.release(), "versions": versions,
             "runs_seconds": bench.seconds, "summary": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
