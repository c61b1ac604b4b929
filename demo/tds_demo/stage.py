"""Where the demonstration happens: a directory, the processes in it, all taken down at its end."""

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from tds_db import embedded
from tds_db.errors import TdsError
from tds_db.processes import python

ORGANIZATION = "748139205"


class Stage:
    """Where it happens: a directory, the processes, the sandbox's control pages. `close` takes all down."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tds-demo-"))
        self.directory.chmod(0o711)  # for root another account runs the server, and has to get in
        self.processes: list[subprocess.Popen[str]] = []
        for name in [name for name in os.environ if name.startswith(("TDS_", "ZOHO_"))]:
            del os.environ[name]
        os.environ |= {
            "TDS_DATA_DIR": str(self.directory),
            "ZOHO_ORGANIZATION_ID": ORGANIZATION,
            "ZOHO_WEBHOOK_SECRET": secrets.token_hex(16),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `tds` with these arguments; what it says on stderr goes to a file."""
        log = self.directory / f"{arguments[0]}-{len(self.processes)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                python("tds_cli", "-v", *arguments),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                process_group=0,  # Ctrl-C is for us alone: we take the others down in order
            )
        self.processes.append(process)
        return process

    def first_line(self, process: subprocess.Popen[str]) -> str:
        """What a process prints once it is up."""
        assert process.stdout is not None
        if not (line := process.stdout.readline().strip()):
            raise TdsError(f"{process.args!r} ended with code {process.wait()}.")
        return line

    def last_words(self) -> str:
        """The end of what each process logged."""
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-8:]) for log in logs)

    def close(self) -> None:
        """Ends every process, the server last, and removes the directory."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        embedded.stop(self.directory, mode="immediate")
        shutil.rmtree(self.directory)
