"""The generated tables of README.md and docs/*.md: from recorded proofs and benchmarks, never typed by
hand. `python tests/readme.py --write` puts each between `<!-- NAME -->` and `<!-- end -->`.
"""

import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge import targets
from edge.data.engines import speech, text
from edge.data.frame.settings import about as setting_facts
from edge.families import families, pipelines
from edge.source import registry

ROOT = Path(__file__).resolve().parent.parent
TITLES = {"edge": "edge", "gguf": "llama.cpp", "genai": "ORT GenAI", "mlx": "mlx-lm"}


def parity() -> str:
    """Families x targets: the worst relative error of logits, by recipe."""
    rows = json.loads((ROOT / "docs" / "parity.json").read_text())
    recipes = sorted({row["recipe"] for row in rows}, key=_by_size)
    lines = [f"| family | target | {' | '.join(recipes)} |", "|---" * (len(recipes) + 2) + "|"]
    for family, target in sorted({(row["family"], row["target"]) for row in rows}):
        found = {
            row["recipe"]: f"{row['error']:.0e}"
            for row in rows
            if (row["family"], row["target"]) == (family, target)
        }
        cells = " | ".join(found.get(recipe, "-") for recipe in recipes)
        lines.append(f"| {family} | {target} | {cells} |")
    return "\n".join(lines)


def matrix() -> str:
    """Families x targets: in how many precisions each was proved, and the worst error in fp32."""
    rows = json.loads((ROOT / "docs" / "parity.json").read_text())
    every = targets.names("converters")
    lines = [f"| family | models | {' | '.join(every)} |", "|---" * (len(every) + 2) + "|"]
    for name, parts in _rows().items():
        ids = [entry.id for entry in registry.entries().values() if entry.family in (name, *parts)]
        cells = (_proved(rows, parts, target) for target in every)
        lines.append(f"| `{name}` | {len(ids)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows() -> dict[str, list[str]]:
    """Families by name, those of one pipeline's networks together."""
    found: dict[str, list[str]] = {}
    for family in sorted(family.name for family in families()):
        whole = [one.name for one in pipelines() if family.startswith(f"{one.name}_")]
        found.setdefault(whole[0] if whole else family, []).append(family)
    several = {one.name for one in pipelines()}
    return dict(sorted((n if n in several else p[0], p) for n, p in found.items()))


def _proved(rows: list[dict[str, Any]], parts: list[str], target: str) -> str:
    found = [row for row in rows if row["family"] in parts and row["target"] == target]
    plain = [row["error"] for row in found if row["recipe"] == "fp32"]
    recipes = min((sum(row["family"] == part for row in found) for part in parts), default=0)
    return f"{recipes}, {max(plain):.0e}" if plain else "-"


def models() -> str:
    """Families, and their published checkpoints by id."""
    lines = ["| family | checkpoints of the registry |", "|---|---|"]
    for name, parts in _rows().items():
        ids = [f"`{e.id}`" for e in registry.entries().values() if e.family in (name, *parts)]
        lines.append(f"| `{name}` | {', '.join(ids)} |")
    return "\n".join(lines)


def speed() -> str:
    """Each recorded benchmark beside its peers: medians, and least to most of the rounds."""
    lines = []
    for file in sorted((ROOT / "docs").glob("speed-*.json")):
        record = json.loads(file.read_text())
        some = next(iter(record["settings"].values()))
        title = file.stem.removeprefix("speed-")
        lines.append(f"**{title}**, {some['prompt']} prompt tokens, {_threads(some)}")
        lines += ["", "| engine | prefill tok/s | decode tok/s |", "|---|---|---|"]
        for kind, rounds in record["rounds"].items():
            cells = (_spread(rounds, key) for key in ("prefill_tps", "decode_tps"))
            lines.append(f"| {TITLES.get(kind, kind)} | {' | '.join(cells)} |")
        lines.append("")
        lines.append(f"{record['machine']}; {len(record['rounds']['edge'])} rounds, interleaved.")
        lines.append("")
    return "\n".join(lines).strip()


def towers() -> str:
    """Vision towers beside torch, and what their conversions take."""
    record = json.loads((ROOT / "docs" / "towers.json").read_text())
    lines = []
    for name, found in record.get("speed", {}).items():
        lines += [f"**{name}**, one picture, 2 threads, {found['gflop']:.0f} GFLOP", ""]
        lines += ["| engine | s | least to most | of torch |", "|---|---|---|---|"]
        for engine, row in found["engines"].items():
            spread = f"{row['least']:.2f} to {row['most']:.2f}"
            lines.append(f"| {engine} | {row['seconds']:.2f} | {spread} | {row['of_torch']:.2f} |")
        lines += ["", f"{found['machine']}; {found['rounds']} rounds, in turn.", ""]
    for name, rows in record.get("memory", {}).items():
        lines += [
            f"**{name}**, converting",
            "",
            "| to | MB resident, planned | MB on disk, planned | s |",
        ]
        lines.append("|---|---|---|---|")
        for what, row in rows.items():
            if not isinstance(row, dict) or "convert_mb" not in row:
                continue
            lines.append(
                f"| {what} | {row['convert_mb']:.0f}, {row['planned_convert_mb']:.0f} | "
                f"{row['artifact_mb']:.0f}, {row['planned_disk_mb']:.0f} | {row['seconds']:.0f} |"
            )
        lines += ["", str(rows["machine"]), ""]
    return "\n".join(lines).strip()


def pictures() -> str:
    """What a question about a picture takes, of a model of real shape."""
    record = json.loads((ROOT / "docs" / "pictures.json").read_text())
    lines = []
    for name, found in record.items():
        made = found["convert"]
        lines += [
            f"**{name}**: converting took {made['mb']:.0f} MB (planned {made['planned_mb']:.0f}) and "
            f"{made['disk_mb']:,.0f} MB of disk (planned {made['planned_disk_mb']:,.0f})",
            "",
            "| picture | tower | first token | of a second question | tower, in a new chat | "
            "MB at most, planned | of which cache |",
            "|---|---|---|---|---|---|---|",
        ]
        for label, row in found["pictures"].items():
            lines.append(
                f"| {label} | {row['tower']:.1f} s | {row['first']:.1f} s | "
                f"{row['second']:.2f} s | {row['tower_again']:.3f} s | "
                f"{row['peak_mb']:,.0f}, {row['planned_mb']:,.0f} | {row['cache_mb']:,.0f} |"
            )
        lines += ["", str(found["machine"]), ""]
    return "\n".join(lines).strip()


def app_page() -> str:
    """What a page takes to fetch, to begin and to answer, by precision."""
    record = json.loads((ROOT / "docs" / "app-page.json").read_text())
    lines = [
        "| model | precision | MB to fetch | s to the first token, opened from cache | tokens a second | `edge run` |",
        "|---|---|---|---|---|---|",
    ]
    for model, rows in record["models"].items():
        for recipe, row in rows.items():
            cells = (_range(row[key]) for key in ("first", "tps", "edge_run_tps"))
            lines.append(f"| {model} | {recipe} | {row['megabytes']:.1f} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", record["machine"]])


