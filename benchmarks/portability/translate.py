"""The same int8 translations on another CPU: run natively, then under an emulator of a CPU without VNNI, and compare.

    python benchmarks/portability/translate.py BUNDLE > native.txt
    qemu-x86_64 -cpu Haswell $(readlink -f $(which python)) benchmarks/portability/translate.py BUNDLE > haswell.txt
    diff native.txt haswell.txt

qemu-user 7.2 emulates AVX2 and not AVX-512, so ``-cpu Haswell`` is an x86 CPU whose u8 x s8 products saturate.
``--saturate`` leaves them so, to see what that does to translations.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import edgekit
from edgekit.runtime import saturation, session

SENTENCES = (Path(__file__).parents[1] / "parity" / "firefox" / "sentences.en").read_text("utf-8").splitlines()


def main() -> None:
    """Prints whether products saturate here, then one translation a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--saturate", action="store_true", help="don't guard against saturation")
    parser.add_argument("--limit", type=int, default=len(SENTENCES))
    arguments = parser.parse_args()
    print(f"# u8 x s8 products saturate: {saturation.products_saturate()}, guarded: {not arguments.saturate}")
    if arguments.saturate:
        session.products_saturate = lambda: False  # type: ignore[assignment]
    translator = edgekit.load(arguments.bundle)
    for sentence in SENTENCES[: arguments.limit]:
        print(translator.translate(sentence), flush=True)


if __name__ == "__main__":
    main()
