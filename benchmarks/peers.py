"""Peers: other programs that run the same network, each in its own process and environment."""

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gptdesk.bench import NEW, Row

PEERS = {  # name: title, file with its weights
    "transformers": ("transformers fp32", "hf124/model.safetensors"),
    "ct2_f32": ("CTranslate2 fp32", "ct2_f32/model.bin"),
    "ov_f32": ("OpenVINO fp32", "ov_f32/openvino_model.bin"),
    "gguf_F16": ("llama.cpp F16", "gguf_F16.gguf"),
    "ct2_int8": ("CTranslate2 int8", "ct2_int8/model.bin"),
    "ov_int8": ("OpenVINO int8", "ov_int8/openvino_model.bin"),
    "gguf_Q8_0": ("llama.cpp Q8_0", "gguf_Q8_0.gguf"),
    "gguf_Q4_0": ("llama.cpp Q4_0", "gguf_Q4_0.gguf"),
}
LINE = re.compile(r"first token ([\d.]+) ms, decode ([\d.]+) tok/s, peak ([\d.]+) MB")
# A process counts what the one that started it had in memory as its own peak, so that one must be small.
SMALL = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


@dataclass(frozen=True)
class Peer:
    """One of PEERS, with its prompt in tokens, where the peers are installed, and the script that measures one."""

    name: str
    prompt: int
    folder: Path
    script: Path

    def run(self, *, under: Sequence[str] = ()) -> Row:
        """Measure it, in the environment that this program was started in; ValueError if it fails."""
        program = [str(self.folder / "venv/bin/python"), str(self.script), str(self.folder), self.name]
        command = [*under, sys.executable, "-c", SMALL, *program, str(self.prompt), str(NEW)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        row = read_line(done.stdout, self)
        if done.returncode or row is None:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise ValueError(f"{self.name} ended with exit code {done.returncode}: {last}")
        return row


def read_line(output: str, peer: Peer) -> Row | None:
    """Return a peer's line as a row; its precision is the peer's name."""
    found = LINE.search(output)
    if found is None:
        return None
    first, speed, peak = map(float, found.groups())
    return Row(
        precision=peer.name,
        prompt=peer.prompt,
        context=peer.prompt,
        n=1,
        seconds_to_first_token=first / 1e3,
        tokens_per_second=speed,
        load_seconds=None,
        peak_mb=peak,
        file_mb=(peer.folder / PEERS[peer.name][1]).stat().st_size / 1e6,
        kernel=None,
    )


def median_row(rows: Sequence[Row]) -> Row:
    """Return the medians of one peer's measurements."""
    names = ("seconds_to_first_token", "tokens_per_second", "peak_mb")
    medians = {name: statistics.median(getattr(row, name) for row in rows) for name in names}
    return Row(**asdict(rows[0]) | medians)