def app_jvm() -> str:
    """The Android app's core beside edge, in pairs."""
    rows = json.loads((ROOT / "docs" / "app-jvm.json").read_text())
    lines = [
        "| model | precision | threads | JVM, tokens a second | edge | quotient of pairs, middle half | pairs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, middle, high = row["quotient"]
        lines.append(
            f"| {row['model']} | {row['recipe']} | {row['threads']} | {row['jvm_tps']:.0f} | {row['edge_tps']:.0f} | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}) | {row['pairs']} |"
        )
    return "\n".join([*lines, "", " / ".join(sorted({row["machine"] for row in rows}))])


def decoding() -> str:
    """What caches, exits and drafts bring: medians, and least to most of the rounds."""
    lines = []
    for file in sorted((ROOT / "docs").glob("decoding-*.json")):
        found = json.loads(file.read_text())
        rows = found["summary"]
        columns = [key for key in rows[0] if any(row[key] is not None for row in rows)]
        some = next(iter(found["settings"].values()))
        lines += [f"**{file.stem.removeprefix('decoding-')}**, {_threads(some)}", ""]
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(_shown(key, row[key]) for key in columns)} |" for row in rows]
        rounds = len(next(iter(found["rounds"].values())))
        lines += ["", f"{found['machine']}; {rounds} rounds, interleaved.", ""]
    return "\n".join(lines).strip()


def _threads(load: dict[str, Any]) -> str:
    count = load["threads"]
    named = {0: "threads as each engine takes", 1: "1 thread"}
    return named.get(count, f"{count} threads")


