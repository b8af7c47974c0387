"""Pictures and tables of made-up results, of the shapes that the scripts write."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import pictures
import pictures_svg
import record
from pictures_tables import tables

MACHINE = {"cpu": "A CPU", "cores": 2, "memory_gib": 15.6, "omp_num_threads": "2", "python": "3.12.3"}
MACHINE |= {"torch": "2.13.0", "transformers": "5.23.0", "date": "2026-01-02"}
VERSIONS = {"python": "3.12.3", "trl": "1.2.3", "torch": "2.13.0", "transformers": "5.0.0"}
GROUPS = {"short": (4, 8, False), "long": (4, 8, False), "ragged": (8, 16, True)}


def side(generate: float, update: float, peak: float, compute: str = "float32") -> dict[str, Any]:
    rows = [
        {
            "generate": generate * f,
            "score": 0.002,
            "update": update * f,
            "step": (generate + update) * f + 0.002,
            "prompt_tokens": 200,
            "answer_tokens": 2048,
            "peak_memory_gib": peak,
            "lengths": [64],
            "matmul_gflops": 180 / f,
        }
        for f in (1.0, 0.94, 1.09)
    ]
    about = {"precision": {"weights": "float32", "compute": compute}, "threads": 2, "device": "cpu"}
    return record.side(about, rows)


def compared() -> dict[str, Any]:
    found: dict[str, Any] = {}
    scale = {"short": 1.0, "long": 3.0, "ragged": 5.0}
    for name, (prompts, group, natural) in GROUPS.items():
        workload = {"name": name, "prompts": prompts, "group": group}
        workload |= {"max_new_tokens": 64, "natural_end": natural}
        by = scale[name]
        theirs = {
            "default": side(14.0 * by, 30.0 * by, 7.4, "bfloat16"),
            "fp32": side(5.1 * by, 4.9 * by, 6.8),
            "bf16": {"precision": None, "failed": "the worker ended: killed in /home/somebody/x/step.py"},
        }
        for variant in theirs if name == "short" else ("default", "fp32"):
            about = {"machine": MACHINE, "trl_versions": VERSIONS, "seed": 0}
            ours = side(2.2 * by, 3.3 * by, 2.4)
            found[f"{name}/{variant}"] = record.entry(workload, variant, about, ours, theirs[variant])
    return found


def limits() -> dict[str, Any]:
    work = {"seconds": 2.0, "flops": 2.1e11, "bytes": None, "of_peak": 0.58, "of_bandwidth": None}
    work["bound_seconds"] = 1.17
    return {
        "machine": MACHINE | {"threads": 2},
        "dtype": "float32",
        "limits": {"flops": 1.8e11, "bandwidth": 1.2e10},
        "learner": work,
        "decode": {"rows": 32, **work, "bytes": 6e8, "of_bandwidth": 0.7},
    }


def ppo() -> dict[str, Any]:
    laps = {"generate": 2.2, "pack": 0.02, "policy": 3.2}
    parts = {
        "grpo": laps,
        "grpo_kl": laps | {"reference": 0.8},
        "ppo_no_reference": laps | {"values": 0.7, "critic": 2.6},
        "ppo": laps | {"reference": 0.8, "values": 0.7, "critic": 2.6},
    }
    sizes = {"weights": 0.5, "gradients": 0.5, "Adam": 1.0}
    tensors = {"policy masters": 0.0} | {f"policy {part}": size for part, size in sizes.items()}
    critic = {f"critic {part}": size for part, size in sizes.items()}
    held = {
        "grpo": tensors,
        "grpo_kl": tensors | {"reference weights": 0.5},
        "ppo_no_reference": tensors | critic | {"critic gradients": 0.0},
        "ppo": tensors | critic | {"critic gradients": 0.0, "reference weights": 0.5},
        "ppo_held": tensors | critic | {"reference weights": 0.5},
    }
    results = []
    for name, prompt in (("short", 50), ("long", 460)):
        time, memory = {}, {}
        for setup, lap in parts.items():
            step = sum(lap.values())
            time[setup] = {"step": step, "min": step * 0.95, "max": step * 1.1, "parts": lap}
            time[setup] |= {"generate": 2.2, "score": lap.get("reference", 0.0), "update": 3.22}
        for setup, has in held.items():
            memory[setup] = {"tensors_gib": has, "peak_memory_gib": 0.9 + sum(has.values())}
        shape = {"prompt": prompt, "prompts": 4, "group": 8, "answer": 64, "tokens_per_microbatch": 2048}
        results.append({"workload": name, "shape": shape, "steps": [], "time": time, "memory": memory})
    settings = {"steps": 3, "epochs": 1, "model": "m"}
    return {
        "machine": MACHINE | {"device": "cpu", "dtype": "float32"},
        "settings": settings,
        "results": results,
    }


def growth() -> dict[str, Any]:
    sizes = {
        "group": (4, 8, 16, 32),
        "answer": (64, 128, 256, 512, 1024),
        "prompt": (50, 200, 500, 1000, 2000),
    }
    base = {
        "group": {"prompt": 200, "prompts": 2, "answer": 64},
        "answer": {"prompt": 50, "prompts": 1, "group": 8},
        "prompt": {"prompts": 1, "group": 8, "answer": 64},
    }
    curves: dict[str, list[dict[str, Any]]] = {}
    for curve, values in sizes.items():
        for value in values:
            row = base[curve] | {curve: value}
            learn = 0.0011 * row["answer"] + 0.0009 * row["prompt"] / row["group"]
            write = 0.001 * row["answer"] * (0.6 + 3 / row["group"]) + 0.0003 * row["prompt"] / row["group"]
            n = row["prompts"] * row["group"]
            steps = [{"generate": write * n * f, "learn": learn * n * f} for f in (0.9, 1.1)]
            row |= {"tokens_per_microbatch": 2048, "steps": steps, "decode_step": 0.05, "prefill": 0.1}
            row |= {"generate_per_answer": write, "learn_per_answer": learn, "peak_memory_gib": 2.5}
            row["tokens"] = {"shared": 1000, "unshared": 3000, "learned": 1000.0}
            curves.setdefault(curve, []).append(row)
    return {"machine": MACHINE | {"device": "cpu"}, "model": "m", "curves": curves}


def reach() -> dict[str, Any]:
    found = {}
    for name, pace, steps, best in (
        ("ours", 5, 15, 0.62),
        ("trl-fp32", 21, 20, 0.62),
        ("trl-default", 70, 15, 0.44),
    ):
        curve = [
            {"step": s, "seconds": pace * s, "accuracy": min(0.27 + 0.03 * s, best), "peak_memory_gib": 3.0}
            for s in range(0, steps + 1, 5)
        ]
        found[name] = {"machine": MACHINE, "seed": 0, "every": 5, "target": 0.6, "curve": curve}
        found[name]["reached"] = curve[-1] if best >= 0.6 else None
    return found


def plan() -> list[dict[str, Any]]:
    work = {"prompts": 4, "group_size": 8, "prompt_tokens": 50, "max_new_tokens": 64}
    predicted = {"gib": 2.2, "generate": 2.0, "learn": 3.0}
    measured = {"gib": 2.4, "generate": 2.2, "learn": 2.9}
    return [{"workload": "short", "work": work, "predicted": predicted, "measured": measured}]


MADE = {
    "compare": compared,
    "limits": limits,
    "ppo": ppo,
    "growth": growth,
    "reach": reach,
    "plan": plan,
}
PICTURES = {
    "compare": {"splits.svg", "memory.svg"},
    "ppo": {"ppo.svg"},
    "growth": {"growth.svg"},
    "reach": {"reach.svg"},
}


def made(folder: Path, *names: str) -> tuple[Path, Path]:
    """Folders of results and of documents."""
    results, docs = folder / "results", folder / "docs"
    results.mkdir(parents=True)
    docs.mkdir()
    for name in names:
        (results / f"{name}.json").write_text(json.dumps(MADE[name]()))
    (docs / "performance.md").write_text("# Before\n<!-- tables -->\nold\n<!-- /tables -->\nafter\n")
    return results, docs


def draw(results: Path, docs: Path) -> None:
    pictures.main(["--results", str(results), "--docs", str(docs)])


def test_every_picture_is_sound_and_inside_its_paper(tmp_path: Path) -> None:
    results, docs = made(tmp_path, *MADE)
    draw(results, docs)
    files = sorted((docs / "performance").iterdir())
    assert {file.name for file in files} == set().union(*PICTURES.values())
    for file in files:
        root = ElementTree.parse(file).getroot()
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        for element in root.iter("{http://www.w3.org/2000/svg}text"):
            assert 0 <= float(element.attrib["x"]) <= width
            assert 0 <= float(element.attrib["y"]) <= height
        for element in root.iter("{http://www.w3.org/2000/svg}polyline"):
            spots = [tuple(map(float, spot.split(","))) for spot in element.attrib["points"].split()]
            assert all(0 <= x <= width and 0 <= y <= height for x, y in spots)


@pytest.mark.parametrize("name", MADE)
def test_a_single_file_is_enough(tmp_path: Path, name: str) -> None:
    results, docs = made(tmp_path, name)
    draw(results, docs)
    assert {file.name for file in (docs / "performance").iterdir()} == PICTURES.get(name, set())


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    results, docs = made(tmp_path, *MADE)
    draw(results, docs)
    once = (docs / "performance.md").read_text()
    draw(results, docs)
    assert (docs / "performance.md").read_text() == once
    assert once.startswith("# Before\n<!-- tables -->\n")
    assert once.endswith("<!-- /tables -->\nafter\n")
    assert "old" not in once


def test_tables_hold_medians_spreads_ratios_and_the_machine() -> None:
    text = tables({name: make() for name, make in MADE.items()})
    assert "Machine: 2 cores of A CPU, 15.6 GiB of memory; Python 3.12.3" in text
    assert "Measured 2026-01-02; seed 0; threads: 2; OMP_NUM_THREADS 2" in text
    assert "TRL 1.2.3 with torch 2.13.0" in text
    assert "| short | ours | float32 | 5.50 (5.17–6.00) |" in text
    assert "| short | TRL default | float32, bfloat16 products | 44.0 (41.4–48.0) |" in text
    assert "| short | **TRL ÷ ours** |  | **8.00** |" in text
    assert "| `ppo` | 2.20 | 0.80 | 3.22 | 9.52 (9.04–10.47) | 43% |" in text
    assert "| `grpo_kl` | 2.00 | 0 | 0.50 | 0.90 | 3.40 | 15% |" in text
    assert "| group | 2 × 4 | 200 | 64 | 0.10 (0.09–0.11) |" in text
    assert "| TRL default | 0.60 | not reached |" in text
    assert "2.20 / 2.40 (−8%)" in text


def test_a_failure_is_told_without_folders() -> None:
    text = tables({"compare": compared()})
    assert "- short, TRL bf16 failed: `the worker ended: killed in step.py`" in text


def test_ours_alone_is_drawn() -> None:
    workload = compared()["short/fp32"]["workload"]
    entry = record.entry(workload, None, {"machine": MACHINE}, side(1.0, 2.0, 2.0), None)
    drawn = pictures.drawn({"compare": {"short": entry}})
    assert set(drawn) == {"splits.svg", "memory.svg"}
    assert "TRL 1" not in tables({"compare": {"short": entry}})


@pytest.mark.parametrize("text", ["", "<!-- tables -->", "<!-- /tables --><!-- tables -->"])
def test_a_page_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="are needed"):
        pictures.between_markers(text, "new")


def test_without_results_nothing_is_written(tmp_path: Path) -> None:
    results, docs = made(tmp_path)
    before = (docs / "performance.md").read_text()
    with pytest.raises(SystemExit, match="no results"):
        draw(results, docs)
    assert (docs / "performance.md").read_text() == before


def test_labels_move_apart_and_stay_inside() -> None:
    assert pictures_svg.apart([10.0, 50.0], [10.0, 10.0], 0.0, 100.0) == [10.0, 50.0]
    assert pictures_svg.apart([50.0, 50.0], [10.0, 10.0], 0.0, 100.0) == [50.0, 60.0]
    assert pictures_svg.apart([95.0, 98.0], [10.0, 10.0], 0.0, 100.0) == [85.0, 95.0]


def test_round_numbers() -> None:
    assert list(pictures_svg.round_numbers(44.0)) == [0.0, 10.0, 20.0, 30.0, 40.0]
    assert list(pictures_svg.round_powers(0.03, 1.7)) == [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    assert list(pictures_svg.round_powers(0.9, 9.0)) == [0.5, 1.0, 2.0, 5.0, 10.0]
    assert list(pictures_svg.round_powers(1.0, 1.0)) == [1.0, 2.0]


def test_torch_is_not_needed() -> None:
    code = "import sys; sys.path.append(sys.argv[1]); import pictures; sys.exit('torch' in sys.modules)"
    folder = str(Path(pictures.__file__).parent)
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == 0
