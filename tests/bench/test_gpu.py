import json
from pathlib import Path

import pytest

import gpu


def test_a_tiny_shape_runs_anywhere_and_writes_its_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script waits for a GPU: it must not be broken when one is there."""
    size = ["--prompts", "2", "--group", "3", "--prompt", "9", "--answer", "5", "--repeats", "1"]
    gpu.main(["--shapes", "tiny", *size, "--out", str(tmp_path / "gpu.json")])
    (found,) = json.loads((tmp_path / "gpu.json").read_text())
    assert found["work"] == {"prompts": 2, "group": 3, "prompt": 9, "answer": 5, "microbatch": 16384}
    assert 0 < found["ours"]["train"]["of_peak"] < found["ours"]["train_unshared"]["of_peak"] < 1
    assert found["ratio"]["update"] == pytest.approx(found["peers"]["update"] / found["ours"]["update"])
    assert "of bandwidth" in capsys.readouterr().out


def test_the_shapes_are_those_of_their_names() -> None:
    """Qwen2.5: 494 and 1,544 million weights, the shared embedding counted once."""
    import torch
    from transformers import AutoModelForCausalLM

    for shape, millions in (("0.5B", 494), ("1.5B", 1544)):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(gpu.config_of(shape))
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e6 * millions, rel=1e-3)
