"""What a compacted cache costs, by how its rows are chosen and by how many are kept: one table.

    python tests/bench/budget.py --artifact FOLDER --out docs/snapkv-quality.json [--cases 60] [--modes SnapKV reuse]
        [--text FILE --text-artifact FOLDER]

Right answers of edge-stories (in fp32, so that nothing else costs any) to questions about facts a
thousand tokens back, to a second question over the same rows, and to needles; and nats a token of a real
text after a prompt that was compacted. Every case is asked in every way. What the file holds already is
not measured again: a run that was stopped goes on. `edge bench ARTIFACT --quality FILE` measures the
answers alone.
"""

import argparse
from pathlib import Path

from edge.artifact.manifest import Artifact
from edge.command.bars import bar
from edge.measure import picture, quality
from edge.measure.record import Record
from edge.protocols import Evictable
from edge.run import opening
from edge.text.tokenizer import Tokenizer

PROMPT, NEW = 384, 96  # tokens of a real text that are compacted, and that follow


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--modes", nargs="*", default=list(quality.MODES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--text-artifact", type=Path)
    args = parser.parse_args()
    if args.artifact:
        some = opened(args.artifact, args.threads)
        quality.measure(*some, args.out, cases=args.cases, modes=args.modes, progress=bar)
    if args.text:
        text(args)
    picture.draw(Record.load(args.out), args.out.with_suffix(".svg"))


def text(args: argparse.Namespace) -> None:
    record, ways = Record.load(args.out), quality.ways_of(args.modes)
    artifact, tokenizer, decoder = opened(args.text_artifact, args.threads)
    bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    ids = tokenizer.encode(args.text.read_text(), special=False)
    size = PROMPT + NEW - len(bos)
    texts = [[*bos, *ids[at : at + size]] for at in range(0, len(ids) - size, size)]
    record.about["text"] = {"model": artifact.manifest.name, "file": args.text.name}
    record.about["text"] |= {"prompt": PROMPT, "new": NEW}
    for case, found in quality.lost_in(decoder, texts[: args.cases], PROMPT, ways):
        record.add(case, found)
    record.save(args.out)


def opened(folder: Path, threads: int) -> tuple[Artifact, Tokenizer, Evictable]:
    artifact = Artifact.open(folder)
    decoder = opening.open_evictable(artifact, threads=threads)
    return artifact, Tokenizer.load(folder), decoder


if __name__ == "__main__":
    main()
