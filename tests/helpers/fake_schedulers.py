"""Fake LSF, PBS and Grid Engine: their commands, which run jobs in the background and print what the real ones print.

As on a cluster, a job of PBS or Grid Engine starts in the home folder without the environment of the submission.
Formats: man pages of bsub and bjobs (LSF 10.1), qstat (OpenPBS 20, Grid Engine 8.1.9), qacct and sge_status.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "lsf": ("bsub", "bjobs", "bkill"),
    "pbs": ("qsub", "qstat", "qdel"),
    "sge": ("qsub", "qstat", "qdel", "qacct"),
}
#: What a client prints when its daemon is away.
DOWN = {
    "lsf": "LSF is down. Please wait ...",
    "pbs": "Connection refused\nqstat: cannot connect to server pbs01 (errno=111)",
    "sge": 'error: commlib error: got select error (Connection refused)\nunable to contact qmaster using port 6444',
}  # fmt: skip
#: Options of bsub and qsub that take no value.
_FLAGS = ("-terse",)


class FakeScheduler:
    """A scheduler with a spool folder, and a folder of its commands for PATH."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.bin, self.spool = kind, folder / "bin", folder / "spool"

    @classmethod
    def install(cls, kind: str, folder: Path) -> FakeScheduler:
        """Write the commands of a scheduler into ``folder/bin``."""
        fake = cls(kind, folder)
        fake.bin.mkdir(parents=True)
        fake.spool.mkdir()
        for name in COMMANDS[kind]:
            path = fake.bin / name
            path.write_text(
                f"#!{sys.executable} -S\nimport sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
                "from pathlib import Path\nfrom fake_schedulers import FakeScheduler\n"
                f"sys.exit(FakeScheduler({kind!r}, Path({str(folder)!r})).main({name!r}, sys.argv[1:]))\n"
            )
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return fake

    # What tests do to it.

    def set_down(self, calls: int = 10**6) -> None:
        """Leave the next calls without an answer."""
        (self.spool / "down").write_text(str(calls))

    def set_up(self) -> None:
        """Answer again."""
        (self.spool / "down").unlink()

    def submissions(self) -> list[list[str]]:
        """Return the options of all submitted jobs."""
        return [self.job(path.name.split(".")[0])["options"] for path in sorted(self.spool.glob("*.json"))]

    def job(self, number: str) -> dict:
        """Return a job's record."""
        return json.loads((self.spool / f"{number}.json").read_text())

    def set(self, job_id: str, **values: object) -> None:
        """Change a job's record: state, forgotten."""
        number = job_id.split(".")[0]
        (self.spool / f"{number}.json").write_text(json.dumps({**self.job(number), **values}))

    def kill(self, job_id: str) -> None:
        """End a job as for too much memory, with all its processes."""
        os.killpg(self.job(job_id.split(".")[0])["pid"], signal.SIGKILL)

    def is_alive(self, job_id: str) -> bool:
        """Return whether a process of a job is left."""
        found = subprocess.run(
            ["ps", "-o", "stat=", "-g", str(self.job(job_id.split(".")[0])["pid"])], capture_output=True, text=True,
        )  # fmt: skip
        return any(not line.startswith("Z") for line in found.stdout.split())

    # Its commands.

    def main(self, name: str, words: list[str]) -> int:
        """Run a command."""
        try:
            down = int((self.spool / "down").read_text())
        except FileNotFoundError:
            down = 0
        if down:
            (self.spool / "down").write_text(str(down - 1))
            print(DOWN[self.kind], file=sys.stderr)
            return 255
        if name in ("bsub", "qsub"):
            return self._submit(words)
        if name in ("bkill", "qdel"):
            for job_id in words:
                number = job_id.split(".")[0]
                self.set(job_id, deleted=True)
                if self._ended(number) is None:
                    os.killpg(self.job(number)["pid"], signal.SIGKILL)
            return 0
        return getattr(self, f"_{name}_{self.kind}")(words)

    def _submit(self, words: list[str]) -> int:
        options, script = {}, None
        rest = iter(words)
        for word in rest:
            if not word.startswith("-"):
                script = Path(word)
            else:
                options.setdefault(word, []).append("" if word in _FLAGS else next(rest))
        text = script.read_text() if script else sys.stdin.read()
        number = str(101 + len(list(self.spool.glob("*.json"))))
        copy, code = self.spool / f"{number}.sh", self.spool / f"{number}.code"
        copy.write_text(text)
        log = options["-oo" if self.kind == "lsf" else "-o"][0]
        environment = {name: os.environ[name] for name in ("HOME", "USER", "LANG") if name in os.environ}
        environment["PATH"] = "/usr/bin:/bin"
        if self.kind == "lsf":
            environment = dict(os.environ)
        for name in ",".join(options.get("-v", [])).split(","):
            if name:
                environment[name] = os.environ[name]
        # The last shell writes the code that wait gives, unless the whole group is killed, as a scheduler does.
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"/bin/sh {copy} >{log} 2>&1; echo $? >{code}.part; mv {code}.part {code}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
            cwd=Path.cwd() if self.kind == "lsf" else "/", start_new_session=True,
        )  # fmt: skip
        record = {"pid": process.pid, "options": words, "name": options["-J" if self.kind == "lsf" else "-N"][0]}
        (self.spool / f"{number}.json").write_text(json.dumps(record))
        print({"lsf": f"Job <{number}> is submitted to default queue <normal>.", "pbs": f"{number}.pbs01"}.get(
            self.kind, number if "-terse" in options else f'Your job {number} ("{record["name"]}") has been submitted'
        ))  # fmt: skip
        return 0

    def _ended(self, number: str) -> int | None:
        """Return a job's exit code, 137 for a killed one; None while it runs."""
        try:
            return int((self.spool / f"{number}.code").read_text())
        except FileNotFoundError:
            pass
        try:
            state = Path(f"/proc/{self.job(number)['pid']}/stat").read_text().rsplit(") ", 1)[1][0]
        except FileNotFoundError:
            state = "Z"
        if state != "Z":
            return None
        code = self.spool / f"{number}.code"  # written just before it ended
        return int(code.read_text()) if code.exists() else 137

    def _find(self, job_id: str) -> tuple[str, dict] | None:
        number = job_id.split(".")[0]
        if not (self.spool / f"{number}.json").exists() or self.job(number).get("forgotten"):
            return None
        return number, self.job(number)

    def _bjobs_lsf(self, words: list[str]) -> int:
        job_id = words[-1]
        if (found := self._find(job_id)) is None:
            print(f"Job <{job_id}> is not found", file=sys.stderr)
            return 255
        number, job = found
        code = self._ended(number)
        state = job.get("state") or {None: "RUN", 0: "DONE"}.get(code, "EXIT")
        user, at = os.environ.get("USER", "user"), time.strftime("%b %d %H:%M")
        print(f"{number:<7} {user:<7} {state:<5} {'normal':<10} {'login1':<11} {'node7':<11} {job['name']:<10} {at}")
        return 0

    def _qstat_pbs(self, words: list[str]) -> int:
        job_id = words[-1]
        if (found := self._find(job_id)) is None:
            print(f"qstat: Unknown Job Id {job_id}", file=sys.stderr)
            return 153
        number, job = found
        code = self._ended(number)
        lines = [f"Job Id: {number}.pbs01", f"    Job_Name = {job['name']}", "    Job_Owner = user@login1"]
        lines += [f"    job_state = {job.get('state') or ('R' if code is None else 'F')}", "    queue = workq"]
        if code is not None:
            # Ended by a signal: 256 and its number.
            lines += [f"    Exit_status = {271 if code == 137 else code}"]
        print("\n".join([*lines, "    Variable_List = PBS_O_HOME=/home/user,PBS_O_LANG=C,\n\tPBS_O_WORKDIR=/scratch"]))
        return 0

    def _qstat_sge(self, words: list[str]) -> int:
        rows = []
        for path in sorted(self.spool.glob("*.json")):
            number = path.stem
            found = self._find(number)
            if found and not (found[1].get("state") and found[1].get("deleted")):
                state = found[1].get("state") or ("r" if self._ended(number) is None else None)
                if state:
                    rows.append(
                        f"{number:>7} 0.55500 {found[1]['name'][:10]:<10} {words[-1]:<12} {state:<5} "
                        f"{time.strftime('%m/%d/%Y %H:%M:%S')} {'all.q@node7':<30} {1:>5}        "
                    )
        if rows:
            print(
                "job-ID  prior   name       user         state submit/start at     queue                          "
                "slots ja-task-ID \n" + "-" * 115
            )
            print("\n".join(rows))
        return 0

    def _qacct_sge(self, words: list[str]) -> int:
        found = self._find(words[-1])
        if found is None or (code := self._ended(found[0])) is None:
            print(f"error: job id {words[-1]} not found", file=sys.stderr)
            return 1
        failed = "100 : assumedly after job" if code == 137 else "0    "
        print("=" * 62 + f"\nqname        all.q               \njobname      {found[1]['name']}\nfailed       {failed}")
        print(f"exit_status  {code:<20}\nru_wallclock 3s")
        return 0


def shell_words(options: list[str]) -> str:
    """Return options as one text, without paths, to compare with."""
    return " ".join(re.sub(r"^/.*", "PATH", word) for word in options)
