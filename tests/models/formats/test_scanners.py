"""Scanners of pickles as oracles: what they flag is refused here, and what is accepted here is clean for them.

Opt-in: GPTDESK_TEST_SCANNERS is a Python that has fickling and picklescan. Clean means no finding by picklescan, and
none by fickling beyond what it says of every state dict.
"""

import io
import json
import os
import pickle
import subprocess
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from format_checks import FusedGPT, GPTModel
from hostile_checks import GADGETS
from torch import nn

from models.pickles.reader import read_pickle

SCAN = """
import json, sys
from pathlib import Path
from fickling.analysis import check_safety
from fickling.fickle import Pickled
from picklescan.scanner import scan_pickle_bytes
import io

answers = {}
for file in sorted(Path(sys.argv[1]).iterdir()):
    data = file.read_bytes()
    result = scan_pickle_bytes(io.BytesIO(data), file.name)
    names = sorted(f"{g.module}.{g.name}: {g.safety.value}" for g in result.globals)
    try:
        fickling = check_safety(Pickled.load(data)).severity.name
    except Exception as error:
        fickling = f"error {type(error).__name__}"
    answers[file.name] = {"picklescan": result.issues_count, "names": names, "fickling": fickling}
print(json.dumps(answers))
"""

pytestmark = pytest.mark.skipif("GPTDESK_TEST_SCANNERS" not in os.environ, reason="GPTDESK_TEST_SCANNERS is not set")


def scanned(folder: Path) -> dict[str, dict[str, object]]:
    """Return the answers of both scanners for each file of a folder."""
    command = [os.environ["GPTDESK_TEST_SCANNERS"], "-c", SCAN, str(folder)]
    answers: dict[str, dict[str, object]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answers


def quantized(model: nn.Module, scheme: object) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return torch.ao.quantization.quantize_dynamic(model.eval(), {nn.Linear: scheme})


def is_flagged(answer: dict[str, object]) -> bool:
    return bool(answer["picklescan"]) or "UNSAFE" in str(answer["fickling"]) or "MALICIOUS" in str(answer["fickling"])


def test_what_scanners_flag_is_refused(tmp_path: Path) -> None:
    for number, make in enumerate(GADGETS.values()):
        (tmp_path / f"{number:03}.pkl").write_bytes(make(tmp_path / "canary"))
    answers = scanned(tmp_path)
    flagged = [name for name, answer in answers.items() if is_flagged(answer)]
    print(json.dumps(dict(zip(GADGETS, answers.values(), strict=True)), indent=1))
    assert len(flagged) > 10
    for name in answers:
        with pytest.raises(ValueError, match="pickle"):
            read_pickle((tmp_path / name).read_bytes())


def test_what_is_accepted_is_clean_for_scanners(tmp_path: Path) -> None:
    model = FusedGPT()
    optimizer = torch.optim.AdamW(model.parameters())
    contents = {
        "state": model.state_dict(),
        "parameters": {"model": dict(model.named_parameters())},
        "training": {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loss": torch.tensor(1.0)},
        "half": FusedGPT().half().state_dict(),
        "quantized": quantized(GPTModel(), torch.ao.quantization.default_dynamic_qconfig).state_dict(),
        "channels": quantized(GPTModel(), torch.ao.quantization.per_channel_dynamic_qconfig).state_dict(),
    }
    for name, content in contents.items():
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that quantized tensors are deprecated
            torch.save(content, file)
        with zipfile.ZipFile(file) as archive:
            data = archive.read(next(entry for entry in archive.namelist() if entry.endswith("data.pkl")))
        read_pickle(data)
        (tmp_path / f"{name}.pkl").write_bytes(data)
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"stoi": {"a": 0}, "itos": {0: "a"}}))
    answers = scanned(tmp_path)
    print(json.dumps(answers, indent=1))
    assert {name: answer["picklescan"] for name, answer in answers.items() if answer["picklescan"]} == {}
    # fickling calls every file of torch "likely unsafe"; worse is a finding
    assert not [name for name, answer in answers.items() if "MALICIOUS" in str(answer["fickling"])]