def _shown(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        middle, least, most = value
        digits = 2 if most < 10 else 1
        return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"
    if key == "drafts kept":
        return f"{value:.0%}"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


def footprint() -> str:
    """Seconds and memory of the commands: medians, and least to most of the rounds."""
    file = ROOT / "docs" / "footprint.json"
    if not file.exists():
        return ""
    found = json.loads(file.read_text())
    titles = {
        "help_seconds": "`edge --help`, s",
        "first_text_seconds": "first text of a warm `edge run`, s",
        "convert_seconds": f"{found.get('converted')} to rtn-int4-g32, s",
        "convert_peak_mb": f"{found.get('converted')} to rtn-int4-g32, peak resident MB",
        "run_peak_mb": f"{found.get('ran')} run, peak resident MB",
        "read_gbs": f"{found.get('ran')} decoding reads, GB/s",
        "machine_gbs": "this machine reads, GB/s",
    }
    lines = ["| what | median (least to most) |", "|---|---|"]
    lines += [f"| {titles[key]} | {_range(found[key])} |" for key in titles if key in found]
    if "artifact_mb" in found:
        lines.append(
            f"| {found['ran']}: artifact + cache, MB | {found['artifact_mb']:.0f} + {found['cache_mb']:.0f} |"
        )
    return "\n".join([*lines, "", found["machine"] + "."])


def quality() -> str:
    """What compacted caches cost, by mode and by the share of the prompt's rows that is kept."""
    found = json.loads((ROOT / "docs" / "snapkv-quality.json").read_text())
    cells = {(row["task"], row["mode"], row["share"]): row for row in found["cells"]}
    shares = sorted({share for _, _, share in cells if share > 1})
    titles = " | ".join(f"1/{share}" for share in shares)
    lines = [f"| | rows | all | {titles} | cases |", "|---" * (len(shares) + 4) + "|"]
    whole = {task: row for (task, _, share), row in cells.items() if share == 1}
    for task, mode in dict.fromkeys((task, mode) for task, mode, share in cells if share > 1):
        some = [cells.get((task, mode, share)) for share in shares]
        costs = " | ".join(map(_cost, some))
        counts = sorted({row["cases"] for row in some if row is not None})
        count = " to ".join(map(str, [*counts[:1], *counts[1:][-1:]]))
        lines.append(f"| {task} | {mode} | {_whole(whole[task])} | {costs} | {count} |")
    return "\n".join([*lines, "", _meaning(found["about"])])


def _meaning(about: dict[str, Any]) -> str:
    """What was measured, and what the names stand for."""
    paper = about["modes"]["SnapKV"]
    ways = [
        f"*{mode}*: `{' '.join(_options(options, paper))}`"
        for mode, options in about["modes"].items()
        if options != paper
    ]
    text = about["text"]
    return (
        f"{about['model']} in fp32, facts about {about['distance']} tokens back. Under a share of the prompt's rows: "
        "points lost to the whole cache in the same cases, ± the standard error of that (0.0 only says that no answer "
        f"of these cases differed). Text: nats a token lost by {text['model']} on {text['new']} tokens after "
        f"{text['prompt']} of {text['file']}. *SnapKV*: as in the paper; {'; '.join(ways)}."
    )


def _options(options: dict[str, Any], paper: dict[str, Any]) -> list[str]:
    """In the words of the command line."""
    names = {"chunk": "prefill", "purpose": "for"}
    return [
        f"--snapkv-{names.get(name, name)} {value}"
        for name, value in options.items()
        if value != paper[name]
    ]


def _whole(row: dict[str, Any]) -> str:
    return f"{row['mean']:.2f} nats" if row["task"] == "text" else f"{row['mean']:.1%}"


def _cost(row: dict[str, Any] | None) -> str:
    """Points or nats lost, with the standard error of the paired differences."""
    if row is None:
        return "-"
    if row["task"] == "text":
        return f"{-row['below']:.3f} ± {row['stderr']:.3f}"
    return f"{100 * row['below']:.1f} ± {100 * row['stderr']:.1f}"


def plan() -> str:
    """What was planned beside what then happened, in MB."""
    found = json.loads((ROOT / "docs" / "plan.json").read_text())
    lines = [
        "| checkpoint | target | recipe | disk | converting | running |",
        "|---|---|---|---|---|---|",
    ]
    worst = 0.0
    for row in found["rows"]:
        pairs = [row["disk"], row["convert"], *row["run"].values()]
        worst = max([worst, *(abs(planned / seen - 1) for planned, seen in pairs)])
        runs = ", ".join(f"{_beside(pair)} at {n}" for n, pair in row["run"].items())
        how = f"{row['recipe']} {row.get('options', '')}".strip()
        cells = (row["checkpoint"], row["target"], how)
        sizes = (_beside(row["disk"]), _beside(row["convert"]), runs)
        lines.append(f"| {' | '.join((*cells, *sizes))} |")
    return "\n".join(
        [*lines, "", f"At most {worst:.1%} apart. {found['machine']}; running at so many tokens."]
    )


def grammar() -> str:
    """What a form costs a token, beside decoding freely."""
    found = json.loads((ROOT / "docs" / "grammar.json").read_text())
    free, held = (found["milliseconds"][name] for name in ("free", "schema"))
    cost = statistics.median(b / a - 1 for a, b in zip(free, held, strict=True))
    return (
        f"A JSON schema costs {cost:.1%} of decoding with a vocabulary of {found['vocabulary']:,} "
        f"({_range(held)} ms a token against {_range(free)}; {found['artifact']}, {len(free)} rounds in turn, "
        f"{found['machine']})."
    )


# Perplexity of WikiText2 of LLaMA3-8B in groups of 128, 6.1 in floats: arXiv 2404.14047, table 1.
STUDY = {
    "rtn-int4": "8.5", "gptq-int4": "6.5", "awq-int4": "6.6", "quip-int4": "6.5, a row", "rtn-int3": "27.9",
    "gptq-int3": "8.2", "awq-int3": "8.2", "quip-int3": "7.5, a row", "rtn-int2": "1.9e3", "gptq-int2": "2.1e2",
    "awq-int2": "1.7e6", "quip-int2": "85.1, a row", "dbllm-int2": "13.6", "pbllm-int2": "24.7", "pbllm-int1": "41.8",
    "billm-int1": "28.3", "smoothquant-w8a8": "6.3",
    "smoothquant-w6a6": "7.7", "smoothquant-w4a4": "4.3e3",
}  # fmt: skip


def lowbit() -> str:
    """What each recipe costs each model that was measured, in its loss, and in benchmarks where those were asked."""
    out = []
    for file in sorted((ROOT / "docs").glob("lowbit-*.json")):
        found = json.loads(file.read_text())
        text, tasks = found["calibrated"], list(found.get("tasks", {}))
        floats = "".join(f", {task} {_scored(found, task)}" for task in tasks)
        note = f" Of the tasks: {found['task_note']}." if tasks else ""
        columns = ["recipe", "on", "bits a weight", "nats a token", "divergence", "same choice"]
        columns += tasks or ["the study"]
        out += [
            f"**{found['checkpoint']}**, {found['tokens']:,} tokens of {found['text']}, "
            f"{found['nats_per_token']:.3f} nats a token{floats} in floats; rounded by {text['tokens']:,} tokens of "
            f"{text['text']}.{note}",
            "",
            f"| {' | '.join(columns)} |",
            "|---" * len(columns) + "|",
        ]
        for row in found["rows"]:
            study = next((ppl for name, ppl in STUDY.items() if row["recipe"].startswith(name)), "")
            own = row.get("calibrated_tokens")
            by = "" if own is None else f", by {own:,} tokens"
            if "refused" in row:
                why = row["refused"]
                left = " |" * max(1, len(tasks))
                own = "" if tasks else f" {study}"
                out.append(
                    f"| `{row['recipe']}` | {row['target']} | | refused: {why} | |{left}{own} |"
                )
                continue
            last = " | ".join(_scored(row, task) for task in tasks) or study
            out.append(
                f"| `{row['recipe']}`{by} | {row['target']} | {row['bits']:.2f} | {row['nats_per_token']:.3f} | "
                f"{row['kl']:.4f} ± {row['kl_se']:.4f} | {row['top1']:.1%} | {last} |"
            )
        out.append("")
    return "\n".join(out[:-1])


def _scored(row: Mapping[str, Any], task: str) -> str:
    """A task's first metric, with its standard error."""
    metrics = row["tasks"][task]
    name = next(iter(metrics))
    return f"{metrics[name]:.1%} ± {metrics[f'{name}_se']:.1%}"


def methods() -> str:
    """Methods x targets: the error of logits where it was proved, and why it was refused where it was."""
    file = ROOT / "docs" / "methods.json"
    rows = json.loads(file.read_text())
    found = {(row["family"], row["recipe"], row["target"]): row for row in rows}
    every = targets.names("converters")
    lines = [f"| method | bits | {' | '.join(every)} |", "|---" * (len(every) + 2) + "|"]
    for method, bits in dict.fromkeys((row["family"], row["recipe"]) for row in rows):
        cells = []
        for target in every:
            row = found[method, bits, target]
            cells.append(f"`{row['as_'][0]}`, {row['error']:.0e}" if "error" in row else "refused")
        lines.append(f"| `{method}` | {bits} | {' | '.join(cells)} |")
    lines += ["", "Refused, in the targets' words:", ""]
    for target in every:
        whats = dict.fromkeys(
            re.sub(r"^.*?: it holds ", "", row["refused"][0].splitlines()[0])
            for row in rows
            if row["target"] == target and "refused" in row
        )
        lines += [f"- `{target}` holds {what}" for what in whats]
    return "\n".join(lines)


def fuzz() -> str:
    """How many hostile inputs each reader got, and how many of them broke the law."""
    file = ROOT / "docs" / "fuzz.json"
    if not file.exists():
        return ""
    found = json.loads(file.read_text())
    rows = found["readers"]
    total = sum(row["executions"] for row in rows.values())
    seconds = sum(row["seconds"] for row in rows.values())
    failures = sum(row["failures"] for row in rows.values())
    counts = ", ".join(f"{row['executions']:,} {name}" for name, row in rows.items())
    return "\n".join(
        [
            f"{total:,} inputs in {seconds / 60:.0f} minutes, {failures} failures ({found['date']}, Python "
            f"{found['python']}), by `{found['command']}`:",
            f"{counts}.",
        ]
    )


def layerskip() -> str:
    """The published checkpoints that were trained to exit early."""
    lines = ["| model | published as | exits after layer | licence |", "|---|---|---|---|"]
    for entry in registry.entries().values():
        if entry.exits:
            exits, gated = ", ".join(map(str, entry.exits)), ", gated" if entry.gated else ""
            lines.append(f"| `{entry.id}` | {entry.source} | {exits} | {entry.licence}{gated} |")
    return "\n".join(lines)


def engine_text() -> str:
    """Settings of the engine `text`: what each is for, its default, and whose that is."""
    lines = ["| setting | default | what it is for | from |", "|---|---|---|---|"]
    chosen = text.Settings()
    for name, about in setting_facts(text.Settings).items():
        value = getattr(chosen, name)
        value = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        shown = ",".join(f"{one:.2f}" for one in value) if isinstance(value, tuple) else value
        shown = f"{value >> 20}MiB" if about.size else shown
        lines.append(f"| `{name}` | `{shown}` | {about.what} | {about.source} |")
    return "\n".join(lines)


def engine_speech() -> str:
    """Settings of the engine `speech`."""
    lines = ["| setting | default | what it is for |", "|---|---|---|"]
    chosen = speech.Settings()
    for name, about in setting_facts(speech.Settings).items():
        value = getattr(chosen, name)
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        shown = f"{value >> 20}MiB" if about.size else value
        shown = "none" if shown == "" else f"`{shown}`"
        lines.append(f"| `{name.replace('_', '-')}` | {shown} | {about.what} |")
    return "\n".join(lines)


PARTS = {
    "matrix": matrix,
    "models": models,
    "quality": quality,
    "parity": parity,
    "speed": speed,
    "decoding": decoding,
    "footprint": footprint,
    "plan": plan,
    "pictures": pictures,
    "towers": towers,
    "app_page": app_page,
    "app_jvm": app_jvm,
    "grammar": grammar,
    "lowbit": lowbit,
    "methods": methods,
    "fuzz": fuzz,
    "layerskip": layerskip,
    "engine_text": engine_text,
    "engine_speech": engine_speech,
}


def _beside(pair: list[int]) -> str:
    planned, seen = pair
    return f"{planned / 1e6:.0f} / {seen / 1e6:.0f}"


def _spread(rounds: list[dict[str, Any]], key: str) -> str:
    return _range([row[key] for row in rounds])


def _range(values: list[float]) -> str:
    if statistics.median(values) < 10:
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _by_size(recipe: str) -> tuple[int, str]:
    bits = re.search(r"\d+", recipe)
    return -int(bits[0]) if bits else 0, recipe
